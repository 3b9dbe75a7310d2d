//! Consumer groups over the wire: who gets a message, when it comes again, and what an acknowledgement is worth.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, Event};
use tertulia::config::Config;
use tertulia::env::{Env, ManualEnv, SystemEnv};
use tertulia::server::{Server, runtime};
use tokio::runtime::Runtime;

const PASSWORD: &str = "secret";

/// A server on a directory that outlives it.
struct Fixture {
    directory: tempfile::TempDir,
    env: Arc<dyn Env>,
    runtime: Runtime,
    server: Option<Server>,
}

impl Fixture {
    /// A server whose table `jobs` feeds the topic `work`.
    fn new() -> Fixture {
        Fixture::with(Arc::new(SystemEnv::new()), "")
    }

    fn with(env: Arc<dyn Env>, topic: &str) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let runtime = runtime(2).unwrap();
        let mut fixture = Fixture { directory, env, runtime, server: None };
        fixture.start();
        let mut client = fixture.client();
        client.run("CREATE TABLE jobs (id BIGINT PRIMARY KEY)");
        client.run(&format!("CREATE TOPIC work {topic}"));
        client.run("ALTER TOPIC work ADD SOURCE jobs ON INSERT");
        fixture
    }

    fn start(&mut self) {
        let listen = "127.0.0.1:0".parse().unwrap();
        let data = self.directory.path().to_owned();
        let config = Config { data, listen, map_size: 1 << 30, ..Config::default() };
        let start = Server::start(config, Some(PASSWORD.to_owned()), self.env.clone());
        self.server = Some(self.runtime.block_on(start).unwrap());
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown()).unwrap();
        }
    }

    fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn address(&self) -> std::net::SocketAddr {
        self.server.as_ref().unwrap().address()
    }

    fn client(&self) -> Client {
        Client::connect(self.address(), "tertulia", PASSWORD, "tertulia").unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A consumed message: offset, key, attempt, lease.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    offset: u64,
    key: String,
    attempt: u32,
    lease: String,
}

fn consume(client: &mut Client, rest: &str) -> Vec<Message> {
    let rows = client.rows(&format!("CONSUME FROM work GROUP g {rest}"));
    let text = |cell: &Option<String>| cell.clone().unwrap();
    let message = |row: &Vec<Option<String>>| Message {
        offset: text(&row[2]).parse().unwrap(),
        key: text(&row[3]),
        attempt: text(&row[8]).parse().unwrap(),
        lease: text(&row[9]),
    };
    rows.iter().map(message).collect()
}

/// Offsets with attempts.
fn attempts(messages: &[Message]) -> Vec<(u64, u32)> {
    messages.iter().map(|message| (message.offset, message.attempt)).collect()
}

fn tag(client: &mut Client, sql: &str) -> String {
    let events = client.simple(sql);
    let tag = events.iter().rev().find_map(|event| match event {
        Event::Tag(tag) => Some(tag.clone()),
        _ => None,
    });
    tag.unwrap_or_else(|| panic!("{sql}: {events:?}"))
}

/// Asks again until it holds: for what a background thread does.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        thread::yield_now();
    }
}

#[test]
fn consumers_of_one_group_share_the_messages_among_them() {
    let fixture = Fixture::new();
    let mut producer = fixture.client();
    producer.run("INSERT INTO jobs SELECT 0");
    let consumers: Vec<_> = (0..4)
        .map(|_| {
            let mut client = fixture.client();
            thread::spawn(move || {
                let mut got = Vec::new();
                loop {
                    client.run("BEGIN");
                    let messages = consume(&mut client, "LIMIT 3 WAIT '10 seconds'");
                    let last = messages.iter().any(|message| message.key == "199");
                    assert!(!messages.is_empty(), "a message comes within the time");
                    let offsets: Vec<_> = messages.iter().map(|message| message.offset.to_string()).collect();
                    let acked = tag(&mut client, &format!("ACK work GROUP g OFFSET {}", offsets.join(", ")));
                    assert_eq!(acked, format!("ACK {}", messages.len()));
                    client.run("COMMIT");
                    let ended = messages.iter().any(|message| message.key.starts_with("-"));
                    got.extend(messages);
                    if last || ended {
                        return got;
                    }
                }
            })
        })
        .collect();
    for id in 1..200 {
        producer.run(&format!("INSERT INTO jobs VALUES ({id})"));
    }
    // what ends the others
    for end in 1..=12 {
        producer.run(&format!("INSERT INTO jobs VALUES (-{end})"));
    }
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    for message in consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()) {
        *seen.entry(message.offset).or_default() += 1;
    }
    assert!((0..200).all(|offset| seen.get(&offset) == Some(&1)), "each message once: {seen:?}");
}

