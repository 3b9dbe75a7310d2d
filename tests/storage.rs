//! The store against a plain map of versions, and the log against damage: property tests of what everything rests on.

use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tertulia::error::SqlState;
use tertulia::storage::datadir::DataDir;
use tertulia::storage::disk::{Disk, RealDisk};
use tertulia::storage::fault::{self, Area, FaultDisk, FaultRates, Faults, Storm};
use tertulia::storage::log::{CommitLog, FileLog, LogOptions};
use tertulia::storage::{Direction, Entry, Index, Pressure, Store, StoreOptions, StoreSnapshot};
use tertulia::types::CommitSeq;

const OPTIONS: StoreOptions = StoreOptions {
    generation_bytes: 1 << 20,
    recent_bytes_max: 64 << 20,
    fold_part_bytes: 128 << 20,
    retired_bytes_max: 64 << 20,
};

fn open(dir: &Path, generation_bytes: usize) -> Arc<Store> {
    let options = StoreOptions { generation_bytes, ..OPTIONS };
    Arc::new(Store::open(Index::lmdb(dir, 1 << 30, 256).unwrap(), options).unwrap())
}

fn key(number: u8, volatile: bool) -> Bytes {
    // keys of different lengths, some a prefix of others, the volatile ones among the durable ones
    let mut key = vec![if volatile { 2 } else { 1 + number % 2 * 2 }];
    key.extend(std::iter::repeat_n(number / 4, 1 + usize::from(number % 4)));
    Bytes::from(key)
}

