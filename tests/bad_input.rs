//! Bad input over real sockets to the real program: the session answers as PostgreSQL's would where PostgreSQL keeps it,
//! and the server goes on whatever comes.
//!
//! What the connection's loop does by itself (start-up, limits before login, a client that goes away) is in `wire.rs`.

mod support;

use std::io::Write;
use std::net::SocketAddr;
use support::client::{Client, Event, Report};
use support::postgres::Postgres;
use support::process::{PASSWORD, Running};
use support::random::Random;

/// Who answers: Tertulia, and a PostgreSQL that says whether the expectation is its own too.
struct Target {
    name: &'static str,
    address: SocketAddr,
    login: (&'static str, &'static str, &'static str),
}

impl Target {
    fn tertulia(server: &Running) -> Target {
        Target { name: "Tertulia", address: server.address, login: ("tertulia", PASSWORD, "tertulia") }
    }

    fn client(&self) -> Client {
        let (user, password, database) = self.login;
        Client::connect(self.address, user, password, database).unwrap()
    }
}

fn start() -> (tempfile::TempDir, Running) {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path(), &[]);
    (directory, server)
}

/// Runs the same expectations against Tertulia and, where it is installed, PostgreSQL.
fn on_both(check: impl Fn(&Target)) {
    let (_directory, mut server) = start();
    check(&Target::tertulia(&server));
    assert_unharmed(&mut server);
    if let Some(postgres) = Postgres::start() {
        let login = ("postgres", "", "postgres");
        check(&Target { name: "PostgreSQL", address: postgres.address, login });
    }
}

/// Nothing in the log but information: no panic, no internal error.
fn assert_unharmed(server: &mut Running) {
    assert_eq!(Target::tertulia(server).client().rows("SELECT 1"), [[Some("1".to_owned())]]);
    let alarms: Vec<&String> =
        server.log().iter().filter(|line| !line.contains(" INFO ") && !line.trim().is_empty()).collect();
    assert!(alarms.is_empty(), "{alarms:#?}");
}

fn errors(events: &[Event]) -> Vec<&Report> {
    let mut reports = Vec::new();
    for event in events {
        if let Event::Error(report) = event {
            reports.push(report);
        }
    }
    reports
}

