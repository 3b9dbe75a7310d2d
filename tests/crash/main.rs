//! The server is killed under load and started again on what it left; ledgers outside say what must be there.
//!
//! `cargo test` kills it three times. `TERTULIA_CRASH_KILLS=20 cargo test --test crash -- --nocapture` is the long form;
//! `TERTULIA_CRASH_SEED` repeats a run's choices, though not its timing.

mod audit;
mod definer;
mod freight;
mod ledger;
mod logfile;
mod numbers;
#[path = "../support/mod.rs"]
mod support;
mod worker;
mod writer;

use audit::Audit;
use definer::Definitions;
use freight::Freight;
use ledger::Ledger;
use numbers::{Drawer, Given, Mover};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;
use support::client::{Client, Event};
use support::process::{PASSWORD, Process, Running};
use support::random::Random;
use writer::Writer;

/// Writers that commit at once.
const WRITERS: usize = 4;
/// Workers that consume and acknowledge at once.
const WORKERS: usize = 2;
/// Sessions that draw numbers from sequences at once.
const DRAWERS: usize = 2;
/// Kills in the short form.
const KILLS: usize = 3;
/// Generations so small that a fold is always under way, and a log that is let go as soon as it may be.
const FOLDING: &[&str] = &["--generation-bytes", "64kB", "--recent-bytes-max", "8MB", "--change-retention", "100ms"];
/// What the server says of a write that a crash cut short.
const TORN: &str = "the commit log ended in an unfinished write";

const SCHEMA: &[&str] = &[
    "CREATE NAMESPACE crash",
    "CREATE SCHEMA ddl",
    "CREATE TABLE crash.items (id bigint PRIMARY KEY, tx bigint NOT NULL, body text NOT NULL)",
    "CREATE TABLE crash.notes (id bigint PRIMARY KEY DEFAULT SNOWFLAKE_ID(), n bigint NOT NULL, tx bigint NOT NULL, \
     body text NOT NULL) WITH (TYPE = 'USER')",
    "CREATE INDEX items_tx ON crash.items (tx)",
    "CREATE INDEX notes_n ON crash.notes (n)",
    "CREATE TABLE crash.progress (writer bigint PRIMARY KEY, tx bigint NOT NULL)",
    "CREATE TABLE crash.counter (id int PRIMARY KEY, n bigint NOT NULL)",
    "INSERT INTO crash.counter VALUES (1, 0)",
    "CREATE TABLE crash.filler (id int PRIMARY KEY, body text)",
    "INSERT INTO crash.filler VALUES (1, '')",
    "CREATE TABLE crash.replies (\"offset\" bigint PRIMARY KEY, key text)",
    "CREATE TOPIC crash.events",
    "ALTER TOPIC crash.events ADD SOURCE crash.items ON INSERT, UPDATE, DELETE WITH (payload = 'full')",
    "ALTER TOPIC crash.events ADD SOURCE crash.notes ON INSERT, UPDATE, DELETE WITH (payload = 'full')",
];

fn administrator(server: &Running) -> Client {
    Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap()
}

fn make_schema(data: &Path, ledgers: &[Ledger]) {
    let server = Running::start(data, &[]);
    let mut admin = administrator(&server);
    for sql in [SCHEMA, freight::SCHEMA, numbers::SCHEMA].concat() {
        admin.run(sql);
    }
    for ledger in ledgers {
        let user = ledger.user();
        admin.run(&format!("CREATE USER {user} PASSWORD '{user}'"));
        admin.run(&format!("GRANT USAGE ON SCHEMA crash TO {user}"));
        for table in ["items", "notes", "progress", "counter"] {
            admin.run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON crash.{table} TO {user}"));
        }
        admin.run(&format!("INSERT INTO crash.progress VALUES ({}, 0)", ledger.keys().start));
    }
    server.kill();
}

/// Writes large records beside the writers' small ones, so that the log rolls over its segments and lets them go.
fn fill(mut client: Client) {
    for _ in 0..10 {
        let (events, lives) = client.try_simple("UPDATE crash.filler SET body = repeat('x', 3000000) WHERE id = 1");
        if !lives {
            return;
        }
        assert_eq!(events[0], Event::Tag("UPDATE 1".into()));
    }
}

