//! The bounds of `limits.rs` that a session can meet: what is one too many is refused with its code, what was there
//! before stays, and the session goes on. Those of the engine are in `engine.rs` and `big_transactions.rs`, those of the
//! lock table beside it.

mod support;

use support::client::{Client, Event, Report};
use support::server::World;
use tertulia::limits::{
    CHANNEL_NAME_BYTES_MAX, COPY_LINE_BYTES_MAX, NOTIFY_PAYLOAD_BYTES_MAX, PORTALS_MAX, PREPARED_STATEMENTS_MAX,
    ROW_BYTES_MAX, SAVEPOINTS_MAX, USER_ID_BYTES_MAX, WORK_MEMORY_BYTES, WRITE_SET_BYTES_MAX,
};

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A statement fails with this code, and the session goes on.
#[track_caller]
fn assert_refused(client: &mut Client, sql: &str, code: &str) -> Report {
    let report = client.failure(sql);
    let shown: String = sql.chars().take(80).collect();
    assert_eq!(report.code, code, "{shown}: {report:?}");
    assert_eq!(client.rows("SELECT 1"), [[some("1")]], "after {shown}");
    report
}

fn code_of(events: &[Event]) -> Option<&str> {
    events.iter().find_map(|event| match event {
        Event::Error(report) => Some(report.code.as_str()),
        _ => None,
    })
}

#[test]
fn a_session_has_so_many_open_portals() {
    let world = World::new();
    let mut client = world.connect();
    client.run("BEGIN");
    client.write_parse("", "SELECT 1", &[]);
    for portal in 0..PORTALS_MAX {
        client.write_bind(&format!("p{portal}"), "", &[], 0);
    }
    client.write_sync();
    client.send();
    assert_eq!(code_of(&client.until_ready()), None);
    // a portal that is replaced is none more; a failed transaction would close them all
    client.write_close(b'P', "p7");
    client.write_bind("p7", "", &[], 0);
    client.write_bind("one too many", "", &[], 0);
    client.write_sync();
    client.send();
    assert_eq!(code_of(&client.until_ready()), Some("53400"));
    client.run("ROLLBACK");
    client.write_parse("", "SELECT 1", &[]);
    client.write_bind("p", "", &[], 0);
    client.write_execute("p", 0);
    client.write_sync();
    client.send();
    assert_eq!(code_of(&client.until_ready()), None);
}

#[test]
fn a_session_keeps_so_many_prepared_statements() {
    let world = World::new();
    let mut client = world.connect();
    for statement in 0..PREPARED_STATEMENTS_MAX {
        client.write_parse(&format!("s{statement}"), "SELECT 1", &[]);
    }
    client.write_sync();
    client.send();
    assert_eq!(code_of(&client.until_ready()), None);
    assert_refused(&mut client, "PREPARE more AS SELECT 2", "53400");
    client.write_parse("more", "SELECT 2", &[]);
    client.write_sync();
    client.send();
    assert_eq!(code_of(&client.until_ready()), Some("53400"));
    client.run("DEALLOCATE s7");
    client.run("PREPARE more AS SELECT 2");
    assert_eq!(client.rows("EXECUTE more"), [[some("2")]]);
    assert_eq!(client.rows("EXECUTE s8"), [[some("1")]]);
}

#[test]
fn a_transaction_has_so_many_savepoints() {
    let world = World::new();
    let mut client = world.connect();
    client.run("CREATE TABLE t (id int PRIMARY KEY)");
    client.run("BEGIN");
    client.run("INSERT INTO t VALUES (1)");
    client.run(&(0..SAVEPOINTS_MAX).map(|number| format!("SAVEPOINT s{number};")).collect::<String>());
    assert_eq!(client.failure("SAVEPOINT one_too_many").code, "53400");
    client.run("ROLLBACK TO s9");
    client.run("SAVEPOINT another");
    client.run("COMMIT");
    assert_eq!(client.rows("SELECT id FROM t"), [[some("1")]]);
}

#[test]
fn names_of_channels_and_users_have_so_many_bytes() {
    let world = World::new();
    let mut client = world.connect();
    client.run("CREATE TABLE t (id int PRIMARY KEY)");
    let query = |length: usize| {
        let query = "SELECT id FROM t WHERE id > 0";
        format!("{query}{}", " ".repeat(length - query.len()))
    };
    client.run(&format!("LISTEN \"{}\"", query(CHANNEL_NAME_BYTES_MAX)));
    assert_refused(&mut client, &format!("LISTEN \"{}\"", query(CHANNEL_NAME_BYTES_MAX + 1)), "42622");
    let spaces = " ".repeat(CHANNEL_NAME_BYTES_MAX);
    assert_refused(&mut client, &format!("SUBSCRIBE TO t{spaces}WHERE id > 0"), "42622");
    let user = |length: usize| "u".repeat(length);
    assert_eq!(
        client.rows(&format!("EXECUTE AS USER '{}' ( SELECT length(current_user_id()) )", user(USER_ID_BYTES_MAX))),
        [[Some(USER_ID_BYTES_MAX.to_string())]]
    );
    let long = user(USER_ID_BYTES_MAX + 1);
    assert_refused(&mut client, &format!("EXECUTE AS USER '{long}' ( SELECT 1 )"), "22023");
    client.run("BEGIN");
    assert_eq!(client.failure(&format!("SET LOCAL tertulia.user_id = '{long}'")).code, "22023");
    client.run("ROLLBACK");
    assert_eq!(client.rows("SELECT current_user_id()"), [[some("tertulia")]]);
}

