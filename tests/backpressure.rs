//! Backpressure: a fold that is slow slows the writers and nothing else; one that stands still stops them at the bound,
//! and when it goes on everything does.

use bytes::Bytes;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;
use tertulia::encoding::key::{Space, prefix};
use tertulia::env::ManualEnv;
use tertulia::error::{Error, Result, SqlState};
use tertulia::maintenance::Maintenance;
use tertulia::storage::fault::FaultDisk;
use tertulia::storage::log::LogOptions;
use tertulia::storage::{Gate, Index, MemoryIndex};
use tertulia::txn::{Engine, EngineOptions, Parts, TxnOptions};
use tertulia::types::{CommitSeq, ScopeId, StorageId};

const WRITERS: u64 = 4;
const BOUND: usize = 512 << 10;
/// What a group may add when it is let in just below the bound: a commit of each writer, and the marks.
const GROUP: usize = 8 << 10;

/// An engine with its threads whose folds pass a gate.
struct World {
    engine: Arc<Engine>,
    maintenance: Option<Maintenance>,
    gate: Gate,
    disk: Arc<FaultDisk>,
    index: MemoryIndex,
}

fn open(disk: &Arc<FaultDisk>, index: &MemoryIndex, room_wait_max: Duration) -> Arc<Engine> {
    let options = EngineOptions {
        generation_bytes: 64 << 10,
        recent_bytes_max: BOUND,
        fold_part_bytes: 8 << 10,
        room_wait_max,
        log: LogOptions { segment_bytes: 1 << 20, threads: true, salt: 1 },
        ..EngineOptions::new(PathBuf::from("data"))
    };
    let (disk, index) = (disk.clone(), Index::memory(index.clone()));
    let env = Arc::new(ManualEnv::new(1_700_000_000_000_000, 1));
    Engine::open_with(options, Parts { env, disk, index, threads: true, dir: None }).unwrap().0
}

impl World {
    fn new(room_wait_max: Duration) -> World {
        let gate = Gate::default();
        let (disk, index) = (Arc::new(FaultDisk::default()), MemoryIndex::with_gate(gate.clone()));
        let engine = open(&disk, &index, room_wait_max);
        let maintenance = Maintenance::start(engine.clone()).unwrap();
        World { engine, maintenance: Some(maintenance), gate, disk, index }
    }

    /// What is there of the writers' rows.
    fn found(engine: &Engine) -> BTreeSet<u64> {
        let snapshot = engine.snapshot().unwrap();
        let (from, mut out) = (prefix(Space::Group, STORAGE, ScopeId::SHARED), Vec::new());
        let to = tertulia::encoding::key::prefix_successor(&from).unwrap();
        let bounds = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        let mut cursor = snapshot.cursor(bounds.0, bounds.1, tertulia::storage::Direction::Forward);
        while cursor.next_batch(&snapshot, &mut out, 1_000).unwrap() {}
        out.iter().map(|(key, _)| u64::from_be_bytes(*key.last_chunk().unwrap())).collect()
    }

    /// Ends it, and looks at what a start finds.
    fn restart(mut self) -> BTreeSet<u64> {
        self.gate.open();
        self.maintenance.take().unwrap().stop();
        self.engine.shutdown().unwrap();
        drop(self.engine);
        let engine = open(&self.disk, &self.index, Duration::from_secs(60));
        let found = World::found(&engine);
        engine.shutdown().unwrap();
        found
    }
}

const STORAGE: StorageId = StorageId(900);

fn write(engine: &Arc<Engine>, number: u64) -> Result<CommitSeq> {
    let mut transaction = engine.begin(TxnOptions::default())?;
    let key = [prefix(Space::Group, STORAGE, ScopeId::SHARED), number.to_be_bytes().to_vec()].concat();
    transaction.put_plain(Bytes::from(key), Some(Bytes::from(vec![b'v'; 300])))?;
    transaction.start_commit()?.block()
}

/// A writer: it ends with the numbers of the rows that it was told are there, and the error that it met.
type Writer<'s> = ScopedJoinHandle<'s, (Vec<u64>, Option<Error>)>;

/// What writers were told is there, of whose writes none may have failed.
fn acknowledged(threads: Vec<Writer<'_>>) -> impl Iterator<Item = u64> {
    threads.into_iter().flat_map(|thread| {
        let (numbers, error) = thread.join().unwrap();
        assert!(error.is_none(), "no write fails: {error:?}");
        numbers
    })
}

/// Writers at full speed, each until it is told to stop or a commit fails.
struct Writers<'a> {
    stop: &'a AtomicBool,
    done: &'a AtomicU64,
    most_bytes: &'a AtomicUsize,
}

