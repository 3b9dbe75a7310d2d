//! Thousands of connections, each of a user of its own with a live query on its own rows, while rows come for all of
//! them. PostgreSQL has a process for each connection, so there is nothing to hold this against but bounds.

use crate::Bench;
use crate::common::listening::Listening;
use crate::common::process::{Watch, anonymous_bytes, thread_time};
use crate::common::round::{Figures, lengths, quantile};
use crate::common::servers::Server;
use crate::common::tally::Tally;
use crate::event::{self, Event};
use crate::row::{Goal, Row};
use crate::support::random::Random;
use crate::users;
use futures::future::join_all;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Statement};

const TABLE: &str = "CREATE SCHEMA live;
    CREATE TABLE live.messages (id bigint PRIMARY KEY, sent bigint NOT NULL, owner bigint NOT NULL, body text NOT NULL)
        WITH (TYPE = 'USER');
    GRANT USAGE ON SCHEMA live TO PUBLIC;
    GRANT SELECT ON live.messages TO PUBLIC;";

const SUBSCRIBE: &str = "SUBSCRIBE mine TO SELECT id, sent, owner, body FROM live.messages";

const INSERT: &str = "EXECUTE AS USER $1 ( INSERT INTO live.messages VALUES ($2, $3, $4, $5) )";

const BODY: &str = "what somebody has to say, in a sentence or two of the usual length, as people write them in a chat";

/// Connections that are being made at once.
const AT_ONCE: usize = 64;

/// How long events may still come when the inserts are done.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the server has to come to rest before its memory is looked at.
const REST: Duration = Duration::from_secs(2);

/// What one round gave.
struct Round {
    /// Milliseconds from when an insert was due to its event, 99 of 100.
    p99: f64,
    p50: f64,
    inserts: u64,
    events: u64,
    /// Inserts a second.
    rate: f64,
    /// Microseconds for each insert: of the server, of its reader of commits, of the client.
    processor: [f64; 3],
}

/// One that inserts at the times that are its own.
struct Writer {
    client: Client,
    statement: Statement,
    received: Arc<Tally>,
    random: Random,
    users: u64,
}

/// When a writer inserts.
#[derive(Clone, Copy)]
struct Schedule {
    /// The stamp of the first insert of all.
    start: u64,
    /// Nanoseconds between two inserts of all writers.
    period: u64,
    /// Inserts of all writers.
    count: u64,
    /// The numbers of its own: this one, and then one of so many.
    first: u64,
    step: u64,
}

impl Writer {
    /// Inserts each row when it is due, or as soon after that as it can; its stamp is when it was due.
    async fn run(mut self, schedule: Schedule) -> Writer {
        let mut number = schedule.first;
        while number < schedule.count {
            let due = schedule.start + number * schedule.period;
            tokio::time::sleep_until(self.received.moment(due).into()).await;
            let owner = self.random.below(self.users) as i64;
            let (user, due) = (users::name(owner as usize), due as i64);
            // stamps differ from one another, so they are keys as well
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] = [&user, &due, &due, &owner, &BODY];
            self.client.execute(&self.statement, &values).await.expect("a row is added");
            number += schedule.step;
        }
        self
    }
}

async fn writers(server: &Server, bench: &Bench, received: &Arc<Tally>) -> Vec<Writer> {
    let mut writers = Vec::new();
    for number in 0..bench.options.writers {
        let client = server.client().await;
        let statement = client.prepare(INSERT).await.expect("the statement is prepared");
        let (received, random) = (received.clone(), Random::new(number as u64 + 1));
        writers.push(Writer { client, statement, received, random, users: bench.options.connections as u64 });
    }
    writers
}

/// Opens the connections, so many at once.
async fn connect(server: &Server, bench: &Bench, received: &Arc<Tally>) -> Vec<Listening> {
    let mut listening: Vec<Listening> = Vec::new();
    let count = bench.options.connections;
    while listening.len() < count {
        let first = listening.len();
        for number in first..(first + AT_ONCE).min(count) {
            let received = received.clone();
            let heard = move |payload: &[u8]| {
                if event::kind(payload) == Event::Insert {
                    assert_eq!(event::number(payload, "\"owner\":"), number as u64, "an event of somebody else");
                    received.take(event::number(payload, "\"sent\":"));
                }
            };
            listening.push(bench.ears.listen(users::login(server, number), number, heard));
        }
        join_all(listening[first..].iter().map(|client| client.say(SUBSCRIBE))).await;
    }
    listening
}

