//! Transactions of millions of rows beside a session that writes single rows: memory, times, and how long that one waits.
//!
//!     cargo bench --bench big -- 5000000 /var/tmp
//!
//! The first argument is the number of rows, the second the directory in which the data directory is made. It is the
//! engine alone: rows are encoded, locked and checked as a statement's, but no SQL is read.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::relation::create_table;
use tertulia::catalog::TableKind;
use tertulia::env::SystemEnv;
use tertulia::limits::STALL_MAX;
use tertulia::maintenance::Maintenance;
use tertulia::storage::Direction;
use tertulia::table::Model;
use tertulia::txn::{Engine, EngineOptions, LockPolicy, LockedRow, RowLock, Transaction, TxnOptions, Written};
use tertulia::types::{ScopeId, Value};

const SHARED: ScopeId = ScopeId::SHARED;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let rows: i64 = arguments.next().map_or(1_000_000, |rows| rows.parse().expect("a number of rows"));
    let within = arguments.next().unwrap_or_else(|| std::env::temp_dir().to_string_lossy().into_owned());
    let dir = Path::new(&within).join(format!("tertulia-big-{}", std::process::id()));
    let (engine, _) = Engine::open(EngineOptions::new(&dir), Arc::new(SystemEnv::new())).unwrap();
    let maintenance = Maintenance::start(engine.clone()).unwrap();
    let (large, small) = (table(&engine, "large"), table(&engine, "small"));
    let other = Other::start(&engine, &small);
    say(&format!("{rows} rows of about 200 bytes"));
    say(
        "step | seconds | rows/s | resident MB (of it anonymous) | most resident | single-row commits: longest wait ms, count",
    );

    let measure = |name: &str, count: i64, step: &mut dyn FnMut()| {
        other.forget();
        let began = Instant::now();
        step();
        report(name, count, began.elapsed(), &other);
    };
    measure("nothing, for comparison", 0, &mut || std::thread::sleep(Duration::from_secs(3)));
    let mut open = None;
    measure("insert, rolled back: statements", rows, &mut || open = Some(insert(&engine, &large, rows)));
    measure("insert, rolled back: ROLLBACK", rows, &mut || drop(open.take()));
    measure("insert: statements", rows, &mut || open = Some(insert(&engine, &large, rows)));
    measure("insert: COMMIT", rows, &mut || commit(open.take()));
    measure("insert: fold", rows, &mut || settle(&engine));
    let part = rows / 5;
    measure("update of a fifth: statements", part, &mut || open = Some(change(&engine, &large, part, true)));
    measure("update of a fifth: COMMIT", part, &mut || commit(open.take()));
    measure("update of a fifth: fold", part, &mut || settle(&engine));
    measure("delete of a fifth: statements", part, &mut || open = Some(change(&engine, &large, part, false)));
    measure("delete of a fifth: COMMIT", part, &mut || commit(open.take()));
    measure("delete of a fifth: fold", part, &mut || settle(&engine));
    let mut left = 0;
    measure("count of what is left", rows - part, &mut || left = count(&engine, &large));
    assert_eq!(left, rows - part);
    other.stop();
    maintenance.stop();
    engine.shutdown().unwrap();
    drop(engine);
    std::fs::remove_dir_all(&dir).unwrap();
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("standard output can be written");
}

fn report(name: &str, count: i64, took: Duration, other: &Other) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let megabytes = |field: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) >> 10
    };
    let (resident, anonymous, most) = (megabytes("VmRSS:"), megabytes("RssAnon:"), megabytes("VmHWM:"));
    let rate = count as f64 / took.as_secs_f64();
    let (longest, commits) = (other.longest.load(Ordering::Relaxed) / 1000, other.commits.load(Ordering::Relaxed));
    let seconds = took.as_secs_f64();
    let late = if u128::from(longest) > STALL_MAX.as_millis() { ", beyond STALL_MAX" } else { "" };
    say(&format!("{name} | {seconds:.1} | {rate:.0} | {resident} ({anonymous}) | {most} | {longest}, {commits}{late}"));
}

