//! One notification to many sessions.

use super::listening::{Ears, Listening};
use super::process::Watch;
use super::round::{Round, lengths};
use super::servers::Server;
use super::tally::Tally;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use tokio_postgres::{Client, Statement};

/// How fast notifications follow one another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The next once all sessions have the one before: what a delivery takes.
    One,
    /// As many as can be, a few ahead of the sessions: how many can be delivered.
    Flood,
    /// So many a second, whatever the sessions have: what a delivery takes while there is nothing to wait for.
    Every(u32),
}

/// Notifications that may be ahead of the sessions in a flood.
const AHEAD: u64 = 64;

/// Statements of a flood that are on their way, so that the sender does not wait for each answer before the next.
const IN_FLIGHT: usize = 16;

impl Pace {
    /// Its row's title.
    pub fn title(self, listeners: usize) -> String {
        let how = match self {
            Pace::One => "one at a time".to_owned(),
            Pace::Flood => "flood".to_owned(),
            Pace::Every(rate) => format!("{rate} a second"),
        };
        let sessions = if listeners == 1 { "session" } else { "sessions" };
        format!("NOTIFY to {listeners} {sessions}, {how} (deliveries)")
    }
}

/// A sender and its listeners on one server.
struct Fan {
    pid: u32,
    sender: Client,
    statement: Statement,
    received: Arc<Tally>,
    listeners: Vec<Listening>,
    sent: Cell<u64>,
}

impl Fan {
    async fn open(server: &Server, ears: &Ears, listeners: usize) -> Fan {
        let received = Arc::new(Tally::default());
        let mut clients = Vec::new();
        for number in 0..listeners {
            let received = received.clone();
            let heard = move |payload: &[u8]| {
                let stamp = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
                received.take(stamp.expect("its time"));
            };
            let client = ears.listen(server.login.clone(), number, heard);
            client.say("LISTEN bench").await;
            clients.push(client);
        }
        let sender = server.client().await;
        let statement = sender.prepare("SELECT pg_notify('bench', $1)").await.expect("the statement is prepared");
        Fan { pid: server.pid, sender, statement, received, listeners: clients, sent: Cell::new(0) }
    }

    async fn send(&self) {
        let stamp = self.received.stamp().to_string();
        self.sender.query(&self.statement, &[&stamp]).await.expect("a notification");
    }

    /// Waits until the sessions have all but so many of the notifications.
    async fn wait_for_all_but(&self, ahead: u64) {
        self.received.wait_for(self.sent.get().saturating_sub(ahead) * self.listeners.len() as u64).await;
    }

    /// Sends for a time, with a number of statements on their way.
    async fn send_for(&self, pace: Pace, length: Duration) {
        let in_flight = if pace == Pace::Flood { IN_FLIGHT } else { 1 };
        let period = if let Pace::Every(rate) = pace { Duration::from_secs(1) / rate.max(1) } else { Duration::MAX };
        let mut clock = tokio::time::interval(period);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answers = FuturesOrdered::new();
        let start = Instant::now();
        while start.elapsed() < length {
            match pace {
                Pace::One => self.wait_for_all_but(0).await,
                Pace::Flood => self.wait_for_all_but(AHEAD).await,
                Pace::Every(_) => {
                    clock.tick().await;
                }
            }
            answers.push_back(self.send());
            self.sent.set(self.sent.get() + 1);
            if answers.len() == in_flight {
                answers.next().await;
            }
        }
        while answers.next().await.is_some() {}
    }

    async fn run(&mut self, pace: Pace, length: Duration) -> Round {
        let watch = Watch::start(self.pid);
        let start = Instant::now();
        self.send_for(pace, length).await;
        self.wait_for_all_but(0).await;
        let elapsed = start.elapsed();
        Round::of(self.received.times(), elapsed, &watch)
    }
}

/// Measures a fan-out on each server in turn. A short round on each comes first and is not counted.
pub async fn measure(
    servers: &[Server; 2],
    ears: &Ears,
    pace: Pace,
    listeners: usize,
    (rounds, length): (usize, Duration),
) -> [Vec<Round>; 2] {
    let [a, b] = servers;
    let mut fans = [Fan::open(a, ears, listeners).await, Fan::open(b, ears, listeners).await];
    let mut results = [Vec::new(), Vec::new()];
    for (length, counts) in lengths(rounds, length) {
        for (fan, results) in fans.iter_mut().zip(&mut results) {
            let result = fan.run(pace, length).await;
            if counts {
                results.push(result);
            }
        }
    }
    results
}