async fn run(
    server: &Server,
    bench: &Bench,
    received: &Tally,
    writers: Vec<Writer>,
    length: Duration,
) -> (Round, Vec<Writer>) {
    let rate = u64::from(bench.options.rate);
    let count = (rate as f64 * length.as_secs_f64()).ceil() as u64;
    let before = received.total();
    let watch = Watch::start(server.pid);
    let reader = thread_time(server.pid, "live");
    let start = Instant::now();
    let schedule =
        Schedule { start: received.stamp(), period: 1_000_000_000 / rate, count, first: 0, step: writers.len() as u64 };
    let tasks: Vec<_> =
        (0..).zip(writers).map(|(first, writer)| tokio::spawn(writer.run(Schedule { first, ..schedule }))).collect();
    let mut writers = Vec::new();
    for task in tasks {
        writers.push(task.await.expect("a writer does its work"));
    }
    let elapsed = start.elapsed();
    received.reaches(before + count, PATIENCE).await;
    let (server_time, client_time) = watch.read();
    let reader = thread_time(server.pid, "live") - reader;
    let mut times = received.times();
    times.sort_unstable();
    let round = Round {
        p99: quantile(&times, 0.99) / 1e3,
        p50: quantile(&times, 0.5) / 1e3,
        inserts: count,
        events: received.total() - before,
        rate: count as f64 / elapsed.as_secs_f64(),
        processor: [server_time, reader, client_time].map(|time| time.as_secs_f64() * 1e6 / count as f64),
    };
    (round, writers)
}

/// Connects all, looks at the server's memory, and inserts for some rounds. A short round comes first and is not counted.
pub async fn measure(server: &Server, bench: &Bench) -> Vec<Row> {
    let client = server.client().await;
    client.batch_execute(TABLE).await.expect("the table is made");
    let count = bench.options.connections;
    let start = Instant::now();
    users::make(&client, count).await;
    println!("{count} users made in {:.1} s", start.elapsed().as_secs_f64());
    let received = Arc::new(Tally::default());
    let mut writers = writers(server, bench, &received).await;
    tokio::time::sleep(REST).await;
    let before = anonymous_bytes(server.pid);
    let start = Instant::now();
    let listening = connect(server, bench, &received).await;
    println!("{count} live queries begun in {:.1} s", start.elapsed().as_secs_f64());
    tokio::time::sleep(REST).await;
    let idle = anonymous_bytes(server.pid);
    let mut rounds = Vec::new();
    for (length, counts) in lengths(bench.options.rounds, bench.options.round) {
        let result;
        (result, writers) = run(server, bench, &received, writers, length).await;
        if counts {
            rounds.push(result);
        }
    }
    let busy = anonymous_bytes(server.pid);
    let open = listening.iter().filter(|client| client.is_open()).count();
    let memory = [idle, busy].map(|bytes| (bytes as f64 - before as f64) / count as f64 / 1024.0);
    rows(bench, &rounds, memory, open)
}

fn rows(bench: &Bench, rounds: &[Round], [idle, busy]: [f64; 2], open: usize) -> Vec<Row> {
    let (count, rate) = (bench.options.connections, bench.options.rate);
    let title =
        |what: &str| format!("{count} connections, a live query on its own rows each, {rate} inserts/s: {what}");
    let figures = |figure: fn(&Round) -> f64| Figures(rounds.iter().map(figure).collect());
    let row = |what: &str, unit, figures, goal, note| Row { title: title(what), unit, base: None, figures, goal, note };
    let median = |figure: fn(&Round) -> f64| figures(figure).median();
    let times = format!(
        "p50 {:.2} ms; us of CPU an insert: server {:.0}, of it the reader of commits {:.0}; client {:.0}",
        median(|round| round.p50),
        median(|round| round.processor[0]),
        median(|round| round.processor[1]),
        median(|round| round.processor[2]),
    );
    let [inserts, events] =
        [|round: &Round| round.inserts, |round: &Round| round.events].map(|of| rounds.iter().map(of).sum::<u64>());
    let held = format!("{open} connections open, {events} events of {inserts} inserts, each with its own user only");
    let rates = figures(|round| round.rate);
    vec![
        row("due to event, p99", "ms", figures(|round| round.p99), Goal::AtMost(50.0), times),
        row("inserts done", "/s", rates, Goal::AtLeast(0.99 * f64::from(rate)), String::new()),
        row("connections held", "", Figures(vec![open as f64]), Goal::AtLeast(count as f64), held),
        row(
            "events received",
            "%",
            figures(|round| 100.0 * round.events as f64 / round.inserts as f64),
            Goal::AtLeast(100.0),
            String::new(),
        ),
        row(
            "memory of a connection",
            "kB",
            Figures(vec![idle]),
            Goal::AtMost(25.0),
            format!("{busy:.1} kB after the inserts, with what these left in memory"),
        ),
    ]
}