/// What the store must do, as a list of steps.
#[derive(Clone, Debug)]
enum Step {
    /// Commits, published together: each a list of (key number, volatile, value or removal).
    Group(Vec<Vec<(u8, bool, Option<u16>)>>),
    Snapshot,
    Drop(usize),
    Freeze,
    Fold,
    Prune,
    Reopen,
    Scan {
        snapshot: usize,
        from: (u8, u8),
        to: (u8, u8),
        backward: bool,
        max: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let write = (any::<u8>(), prop::bool::weighted(0.2), prop::option::weighted(0.7, any::<u16>()));
    prop_oneof![
        6 => prop::collection::vec(prop::collection::vec(write, 1..12), 1..4).prop_map(Step::Group),
        3 => Just(Step::Snapshot),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => Just(Step::Freeze),
        2 => Just(Step::Fold),
        1 => Just(Step::Prune),
        1 => Just(Step::Reopen),
        6 => (any::<usize>(), (0..3u8, any::<u8>()), (0..3u8, any::<u8>()), any::<bool>(), 1..40usize)
            .prop_map(|(snapshot, from, to, backward, max)| Step::Scan { snapshot, from, to, backward, max }),
    ]
}

type Model = BTreeMap<Bytes, Bytes>;

fn bound((kind, number): (u8, u8)) -> Bound<Vec<u8>> {
    let key = key(number, number % 3 == 0).to_vec();
    match kind {
        0 => Bound::Unbounded,
        1 => Bound::Included(key),
        _ => Bound::Excluded(key),
    }
}

fn scan(
    snapshot: &StoreSnapshot,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    way: Direction,
    max: usize,
) -> Vec<(Bytes, Bytes)> {
    let mut cursor = snapshot.cursor(from, to, way);
    let mut out = Vec::new();
    loop {
        let before = out.len();
        let more = cursor.next_batch(snapshot, &mut out, max).unwrap();
        assert!(out.len() - before <= max, "a batch keeps its bound");
        if !more {
            return out;
        }
    }
}

fn expected(model: &Model, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>, backward: bool) -> Vec<(Bytes, Bytes)> {
    let after = |key: &Bytes| match &from {
        Bound::Unbounded => true,
        Bound::Included(from) => key[..] >= from[..],
        Bound::Excluded(from) => key[..] > from[..],
    };
    let before = |key: &Bytes| match &to {
        Bound::Unbounded => true,
        Bound::Included(to) => key[..] <= to[..],
        Bound::Excluded(to) => key[..] < to[..],
    };
    let mut rows: Vec<_> = model.iter().filter(|(key, _)| after(key) && before(key)).collect();
    if backward {
        rows.reverse();
    }
    rows.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn check(snapshot: &StoreSnapshot, model: &Model) {
    for number in 0..=255 {
        for volatile in [false, true] {
            let key = key(number, volatile);
            assert_eq!(snapshot.get(&key).unwrap().as_ref(), model.get(&key), "{key:?} at {}", snapshot.seq());
        }
    }
}

struct Run {
    dir: tempfile::TempDir,
    store: Option<Arc<Store>>,
    now: Model,
    /// What a log would have: the durable entries of every commit.
    log: Vec<(CommitSeq, Vec<Entry>)>,
    seq: CommitSeq,
    held: Vec<(StoreSnapshot, Model)>,
}

impl Run {
    fn store(&self) -> &Arc<Store> {
        self.store.as_ref().unwrap()
    }

    fn group(&mut self, commits: Vec<Vec<(u8, bool, Option<u16>)>>) {
        for commit in commits {
            self.seq = self.seq.next();
            let mut net = BTreeMap::new();
            for (number, volatile, value) in commit {
                net.insert(key(number, volatile), (volatile, value));
            }
            let mut entries = Vec::new();
            for (key, (volatile, value)) in net {
                let value = value.map(|value| Bytes::from(vec![value as u8; usize::from(value >> 8) * 3]));
                match &value {
                    Some(value) => self.now.insert(key.clone(), value.clone()),
                    None => self.now.remove(&key),
                };
                entries.push(Entry { key, value, volatile });
            }
            let durable: Vec<_> = entries.iter().filter(|entry| !entry.volatile).cloned().collect();
            self.log.push((self.seq, durable));
            self.store().install(self.seq, entries);
        }
        self.store().publish(self.seq);
    }

    fn reopen(&mut self) {
        self.held.clear();
        self.store = None;
        let store = open(self.dir.path(), 4 << 10);
        let position = store.position();
        assert!(position <= self.seq);
        for (seq, entries) in self.log.iter().filter(|(seq, _)| *seq > position) {
            store.install(*seq, entries.clone());
            store.publish(*seq);
        }
        self.now.retain(|key, _| key[0] != 2);
        self.store = Some(store);
        if self.store().published() < self.seq {
            self.store().publish(self.seq);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Group(commits) => self.group(commits),
            Step::Snapshot => {
                let snapshot = self.store().snapshot().unwrap();
                assert_eq!(snapshot.seq(), self.seq);
                self.held.push((snapshot, self.now.clone()));
            }
            Step::Drop(at) if !self.held.is_empty() => drop(self.held.swap_remove(at % self.held.len())),
            Step::Drop(_) => {}
            Step::Freeze => self.store().freeze_all(),
            Step::Fold => {
                let folded = self.store().fold().unwrap();
                assert!(folded.is_none_or(|folded| folded == self.store().position()));
            }
            Step::Prune => self.store().prune_volatile(7),
            Step::Reopen => self.reopen(),
            Step::Scan { snapshot, from, to, backward, max } if !self.held.is_empty() => {
                let (snapshot, model) = &self.held[snapshot % self.held.len()];
                let way = if backward { Direction::Backward } else { Direction::Forward };
                let (from, to) = (bound(from), bound(to));
                let rows = scan(snapshot, from.clone(), to.clone(), way, max);
                assert_eq!(rows, expected(model, from, to, backward));
            }
            Step::Scan { .. } => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_sees_exactly_the_commits_before_it(steps in prop::collection::vec(step(), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(open(dir.path(), 4 << 10));
        let mut run = Run { dir, store, now: Model::new(), log: Vec::new(), seq: CommitSeq::ZERO, held: Vec::new() };
        for step in steps {
            run.step(step);
        }
        for (snapshot, model) in &run.held {
            check(snapshot, model);
        }
        check(&run.store().snapshot().unwrap(), &run.now);
    }
}

/// Symptom if the order of opening a snapshot is wrong: a reader misses a generation that was folded meanwhile.
#[test]
fn a_snapshot_opened_while_folds_run_misses_nothing() {
    const KEYS: u64 = 64;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 8 << 10);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.fold().unwrap();
            }
        });
        for way in [Direction::Forward, Direction::Backward] {
            let (store, stop, seen) = (store.clone(), stop.clone(), seen.clone());
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let snapshot = store.snapshot().unwrap();
                    let seq = snapshot.seq().0;
                    // every commit writes its number at key (number mod KEYS) and at "last": both must agree
                    let last = snapshot.get(b"last").unwrap();
                    assert_eq!(last.map_or(0, |value| u64::from_be_bytes(value[..8].try_into().unwrap())), seq);
                    let mut rows = scan(&snapshot, Bound::Unbounded, Bound::Excluded(b"l".to_vec()), way, 10);
                    if way == Direction::Backward {
                        rows.reverse();
                    }
                    let want: Vec<u64> = (0..KEYS)
                        .filter_map(|slot| (1..=seq).rev().take(KEYS as usize).find(|n| n % KEYS == slot))
                        .collect();
                    let got: Vec<u64> =
                        rows.iter().map(|(_, value)| u64::from_be_bytes(value[..8].try_into().unwrap())).collect();
                    assert_eq!(got, want, "at {seq}");
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 1..=4_000u64 {
            let value = Bytes::copy_from_slice(&n.to_be_bytes());
            let entry = |key: Bytes| Entry { key, value: Some(value.clone()), volatile: false };
            let slot = Bytes::copy_from_slice(&[b'a', (n % KEYS) as u8]);
            store.install(CommitSeq(n), [entry(slot), entry(Bytes::from_static(b"last"))]);
            store.publish(CommitSeq(n));
        }
        while seen.load(Ordering::Relaxed) < 10 {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(store.position() > CommitSeq::ZERO);
}

#[test]
fn writers_are_slowed_from_half_full_and_stopped_at_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { recent_bytes_max: 4 << 20, ..OPTIONS };
    let store = Arc::new(Store::open(Index::lmdb(dir.path(), 1 << 30, 16).unwrap(), options).unwrap());
    let mut seen = Vec::new();
    for n in 1..=5u64 {
        seen.push(store.pressure());
        let value = Some(Bytes::from(vec![7; 1 << 20]));
        store.install(CommitSeq(n), [Entry { key: Bytes::from(n.to_be_bytes().to_vec()), value, volatile: false }]);
        store.publish(CommitSeq(n));
    }
    assert_eq!(seen[0], Pressure::None);
    assert!(matches!(seen[3], Pressure::Delay(_)), "{seen:?}");
    assert_eq!(seen[4], Pressure::Full);
    let error = store.wait_for_room(std::time::Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.code(), SqlState::DISK_FULL);
    while store.fold().unwrap().is_some() {}
    store.wait_for_room(std::time::Duration::from_secs(60)).unwrap();
}

/// Commits a row of about a kilobyte under a key, so that the generation may be frozen, and folds what is.
fn commit_and_fold(store: &Arc<Store>, n: u64) {
    let (key, value) = (Bytes::from((n % 10).to_be_bytes().to_vec()), Some(Bytes::from(n.to_be_bytes().repeat(128))));
    store.install(CommitSeq(n), [Entry { key, value, volatile: false }]);
    store.publish(CommitSeq(n));
    while store.fold().unwrap().is_some() {}
}

#[test]
fn snapshots_begun_at_many_times_keep_a_bounded_part_of_what_is_folded() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { generation_bytes: 8 << 10, retired_bytes_max: 64 << 10, ..OPTIONS };
    let store = Arc::new(Store::open(Index::lmdb(dir.path(), 1 << 30, 512).unwrap(), options).unwrap());
    commit_and_fold(&store, 1);
    let mut held = Vec::new();
    for n in 2..300 {
        held.push(store.snapshot().unwrap());
        commit_and_fold(&store, n);
    }
    let mut given_up = 0;
    for snapshot in &held {
        for slot in 0..10_u64 {
            match snapshot.get(&slot.to_be_bytes()) {
                Ok(value) => {
                    let expected = (1..=snapshot.seq().0).rev().find(|n| n % 10 == slot);
                    let found = value.map(|value| u64::from_be_bytes(*value.first_chunk().unwrap()));
                    assert_eq!(found, expected, "what a snapshot says is as of its position");
                }
                Err(error) => {
                    assert_eq!(error.code(), SqlState::SNAPSHOT_TOO_OLD);
                    given_up += 1;
                }
            }
        }
    }
    assert!(given_up > 1_000, "the older ones are too old: {given_up}");
    let young = held.split_off(held.len() - 20);
    assert!(young.iter().all(|snapshot| snapshot.get(&1_u64.to_be_bytes()).is_ok()), "the younger ones are not");
    // a single old one keeps what it reads, however much is folded meanwhile
    drop(held);
    drop(young);
    let old = store.snapshot().unwrap();
    (300..600).for_each(|n| commit_and_fold(&store, n));
    for slot in 0..10_u64 {
        let value = old.get(&slot.to_be_bytes()).unwrap().unwrap();
        assert_eq!(u64::from_be_bytes(*value.first_chunk().unwrap()), 290 + slot);
    }
}

/// A batch had as many rows as were asked for, whatever their size: 256 rows of 128 MiB.
#[test]
fn batches_of_large_rows_have_few_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), usize::MAX);
    let value = Bytes::from(vec![7; 300 << 10]);
    for n in 0..40u8 {
        let entry = Entry { key: Bytes::from(vec![n]), value: Some(value.clone()), volatile: false };
        store.install(CommitSeq(u64::from(n) + 1), [entry]);
        store.publish(CommitSeq(u64::from(n) + 1));
    }
    for place in ["memory", "the index"] {
        let snapshot = store.snapshot().unwrap();
        for direction in [Direction::Forward, Direction::Backward] {
            let mut cursor = snapshot.cursor(Bound::Unbounded, Bound::Unbounded, direction);
            let (mut found, mut batch, mut more) = (Vec::new(), Vec::new(), true);
            while more {
                more = cursor.next_batch(&snapshot, &mut batch, 256).unwrap();
                assert!(batch.len() <= 4, "{} rows at once from {place}", batch.len());
                found.extend(batch.drain(..).map(|(key, _)| key[0]));
            }
            let wanted: Vec<u8> =
                if direction == Direction::Forward { (0..40).collect() } else { (0..40).rev().collect() };
            assert_eq!(found, wanted, "from {place}");
        }
        drop(snapshot);
        store.freeze_all();
        while store.fold().unwrap().is_some() {}
    }
}

