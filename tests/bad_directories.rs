//! Data directories, settings and stored entries that are not what they should be: the server does not start and says
//! why, or the statement that comes upon them fails with XX001 or XX002 and all others go on. Nothing damaged is served.
//!
//! Damage to the log and to the files of large commits is in `corruption.rs`.

mod support;

use std::path::Path;
use support::client::Client;
use support::process::{PASSWORD, Process, Running, program};
use support::store::{Entries, is_of, make_empty, tamper, tamper_with_position};

fn connect(server: &Running) -> Client {
    Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The server does not start, and says so in these words.
#[track_caller]
fn is_refused(data: &Path, flags: &[&str], words: &[&str]) {
    let Err((status, log)) = Process::spawn(data, flags).ready() else { panic!("it started: {words:?}") };
    assert_eq!(status.code(), Some(1), "{log:#?}");
    let log = log.join("\n");
    assert!(words.iter().all(|word| log.contains(word)), "{words:?} are not in {log}");
}

#[test]
fn a_directory_that_is_not_this_server_s_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("letter"), "dear").unwrap();
    is_refused(&data, &[], &["is not empty and is no data directory", "It holds \"letter\"."]);
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
    std::fs::remove_file(data.join("letter")).unwrap();
    let server = Running::start(&data, &[]);
    is_refused(&data, &[], &["is in use by another server", &format!("Its process id is {}.", server.id())]);
    assert_eq!(connect(&server).rows("SELECT 1"), [[some("1")]]);
    assert!(server.terminate().0.success());
    let version = std::fs::read_to_string(data.join("VERSION")).unwrap();
    std::fs::write(data.join("VERSION"), "tertulia of tomorrow\n").unwrap();
    is_refused(&data, &[], &["has the format \"tertulia of tomorrow\"", "Use the version that wrote it."]);
    std::fs::write(data.join("VERSION"), version).unwrap();
    is_refused(&directory.path().join("data/VERSION/x"), &[], &["input/output error"]);
    assert!(Running::start(&data, &[]).terminate().0.success());
}

#[test]
fn settings_that_cannot_be_are_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let file = directory.path().join("settings");
    let path = file.to_str().unwrap();
    is_refused(&data, &["--config", path], &["could not read", "settings"]);
    for (content, words) in [
        ("# fine\nfsync = off\n", "unrecognized configuration parameter \"fsync\""),
        ("max_connections = many\n", "invalid value for parameter \"max_connections\": \"many\""),
        ("max_connections\n", "syntax error at or near \"max_connections\""),
        ("log = 'info\n", "syntax error at or near \"'info\""),
        ("generation_bytes = 64MB\nrecent_bytes_max = 100MB\n", "must be at least twice"),
    ] {
        std::fs::write(&file, content).unwrap();
        is_refused(&data, &["--config", path], &[words]);
    }
    is_refused(&data, &["--worker-threads", "0"], &["invalid value for parameter \"worker_threads\": \"0\""]);
    is_refused(&data, &["--log", "tertulia=loudly"], &["invalid value for parameter \"log\""]);
    assert!(!data.exists());
    let server = Running::start(&data, &[]);
    let address = server.address.to_string();
    let mut other = program();
    let other =
        other.args(["serve", "--listen", &address, "--map-size", "4GB", "--data"]).arg(directory.path().join("other"));
    let output = other.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!("could not listen on {address}")) && said.contains("Is another server running"),
        "{said}"
    );
}

/// A directory with some of everything, all of it folded.
fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path(), &[]);
    let mut client = connect(&server);
    client.run("CREATE TABLE t (id int PRIMARY KEY, name text UNIQUE)");
    client.run("CREATE TABLE sound (id int PRIMARY KEY)");
    client.run("CREATE TABLE notes (id int PRIMARY KEY) WITH (TYPE = 'USER')");
    client.run("CREATE SEQUENCE numbers");
    client.run("CREATE TOPIC work PARTITIONS 2");
    client.run("ALTER TOPIC work ADD SOURCE sound ON INSERT");
    client.run("INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')");
    client.run("INSERT INTO sound SELECT g FROM generate_series(1, 10) AS s(g)");
    client.run("EXECUTE AS USER 'alice' ( INSERT INTO notes VALUES (1) )");
    client.run("SELECT nextval('numbers')");
    client.run("CONSUME FROM work GROUP workers PARTITION 0 LIMIT 3");
    client.run("ACK work GROUP workers PARTITION 0 OFFSET 1");
    drop(client);
    assert!(server.terminate().0.success());
    directory
}