/// A statement fails with this code, and the session goes on.
fn assert_code(client: &mut Client, target: &Target, sql: &str, code: &str) {
    let shown: String = sql.chars().take(80).collect();
    let report = client.failure(sql);
    assert_eq!(report.code, code, "{}: {shown}: {}", target.name, report.message);
    assert_eq!(client.rows("SELECT 1"), [[Some("1".to_owned())]], "{}: after {shown}", target.name);
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn values_out_of_range_and_bad_encodings_have_postgresql_s_codes() {
    let cases = [
        ("SELECT 9223372036854775807 + 1", "22003"),
        ("SELECT 32768::smallint", "22003"),
        ("SELECT 2147483647 + 1", "22003"),
        ("SELECT '9223372036854775808'::bigint", "22003"),
        ("SELECT '1e400'::float8", "22003"),
        ("SELECT 1e308::float8 * 10", "22003"),
        ("SELECT (-32768)::smallint / (-1)::smallint", "22003"),
        ("SELECT abs((-2147483648)::int)", "22003"),
        ("INSERT INTO bad VALUES (2147483648, '')", "22003"),
        ("INSERT INTO bad VALUES (1, 'more than ten characters')", "22001"),
        ("SELECT '2026-02-30'::date", "22008"),
        ("SELECT '999999-01-01'::timestamp", "22008"),
        ("SELECT 'now, or never'::timestamp", "22007"),
        ("SELECT 'not-a-uuid'::uuid", "22P02"),
        ("SELECT '{\"a\":}'::jsonb", "22P02"),
        ("SELECT '\"\\u0000\"'::jsonb", "22P05"),
        ("SELECT E'\\xff'", "22021"),
        ("SELECT E'a\\000b'", "22021"),
        ("SELECT '\\xabc'::bytea", "22023"),
        ("SELECT '\\xzz'::bytea", "22023"),
        ("SELECT chr(0)", "54000"),
        ("SELECT repeat('x', 2000000000)", "54000"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT 'x", "42601"),
        ("SELECT \"x", "42601"),
        ("SELECT $$x", "42601"),
        ("/* never closed", "42601"),
        ("SELECT \"\"", "42601"),
        ("SELECT 1 FROM", "42601"),
        ("FROBNICATE", "42601"),
        ("SELECT frobnicate(1)", "42883"),
        ("SELECT 1::frobnicate", "42704"),
        ("SET frobnicate = 1", "42704"),
        ("SELECT $1", "42P02"),
        ("SELECT $70000", "42P02"),
    ];
    on_both(|target| {
        let mut client = target.client();
        client.run("CREATE TABLE bad (id int PRIMARY KEY, name varchar(10))");
        for (sql, code) in cases {
            assert_code(&mut client, target, sql, code);
        }
        // a query string in another encoding, and one with a NUL in its middle
        for (body, code) in [(&b"SELECT '\xe9'\0"[..], "22021"), (b"SELECT 1\0; SELECT 2\0", "08P01")] {
            let mut frame = b"Q".to_vec();
            frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
            frame.extend_from_slice(body);
            client.stream().write_all(&frame).unwrap();
            let events = client.until_ready();
            assert_eq!(errors(&events)[0].code, code, "{}: {events:?}", target.name);
        }
    });
}

/// Depth that no stack may be spent on: ten thousand levels of everything that nests.
#[test]
fn deep_nesting_is_54001_and_harms_nobody() {
    const DEPTH: usize = 10_000;
    let (_directory, mut server) = start();
    let target = Target::tertulia(&server);
    let mut client = target.client();
    let statements = [
        format!("SELECT {}", nested("(", "1", ")", DEPTH)),
        format!("SELECT {}", nested("abs(", "1", ")", DEPTH)),
        format!("SELECT {}", nested("- ", "1", "", DEPTH)),
        format!("SELECT {}", nested("NOT ", "true", "", DEPTH)),
        format!("SELECT {}", nested("CASE WHEN true THEN ", "1", " END", DEPTH)),
        format!("SELECT {}", nested("CAST(", "1", " AS int)", DEPTH)),
        format!("SELECT {}", nested("coalesce(1, ", "1", ")", DEPTH)),
        format!("SELECT {}", nested("(SELECT ", "1", ")", DEPTH)),
        format!("SELECT {}", nested("1 IN (", "1", ")", DEPTH)),
        format!("SELECT * FROM {}", nested("(SELECT * FROM ", "t", ") x", DEPTH)),
        format!("SELECT 1{}", "::int".repeat(DEPTH)),
        format!("SELECT 1{}", " + 1".repeat(DEPTH)),
        format!("SELECT ''{}", " || ''".repeat(DEPTH)),
        format!("SELECT 1{}", " IS NULL".repeat(DEPTH)),
        format!("SELECT {}", nested("ARRAY[", "1", "]", DEPTH)),
        format!("SELECT {}", nested("EXISTS (SELECT ", "1", ")", DEPTH)),
        nested("(", "SELECT 1", ")", DEPTH),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(DEPTH)),
        format!("{}SELECT 1", "EXPLAIN ".repeat(DEPTH)),
        nested("EXECUTE AS USER 'a' (", "SELECT 1", ")", DEPTH),
        nested("WITH x AS (", "SELECT 1", ") SELECT 1", DEPTH),
        format!("SELECT '{}'::jsonb", nested("[", "", "]", DEPTH)),
        format!("SELECT '{}'::json", nested("{\"a\":", "1", "}", DEPTH)),
        format!("CREATE TABLE t (a int CHECK {})", nested("(", "a > 1", ")", DEPTH)),
        format!("CREATE TABLE t (a int DEFAULT {})", nested("(", "1", ")", DEPTH)),
        format!("SELECT 1 WHERE {}", nested("(true AND ", "true", ")", DEPTH)),
        format!("SELECT true{}", " IS DISTINCT FROM true".repeat(DEPTH)),
        format!("SELECT {}1", "+".repeat(DEPTH)),
        format!("PREPARE p AS {}SELECT 1", "PREPARE p AS ".repeat(DEPTH)),
        format!("SELECT * FROM t{}", " JOIN t ON true".repeat(DEPTH)),
    ];
    for sql in statements {
        let shown: String = sql.chars().take(60).collect();
        let report = client.failure(&sql);
        // what is not there yet may say so first, as long as it does not recurse before
        let codes = ["54001", "0A000", "42601"];
        assert!(codes.contains(&report.code.as_str()), "{shown}: {report:?}");
        if !["EXISTS", "ARRAY", "UNION", "EXPLAIN", "PREPARE", "JOIN"].iter().any(|word| shown.contains(word)) {
            assert_eq!(report.code, "54001", "{shown}: {report:?}");
        }
        assert_eq!(client.rows("SELECT 1"), [[Some("1".to_owned())]], "after {shown}");
    }
    // what is as deep as it may be needs stack too, and gets it
    for sql in [
        format!("SELECT {}", nested("(", "1", ")", 250)),
        format!("SELECT * FROM {}", nested("(SELECT * FROM ", "t", ") x", 250)),
        format!("SELECT * FROM {}", nested("LATERAL (SELECT * FROM ", "t", ") x", 250)),
        format!("SELECT {}", nested("EXISTS (SELECT ", "1", ")", 250)),
        format!("SELECT {}", nested("CASE WHEN true THEN ", "1", " END", 250)),
        format!("SELECT 1{}", " + 1".repeat(990)),
        format!("SELECT true{}", " AND true".repeat(990)),
    ] {
        assert!(client.try_simple(&sql).1, "{}", &sql[..60]);
    }
    // a chain that the catalog would keep as parentheses deeper than it can read again
    let condition = format!("a{} > 0", " + 1".repeat(800));
    assert_code(&mut client, &target, &format!("CREATE TABLE t (a int CHECK ({condition}))"), "54001");
    assert_code(
        &mut client,
        &target,
        &format!("CREATE TABLE t (a int, b int DEFAULT 1{})", " + 1".repeat(800)),
        "54001",
    );
    // comments nest too, and long lists are not deep
    client.run(&format!("SELECT 1 {}", nested("/*", "", "*/", DEPTH)));
    let list = vec!["1"; DEPTH].join(", ");
    assert_eq!(client.rows(&format!("SELECT 2 IN ({list})")), [[Some("f".to_owned())]]);
    client.run(&format!("SELECT 1 WHERE {}", vec!["true"; 900].join(" AND ")));
    assert_unharmed(&mut server);
}

#[test]
fn large_statements_and_values_are_taken_and_oversized_ones_refused() {
    let (_directory, mut server) = start();
    let target = Target::tertulia(&server);
    let mut client = target.client();
    client.run("CREATE TABLE t (id text PRIMARY KEY, body text)");
    let megabytes = "x".repeat(8 << 20);
    client.run(&format!("INSERT INTO t VALUES ('big', '{megabytes}')"));
    assert_eq!(client.rows("SELECT length(body) FROM t"), [[Some((8 << 20).to_string())]]);
    assert_eq!(client.rows("SELECT body FROM t"), [[Some(megabytes)]]);
    let values: Vec<String> = (0..20_000).map(|n| format!("('key {n}', 'b')")).collect();
    assert!(
        client
            .simple(&format!("INSERT INTO t VALUES {}", values.join(", ")))
            .contains(&Event::Tag("INSERT 0 20000".into()))
    );
    // a statement's syntax takes a hundred times the memory of its text
    let error = client.failure(&format!("INSERT INTO t VALUES {}", "('',''),".repeat(400_000)));
    assert_eq!((error.code.as_str(), error.hint.is_some()), ("54000", true), "{error:?}");
    // a key must fit a page of the index
    assert_code(&mut client, &target, &format!("INSERT INTO t VALUES ('{}', '')", "k".repeat(3_000)), "54000");
    assert_code(&mut client, &target, "UPDATE t SET id = repeat('k', 3000) WHERE id = 'big'", "54000");
    client.run(&format!("INSERT INTO t VALUES ('{}', 'fits')", "k".repeat(1_500)));
    // looking for a key that cannot be there is no error
    assert_eq!(client.rows(&format!("SELECT 1 FROM t WHERE id = '{}'", "k".repeat(5_000))).len(), 0);
    assert_eq!(client.rows(&format!("SELECT count(*) FROM t WHERE id < '{}'", "z".repeat(5_000))).len(), 1);
    // more columns, values and names than there may be
    let columns = |count: usize| (0..count).map(|n| format!("c{n} int")).collect::<Vec<_>>().join(", ");
    assert_code(&mut client, &target, &format!("CREATE TABLE wide ({})", columns(1_601)), "54011");
    client.run(&format!("CREATE TABLE wide ({})", columns(1_600)));
    let long = "n".repeat(100_000);
    client.run(&format!("CREATE TABLE {long} (a int PRIMARY KEY)"));
    assert_eq!(client.failure(&format!("CREATE TABLE {long} (a int)")).code, "42P07");
    assert_unharmed(&mut server);
}

#[test]
fn unknown_and_misplaced_messages_end_or_pass_as_in_postgresql() {
    on_both(|target| {
        // type, body, and whether the session ends
        let cases: [(u8, &[u8], bool); 8] = [
            (b'z', b"", true),
            (0, b"\0\0\0\0", true),
            (0xff, b"junk", true),
            (b'p', b"password\0", true),
            (b'R', b"\0\0\0\0", true),
            // what is left of a COPY that failed
            (b'd', b"data", false),
            (b'c', b"", false),
            (b'f', b"gave up\0", false),
        ];
        for (kind, body, ends) in cases {
            let mut client = target.client();
            let mut frame = vec![kind];
            frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
            frame.extend_from_slice(body);
            client.stream().write_all(&frame).unwrap();
            if !ends {
                assert_eq!(client.rows("SELECT 1"), [[Some("1".to_owned())]], "{}: {kind}", target.name);
                continue;
            }
            let event = client.next().unwrap_or_else(|error| panic!("{}: {kind}: {error}", target.name));
            let Event::Error(report) = event else { panic!("{}: {kind}: {event:?}", target.name) };
            assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "08P01"), "{}", target.name);
            assert_eq!(report.message, format!("invalid frontend message type {kind}"), "{}", target.name);
            assert!(client.next().is_err(), "{}: {kind}", target.name);
        }
    });
}

