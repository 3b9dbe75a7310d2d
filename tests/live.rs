//! Notifications and live rows on their way from a commit to the sessions that listen.

mod support;

use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::client::Event;
use support::live::{Rows, Session, server};
use support::random::Random;
use support::server::Tertulia;
use tertulia::env::SystemEnv;
use tertulia::live::{Hub, Listener};
use tertulia::txn::{Engine, EngineOptions, TxnOptions};
use tertulia::types::Str;

fn notify(engine: &Arc<Engine>, hub: &Hub, notifications: &[(&str, &str)]) {
    let mut transaction = engine.begin(TxnOptions { pid: 7, ..TxnOptions::default() }).unwrap();
    for (channel, payload) in notifications {
        transaction.notify(Str::from(*channel), Str::from(*payload)).unwrap();
    }
    let seq = transaction.start_commit().unwrap().block().unwrap();
    hub.wait_for(seq).block();
}

fn received(listener: &Listener) -> Vec<String> {
    let waiting = listener.outbox().drain().unwrap();
    waiting.iter().map(|notification| format!("{} {}", notification.channel, notification.payload)).collect()
}

#[test]
fn sessions_receive_what_is_said_on_their_channels_in_commit_order() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = Engine::open(EngineOptions::new(dir.path()), Arc::new(SystemEnv::new())).unwrap();
    let hub = Hub::start(&engine).unwrap();
    let (mut one, mut both) = (hub.listener(), hub.listener());
    assert!(one.listen(Str::from("a")));
    assert!(!one.listen(Str::from("a")));
    assert!(both.listen(Str::from("a")) && both.listen(Str::from("b")));

    let woken = both.outbox().wait();
    notify(&engine, &hub, &[("a", "1"), ("b", "2"), ("a", "1"), ("c", "3")]);
    notify(&engine, &hub, &[("a", "4")]);
    assert!(woken.is_done());
    assert_eq!(received(&one), ["a 1", "a 4"]);
    assert_eq!(received(&both), ["a 1", "b 2", "a 4"]);

    one.unlisten("a");
    both.unlisten_all();
    both.listen(Str::from("b"));
    notify(&engine, &hub, &[("a", "5"), ("b", "6")]);
    assert!(received(&one).is_empty());
    assert_eq!(received(&both), ["b 6"]);

    hub.stop();
    engine.shutdown().unwrap();
}

#[test]
fn what_is_rolled_back_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = Engine::open(EngineOptions::new(dir.path()), Arc::new(SystemEnv::new())).unwrap();
    let hub = Hub::start(&engine).unwrap();
    let mut listener = hub.listener();
    listener.listen(Str::from("a"));
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    transaction.notify(Str::from("a"), Str::from("never")).unwrap();
    transaction.rollback();
    notify(&engine, &hub, &[("a", "told")]);
    assert_eq!(received(&listener), ["a told"]);
    hub.stop();
    engine.shutdown().unwrap();
}

/// The reader came to a commit after a session had begun to listen on its channel, and told it what had been said before.
#[test]
fn what_was_said_before_listening_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = Engine::open(EngineOptions::new(dir.path()), Arc::new(SystemEnv::new())).unwrap();
    let hub = Hub::start(&engine).unwrap();
    for round in 0..100 {
        let mut transaction = engine.begin(TxnOptions::default()).unwrap();
        transaction.notify(Str::from("a"), Str::from("before")).unwrap();
        transaction.start_commit().unwrap().block().unwrap();
        // At once: the reader may not have come to that commit.
        let mut listener = hub.listener();
        listener.listen(Str::from("a"));
        notify(&engine, &hub, &[("a", "after")]);
        assert_eq!(received(&listener), ["a after"], "round {round}");
    }
    hub.stop();
    engine.shutdown().unwrap();
}

