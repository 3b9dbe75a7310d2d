//! One notification to many sessions.

use crate::measure::{Round, Row};
use crate::options::Options;
use crate::process::Watch;
use crate::servers::Server;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Client, Statement};

/// How fast notifications follow one another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The next once all sessions have the one before: what a delivery takes.
    One,
    /// As many as can be, a few ahead of the sessions: how many can be delivered.
    Flood,
}

/// Notifications that may be ahead of the sessions in a flood.
const AHEAD: u64 = 64;

impl Pace {
    /// Both.
    pub const ALL: [Pace; 2] = [Pace::One, Pace::Flood];

    /// Its row's title.
    pub fn title(self, listeners: usize) -> String {
        let how = match self {
            Pace::One => "one at a time",
            Pace::Flood => "flood",
        };
        format!("NOTIFY to {listeners} sessions, {how} (deliveries)")
    }
}

/// What the listening sessions have got.
struct Received {
    start: Instant,
    deliveries: AtomicU64,
    times: Mutex<Vec<u32>>,
    /// Told when as many deliveries are there as the sender waits for.
    wanted: AtomicU64,
    reached: Notify,
}

/// A sender and its listeners on one server.
struct Fan {
    pid: u32,
    sender: Client,
    statement: Statement,
    received: Arc<Received>,
    listeners: Vec<Client>,
    sent: u64,
}

impl Received {
    fn take(&self, sent: Duration) {
        let time = self.start.elapsed().saturating_sub(sent);
        self.times.lock().expect("nobody panics with it").push(time.as_micros() as u32);
        let count = self.deliveries.fetch_add(1, Ordering::SeqCst) + 1;
        if count >= self.wanted.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    async fn wait_for(&self, count: u64) {
        self.wanted.store(count, Ordering::SeqCst);
        while self.deliveries.load(Ordering::SeqCst) < count {
            self.reached.notified().await;
        }
        self.wanted.store(u64::MAX, Ordering::SeqCst);
    }
}

impl Fan {
    async fn open(server: &Server, listeners: usize) -> Fan {
        let received = Arc::new(Received {
            start: Instant::now(),
            deliveries: AtomicU64::new(0),
            times: Mutex::default(),
            wanted: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
        });
        let mut clients = Vec::new();
        for _ in 0..listeners {
            let (client, mut connection) = server.open().await;
            let received = received.clone();
            tokio::spawn(async move {
                while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                    if let Ok(AsyncMessage::Notification(notification)) = message {
                        received.take(Duration::from_nanos(notification.payload().parse().expect("its time")));
                    }
                }
            });
            client.batch_execute("LISTEN bench").await.expect("LISTEN");
            clients.push(client);
        }
        let sender = server.client().await;
        let statement = sender.prepare("SELECT pg_notify('bench', $1)").await.expect("the statement is prepared");
        Fan { pid: server.pid, sender, statement, received, listeners: clients, sent: 0 }
    }

    async fn send(&mut self) {
        let time = self.received.start.elapsed().as_nanos().to_string();
        self.sender.query(&self.statement, &[&time]).await.expect("a notification");
        self.sent += 1;
    }

    async fn run(&mut self, pace: Pace, length: Duration) -> Round {
        let each = self.listeners.len() as u64;
        let watch = Watch::start(self.pid);
        let start = Instant::now();
        while start.elapsed() < length {
            self.send().await;
            let ahead = if pace == Pace::One { 0 } else { AHEAD };
            self.received.wait_for(self.sent.saturating_sub(ahead) * each).await;
        }
        self.received.wait_for(self.sent * each).await;
        let times = std::mem::take(&mut *self.received.times.lock().expect("nobody panics with it"));
        let elapsed = start.elapsed();
        Round::of(times, elapsed, &watch)
    }
}

/// Measures a fan-out. A short round on each server comes first and is not counted.
pub async fn measure(servers: &[Server; 2], pace: Pace, listeners: usize, options: &Options) -> Row {
    let mut fans = [Fan::open(&servers[0], listeners).await, Fan::open(&servers[1], listeners).await];
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..=options.rounds {
        let length = if round == 0 { options.round / 4 } else { options.round };
        for (fan, rounds) in fans.iter_mut().zip(&mut rounds) {
            let result = fan.run(pace, length).await;
            if round > 0 {
                rounds.push(result);
            }
        }
    }
    Row { title: pace.title(listeners), rounds }
}