#[test]
fn rows_lines_payloads_and_what_a_statement_holds_have_so_many_bytes() {
    let world = World::new();
    let mut client = world.connect();
    client.run("CREATE TABLE t (id int PRIMARY KEY, body text)");
    client.run("INSERT INTO t VALUES (1, 'small')");
    assert_refused(&mut client, &format!("INSERT INTO t VALUES (2, repeat('x', {ROW_BYTES_MAX}))"), "54000");
    assert_refused(&mut client, &format!("UPDATE t SET body = repeat('x', {ROW_BYTES_MAX})"), "54000");
    let payload = |bytes: usize| format!("SELECT pg_notify('c', repeat('x', {bytes}))");
    client.run(&payload(NOTIFY_PAYLOAD_BYTES_MAX - 1));
    assert_refused(&mut client, &payload(NOTIFY_PAYLOAD_BYTES_MAX), "22023");
    let long = "x".repeat(NOTIFY_PAYLOAD_BYTES_MAX);
    assert_refused(&mut client, &format!("NOTIFY c, '{long}'"), "22023");
    client.run("BEGIN");
    let many = WRITE_SET_BYTES_MAX / 1_000_000 + 2;
    let notified =
        (0..many).map(|number| client.simple(&format!("SELECT pg_notify('c', repeat('x', 1000000) || {number})")));
    let refused = notified.filter_map(|events| code_of(&events).map(str::to_owned)).next();
    assert_eq!(refused.as_deref(), Some("53400"));
    client.run("ROLLBACK");
    let rows = WORK_MEMORY_BYTES / 1_000_000 + 2;
    let rows = format!("FROM generate_series(1, {rows}) AS g");
    for held in [
        format!("SELECT g, repeat('x', 1000000) AS x {rows} ORDER BY x, g"),
        format!("SELECT DISTINCT g, repeat('x', 1000000) {rows}"),
        format!("SELECT string_agg(repeat('x', 1000000), ',') {rows}"),
        format!("SELECT json_agg(repeat('x', 1000000)) {rows}"),
        format!("SELECT json_object_agg(g, repeat('x', 1000000)) {rows}"),
        format!("SELECT count(*) {rows} GROUP BY g || repeat('x', 1000000)"),
        format!("SELECT count(DISTINCT g || repeat('x', 1000000)) {rows}"),
    ] {
        assert_refused(&mut client, &held, "53200");
    }
    assert_eq!(client.rows("SELECT * FROM t"), [[some("1"), some("small")]]);
}

#[test]
fn a_line_of_copy_has_so_many_bytes() {
    let world = World::new();
    let mut client = world.connect();
    client.run("CREATE TABLE t (body text)");
    client.begin_copy("COPY t FROM STDIN");
    let piece = vec![b'x'; 16 << 20];
    for _ in 0..=COPY_LINE_BYTES_MAX / piece.len() {
        client.write_copy_data(&piece);
        client.send();
    }
    let events = client.end_copy();
    assert_eq!(code_of(&events), Some("54000"), "{events:?}");
    assert_eq!(client.rows("SELECT count(*) FROM t"), [[some("0")]]);
}

/// Two that name each other would never end.
#[test]
fn a_prepared_execute_is_not_executed_by_another() {
    let world = World::new();
    let mut client = world.connect();
    client.run("PREPARE one AS SELECT 1");
    client.write_parse("other", "EXECUTE one", &[]);
    client.write_bind("", "other", &[], 0);
    client.write_execute("", 0);
    client.write_sync();
    client.send();
    assert_eq!(code_of(&client.until_ready()), None);
    assert_refused(&mut client, "EXECUTE other", "0A000");
}

/// CONNECTION LIMIT counts a role's sessions, and not those of a superuser.
#[test]
fn a_role_has_so_many_sessions() {
    let world = World::new();
    let mut root = world.connect();
    root.run("CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 1; CREATE ROLE nobody LOGIN PASSWORD 'nobody' CONNECTION LIMIT 0");
    let log_in = |user: &str| Client::connect(world.server.address(), user, user, "tertulia");
    let mut first = log_in("few").unwrap();
    let report = log_in("few").err().expect("one too many");
    assert_eq!(
        (report.severity.as_str(), report.code.as_str(), report.message.as_str()),
        ("FATAL", "53300", "too many connections for role \"few\"")
    );
    assert_eq!(log_in("nobody").err().expect("none may come").code, "53300");
    assert_eq!(first.rows("SELECT current_user"), [[some("few")]]);
    root.run("ALTER ROLE nobody SUPERUSER");
    assert_eq!(log_in("nobody").unwrap().rows("SELECT 1"), [[some("1")]]);
}