#[test]
fn two_users_on_one_table_never_hear_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, body TEXT) WITH (TYPE = 'USER')");
    root.run("GRANT SELECT, INSERT, UPDATE, DELETE ON chat.m TO alice, bob");
    root.run("LISTEN \"chat.m\"");
    root.acknowledged();
    let mut users = ["alice", "bob"].map(|user| Session::connect(address, user, user));
    for user in &mut users {
        user.run("SUBSCRIBE live TO SELECT id, body FROM chat.m WHERE id > 0");
        user.acknowledged();
    }
    for id in 1..=20 {
        for (at, user) in users.iter_mut().enumerate() {
            user.run(&format!("INSERT INTO chat.m VALUES ({id}, 'of {at}')"));
            user.run(&format!("UPDATE chat.m SET body = body || '!' WHERE id = {id}"));
        }
    }
    for (at, user) in users.iter_mut().enumerate() {
        for id in 1..=20 {
            for body in [format!("of {at}"), format!("of {at}!")] {
                let event = user.told();
                assert_eq!(event["rows"][0]["id"], id.to_string());
                assert_eq!(event["rows"][0]["body"], body);
            }
        }
    }
    // a superuser hears of its own rows only
    root.run("INSERT INTO chat.m VALUES (7, 'own')");
    assert_eq!(root.told()["rows"][0]["body"], "own");
}

#[test]
fn a_service_hears_for_the_user_it_acts_for_as_long_as_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, body TEXT) WITH (TYPE = 'USER')");
    root.run("CREATE ROLE worker LOGIN SERVICE PASSWORD 'worker'; GRANT USAGE ON SCHEMA chat TO worker");
    root.run("GRANT SELECT, INSERT ON chat.m TO alice, worker");
    let mut worker = Session::connect(address, "worker", "worker");
    worker.run("EXECUTE AS USER 'alice' ( SUBSCRIBE live TO chat.m )");
    worker.acknowledged();
    worker.run("INSERT INTO chat.m VALUES (1, 'own')");
    let mut alice = Session::connect(address, "alice", "alice");
    alice.run("INSERT INTO chat.m VALUES (2, 'hers')");
    assert_eq!(worker.change(), "insert 2");
    root.run("ALTER ROLE worker NOSERVICE");
    alice.run("INSERT INTO chat.m VALUES (3, 'hers')");
    let event = worker.told();
    assert_eq!((&event["type"], &event["code"]), (&"error".into(), &"42501".into()));
    // its name is free again
    worker.run("SUBSCRIBE live TO chat.m");
    worker.acknowledged();
}

#[test]
fn parameters_shape_a_live_query_and_its_acknowledgement_comes_after_the_last_row() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, room INT)");
    root.run("INSERT INTO chat.m SELECT 1, 1; INSERT INTO chat.m VALUES (2, 1), (3, 2), (4, 1)");
    let sql = "SUBSCRIBE TO SELECT id FROM chat.m WHERE room = $1 OPTIONS (last_rows = $2, from_seq = $3)";
    root.client.write_parse("", sql, &[]);
    root.client.write_describe(b'S', "");
    root.client.write_bind("", "", &[Some(b"1"), Some(b"2"), None], 0);
    root.client.write_execute("", 1);
    root.client.write_execute("", 0);
    root.client.write_sync();
    root.client.send();
    let events = root.client.until_ready();
    assert!(events.contains(&Event::Parameters(vec![23, 20, 20])), "{events:?}");
    let row = |id: &str| Event::Row(vec![Some(id.as_bytes().to_vec())]);
    let at = |event: &Event| events.iter().position(|other| other == event).unwrap();
    assert!(at(&row("2")) < at(&Event::Suspended) && at(&Event::Suspended) < at(&row("4")));
    let told = events.iter().position(|event| matches!(event, Event::Notification { .. })).unwrap();
    assert!(told > at(&Event::Tag("SELECT 1".to_owned())));
    root.keep(events, sql);
    let (channel, event) = root.told_on();
    assert_eq!(channel, "SELECT id FROM chat.m WHERE room = $1");
    assert_eq!(event["columns"], serde_json::json!([{"name": "id", "type": "bigint"}]));
    root.run("INSERT INTO chat.m VALUES (5, 2), (6, 1)");
    assert_eq!(root.change(), "insert 6");
}