#[test]
fn a_waiting_consumer_is_woken_by_the_commit_of_another_session() {
    let fixture = Fixture::new();
    let (mut consumer, mut producer) = (fixture.client(), fixture.client());
    let (say, hear) = mpsc::channel();
    let waiting = thread::spawn(move || {
        for _ in 0..50 {
            let messages = consume(&mut consumer, "WAIT '1 hour' AUTO ACK");
            say.send(messages).unwrap();
        }
    });
    for id in 0..50 {
        producer.run(&format!("INSERT INTO jobs VALUES ({id})"));
        let messages = hear.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(attempts(&messages), [(id, 1)]);
    }
    waiting.join().unwrap();
}

#[test]
fn a_wait_without_a_group_reads_what_comes_after_it_began() {
    let fixture = Fixture::new();
    let (mut reader, mut producer) = (fixture.client(), fixture.client());
    producer.run("INSERT INTO jobs VALUES (1)");
    let waiting = thread::spawn(move || reader.rows("CONSUME FROM work FROM LATEST WAIT '1 hour'"));
    // until the reader has begun its messages are not after its beginning, so there must be several
    let mut id = 2;
    while !waiting.is_finished() {
        producer.run(&format!("INSERT INTO jobs VALUES ({id})"));
        id += 1;
    }
    let rows = waiting.join().unwrap();
    assert!(rows.iter().all(|row| row[3].as_deref() != Some("1") && row[8].is_none() && row[9].is_none()));
}

#[test]
fn a_wait_that_is_over_returns_nothing() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    assert_eq!(tag(&mut client, "CONSUME FROM work GROUP g WAIT '10 milliseconds'"), "SELECT 0");
    assert_eq!(tag(&mut client, "CONSUME FROM work WAIT '10 milliseconds'"), "SELECT 0");
}

#[test]
fn a_waiting_consumer_takes_a_message_that_comes_back() {
    let fixture = Fixture::new();
    let (mut first, mut second) = (fixture.client(), fixture.client());
    first.run("INSERT INTO jobs VALUES (1)");
    first.run("BEGIN");
    assert_eq!(attempts(&consume(&mut first, "")), [(0, 1)]);
    assert!(consume(&mut second, "").is_empty());
    let waiting = thread::spawn(move || consume(&mut second, "WAIT '1 hour'"));
    first.run("ROLLBACK");
    assert_eq!(attempts(&waiting.join().unwrap()), [(0, 2)]);
}

#[test]
fn a_waiting_consumer_takes_a_message_whose_lease_runs_out() {
    let fixture = Fixture::new();
    let (mut first, mut second) = (fixture.client(), fixture.client());
    first.run("INSERT INTO jobs VALUES (1)");
    assert_eq!(attempts(&consume(&mut first, "VISIBILITY '50 milliseconds'")), [(0, 1)]);
    assert_eq!(attempts(&consume(&mut second, "WAIT '1 hour'")), [(0, 2)]);
    assert_eq!(first.failure("ACK work GROUP g OFFSET 0").code, "55000");
}

#[test]
fn a_lease_that_ended_is_its_consumer_s_until_another_takes_the_message() {
    let env = Arc::new(ManualEnv::new(1_800_000_000_000_000, 7));
    let fixture = Fixture::with(env.clone(), "");
    let (mut first, mut second) = (fixture.client(), fixture.client());
    first.run("INSERT INTO jobs VALUES (1), (2)");
    let held = consume(&mut first, "VISIBILITY '1 minute'");
    assert_eq!(attempts(&held), [(0, 1), (1, 1)]);
    env.advance(59_000_000);
    assert!(consume(&mut second, "").is_empty());
    env.advance(1_000_000);
    assert_eq!(attempts(&consume(&mut second, "LIMIT 1")), [(0, 2)]);
    assert_eq!(first.failure(&format!("ACK work GROUP g LEASE '{}'", held[0].lease)).code, "55000");
    assert_eq!(tag(&mut first, &format!("ACK work GROUP g LEASE '{}'", held[1].lease)), "ACK 1");
    // EXTEND holds it beyond the first time, a NACK with a delay returns it later
    assert_eq!(tag(&mut second, "EXTEND work GROUP g OFFSET 0 BY '10 minutes'"), "EXTEND 1");
    env.advance(300_000_000);
    assert!(consume(&mut first, "").is_empty());
    assert_eq!(tag(&mut second, "NACK work GROUP g OFFSET 0 DELAY '1 minute'"), "NACK 1");
    assert!(consume(&mut first, "").is_empty());
    env.advance(60_000_000);
    assert_eq!(attempts(&consume(&mut first, "")), [(0, 3)]);
}