/// All who work at once, with what each was told.
struct Crew {
    ledgers: Vec<Ledger>,
    audit: Audit,
    definitions: Definitions,
    freight: Freight,
    drawers: Vec<Drawer>,
    mover: Mover,
    given: Given,
}

impl Crew {
    fn new() -> Crew {
        Crew {
            ledgers: (0..WRITERS).map(Ledger::new).collect(),
            audit: Audit::default(),
            definitions: Definitions::default(),
            freight: Freight::default(),
            drawers: (0..DRAWERS).map(|_| Drawer::default()).collect(),
            mover: Mover::default(),
            given: Given::default(),
        }
    }

    /// Compares what a server has with what everybody was told. Returns how many writers' attempts were found committed.
    fn check(&mut self, server: &Running) -> usize {
        let mut admin = administrator(server);
        let settled = self.audit.check(server.address, &mut self.ledgers);
        self.definitions.check(&mut admin);
        self.freight.check(&mut admin);
        self.given.check(&mut admin, &mut self.drawers);
        self.mover.check(&mut admin);
        settled
    }
}

/// Lets the writers commit for a while and kills the server at a moment that nobody planned.
fn load_and_kill(server: Running, crew: &mut Crew, random: &mut Random) -> Vec<String> {
    let Crew { ledgers, definitions, freight, drawers, mover, .. } = crew;
    let (commits, acknowledged) = channel();
    let enough = 20 + random.below(400);
    let delay = Duration::from_micros(random.below(3_000));
    std::thread::scope(|scope| {
        for ledger in ledgers {
            let client = Client::connect(server.address, &ledger.user(), &ledger.user(), "tertulia").unwrap();
            let writer = Writer { client, ledger, random: Random::new(random.next()), commits: commits.clone() };
            scope.spawn(move || writer.run());
        }
        drop(commits);
        let filler = administrator(&server);
        scope.spawn(move || fill(filler));
        let (definer, choices) = (administrator(&server), Random::new(random.next()));
        scope.spawn(move || definitions.run(definer, choices));
        let (hauler, choices) = (administrator(&server), Random::new(random.next()));
        scope.spawn(move || freight.run(hauler, choices));
        for drawer in drawers {
            let (client, choices) = (administrator(&server), Random::new(random.next()));
            scope.spawn(move || drawer.run(client, choices));
        }
        let (client, choices) = (administrator(&server), Random::new(random.next()));
        scope.spawn(move || mover.run(client, choices));
        for _ in 0..WORKERS {
            let client = administrator(&server);
            scope.spawn(move || worker::work(client));
        }
        // ends early where a writer has failed; the scope then tells its story
        for _ in 0..enough {
            if acknowledged.recv().is_err() {
                break;
            }
        }
        std::thread::park_timeout(delay);
        server.kill()
    })
}

/// Appends what a crash may leave of a write: bytes that are no record.
fn tear(data: &Path, random: &mut Random) {
    let segment = logfile::segments(data).pop().unwrap();
    let (_, end) = logfile::records(&segment);
    let garbage: Vec<u8> = (0..1 + random.below(600)).map(|_| 1 + random.below(255) as u8).collect();
    logfile::write_at(&segment, end, &garbage);
}

/// The log of a server tells of nothing but the one thing that may have happened.
fn assert_quiet(log: &[String], torn: bool) {
    let alarms: Vec<&String> = log.iter().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    assert!(alarms.iter().all(|line| line.contains(TORN) && line.contains("offset")), "{alarms:#?}");
    assert!(!torn || alarms.len() == 1, "a torn tail is reported, with its place: {log:#?}");
}

