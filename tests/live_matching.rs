//! Which live queries a commit is told to: found by their conditions, caught up together, bounded.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};
use support::client::Event;
use support::golden::Runner;
use support::in_process::InProcess;
use support::live::{Session, server};
use support::random::Random;
use support::server::Tertulia;
use tertulia::storage::log::LogOptions;
use tertulia::txn::EngineOptions;

/// A condition over the columns of chat.t, of a kind that finds its rows in one way or another.
fn condition(random: &mut Random) -> String {
    let simple = |random: &mut Random| {
        let (n, m) = (random.below(12) as i64 - 2, random.below(4) as i64);
        let t = random.pick(&["", "a", "ab", "b", "z"]);
        match random.below(26) {
            0 => format!("n = {n}"),
            1 => format!("{n} = n"),
            2 => format!("big = {}", random.pick(&["3000000000", "-1", "5"])),
            // beyond the column's type
            3 => format!("n {} 3000000000", random.pick(&["<", ">", "=", "<>"])),
            4 => format!("n BETWEEN {n} AND {}", n + m),
            5 => format!("n > {n} AND n <= {}", n + m),
            6 => format!("n < {n}"),
            7 => format!("n >= {n}"),
            8 => format!("n IN ({n}, {m}, NULL)"),
            9 => format!("n NOT IN ({n}, {m})"),
            10 => format!("t = '{t}'"),
            11 => format!("t > '{t}' AND t < 'b'"),
            12 => format!("t IN ('{t}', 'b')"),
            13 => format!("d = {n}.50"),
            14 => format!("d > {n} AND d < {n}.75"),
            15 => format!("x = {m}"),
            16 => "x >= 'NaN'".to_owned(),
            17 => format!("at >= timestamptz '2024-01-0{}'", m + 1),
            18 => format!("at = timestamptz '2024-01-0{}'", m + 1),
            19 => "b".to_owned(),
            20 => "NOT b".to_owned(),
            21 => format!("n IS {} NULL", random.pick(&["", "NOT"])),
            22 => "n = NULL".to_owned(),
            23 => format!("n = {n} OR t = '{t}'"),
            24 => format!("n + 1 = {n}"),
            _ => format!("_seq % 3 = {}", m % 3),
        }
    };
    (0..=random.below(2)).map(|_| format!("({})", simple(random))).collect::<Vec<_>>().join(" AND ")
}

fn change(random: &mut Random) -> String {
    let id = random.below(30);
    let n = random.pick(&["NULL", "-2", "0", "1", "2", "3", "5", "9"]);
    let big = random.pick(&["NULL", "-1", "5", "3000000000"]);
    let x = random.pick(&["NULL", "'NaN'", "0", "-0.0", "1", "2", "'Infinity'"]);
    let d = random.pick(&["NULL", "0", "1.5", "1.50", "2.25", "'NaN'", "7.50"]);
    let t = random.pick(&["NULL", "''", "'a'", "'ab'", "'abc'", "'b'", "'z'"]);
    let at = random.pick(&["NULL", "'2024-01-01'", "'2024-01-02'", "'2024-01-03 12:00'", "'infinity'"]);
    let b = random.pick(&["NULL", "true", "false"]);
    match random.below(6) {
        0 | 1 => format!(
            "INSERT INTO chat.t VALUES ({id}, {n}, {big}, {x}, {d}, {t}, {at}, {b}) ON CONFLICT (id) DO NOTHING"
        ),
        2 => format!("UPDATE chat.t SET n = {n}, t = {t}, d = {d}, at = {at} WHERE id = {id}"),
        3 => format!("UPDATE chat.t SET n = {n}, x = {x}, b = {b} WHERE id < {id}"),
        4 => format!("UPDATE chat.t SET id = id + 30, big = {big} WHERE id = {id}"),
        _ => format!("DELETE FROM chat.t WHERE id = {id} OR id > 55"),
    }
}

