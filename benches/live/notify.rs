//! Notifications on plain channels, on both servers.

use crate::Bench;
use crate::common::fanout::{Pace, measure};
use crate::common::round::{Figures, Round};
use crate::common::servers::Server;
use crate::row::{Goal, Row, postgres};

/// How many times PostgreSQL's deliveries there should be, by the sessions that a notification goes to.
const DELIVERIES: [(usize, f64); 4] = [(1, 2.5), (10, 3.5), (100, 5.0), (500, 12.0)];

/// How much of PostgreSQL's time a delivery may take.
const LATENCY: f64 = 0.35;

/// Deliveries a second: in a flood, which the goals are for, and one notification at a time.
pub async fn deliveries(servers: &[Server; 2], bench: &Bench) -> Vec<Row> {
    let length = (bench.options.rounds, bench.options.round);
    let mut rows = Vec::new();
    for &listeners in &bench.options.listeners {
        let goal =
            DELIVERIES.iter().find(|(of, _)| *of == listeners).map_or(Goal::None, |&(_, times)| Goal::Times(times));
        for (pace, goal) in [(Pace::Flood, goal), (Pace::One, Goal::None)] {
            let rounds = measure(servers, &bench.ears, pace, listeners, length).await;
            rows.push(row(pace.title(listeners), "/s", &rounds, |round| round.rate, goal));
        }
    }
    rows
}

/// What a delivery takes while little is to be done.
pub async fn latency(servers: &[Server; 2], bench: &Bench) -> Vec<Row> {
    let (listeners, pace) = (bench.options.paced_listeners, Pace::Every(bench.options.pace));
    let length = (bench.options.rounds, bench.options.round);
    let rounds = measure(servers, &bench.ears, pace, listeners, length).await;
    let goal = if (listeners, bench.options.pace) == (500, 20) { Goal::Within(LATENCY) } else { Goal::None };
    let title = |which: &str| format!("{}: sending to receipt, {which}", pace.title(listeners));
    vec![
        row(title("p50"), "us", &rounds, |round| round.p50, goal),
        row(title("p99"), "us", &rounds, |round| round.p99, goal),
    ]
}

fn row(title: String, unit: &'static str, rounds: &[Vec<Round>; 2], figure: fn(&Round) -> f64, goal: Goal) -> Row {
    let [ours, theirs] = rounds;
    let both = |figure: fn(&Round) -> f64, digits: usize| {
        let [ours, theirs] = [ours, theirs].map(|rounds| Figures::of(rounds, figure).median());
        format!("{ours:.digits$} : {theirs:.digits$}")
    };
    let note = format!(
        "T : P, server's CPU {} us a delivery, client's {} us, processors busy with the client {}",
        both(|round| round.processor, 1),
        both(|round| round.client, 1),
        both(Round::client_load, 2),
    );
    let base = postgres(Figures::of(theirs, figure));
    Row { title, unit, base, figures: Figures::of(ours, figure), goal, note }
}
