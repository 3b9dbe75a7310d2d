//! What must hold when sessions meet: definitions beside writers, plans beside definitions, names beside roles.

mod support;

use std::thread;
use support::client::{Client, Event};
use support::server::{PASSWORD, Tertulia};

struct Fixture {
    server: Tertulia,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let server = Tertulia::start(&directory.path().join("data"), "tertulia");
        Fixture { server, directory }
    }

    fn client(&self) -> Client {
        self.named("tertulia", PASSWORD)
    }

    fn named(&self, user: &str, password: &str) -> Client {
        Client::connect(self.server.address(), user, password, "tertulia").unwrap()
    }
}

fn values(client: &mut Client, sql: &str) -> Vec<String> {
    client.rows(sql).into_iter().map(|row| row[0].clone().unwrap_or_default()).collect()
}

fn code(events: &[Event]) -> Option<&str> {
    events.iter().find_map(|event| match event {
        Event::Error(report) => Some(report.code.as_str()),
        _ => None,
    })
}

fn execute(client: &mut Client, statement: &str, parameters: &[Option<&[u8]>]) -> Vec<Event> {
    client.write_bind("", statement, parameters, 0);
    client.write_execute("", 0);
    client.write_sync();
    client.send();
    client.until_ready()
}

#[test]
fn a_plan_made_against_a_definition_goes_with_its_rollback() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.run("CREATE TABLE t (a integer PRIMARY KEY)");
    client.write_parse("put", "INSERT INTO t VALUES ($1)", &[]);
    client.write_sync();
    client.send();
    client.until_ready();
    client.run("BEGIN; DROP TABLE t; CREATE TABLE t (a integer PRIMARY KEY)");
    assert_eq!(code(&execute(&mut client, "put", &[Some(b"1")])), None);
    client.run("PREPARE put_too AS INSERT INTO t VALUES ($1)");
    client.run("ROLLBACK");
    assert_eq!(code(&execute(&mut client, "put", &[Some(b"2")])), None);
    client.run("EXECUTE put_too(3)");
    assert_eq!(values(&mut client, "SELECT a FROM t ORDER BY a"), ["2", "3"]);
}

#[test]
fn prepared_statements_that_execute_each_other_are_refused() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    for (name, sql) in [("b", "SELECT 1"), ("a", "EXECUTE b")] {
        client.write_parse(name, sql, &[]);
    }
    client.write_close(b'S', "b");
    client.write_parse("b", "EXECUTE a", &[]);
    client.write_sync();
    client.send();
    assert_eq!(code(&client.until_ready()), None);
    assert_eq!(client.failure("EXECUTE a").code, "0A000");
}

#[test]
fn a_definition_waits_for_those_who_use_the_table_and_they_for_it() {
    let fixture = Fixture::new();
    let (mut writer, mut definer) = (fixture.client(), fixture.client());
    writer.run("CREATE TABLE t (a integer PRIMARY KEY, v integer); CREATE TOPIC w; CREATE TOPIC fed");
    writer.run("ALTER TOPIC fed ADD SOURCE t ON INSERT");
    definer.run("SET lock_timeout = '20ms'");
    let definitions = [
        "ALTER TABLE t ADD CONSTRAINT v_key UNIQUE (v)",
        "ALTER TABLE t ADD COLUMN n integer NOT NULL DEFAULT 0",
        "DROP TABLE t CASCADE",
        "ALTER TOPIC w ADD SOURCE t ON INSERT",
        "DROP TOPIC fed",
    ];
    writer.run("BEGIN; INSERT INTO t VALUES (1, 1)");
    for definition in definitions {
        assert_eq!(definer.failure(definition).code, "55P03", "{definition}");
    }
    writer.run("COMMIT; BEGIN; SELECT * FROM t");
    for definition in &definitions[..3] {
        assert_eq!(definer.failure(definition).code, "55P03", "{definition}");
    }
    writer.run("COMMIT");
    definer.run("BEGIN; ALTER TABLE t ADD COLUMN n integer NOT NULL DEFAULT 7");
    writer.run("SET lock_timeout = '20ms'");
    for statement in ["SELECT * FROM t", "INSERT INTO t VALUES (2, 2)", "DELETE FROM t"] {
        assert_eq!(writer.failure(statement).code, "55P03", "{statement}");
    }
    definer.run("INSERT INTO t VALUES (3, 3, 3)");
    writer.run("SET lock_timeout = 0");
    let waiting = thread::spawn(move || writer.rows("SELECT * FROM t ORDER BY a"));
    definer.run("COMMIT");
    let row = |cells: [&str; 3]| cells.map(|cell| Some(cell.to_owned())).to_vec();
    assert_eq!(waiting.join().unwrap(), [row(["1", "1", "7"]), row(["3", "3", "3"])]);
}

