//! Definitions without end: whatever is made and dropped again leaves nothing behind, in memory or on disk.
//!
//! `TERTULIA_DEFINITION_LOOPS` says how many rounds instead of a few; the figures are printed with `--nocapture`.

mod support;

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use support::golden::Runner;
use support::in_process::InProcess;
use tertulia::catalog::Catalog;
use tertulia::encoding::key::{Space, prefix};
use tertulia::limits::FEED_BYTES_MAX;
use tertulia::storage::Direction;
use tertulia::txn::{Engine, EngineOptions};
use tertulia::types::{ScopeId, StorageId};

const LOOPS_DEFAULT: usize = 25;

/// Definitions of every kind on tables with rows, that leave all as it was.
const ROUND: &[&str] = &[
    "CREATE TABLE a (id int PRIMARY KEY, v text UNIQUE, n int)",
    "INSERT INTO a VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)",
    "ALTER TABLE a ADD COLUMN w int DEFAULT 4",
    "ALTER TABLE a ADD COLUMN x bigint DEFAULT SNOWFLAKE_ID(), ALTER n TYPE bigint",
    "ALTER TABLE a DROP COLUMN w, ADD CHECK (n < 9)",
    "ALTER TABLE a DROP CONSTRAINT a_pkey",
    "TRUNCATE a",
    "INSERT INTO a (id, v) VALUES (1, 'one')",
    "ALTER TABLE kept ADD CONSTRAINT low CHECK (n < 1000), ADD UNIQUE (n)",
    "CREATE INDEX kept_n ON kept (n DESC, id); CREATE UNIQUE INDEX kept_u ON kept (n, id)",
    "ALTER INDEX kept_n RENAME TO kept_m; ALTER TABLE kept RENAME CONSTRAINT kept_n_key TO kept_key",
    "ALTER TABLE kept ALTER n TYPE bigint; UPDATE kept SET n = n + 500 WHERE id < 50; ALTER TABLE kept ALTER n TYPE int",
    "ALTER TABLE kept DROP CONSTRAINT kept_pkey; DROP INDEX kept_m; ALTER TABLE kept ADD PRIMARY KEY (id)",
    "BEGIN; CREATE INDEX gone ON kept (n); SAVEPOINT a; DROP INDEX gone, kept_u; TRUNCATE kept; ROLLBACK TO a; ROLLBACK",
    "DROP INDEX kept_u; ALTER TABLE kept DROP CONSTRAINT low, DROP CONSTRAINT kept_key",
    "TRUNCATE kept; INSERT INTO kept SELECT i, i FROM generate_series(1, 300) AS i",
    "CREATE TOPIC p; ALTER TOPIC p ADD SOURCE a ON INSERT",
    "INSERT INTO a (id, v) VALUES (2, 'two')",
    "CREATE SCHEMA s; CREATE TABLE s.b (id int) WITH (TYPE = 'STREAM', TTL_SECONDS = 60); INSERT INTO s.b VALUES (1)",
    "DROP SCHEMA s CASCADE; DROP TABLE a CASCADE; DROP TOPIC p",
    "CREATE ROLE r; GRANT SELECT ON kept TO r; REVOKE SELECT ON kept FROM r; DROP ROLE r",
    "BEGIN; CREATE TABLE a (id int); INSERT INTO a VALUES (1); ALTER TABLE a ADD PRIMARY KEY (id); ROLLBACK",
];

/// What there is.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    objects: usize,
    keys: usize,
    locks: usize,
}

/// What the store and the process take, kilobytes.
#[derive(Clone, Copy, Debug)]
struct Size {
    store: u64,
    memory: u64,
}

/// What either may grow by after the first rounds: the commits that the changefeed keeps, each with its catalog, a
/// generation or two, and what the allocator keeps.
const GROWTH_KILOBYTES: u64 = (FEED_BYTES_MAX as u64 >> 10) + (32 << 10);

fn left(engine: &Arc<Engine>) -> Left {
    while engine.free_dropped().unwrap() {}
    let catalog: Arc<Catalog> = engine.catalog();
    let snapshot = engine.snapshot().unwrap();
    let mut cursor = snapshot.cursor(Bound::Unbounded, Bound::Unbounded, Direction::Forward);
    let (mut keys, mut batch, mut more) = (0, Vec::new(), true);
    let marks = prefix(Space::Meta, StorageId(0), ScopeId::SHARED);
    while more {
        more = cursor.next_batch(&snapshot, &mut batch, 1_000).unwrap();
        // not the engine's own counters and marks, which come when they are first needed
        keys += batch.drain(..).filter(|(key, _)| !key.starts_with(&marks)).count();
    }
    // not those of the maintenance thread, which sweeps whenever it likes
    let locks = engine.lock_report().iter().filter(|lock| lock.pid != 0).count();
    Left { objects: catalog.entries().count(), keys, locks }
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| if entry.path().is_dir() { bytes_below(&entry.path()) } else { entry.metadata().unwrap().len() })
        .sum()
}

/// The folded store and the files of large commits. The log is kept for subscribers, as long as `change_retention` says.
fn store_kilobytes(dir: &Path) -> u64 {
    ["index", "bulk"].into_iter().map(|part| bytes_below(&dir.join(part))).sum::<u64>() >> 10
}

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[test]
fn definitions_in_a_loop_leave_nothing() {
    let loops = std::env::var("TERTULIA_DEFINITION_LOOPS").ok().and_then(|loops| loops.parse().ok());
    let loops: usize = loops.unwrap_or(LOOPS_DEFAULT);
    let dir = tempfile::tempdir().unwrap();
    // recent commits are folded early, so that what grows is not what waits in memory to be folded
    let options = EngineOptions { generation_bytes: 1 << 20, ..EngineOptions::new(dir.path()) };
    let mut server = InProcess::start_with(options, "postgres");
    let engine = server.engine().clone();
    server.statement("", "CREATE TABLE kept (id int PRIMARY KEY, n int)");
    let round = |server: &mut InProcess| {
        for &sql in ROUND {
            let answer = server.statement("", sql);
            assert!(!answer.contains("ERROR"), "{sql}: {answer}");
        }
    };
    round(&mut server);
    let before = left(&engine);
    // a quarter of the rounds brings caches and files to their size
    let mut settled = None;
    for done in 1..=loops {
        round(&mut server);
        if done % loops.div_ceil(8) == 0 || done == loops {
            let left = left(&engine);
            assert_eq!(left, before, "after {done} rounds");
            let size = Size { store: store_kilobytes(dir.path()), memory: resident_kilobytes() };
            println!("after {done} rounds of {} texts: {left:?}, {size:?}", ROUND.len());
            if done >= loops.div_ceil(4) {
                let settled = settled.get_or_insert(size);
                assert!(size.store <= settled.store + GROWTH_KILOBYTES, "the store grows: {settled:?}, {size:?}");
                assert!(size.memory <= settled.memory + GROWTH_KILOBYTES, "memory grows: {settled:?}, {size:?}");
            }
        }
    }
}