/// What a kill has left is whole, whatever it interrupted.
fn assert_sound(data: &Path) {
    let mut check = Command::new(env!("CARGO_BIN_EXE_tertulia"));
    let output = check.arg("check").arg(data).args(["--map-size", "4GB"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_was_acknowledged_survives_kills_under_load() {
    let (mut random, _) = Random::seeded("TERTULIA_CRASH_SEED");
    let kills = std::env::var("TERTULIA_CRASH_KILLS").map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let directory = tempfile::tempdir().unwrap();
    let mut crew = Crew::new();
    make_schema(directory.path(), &crew.ledgers);
    for kill in 1..=kills {
        let flags = if random.once_in(2) { FOLDING } else { &[] };
        let torn = kill > 1 && random.once_in(3);
        if torn {
            tear(directory.path(), &mut random);
        }
        let disturbed = random.once_in(3);
        if disturbed {
            // a kill while it starts, at any moment from its first instruction on
            let starting = Process::spawn(directory.path(), flags);
            std::thread::park_timeout(Duration::from_micros(random.below(60_000)));
            starting.kill();
        }
        let mut server = Running::start(directory.path(), flags);
        let left = freight::files(directory.path());
        assert!(left.keys().all(|kind| kind == "bulk"), "files of transactions that never were are left: {left:?}");
        let settled = crew.check(&server);
        // a start that was killed may have cut it and not lived to say so
        assert_quiet(server.log(), torn && !disturbed);
        let log = load_and_kill(server, &mut crew, &mut random);
        assert_quiet(&log, false);
        assert_sound(directory.path());
        let acknowledged: u64 = crew.ledgers.iter().map(|ledger| ledger.acknowledged).sum();
        eprintln!(
            "kill {kill}: {acknowledged} commits, {} of definitions and {} large ones acknowledged so far, {} log \
             segments, {:?} beside them; of the attempts before, {settled} committed{}",
            crew.definitions.acknowledged,
            crew.freight.acknowledged,
            logfile::segments(directory.path()).len(),
            freight::files(directory.path()),
            if torn { "; the log's end was torn" } else { "" }
        );
    }
    let server = Running::start(directory.path(), &[]);
    crew.check(&server);
    crew.freight.all_deeds(&mut administrator(&server));
    server.kill();
    assert!(freight::files(directory.path()).contains_key("bulk"), "large transactions go through files of their own");
    let server = Running::start(directory.path(), &[]);
    crew.check(&server);
    crew.audit.count_messages(server.address);
    worker::drain(&mut administrator(&server), crew.audit.messages_seen());
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
    assert_sound(directory.path());
    let server = Running::start(directory.path(), &[]);
    crew.check(&server);
    crew.audit.count_messages(server.address);
}

/// A data directory with a table of `count` rows, each a commit, left by a kill.
fn rows_and_kill(data: &Path, count: usize) {
    let server = Running::start(data, &[]);
    let mut admin = administrator(&server);
    admin.run("CREATE TABLE t (id int PRIMARY KEY, body text)");
    for id in 1..=count {
        admin.run(&format!("INSERT INTO t VALUES ({id}, 'row {id}')"));
    }
    server.kill();
}

fn ids(server: &Running) -> Vec<i32> {
    let rows = administrator(server).rows("SELECT id FROM t ORDER BY id");
    rows.iter().map(|cells| cells[0].as_ref().unwrap().parse().unwrap()).collect()
}

/// Cuts a file.
fn cut(path: &Path, length: usize) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length as u64).unwrap();
}

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    rows_and_kill(directory.path(), 20);
    let segment = logfile::segments(directory.path()).pop().unwrap();
    let mut rows: Vec<i32> = (1..=20).collect();
    type Damage<'a> = (&'a str, bool, Box<dyn Fn(usize, usize) + 'a>);
    let damages: [Damage; 4] = [
        ("garbage after the last record", false, Box::new(|_, end| logfile::write_at(&segment, end, &[0xa5; 777]))),
        (
            "the last record without its end",
            true,
            Box::new(|last, end| {
                logfile::write_at(&segment, last + 28, &vec![0; end - last - 28]);
            }),
        ),
        (
            "the last record with a byte changed",
            true,
            Box::new(|_, end| logfile::write_at(&segment, end - 12, &[7; 3])),
        ),
        ("a file cut in the last record", true, Box::new(|last, _| cut(&segment, last + 30))),
    ];
    for (what, loses_last, damage) in damages {
        let (starts, end) = logfile::records(&segment);
        damage(*starts.last().unwrap(), end);
        let mut server = Running::start(directory.path(), &[]);
        let name = segment.file_name().unwrap().to_str().unwrap();
        let reports = server.log().iter().filter(|line| line.contains(TORN) && line.contains(name)).count();
        assert_eq!(reports, 1, "{what}: {:#?}", server.log());
        if loses_last {
            rows.pop();
        }
        assert_eq!(ids(&server), rows, "{what}");
        // the next record takes the place of what was cut
        let next = 100 + rows.len() as i32;
        administrator(&server).run(&format!("INSERT INTO t VALUES ({next}, 'after {what}')"));
        rows.push(next);
        server.kill();
        let mut server = Running::start(directory.path(), &[]);
        assert_eq!(ids(&server), rows, "{what}, and one more start");
        assert_quiet(server.log(), false);
        server.kill();
    }
}