#[test]
fn the_messages_of_a_session_that_ended_come_again_and_its_leases_settle_until_then() {
    let env = Arc::new(ManualEnv::new(1_800_000_000_000_000, 7));
    let fixture = Fixture::with(env.clone(), "");
    let (mut first, mut second) = (fixture.client(), fixture.client());
    first.run("INSERT INTO jobs VALUES (1), (2)");
    let held = consume(&mut first, "");
    drop(first);
    assert_eq!(tag(&mut second, &format!("ACK work GROUP g LEASE '{}'", held[0].lease)), "ACK 1");
    assert!(consume(&mut second, "").is_empty());
    env.advance(30_000_000);
    assert_eq!(attempts(&consume(&mut second, "")), [(1, 2)]);
}

#[test]
fn a_reply_and_its_ack_happen_together_or_not_at_all() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.run("CREATE TABLE replies (id BIGINT PRIMARY KEY)");
    client.run("INSERT INTO jobs VALUES (1), (2)");
    assert_eq!(consume(&mut client, "").len(), 2);
    for end in ["ROLLBACK", "COMMIT"] {
        client.run("BEGIN; INSERT INTO replies VALUES (1); ACK work GROUP g OFFSET 0");
        client.run(end);
    }
    assert_eq!(client.rows("SELECT count(*) FROM replies"), [[Some("1".to_owned())]]);
    assert_eq!(client.failure("ACK work GROUP g OFFSET 0").code, "55000");
    // a commit that fails takes the ack back too
    client.run("BEGIN; ACK work GROUP g OFFSET 1");
    assert_eq!(client.failure("INSERT INTO replies VALUES (1)").code, "23505");
    client.run("COMMIT");
    assert_eq!(tag(&mut client, "ACK work GROUP g OFFSET 1"), "ACK 1");
}

#[test]
fn a_rollback_to_a_savepoint_takes_back_what_was_settled_and_claimed_after_it() {
    let fixture = Fixture::new();
    let (mut client, mut other) = (fixture.client(), fixture.client());
    client.run("INSERT INTO jobs VALUES (1), (2), (3)");
    client.run("BEGIN");
    assert_eq!(attempts(&consume(&mut client, "LIMIT 2")), [(0, 1), (1, 1)]);
    client.run("ACK work GROUP g OFFSET 0; SAVEPOINT s");
    client.run("ACK work GROUP g OFFSET 1");
    assert_eq!(attempts(&consume(&mut client, "")), [(2, 1)]);
    assert!(consume(&mut other, "").is_empty());
    client.run("ROLLBACK TO s");
    assert_eq!(attempts(&consume(&mut other, "")), [(2, 2)], "the claim after the savepoint returned at once");
    client.run("NACK work GROUP g OFFSET 1; COMMIT");
    assert_eq!(attempts(&consume(&mut other, "")), [(1, 2)]);
    assert_eq!(tag(&mut other, "ACK work GROUP g UPTO OFFSET 9"), "ACK 2");
    assert!(consume(&mut other, "VISIBILITY '1 microsecond'").is_empty());
}

#[test]
fn a_message_that_is_settled_by_lease_is_not_given_out_when_its_claim_rolls_back() {
    let fixture = Fixture::new();
    let (mut first, mut second) = (fixture.client(), fixture.client());
    first.run("INSERT INTO jobs VALUES (1), (2)");
    first.run("BEGIN");
    let held = consume(&mut first, "");
    second.run(&format!("BEGIN; ACK work GROUP g LEASE '{}', '{}'", held[0].lease, held[1].lease));
    first.run("ROLLBACK");
    assert!(consume(&mut first, "").is_empty());
    second.run("COMMIT");
    assert!(consume(&mut first, "").is_empty());
}

