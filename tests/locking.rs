//! Row locks under contention: queues of jobs, transfers that deadlock, portals that lock as they are fetched, and what
//! the server says of who waits for whom.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use support::client::{Client, Event};
use support::server::{PASSWORD, Tertulia};
use tertulia::txn::{Engine, LockInfo, LockMode, LockedThing};
use tertulia::types::Oid;

struct Fixture {
    server: Tertulia,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let server = Tertulia::start(&directory.path().join("data"), "tertulia");
        Fixture { server, _directory: directory }
    }

    fn client(&self) -> Client {
        Client::connect(self.server.address(), "tertulia", PASSWORD, "tertulia").unwrap()
    }

    fn engine(&self) -> &Arc<Engine> {
        self.server.engine()
    }
}

fn ids(client: &mut Client, sql: &str) -> Vec<i64> {
    client.rows(sql).into_iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect()
}

fn pid(client: &mut Client) -> i32 {
    ids(client, "SELECT pg_backend_pid()")[0] as i32
}

/// Looks again whenever another thread has had its turn, until a session waits.
fn until_waiting(engine: &Engine, pid: i32) {
    while !engine.is_waiting(pid) {
        thread::yield_now();
    }
}

#[test]
fn workers_that_skip_locked_rows_take_every_job_once() {
    const JOBS: i64 = 200;
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.run("CREATE TABLE jobs (id bigint PRIMARY KEY, done boolean NOT NULL, runs integer NOT NULL)");
    client.run(&format!("INSERT INTO jobs SELECT id, false, 0 FROM generate_series(1, {JOBS}) id"));
    let left = AtomicUsize::new(JOBS as usize);
    let mut taken: Vec<i64> = thread::scope(|scope| {
        let worker = || {
            let mut worker = fixture.client();
            let mut taken = Vec::new();
            while left.load(Ordering::Relaxed) > 0 {
                worker.run("BEGIN");
                let job = "SELECT id FROM jobs WHERE NOT done ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";
                if let Some(id) = ids(&mut worker, job).first() {
                    worker.run(&format!("UPDATE jobs SET done = true, runs = runs + 1 WHERE id = {id}"));
                    taken.push(*id);
                    left.fetch_sub(1, Ordering::Relaxed);
                }
                worker.run("COMMIT");
            }
            taken
        };
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    taken.sort_unstable();
    assert_eq!(taken, (1..=JOBS).collect::<Vec<_>>());
    assert_eq!(ids(&mut client, "SELECT count(*) FROM jobs WHERE done AND runs = 1"), [JOBS]);
}

/// Locks in random order, so that transfers deadlock often; each is done again until it is done once.
#[test]
fn transfers_that_deadlock_lose_and_invent_nothing() {
    const ACCOUNTS: i64 = 5;
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.run("CREATE TABLE account (id bigint PRIMARY KEY, value bigint NOT NULL)");
    client.run(&format!("INSERT INTO account SELECT id, 100 FROM generate_series(1, {ACCOUNTS}) id"));
    let transfer = |client: &mut Client, from: i64, to: i64| -> Option<String> {
        let steps = [
            "BEGIN".to_owned(),
            format!("SELECT value FROM account WHERE id = {from} FOR SHARE"),
            format!("UPDATE account SET value = value - 1 WHERE id = {from}"),
            format!("SELECT value FROM account WHERE id = {to} FOR NO KEY UPDATE"),
            format!("UPDATE account SET value = value + 1 WHERE id = {to}"),
            "COMMIT".to_owned(),
        ];
        for step in steps {
            let failed = client.simple(&step).into_iter().find_map(|event| match event {
                Event::Error(report) => Some(report.code),
                _ => None,
            });
            if failed.is_some() {
                client.run("ROLLBACK");
                return failed;
            }
        }
        None
    };
    let (done, deadlocks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..6_i64 {
            let (fixture, done, deadlocks) = (&fixture, &done, &deadlocks);
            scope.spawn(move || {
                let mut client = fixture.client();
                for round in 0..40 {
                    let (from, to) = ((number + round) % ACCOUNTS + 1, (number * 3 + round * 2) % ACCOUNTS + 1);
                    while let Some(code) = transfer(&mut client, from, to) {
                        assert_eq!(code, "40P01");
                        deadlocks.fetch_add(1, Ordering::Relaxed);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(done.into_inner(), 240);
    assert!(deadlocks.into_inner() > 0, "nothing deadlocked: the test shows nothing");
    assert_eq!(ids(&mut client, "SELECT sum(value)::bigint FROM account"), [ACCOUNTS * 100]);
    assert_eq!(held(fixture.engine()), 0, "all locks are given back");
}

fn held(engine: &Engine) -> usize {
    engine.lock_report().len()
}

#[test]
fn a_portal_locks_the_rows_that_it_has_given_out() {
    let fixture = Fixture::new();
    let (mut first, mut second) = (fixture.client(), fixture.client());
    first.run("CREATE TABLE t (id bigint PRIMARY KEY); INSERT INTO t SELECT id FROM generate_series(1, 4) id");
    first.run("BEGIN");
    first.write_parse("", "SELECT id FROM t WHERE id >= $1 ORDER BY id FOR UPDATE", &[]);
    first.write_bind("p", "", &[Some(b"1")], 0);
    first.write_execute("p", 2);
    first.write_sync();
    first.send();
    first.until_ready();
    let free = "SELECT id FROM t ORDER BY id FOR KEY SHARE SKIP LOCKED";
    assert_eq!(ids(&mut second, free), [3, 4]);
    first.write_execute("p", 1);
    first.write_sync();
    first.send();
    first.until_ready();
    assert_eq!(ids(&mut second, free), [4]);
    first.run("COMMIT");
    assert_eq!(ids(&mut second, free), [1, 2, 3, 4]);
}

#[test]
fn a_suspended_portal_does_not_come_back_to_rows_that_its_transaction_has_changed() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, v bigint); INSERT INTO t SELECT id, 0 FROM generate_series(1, 4) id",
    );
    client.run("BEGIN");
    client.write_parse("", "SELECT id FROM t WHERE id >= $1 ORDER BY id FOR UPDATE", &[]);
    client.write_bind("p", "", &[Some(b"1")], 0);
    client.write_execute("p", 1);
    client.write_sync();
    client.send();
    client.until_ready();
    client.run("UPDATE t SET v = 1 WHERE id = 2; UPDATE t SET v = 1 WHERE id = 3");
    client.write_execute("p", 0);
    client.write_sync();
    client.send();
    let rows = client.until_ready().into_iter().filter_map(|event| match event {
        Event::Row(cells) => cells[0].clone(),
        _ => None,
    });
    assert_eq!(rows.collect::<Vec<_>>(), [b"4".to_vec()]);
    client.run("COMMIT");
}

#[test]
fn waits_for_a_row_show_as_in_postgresql() {
    let fixture = Fixture::new();
    let [mut holder, mut first, mut second] = [fixture.client(), fixture.client(), fixture.client()];
    holder.run("CREATE TABLE t (id bigint PRIMARY KEY, v bigint); INSERT INTO t VALUES (1, 10)");
    let [holder_pid, first_pid, second_pid] = [&mut holder, &mut first, &mut second].map(pid);
    let table = Oid(ids(&mut holder, "SELECT tableoid::bigint FROM t")[0] as u32);
    holder.run("BEGIN; UPDATE t SET v = 11 WHERE id = 1");
    let engine = fixture.engine();
    for (waiter, pid) in [(&mut first, first_pid), (&mut second, second_pid)] {
        waiter.write_query("SELECT v FROM t WHERE id = 1 FOR UPDATE");
        waiter.send();
        until_waiting(engine, pid);
    }
    assert_eq!(engine.lock_blockers(first_pid), [holder_pid]);
    assert_eq!(engine.lock_blockers(second_pid), [first_pid]);
    assert_eq!(engine.lock_blockers(holder_pid), [0_i32; 0]);
    let report = engine.lock_report();
    let shown = |pid: i32| {
        let of = report.iter().filter(|info| info.pid == pid && !matches!(info.thing, LockedThing::Virtual(_)));
        of.map(|LockInfo { thing, mode, granted, .. }| (*thing, *mode, *granted)).collect::<Vec<_>>()
    };
    let number = report.iter().find_map(|info| match info.thing {
        LockedThing::Transaction(number) if info.pid == holder_pid => Some(number),
        _ => None,
    });
    let transaction = LockedThing::Transaction(number.expect("who writes has a number"));
    let (relation, tuple) = (LockedThing::Relation(table), LockedThing::Tuple(table));
    assert_eq!(shown(holder_pid), [(relation, LockMode::RowExclusive, true), (transaction, LockMode::Exclusive, true)]);
    let of_first = shown(first_pid);
    assert_eq!(of_first[..2], [(relation, LockMode::RowShare, true), (tuple, LockMode::AccessExclusive, true)]);
    assert!(of_first.contains(&(transaction, LockMode::Share, false)));
    let of_second = shown(second_pid);
    assert_eq!(of_second[..2], [(relation, LockMode::RowShare, true), (tuple, LockMode::AccessExclusive, false)]);
    assert!(report.iter().all(|info| info.granted == info.since.is_none()));
    holder.run("COMMIT");
    for waiter in [&mut first, &mut second] {
        waiter.until_ready();
    }
    assert_eq!(held(engine), 0);
}

/// More locks than the committer gives back in one go: they are given back all the same before the client hears of it.
#[test]
fn many_row_locks_are_given_back_before_the_answer() {
    const ROWS: i64 = 40_000;
    let fixture = Fixture::new();
    let (mut first, mut second) = (fixture.client(), fixture.client());
    first.run("CREATE TABLE t (id bigint PRIMARY KEY, v bigint)");
    first.run(&format!("INSERT INTO t SELECT id, 0 FROM generate_series(1, {ROWS}) id"));
    let lock_all = "SELECT id FROM t FOR NO KEY UPDATE";
    for end in ["COMMIT", "UPDATE t SET v = 1 WHERE id = 7; COMMIT", "ROLLBACK"] {
        first.run("BEGIN");
        assert_eq!(first.rows(lock_all).len() as i64, ROWS);
        assert_eq!(second.failure("SELECT id FROM t WHERE id = 9 FOR SHARE NOWAIT").code, "55P03");
        first.run(end);
        assert_eq!(second.rows("SELECT id FROM t FOR UPDATE NOWAIT").len() as i64, ROWS, "after {end}");
        assert_eq!(held(fixture.engine()), 0);
    }
}

/// The same of what ROLLBACK TO gives back, after an error too, and the transaction goes on.
#[test]
fn many_row_locks_are_given_back_to_a_savepoint() {
    const ROWS: i64 = 40_000;
    let fixture = Fixture::new();
    let (mut first, mut second) = (fixture.client(), fixture.client());
    first.run("CREATE TABLE t (id bigint PRIMARY KEY, v bigint)");
    first.run(&format!("INSERT INTO t SELECT id, 0 FROM generate_series(1, {ROWS}) id"));
    first.run("BEGIN; SELECT id FROM t WHERE id = 1 FOR UPDATE; SAVEPOINT s");
    for attempt in 0..3 {
        assert_eq!(first.rows("SELECT id FROM t FOR UPDATE").len() as i64, ROWS);
        if attempt == 1 {
            assert_eq!(first.failure("SELECT 1 / 0").code, "22012");
        }
        first.run("ROLLBACK TO s");
        assert_eq!(second.rows("SELECT id FROM t FOR UPDATE SKIP LOCKED").len() as i64, ROWS - 1);
    }
    // in one message with what locks them again
    first.rows("SELECT id FROM t FOR UPDATE");
    first.run("ROLLBACK TO s; SELECT id FROM t FOR UPDATE; SAVEPOINT again");
    assert_eq!(second.failure("SELECT id FROM t WHERE id = 9 FOR SHARE NOWAIT").code, "55P03");
    first.run("ROLLBACK TO again; COMMIT");
    assert_eq!(second.rows("SELECT id FROM t FOR UPDATE NOWAIT").len() as i64, ROWS);
    assert_eq!(held(fixture.engine()), 0);
}

/// Nobody waits for the answer: those who want the rows get them all the same, and the server's end waits for it.
#[test]
fn many_row_locks_of_a_client_that_goes_away_are_given_back() {
    const ROWS: i64 = 40_000;
    let fixture = Fixture::new();
    let (mut first, mut second) = (fixture.client(), fixture.client());
    first.run("CREATE TABLE t (id bigint PRIMARY KEY, v bigint)");
    first.run(&format!("INSERT INTO t SELECT id, 0 FROM generate_series(1, {ROWS}) id"));
    for last_words in ["", "ROLLBACK", "UPDATE t SET v = 1 WHERE id = 7; COMMIT"] {
        let mut gone = fixture.client();
        gone.run("BEGIN");
        assert_eq!(gone.rows("SELECT id FROM t FOR UPDATE").len() as i64, ROWS);
        if !last_words.is_empty() {
            gone.write_query(last_words);
            assert!(gone.try_send());
        }
        drop(gone);
        assert_eq!(second.rows("SELECT id FROM t FOR UPDATE").len() as i64, ROWS, "after {last_words:?}");
    }
    let mut gone = fixture.client();
    gone.run("BEGIN");
    gone.rows("SELECT id FROM t FOR UPDATE");
    gone.write_query("ROLLBACK");
    assert!(gone.try_send());
}