/// What the session has been told on each channel, applied to what it held there, up to a mark.
fn apply(session: &mut Session, held: &mut BTreeMap<String, BTreeSet<String>>) {
    loop {
        let (channel, event) = session.told_on();
        if channel == "mark" {
            return;
        }
        if event["type"] == "subscription_ack" {
            continue;
        }
        assert_eq!(event["type"], "change", "{channel}: {event}");
        let rows = held.get_mut(&channel).unwrap_or_else(|| panic!("{channel} has ended: {event}"));
        for old in event["old_values"].as_array().into_iter().flatten() {
            assert!(rows.remove(old["id"].as_str().unwrap()), "{channel}: what goes was there: {event}");
        }
        for new in event["rows"].as_array().into_iter().flatten() {
            assert!(rows.insert(new["id"].as_str().unwrap().to_owned()), "{channel}: what comes was not: {event}");
        }
    }
}

fn ids(session: &mut Session, sql: &str) -> BTreeSet<String> {
    session.run(sql).into_iter().map(|mut row| row.remove(0).unwrap()).collect()
}

/// Hundreds of live queries with conditions of all kinds over one table, some ending, some beginning: each holds at every
/// mark what its SELECT gives.
#[test]
fn every_kind_of_condition_is_told_of_its_rows() {
    let (mut random, _) = Random::seeded("MATCHING_SEED");
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut writer = Session::superuser(address);
    writer.run(
        "CREATE TABLE chat.t (id BIGINT PRIMARY KEY, n INT, big BIGINT, x FLOAT8, d NUMERIC, t TEXT, at TIMESTAMPTZ, \
         b BOOLEAN)",
    );
    let mut session = Session::superuser(address);
    session.run("LISTEN mark");
    let mut conditions: BTreeMap<String, String> = BTreeMap::new();
    let mut held = BTreeMap::new();
    let mut subscribe =
        |session: &mut Session, held: &mut BTreeMap<_, _>, conditions: &mut BTreeMap<_, _>, channel: String| {
            let condition = condition(&mut random);
            let rows = ids(session, &format!("SUBSCRIBE {channel} TO SELECT id FROM chat.t WHERE {condition}"));
            held.insert(channel.clone(), rows);
            conditions.insert(channel, condition);
        };
    for number in 0..300 {
        subscribe(&mut session, &mut held, &mut conditions, format!("c{number}"));
    }
    let (mut random, _) = Random::seeded("MATCHING_CHANGES_SEED");
    for round in 0..25 {
        for _ in 0..8 {
            let changes: Vec<String> = (0..=random.below(3)).map(|_| change(&mut random)).collect();
            // a key that moves onto another's is refused, and changes nothing
            let events = writer.client.simple(&changes.join("; "));
            let refused = |event: &Event| matches!(event, Event::Error(report) if report.code != "23505");
            assert!(!events.iter().any(refused), "{changes:?}: {events:?}");
        }
        writer.run("NOTIFY mark, '{}'");
        apply(&mut session, &mut held);
        for (channel, condition) in &conditions {
            let selected = ids(&mut session, &format!("SELECT id FROM chat.t WHERE {condition}"));
            assert_eq!(held[channel], selected, "round {round}: {condition}");
        }
        for _ in 0..10 {
            let channel = format!("c{}", random.below(300));
            session.run(&format!("UNLISTEN {channel}"));
            held.remove(&channel);
            conditions.remove(&channel);
            subscribe(&mut session, &mut held, &mut conditions, channel);
        }
    }
    let live = "SELECT count(*) FROM system.live WHERE lag > 0 OR queued > 0 OR queued_bytes > 0";
    assert_eq!(session.run(live), [[Some("0".to_owned())]]);
    assert_ne!(session.run("SELECT sum(sent) FROM system.live"), [[Some("300".to_owned())]]);
}