const SEGMENT: u64 = 4 << 10;

fn log(disk: &Arc<FaultDisk>) -> tertulia::error::Result<(FileLog, Option<String>, CommitSeq)> {
    let disk: Arc<dyn Disk> = disk.clone();
    let options = LogOptions { segment_bytes: SEGMENT, threads: true, salt: 1 };
    let (log, report) = FileLog::open(disk, Path::new("/log"), options, CommitSeq::ZERO)?;
    Ok((log, report.tail_cut, report.last))
}

fn read(log: &FileLog, after: u64) -> tertulia::error::Result<Vec<(u64, u64, Bytes)>> {
    log.read_from(CommitSeq(after))?
        .map(|record| record.map(|record| (record.first.0, record.last.0, record.payload)))
        .collect()
}

fn payload(n: u64, bytes: usize) -> Bytes {
    Bytes::from((0..bytes).map(|at| (n as usize * 31 + at * 7 + 1) as u8).collect::<Vec<_>>())
}

fn append(log: &FileLog, n: u64, bytes: usize) -> (u64, u64, Bytes) {
    let payload = payload(n, bytes);
    log.append(CommitSeq(n * 2), CommitSeq(n * 2 + 1), &payload).unwrap();
    log.sync().unwrap();
    (n * 2, n * 2 + 1, payload)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_log_gives_back_what_it_was_given(
        sizes in prop::collection::vec(prop_oneof![9 => 0..900usize, 1 => 3_000..9_000usize], 1..30),
        after in 0..70u64,
        reopen in any::<bool>(),
    ) {
        let disk = Arc::new(FaultDisk::default());
        let (mut log_, _, _) = log(&disk).unwrap();
        let mut written = Vec::new();
        for (n, bytes) in sizes.iter().enumerate() {
            written.push(append(&log_, n as u64 + 1, *bytes));
        }
        if reopen {
            drop(log_);
            let (again, cut, last) = log(&disk).unwrap();
            prop_assert_eq!(cut, None);
            prop_assert_eq!(last.0, written.last().unwrap().1);
            log_ = again;
        }
        written.push(append(&log_, sizes.len() as u64 + 1, 10));
        let wanted: Vec<_> = written.iter().filter(|record| record.1 > after).cloned().collect();
        prop_assert_eq!(read(&log_, after).unwrap(), wanted.clone());
        // what nobody needs may go, what is after the position stays
        log_.release(CommitSeq(after)).unwrap();
        prop_assert!(log_.oldest().0 <= after);
        prop_assert_eq!(read(&log_, after).unwrap(), wanted.clone());
        drop(log_);
        let (log_, _, _) = log(&disk).unwrap();
        prop_assert_eq!(read(&log_, after).unwrap(), wanted);
    }

    #[test]
    fn a_damaged_tail_is_cut_and_damage_before_it_stops_the_start(
        sizes in prop::collection::vec(1..600usize, 2..20),
        victim in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
        torn in any::<bool>(),
    ) {
        let disk = Arc::new(FaultDisk::default());
        let (log_, _, _) = log(&disk).unwrap();
        let written: Vec<_> = sizes.iter().enumerate().map(|(n, bytes)| append(&log_, n as u64 + 1, *bytes)).collect();
        drop(log_);
        let victim = victim.index(written.len());
        damage(&disk, &written[victim].2, at.index(written[victim].2.len()), flip, torn);
        match log(&disk) {
            Ok((log_, cut, last)) => {
                prop_assert_eq!(victim, written.len() - 1, "only the tail may be cut");
                prop_assert!(cut.is_some());
                prop_assert_eq!(last.0, written[victim - 1].1);
                // the log goes on where it was cut, and the next start finds nothing wrong
                let next = append(&log_, written.len() as u64 + 7, 50);
                drop(log_);
                let (log_, cut, _) = log(&disk).unwrap();
                prop_assert_eq!(cut, None);
                let mut wanted = written[..victim].to_vec();
                wanted.push(next);
                prop_assert_eq!(read(&log_, 0).unwrap(), wanted);
            }
            Err(error) => {
                prop_assert!(victim < written.len() - 1, "a damaged tail is no corruption: {}", error);
                prop_assert_eq!(error.code(), SqlState::DATA_CORRUPTED);
                let message = &error.fields().message;
                prop_assert!(message.contains(".log") && message.contains("offset"), "{}", message);
            }
        }
    }
}

