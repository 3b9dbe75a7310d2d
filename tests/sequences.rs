//! Numbers that never come again: sequences, SNOWFLAKE_ID and commit positions, whatever the clock does and however the
//! server ends.

mod support;

use std::collections::HashSet;
use std::sync::{Arc, Barrier};
use support::client::Client;
use support::process::{PASSWORD, Process, Running};

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
