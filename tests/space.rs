//! The room that an index build or a rewrite of a table takes is given back, whenever the server is killed.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::client::Client;
use support::process::{PASSWORD, Running};
use support::random::Random;

/// Rows of the table, and the letters of each: an index of them or a copy is more than a transaction keeps in memory.
const ROWS: u64 = 24_000;
const LETTERS: u64 = 800;
/// Keys that may come and go beside rows and index entries: counters and marks.
const MARKS: u64 = 32;

fn connect(server: &Running) -> Client {
    Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap()
}

/// Keys in the store and entries of indexes, as `tertulia check` counts them; nothing may be damaged.
fn stored(data: &Path) -> (u64, u64, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tertulia"));
    let output = command.arg("check").arg(data).args(["--map-size", "4GB"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let line = text.lines().find(|line| line.starts_with("store: ") && line.contains(" keys")).unwrap();
    let number = |before: &str| -> u64 {
        let head = line.split_once(before).unwrap().0;
        head.rsplit([' ', ',']).next().unwrap().parse().unwrap()
    };
    (number(" keys"), number(" index entries"), text)
}

/// Files of transactions that are open or of commits that no log names.
fn left_over(data: &Path) -> Vec<String> {
    let names = std::fs::read_dir(data.join("bulk")).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| !name.ends_with(".bulk")).collect()
}

/// Ends the server once its background work has freed what it must: as many keys as `wanted` are left, about.
fn settle(data: &Path, wanted: u64) {
    for round in 0.. {
        let server = Running::start(data, &[]);
        connect(&server).run(&format!("SELECT pg_sleep({})", 0.3 * f64::from(round)));
        assert!(server.terminate().0.success());
        let (keys, _, text) = stored(data);
        if keys <= wanted + MARKS && !text.contains("belong to nothing") {
            assert!(keys + MARKS >= wanted, "{keys} keys are left of {wanted}");
            return;
        }
        assert!(round < 10, "{keys} keys are left, not {wanted}:\n{text}");
    }
}

/// Runs a statement and kills the server while it has files in use; whether it was done by then.
fn kill_within(data: &Path, server: Running, sql: &str, random: &mut Random) -> bool {
    let mut client = connect(&server);
    std::thread::scope(|scope| {
        let running = scope.spawn(move || client.try_simple(sql).1);
        while left_over(data).is_empty() && !running.is_finished() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        std::thread::park_timeout(Duration::from_micros(random.below(300_000)));
        server.kill();
        running.join().unwrap()
    })
}

#[test]
fn what_a_killed_build_or_rewrite_wrote_is_freed() {
    let (mut random, _) = Random::seeded("TERTULIA_SPACE_SEED");
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Running::start(data, &[]);
    connect(&server).run("CREATE TABLE t (id bigint PRIMARY KEY, body text)");
    connect(&server)
        .run(&format!("INSERT INTO t SELECT g, repeat('x', {LETTERS}) || g FROM generate_series(1, {ROWS}) AS s(g)"));
    assert!(server.terminate().0.success());
    let (keys, entries, _) = stored(data);
    assert_eq!(entries, 0);
    let mut killed = 0;
    for sql in [
        "CREATE INDEX by_body ON t (body)",
        "ALTER TABLE t ALTER body TYPE text USING body || '!'",
        "CREATE UNIQUE INDEX by_body ON t (body)",
        "ALTER TABLE t ALTER id TYPE numeric",
    ] {
        let done = kill_within(data, Running::start(data, &[]), sql, &mut random);
        killed += usize::from(!done);
        let server = Running::start(data, &[]);
        assert_eq!(left_over(data), [""; 0], "{sql}: files of a transaction that is gone");
        let mut client = connect(&server);
        assert_eq!(client.rows("SELECT count(*) FROM t")[0][0], Some(ROWS.to_string()), "{sql}");
        let indexed = client.rows("SELECT 1 FROM pg_indexes WHERE indexname = 'by_body'").len();
        if indexed > 0 {
            // it was committed in time: then what it has is freed when it is dropped, over a kill too
            client.run("DROP INDEX by_body");
        }
        server.kill();
        settle(data, keys);
    }
    assert!(killed > 0, "every statement was done before it was killed");
    // committed, and killed before the old storage is freed
    let size = || std::fs::metadata(data.join("index/data.mdb")).unwrap().len();
    let before = size();
    for _ in 0..2 {
        let server = Running::start(data, &[]);
        connect(&server).run("ALTER TABLE t ALTER body TYPE text USING body || '?'; CREATE INDEX by_body ON t (body)");
        connect(&server).run("DROP INDEX by_body");
        server.kill();
        settle(data, keys);
    }
    let after = size();
    assert!(after < 4 * before, "pages are used again: {before} bytes before, {after} after");
}