#[test]
fn an_old_snapshot_does_not_make_a_table_empty_for_a_definition() {
    let fixture = Fixture::new();
    let (mut definer, mut writer) = (fixture.client(), fixture.client());
    definer.run("CREATE TABLE t (a integer PRIMARY KEY, v integer)");
    definer.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    writer.run("INSERT INTO t VALUES (1, 1), (2, 1)");
    assert_eq!(definer.failure("ALTER TABLE t ADD UNIQUE (v)").code, "23505");
}

#[test]
fn a_role_that_takes_another_s_name_does_not_take_its_sessions() {
    let fixture = Fixture::new();
    let mut admin = fixture.client();
    admin.run("CREATE TABLE kept (a integer)");
    admin.run("CREATE ROLE low LOGIN PASSWORD 'p'; CREATE ROLE worker; GRANT worker TO low");
    let mut low = fixture.named("low", "p");
    low.run("SET ROLE worker");
    admin.run("ALTER ROLE worker RENAME TO former; CREATE ROLE worker SUPERUSER");
    admin.run("ALTER ROLE low RENAME TO lower; CREATE ROLE low SUPERUSER");
    low.run("SET application_name = 'x'; SELECT 1");
    assert_eq!(low.rows("SELECT current_user, session_user")[0], [Some("former".into()), Some("lower".into())]);
    assert_eq!(low.failure("SELECT * FROM kept").code, "42501");
    low.run("BEGIN; SET LOCAL application_name = 'y'; COMMIT");
    assert_eq!(low.failure("SELECT * FROM kept").code, "42501");
    admin.run("BEGIN; CREATE ROLE fresh; SET ROLE fresh");
    assert_eq!(values(&mut admin, "SELECT current_user"), ["fresh"]);
    assert_eq!(admin.failure("SELECT * FROM kept").code, "42501");
}

#[test]
fn messages_go_by_the_sources_that_the_commit_has() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.run("CREATE TABLE t (a integer PRIMARY KEY); CREATE TOPIC one; CREATE TOPIC two");
    client.run("BEGIN; SAVEPOINT s; ALTER TOPIC one ADD SOURCE t ON INSERT; INSERT INTO t VALUES (1)");
    client.run("ROLLBACK TO s; INSERT INTO t VALUES (2); COMMIT");
    assert_eq!(values(&mut client, "SELECT count(*) FROM one"), ["0"]);
    client.run("ALTER TOPIC one ADD SOURCE t ON INSERT");
    client.run("BEGIN; INSERT INTO t VALUES (3); SAVEPOINT s; ALTER TOPIC one DROP SOURCE t");
    client.run("INSERT INTO t VALUES (4); ROLLBACK TO s; COMMIT");
    assert_eq!(values(&mut client, "SELECT key FROM one"), ["3"]);
    client.run("BEGIN; INSERT INTO t VALUES (5); ALTER TOPIC two ADD SOURCE t ON INSERT");
    client.run("INSERT INTO t VALUES (6); COMMIT");
    assert!(values(&mut client, "SELECT key FROM two").contains(&"6".to_owned()));
    assert_eq!(values(&mut client, "SELECT key FROM one ORDER BY key"), ["3", "5", "6"]);
}

#[test]
fn a_commit_that_fails_in_a_pipeline_takes_what_follows_with_it() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.run("CREATE TABLE t (a integer PRIMARY KEY, b text); CREATE TABLE other (b text)");
    client.run("INSERT INTO t VALUES (1, NULL)");
    // the first segment of 64 MiB has no room for a fifth of these, each of which is small enough for memory
    for _ in 0..4 {
        client.run("INSERT INTO other VALUES (repeat('x', 14 * 1024 * 1024))");
    }
    client.run("BEGIN; INSERT INTO t VALUES (2, repeat('x', 14 * 1024 * 1024))");
    let (log, away) = (fixture.directory.path().join("data/log"), fixture.directory.path().join("away"));
    std::fs::rename(&log, &away).unwrap();
    for sql in ["COMMIT", "INSERT INTO t VALUES (3)"] {
        client.write_parse("", sql, &[]);
        client.write_bind("", "", &[], 0);
        client.write_execute("", 0);
    }
    client.write_flush();
    client.send();
    while !matches!(client.next().unwrap(), Event::Error(_)) {}
    std::fs::rename(&away, &log).unwrap();
    client.write_sync();
    client.send();
    client.until_ready();
    assert_eq!(values(&mut client, "SELECT a FROM t ORDER BY a"), ["1"], "everything up to Sync is passed over");
}