#[test]
fn lengths_that_cannot_be_end_the_connection() {
    on_both(|target| {
        for frame in [&b"Q\0\0\0\x03"[..], b"Q\0\0\0\0", b"Q\xff\xff\xff\xff", b"Q\x80\0\0\0abc", b"P\x7f\xff\xff\xff"]
        {
            let mut client = target.client();
            client.stream().write_all(frame).unwrap();
            // PostgreSQL closes without a word
            if let Ok(event) = client.next() {
                let Event::Error(report) = event else { panic!("{}: {frame:?}: {event:?}", target.name) };
                assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "08P01"), "{frame:?}");
            }
            assert!(client.next().is_err(), "{}: {frame:?}", target.name);
        }
    });
}

#[test]
fn bodies_that_end_too_early_or_too_late_are_08p01_and_the_session_goes_on() {
    // a message's body with what is wrong with it; all of the extended protocol, so that Sync ends the skipping
    let cases: [(u8, &[u8], &str); 19] = [
        (b'P', b"", "08P01"),
        (b'P', b"name", "08P01"),
        (b'P', b"\0SELECT 1\0", "08P01"),
        (b'P', b"\0SELECT 1\0\0\x01", "08P01"),
        (b'P', b"\0SELECT 1\0\0\0more", "08P01"),
        (b'P', b"\0SELECT '\xff'\0\0\0", "22021"),
        (b'B', b"\0", "08P01"),
        (b'B', b"\0missing\0\0\0\0\0\0\0", "26000"),
        // PostgreSQL looks for the statement before it reads on
        (b'B', b"\0there\0\0\0\0\x01\0\0\0\x7f12", "08P01"),
        (b'B', b"\0there\0\0\x05\0\0", "08P01"),
        (b'B', b"\0there\0\0\0\0\0\0\0more", "08P01"),
        (b'B', b"\0there\0\0\0\0\x01\xff\xff\xff\xfe\0\0", "08P01"),
        (b'D', b"", "08P01"),
        (b'D', b"X\0", "08P01"),
        (b'D', b"Smissing\0", "26000"),
        (b'E', b"\0\0", "08P01"),
        (b'E', b"missing\0\0\0\0\0", "34000"),
        (b'C', b"X\0", "08P01"),
        (b'C', b"S", "08P01"),
    ];
    on_both(|target| {
        let mut client = target.client();
        client.run("PREPARE there AS SELECT 1");
        for (kind, body, code) in cases {
            let mut frame = vec![kind];
            frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
            frame.extend_from_slice(body);
            frame.extend_from_slice(b"S\0\0\0\x04");
            client.stream().write_all(&frame).unwrap();
            let events = client.until_ready();
            let reports = errors(&events);
            let shown =
                format!("{}: {} {:?}: {events:?}", target.name, char::from(kind), body.escape_ascii().to_string());
            assert_eq!((reports.len(), events.len()), (1, 2), "{shown}");
            assert_eq!((reports[0].severity.as_str(), reports[0].code.as_str()), ("ERROR", code), "{shown}");
        }
        assert_eq!(client.rows("SELECT 1"), [[Some("1".to_owned())]], "{}", target.name);
    });
}

