//! Very many live queries over one SHARED table, each for one room, and inserts that concern a few of them.
//!
//! The thread that follows the commits (`live`) does the matching and most of the sending; the kernel counts its processor
//! time. Beside it stands the same with no more live queries than those that an insert touches, on a table of their own:
//! what the others cost is the difference. What the matching takes by itself is measured without sockets (`matching`).

use crate::Bench;
use crate::common::listening::Listening;
use crate::common::process::{anonymous_bytes, processor_time, thread_time};
use crate::common::round::{Figures, lengths, quantile};
use crate::common::servers::Server;
use crate::common::tally::Tally;
use crate::event::{self, Event};
use crate::matching;
use crate::options::Options;
use crate::row::{Base, Goal, Row};
use crate::support::random::Random;
use futures::future::join_all;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Statement};

pub const TABLES: &str = "CREATE SCHEMA live;
    CREATE TABLE live.many (id bigint PRIMARY KEY, room bigint NOT NULL, sent bigint NOT NULL, body text NOT NULL)
        WITH (TYPE = 'SHARED');
    CREATE TABLE live.few (id bigint PRIMARY KEY, room bigint NOT NULL, sent bigint NOT NULL, body text NOT NULL)
        WITH (TYPE = 'SHARED');";

pub const BODY: &str =
    "what somebody has to say, in a sentence or two of the usual length, as people write them in a chat";

/// Connections whose live queries begin at once.
const AT_ONCE: usize = 16;

/// How long the server has to come to rest before its memory is looked at.
const REST: Duration = Duration::from_secs(2);

/// How the live queries lie on the connections: each has `each` of them, and so many of neighbouring ones have the same
/// room.
pub struct Layout {
    pub connections: usize,
    each: usize,
    pub rooms: usize,
}

impl Layout {
    pub fn of(options: &Options) -> Layout {
        let connections = options.subscribed_connections;
        let each = (options.subscriptions / connections).max(1);
        Layout { connections, each, rooms: (connections * each / options.touched).max(1) }
    }

    /// Rooms of a connection: no two are the same as long as a connection has fewer than there are.
    fn rooms_of(&self, connection: usize) -> impl Iterator<Item = usize> {
        let rooms = self.rooms;
        (0..self.each).map(move |at| (connection * self.each + at) % rooms)
    }

    /// What a connection says to begin its live queries.
    pub fn statements(&self, connection: usize) -> String {
        let mut sql = String::new();
        for room in self.rooms_of(connection) {
            // writing into a string cannot fail
            let _ =
                write!(sql, "SUBSCRIBE r{room} TO SELECT id, room, sent, body FROM live.many WHERE room = {room}; ");
        }
        sql
    }

    pub fn total(&self) -> usize {
        self.connections * self.each
    }
}

/// What inserts into one of the tables gave in a round.
struct Round {
    /// Microseconds of the thread that follows the commits, for an insert.
    matching: f64,
    /// Microseconds of all of the server, for an insert.
    processor: f64,
    /// Microseconds from sending an insert to the last of its events: half took no longer, and 99 of 100.
    p50: f64,
    p99: f64,
}

/// Inserts into one of the tables, and the events that come of them.
struct Lane {
    pid: u32,
    client: Client,
    statement: Statement,
    received: Arc<Tally>,
    /// Events of an insert.
    touched: u64,
    rooms: u64,
    random: Random,
    rounds: Vec<Round>,
}

impl Lane {
    async fn open(server: &Server, table: &str, rooms: usize, touched: usize) -> Lane {
        let client = server.client().await;
        let sql = format!("INSERT INTO live.{table} VALUES ($1, $2, $3, '{BODY}')");
        let statement = client.prepare(&sql).await.expect("the statement is prepared");
        let (received, random) = (Arc::default(), Random::new(1));
        let (touched, rooms) = (touched as u64, rooms as u64);
        Lane { pid: server.pid, client, statement, received, touched, rooms, random, rounds: Vec::new() }
    }

    async fn run(&mut self, length: Duration) -> Round {
        let (matching, processor) = (thread_time(self.pid, "live"), processor_time(self.pid));
        let start = Instant::now();
        let mut inserts = 0;
        let before = self.received.total();
        while start.elapsed() < length || inserts == 0 {
            let (room, stamp) = (self.random.below(self.rooms) as i64, self.received.stamp() as i64);
            self.client.execute(&self.statement, &[&stamp, &room, &stamp]).await.expect("a row is added");
            inserts += 1;
            self.received.wait_for(before + inserts * self.touched).await;
        }
        let [matching, processor] = [thread_time(self.pid, "live") - matching, processor_time(self.pid) - processor]
            .map(|time| time.as_secs_f64() * 1e6 / inserts as f64);
        // those of one insert are all there before the next is sent
        let times = self.received.times();
        let mut last: Vec<u32> =
            times.chunks(self.touched as usize).filter_map(|events| events.iter().max().copied()).collect();
        last.sort_unstable();
        Round { matching, processor, p50: quantile(&last, 0.5), p99: quantile(&last, 0.99) }
    }
}

