//! Damage to a data directory behind the server's back: it does not start, or a statement is refused; the place is named,
//! `tertulia check` names it too, and nothing that was damaged is ever served.
//!
//! tests/storage.rs flips every bit of a small log; here are the real files.

#[path = "crash/logfile.rs"]
mod logfile;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::client::{Client, Event};
use support::process::{PASSWORD, Process, Running};

fn connect(server: &Running) -> Client {
    Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// What `tertulia check` says, and whether it found nothing.
fn check(data: &Path) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tertulia"));
    let output = command.arg("check").arg(data).args(["--map-size", "4GB"]).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

/// The server does not start, and says where the damage is; the check says the same.
#[track_caller]
fn is_refused(data: &Path, what: &str, place: &[&str]) {
    let Err((status, log)) = Process::spawn(data, &[]).ready() else { panic!("it started over {what}") };
    assert_eq!(status.code(), Some(1), "{what}");
    let log = log.join("\n");
    assert!(place.iter().all(|part| log.contains(part)), "{what}: {place:?} is not in {log}");
    let (text, sound) = check(data);
    let damage = text.lines().filter(|line| line.starts_with("damage: "));
    let named = damage.filter(|line| place.iter().all(|part| line.contains(part))).count();
    assert!(!sound && named > 0, "{what}: {place:?} is not in {text}");
}

/// A bit of a file is changed for as long as `body` runs.
fn flipped(path: &Path, at: usize, body: impl FnOnce()) {
    let mut byte = [0];
    let file = std::fs::File::open(path).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, at as u64).unwrap();
    logfile::write_at(path, at, &[byte[0] ^ 0x10]);
    body();
    logfile::write_at(path, at, &byte);
}

/// A file is away for as long as `body` runs.
fn away(path: &Path, body: impl FnOnce()) {
    let other = path.with_extension("away");
    std::fs::rename(path, &other).unwrap();
    body();
    std::fs::rename(&other, path).unwrap();
}

fn swap(one: &Path, other: &Path) {
    let between = one.with_extension("swap");
    std::fs::rename(one, &between).unwrap();
    std::fs::rename(other, one).unwrap();
    std::fs::rename(between, other).unwrap();
}

#[test]
fn damage_anywhere_in_the_log_stops_the_start_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Running::start(data, &[]);
    let mut client = connect(&server);
    client.run("CREATE TABLE t (id bigint PRIMARY KEY, body text)");
    for id in 1..=11 {
        client.run(&format!("INSERT INTO t VALUES ({id}, repeat('x', 12000000))"));
        client.run(&format!("INSERT INTO t VALUES (-{id}, 'small')"));
    }
    server.kill();
    let segments = logfile::segments(data);
    let [first, second, third] = &segments[..] else { panic!("there are {} segments", segments.len()) };
    let (records, end) = logfile::records(first);
    let last = records[records.len() - 1];
    let large = *records.windows(2).find(|pair| pair[1] - pair[0] > 1_000_000).expect("a large row").first().unwrap();
    let at = |offset: usize| format!("offset {offset}:");
    for (what, path, byte, place) in [
        ("a length in the middle", first, records[3], at(records[3])),
        ("a checksum in the middle", first, records[4] + 5, at(records[4])),
        ("a position in the middle", first, records[5] + 9, at(records[5])),
        ("a payload in the middle", first, large + 4_000_000, at(large)),
        ("the last record before another segment", first, last + 30, at(last)),
        ("what follows the last record before another segment", first, end + 1_000, at(end)),
        ("the header of a segment", second, 20, at(0)),
        ("the first record of a segment", second, 64 + 24, at(64)),
    ] {
        flipped(path, byte, || is_refused(data, what, &[&name(path), &place]));
    }
    away(second, || is_refused(data, "a missing segment", &[&name(first), &at(end), &name(third)]));
    let (_, end) = logfile::records(second);
    away(third, || is_refused(data, "the last segment missing", &[&name(second), &at(end), "follows is missing"]));
    swap(first, second);
    is_refused(data, "segments that changed places", &[&name(first), &at(0)]);
    swap(first, second);
    away(&data.join("log"), || {
        std::fs::create_dir(data.join("log")).unwrap();
        is_refused(data, "a log without files", &["commit log is missing"]);
        std::fs::remove_dir_all(data.join("log")).unwrap();
    });
    let (text, sound) = check(data);
    assert!(sound, "{text}");
    let server = Running::start(data, &[]);
    let found = connect(&server).rows("SELECT count(*), min(id), max(id), sum(length(body)) FROM t");
    assert_eq!(found, [["22", "-11", "11", "132000055"].map(|number| Some(number.to_owned()))]);
}

#[test]
fn a_young_directory_without_its_log_is_no_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path(), &[]);
    connect(&server).run("CREATE TABLE t (id bigint PRIMARY KEY)");
    server.kill();
    std::fs::remove_dir_all(directory.path().join("log")).unwrap();
    let Err((status, log)) = Process::spawn(directory.path(), &[]).ready() else { panic!("it is not new") };
    assert_eq!(status.code(), Some(1));
    assert!(log.join("\n").contains("commit log is missing"), "{log:#?}");
}