/// Live queries from before and after a column came and another went stand beside each other for a moment: a change is
/// told by the columns that each knows.
#[test]
fn a_column_that_goes_confuses_no_condition() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.t (id BIGINT PRIMARY KEY, a INT, b INT, c INT)");
    let mut other = Session::superuser(address);
    for round in 0..40 {
        let (gone, column) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        other.run(&format!("SUBSCRIBE before{round} TO SELECT id FROM chat.t WHERE c = 1"));
        other.acknowledged();
        root.run(&format!("INSERT INTO chat.t (id, c) VALUES ({}, 1)", 2 * round));
        assert_eq!(other.change(), format!("insert {}", 2 * round));
        root.run(&format!("ALTER TABLE chat.t DROP COLUMN {gone}"));
        root.run(&format!("SUBSCRIBE after{round} TO SELECT id FROM chat.t WHERE c = 2 AND {column} IS NULL"));
        root.acknowledged();
        assert_eq!(other.told()["code"], "0A000");
        root.run(&format!("INSERT INTO chat.t (id, c) VALUES ({}, 2)", 2 * round + 1));
        assert_eq!(root.change(), format!("insert {}", 2 * round + 1));
        root.run(&format!("UNLISTEN after{round}"));
        root.run(&format!("ALTER TABLE chat.t ADD COLUMN {gone} INT"));
    }
}

/// Reads changes of many channels of a session until each has so many rows: their ids, channel by channel.
fn collect(session: &mut Session, channels: usize, each: usize) -> BTreeMap<String, Vec<u64>> {
    let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    while told.len() < channels || told.values().any(|ids| ids.len() < each) {
        let (channel, event) = session.told_on();
        match event["type"].as_str() {
            Some("subscription_ack") => {}
            Some("change") => {
                let rows = event["rows"].as_array().unwrap();
                let ids = rows.iter().map(|row| row["id"].as_str().unwrap().parse::<u64>().unwrap());
                told.entry(channel).or_default().extend(ids);
            }
            _ => panic!("{channel}: {event}"),
        }
    }
    told
}

fn position(session: &mut Session) -> String {
    session.run("SELECT current_seq()")[0][0].clone().unwrap()
}

const ROOMS: usize = 100;

/// Who resumes on a STREAM table goes along with another who must read the log first; what the log does not have of STREAM
/// tables is older than what it asks for.
#[test]
fn a_stream_is_resumed_beside_who_reads_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY, body TEXT)");
    root.run("CREATE TABLE chat.s (id BIGINT PRIMARY KEY) WITH (TYPE = 'STREAM', TTL_SECONDS = 600)");
    let old = position(&mut root);
    // more commits than memory keeps, by more than are shown in one turn
    for id in 0..1_300 {
        root.run(&format!("INSERT INTO chat.m VALUES ({id}, repeat('x', 100000))"));
    }
    let recent = position(&mut root);
    root.run("INSERT INTO chat.s VALUES (1)");
    root.run(&format!(
        "BEGIN; SUBSCRIBE old TO chat.m WHERE id = 77 OPTIONS (from_seq = {old});
         SUBSCRIBE recent TO chat.s OPTIONS (from_seq = {recent}); COMMIT"
    ));
    let mut told: Vec<String> = (0..4)
        .map(|_| {
            let (channel, event) = root.told_on();
            format!("{channel} {}", event["type"].as_str().unwrap())
        })
        .collect();
    told.sort();
    assert_eq!(told, ["old change", "old subscription_ack", "recent change", "recent subscription_ack"]);
}

/// Rows of all rooms in turn, and where each came.
fn insert(root: &mut Session, ids: Range<usize>, positions: &mut Vec<String>) {
    for id in ids {
        root.run(&format!("INSERT INTO chat.t VALUES ({id}, {}, repeat('x', 2000))", id % ROOMS));
        positions.push(position(root));
    }
}