/// Counts the beginnings in one tally and gives inserts to another.
fn heard(begun: &Arc<Tally>, received: &Arc<Tally>) -> impl FnMut(&[u8]) + Send + 'static {
    let (begun, received) = (begun.clone(), received.clone());
    move |payload| match event::kind(payload) {
        Event::Acknowledged => begun.count(),
        Event::Insert => received.take(event::number(payload, "\"sent\":")),
    }
}

/// Connects, and begins the live queries: the clients, and the bytes that the server grew by for each live query.
async fn subscribe(server: &Server, bench: &Bench, layout: &Layout, received: &Arc<Tally>) -> (Vec<Listening>, f64) {
    let begun = Arc::new(Tally::default());
    let mut clients: Vec<Listening> = Vec::new();
    for number in 0..layout.connections {
        let client = bench.ears.listen(server.login.clone(), number, heard(&begun, received));
        client.say("SELECT 1").await;
        clients.push(client);
    }
    tokio::time::sleep(REST).await;
    let before = anonymous_bytes(server.pid);
    let start = Instant::now();
    for (first, some) in (0..).step_by(AT_ONCE).zip(clients.chunks(AT_ONCE)) {
        let statements = (first..).zip(some).map(|(number, client)| client.say(&layout.statements(number)));
        join_all(statements).await;
    }
    begun.wait_for(layout.total() as u64).await;
    println!("{} live queries begun in {:.1} s", layout.total(), start.elapsed().as_secs_f64());
    tokio::time::sleep(REST).await;
    let bytes = anonymous_bytes(server.pid) as f64 - before as f64;
    (clients, bytes / layout.total() as f64)
}

/// The same number of live queries as an insert touches, over the other table.
async fn subscribe_few(server: &Server, bench: &Bench, received: &Arc<Tally>) -> Vec<Listening> {
    let begun = Arc::new(Tally::default());
    let mut clients = Vec::new();
    for number in 0..bench.options.touched {
        let client = bench.ears.listen(server.login.clone(), number, heard(&begun, received));
        client.say("SUBSCRIBE few TO SELECT id, room, sent, body FROM live.few WHERE room = 0").await;
        clients.push(client);
    }
    begun.wait_for(bench.options.touched as u64).await;
    clients
}

/// Begins all live queries and inserts into both tables in turn. A short round of each comes first and is not counted.
pub async fn measure(server: &Server, bench: &Bench) -> Vec<Row> {
    server.client().await.batch_execute(TABLES).await.expect("the tables are made");
    let (layout, touched) = (Layout::of(&bench.options), bench.options.touched);
    let mut lanes =
        [Lane::open(server, "many", layout.rooms, touched).await, Lane::open(server, "few", 1, touched).await];
    let (clients, bytes) = subscribe(server, bench, &layout, &lanes[0].received).await;
    let few = subscribe_few(server, bench, &lanes[1].received).await;
    for (length, counts) in lengths(bench.options.rounds, bench.options.round) {
        for lane in &mut lanes {
            let result = lane.run(length).await;
            if counts {
                lane.rounds.push(result);
            }
        }
    }
    let open = clients.iter().chain(&few).filter(|client| client.is_open()).count();
    assert_eq!(open, clients.len() + few.len(), "connections that are open");
    let mut rows = rows(&layout, bench, &lanes, bytes);
    drop((clients, few));
    rows.push(matching::measure(bench));
    rows
}

fn rows(layout: &Layout, bench: &Bench, [many, few]: &[Lane; 2], bytes: f64) -> Vec<Row> {
    let (total, connections, touched) = (layout.total(), layout.connections, bench.options.touched);
    let title = |what: &str| format!("{total} live queries on {connections} connections, {touched} touched: {what}");
    let figures = |lane: &Lane, figure: fn(&Round) -> f64| Figures(lane.rounds.iter().map(figure).collect());
    let row = |what: &str, figure: fn(&Round) -> f64, goal, note| Row {
        title: title(what),
        unit: "us",
        base: Some(Base { name: "only those that are touched", figures: figures(few, figure) }),
        figures: figures(many, figure),
        goal,
        note,
    };
    let median = |lane: &Lane, figure: fn(&Round) -> f64| figures(lane, figure).median();
    let matching = median(many, |round| round.matching) - median(few, |round| round.matching);
    let p99 = [many, few].map(|lane| median(lane, |round| round.p99));
    vec![
        row(
            "CPU of the reader of commits for an insert",
            |round| round.matching,
            Goal::None,
            format!("{matching:.1} us for all that are not touched"),
        ),
        row("CPU of the server for an insert", |round| round.processor, Goal::None, String::new()),
        row(
            "sending to the last event, p50",
            |round| round.p50,
            Goal::None,
            format!("p99 {:.0} : {:.0}", p99[0], p99[1]),
        ),
        Row {
            title: title("memory of a live query"),
            unit: "kB",
            base: None,
            figures: Figures(vec![bytes / 1024.0]),
            goal: Goal::AtMost(1.0),
            note: String::new(),
        },
    ]
}