#[test]
fn the_end_of_a_log_that_the_index_is_beyond_is_damage_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path(), &[]);
    let mut client = connect(&server);
    client.run("CREATE TABLE t (id bigint PRIMARY KEY)");
    client.run("INSERT INTO t VALUES (1)");
    assert!(server.terminate().0.success());
    let segment = logfile::segments(directory.path()).pop().unwrap();
    let (records, _) = logfile::records(&segment);
    let last = *records.last().unwrap();
    flipped(&segment, last + 26, || {
        let damaged = std::fs::read(&segment).unwrap();
        is_refused(directory.path(), "the last record", &[&name(&segment), &format!("offset {last}:")]);
        assert!(std::fs::read(&segment).unwrap() == damaged, "it is not cut");
    });
    let server = Running::start(directory.path(), &[]);
    assert_eq!(connect(&server).rows("SELECT id FROM t"), [[Some("1".to_owned())]]);
}

/// The bulk files of a data directory.
fn bulks(data: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(data.join("bulk")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn a_damaged_file_of_a_large_commit_is_named_by_the_check_and_by_whoever_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Running::start(data, &[]);
    let mut client = connect(&server);
    client.run("CREATE TABLE t (id bigint PRIMARY KEY, body text)");
    let since = client.rows("SELECT current_seq()")[0][0].clone().unwrap();
    client.run("INSERT INTO t SELECT g, repeat('x', 60000) FROM generate_series(1, 300) AS s(g)");
    // everything is folded
    assert!(server.terminate().0.success());
    let [file] = &bulks(data)[..] else { panic!("one bulk commit has one file: {:?}", bulks(data)) };
    let length = std::fs::metadata(file).unwrap().len() as usize;
    let count = [[Some("300".to_owned())]];
    for (what, at) in [
        ("missing", None),
        ("first block", Some(5_000)),
        ("another block", Some(length / 2)),
        ("index", Some(length - 60)),
        ("trailer", Some(length - 9)),
    ] {
        let look = || {
            let (text, sound) = check(data);
            let damage = text.lines().find(|line| line.starts_with("damage: "));
            assert!(!sound && damage.is_some_and(|line| line.contains(&name(file))), "{what}: {text}");
            // what the index has is sound
            let server = Running::start(data, &[]);
            let mut client = connect(&server);
            assert_eq!(client.rows("SELECT count(*) FROM t WHERE length(body) = 60000"), count, "{what}");
            let said = resumed(&mut client, &since);
            // a log whose file is gone does not reach back so far
            let file_name = name(file);
            let expected = if at.is_none() { "not kept any more" } else { &file_name };
            assert!(said.contains(expected), "{what}: {said}");
        };
        match at {
            None => away(file, look),
            Some(at) => flipped(file, at, look),
        }
    }
    assert!(check(data).1);
}

/// The error that a live query gets which resumes from a position, and before which it may have told nothing.
fn resumed(client: &mut Client, since: &str) -> String {
    client.write_query(&format!("SUBSCRIBE again TO t OPTIONS (from_seq = {since})"));
    client.send();
    loop {
        match client.next().unwrap() {
            Event::Error(report) => return report.message,
            Event::Notification { payload, .. } => {
                let event: serde_json::Value = serde_json::from_str(&payload).unwrap();
                match event["type"].as_str() {
                    Some("subscription_ack") => {}
                    Some("error") => return payload,
                    _ => panic!("what was damaged is served: {payload:.200}"),
                }
            }
            _ => {}
        }
    }
}

#[test]
fn damage_under_a_running_server_is_not_served_to_who_resumes() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path(), &[]);
    let mut client = connect(&server);
    client.run("CREATE TABLE t (id bigint PRIMARY KEY, body text)");
    let since = client.rows("SELECT current_seq()")[0][0].clone().unwrap();
    client.run("INSERT INTO t VALUES (1, 'abcdefgh')");
    client.run("INSERT INTO t VALUES (2, 'ijklmnop')");
    server.kill();
    // a new life has nothing in memory of those commits
    let server = Running::start(directory.path(), &[]);
    let segment = logfile::segments(directory.path()).pop().unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(8).position(|window| window == b"abcdefgh").expect("the row is in the log");
    let (records, _) = logfile::records(&segment);
    let record = records.iter().rfind(|&&start| start < at).unwrap();
    flipped(&segment, at, || {
        let mut client = connect(&server);
        let said = resumed(&mut client, &since);
        assert!(said.contains(&name(&segment)) && said.contains(&format!("offset {record}")), "{said}");
        let row = connect(&server).rows("SELECT body FROM t WHERE id = 1");
        assert_eq!(row, [[Some("abcdefgh".to_owned())]], "what is in memory is sound");
    });
}
