//! Rounds: each server in turn, the same time, and what came of it.

use crate::common::process::Watch;
use crate::common::round::{Figures, Round, lengths};
use crate::common::servers::Server;
use crate::options::Options;
use crate::workload::{Worker, Workload, workers};
use std::time::{Duration, Instant};

/// A row of the table: the rounds of both servers.
pub struct Row {
    /// What was measured.
    pub title: String,
    /// Of each server, in the order of the rounds.
    pub rounds: [Vec<Round>; 2],
}

impl Row {
    /// One figure of each round of a server.
    pub fn figures(&self, server: usize, figure: fn(&Round) -> f64) -> Figures {
        Figures::of(&self.rounds[server], figure)
    }

    /// How many times as fast as the second server the first was in each round.
    pub fn ratios(&self) -> Figures {
        self.figures(0, |round| round.rate).by(&self.figures(1, |round| round.rate))
    }
}

/// Measures a workload. A short round on each server comes first and is not counted.
pub async fn workload(servers: &[Server; 2], workload: Workload, clients: usize, options: &Options) -> Row {
    let [a, b] = servers;
    let mut fleets =
        [Some(workers(a, workload, clients, options).await), Some(workers(b, workload, clients, options).await)];
    let mut rounds = [Vec::new(), Vec::new()];
    for (length, counts) in lengths(options.rounds, options.round) {
        for (index, fleet) in fleets.iter_mut().enumerate() {
            let (result, workers) = run(&servers[index], fleet.take().expect("each round gives it back"), length).await;
            *fleet = Some(workers);
            if counts {
                rounds[index].push(result);
            }
        }
    }
    Row { title: workload.title(clients), rounds }
}

/// Lets all clients work for a time.
async fn run(server: &Server, workers: Vec<Worker>, length: Duration) -> (Round, Vec<Worker>) {
    let watch = Watch::start(server.pid);
    let start = Instant::now();
    let tasks: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(work(worker, start, length))).collect();
    let (mut times, mut workers) = (Vec::new(), Vec::new());
    for task in tasks {
        let (worker, own) = task.await.expect("a client does its work");
        workers.push(worker);
        times.extend(own);
    }
    let elapsed = start.elapsed();
    (Round::of(times, elapsed, &watch), workers)
}

async fn work(mut worker: Worker, start: Instant, length: Duration) -> (Worker, Vec<u32>) {
    let mut times = Vec::new();
    let mut before = start.elapsed();
    while before < length {
        worker.once().await;
        let now = start.elapsed();
        times.push((now - before).as_micros() as u32);
        before = now;
    }
    (worker, times)
}