/// The only entry that fits.
fn one(entries: &mut Entries, fits: impl Fn(&(Vec<u8>, Vec<u8>)) -> bool) -> &mut (Vec<u8>, Vec<u8>) {
    let found: Vec<usize> = (0..entries.len()).filter(|&at| fits(&entries[at])).collect();
    assert_eq!(found.len(), 1);
    &mut entries[found[0]]
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// The row of t whose name is this.
fn row_of(name: &'static str) -> impl Fn(&(Vec<u8>, Vec<u8>)) -> bool {
    move |entry| is_of(3)(entry) && contains(&entry.1, name.as_bytes())
}

/// What is done to the entries of a store.
type Damage = fn(&mut Entries);

#[test]
fn a_store_without_which_there_is_no_catalog_stops_the_start() {
    let cases: [(&str, Damage); 4] = [
        ("stored catalog entry has an unknown format", |entries| {
            entries.iter_mut().find(|entry| is_of(1)(entry)).unwrap().1[0] ^= 0x40;
        }),
        ("stored catalog entry cannot be decoded", |entries| {
            entries.iter_mut().find(|entry| is_of(1)(entry)).unwrap().1.truncate(3);
        }),
        ("stored counter cannot be decoded", |entries| {
            one(entries, |(key, _)| key[0] == 2 && key.ends_with(b"counters")).1.truncate(9);
        }),
        ("stored counter cannot be decoded", |entries| {
            one(entries, |(key, _)| key[0] == 2 && key.ends_with(b"marks")).1.truncate(9);
        }),
    ];
    for (words, change) in cases {
        let directory = filled();
        tamper(directory.path(), change);
        is_refused(directory.path(), &[], &[words]);
    }
    let directory = filled();
    tamper_with_position(directory.path());
    is_refused(directory.path(), &[], &["the folded store is damaged: its position cannot be read", "backup"]);
    let directory = filled();
    let file = directory.path().join("index/data.mdb");
    let length = std::fs::metadata(&file).unwrap().len() as usize;
    std::fs::write(&file, vec![0x55; length]).unwrap();
    is_refused(directory.path(), &[], &["the folded store is damaged: ", "backup"]);
    let directory = filled();
    make_empty(directory.path());
    let mut check = program();
    let output = check.arg("check").arg(directory.path()).args(["--map-size", "4GB"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("the folded store lacks its databases"), "{said}");
}

/// Without a password from outside one is made and written down, which must be possible.
#[test]
fn a_password_that_cannot_be_written_stops_the_first_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("pgpass")).unwrap();
    std::fs::create_dir(directory.path().join("pgpass/in the way")).unwrap();
    let mut server = program();
    let server = server.args(["serve", "--listen", "127.0.0.1:0", "--map-size", "4GB", "--data"]).arg(directory.path());
    let output = server.env_remove("TERTULIA_PASSWORD").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("could not write") && said.contains("pgpass"), "{said}");
}

/// A statement fails with this code and in these words; the session and what is sound go on.
#[track_caller]
fn fails(client: &mut Client, sql: &str, code: &str, words: &str) {
    let report = client.failure(sql);
    assert!(report.code == code && report.message.contains(words), "{sql}: {report:?}");
    assert_eq!(client.rows("SELECT count(*) FROM sound"), [[some("10")]]);
}

/// What statements say when an entry was changed so.
#[track_caller]
fn after(change: impl FnOnce(&mut Entries), statements: &[(&str, &str, &str)]) {
    let directory = filled();
    tamper(directory.path(), change);
    let server = Running::start(directory.path(), &[]);
    let mut client = connect(&server);
    for (sql, code, words) in statements {
        fails(&mut client, sql, code, words);
    }
    assert!(server.terminate().0.success());
}

#[test]
fn a_damaged_row_is_refused_to_who_reads_it() {
    let unreadable = |words| [("SELECT * FROM t", "XX001", words), ("UPDATE t SET name = name || 'x'", "XX001", words)];
    after(
        |entries| one(entries, row_of("two")).1.truncate(5),
        &unreadable("a stored row cannot be read: it is too short"),
    );
    after(
        |entries| one(entries, row_of("two")).1[0] ^= 0x40,
        &unreadable("a stored row cannot be read: its format is unknown"),
    );
    after(
        |entries| {
            let row = &mut one(entries, row_of("two")).1;
            let at = row.len() - 3;
            row[at] = 0xff;
        },
        &[("SELECT * FROM t", "XX001", "a stored row cannot be read: text is not UTF-8")],
    );
}

#[test]
fn an_index_entry_without_its_row_is_refused_to_who_follows_it() {
    let words = "index \"t_name_key\" has an entry without a row";
    after(
        |entries| {
            let two = entries.iter().position(row_of("two")).unwrap();
            entries.remove(two);
        },
        &[
            ("SELECT id FROM t WHERE name = 'two'", "XX002", words),
            ("INSERT INTO t VALUES (9, 'two')", "XX002", words),
            ("INSERT INTO t VALUES (9, 'two') ON CONFLICT DO NOTHING", "XX002", words),
        ],
    );
}

#[test]
fn damaged_state_of_groups_sequences_and_users_is_refused_to_who_needs_it() {
    let consume = |words| [("CONSUME FROM work GROUP workers", "XX001", words)];
    // a partition's position comes before its acknowledgements
    let position = |entries: &mut Entries| entries.iter().position(is_of(6)).unwrap();
    after(
        |entries| {
            let at = position(entries);
            entries[at].1.truncate(3);
        },
        &consume("state of a consumer group cannot be decoded"),
    );
    after(
        |entries| {
            let at = position(entries);
            entries.remove(at);
        },
        &consume("a consumer group has acknowledgements but no position"),
    );
    after(
        |entries| {
            let last = entries.iter().rposition(is_of(6)).unwrap();
            *entries[last].0.last_mut().unwrap() = 7;
        },
        &consume("a consumer group has too many partitions"),
    );
    after(
        |entries| one(entries, |(key, _)| key[0] == 2 && contains(key, b"sequence")).1.truncate(4),
        &[("SELECT nextval('numbers')", "XX001", "stored sequence cannot be decoded")],
    );
    after(
        |entries| one(entries, |(key, _)| key[0] == 8 && key.ends_with(b"alice")).1.truncate(4),
        &[("EXECUTE AS USER 'alice' ( SELECT * FROM notes )", "XX001", "stored user id has no number")],
    );
}