#[test]
fn parameters_that_do_not_fit_have_postgresql_s_codes() {
    /// Parameter formats, parameters, result formats.
    type Bind<'a> = (&'a [i16], &'a [Option<&'a [u8]>], &'a [i16]);
    let cases: [(&str, Bind, &str, &str); 24] = [
        (
            "SELECT $1::int, $2::int",
            (&[], &[Some(b"1")], &[]),
            "08P01",
            "bind message supplies 1 parameters, but prepared statement \"\" requires 2",
        ),
        (
            "SELECT $1::int",
            (&[], &[Some(b"1"), Some(b"2")], &[]),
            "08P01",
            "bind message supplies 2 parameters, but prepared statement \"\" requires 1",
        ),
        (
            "SELECT $1::int",
            (&[0, 0], &[Some(b"1")], &[]),
            "08P01",
            "bind message has 2 parameter formats but 1 parameters",
        ),
        ("SELECT 1", (&[], &[], &[0, 0]), "08P01", "bind message has 2 result formats but query has 1 columns"),
        ("SELECT $1::int", (&[1], &[Some(b"123")], &[]), "08P01", "insufficient data left in message"),
        ("SELECT $1::int", (&[1], &[Some(b"12345")], &[]), "22P03", "incorrect binary data format in bind parameter 1"),
        ("SELECT $1::int", (&[7], &[Some(b"1")], &[]), "22023", "unsupported format code: 7"),
        ("SELECT 1", (&[], &[], &[7]), "22023", "unsupported format code: 7"),
        (
            "SELECT $1::text",
            (&[0], &[Some(b"a\xffb")], &[]),
            "22021",
            "invalid byte sequence for encoding \"UTF8\": 0xff",
        ),
        (
            "SELECT $1::text",
            (&[0], &[Some(b"a\0b")], &[]),
            "22021",
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ),
        (
            "SELECT $1::text",
            (&[1], &[Some(b"a\0b")], &[]),
            "22021",
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ),
        ("SELECT $1::int", (&[0], &[Some(b"x")], &[]), "22P02", "invalid input syntax for type integer: \"x\""),
        (
            "SELECT $1::int",
            (&[0], &[Some(b"99999999999")], &[]),
            "22003",
            "value \"99999999999\" is out of range for type integer",
        ),
        ("SELECT $1::uuid", (&[1], &[Some(b"short")], &[]), "08P01", "insufficient data left in message"),
        ("SELECT $1::bool", (&[1], &[Some(b"")], &[]), "08P01", "no data left in message"),
        ("SELECT $1::numeric", (&[1], &[Some(b"\0\x01")], &[]), "08P01", "insufficient data left in message"),
        (
            "SELECT $1::numeric",
            (&[1], &[Some(b"\0\0\0\0\x12\x34\0\0")], &[]),
            "22P03",
            "invalid sign in external \"numeric\" value",
        ),
        (
            "SELECT $1::numeric",
            (&[1], &[Some(b"\0\0\0\0\0\0\x7f\0")], &[]),
            "22P03",
            "invalid scale in external \"numeric\" value",
        ),
        (
            "SELECT $1::numeric",
            (&[1], &[Some(b"\0\x01\0\0\0\0\0\0\x7f\xff")], &[]),
            "22P03",
            "invalid digit in external \"numeric\" value",
        ),
        (
            "SELECT $1::numeric",
            (&[1], &[Some(b"\0\0\0\0\0\0\0\0more")], &[]),
            "22P03",
            "incorrect binary data format in bind parameter 1",
        ),
        ("SELECT $1::date", (&[1], &[Some(b"\x7f\xff\xff\xf0")], &[]), "22008", "date out of range"),
        (
            "SELECT $1::timestamp",
            (&[1], &[Some(b"\x7f\xff\xff\xff\xff\xff\xff\xf0")], &[]),
            "22008",
            "timestamp out of range",
        ),
        ("SELECT $1::jsonb", (&[1], &[Some(b"\x02{}")], &[]), "XX000", "unsupported jsonb version number 2"),
        ("SELECT $1::jsonb", (&[1], &[Some(b"")], &[]), "08P01", "insufficient data left in message"),
    ];
    on_both(|target| {
        let mut client = target.client();
        for (sql, (formats, parameters, results), code, message) in &cases {
            client.write_parse("", sql, &[]);
            client.write_bind_as("", "", formats, parameters, results);
            client.write_execute("", 0);
            client.write_sync();
            client.send();
            let events = client.until_ready();
            let reports = errors(&events);
            assert_eq!(reports.len(), 1, "{}: {sql}: {events:?}", target.name);
            let found = (reports[0].code.as_str(), reports[0].message.as_str());
            assert_eq!(found, (*code, *message), "{}: {sql}", target.name);
        }
    });
}

