//! How long snapshots are held, and what that costs: suspended portals, forgotten transactions, long readers.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::client::{Client, Event};
use support::server::{PASSWORD, Tertulia};
use tertulia::env::SystemEnv;
use tertulia::error::SqlState;
use tertulia::limits::PORTAL_SPILL_BYTES_MAX;
use tertulia::txn::{Engine, EngineOptions, Isolation, TxnOptions};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Short enough that a test does not wait, long enough that a statement is not cut.
const SHORT: Duration = Duration::from_millis(300);

fn connect(server: &Tertulia) -> Client {
    Client::connect(server.address(), "tertulia", PASSWORD, "tertulia").unwrap()
}

/// Waits for something that another thread brings about.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

fn rows(events: &[Event]) -> Vec<Vec<Option<String>>> {
    let text = |cell: &Option<Vec<u8>>| cell.as_ref().map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    let row = |event: &Event| match event {
        Event::Row(cells) => Some(cells.iter().map(text).collect()),
        Event::Error(error) => panic!("{error:?}"),
        _ => None,
    };
    events.iter().filter_map(row).collect()
}

fn error_code(events: &[Event]) -> Option<&str> {
    events.iter().find_map(|event| match event {
        Event::Error(report) => Some(report.code.as_str()),
        _ => None,
    })
}

/// Executes a portal for up to so many rows.
fn fetch(client: &mut Client, portal: &str, max_rows: i32) -> Vec<Event> {
    client.write_execute(portal, max_rows);
    client.write_sync();
    client.send();
    client.until_ready()
}

/// Opens a portal and executes it for its first rows.
fn open(client: &mut Client, portal: &str, sql: &str, max_rows: i32) -> Vec<Event> {
    client.write_parse("", sql, &[]);
    client.write_bind(portal, "", &[], 0);
    fetch(client, portal, max_rows)
}

fn tag(events: &[Event]) -> Option<&str> {
    events.iter().find_map(|event| match event {
        Event::Tag(tag) => Some(tag.as_str()),
        _ => None,
    })
}

fn spill_files(data: &Path) -> usize {
    let files = std::fs::read_dir(data.join("bulk")).unwrap();
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "spill")).count()
}

fn store_bytes(data: &Path) -> u64 {
    std::fs::metadata(data.join("index/data.mdb")).unwrap().len()
}

#[test]
fn a_suspended_portal_lets_go_of_its_snapshot_and_keeps_its_rows() {
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start_with(directory.path(), "tertulia", |config| config.snapshot_age_max = SHORT);
    let mut writer = connect(&server);
    writer.run(
        "CREATE TABLE all_types (id int PRIMARY KEY, s smallint, b bigint, n numeric, f double precision, t text, \
         v varchar(8), y bytea, u uuid, j jsonb, d date, ts timestamp, tz timestamptz, i interval, ok boolean)",
    );
    for id in 1..=40 {
        writer.run(&format!(
            "INSERT INTO all_types VALUES ({id}, {id}, {id}0000000000, {id}.250, {id}.5, 'text {id}', 'v{id}', \
             '\\x0{}', '00000000-0000-0000-0000-0000000000{}', '{{\"a\": [{id}, null]}}', \
             DATE '2020-01-01' + {id}, TIMESTAMP '2020-01-01 00:00:00.5', TIMESTAMPTZ '2020-01-01 00:00:00+02', \
             INTERVAL '1 mon {id} days 00:00:01', {})",
            id % 10,
            id + 10,
            id % 2 == 0
        ));
    }
    writer.run("INSERT INTO all_types (id) VALUES (41)");
    let sql = "SELECT *, 'unknown', NULL, -n FROM all_types ORDER BY id DESC";
    let expected = writer.rows(sql);
    assert_eq!(server.engine().open_snapshots(), 0, "nobody reads");

    let mut reader = connect(&server);
    reader.run("BEGIN");
    let mut found = rows(&open(&mut reader, "slow", sql, 3));
    let mut quick = rows(&open(&mut reader, "quick", "SELECT id FROM all_types ORDER BY id", 1));
    assert_eq!(server.engine().open_snapshots(), 2);
    writer.run("DELETE FROM all_types WHERE id < 30");
    eventually("the portals let go of their snapshots", || server.engine().open_snapshots() == 0);
    assert_eq!(spill_files(directory.path()), 2);
    writer.run("DELETE FROM all_types");

    // in parts of any size, and to the end
    let part = fetch(&mut reader, "slow", 5);
    found.extend(rows(&part));
    assert_eq!(tag(&part), None, "suspended again");
    let rest = fetch(&mut reader, "slow", 0);
    found.extend(rows(&rest));
    assert_eq!(tag(&rest), Some("SELECT 33"));
    assert_eq!(found, expected);
    quick.extend(rows(&fetch(&mut reader, "quick", 0)));
    assert_eq!(quick.len(), 41);
    assert_eq!(
        reader.rows("SELECT count(*) FROM all_types"),
        [[Some("0".to_owned())]],
        "a new statement, a new snapshot"
    );
    reader.run("COMMIT");
    eventually("the files go with the portals", || spill_files(directory.path()) == 0);
}