/// Flips a byte of a payload where it stands in the log's files, or loses the rest of the record from there on.
fn damage(disk: &FaultDisk, payload: &[u8], at: usize, flip: u8, torn: bool) {
    for name in disk.list(Path::new("/log")).unwrap() {
        let file = disk.open(&Path::new("/log").join(name)).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        let found = bytes
            .windows(24 + payload.len())
            .position(|window| &window[24..] == payload && window[..4] == (payload.len() as u32).to_le_bytes());
        let Some(start) = found.map(|found| found + 24) else { continue };
        if torn {
            // zeros stand where the write did not reach; a byte that was zero anyway would be no damage
            let lost = vec![0; payload.len() - at];
            let changed = payload[at..] != lost[..];
            let at = if changed { at } else { 0 };
            file.write_at((start + at) as u64, &vec![0; payload.len() - at]).unwrap();
            assert!(payload[at..].iter().any(|&byte| byte != 0));
        } else {
            file.write_at((start + at) as u64, &[payload[at] ^ flip]).unwrap();
        }
        return;
    }
    panic!("the record is in the log");
}

#[test]
fn what_a_user_stores_does_not_pass_for_a_record_behind_a_torn_one() {
    let directory = Path::new("/log");
    let open = |disk: &Arc<FaultDisk>, salt| {
        let options = LogOptions { segment_bytes: SEGMENT, threads: false, salt };
        FileLog::open(disk.clone(), directory, options, CommitSeq::ZERO)
    };
    let file = |disk: &FaultDisk| disk.open(&directory.join(&disk.list(directory).unwrap()[0])).unwrap();
    // a record as a user makes one who knows the format, and the salt or not
    let disk = Arc::new(FaultDisk::default());
    open(&disk, 1).unwrap().0.append(CommitSeq(5), CommitSeq(5), &[7; 40]).unwrap();
    let mut forged = [0; 64];
    file(&disk).read_at(64, &mut forged).unwrap();
    for (salt, passes) in [(1, true), (2, false)] {
        let disk = Arc::new(FaultDisk::default());
        open(&disk, salt).unwrap().0.append(CommitSeq(1), CommitSeq(1), &forged).unwrap();
        file(&disk).write_at(64, &[0; 24]).unwrap();
        let opened = open(&disk, 3).map(|(_, report)| (report.last, report.tail_cut.is_some()));
        match passes {
            true => assert_eq!(opened.unwrap_err().code(), SqlState::DATA_CORRUPTED),
            false => assert_eq!(opened.unwrap(), (CommitSeq::ZERO, true)),
        }
    }
}