#[test]
fn a_client_that_stops_reading_costs_its_buffers_and_nothing_else() {
    let (_directory, server) = start();
    let target = Target::tertulia(&server);
    let mut other = target.client();
    other.run("CREATE TABLE t (id int PRIMARY KEY, body text)");
    for id in 0..20 {
        other.run(&format!("INSERT INTO t VALUES ({id}, repeat('x', 100000))"));
    }
    let mut greedy: Vec<Client> = (0..8).map(|_| target.client()).collect();
    let before = server.resident_bytes();
    for client in &mut greedy {
        // a result of two gigabytes for each, and of megabytes a row
        let sql = b"SELECT body || repeat(body, 100) FROM t ORDER BY id; SELECT repeat(body, 1000) FROM t\0";
        client.stream().write_all(&[b"Q", &(sql.len() as u32 + 4).to_be_bytes()[..], sql].concat()).unwrap();
    }
    // the others have had time to fill every buffer when so many statements have been answered
    for id in 0..300 {
        assert_eq!(
            other.rows(&format!("SELECT length(body) FROM t WHERE id = {}", id % 20)),
            [[Some("100000".into())]]
        );
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 512 << 20, "eight results of gigabytes that nobody reads cost {} MiB", grown >> 20);
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
}

/// Statements of words that belong to SQL and make no sense: each is answered, none is an internal error.
#[test]
fn nonsense_of_real_words_is_answered() {
    const WORDS: &[&str] = &[
        "SELECT",
        "FROM",
        "t",
        "WHERE",
        "id",
        "body",
        "=",
        "<",
        "+",
        "-",
        "*",
        "/",
        "%",
        "(",
        ")",
        "(",
        ")",
        ",",
        ",",
        "1",
        "'x'",
        "NULL",
        "true",
        "AND",
        "OR",
        "NOT",
        "IS",
        "IN",
        "BETWEEN",
        "LIKE",
        "ORDER",
        "BY",
        "LIMIT",
        "OFFSET",
        "GROUP",
        "HAVING",
        "INSERT",
        "INTO",
        "VALUES",
        "UPDATE",
        "SET",
        "DELETE",
        "RETURNING",
        "AS",
        "DISTINCT",
        "count",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "CAST",
        "::int",
        "::text",
        "::jsonb",
        "::numeric",
        "interval",
        "'1 day'",
        "now()",
        "coalesce",
        "EXPLAIN",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "CREATE",
        "TABLE",
        "DROP",
        "TOPIC",
        "ALTER",
        "ADD",
        "SOURCE",
        "ON",
        "CONSUME",
        "ACK",
        "GROUP",
        "SUBSCRIBE",
        "TO",
        "LISTEN",
        "NOTIFY",
        "SHOW",
        "RESET",
        "EXECUTE",
        "USER",
        ";",
        ".",
        "[",
        "]",
        "$1",
        "||",
        "->",
        "->>",
        "@>",
        "1.5",
        "1e10",
        "9223372036854775807",
        "''",
        "E'\\n'",
        "CONFLICT",
        "DO",
        "NOTHING",
        "DEFAULT",
        "PRIMARY",
        "KEY",
        "WITH",
        "TYPE",
        "int",
        "bigint",
        "text",
        "sum",
        "max",
        "length",
        "substring",
        "FOR",
    ];
    const STARTS: &[&str] = &[
        "SELECT",
        "SELECT",
        "SELECT",
        "INSERT INTO t VALUES (",
        "UPDATE t SET body =",
        "DELETE FROM t WHERE",
        "SELECT * FROM t WHERE",
        "SELECT id, body FROM t ORDER BY",
        "CONSUME FROM q",
        "CREATE TABLE u (",
        "ALTER TOPIC q",
        "SUBSCRIBE TO t",
        "EXECUTE AS USER 'a' (",
        "SET",
        "VALUES (",
    ];
    let (mut random, seed) = Random::seeded("TERTULIA_NONSENSE_SEED");
    let (_directory, mut server) = start();
    let target = Target::tertulia(&server);
    let mut client = target.client();
    client.run("CREATE TABLE t (id int PRIMARY KEY, body text)");
    client.run("CREATE TOPIC q");
    client.run("INSERT INTO t VALUES (1, 'one'), (2, NULL)");
    for _ in 0..3_000 {
        let words: Vec<&str> = (0..1 + random.below(14)).map(|_| random.pick(WORDS)).collect();
        let sql = format!("{} {}", random.pick(STARTS), words.join(" "));
        let (events, lives) = client.try_simple(&sql);
        assert!(lives, "seed {seed}: {sql}: {events:?}");
        for report in errors(&events) {
            assert!(!report.code.starts_with("XX"), "seed {seed}: {sql}: {report:?}");
        }
    }
    assert_unharmed(&mut server);
}