#[test]
fn what_a_block_writes_around_its_subscribe_comes_as_changes_after_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    let mut other = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY)");
    root.run("INSERT INTO chat.m VALUES (1)");
    root.run("BEGIN; INSERT INTO chat.m VALUES (2)");
    assert_eq!(root.run("SUBSCRIBE live TO chat.m"), [[Some("1".to_owned())]]);
    other.run("INSERT INTO chat.m VALUES (3)");
    root.run("INSERT INTO chat.m VALUES (4)");
    assert!(root.told.is_empty());
    root.run("COMMIT");
    root.acknowledged();
    assert_eq!(root.change(), "insert 3");
    assert_eq!(root.change(), "insert 2 4");
}

#[test]
fn a_client_resumes_after_the_last_whole_commit_even_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, body TEXT)");
    root.run("SUBSCRIBE live TO chat.m");
    let since = root.acknowledged();
    root.run("INSERT INTO chat.m VALUES (1, 'a'), (2, 'b')");
    root.run("UPDATE chat.m SET id = 3 WHERE id = 1");
    let expected = ["insert 1 2", "update 1>3"];
    let resume = format!("SUBSCRIBE again TO chat.m OPTIONS (from_seq = {since})");
    assert_eq!(expected.map(|_| root.change()), expected);
    assert_eq!(root.run(&resume), Rows::new());
    assert_eq!(root.acknowledged(), since);
    assert_eq!(expected.map(|_| root.change()), expected);

    drop(root);
    drop(server);
    let server = Tertulia::start(dir.path(), "tertulia");
    let mut root = Session::superuser(server.address());
    assert_eq!(root.run(&resume), Rows::new());
    root.run("INSERT INTO chat.m VALUES (4, 'new')");
    assert_eq!(root.acknowledged(), since);
    assert_eq!(expected.map(|_| root.change()), expected);
    assert_eq!(root.change(), "insert 4");
    let never = root.client.failure("SUBSCRIBE never TO chat.m OPTIONS (from_seq = 9000000000000000000)");
    assert_eq!(never.code, "22023");
}

/// TRUNCATE and ALTER COLUMN TYPE look at no row, so nothing can be said of the rows that went: who listens is told so, and
/// so is who resumes from before it, also after a restart. A column that came changes no row.
#[test]
fn a_live_query_ends_where_rows_are_replaced_and_does_not_resume_across_it() {
    let dir = tempfile::tempdir().unwrap();
    let (server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, body TEXT)");
    root.run("SUBSCRIBE live TO chat.m");
    let since = root.acknowledged();
    root.run("INSERT INTO chat.m VALUES (1, 'a')");
    assert_eq!(root.change(), "insert 1");
    let mut other = Session::superuser(address);
    other.run("ALTER TABLE chat.m ADD COLUMN more TEXT DEFAULT 'x'");
    let ended = root.told();
    assert_eq!((&ended["type"], &ended["code"]), (&"error".into(), &"0A000".into()), "{ended}");
    let resume = format!("SUBSCRIBE live TO chat.m OPTIONS (from_seq = {since})");
    root.run(&resume);
    assert_eq!(root.acknowledged(), since);
    assert_eq!(root.change(), "insert 1");
    other.run("TRUNCATE chat.m");
    let ended = root.told();
    assert_eq!((&ended["type"], &ended["code"]), (&"error".into(), &"55000".into()), "{ended}");
    let refused = |root: &mut Session| {
        root.run(&resume);
        assert_eq!(root.acknowledged(), since);
        assert_eq!(root.change(), "insert 1");
        let ended = root.told();
        assert_eq!((&ended["type"], &ended["code"]), (&"error".into(), &"55000".into()), "{ended}");
    };
    refused(&mut root);
    drop((root, other, server));
    let server = Tertulia::start(dir.path(), "tertulia");
    let mut root = Session::superuser(server.address());
    refused(&mut root);
    root.run("INSERT INTO chat.m VALUES (2, 'b')");
    root.run("ALTER TABLE chat.m ALTER id TYPE TEXT");
    root.run(&resume);
    assert_eq!(root.acknowledged(), since);
    let ended = root.told();
    assert_eq!((&ended["type"], &ended["code"]), (&"error".into(), &"0A000".into()), "{ended}");
}

