//! What sessions see of one another and do to one another, on Tertulia and on PostgreSQL: wait events, cancelled and
//! terminated sessions, circles of waits over locks of every kind, sequences that are in use.

mod support;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, Event, Report};
use support::postgres::Postgres;
use support::server::{PASSWORD, Tertulia};

/// How long something may take that is sure to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server to connect to.
#[derive(Clone, Copy)]
struct Place {
    address: SocketAddr,
    superuser: (&'static str, &'static str, &'static str),
}

impl Place {
    fn client(&self) -> Client {
        let (user, password, database) = self.superuser;
        Client::connect(self.address, user, password, database).unwrap()
    }

    /// A session, and its process id.
    fn known(&self) -> (Client, i64) {
        let mut client = self.client();
        let pid = number(&mut client, "SELECT pg_backend_pid()");
        (client, pid)
    }
}

/// Runs a test on both servers.
fn on_both(test: impl Fn(Place)) {
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start(&directory.path().join("data"), "tertulia");
    test(Place { address: server.address(), superuser: ("tertulia", PASSWORD, "tertulia") });
    if let Some(postgres) = Postgres::start() {
        test(Place { address: postgres.address, superuser: ("postgres", "", "postgres") });
    }
}

fn text(client: &mut Client, sql: &str) -> String {
    let row = client.rows(sql).into_iter().next().unwrap_or_default();
    row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".to_owned())).collect::<Vec<_>>().join(" ")
}

fn number(client: &mut Client, sql: &str) -> i64 {
    text(client, sql).parse().unwrap()
}

/// Looks again, whenever others have had their turn, until a query gives this.
fn until(client: &mut Client, sql: &str, wanted: &str) {
    let start = Instant::now();
    loop {
        let found = text(client, sql);
        if found == wanted {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{sql} gives {found} and never {wanted}");
        thread::yield_now();
    }
}

fn until_event(client: &mut Client, pid: i64, wanted: &str) {
    let sql = format!("SELECT wait_event_type, wait_event, state FROM pg_stat_activity WHERE pid = {pid}");
    until(client, &sql, wanted);
}

/// Sends a query whose answer is read later.
fn begin(client: &mut Client, sql: &str) {
    client.write_query(sql);
    client.send();
}

/// The error of an answer, if there is one.
fn error_of(events: Vec<Event>) -> Option<Report> {
    events.into_iter().find_map(|event| match event {
        Event::Error(report) => Some(report),
        _ => None,
    })
}

/// The last words of a session that is ended.
fn last_words(client: &mut Client) -> Report {
    loop {
        match client.next().expect("a last message") {
            Event::Error(report) => {
                assert!(client.next().is_err(), "nothing comes after it");
                return report;
            }
            Event::Columns(_) | Event::Row(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Opens a block that has written so much that its commit takes a while: ten times a thousand rows of two kilobytes.
fn write_much(client: &mut Client) {
    client.run("BEGIN");
    for round in 0..10 {
        let rows = format!("generate_series({}, {})", 1_000_000 + round * 1_000, 1_000_999 + round * 1_000);
        client.run(&format!("INSERT INTO t SELECT n, repeat('x', 2000) FROM {rows} AS n"));
    }
}

#[test]
fn waits_show_as_what_they_are() {
    on_both(|place| {
        let [(mut holder, _), (mut first, one), (mut second, two)] = [place.known(), place.known(), place.known()];
        let mut watcher = place.client();
        holder.run("CREATE TABLE t (id integer PRIMARY KEY, v integer); INSERT INTO t VALUES (1, 10)");
        until_event(&mut watcher, one, "Client ClientRead idle");
        holder.run("BEGIN; UPDATE t SET v = 11");
        begin(&mut first, "UPDATE t SET v = 12");
        until_event(&mut watcher, one, "Lock transactionid active");
        begin(&mut second, "UPDATE t SET v = 13");
        until_event(&mut watcher, two, "Lock tuple active");
        holder.run("COMMIT");
        assert!(error_of(first.until_ready()).is_none() && error_of(second.until_ready()).is_none());
        holder.run("BEGIN; LOCK TABLE t");
        begin(&mut first, "BEGIN; SELECT * FROM t");
        until_event(&mut watcher, one, "Lock relation active");
        holder.run("COMMIT; SELECT pg_advisory_lock(7)");
        first.until_ready();
        until_event(&mut watcher, one, "Client ClientRead idle in transaction");
        begin(&mut first, "UPDATE t SET v = 14 WHERE pg_advisory_lock(7) IS NOT NULL");
        until_event(&mut watcher, one, "Lock advisory active");
        holder.run("SELECT pg_advisory_unlock(7)");
        first.until_ready();
        begin(&mut first, "SELECT pg_sleep(100)");
        until_event(&mut watcher, one, "Timeout PgSleep active");
        assert_eq!(text(&mut watcher, &format!("SELECT pg_cancel_backend({one})")), "t");
        let cancelled = error_of(first.until_ready()).unwrap();
        assert_eq!((&*cancelled.code, &*cancelled.message), ("57014", "canceling statement due to user request"));
        until_event(&mut watcher, one, "Client ClientRead idle in transaction (aborted)");
        begin(&mut second, "COPY t FROM STDIN");
        until_event(&mut watcher, two, "Client ClientRead active");
    });
}

#[test]
fn a_session_that_waits_for_a_lock_is_cancelled_and_terminated() {
    on_both(|place| {
        let [(mut holder, _), (mut waiter, pid)] = [place.known(), place.known()];
        holder.run("SELECT pg_advisory_lock(1)");
        begin(&mut waiter, "SELECT pg_advisory_lock(1)");
        until_event(&mut holder, pid, "Lock advisory active");
        holder.run(&format!("SELECT pg_cancel_backend({pid})"));
        assert_eq!(error_of(waiter.until_ready()).unwrap().code, "57014");
        waiter.run("SELECT pg_advisory_lock(2)");
        begin(&mut waiter, "SELECT pg_advisory_lock(1)");
        until_event(&mut holder, pid, "Lock advisory active");
        assert_eq!(text(&mut holder, &format!("SELECT pg_terminate_backend({pid}, 20000)")), "t");
        let last = last_words(&mut waiter);
        let told = (&*last.severity, &*last.code, &*last.message);
        assert_eq!(told, ("FATAL", "57P01", "terminating connection due to administrator command"));
        // it has ended, and gave back what it held
        assert_eq!(text(&mut holder, &format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}")), "0");
        assert_eq!(text(&mut holder, "SELECT pg_try_advisory_lock(2)"), "t");
    });
}

#[test]
fn idle_sessions_are_terminated_in_every_state() {
    on_both(|place| {
        for state in ["SELECT 1", "BEGIN; SELECT 1", "BEGIN; SELECT 1 / 0", "BEGIN; SAVEPOINT a; SELECT 1 / 0"] {
            let [(mut judge, _), (mut idle, pid)] = [place.known(), place.known()];
            idle.simple(state);
            assert_eq!(text(&mut judge, &format!("SELECT pg_terminate_backend({pid})")), "t");
            assert_eq!(last_words(&mut idle).code, "57P01", "{state}");
            until(&mut judge, &format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"), "0");
        }
    });
}

#[test]
fn a_session_whose_client_does_not_read_is_terminated() {
    on_both(|place| {
        let [(mut judge, _), (mut deaf, pid)] = [place.known(), place.known()];
        deaf.run("BEGIN; SELECT pg_advisory_xact_lock(1)");
        begin(&mut deaf, "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)");
        until_event(&mut judge, pid, "Client ClientWrite active");
        judge.run(&format!("SELECT pg_cancel_backend({pid})"));
        until_event(&mut judge, pid, "Client ClientWrite active");
        assert_eq!(text(&mut judge, &format!("SELECT pg_terminate_backend({pid})")), "t");
        until(&mut judge, &format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"), "0");
        assert_eq!(text(&mut judge, "SELECT pg_try_advisory_lock(1)"), "t");
    });
}

#[test]
fn a_session_terminates_itself() {
    on_both(|place| {
        let (mut client, _) = place.known();
        begin(&mut client, "SELECT pg_terminate_backend(pg_backend_pid())");
        assert_eq!(last_words(&mut client).code, "57P01");
    });
}

/// A circle over a row, a table and an application's number: one of the three fails, the others go on.
#[test]
fn a_circle_over_locks_of_every_kind_has_one_victim() {
    on_both(|place| {
        let [(mut row, _), (mut table, _), (mut advisory, _)] = [place.known(), place.known(), place.known()];
        // only PostgreSQL waits before it looks
        row.simple("SET deadlock_timeout = '50ms'");
        row.run("CREATE TABLE t (id integer PRIMARY KEY, v integer); CREATE TABLE u (id integer)");
        row.run("INSERT INTO t VALUES (1, 0)");
        let mut clients = [&mut row, &mut table, &mut advisory];
        let first = ["UPDATE t SET v = 1", "LOCK TABLE u", "SELECT pg_advisory_xact_lock(5)"];
        let then = ["INSERT INTO u VALUES (1)", "SELECT pg_advisory_xact_lock(5)", "UPDATE t SET v = 2 WHERE id = 1"];
        for (client, sql) in clients.iter_mut().zip(first) {
            client.run("BEGIN");
            client.run(sql);
        }
        for (client, sql) in clients.iter_mut().zip(then) {
            begin(client, sql);
        }
        // whoever fails ends its transaction, so that the one that waits for it goes on, and so forth
        let mut failed = Vec::new();
        thread::scope(|scope| {
            let ends: Vec<_> = clients
                .into_iter()
                .map(|client| {
                    scope.spawn(move || {
                        let failed = error_of(client.until_ready());
                        client.run("COMMIT");
                        failed
                    })
                })
                .collect();
            failed.extend(ends.into_iter().filter_map(|end| end.join().unwrap()));
        });
        let codes: Vec<&str> = failed.iter().map(|report| &*report.code).collect();
        assert_eq!(codes, ["40P01"]);
        let detail = failed[0].detail.clone().unwrap();
        for part in ["relation", "advisory lock [", "ShareLock on transaction", "blocked by process"] {
            assert!(detail.contains(part), "{detail}");
        }
        assert_eq!(detail.lines().count(), 3);
    });
}

/// Who has used a sequence keeps it from being dropped or restarted, to the end of the transaction.
#[test]
fn a_used_sequence_is_locked_until_the_transaction_ends() {
    on_both(|place| {
        let [(mut user, _), (mut definer, pid)] = [place.known(), place.known()];
        // PostgreSQL shows a transaction what it has seen of the others once
        let mut observer = place.client();
        user.run("CREATE SEQUENCE s; CREATE TABLE t (id bigint DEFAULT nextval('s'), v text)");
        let uses = [
            "BEGIN; INSERT INTO t (v) VALUES ('a')",
            "BEGIN; SELECT setval('s', 10)",
            "BEGIN; SAVEPOINT a; INSERT INTO t (v) VALUES ('b'); ROLLBACK TO a",
            "BEGIN; SELECT currval('s'), lastval()",
        ];
        for sql in uses {
            user.run(sql);
            begin(&mut definer, "ALTER SEQUENCE s RESTART");
            until_event(&mut observer, pid, "Lock relation active");
            user.run("COMMIT");
            assert!(error_of(definer.until_ready()).is_none(), "{sql}");
        }
        user.run("BEGIN; INSERT INTO t (v) VALUES ('c')");
        begin(&mut definer, "DROP SEQUENCE s CASCADE");
        until_event(&mut observer, pid, "Lock relation active");
        user.run("COMMIT");
        assert!(error_of(definer.until_ready()).is_none());
    });
}

/// Whoever has lost a session in its COMMIT waits until it is gone, and then knows what became of the transaction.
#[test]
fn a_session_is_there_until_its_commit_is_over() {
    on_both(|place| {
        let mut watcher = place.client();
        watcher.run("CREATE TABLE t (id integer PRIMARY KEY, v text)");
        let mut found = Vec::new();
        for round in 1..=15 {
            let (mut writer, pid) = place.known();
            if round == 10 {
                write_much(&mut writer);
            } else {
                writer.run("BEGIN");
            }
            writer.run(&format!("INSERT INTO t VALUES ({round}, 'small')"));
            begin(&mut writer, "COMMIT");
            drop(writer);
            until(&mut watcher, &format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"), "0");
            found.push(text(&mut watcher, &format!("SELECT count(*) FROM t WHERE id = {round}")));
            watcher.run("DELETE FROM t WHERE id >= 1000000");
        }
        let at_last: Vec<String> =
            (1..=15).map(|round| text(&mut watcher, &format!("SELECT count(*) FROM t WHERE id = {round}"))).collect();
        assert_eq!(found, at_last, "what was not there when the session was gone is never there");
        assert_eq!(text(&mut watcher, "SELECT count(*) FROM t WHERE id >= 1000000"), "0");
        assert!(found.contains(&"1".to_owned()), "no commit was received");
    });
}

/// What is told to be committed is not called cancelled afterwards, nor the other way round.
#[test]
fn a_cancel_during_a_commit_comes_too_late() {
    on_both(|place| {
        let [(mut writer, pid), (mut watcher, _)] = [place.known(), place.known()];
        writer.run("CREATE TABLE t (id integer PRIMARY KEY, v text)");
        for round in 0..2 {
            write_much(&mut writer);
            writer.write_parse("", "COMMIT", &[]);
            writer.write_bind("", "", &[], 0);
            writer.write_execute("", 0);
            writer.write_sync();
            writer.send();
            until(&mut watcher, &format!("SELECT query FROM pg_stat_activity WHERE pid = {pid}"), "COMMIT");
            watcher.run(&format!("SELECT pg_cancel_backend({pid})"));
            let events = writer.until_ready();
            let is_told = events.iter().any(|event| matches!(event, Event::Tag(tag) if tag == "COMMIT"));
            let error = error_of(events);
            let is_there = text(&mut watcher, "SELECT count(*) FROM t") == "10000";
            assert_eq!((is_told, is_there), (error.is_none(), error.is_none()), "round {round}: {error:?}");
            writer.run("ROLLBACK; DELETE FROM t");
        }
    });
}