/// A session that commits single rows, one after the other.
struct Other {
    stopped: Arc<AtomicBool>,
    /// Microseconds of the longest commit.
    longest: Arc<AtomicU64>,
    commits: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Other {
    fn start(engine: &Arc<Engine>, model: &Arc<Model>) -> Other {
        let (stopped, longest, commits) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::default());
        let (engine, model) = (engine.clone(), model.clone());
        let shared = (stopped.clone(), longest.clone(), Arc::<AtomicU64>::clone(&commits));
        let run = move || {
            let (stopped, longest, commits) = shared;
            for id in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let began = Instant::now();
                let mut transaction = engine.begin(TxnOptions::default()).unwrap();
                put(&mut transaction, &model, id);
                commit(Some(transaction));
                longest.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
                commits.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        Other { stopped, longest, commits, thread: std::thread::spawn(run) }
    }

    fn forget(&self) {
        self.longest.store(0, Ordering::Relaxed);
        self.commits.store(0, Ordering::Relaxed);
    }

    fn stop(self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn table(engine: &Arc<Engine>, name: &str) -> Arc<Model> {
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    let oid = create_table(&mut transaction, name, TableKind::Shared, false);
    commit(Some(transaction));
    Model::new(engine.catalog().relation(oid).unwrap()).unwrap()
}

fn values(id: i64, text: &str) -> Vec<Value> {
    vec![Value::Int(id), Value::text(format!("{text} {id} {}", "x".repeat(150)))]
}

fn put(transaction: &mut Transaction, model: &Model, id: i64) {
    let view = transaction.statement().unwrap();
    let written = transaction.insert_row(&view, model, SHARED, &values(id, "new")).unwrap();
    assert!(matches!(written, Written::Done(_)));
}

fn insert(engine: &Arc<Engine>, model: &Model, rows: i64) -> Transaction {
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    let view = transaction.statement().unwrap();
    for id in 0..rows {
        let written = transaction.insert_row(&view, model, SHARED, &values(id, "first")).unwrap();
        assert!(matches!(written, Written::Done(_)));
    }
    transaction
}

/// Updates or deletes the first rows, as a statement over the table does.
fn change(engine: &Arc<Engine>, model: &Model, rows: i64, update: bool) -> Transaction {
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    let view = transaction.statement().unwrap();
    for id in 0..rows {
        let key = model.row_key(SHARED, &values(id, ""), 0).unwrap();
        let row = (model.relation().oid, &key);
        let locked = transaction.lock_row(&view, row, RowLock::Update, true, LockPolicy::Wait).unwrap();
        let LockedRow::Granted(Some(old)) = locked else { panic!("row {id} is there") };
        if update {
            transaction.update_row(&view, model, SHARED, (&key, &old), &values(id, "second")).unwrap();
        } else {
            transaction.delete_row(&view, model, SHARED, &key, &old).unwrap();
        }
    }
    transaction
}

fn commit(transaction: Option<Transaction>) {
    transaction.expect("it is open").start_commit().unwrap().block().unwrap();
}

/// Waits until everything large is folded.
fn settle(engine: &Engine) {
    while engine.unfolded_bulks() > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn count(engine: &Arc<Engine>, model: &Model) -> i64 {
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    let view = transaction.statement().unwrap();
    let from = model.key_prefix(SHARED);
    let to = tertulia::encoding::key::prefix_successor(&from).unwrap();
    let bounds = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
    let mut cursor = transaction.cursor(&view, bounds.0, bounds.1, Direction::Forward);
    let (mut batch, mut found, mut more) = (Vec::new(), 0, true);
    while more {
        more = cursor.next_batch(&transaction, &view, &mut batch, 256).unwrap();
        found += batch.drain(..).count() as i64;
    }
    found
}