/// A commit beyond memory is in a file of its own. Who has few changes in it is told them, who has more than may be shown
/// lags, and resuming from before it is refused.
#[test]
fn a_commit_beyond_memory_is_told_to_whom_it_changes_little() {
    const ROWS: u64 = 50_001;
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, body TEXT)");
    root.run("CREATE TABLE chat.few (id BIGINT PRIMARY KEY, body TEXT)");
    let mut few = Session::superuser(address);
    few.run("SUBSCRIBE live TO chat.few");
    few.acknowledged();
    let mut many = Session::superuser(address);
    many.run("SUBSCRIBE live TO chat.m");
    let since = many.acknowledged();
    root.run("BEGIN");
    root.run("INSERT INTO chat.few VALUES (1, 'first')");
    root.run(&format!("INSERT INTO chat.m SELECT id, repeat('x', 200) FROM generate_series(1, {ROWS}) AS g(id)"));
    root.run("INSERT INTO chat.few VALUES (2, 'last'); UPDATE chat.few SET body = 'changed' WHERE id = 1");
    root.run("COMMIT");
    assert_eq!(few.change(), "insert 1 2");
    let event = many.told();
    assert_eq!(event["type"], "lagged");
    assert!(event["seq"].as_u64().unwrap() >= since);
    many.run(&format!("SUBSCRIBE again TO chat.m OPTIONS (from_seq = {since})"));
    many.acknowledged();
    assert_eq!(many.told()["code"], "72000");
    few.run(&format!("SUBSCRIBE again TO chat.few OPTIONS (from_seq = {since})"));
    few.acknowledged();
    assert_eq!(few.change(), "insert 1 2");
}

#[test]
fn a_row_too_large_for_an_event_comes_as_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, body TEXT)");
    root.run("SUBSCRIBE live TO SELECT body FROM chat.m");
    root.acknowledged();
    root.run("INSERT INTO chat.m VALUES (1, 'small'), (2, repeat('x', 2000000)), (3, repeat('y', 600000))");
    root.run("UPDATE chat.m SET body = 'small' WHERE id = 2; UPDATE chat.m SET body = body || 'z' WHERE id = 3");
    let mut rows = Vec::new();
    loop {
        let event = root.told();
        rows.extend(event["rows"].as_array().unwrap().clone());
        if event["more"] != true {
            break;
        }
    }
    assert_eq!(rows[0], serde_json::json!({"body": "small"}));
    assert_eq!(rows[1], serde_json::json!({"id": "2", "oversize": true}));
    assert_eq!(rows[2]["body"].as_str().unwrap().len(), 600_000);
    let event = root.told();
    assert_eq!(event["rows"][0], serde_json::json!({"body": "small", "id": "2"}));
    assert_eq!(event["old_values"][0], serde_json::json!({"id": "2", "oversize": true}));
}

