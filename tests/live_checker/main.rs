//! Live queries under faults: whatever happens, what a subscriber was told is what was committed.
//!
//! Writers commit transactions of all kinds, subscribers of many scopes, conditions and forms listen, go away, sleep and
//! come back, sessions are cancelled and ended, the server is killed and started again. An outside ledger knows what each
//! commit did. At each quiet time every subscriber's events are compared with it, one by one, and what they leave of its
//! rows with a SELECT.
//!
//! `cargo test` runs it for half a minute. `TERTULIA_LIVE_SECONDS=1800 cargo test --test live_checker -- --nocapture` is
//! the long form; `TERTULIA_LIVE_SEED` repeats a run's choices, though not its timing.

mod check;
mod conductor;
mod journal;
mod ledger;
mod mutants;
mod observer;
mod place;
mod query;
mod rows;
mod session;
mod statements;
mod subscriber;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod truth;
mod writer;

use conductor::{Conductor, Trouble};
use journal::Journal;
use ledger::Ledger;
use place::{Phase, Place};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use subscriber::{CLERK, Subscriber, Wish};
use support::client::Client;
use support::process::{PASSWORD, Running};
use support::random::Random;
use table::{DEFINITION, Table};
use writer::Writer;

const SUBSCRIBERS: usize = 64;
const OBSERVERS: usize = 3;
const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// Each writer's role, whose rows it writes, and whether nobody else writes those.
const WRITERS: [(&str, &[&str], bool); 8] = [
    ("alice", &["alice"], false),
    ("alice", &["alice"], false),
    ("bob", &["bob"], false),
    ("bob", &["bob"], false),
    ("carol", &["carol"], true),
    ("dave", &["dave"], true),
    (CLERK, &["alice", "bob"], false),
    (CLERK, &["alice", "bob"], false),
];
/// Seconds of the short form.
const SECONDS: u64 = 18;

fn make_schema(data: &Path) {
    let server = Running::start(data, &[]);
    let mut admin = Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap();
    admin.run("CREATE SCHEMA live");
    for (table, key, kind) in [
        (Table::Rooms, ", PRIMARY KEY (room, id)", ""),
        (Table::Notes, ", PRIMARY KEY (id)", " WITH (TYPE = 'USER')"),
        (Table::Typing, ", PRIMARY KEY (id)", " WITH (TYPE = 'STREAM', TTL_SECONDS = 4)"),
        (Table::Log, "", ""),
        (Table::Bulk, ", PRIMARY KEY (id)", ""),
    ] {
        admin.run(&format!("CREATE TABLE {} ({DEFINITION}{key}){kind}", table.name()));
    }
    admin.run("CREATE INDEX rooms_n ON live.rooms (n); CREATE INDEX notes_room ON live.notes (room, n)");
    admin.run("CREATE TABLE live.progress (writer int PRIMARY KEY, tx bigint NOT NULL)");
    admin.run("CREATE TABLE live.beats (id bigint PRIMARY KEY) WITH (TYPE = 'STREAM', TTL_SECONDS = 600)");
    admin.run("CREATE ROLE chief LOGIN SUPERUSER PASSWORD 'chief'");
    admin.run(&format!("CREATE ROLE {CLERK} LOGIN SERVICE PASSWORD '{CLERK}'"));
    for user in USERS {
        admin.run(&format!("CREATE ROLE {user} LOGIN PASSWORD '{user}'"));
    }
    for role in USERS.into_iter().chain([CLERK]) {
        admin.run(&format!("GRANT USAGE ON SCHEMA live TO {role}"));
        for table in ["rooms", "notes", "typing", "log", "bulk", "progress", "beats"] {
            admin.run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON live.{table} TO {role}"));
        }
    }
    for writer in 0..WRITERS.len() {
        admin.run(&format!("INSERT INTO live.progress VALUES ({writer}, 0)"));
    }
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
}

/// Ends everybody's work, also where the test has failed.
struct End<'a>(&'a Place);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.begin(Phase::End);
    }
}

#[test]
fn what_live_queries_tell_is_what_was_committed() {
    let (mut random, _) = Random::seeded("TERTULIA_LIVE_SEED");
    let seconds = std::env::var("TERTULIA_LIVE_SECONDS").map_or(SECONDS, |text| text.parse().expect("seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let directory = tempfile::tempdir().unwrap();
    make_schema(directory.path());
    let (place, ledger) = (Place::new(), Mutex::new(Ledger::default()));
    let wishes: Vec<Wish> = (0..SUBSCRIBERS).map(|number| Wish::new(number, &USERS, &mut random)).collect();
    let journals: Vec<Mutex<Journal>> = wishes.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        let end_of_all = End(&place);
        let choices = Random::new(random.next());
        let mut conductor = Conductor::start(directory.path(), &place, &ledger, &wishes, &journals, choices);
        for (number, (role, users, is_alone)) in WRITERS.into_iter().enumerate() {
            let choices = Random::new(random.next());
            let who = (role, users.to_vec(), is_alone);
            let writer = Writer::new(number, SUBSCRIBERS + number, who, &place, &ledger, choices);
            scope.spawn(move || writer.run());
        }
        for (wish, journal) in wishes.iter().zip(&journals) {
            let subscriber = Subscriber::new(wish, &place, journal, Random::new(random.next()));
            scope.spawn(move || subscriber.run());
        }
        for (number, user) in USERS.into_iter().take(OBSERVERS).enumerate() {
            let choices = Random::new(random.next());
            let number = SUBSCRIBERS + WRITERS.len() + number;
            let (place, ledger) = (&place, &ledger);
            scope.spawn(move || observer::observe(place, number, user, ledger, choices));
        }
        let mut round = 0;
        while round < 3 || Instant::now() < end {
            let trouble = match round {
                0 => Trouble::Flood,
                1 => Trouble::Kill,
                2 => Trouble::Restart,
                _ => random.pick(&[Trouble::Kill, Trouble::Kill, Trouble::Restart, Trouble::None, Trouble::Flood]),
            };
            conductor.round(trouble);
            round += 1;
        }
        conductor.try_mutants();
        drop(end_of_all);
        conductor.finish(WRITERS.len());
    });
}
