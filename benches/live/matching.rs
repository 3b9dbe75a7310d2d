//! What an insert costs whoever follows the commits, without sockets: to take the commit, to find the live queries that it
//! concerns among very many, to judge the row, to write the event and to put it into the outboxes.
//!
//! Engine and sessions are in this process, and the commits are followed step by step, each timed.

use crate::Bench;
use crate::common::round::Figures;
use crate::row::{Goal, Row};
use crate::subscriptions::{BODY, Layout, TABLES};
use crate::support::golden::Runner;
use crate::support::in_process::InProcess;
use crate::support::random::Random;
use std::time::Instant;
use tertulia::txn::EngineOptions;

/// Inserts of a round.
const INSERTS: usize = 2_000;

/// Inserts after which the sessions take what has come: beyond a bound they would miss something.
const TAKEN: usize = 100;

/// The session that inserts. Names without letters are the superuser's.
const WRITER: &str = "0";

/// The live queries of `subscriptions`, begun in this process, and inserts that concern a few of them.
pub fn measure(bench: &Bench) -> Row {
    let layout = Layout::of(&bench.options);
    let directory = tempfile::tempdir().expect("a directory");
    let options = EngineOptions {
        live_queries_per_user_max: layout.total(),
        map_size: 1 << 30,
        ..EngineOptions::new(directory.path())
    };
    let (mut server, mut reader) = InProcess::start_stepped(options, "tertulia");
    server.statement(WRITER, TABLES);
    for number in 0..layout.connections {
        server.statement(&(number + 1).to_string(), &layout.statements(number));
    }
    while reader.step() {}
    // their acknowledgements
    server.count_notifications();
    let mut random = Random::new(1);
    let mut means = Vec::new();
    let mut id = 0;
    for _ in 0..bench.options.rounds {
        let mut times = Vec::new();
        for _ in 0..INSERTS / TAKEN {
            for _ in 0..TAKEN {
                let room = random.below(layout.rooms as u64);
                id += 1;
                server.statement(WRITER, &format!("INSERT INTO live.many VALUES ({id}, {room}, 0, '{BODY}')"));
                let start = Instant::now();
                while reader.step() {}
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
            assert_eq!(server.count_notifications(), TAKEN * bench.options.touched, "events");
        }
        means.push(times.iter().sum::<f64>() / times.len() as f64);
    }
    Row {
        title: format!(
            "{} live queries of {} sessions, {} touched: matching, without sockets",
            layout.total(),
            layout.connections,
            bench.options.touched
        ),
        unit: "us",
        base: None,
        figures: Figures(means),
        goal: Goal::AtMost(20.0),
        note: "the mean of an insert's times: found, judged, written and in the outboxes".to_owned(),
    }
}