#[test]
fn rows_of_a_stream_table_say_when_they_vanish_and_vanish_unsaid() {
    let dir = tempfile::tempdir().unwrap();
    let (server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.typing (id BIGINT PRIMARY KEY, who TEXT) WITH (TYPE = 'STREAM', TTL_SECONDS = 1)");
    root.run("SUBSCRIBE live TO chat.typing");
    let since = root.acknowledged();
    root.run("INSERT INTO chat.typing VALUES (1, 'ann')");
    let event = root.told();
    assert_eq!(event["rows"][0]["who"], "ann");
    assert!(event["expires_at"].is_string(), "{event}");
    root.run(&format!("SUBSCRIBE again TO chat.typing OPTIONS (from_seq = {since})"));
    root.acknowledged();
    assert_eq!(root.change(), "insert 1");
    root.run("UNLISTEN again");
    while root.run("SELECT count(*) FROM chat.typing") != [[Some("0".to_owned())]] {}
    root.run("INSERT INTO chat.typing VALUES (1, 'bob'); DELETE FROM chat.typing");
    root.run("INSERT INTO chat.typing VALUES (2, 'bob')");
    assert_eq!(root.change(), "insert 2");
    root.run("DELETE FROM chat.typing WHERE id = 2");
    assert_eq!(root.change(), "delete 2");

    drop(root);
    drop(server);
    let server = Tertulia::start(dir.path(), "tertulia");
    let mut root = Session::superuser(server.address());
    let gone = root.client.failure(&format!("SUBSCRIBE TO chat.typing OPTIONS (from_seq = {since})"));
    assert_eq!(gone.code, "72000");
}

#[test]
fn a_live_query_that_is_not_read_is_closed_with_the_position_to_resume_from() {
    const ROWS: usize = 400;
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, body TEXT)");
    let mut slow = Session::superuser(address);
    slow.run("SUBSCRIBE live TO chat.m");
    slow.acknowledged();
    for id in 0..ROWS {
        root.run(&format!("INSERT INTO chat.m VALUES ({id}, repeat('x', 100000))"));
    }
    let mut next = 0;
    let position = loop {
        let event = slow.told();
        if event["type"] == "lagged" {
            break event["seq"].as_u64().unwrap();
        }
        assert_eq!(event["rows"][0]["id"], next.to_string());
        next += 1;
    };
    assert!(next < ROWS, "a socket takes less than that");
    slow.run(&format!("SUBSCRIBE live TO chat.m OPTIONS (from_seq = {position})"));
    slow.acknowledged();
    for id in next..ROWS {
        assert_eq!(slow.change(), format!("insert {id}"));
    }
}

/// What a subscriber holds: the rows that match, by primary key, and what it was after each commit.
struct Fold {
    rows: BTreeMap<i64, Json>,
    history: BTreeMap<u64, BTreeMap<i64, Json>>,
    open: Vec<Json>,
}

fn id(row: &Json) -> i64 {
    row["id"].as_str().unwrap().parse().unwrap()
}

impl Fold {
    fn begin(seq: u64, snapshot: &Rows) -> Fold {
        let row = |cells: &Vec<Option<String>>| {
            let n = cells[1].as_ref().unwrap().parse::<i64>().unwrap();
            let row = serde_json::json!({"id": cells[0], "n": n, "tag": cells[2]});
            (id(&row), row)
        };
        let rows: BTreeMap<i64, Json> = snapshot.iter().map(row).collect();
        Fold { history: BTreeMap::from([(seq, rows.clone())]), rows, open: Vec::new() }
    }

    /// Takes an event; once its commit is whole, applies it.
    fn take(&mut self, event: Json) {
        assert_eq!(event["type"], "change", "{event}");
        let seq = event["seq"].as_u64().unwrap();
        let is_last = event["more"] != true;
        assert!(*self.history.keys().next_back().unwrap() < seq, "an event comes twice or out of order: {event}");
        self.open.push(event);
        if !is_last {
            return;
        }
        for event in std::mem::take(&mut self.open) {
            assert_eq!(event["seq"].as_u64(), Some(seq));
            for old in event["old_values"].as_array().into_iter().flatten() {
                let held = self.rows.remove(&id(old));
                assert_eq!(held.as_ref(), Some(old), "what goes was there: {event}");
            }
            for new in event["rows"].as_array().into_iter().flatten() {
                assert!(self.rows.insert(id(new), new.clone()).is_none(), "what comes was not there: {event}");
            }
        }
        self.history.insert(seq, self.rows.clone());
    }

    fn position(&self) -> u64 {
        *self.history.keys().next_back().unwrap()
    }
}

const SENTINEL: i64 = -1;