#[test]
fn acknowledgements_survive_a_restart() {
    let mut fixture = Fixture::with(Arc::new(SystemEnv::new()), "PARTITIONS 1");
    let mut client = fixture.client();
    client.run("INSERT INTO jobs VALUES (1), (2), (3), (4), (5), (6)");
    assert!(client.rows("CONSUME FROM work GROUP late FROM LATEST").is_empty());
    client.run("BEGIN; CONSUME FROM work GROUP undone FROM 4");
    client.run("ROLLBACK");
    assert_eq!(consume(&mut client, "").len(), 6);
    client.run("ACK work GROUP g OFFSET 1, 3; ACK work GROUP g UPTO OFFSET 0; ACK work GROUP g OFFSET 4");
    drop(client);
    for _ in 0..2 {
        // once from the log, once from what maintenance and the first restart have made of it
        fixture.restart();
        let mut client = fixture.client();
        assert_eq!(attempts(&consume(&mut client, "")), [(2, 1), (5, 1)], "claims and attempts are in memory only");
        assert!(client.rows("CONSUME FROM work GROUP late FROM EARLIEST").is_empty(), "a group begins once");
        let undone = client.rows("CONSUME FROM work GROUP undone");
        assert_eq!(undone.len(), 2, "a group is there from its first use on");
    }
    let mut client = fixture.client();
    client.run("INSERT INTO jobs VALUES (7); CREATE TABLE other (id BIGINT PRIMARY KEY)");
    assert_eq!(client.rows("CONSUME FROM work GROUP late AUTO ACK").len(), 1);
    client.run("RESET CONSUMER GROUP g ON work TO 1");
    drop(client);
    fixture.restart();
    let mut client = fixture.client();
    assert_eq!(consume(&mut client, "LIMIT 2").iter().map(|message| message.offset).collect::<Vec<_>>(), [1, 2]);
    assert!(client.rows("CONSUME FROM work GROUP late").is_empty());
}

#[test]
fn a_dropped_topic_ends_the_waits_for_it() {
    let fixture = Fixture::new();
    let (mut consumer, mut owner) = (fixture.client(), fixture.client());
    let waiting = thread::spawn(move || consumer.failure("CONSUME FROM work GROUP g WAIT '1 hour'"));
    owner.run("DROP TOPIC work");
    assert_eq!(waiting.join().unwrap().code, "42P01");
}

#[test]
fn a_wait_ends_by_a_cancel_and_by_statement_timeout() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let error = {
        client.run("SET statement_timeout = '20ms'");
        client.failure("CONSUME FROM work GROUP g WAIT '1 hour'")
    };
    assert_eq!(error.code, "57014");
    client.run("RESET statement_timeout");
    let canceller = Canceller { pid: client.pid, secret: client.secret };
    let (say, hear) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let error = client.failure("CONSUME FROM work GROUP g WAIT '1 hour'");
        say.send(()).unwrap();
        error
    });
    // one that comes before the statement is forgotten
    while hear.recv_timeout(Duration::from_millis(10)).is_err() {
        canceller.cancel(fixture.address());
    }
    assert_eq!(waiting.join().unwrap().code, "57014");
}

struct Canceller {
    pid: i32,
    secret: i32,
}

impl Canceller {
    fn cancel(&self, address: std::net::SocketAddr) {
        let mut client = Client::raw(address);
        (client.pid, client.secret) = (self.pid, self.secret);
        client.cancel(address);
    }
}

#[test]
fn every_value_may_be_a_parameter() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.run("INSERT INTO jobs VALUES (1), (2), (3)");
    let sql = "CONSUME FROM work GROUP $1 PARTITION $2 FROM $3 LIMIT $4 WAIT $5 VISIBILITY $6";
    let values: [&[u8]; 6] = [b"g", b"0", b"1", b"1", b"0 seconds", b"1 minute"];
    let events = client.extended(sql, &values.map(Some));
    let rows: Vec<_> = events.iter().filter(|event| matches!(event, Event::Row(_))).collect();
    let [Event::Row(cells)] = rows[..] else { panic!("one row: {events:?}") };
    assert_eq!(cells[2].as_deref(), Some(1_i64.to_be_bytes().as_slice()));
    assert_eq!(events.iter().find(|event| matches!(event, Event::Tag(_))), Some(&Event::Tag("SELECT 1".into())));
    let lease = cells[9].clone().unwrap();
    let events = client.extended("EXTEND work GROUP $1 LEASE $2 BY $3", &[Some(b"g"), Some(&lease), Some(b"1 hour")]);
    assert!(events.contains(&Event::Tag("EXTEND 1".into())), "{events:?}");
    let events = client.extended("ACK work GROUP $1 PARTITION $2 OFFSET $3", &[Some(b"g"), Some(b"0"), Some(b"1")]);
    assert!(events.contains(&Event::Tag("ACK 1".into())), "{events:?}");
    client.write_parse("", sql, &[]);
    client.write_describe(b'S', "");
    client.write_sync();
    client.send();
    let described = client.until_ready();
    assert!(described.contains(&Event::Parameters(vec![25, 23, 20, 20, 1186, 1186])), "{described:?}");
}