/// Many that resume at once, from different positions, from memory and from the log, while others write: each is told all
/// that it missed, once and in order, and one that does not read holds nobody up.
#[test]
fn many_that_resume_together_miss_nothing() {
    const EACH: usize = 30;
    let dir = tempfile::tempdir().unwrap();
    let (first, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.t (id BIGINT PRIMARY KEY, room INT, body TEXT)");
    let start = position(&mut root);
    let mut positions = vec![start.clone()];
    insert(&mut root, 0..ROOMS * EACH / 2, &mut positions);
    drop((root, first));
    let server = Tertulia::start(dir.path(), "tertulia");
    let address = server.address();
    let mut root = Session::superuser(address);
    insert(&mut root, ROOMS * EACH / 2..ROOMS * EACH * 9 / 10, &mut positions);

    let mut slow = Session::superuser(address);
    for number in 0..20 {
        slow.run(&format!("SUBSCRIBE slow{number} TO chat.t OPTIONS (from_seq = {start})"));
    }
    let writer = std::thread::spawn(move || {
        let mut root = root;
        insert(&mut root, ROOMS * EACH * 9 / 10..ROOMS * EACH, &mut positions);
        positions
    });
    let mut reader = Session::superuser(address);
    for room in 0..ROOMS {
        let from = format!("OPTIONS (from_seq = {start})");
        reader.run(&format!("SUBSCRIBE room{room} TO SELECT id FROM chat.t WHERE room = {room} {from}"));
    }
    for (channel, ids) in collect(&mut reader, ROOMS, EACH) {
        let room: usize = channel["room".len()..].parse().unwrap();
        let expected: Vec<u64> = (0..EACH).map(|turn| (turn * ROOMS + room) as u64).collect();
        assert_eq!(ids, expected, "{channel}");
    }
    let positions = writer.join().unwrap();

    // from anywhere: the rest of what there is
    let (mut random, _) = Random::seeded("RESUME_SEED");
    let mut from_anywhere = Session::superuser(address);
    let mut expected = BTreeMap::new();
    for number in 0..60 {
        let after = random.below((ROOMS * EACH - 1) as u64) as usize;
        let channel = format!("from{number}");
        let seq = &positions[after];
        from_anywhere.run(&format!("SUBSCRIBE {channel} TO SELECT id FROM chat.t OPTIONS (from_seq = {seq})"));
        expected.insert(channel, (after as u64..(ROOMS * EACH) as u64).collect::<Vec<u64>>());
    }
    let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    while told != expected {
        let (channel, event) = from_anywhere.told_on();
        if event["type"] == "change" {
            let id = event["rows"][0]["id"].as_str().unwrap().parse().unwrap();
            let ids = told.entry(channel.clone()).or_default();
            assert!(ids.last().is_none_or(|last| *last < id), "{channel}: {id} after {ids:?}");
            ids.push(id);
            assert!(ids.len() <= expected[&channel].len(), "{channel}: {ids:?}");
        }
    }
    for (channel, ids) in collect(&mut slow, 20, ROOMS * EACH) {
        assert_eq!(ids, (0..(ROOMS * EACH) as u64).collect::<Vec<u64>>(), "{channel}");
    }
}

fn count_of(session: &mut Session, what: &str) -> u64 {
    session.run(&format!("SELECT {what} FROM system.live"))[0][0].as_ref().unwrap().parse().unwrap()
}

#[test]
fn a_user_has_so_many_live_queries_in_all_its_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let server = Tertulia::start_with(dir.path(), "tertulia", |config| config.live_queries_per_user_max = 5);
    let address: SocketAddr = server.address();
    let mut sessions = [(); 3].map(|()| Session::superuser(address));
    sessions[0]
        .run("CREATE TABLE m (id BIGINT PRIMARY KEY); CREATE ROLE bob LOGIN PASSWORD 'bob'; GRANT SELECT ON m TO bob");
    for (at, session) in sessions.iter_mut().enumerate().take(2) {
        session.run(&format!("SUBSCRIBE a{at} TO m; SUBSCRIBE b{at} TO m"));
    }
    let report = sessions[2].client.failure("BEGIN; LISTEN \"public.m\"; SUBSCRIBE more TO m");
    assert_eq!((report.code.as_str(), report.hint.is_some()), ("53400", true), "{report:?}");
    sessions[2].run("ROLLBACK; LISTEN \"public.m\"");
    assert_eq!(sessions[0].client.failure("SUBSCRIBE more TO m").code, "53400");
    // another user has its own, and one that ends makes room
    Session::connect(address, "bob", "bob").run("SUBSCRIBE mine TO m");
    sessions[1].run("UNLISTEN a1");
    sessions[0].run("SUBSCRIBE more TO m");
    assert_eq!(sessions[0].client.failure("SUBSCRIBE still_more TO m").code, "53400");
    drop(sessions);
    let mut session = Session::superuser(address);
    let start = Instant::now();
    while count_of(&mut session, "count(*)") > 0 {
        assert!(start.elapsed() < Duration::from_secs(30));
    }
    session.run("SUBSCRIBE a TO m; SUBSCRIBE b TO m; SUBSCRIBE c TO m; SUBSCRIBE d TO m; SUBSCRIBE e TO m");
}