/// Random transactions: rows come, go, move to other keys, enter and leave conditions.
fn write_at_random(address: SocketAddr, user: &str, mut random: Random) {
    let mut session = Session::connect(address, user, user);
    for _ in 0..120 {
        let mut script = String::from("BEGIN;");
        for _ in 0..=random.below(4) {
            let (key, n, tag) = (random.below(40), random.below(9), random.pick(&["aa", "ab", "bb"]));
            script += &match random.below(6) {
                0 | 1 => format!("INSERT INTO chat.items VALUES ({key}, {n}, '{tag}') ON CONFLICT DO NOTHING;"),
                2 => format!("UPDATE chat.items SET n = {n}, tag = '{tag}' WHERE id = {key};"),
                3 => format!("UPDATE chat.items SET id = {} WHERE id = {key};", 40 + random.below(1_000_000)),
                4 => format!("UPDATE chat.items SET n = n + 1 WHERE id % 4 = {};", key % 4),
                _ => format!("DELETE FROM chat.items WHERE id = {key} OR n > 20;"),
            };
        }
        script += if random.once_in(8) { "ROLLBACK" } else { "COMMIT" };
        // two writers may well take their locks in a circle, or want the same key
        let events = session.client.simple(&script);
        let refused = events.iter().find_map(|event| match event {
            Event::Error(report) => Some(report.code.clone()),
            _ => None,
        });
        if let Some(code) = refused {
            assert!(["40P01", "23505"].contains(&code.as_str()), "{events:?}");
            session.client.simple("ROLLBACK");
        }
    }
}

/// Follows a condition until the sentinel comes, going away and resuming at times.
fn follow(address: SocketAddr, user: &str, condition: &str, mut random: Random) -> Fold {
    let subscribe = format!("SUBSCRIBE live TO SELECT id, n, tag FROM chat.items WHERE {condition} OR id = {SENTINEL}");
    let mut session = Session::connect(address, user, user);
    let batch = random.pick(&[1, 3, 1000]);
    let snapshot = session.run(&format!("{subscribe} OPTIONS (batch_size = {batch})"));
    let mut fold = Fold::begin(session.acknowledged(), &snapshot);
    loop {
        let event = session.told();
        let is_end = event["rows"].as_array().is_some_and(|rows| rows.iter().any(|row| id(row) == SENTINEL));
        fold.take(event);
        if is_end {
            return fold;
        }
        if random.once_in(25) {
            session = Session::connect(address, user, user);
            fold.open.clear();
            let position = fold.position();
            assert_eq!(session.run(&format!("{subscribe} OPTIONS (from_seq = {position})")), Rows::new());
            assert_eq!(session.acknowledged(), position);
        }
    }
}

/// The rows of a condition at some positions, as SELECT gives them.
fn look_on(address: SocketAddr, user: &str, condition: &str, stop: &AtomicBool) -> Vec<(u64, Rows)> {
    let mut session = Session::connect(address, user, user);
    let mut seen = Vec::new();
    while !stop.load(Ordering::Acquire) {
        session.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        let position = session.run("SELECT current_seq()")[0][0].as_ref().unwrap().parse().unwrap();
        let sql = format!("SELECT id, n, tag FROM chat.items WHERE ({condition}) OR id = {SENTINEL}");
        seen.push((position, session.run(&sql)));
        session.run("COMMIT");
    }
    seen
}