#[test]
fn an_error_in_rows_that_nobody_has_asked_for_is_told_to_who_asks() {
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start_with(directory.path(), "tertulia", |config| config.snapshot_age_max = SHORT);
    let mut client = connect(&server);
    client.run("CREATE TABLE t (id int PRIMARY KEY)");
    client.run("INSERT INTO t SELECT * FROM generate_series(1, 50)");
    client.run("BEGIN");
    // an error in a row that nobody asked for yet is told to who asks for it
    let sql = "SELECT 1 / (40 - id) FROM t ORDER BY id";
    assert_eq!(rows(&open(&mut client, "p", sql, 2)).len(), 2);
    eventually("the portal is lost", || server.engine().open_snapshots() == 0);
    assert_eq!(client.rows("SELECT 1").len(), 1, "the transaction goes on");
    assert_eq!(error_code(&fetch(&mut client, "p", 1)), Some("22012"));
    client.run("ROLLBACK");
}

#[test]
fn a_portal_whose_rows_do_not_fit_its_file_fails_for_who_asks_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start_with(directory.path(), "tertulia", |config| config.snapshot_age_max = SHORT);
    let mut client = connect(&server);
    client.run("CREATE TABLE t (id int PRIMARY KEY, body text)");
    client.run("INSERT INTO t SELECT g, repeat('x', 1000000) FROM generate_series(0, 25) AS g");
    client.run("BEGIN");
    let megabytes = (PORTAL_SPILL_BYTES_MAX >> 20) / 25 + 10;
    let sql = format!("SELECT CASE WHEN id > 0 THEN repeat(body, {megabytes}) END FROM t ORDER BY id");
    assert_eq!(rows(&open(&mut client, "p", &sql, 1)), [[None]]);
    eventually("the portal is lost", || server.engine().open_snapshots() == 0);
    assert_eq!(spill_files(directory.path()), 0, "what cannot be had takes no room");
    assert_eq!(client.rows("SELECT 1").len(), 1, "the transaction goes on");
    assert_eq!(error_code(&fetch(&mut client, "p", 1)), Some("53400"));
    client.run("ROLLBACK");
}

/// Asks for about 40 MB, more than sockets hold, and takes none of it.
fn ask_and_not_listen(client: &mut Client) {
    client.write_query("SELECT id, repeat('x', 1000) || id FROM t ORDER BY id; SELECT 'next'");
    client.send();
}

