//! Numbers that never come again: sequences, SNOWFLAKE_ID and commit positions, whatever the clock does and however the
//! server ends.

mod support;

use std::collections::HashSet;
use std::sync::{Arc, Barrier};
use support::client::Client;
use support::machine::{Machine, Once};
use support::process::{PASSWORD, Process, Running};
use support::random::Random;
use tertulia::storage::fault::FaultRates;

fn start(data: &std::path::Path) -> Running {
    Process::spawn(data, &[]).ready().expect("a server")
}

fn connect(server: &Running) -> Client {
    Client::connect(server.address, "tertulia", PASSWORD, "tertulia").expect("a connection")
}

fn number(client: &mut Client, sql: &str) -> i64 {
    let row = client.rows(sql).pop().expect("a row");
    row[0].as_deref().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn nextval_of_many_sessions_gives_no_number_twice_across_kills() {
    const SESSIONS: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let mut seen = HashSet::new();
    let mut server = start(directory.path());
    connect(&server).run("CREATE SEQUENCE s; CREATE SEQUENCE ahead CACHE 7; CREATE SEQUENCE alone");
    let mut last_alone = 0;
    for _ in 0..3 {
        let barrier = Arc::new(Barrier::new(SESSIONS));
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|_| {
                let (mut client, barrier) = (connect(&server), barrier.clone());
                std::thread::spawn(move || {
                    barrier.wait();
                    let mut numbers = Vec::new();
                    for _ in 0..100 {
                        numbers.push(("s", number(&mut client, "SELECT nextval('s')")));
                        numbers.push(("ahead", number(&mut client, "SELECT nextval('ahead')")));
                    }
                    numbers
                })
            })
            .collect();
        for session in sessions {
            for one in session.join().unwrap() {
                assert!(seen.insert(one), "{one:?} came twice");
            }
        }
        // one that is used once is killed right after its answer
        let alone = number(&mut connect(&server), "SELECT nextval('alone')");
        assert!(alone > last_alone);
        last_alone = alone;
        server.kill();
        server = start(directory.path());
    }
    let next = number(&mut connect(&server), "SELECT nextval('s')");
    assert!(seen.iter().all(|(name, before)| *name != "s" || *before < next));
}

#[test]
fn a_clean_end_leaves_no_gap() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let mut client = connect(&server);
    client.run("CREATE SEQUENCE s; SELECT nextval('s') FROM generate_series(1, 1000)");
    server.terminate();
    let server = start(directory.path());
    assert_eq!(number(&mut connect(&server), "SELECT nextval('s')"), 1001);
}

#[test]
fn what_setval_and_restart_say_holds_after_a_kill_as_their_transactions_ended() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let mut client = connect(&server);
    client.run("CREATE SEQUENCE s; CREATE SEQUENCE r; CREATE SEQUENCE k");
    client.run("SELECT nextval('s'), nextval('r'), nextval('k')");
    client.run("BEGIN; SELECT setval('s', 1000); ROLLBACK");
    client.run("ALTER SEQUENCE r RESTART WITH 500");
    client.run("BEGIN; ALTER SEQUENCE k RESTART WITH 900; SELECT nextval('k')");
    server.kill();
    let server = start(directory.path());
    let mut client = connect(&server);
    assert_eq!(number(&mut client, "SELECT nextval('s')"), 1001);
    assert_eq!(number(&mut client, "SELECT nextval('r')"), 500);
    let kept = number(&mut client, "SELECT nextval('k')");
    assert!((2..900).contains(&kept), "{kept}");
}

const START: i64 = 1_700_000_000_000_000;
const HOUR: i64 = 3_600_000_000;
const YEAR: i64 = 365 * 24 * HOUR;

/// Everything that a client was given over all lives of a machine.
#[derive(Default)]
struct Given {
    ids: Once,
    single: Once,
    ahead: Once,
    /// The last commit's position.
    position: i64,
    stream: i64,
}

/// Somewhere the clock may stand after an administrator, a battery or a time server has set it.
fn clock(random: &mut Random, now: i64) -> i64 {
    match random.below(6) {
        0 => now - 1 - random.below(YEAR as u64) as i64,
        1 => now - 1 - random.below(20_000_000) as i64,
        2 => now + random.below(20_000_000) as i64,
        3 => now + random.below(YEAR as u64) as i64,
        4 => random.below(1_000) as i64,
        _ => now,
    }
}