#[test]
fn damage_before_the_tail_stops_the_start_and_names_the_place() {
    let directory = tempfile::tempdir().unwrap();
    rows_and_kill(directory.path(), 20);
    let segment = logfile::segments(directory.path()).pop().unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    let (starts, _) = logfile::records(&segment);
    let whole = std::fs::read(&segment).unwrap();
    let place = starts[starts.len() / 2];
    for at in [place + 1, place + 5, place + 9, place + 25] {
        logfile::write_at(&segment, at, &[whole[at] ^ 0x40]);
        let damaged = std::fs::read(&segment).unwrap();
        let Err((status, log)) = Process::spawn(directory.path(), &[]).ready() else {
            panic!("it started over damage at {at}");
        };
        assert_eq!(status.code(), Some(1));
        let log = log.join("\n");
        assert!(log.contains(&name) && log.contains(&format!("offset {place}")), "the place is named: {log}");
        assert_eq!(std::fs::read(&segment).unwrap(), damaged, "and nothing is changed");
        logfile::write_at(&segment, at, &whole[at..=at]);
    }
    let server = Running::start(directory.path(), &[]);
    assert_eq!(ids(&server), (1..=20).collect::<Vec<_>>(), "once repaired, everything is there");
}

#[test]
fn sigterm_tells_the_sessions_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path(), &[]);
    let (mut idle, mut busy) = (administrator(&server), administrator(&server));
    idle.run("CREATE TABLE t (id int PRIMARY KEY, body text)");
    idle.run("INSERT INTO t VALUES (1, 'kept')");
    busy.run("BEGIN; INSERT INTO t VALUES (2, 'not committed')");
    // a statement that waits for a row is ended too
    let mut waiting = administrator(&server);
    waiting.run("BEGIN");
    idle.run("BEGIN; UPDATE t SET body = 'changed' WHERE id = 1");
    let blocked = std::thread::spawn(move || waiting.try_simple("UPDATE t SET body = 'never' WHERE id = 1").0);
    let (status, log) = server.terminate();
    assert_eq!(status.code(), Some(0));
    assert_quiet(&log, false);
    for event in [idle.next().unwrap(), busy.next().unwrap(), blocked.join().unwrap().remove(0)] {
        let Event::Error(report) = event else { panic!("{event:?}") };
        assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "57P01"));
    }
    assert!(idle.next().is_err() && busy.next().is_err());
    let mut server = Running::start(directory.path(), &[]);
    assert_eq!(administrator(&server).rows("SELECT id, body FROM t"), [["1", "kept"].map(|s| Some(s.to_owned()))]);
    assert!(!server.log().iter().any(|line| line.contains("replayed")), "a clean stop leaves nothing to replay");
}

#[test]
fn a_second_server_on_one_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path(), &[]);
    let Err((status, log)) = Process::spawn(directory.path(), &[]).ready() else { panic!("two servers") };
    assert_eq!(status.code(), Some(1));
    assert!(log.iter().any(|line| line.contains("another")), "{log:#?}");
    assert_eq!(administrator(&server).rows("SELECT 1"), [[Some("1".to_owned())]]);
}
