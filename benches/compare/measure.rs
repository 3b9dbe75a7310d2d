//! Rounds: each server in turn, the same time, and what came of it.

use crate::options::Options;
use crate::process::Watch;
use crate::servers::Server;
use crate::workload::{Worker, Workload, workers};
use std::time::{Duration, Instant};

/// What one round on one server gave.
#[derive(Clone, Debug)]
pub struct Round {
    /// Operations a second.
    pub rate: f64,
    /// Half of the operations took no longer, in microseconds.
    pub p50: f64,
    /// 99 of 100 took no longer, in microseconds.
    pub p99: f64,
    /// Microseconds of processor time that the server spent on each.
    pub processor: f64,
    /// Microseconds of processor time that the client spent on each.
    pub client: f64,
}

/// A row of the table: the rounds of both servers.
pub struct Row {
    /// What was measured.
    pub title: String,
    /// Of each server, in the order of the rounds.
    pub rounds: [Vec<Round>; 2],
}

impl Round {
    /// From each operation's time in microseconds.
    pub fn of(mut times: Vec<u32>, elapsed: Duration, watch: &Watch) -> Round {
        let (server, client) = watch.read();
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times.get(index.min(times.len().saturating_sub(1))).map_or(0.0, |&time| f64::from(time))
        };
        let count = times.len() as f64;
        Round {
            rate: count / elapsed.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            processor: server.as_secs_f64() * 1e6 / count,
            client: client.as_secs_f64() * 1e6 / count,
        }
    }
}

impl Row {
    /// One figure of each round of a server.
    pub fn figures(&self, server: usize, figure: fn(&Round) -> f64) -> Figures {
        Figures(self.rounds[server].iter().map(figure).collect())
    }

    /// How many times as fast as the second server the first was in each round.
    pub fn ratios(&self) -> Figures {
        Figures(self.rounds[0].iter().zip(&self.rounds[1]).map(|(a, b)| a.rate / b.rate).collect())
    }
}

/// The same figure of several rounds.
pub struct Figures(pub Vec<f64>);

impl Figures {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
    }

    /// The least and the greatest.
    pub fn spread(&self) -> (f64, f64) {
        let sorted = self.sorted();
        (sorted[0], sorted[sorted.len() - 1])
    }
}

/// Measures a workload. A short round on each server comes first and is not counted.
pub async fn workload(servers: &[Server; 2], workload: Workload, clients: usize, options: &Options) -> Row {
    let [a, b] = servers;
    let mut fleets =
        [Some(workers(a, workload, clients, options).await), Some(workers(b, workload, clients, options).await)];
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..=options.rounds {
        let length = if round == 0 { options.round / 4 } else { options.round };
        for (index, fleet) in fleets.iter_mut().enumerate() {
            let (result, workers) = run(&servers[index], fleet.take().expect("each round gives it back"), length).await;
            *fleet = Some(workers);
            if round > 0 {
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