/// Invariant 3: folding a live query's events over its snapshot gives the SELECT at that position, whatever else is
/// written meanwhile and however often the client goes away.
fn folding_gives_the_select(kind: &str) {
    const CONDITIONS: [&str; 4] = ["n % 3 = 0", "tag LIKE 'a%' AND n < 12", "true", "id % 2 = 0 AND tag <> 'ab'"];
    let (mut random, _) = Random::seeded("LIVE_SEED");
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run(&format!("CREATE TABLE chat.items (id BIGINT PRIMARY KEY, n INT, tag TEXT) WITH (TYPE = '{kind}')"));
    root.run("GRANT SELECT, INSERT, UPDATE, DELETE ON chat.items TO alice, bob");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut writers = Vec::new();
        for user in ["alice", "alice", "bob"] {
            let random = Random::new(random.next());
            writers.push(scope.spawn(move || write_at_random(address, user, random)));
        }
        let followers = CONDITIONS.map(|condition| {
            let random = Random::new(random.next());
            let stop = &stop;
            let folds = scope.spawn(move || follow(address, "alice", condition, random));
            (folds, scope.spawn(move || look_on(address, "alice", condition, stop)))
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        stop.store(true, Ordering::Release);
        Session::connect(address, "alice", "alice").run(&format!("INSERT INTO chat.items VALUES ({SENTINEL}, 0, '')"));
        for (follower, onlooker) in followers {
            let (fold, seen) = (follower.join().unwrap(), onlooker.join().unwrap());
            let mut compared = 0;
            for (position, rows) in seen {
                let Some((_, held)) = fold.history.range(..=position).next_back() else { continue };
                let selected = Fold::begin(position, &rows).rows;
                assert_eq!(*held, selected, "at {position}");
                compared += 1;
            }
            assert!(compared > 0 && fold.history.len() > 20, "{compared} of {}", fold.history.len());
        }
    });
}

#[test]
fn folding_events_over_a_snapshot_gives_the_select_of_a_shared_table() {
    folding_gives_the_select("SHARED");
}

#[test]
fn folding_events_over_a_snapshot_gives_the_select_of_a_users_table() {
    folding_gives_the_select("USER");
}

#[test]
fn a_worker_is_woken_by_the_name_of_its_topic() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, body TEXT) WITH (TYPE = 'USER')");
    root.run("CREATE TOPIC chat.work; ALTER TOPIC chat.work ADD SOURCE chat.m ON INSERT");
    root.run("GRANT INSERT ON chat.m TO alice; GRANT SELECT ON chat.work TO bob");
    let mut worker = Session::connect(address, "bob", "bob");
    worker.run("LISTEN \"chat.work\"");
    worker.acknowledged();
    let mut alice = Session::connect(address, "alice", "alice");
    for id in 0..50 {
        alice.run(&format!("INSERT INTO chat.m VALUES ({id}, 'work')"));
    }
    let mut last = None;
    while last != Some(49) {
        let event = worker.told();
        assert_eq!((&event["type"], &event["topic"]), (&"topic".into(), &"chat.work".into()));
        let offset = event["offset"].as_u64();
        assert!(offset > last, "offsets go up");
        last = offset;
    }
}

/// A live query's condition is evaluated on another thread than a SELECT's, which must have as much stack.
#[test]
fn a_condition_as_deep_as_may_be_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, n INT)");
    let deep = format!("{}n {}{}", "abs(".repeat(200), "+ n ".repeat(700), ")".repeat(200));
    root.run(&format!("SUBSCRIBE live TO SELECT id FROM chat.m WHERE n + {deep} > 0"));
    root.acknowledged();
    root.run("INSERT INTO chat.m VALUES (1, 0), (2, 1)");
    assert_eq!(root.change(), "insert 2");
}

#[test]
fn a_session_has_so_many_live_queries_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY)");
    let subscribe = |n: u32| format!("SUBSCRIBE live{n} TO chat.m;");
    root.run(&(0..600).map(subscribe).collect::<String>());
    assert_eq!(root.client.failure(&(600..1_100).map(subscribe).collect::<String>()).code, "53400");
    // none of the failed script's is left
    root.run(&(600..1_000).map(subscribe).collect::<String>());
    assert_eq!(root.client.failure(&subscribe(1_000)).code, "53400");
    root.run("UNLISTEN live7");
    root.run(&subscribe(7));
    root.told.clear();
    root.run("INSERT INTO chat.m VALUES (1)");
    for _ in 0..1_000 {
        assert_eq!(root.change(), "insert 1");
    }
}