#[test]
fn a_statement_whose_client_takes_no_rows_lets_go_of_its_snapshot_and_gives_them_later() {
    const ROWS: usize = 40_000;
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start_with(directory.path(), "tertulia", |config| config.snapshot_age_max = SHORT);
    let mut writer = connect(&server);
    writer.run("CREATE TABLE t (id int PRIMARY KEY)");
    writer.run(&format!("INSERT INTO t SELECT i FROM generate_series(1, {ROWS}) AS g(i)"));
    let mut client = connect(&server);
    for extended in [false, true] {
        if extended {
            client.write_parse("", "SELECT id, repeat('x', 1000) || id FROM t ORDER BY id", &[]);
            client.write_bind("", "", &[], 0);
            client.write_execute("", 0);
            client.write_sync();
            client.send();
        } else {
            ask_and_not_listen(&mut client);
        }
        eventually("the statement has begun", || server.engine().open_snapshots() > 0);
        eventually("it lets go of its snapshot", || server.engine().open_snapshots() == 0);
        assert_eq!(spill_files(directory.path()), 1);
        writer.run(&format!("DELETE FROM t WHERE id > {}", if extended { 10 } else { ROWS }));
        let events = client.until_ready();
        assert_eq!(tag(&events), Some(format!("SELECT {ROWS}").as_str()));
        let mut found = rows(&events);
        if !extended {
            assert_eq!(found.pop(), Some(vec![Some("next".to_owned())]), "the next statement follows");
        }
        let expected = (1..=ROWS).map(|id| vec![Some(id.to_string()), Some(format!("{}{id}", "x".repeat(1000)))]);
        assert!(found.into_iter().eq(expected), "each row once and in order, as of the snapshot");
        assert_eq!(spill_files(directory.path()), 0);
    }
}

#[test]
fn a_statement_whose_client_takes_no_rows_fails_where_its_snapshot_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start_with(directory.path(), "tertulia", |config| config.transaction_age_max = SHORT);
    let mut writer = connect(&server);
    writer.run("CREATE TABLE t (id int PRIMARY KEY)");
    writer.run("INSERT INTO t SELECT i FROM generate_series(1, 40000) AS g(i)");
    for begin in
        ["ROLLBACK", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL REPEATABLE READ; SAVEPOINT s"]
    {
        let mut client = connect(&server);
        client.run(begin);
        ask_and_not_listen(&mut client);
        eventually("the statement has begun", || server.engine().open_snapshots() > 0);
        eventually("it has lost its snapshot", || server.engine().open_snapshots() == 0);
        let events = client.until_ready();
        assert_eq!(error_code(&events), Some("72000"), "{begin}");
        assert!(events.iter().filter(|event| matches!(event, Event::Row(_))).count() < 40_000);
        client.run("ROLLBACK");
        assert_eq!(client.rows("SELECT 1").len(), 1);
    }
}

#[test]
fn a_repeatable_read_transaction_ends_when_its_snapshot_is_too_old() {
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start_with(directory.path(), "tertulia", |config| config.transaction_age_max = SHORT);
    let mut writer = connect(&server);
    writer.run("CREATE TABLE t (id int PRIMARY KEY, v int)");
    writer.run("INSERT INTO t VALUES (1, 1)");
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut client = connect(&server);
        client.run(&format!("BEGIN ISOLATION LEVEL {level}"));
        client.run("UPDATE t SET v = v + 1 WHERE id = 1");
        client.run("SAVEPOINT a");
        eventually("the transaction lets go of its snapshot", || server.engine().open_snapshots() == 0);
        // its locks are gone too
        writer.run("UPDATE t SET v = 10 WHERE id = 1");
        let error = client.failure("SELECT v FROM t");
        assert_eq!((error.code.as_str(), error.message.as_str()), ("72000", "snapshot too old"));
        assert!(error.hint.is_some());
        assert_eq!(client.failure("COMMIT").code, "72000", "a COMMIT that did nothing must not look like one");
        assert_eq!(client.rows("SELECT v FROM t"), [[Some("10".to_owned())]]);
        // one that knows ends quietly
        client.run(&format!("BEGIN ISOLATION LEVEL {level}; SELECT v FROM t"));
        eventually("the transaction lets go of its snapshot", || server.engine().open_snapshots() == 0);
        client.run("ROLLBACK");
        assert_eq!(client.rows("SELECT 1").len(), 1);
    }
}