#[test]
fn a_first_record_above_the_segment_size_survives_release_and_reopening() {
    let disk = Arc::new(FaultDisk::default());
    let (log_, _, _) = log(&disk).unwrap();
    let large = append(&log_, 1, 3 * SEGMENT as usize);
    log_.release(CommitSeq(1)).unwrap();
    assert_eq!(read(&log_, 1).unwrap(), std::slice::from_ref(&large));
    let small = append(&log_, 2, 100);
    drop(log_);
    let (log_, _, _) = log(&disk).unwrap();
    assert_eq!(read(&log_, 1).unwrap(), [large, small]);
}

#[test]
fn a_log_of_real_files_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 64 << 10, threads: true, salt: 1 };
    let mut written = Vec::new();
    for round in 0..3u64 {
        let (log, report) = FileLog::open(Arc::new(RealDisk::new()), dir.path(), options, CommitSeq::ZERO).unwrap();
        assert!(report.tail_cut.is_none());
        assert_eq!(report.last.0, written.last().map_or(0, |(_, last, _)| *last));
        written.extend((1..=100).map(|n| append(&log, round * 100 + n, 1_000)));
        assert_eq!(read(&log, 0).unwrap(), written);
    }
}

#[test]
fn a_segment_whose_header_is_gone_is_no_empty_one() {
    let disk = Arc::new(FaultDisk::default());
    let (log_, _, _) = log(&disk).unwrap();
    (1..=10).for_each(|n| drop(append(&log_, n, 1_000)));
    drop(log_);
    let last = disk.list(Path::new("/log")).unwrap().into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    let path = Path::new("/log").join(last);
    disk.open(&path).unwrap().write_at(0, &[0; 64]).unwrap();
    let Err(error) = log(&disk) else { panic!("what was committed must not be taken for nothing") };
    assert_eq!(error.code(), SqlState::DATA_CORRUPTED);
    assert!(disk.open(&path).is_ok(), "nothing is removed");
    for bytes in [0, 40, 512] {
        disk.create(&path).unwrap().write_at(0, &vec![0; bytes]).unwrap();
        assert!(
            log(&disk).is_err(),
            "a segment has its name when its header is durable: no crash leaves {bytes} zeros"
        );
    }
}

