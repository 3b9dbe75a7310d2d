//! COPY FROM STDIN over the wire: rows and errors as PostgreSQL has them for whatever bytes come, and what happens when
//! the client is slow, gives up, or goes on after an error.

mod support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};
use support::client::{Client, Event};
use support::postgres::Postgres;
use support::random::Random;
use support::server::World;

/// Inputs that are compared with PostgreSQL, unless `TERTULIA_COPY_INPUTS` says how many.
const INPUTS: usize = 600;

/// A COPY to try: its table, its statement, its data in pieces.
struct Input {
    columns: Vec<&'static str>,
    statement: String,
    pieces: Vec<Vec<u8>>,
}

const TYPES: [&str; 11] = [
    "int",
    "text",
    "varchar(3)",
    "numeric(5,2)",
    "boolean",
    "timestamp",
    "float8",
    "date",
    "bytea",
    "smallint",
    "text",
];

/// What a value of a type may look like, well made or nearly so.
fn value(random: &mut Random, ty: &str) -> Vec<u8> {
    if random.once_in(40) {
        let odd = b"\\.\t\n\r|,N0x7fba \xc3\xa4\xff\x01";
        return (0..random.below(6)).map(|_| random.pick(odd)).collect();
    }
    let texts: &[&str] = match ty {
        "int" | "smallint" => &["1", "-7", " 42 ", "32767", "99999", "007", "1.5", ""],
        "numeric(5,2)" => &["1", "2.345", "-999.99", "1e2", "1000", "NaN", ".5"],
        "boolean" => &["t", "false", "on", "1", "maybe", "no"],
        "timestamp" => &["2024-01-02 03:04:05", "2024-02-30", "1999-12-31", "infinity", "20240102T030405"],
        "float8" => &["1", "-2.5e10", "NaN", "x", "1e400", "0.1"],
        "date" => &["2024-01-02", "2024-13-01", "1-1-1", "-infinity"],
        "bytea" => &["\\\\x00ff", "abc", "\\\\x0", "\\\\134", "\\\\\\\\"],
        "varchar(3)" => &["a", "abc", "abcd", "abc  ", "äöü", ""],
        _ => &[
            "",
            "text",
            "a\\tb",
            "\\\\N",
            "\\x41\\101",
            "ä€",
            "\\ä",
            "\\.x",
            "a\\\nb",
            "it's \"q\"",
            "\\",
            "\\xc3\\xa4",
        ],
    };
    random.pick(texts).as_bytes().to_vec()
}

impl Input {
    fn random(random: &mut Random) -> Input {
        let count = 1 + random.below(4) as usize;
        let columns: Vec<&'static str> = (0..count).map(|_| random.pick(&TYPES)).collect();
        let (delimiter, mut options) = match random.below(4) {
            0 => (b'|', vec!["DELIMITER '|'"]),
            1 => (b',', vec!["DELIMITER ','"]),
            _ => (b'\t', Vec::new()),
        };
        let null = match random.below(3) {
            0 => {
                options.push("NULL ''");
                ""
            }
            _ => "\\N",
        };
        if random.once_in(6) {
            options.push("HEADER");
        }
        let options = if options.is_empty() { String::new() } else { format!(" ({})", options.join(", ")) };
        let end: &[u8] = random.pick(&[&b"\n"[..], b"\n", b"\n", b"\r\n", b"\r"]);
        let mut data = Vec::new();
        for _ in 0..random.below(5) {
            let width = if random.once_in(25) { random.below(6) as usize } else { count };
            for column in 0..width {
                if column > 0 {
                    data.push(delimiter);
                }
                let ty = columns.get(column).copied().unwrap_or("text");
                if random.once_in(8) { data.extend(null.as_bytes()) } else { data.extend(value(random, ty)) }
            }
            data.extend_from_slice(if random.once_in(30) { b"\r" } else { end });
        }
        if random.once_in(4) {
            data.extend_from_slice(random.pick(&[&b"\\.\n"[..], b"\\.\r\n", b"\\.", b"\\.x\n", b"1"]));
        }
        let mut pieces = Vec::new();
        while !data.is_empty() {
            let rest = data.split_off(data.len().min(1 + random.below(20) as usize));
            pieces.push(std::mem::replace(&mut data, rest));
        }
        Input { columns, statement: format!("COPY c FROM STDIN{options}"), pieces }
    }