#[test]
fn notifications_of_a_function_have_the_statement_s_bounds() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let failure = client.failure("SELECT pg_notify('c', repeat('x', 2 * 1024 * 1024))");
    assert_eq!((failure.code.as_str(), failure.message.as_str()), ("22023", "payload string too long"));
    let failure = client.failure("SELECT pg_notify(repeat('c', 64), '')");
    assert_eq!((failure.code.as_str(), failure.message.as_str()), ("22023", "channel name too long"));
}

#[test]
fn definitions_beside_readers_and_writers_leave_no_trace_but_waits() {
    let fixture = Fixture::new();
    let mut definer = fixture.client();
    definer.run("CREATE TABLE t (a integer PRIMARY KEY, v integer UNIQUE); CREATE TOPIC w");
    definer.run("INSERT INTO t SELECT 0, 0");
    let workers: Vec<_> = (0..3)
        .map(|worker| {
            let mut client = fixture.client();
            client.write_parse("all", "SELECT * FROM t", &[]);
            client.write_sync();
            client.send();
            client.until_ready();
            thread::spawn(move || {
                let mut codes = Vec::new();
                for n in 0..60 {
                    let id = 1 + worker * 1_000 + n;
                    let mut said = client.simple(&format!("INSERT INTO t (a, v) VALUES ({id}, {id})"));
                    said.extend(client.simple("BEGIN; UPDATE t SET v = v WHERE a = 0; SELECT * FROM t; COMMIT"));
                    said.extend(client.simple("ROLLBACK"));
                    said.extend(execute(&mut client, "all", &[]));
                    said.extend(client.simple(&format!("DELETE FROM t WHERE a = {id} AND v = {id}")));
                    codes.extend(code(&said).map(str::to_owned));
                }
                codes
            })
        })
        .collect();
    for n in 0..12 {
        definer.run(&format!("ALTER TABLE t ADD COLUMN c{n} integer DEFAULT {n}"));
        definer.run("ALTER TOPIC w ADD SOURCE t ON INSERT");
        definer.run("CREATE TABLE other (a integer); DROP TABLE other");
        definer.run("ALTER TOPIC w DROP SOURCE t");
        definer.run(&format!("ALTER TABLE t DROP COLUMN c{n}"));
    }
    for worker in workers {
        let codes = worker.join().unwrap();
        // a prepared statement whose columns have changed says so
        assert!(codes.iter().all(|code| code == "0A000"), "{codes:?}");
    }
    assert_eq!(values(&mut definer, "SELECT a FROM t"), ["0"]);
    let offsets = values(&mut definer, "SELECT \"offset\" FROM w ORDER BY \"offset\"");
    assert_eq!(offsets, (0..offsets.len()).map(|offset| offset.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_portal_means_what_it_meant_when_it_was_bound() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.run("CREATE TABLE kept (a integer); INSERT INTO kept VALUES (1); CREATE ROLE low");
    client.run("CREATE SCHEMA s; CREATE TABLE s.kept (a integer)");
    client.write_parse("all", "SELECT a FROM kept", &[]);
    client.write_bind("all", "all", &[], 0);
    for sql in ["SET search_path = s", "SET ROLE low"] {
        client.write_parse("", sql, &[]);
        client.write_bind("", "", &[], 0);
        client.write_execute("", 0);
    }
    client.write_execute("all", 0);
    client.write_sync();
    client.send();
    let events = client.until_ready();
    assert!(events.contains(&Event::Row(vec![Some(b"1".to_vec())])), "{events:?}");
    assert_eq!(client.failure("SELECT a FROM public.kept").code, "42501");
}

/// An entry that an old snapshot still has led to the row that the transaction had itself put under the same key, and
/// the row was not asked whether it is the one (found by the simulation, seed 2042).
#[test]
fn an_entry_of_an_old_snapshot_does_not_stand_for_a_row_of_one_s_own() {
    let fixture = Fixture::new();
    let (mut reader, mut other) = (fixture.client(), fixture.client());
    reader.run("CREATE TABLE t (id integer PRIMARY KEY, body text UNIQUE, n integer); CREATE INDEX ON t (n)");
    reader.run("INSERT INTO t VALUES (1, 'old', 1)");
    reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM t");
    other.run("DELETE FROM t WHERE id = 1");
    reader.run("INSERT INTO t VALUES (1, 'new', 2)");
    assert_eq!(values(&mut reader, "SELECT body FROM t WHERE body = 'old'"), Vec::<String>::new());
    assert_eq!(values(&mut reader, "SELECT body FROM t WHERE n = 1"), Vec::<String>::new());
    assert_eq!(values(&mut reader, "SELECT body FROM t WHERE n = 2"), ["new"]);
    reader.run("COMMIT");
}