#[test]
fn a_worker_answers_in_the_scope_of_the_user_who_asked() {
    let fixture = Fixture::new();
    let mut worker = fixture.client();
    worker.run("CREATE TABLE notes (id BIGINT PRIMARY KEY) WITH (TYPE = 'USER')");
    worker.run("ALTER TOPIC work ADD SOURCE notes ON INSERT");
    worker.run("EXECUTE AS USER 'alice' (INSERT INTO notes VALUES (1))");
    let rows = worker.rows("CONSUME FROM work GROUP g");
    assert_eq!((rows.len(), rows[0][5].as_deref()), (1, Some("alice")));
    worker.run("BEGIN; EXECUTE AS USER 'alice' (INSERT INTO notes VALUES (2)); ACK work GROUP g OFFSET 0; COMMIT");
    assert_eq!(tag(&mut worker, "EXECUTE AS USER 'alice' (CONSUME FROM work GROUP g AUTO ACK)"), "SELECT 1");
}

#[test]
fn each_partition_has_offsets_of_its_own_and_a_consumer_is_served_from_all() {
    let fixture = Fixture::with(Arc::new(SystemEnv::new()), "PARTITIONS 4");
    let mut client = fixture.client();
    let values: Vec<String> = (0..40).map(|id| format!("({id})")).collect();
    client.run(&format!("INSERT INTO jobs VALUES {}", values.join(", ")));
    let mut keys: Vec<u64> = Vec::new();
    let mut per_partition: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for row in client.rows("CONSUME FROM work GROUP g") {
        keys.push(row[3].as_ref().unwrap().parse().unwrap());
        per_partition.entry(row[1].clone().unwrap()).or_default().push(row[2].as_ref().unwrap().parse().unwrap());
    }
    keys.sort_unstable();
    assert_eq!(keys, (0..40).collect::<Vec<_>>());
    assert!(per_partition.len() > 1);
    for (partition, offsets) in per_partition {
        assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>());
        let acked = tag(&mut client, &format!("ACK work GROUP g PARTITION {partition} UPTO OFFSET 100"));
        assert_eq!(acked, format!("ACK {}", offsets.len()));
    }
}

#[test]
fn a_mebibyte_ends_a_consume_after_at_least_one_message() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.run("CREATE TABLE large (id BIGINT PRIMARY KEY, body TEXT); ALTER TOPIC work ADD SOURCE large ON INSERT");
    client.run("INSERT INTO large SELECT 0, repeat('x', 1500000)");
    for id in 1..4 {
        client.run(&format!("INSERT INTO large SELECT {id}, repeat('y', 500000)"));
    }
    assert_eq!(attempts(&consume(&mut client, "")), [(0, 1)]);
    assert_eq!(attempts(&consume(&mut client, "")), [(1, 1), (2, 1)], "what did not fit was not claimed");
    assert_eq!(attempts(&consume(&mut client, "")), [(3, 1)]);
}