    /// What a server makes of it: its answer and the rows that are then there.
    fn play(&self, client: &mut Client) -> String {
        let columns: Vec<String> = self.columns.iter().enumerate().map(|(at, ty)| format!("c{at} {ty}")).collect();
        client.run(&format!("DROP TABLE IF EXISTS c; CREATE TABLE c ({})", columns.join(", ")));
        client.write_query(&self.statement);
        self.pieces.iter().for_each(|piece| client.write_copy_data(piece));
        client.write_copy_done();
        client.send();
        let mut found = String::new();
        for event in client.until_ready() {
            match event {
                // which of a type's errors a value without sense gives is not what is tested here
                Event::Error(report) if ["22003", "22007", "22008", "22P02"].contains(&report.code.as_str()) => {
                    writeln!(found, "no value / {:?}", report.context).unwrap();
                }
                Event::Error(report) => {
                    writeln!(found, "{} {} / {:?}", report.code, report.message, report.context).unwrap();
                }
                Event::Tag(tag) => writeln!(found, "{tag}").unwrap(),
                _ => {}
            }
        }
        let mut rows: Vec<String> = client.rows("SELECT * FROM c").iter().map(|row| format!("{row:?}")).collect();
        rows.sort();
        found + &rows.join("\n")
    }
}

#[test]
fn any_input_gives_postgresqls_rows_or_its_error() {
    let Some(postgres) = Postgres::start() else { return };
    let (mut random, seed) = Random::seeded("TERTULIA_COPY_SEED");
    let inputs = std::env::var("TERTULIA_COPY_INPUTS").map_or(INPUTS, |count| count.parse().unwrap());
    let world = World::new();
    let mut ours = world.connect();
    let mut theirs = Client::connect(postgres.address, "postgres", "", "postgres").unwrap();
    theirs.run("SET client_min_messages = error");
    let mut copied = 0;
    for number in 0..inputs {
        let input = Input::random(&mut random);
        let (expected, found) = (input.play(&mut theirs), input.play(&mut ours));
        let data: Vec<u8> = input.pieces.concat();
        assert_eq!(
            found,
            expected,
            "seed {seed}, input {number}: {:?}, {}, {}",
            input.columns,
            input.statement,
            data.escape_ascii()
        );
        copied += usize::from(found.starts_with("COPY "));
    }
    assert!(copied > inputs / 10, "only {copied} of {inputs} inputs were taken: they are no test of rows");
}