/// Files by their names.
type Files = Vec<(PathBuf, Vec<u8>)>;
/// A record's first and last position, and what is in it.
type Record = (u64, u64, Bytes);

/// The files of a log and what is in them.
fn files(disk: &FaultDisk) -> Files {
    let names = disk.list(Path::new("/log")).unwrap().into_iter().filter(|name| name.ends_with(".log"));
    let paths = names.map(|name| Path::new("/log").join(name));
    paths
        .map(|path| {
            let file = disk.open(&path).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_at(0, &mut bytes).unwrap();
            (path, bytes)
        })
        .collect()
}

/// A disk with these files.
fn disk_of(files: &[(PathBuf, Vec<u8>)]) -> Arc<FaultDisk> {
    let disk = FaultDisk::default();
    for (path, bytes) in files {
        disk.create(path).unwrap().write_at(0, bytes).unwrap();
    }
    Arc::new(disk)
}

/// Three segments, and their records.
fn three_segments() -> (Files, Vec<Record>) {
    let disk = Arc::new(FaultDisk::default());
    let (log_, _, _) = log(&disk).unwrap();
    let written = (1..=20).map(|n| append(&log_, n, 490 - n as usize)).collect();
    drop(log_);
    let files = files(&disk);
    assert_eq!(files.len(), 3);
    (files, written)
}

/// The refusal of a log, which must name a place and change nothing.
fn refusal(files: &[(PathBuf, Vec<u8>)], what: &str) -> String {
    let disk = disk_of(files);
    let Err(error) = log(&disk) else { panic!("{what} must be refused") };
    assert_eq!(error.code(), SqlState::DATA_CORRUPTED, "{what}: {error:?}");
    let message = error.fields().message.clone();
    assert!(message.contains(".log") && message.contains("offset"), "{what}: {message}");
    assert!(self::files(&disk) == files, "{what}: something was changed");
    message
}