/// One statement of somebody who counts. What the client was given counts where the machine has not stopped in it.
fn count(machine: &mut Machine, random: &mut Random, given: &mut Given) {
    let heard = |machine: &mut Machine, sql: &str| {
        let heard = machine.run(sql);
        let lives = !machine.faults.has_crashed();
        assert!(!lives || heard.error.is_none(), "{sql}: {:?}", heard.error);
        lives.then_some(heard)
    };
    match random.below(9) {
        0 => machine.set_clock(clock(random, machine.clock())),
        1 => machine.env.advance(random.below(15_000_000)),
        2 => {
            let heard = heard(machine, "SELECT nextval('s') FROM generate_series(1, 20)");
            given.single.take("nextval", heard.iter().flat_map(|heard| heard.numbers()));
        }
        3 => {
            let heard = heard(machine, "SELECT nextval('ahead')");
            given.ahead.take("nextval with CACHE", heard.iter().flat_map(|heard| heard.numbers()));
        }
        4 => {
            let heard = heard(machine, "SELECT SNOWFLAKE_ID() FROM generate_series(1, 20)");
            given.ids.take("SNOWFLAKE_ID", heard.iter().flat_map(|heard| heard.numbers()));
        }
        5 => {
            let heard = heard(machine, "BEGIN; SELECT SNOWFLAKE_ID(); ROLLBACK");
            given.ids.take("SNOWFLAKE_ID", heard.iter().flat_map(|heard| heard.numbers()));
        }
        6 => {
            let Some(inserted) = heard(machine, "INSERT INTO t DEFAULT VALUES RETURNING id, n") else { return };
            let id = inserted.numbers()[0];
            given.ids.take("SNOWFLAKE_ID", [id]);
            given.single.take("nextval", [inserted.rows[0][1].as_ref().unwrap().parse().unwrap()]);
            let position = heard(machine, &format!("SELECT _seq FROM t WHERE id = {id}"));
            position.into_iter().for_each(|heard| given.commit(heard.numbers()[0]));
        }
        // a commit that the log hears nothing of
        7 => {
            given.stream += 1;
            let (sql, n) = ("INSERT INTO typing VALUES", given.stream);
            if heard(machine, &format!("{sql} ({n})")).is_some() {
                let position = heard(machine, &format!("SELECT _seq FROM typing WHERE id = {n}"));
                position.into_iter().for_each(|heard| given.commit(heard.numbers()[0]));
            }
        }
        _ => machine.fold(),
    }
}

impl Given {
    fn commit(&mut self, position: i64) {
        assert!(position > self.position, "a commit is at {position}, one before it was at {}", self.position);
        self.position = position;
    }
}

#[test]
fn nothing_comes_twice_whatever_the_clock_does_and_however_the_machine_ends() {
    let mut outcomes = HashSet::new();
    for seed in 0..60 {
        let (mut machine, mut random) = (Machine::new(seed, START), Random::new(seed));
        for sql in [
            "CREATE SEQUENCE s; CREATE SEQUENCE ahead CACHE 7",
            "CREATE TABLE t (id bigint PRIMARY KEY DEFAULT SNOWFLAKE_ID(), n bigint DEFAULT nextval('s'))",
            "CREATE TABLE typing (id int PRIMARY KEY) WITH (TYPE = 'STREAM', TTL_SECONDS = 100000000)",
        ] {
            assert_eq!(machine.run(sql).error, None, "{sql}");
        }
        let mut given = Given::default();
        for _ in 0..10 {
            if random.once_in(2) {
                let crash = 2 + random.below(60);
                machine.faults.set_rates(FaultRates { crash, ..FaultRates::default() });
            }
            for _ in 0..random.below(25) {
                count(&mut machine, &mut random, &mut given);
                if machine.faults.has_crashed() {
                    break;
                }
            }
            let end = if machine.faults.has_crashed() { 0 } else { random.below(3) };
            match end {
                0 => machine.crash(),
                1 => machine.kill(),
                _ => machine.stop(),
            }
            outcomes.insert(end);
            machine.set_clock(clock(&mut random, machine.clock()));
            machine.start();
            let current = machine.numbers("SELECT current_seq()")[0];
            assert!(current >= given.position, "seed {seed}: at {current} after a commit at {}", given.position);
        }
        let highest = given.ids.highest();
        let next = machine.numbers("SELECT SNOWFLAKE_ID()")[0];
        assert!(highest.is_none_or(|highest| next > highest), "seed {seed}: SNOWFLAKE_ID goes back to {next}");
    }
    assert_eq!(outcomes.len(), 3);
}

#[test]
fn ids_that_went_out_before_their_statement_ended_never_come_again() {
    let sql = "SELECT SNOWFLAKE_ID() FROM generate_series(1, 100)";
    type Way = fn(&mut Machine, &str) -> Vec<i64>;
    let ways: [(&str, Way); 2] = [
        ("the first rows of a large result", |machine, sql| machine.run_until(sql, true, 3).numbers()),
        ("rows that a Flush sent", |machine, sql| machine.run_unsynced(sql).numbers()),
    ];
    for (what, way) in ways {
        let mut machine = Machine::new(1, START);
        // for so long nothing has been written
        machine.env.advance(HOUR as u64);
        let seen = way(&mut machine, sql);
        assert!(seen.len() >= 3, "{what}: {seen:?}");
        machine.crash();
        machine.set_clock(START);
        machine.start();
        let next = machine.numbers("SELECT SNOWFLAKE_ID()")[0];
        assert!(seen.iter().all(|&before| before < next), "{what} were given: {seen:?}; then {next}");
    }
}