#[test]
fn lines_without_values_and_a_header_that_is_not_there_are_as_in_postgresql() {
    let Some(postgres) = Postgres::start() else { return };
    let world = World::new();
    let mut ours = world.connect();
    let mut theirs = Client::connect(postgres.address, "postgres", "", "postgres").unwrap();
    theirs.run("SET client_min_messages = error");
    let cases: [(&[&'static str], &str, &[u8]); 9] = [
        (&[], "", b"\n\n"),
        (&[], "", b"x\n"),
        (&[], "", b"\t\n"),
        (&[], "", b""),
        (&["int"], "", b"\n"),
        (&["int", "int"], " (HEADER MATCH)", b""),
        (&["int", "int"], " (HEADER MATCH)", b"\\.\n"),
        (&["int"], " (HEADER MATCH)", b""),
        (&["int", "int"], " (HEADER)", b""),
    ];
    for (columns, options, data) in cases {
        let statement = format!("COPY c FROM STDIN{options}");
        let input = Input { columns: columns.to_vec(), statement, pieces: vec![data.to_vec()] };
        let (expected, found) = (input.play(&mut theirs), input.play(&mut ours));
        assert_eq!(found, expected, "{columns:?}, {}, {}", input.statement, data.escape_ascii());
    }
}

fn error_of(events: &[Event]) -> (String, String) {
    let found = events.iter().find_map(|event| match event {
        Event::Error(report) => Some((report.code.clone(), report.context.clone().unwrap_or_default())),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no error in {events:?}"))
}

#[test]
fn a_copy_that_waits_for_its_client_can_be_cancelled() {
    let world = World::new();
    let mut client = world.connect();
    client.run("CREATE TABLE t (a int PRIMARY KEY)");
    client.begin_copy("COPY t FROM STDIN");
    client.write_copy_data(b"1\n2\n");
    client.send();
    client.cancel(world.server.address());
    let (code, context) = error_of(&client.until_ready());
    assert_eq!(code, "57014");
    assert!(context.starts_with("COPY t, line "), "{context}");
    // what the client still sends is passed over
    client.write_copy_data(b"3\n");
    client.write_copy_done();
    assert_eq!(client.rows("SELECT count(*) FROM t"), [[Some("0".to_owned())]]);
}

#[test]
fn a_copy_whose_client_is_silent_runs_into_statement_timeout() {
    let world = World::new();
    let mut client = world.connect();
    client.run("CREATE TABLE t (a int PRIMARY KEY)");
    client.run("SET statement_timeout = '50ms'");
    client.begin_copy("COPY t FROM STDIN");
    assert_eq!(error_of(&client.until_ready()).0, "57014");
    // the time that the rest of the data takes is nobody's, also where it is longer than the timeout
    client.write_copy_data(b"3\n");
    client.send();
    world.connect().run("SELECT pg_sleep(0.1)");
    client.write_copy_data(b"4\n");
    client.write_copy_done();
    client.send();
    assert_eq!(client.rows("SELECT 1"), [[Some("1".to_owned())]]);
}

#[test]
fn a_copy_whose_client_goes_away_leaves_nothing() {
    let world = World::new();
    let mut client = world.connect();
    client.run("CREATE TABLE t (a int PRIMARY KEY)");
    client.begin_copy("COPY t FROM STDIN");
    client.write_copy_data(b"1\n2\n");
    client.send();
    drop(client);
    let mut other = world.connect();
    // waits for the lock of the row until the transaction is gone
    other.run("INSERT INTO t VALUES (1)");
    assert_eq!(other.rows("SELECT a FROM t"), [[Some("1".to_owned())]]);
}

#[test]
fn a_copy_waits_for_a_row_and_goes_on() {
    let world = World::new();
    let (mut first, mut second) = (world.connect(), world.connect());
    first.run("CREATE TABLE t (a int PRIMARY KEY)");
    first.run("BEGIN");
    first.run("INSERT INTO t VALUES (500)");
    second.begin_copy("COPY t FROM STDIN");
    let data: String = (1..=1000).map(|number| format!("{number}\n")).collect();
    second.write_copy_data(data.as_bytes());
    second.write_copy_done();
    second.send();
    first.run("ROLLBACK");
    assert_eq!(second.until_ready()[0], Event::Tag("COPY 1000".to_owned()));
    assert_eq!(first.rows("SELECT count(*), sum(a) FROM t"), [[Some("1000".to_owned()), Some("500500".to_owned())]]);
}

#[test]
fn data_after_an_error_is_thrown_away_as_it_comes() {
    let world = World::new();
    let mut client = world.connect();
    client.run("CREATE TABLE t (a int PRIMARY KEY)");
    client.write_query("COPY t FROM STDIN");
    // one message, far longer than what is kept of it
    let mut data = b"x\n".to_vec();
    data.resize(32 << 20, b'1');
    client.write_copy_data(&data);
    client.write_copy_done();
    let start = Instant::now();
    client.send();
    let events = client.until_ready();
    assert_eq!(error_of(&events), ("22P02".to_owned(), "COPY t, line 1, column a: \"x\"".to_owned()));
    assert_eq!(client.rows("SELECT count(*) FROM t"), [[Some("0".to_owned())]]);
    assert!(start.elapsed() < Duration::from_secs(25));
}

#[test]
fn rows_go_to_the_user_who_sends_them_and_to_topics() {
    let world = World::new();
    let mut admin = world.connect();
    for statement in [
        "CREATE NAMESPACE chat",
        "CREATE TABLE chat.messages (id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), body TEXT) WITH (TYPE = 'USER')",
        "CREATE TOPIC chat.out",
        "ALTER TOPIC chat.out ADD SOURCE chat.messages ON INSERT WITH (payload = 'full')",
        "CREATE USER alice PASSWORD 'alice'",
        "GRANT USAGE ON SCHEMA chat TO alice",
        "GRANT SELECT, INSERT ON chat.messages TO alice",
    ] {
        admin.run(statement);
    }
    let mut alice = world.connect_as("alice", "alice");
    alice.begin_copy("COPY chat.messages (body) FROM STDIN");
    alice.write_copy_data(b"one\ntwo\n");
    assert_eq!(alice.end_copy()[0], Event::Tag("COPY 2".to_owned()));
    assert_eq!(alice.rows("SELECT count(*), count(DISTINCT id) FROM chat.messages"), [["2", "2"].map(some)]);
    assert_eq!(admin.rows("SELECT count(*) FROM chat.messages"), [["0"].map(some)]);
    let messages = admin.rows("SELECT user_id, payload->>'body' FROM chat.out ORDER BY \"offset\"");
    assert_eq!(messages, [["alice", "one"].map(some), ["alice", "two"].map(some)]);
    admin.run("BEGIN; SET LOCAL tertulia.user_id = 'bob'");
    admin.begin_copy("COPY chat.messages (body) FROM STDIN");
    admin.write_copy_data(b"his\n");
    admin.end_copy();
    admin.run("COMMIT");
    assert_eq!(alice.rows("SELECT count(*) FROM chat.messages"), [["2"].map(some)]);
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}