/// Frames of random types and bodies: the connection may end, the server may not.
#[test]
fn random_frames_harm_nobody() {
    const TYPES: &[u8] = b"QPBDECSHFdcfpXQPBDECSH\0z";
    let (mut random, seed) = Random::seeded("TERTULIA_NONSENSE_SEED");
    let (_directory, mut server) = start();
    let target = Target::tertulia(&server);
    for _ in 0..200 {
        let mut client = target.client();
        let mut bytes = Vec::new();
        for _ in 0..1 + random.below(12) {
            let length = random.pick(&[0, 1, 2, 5, 9, 30, 300]);
            // many small numbers, so that counts and strings are often almost right
            let body: Vec<u8> = (0..length)
                .map(|_| if random.once_in(2) { random.below(3) as u8 } else { random.next() as u8 })
                .collect();
            bytes.push(random.pick(TYPES));
            let claim = if random.once_in(20) { random.next() as u32 } else { length as u32 + 4 };
            bytes.extend_from_slice(&claim.to_be_bytes());
            bytes.extend_from_slice(&body);
        }
        // the server may have closed already
        let _ = client.stream().write_all(&bytes);
        let _ = client.stream().shutdown(std::net::Shutdown::Write);
        while let Ok(event) = client.next() {
            if let Event::Error(report) = event {
                assert!(!report.code.starts_with("XX"), "seed {seed}: {bytes:?}: {report:?}");
            }
        }
    }
    assert_unharmed(&mut server);
}