#[test]
fn no_flipped_bit_anywhere_in_the_log_is_served() {
    let (files, written) = three_segments();
    let last_record = files[2].1.iter().rposition(|&byte| byte != 0).unwrap();
    let (mut cut, mut refused, mut harmless) = (0, 0, 0);
    for (number, (path, bytes)) in files.iter().enumerate() {
        for at in 0..bytes.len() {
            // zeros behind the last record are alike
            if number == 2 && at > last_record + 64 {
                break;
            }
            let mut damaged = files.clone();
            damaged[number].1[at] ^= 1 << (at % 8);
            let disk = disk_of(&damaged);
            match log(&disk) {
                Ok((log_, tail_cut, _)) => {
                    let found = read(&log_, 0).unwrap();
                    match tail_cut {
                        // of the last segment alone
                        Some(place) => {
                            assert!(number == 2 && place.contains(path.file_name().unwrap().to_str().unwrap()));
                            assert!(found == written || found == written[..19], "{place}");
                            cut += 1;
                        }
                        // between records, or where it is said that a segment follows
                        None => {
                            assert!(found == written, "segment {number}, byte {at}");
                            harmless += 1;
                        }
                    }
                }
                Err(_) => {
                    let message = refusal(&damaged, &format!("segment {number}, byte {at}"));
                    assert!(message.contains(path.file_name().unwrap().to_str().unwrap()), "{message}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 8_000 && cut > 400 && harmless < 200, "{refused} refused, {cut} cut, {harmless} harmless");
}

#[test]
fn segments_that_are_missing_swapped_or_doubled_are_named() {
    let (files, _) = three_segments();
    let name = |number: usize| files[number].0.file_name().unwrap().to_str().unwrap().to_owned();
    let without = |number: usize| -> Vec<_> {
        files.iter().enumerate().filter(|(at, _)| *at != number).map(|(_, file)| file.clone()).collect()
    };
    let message = refusal(&without(1), "a missing segment");
    assert!(message.contains(&name(0)) && message.contains(&name(2)), "{message}");
    let message = refusal(&without(2), "the last segment missing");
    assert!(message.contains(&name(1)) && message.contains("the segment that follows is missing"), "{message}");
    // without the first it is a log of which the beginning was released: what needs it says so
    let disk = disk_of(&without(0));
    let (log_, _, _) = log(&disk).unwrap();
    assert_eq!(read(&log_, 0).unwrap_err().code(), SqlState::UNDEFINED_FILE);
    for (one, other) in [(0, 1), (1, 2), (0, 2)] {
        let mut swapped = files.clone();
        swapped[one].1 = files[other].1.clone();
        let message = refusal(&swapped, "one segment in the place of another");
        assert!(message.contains(&name(one)) && message.contains("offset 0"), "{message}");
        swapped[other].1 = files[one].1.clone();
        refusal(&swapped, "segments that changed places");
    }
    for length in [0, 30, 64, 1000] {
        let mut cut = files.clone();
        cut[1].1.truncate(length);
        let message = refusal(&cut, "a segment cut short");
        assert!(message.contains(&name(1)), "{message}");
    }
}

#[test]
fn a_log_that_ends_before_the_store_is_no_torn_one() {
    let (mut files, written) = three_segments();
    let last_record = files[2].1.iter().rposition(|&byte| byte != 0).unwrap();
    files[2].1[last_record - 20] ^= 1;
    let open = |files: &[_], settled: u64| {
        let disk = disk_of(files);
        let options = LogOptions { segment_bytes: SEGMENT, threads: true, salt: 1 };
        let opened = FileLog::open(disk.clone(), Path::new("/log"), options, CommitSeq(settled));
        (opened.map(|(_, report)| report.last.0), self::files(&disk))
    };
    let [.., before, last] = &written[..] else { panic!("there are records") };
    assert_eq!(open(&files, before.1).0.unwrap(), before.1, "what the store has not may be an unfinished write");
    let (refused, left) = open(&files, last.1);
    let message = refused.unwrap_err().fields().message.clone();
    assert!(message.contains(files[2].0.file_name().unwrap().to_str().unwrap()), "{message}");
    assert!(left == files, "what is refused is not cut");
}

#[test]
fn what_a_write_without_room_left_is_gone_before_the_next_segment() {
    let mut found_no_room = 0;
    for seed in 0..50 {
        let faults = Faults::new(seed);
        let disk = Arc::new(FaultDisk::new(faults.clone()));
        let options = LogOptions { segment_bytes: SEGMENT, threads: false, salt: 1 };
        let open = || FileLog::open(disk.clone(), Path::new("/log"), options, CommitSeq::ZERO);
        let (log_, _) = open().unwrap();
        let mut written = vec![append(&log_, 1, 100)];
        faults.set_rates(FaultRates { write_full: 1, ..FaultRates::default() });
        let refused = log_.append(CommitSeq(4), CommitSeq(5), &payload(2, 3_000)).unwrap_err();
        if refused.code() == SqlState::IO_ERROR {
            // all of it was written, and what should have made it no record found no room either
            assert!(log_.check().is_err(), "a record that a start may find and a client may not ends the log");
            continue;
        }
        assert_eq!(refused.code(), SqlState::DISK_FULL);
        found_no_room += 1;
        faults.set_rates(FaultRates::default());
        // a shorter one in its place, and one that needs the next segment
        written.extend([append(&log_, 3, 100), append(&log_, 4, 3_900)]);
        drop(log_);
        let (log_, report) = open().unwrap();
        assert_eq!(report.tail_cut, None);
        assert_eq!(read(&log_, 0).unwrap(), written);
    }
    assert!(found_no_room > 25, "{found_no_room} of 50");
}

/// Appends to a log whose disk refuses steps of a kind for a while, as long as segments are released up to a position; then
/// up to another, as it may.
fn release_in_spite(step: fault::Step, rates: FaultRates, upto: [u64; 2]) {
    let faults = Faults::new(0);
    let disk = Arc::new(FaultDisk::new(faults.clone()));
    let options = LogOptions { segment_bytes: SEGMENT, threads: false, salt: 1 };
    let open = || FileLog::open(disk.clone(), Path::new("/log"), options, CommitSeq::ZERO).unwrap();
    let (log_, _) = open();
    let written: Vec<_> = (1..=20).map(|n| append(&log_, n, 1_000)).collect();
    faults.set_storm(Some(Storm { area: Area::Log, step: Some(step), rates }));
    assert!(log_.release(CommitSeq(upto[0])).is_err());
    assert_eq!(log_.oldest(), CommitSeq::ZERO);
    faults.set_storm(None);
    log_.release(CommitSeq(upto[1])).unwrap();
    assert!(log_.oldest() > CommitSeq(upto[0]));
    let oldest = log_.oldest();
    drop(log_);
    let (log_, report) = open();
    assert_eq!((log_.oldest(), report.last.0), (oldest, written[19].1));
}

/// A removal whose directory could not be synced was tried again for ever: the file was gone, so it failed, and with it
/// every later step of the maintenance thread.
#[test]
fn a_segment_whose_removal_could_not_be_synced_does_not_keep_the_others() {
    let refused = FaultRates { sync: 1, ..FaultRates::default() };
    release_in_spite(fault::Step::SyncDir, refused, [20, 30]);
}

#[test]
fn a_segment_that_could_not_be_removed_is_removed_before_its_successors() {
    let refused = FaultRates { name: 1, ..FaultRates::default() };
    release_in_spite(fault::Step::Name, refused, [10, 20]);
}

/// Appends to logs whose writes find no room now and then, each with its seed; what is reported as written is there
/// after a restart, and nothing else.
#[test]
fn what_found_no_room_in_the_log_is_not_there_later() {
    for seed in 0..300 {
        let faults = Faults::new(seed);
        let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new(faults.clone()));
        let options = LogOptions { segment_bytes: SEGMENT, threads: false, salt: 1 };
        let open = || FileLog::open(disk.clone(), Path::new("/log"), options, CommitSeq::ZERO).unwrap().0;
        let mut log = open();
        let mut written = Vec::new();
        for n in 1..=40_u64 {
            faults.set_rates(FaultRates { write_full: 2, ..FaultRates::default() });
            let payload = payload(n, (n * 997 + seed * 131) as usize % 1_800);
            let outcome = log.append(CommitSeq(n), CommitSeq(n), &payload).and_then(|()| log.sync());
            faults.set_rates(FaultRates::default());
            match outcome {
                Ok(()) => written.push((n, n, payload)),
                Err(error) if error.code() == SqlState::DISK_FULL => {}
                // the log does not know what it has written
                Err(_) => {
                    log = open();
                    let last = read(&log, 0).unwrap().len();
                    assert!(last == written.len() || last == written.len() + 1, "seed {seed}");
                    written = read(&log, 0).unwrap();
                }
            }
            if n % 8 == 0 {
                log = open();
            }
            assert!(read(&log, 0).unwrap() == written, "seed {seed}, record {n}");
        }
        assert!(read(&open(), 0).unwrap() == written, "seed {seed}");
    }
}

#[test]
fn a_directory_that_was_not_finished_is_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("VERSION.new"), "tert").unwrap();
    assert!(DataDir::open(dir.path()).unwrap().is_fresh());
    assert!(!DataDir::open(dir.path()).unwrap().is_fresh());
    assert!(!dir.path().join("VERSION.new").exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_that_loses_what_was_not_synced_takes_no_synced_record(
        rounds in prop::collection::vec(prop::collection::vec((1..3_000usize, any::<bool>()), 1..12), 1..5),
        seed in any::<u64>(),
    ) {
        let options = LogOptions { segment_bytes: SEGMENT, threads: true, salt: 1 };
        let faults = Faults::new(seed);
        let disk = Arc::new(FaultDisk::new(faults.clone()));
        let open = || FileLog::open(disk.clone(), Path::new("/log"), options, CommitSeq::ZERO).unwrap();
        let mut kept: Vec<(u64, u64, Bytes)> = Vec::new();
        let (mut released, mut n) = (0, 0);
        for round in rounds {
            let (log, _) = open();
            for (bytes, release) in round {
                n += 1;
                kept.push(append(&log, n, bytes));
                if release {
                    released = n * 2;
                    log.release(CommitSeq(released)).unwrap();
                }
            }
            n += 1;
            let unsynced = (n * 2, n * 2 + 1, payload(n, 2_500));
            log.append(CommitSeq(unsynced.0), CommitSeq(unsynced.1), &unsynced.2).unwrap();
            drop(log);
            faults.crash();
            disk.restart();
            let (log, report) = open();
            let synced = kept.last().map_or(0, |(_, last, _)| *last);
            if report.last.0 == unsynced.1 {
                kept.push(unsynced);
            } else {
                prop_assert_eq!(report.last.0, synced);
            }
            let wanted: Vec<_> = kept.iter().filter(|(_, last, _)| *last > log.oldest().0).cloned().collect();
            prop_assert!(log.oldest().0 <= released);
            prop_assert_eq!(read(&log, log.oldest().0).unwrap(), wanted);
        }
    }
}