#[test]
fn retention_removes_old_messages_and_tells_a_group_what_it_missed() {
    let env = Arc::new(ManualEnv::new(1_800_000_000_000_000, 7));
    let mut fixture = Fixture::with(env.clone(), "WITH (retention = '1 hour')");
    let mut client = fixture.client();
    client.run("INSERT INTO jobs VALUES (1), (2), (3)");
    assert_eq!(consume(&mut client, "LIMIT 1").len(), 1);
    client.run("ACK work GROUP g OFFSET 0");
    env.advance(1_800_000_000);
    client.run("INSERT INTO jobs VALUES (4)");
    env.advance(1_800_000_001);
    let left = |client: &mut Client| client.rows("SELECT \"offset\" FROM work").len();
    eventually("the old messages are gone", || left(&mut client) == 1);
    let events = client.simple("CONSUME FROM work GROUP g");
    let warning = events.iter().find_map(|event| match event {
        Event::Notice(report) => Some((report.severity.as_str(), report.message.as_str())),
        _ => None,
    });
    let message = "consumer group \"g\" has missed messages of topic \"public.work\": 2 between offsets 1 and 2 of \
                   partition 0";
    assert_eq!(warning, Some(("WARNING", message)));
    assert!(events.contains(&Event::Tag("SELECT 1".into())), "{events:?}");
    let progress = "SELECT position, lag, in_flight, skipped FROM system.topic_groups";
    let shown = |values: [&str; 4]| [values.map(|value| Some(value.to_owned())).to_vec()];
    assert_eq!(client.rows(progress), shown(["3", "1", "1", "2"]));
    client.run("ACK work GROUP g OFFSET 3");
    assert_eq!(client.rows(progress), shown(["4", "0", "0", "2"]));
    // offsets go on where they were when nothing is left, over a restart too
    env.advance(3_600_000_000);
    eventually("all messages are gone", || left(&mut client) == 0);
    drop(client);
    fixture.restart();
    let mut client = fixture.client();
    client.run("INSERT INTO jobs VALUES (5)");
    assert_eq!(attempts(&consume(&mut client, "")), [(4, 1)]);
}

#[test]
fn a_cleared_topic_is_empty_and_its_offsets_go_on() {
    let fixture = Fixture::with(Arc::new(SystemEnv::new()), "PARTITIONS 2 WITH (ordered = false)");
    let mut client = fixture.client();
    client.run("INSERT INTO jobs VALUES (1), (2), (3), (4), (5), (6), (7), (8)");
    client.run("BEGIN; CLEAR TOPIC work; ROLLBACK");
    assert_eq!(client.rows("CONSUME FROM work").len(), 8);
    client.run("CLEAR TOPIC work");
    assert!(client.rows("CONSUME FROM work").is_empty());
    client.run("INSERT INTO jobs VALUES (9)");
    let rows = client.rows("CONSUME FROM work GROUP g");
    assert!(rows.len() == 1 && rows[0][2].as_deref() > Some("0"), "{rows:?}");
}

#[test]
fn acknowledgements_are_folded_into_the_position() {
    let mut fixture = Fixture::new();
    let mut client = fixture.client();
    let values: Vec<String> = (0..100).map(|id| format!("({id})")).collect();
    client.run(&format!("INSERT INTO jobs VALUES {}", values.join(", ")));
    assert_eq!(consume(&mut client, "").len(), 100);
    for offset in (1..100).rev() {
        client.run(&format!("ACK work GROUP g OFFSET {offset}"));
    }
    let stored = |fixture: &Fixture| {
        let engine = fixture.server.as_ref().unwrap().engine();
        let snapshot = engine.snapshot().unwrap();
        let topic = engine.catalog().relations().find(|relation| relation.name == "work").unwrap().storage;
        let (from, to) = tertulia::encoding::key::prefixed(tertulia::topic::groups_prefix(topic));
        let mut cursor = snapshot.cursor(from, to, tertulia::storage::Direction::Forward);
        let mut entries = Vec::new();
        while cursor.next_batch(&snapshot, &mut entries, 100).unwrap() {}
        entries.len()
    };
    eventually("a position and one range are left", || stored(&fixture) == 2);
    client.run("ACK work GROUP g OFFSET 0");
    eventually("the position alone is left", || stored(&fixture) == 1);
    drop(client);
    fixture.restart();
    assert!(consume(&mut fixture.client(), "").is_empty());
}

#[test]
fn retention_leaves_a_topic_alone_while_it_is_cleared() {
    let env = Arc::new(ManualEnv::new(1_800_000_000_000_000, 7));
    let fixture = Fixture::with(env.clone(), "WITH (retention = '1 hour')");
    let (mut clearer, mut other) = (fixture.client(), fixture.client());
    clearer.run("INSERT INTO jobs VALUES (1), (2), (3)");
    clearer.run("BEGIN; CLEAR TOPIC work");
    env.advance(7_200_000_000);
    fixture.server.as_ref().unwrap().engine().expire_messages().unwrap();
    let left = |client: &mut Client| client.rows("SELECT \"offset\" FROM work").len();
    assert_eq!(left(&mut other), 3, "two that move the place of the next offset do so one after the other");
    clearer.run("COMMIT");
    assert_eq!(left(&mut other), 0);
    clearer.run("INSERT INTO jobs VALUES (4)");
    assert_eq!(other.rows("SELECT \"offset\" FROM work"), [[Some("3".to_owned())]]);
}