/// The same messages in any pieces have the same answers: a conversation of many kinds, cut at random places.
#[test]
fn frames_split_anywhere_have_the_same_answers() {
    let (mut random, seed) = Random::seeded("TERTULIA_NONSENSE_SEED");
    let (_directory, mut server) = start();
    let target = Target::tertulia(&server);
    let mut client = target.client();
    client.run("CREATE TABLE t (id int PRIMARY KEY, body text)");
    client.run("INSERT INTO t VALUES (1, 'one'), (2, NULL), (3, repeat('three', 1000))");
    let mut conversation = Vec::new();
    for _ in 0..20 {
        client.write_parse("s", "SELECT id, body FROM t WHERE id >= $1 ORDER BY id", &[23]);
        client.write_bind("p", "s", &[Some(b"1")], 1);
        client.write_describe(b'S', "s");
        client.write_describe(b'P', "p");
        client.write_execute("p", 2);
        client.write_execute("p", 0);
        client.write_close(b'S', "s");
        client.write_parse("", "SELECT 1 / $1", &[]);
        client.write_bind("", "", &[Some(b"0")], 0);
        client.write_execute("", 0);
        client.write_execute("skipped", 0);
        client.write_sync();
        conversation.extend_from_slice(&client.take_written());
        let script = b"SELECT body FROM t; BEGIN; SELECT nothing; COMMIT\0";
        conversation.extend_from_slice(&[b"Q", &(script.len() as u32 + 4).to_be_bytes()[..], script].concat());
        conversation.extend_from_slice(b"Q\0\0\0\x0dROLLBACK\0");
    }
    let answers = |client: &mut Client| (0..60).flat_map(|_| client.until_ready()).collect::<Vec<Event>>();
    client.stream().write_all(&conversation).unwrap();
    let expected = answers(&mut client);
    assert_eq!(expected.len(), 20 * 25);
    for round in 0..20 {
        let mut rest = &conversation[..];
        let piece_max = random.pick(&[1, 3, 10, 100, 2_000]);
        // single bytes for a while, or the whole would take minutes
        let mut pieces = 0;
        while !rest.is_empty() && pieces < 500 {
            let (piece, after) = rest.split_at(rest.len().min(1 + random.below(piece_max) as usize));
            client.stream().write_all(piece).unwrap();
            rest = after;
            pieces += 1;
        }
        client.stream().write_all(rest).unwrap();
        assert!(answers(&mut client) == expected, "seed {seed}, round {round}: other answers");
    }
    assert_unharmed(&mut server);
}