impl<'a> Writers<'a> {
    fn start<'s>(&self, scope: &'s Scope<'s, '_>, engine: &'a Arc<Engine>, first: u64) -> Vec<Writer<'s>>
    where
        'a: 's,
    {
        let spawn = |writer: u64| {
            let Writers { stop, done, most_bytes } = *self;
            scope.spawn(move || {
                let mut acknowledged = Vec::new();
                for number in (first + writer..).step_by(WRITERS as usize) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match write(engine, number) {
                        Ok(_) => acknowledged.push(number),
                        Err(error) => return (acknowledged, Some(error)),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    most_bytes.fetch_max(engine.recent_bytes(), Ordering::Relaxed);
                }
                (acknowledged, None)
            })
        };
        (0..WRITERS).map(spawn).collect()
    }
}

/// Lets others go on until something is so.
fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

#[test]
fn writers_come_down_to_the_rate_of_a_slow_fold_without_a_stop() {
    let world = World::new(Duration::from_secs(60));
    // eight kilobytes in each hundredth of a second at most: far less than the writers would write
    world.gate.slow(Duration::from_millis(10));
    let (stop, done, most_bytes) = Default::default();
    let writers = Writers { stop: &stop, done: &done, most_bytes: &most_bytes };
    let rows: BTreeSet<u64> = std::thread::scope(|scope| {
        let threads = writers.start(scope, &world.engine, 0);
        // several times what memory may hold, and delayed often
        until(|| done.load(Ordering::Relaxed) > 3_000 && world.engine.held_back().0 > 0);
        stop.store(true, Ordering::Relaxed);
        acknowledged(threads).collect()
    });
    let (delayed, stopped) = world.engine.held_back();
    let most = most_bytes.load(Ordering::Relaxed);
    println!("{} rows, {delayed} groups delayed, {stopped} stopped, {} KB at most", rows.len(), most >> 10);
    assert_eq!(stopped, 0, "the delays were enough");
    assert!(most < BOUND, "{most}");
    assert_eq!(World::found(&world.engine), rows);
    world.gate.slow(Duration::ZERO);
    assert_eq!(world.restart(), rows, "no write is lost");
}

#[test]
fn a_fold_that_stands_still_stops_writers_at_the_bound_and_lets_them_go_on_with_it() {
    let world = World::new(Duration::from_secs(60));
    world.gate.shut();
    let (stop, done, most_bytes) = Default::default();
    let writers = Writers { stop: &stop, done: &done, most_bytes: &most_bytes };
    let rows: BTreeSet<u64> = std::thread::scope(|scope| {
        let threads = writers.start(scope, &world.engine, 0);
        until(|| world.engine.held_back().1 > 0);
        assert!(world.engine.recent_bytes() >= BOUND, "not before");
        assert!(World::found(&world.engine).contains(&0), "reads go on");
        let before = done.load(Ordering::Relaxed);
        world.gate.open();
        until(|| done.load(Ordering::Relaxed) > before + 200);
        stop.store(true, Ordering::Relaxed);
        acknowledged(threads).collect()
    });
    let most = most_bytes.load(Ordering::Relaxed);
    assert!(most < BOUND + GROUP, "{most}");
    assert_eq!(world.restart(), rows, "no write is lost");
}

#[test]
fn writes_fail_where_a_fold_stands_still_for_too_long_and_nothing_else_does() {
    let world = World::new(Duration::from_millis(50));
    world.gate.shut();
    let (stop, done, most_bytes) = Default::default();
    let writers = Writers { stop: &stop, done: &done, most_bytes: &most_bytes };
    let mut rows = BTreeSet::new();
    std::thread::scope(|scope| {
        for thread in writers.start(scope, &world.engine, 0) {
            let (numbers, error) = thread.join().unwrap();
            assert_eq!(error.expect("it fails in the end").code(), SqlState::DISK_FULL);
            rows.extend(numbers);
        }
    });
    assert!(most_bytes.load(Ordering::Relaxed) < BOUND + GROUP);
    assert_eq!(World::found(&world.engine), rows, "reads go on, and what failed is not there");
    world.gate.open();
    // the next commits wait for a part of the fold, and are done
    until(|| write(&world.engine, 1 << 40).is_ok());
    rows.insert(1 << 40);
    std::thread::scope(|scope| {
        let threads = writers.start(scope, &world.engine, 1 << 41);
        let before = done.load(Ordering::Relaxed);
        until(|| done.load(Ordering::Relaxed) > before + 100 || threads.iter().any(ScopedJoinHandle::is_finished));
        stop.store(true, Ordering::Relaxed);
        rows.extend(acknowledged(threads));
    });
    assert_eq!(world.restart(), rows);
}