#[test]
fn a_transaction_that_the_server_opened_is_not_committed_when_it_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start_with(directory.path(), "tertulia", |config| config.transaction_age_max = SHORT);
    let mut client = connect(&server);
    client.run("CREATE TABLE t (id int PRIMARY KEY)");
    client.run("SET default_transaction_isolation = 'repeatable read'");
    client.write_parse("", "INSERT INTO t VALUES (1)", &[]);
    client.write_bind("", "", &[], 0);
    client.write_execute("", 0);
    client.write_flush();
    client.send();
    while !matches!(client.next().unwrap(), Event::Tag(_)) {}
    eventually("the transaction lets go of its snapshot", || server.engine().open_snapshots() == 0);
    client.write_sync();
    client.send();
    assert_eq!(error_code(&client.until_ready()), Some("72000"));
    assert!(client.rows("SELECT id FROM t").is_empty());
}

/// The store's size after so many commits of 16 KB each that replace one another's rows, folded every few of them.
fn size_after_commits(server: &Tertulia, data: &Path, writer: &mut Client, commits: usize) -> u64 {
    let filler = "x".repeat(16 << 10);
    for at in 0..commits {
        writer.run(&format!("UPDATE t SET v = '{at}{filler}' WHERE id = {}", at % 50));
    }
    eventually("all is folded", || server.engine().fold().is_ok_and(|more| !more));
    store_bytes(data)
}

fn small_generations(config: &mut tertulia::config::Config) {
    config.generation_bytes = 256 << 10;
    config.recent_bytes_max = 8 << 20;
    config.snapshot_age_max = SHORT;
}

#[test]
fn a_forgotten_transaction_and_a_suspended_portal_do_not_make_the_store_grow() {
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start_with(directory.path(), "tertulia", small_generations);
    let mut writer = connect(&server);
    writer.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    for id in 0..50 {
        writer.run(&format!("INSERT INTO t VALUES ({id}, '')"));
    }
    let alone = size_after_commits(&server, directory.path(), &mut writer, 1_000);

    let mut forgotten = connect(&server);
    forgotten.run("BEGIN");
    assert_eq!(forgotten.rows("SELECT id FROM t").len(), 50);
    assert_eq!(server.engine().open_snapshots(), 0, "idle in transaction, it holds nothing");
    let beside = size_after_commits(&server, directory.path(), &mut writer, 2_000);
    assert!(beside <= alone + (2 << 20), "{alone} bytes alone, {beside} beside a forgotten transaction");

    let mut slow = connect(&server);
    slow.run("BEGIN");
    let mut found = rows(&open(&mut slow, "slow", "SELECT id FROM t ORDER BY id", 1));
    eventually("the portal lets go of its snapshot", || server.engine().open_snapshots() == 0);
    let beside = size_after_commits(&server, directory.path(), &mut writer, 2_000);
    assert!(beside <= alone + (2 << 20), "{alone} bytes alone, {beside} beside a suspended portal");
    found.extend(rows(&fetch(&mut slow, "slow", 0)));
    assert_eq!(found.len(), 50);

    // what they are kept from: a snapshot that is held
    let held = server.engine().snapshot().unwrap();
    let grown = size_after_commits(&server, directory.path(), &mut writer, 1_500);
    assert!(grown > alone + (10 << 20), "{alone} bytes alone, {grown} beside a snapshot that is held");
    drop(held);
}

#[test]
fn a_full_reader_table_refuses_with_a_hint_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let options = EngineOptions { readers: 8, map_size: 1 << 30, ..EngineOptions::new(directory.path()) };
    let (engine, _) = Engine::open(options, Arc::new(SystemEnv::new())).unwrap();
    let repeatable = TxnOptions { isolation: Isolation::RepeatableRead, ..TxnOptions::default() };
    for _ in 0..2 {
        let mut held = Vec::new();
        let error = loop {
            let mut transaction = engine.begin(repeatable).unwrap();
            match transaction.statement() {
                Ok(_) => held.push(transaction),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), SqlState::TOO_MANY_CONNECTIONS);
        assert!(error.fields().hint.is_some());
        assert!((7..=8).contains(&held.len()), "{} snapshots", held.len());
        held.pop();
        assert!(engine.begin(repeatable).unwrap().statement().is_ok(), "one has ended");
    }
    engine.shutdown().unwrap();
}
