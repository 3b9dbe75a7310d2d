//! `tertulia check`: finds sound what is sound, and names every damage that a test does to a data directory.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::client::Client;
use support::process::{PASSWORD, Running};
use support::store::{is_of, tamper};

/// What a check printed, and whether it found nothing.
fn check(data: &Path) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tertulia"));
    let output = command.arg("check").arg(data).args(["--map-size", "4GB"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.success())
}

/// A directory with some of everything: folded by a first run that stopped, and a second run that was killed.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let mut client = Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap();
    client.run("CREATE SCHEMA chat");
    client.run("CREATE TABLE chat.rooms (id int PRIMARY KEY, name text UNIQUE, note text)");
    client.run("CREATE TABLE chat.log (line text)");
    client.run(
        "CREATE TABLE chat.messages (id bigint PRIMARY KEY DEFAULT SNOWFLAKE_ID(), content text) WITH (TYPE = 'USER')",
    );
    client.run("CREATE TABLE chat.typing (id int PRIMARY KEY, who text) WITH (TYPE = 'STREAM', TTL_SECONDS = 30)");
    client.run("CREATE TOPIC chat.work PARTITIONS 2");
    client.run("ALTER TOPIC chat.work ADD SOURCE chat.messages ON INSERT WITH (payload = 'full')");
    fill(&mut client, 0);
    drop(client);
    assert!(server.terminate().0.success());
    let server = Running::start(dir.path(), &[]);
    let mut client = Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap();
    fill(&mut client, 100);
    client.run("DROP TABLE chat.log");
    server.kill();
    dir
}

fn fill(client: &mut Client, from: u32) {
    for id in from..from + 50 {
        client.run(&format!("INSERT INTO chat.rooms VALUES ({id}, 'room {id}', NULL)"));
        client.run(&format!("INSERT INTO chat.log VALUES ('line {id}')"));
        client.run(&format!("EXECUTE AS USER 'user {}' (INSERT INTO chat.messages (content) VALUES ('{id}'))", id % 3));
    }
    client.run(&format!("DELETE FROM chat.rooms WHERE id = {from}"));
    client.run(&format!("UPDATE chat.rooms SET name = 'renamed {from}', note = 'x' WHERE id = {}", from + 1));
    client.run("INSERT INTO chat.typing VALUES (1, 'alice') ON CONFLICT DO NOTHING");
    let consumed = client.rows("CONSUME FROM chat.work GROUP workers LIMIT 20");
    assert_eq!(consumed.len(), 20);
    client.run("ACK chat.work GROUP workers PARTITION 0 UPTO OFFSET 5");
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

#[test]
fn a_directory_is_sound_after_a_stop_and_after_a_kill() {
    let dir = filled();
    let (text, sound) = check(dir.path());
    assert!(sound && text.contains("no damage found"), "{text}");
    assert!(
        text.contains("rows and messages in 3 relations"),
        "the log table was dropped, STREAM rows are gone:\n{text}"
    );
    let server = Running::start(dir.path(), &[]);
    let (text, sound) = check(dir.path());
    assert!(!sound && text.contains("is in use by another server"), "{text}");
    assert!(server.terminate().0.success());
    let (text, sound) = check(dir.path());
    assert!(sound && text.contains(" 0 later commits in the log alone"), "{text}");
}

#[test]
fn what_is_no_data_directory_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let (text, sound) = check(dir.path());
    assert!(!sound && text.contains("is no data directory"), "{text}");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "a check makes nothing");
}

#[test]
fn a_torn_tail_is_a_note_and_damage_before_it_is_named() {
    let dir = filled();
    let path = segments(dir.path()).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[end - 3] ^= 0x40;
    std::fs::write(&path, &bytes).unwrap();
    let (text, sound) = check(dir.path());
    assert!(sound && text.contains("note: the commit log ends in an unfinished write"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "a check changes nothing");
    bytes[end / 2] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (text, sound) = check(dir.path());
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    assert!(!sound && text.contains("damage: commit log is corrupt") && text.contains(&name), "{text}");
}

#[test]
fn a_store_that_lost_an_entry_is_found_out() {
    let dir = filled();
    tamper(dir.path(), |entries| {
        let at = entries.iter().position(is_of(4)).unwrap();
        entries.remove(at);
    });
    let (text, sound) = check(dir.path());
    assert!(!sound && text.contains("damage: chat.rooms, index rooms_name_key: row"), "{text}");
    assert!(
        text.contains("has no entry") && text.contains("entries for") && text.contains("the store lacks key"),
        "{text}"
    );
}

#[test]
fn a_changed_row_is_found_out() {
    let dir = filled();
    tamper(dir.path(), |entries| {
        let row = entries.iter_mut().rfind(|entry| is_of(3)(entry)).unwrap();
        *row.1.last_mut().unwrap() ^= 1;
    });
    let (text, sound) = check(dir.path());
    assert!(!sound && text.contains("damage: the store has another value of key"), "{text}");
}

#[test]
fn a_missing_message_is_a_gap_in_its_partition() {
    let dir = filled();
    tamper(dir.path(), |entries| {
        let messages: Vec<_> = (0..entries.len()).filter(|&at| is_of(5)(&entries[at])).collect();
        entries.remove(messages[5]);
    });
    let (text, sound) = check(dir.path());
    assert!(!sound && text.contains("damage: chat.work: partition 0 goes from offset 4 to 6"), "{text}");
}