/// The list of live queries says what waits for a session that does not read, and what was sent to one that does.
#[test]
fn the_list_of_live_queries_says_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir);
    let mut root = Session::superuser(address);
    root.run("CREATE TABLE chat.m (id BIGINT PRIMARY KEY)");
    let mut idle = Session::superuser(address);
    idle.run("SUBSCRIBE live TO chat.m");
    idle.acknowledged();
    // in a transaction nothing is delivered
    idle.run("BEGIN");
    for id in 0..5 {
        root.run(&format!("INSERT INTO chat.m VALUES ({id})"));
    }
    let start = Instant::now();
    while (count_of(&mut root, "queued"), count_of(&mut root, "lag")) != (5, 0) {
        assert!(start.elapsed() < Duration::from_secs(30));
    }
    assert_eq!(count_of(&mut root, "sent"), 1);
    assert!(count_of(&mut root, "queued_bytes") > 5 * 60);
    idle.run("COMMIT");
    assert_eq!((count_of(&mut root, "queued"), count_of(&mut root, "sent")), (0, 6));
}

/// The log is kept for a time and for so many bytes, whichever is less.
#[test]
fn changes_are_kept_for_so_many_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let options = || EngineOptions {
        generation_bytes: 64 << 10,
        recent_bytes_max: 1 << 20,
        change_retention_bytes: 3 << 20,
        log: LogOptions { segment_bytes: 1 << 20, threads: true, salt: 1 },
        ..EngineOptions::new(dir.path())
    };
    let mut server = InProcess::start_with(options(), "tertulia");
    server.statement("", "CREATE TABLE m (id BIGINT PRIMARY KEY, body TEXT)");
    let from = server.engine().current();
    let bytes = || -> u64 {
        let files = std::fs::read_dir(dir.path().join("log")).unwrap().map(|file| file.unwrap().path());
        let segments = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
        // one may go meanwhile
        segments.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    for id in 0..160 {
        let answer = server.statement("", &format!("INSERT INTO m VALUES ({id}, repeat('x', 100000))"));
        assert_eq!(answer, "INSERT 0 1\n");
    }
    let start = Instant::now();
    while bytes() > 3 << 20 {
        assert!(start.elapsed() < Duration::from_secs(30), "{} bytes", bytes());
    }
    // recent commits are in memory too
    drop(server);
    let mut server = InProcess::start_with(options(), "tertulia");
    let answer = server.statement("", &format!("SUBSCRIBE TO m OPTIONS (from_seq = {from})"));
    assert!(answer.starts_with("ERROR 72000: "), "{answer}");
    let recent = server.engine().current();
    let answer = server.statement("", &format!("SUBSCRIBE TO m OPTIONS (from_seq = {recent})"));
    assert!(answer.contains("SELECT 0"), "{answer}");
}
