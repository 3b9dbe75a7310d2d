//! Subscribers that all come back at once after they have missed some events, and resume with `from_seq`: in one room,
//! where all missed the same, and with rows of their own, where each missed its own among those of all others.
//!
//! The time runs from the first connection to the last event at the last subscriber, login and all. Each subscriber looks
//! at every event: the rows must come in order, each once.

use crate::Bench;
use crate::common::listening::Listening;
use crate::common::process::Watch;
use crate::common::round::Figures;
use crate::common::servers::{Login, Server};
use crate::common::tally::Tally;
use crate::event::{self, Event};
use crate::row::{Goal, Row};
use crate::users;
use futures::future::join_all;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

const TABLES: &str = "CREATE SCHEMA live;
    CREATE TABLE live.room (id bigint PRIMARY KEY, body text NOT NULL) WITH (TYPE = 'SHARED');
    CREATE TABLE live.own (id bigint PRIMARY KEY, body text NOT NULL) WITH (TYPE = 'USER');
    GRANT USAGE ON SCHEMA live TO PUBLIC;
    GRANT SELECT ON live.room TO PUBLIC;
    GRANT SELECT ON live.own TO PUBLIC;";

const BODY: &str = "what somebody has to say, in a sentence or two of the usual length, as people write them in a chat";

/// Sessions that insert what is missed.
const WRITERS: usize = 64;

/// How long all may take to come back.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whose rows are missed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The same for all.
    Room,
    /// Each its own.
    Own,
}

impl Place {
    fn table(self) -> &'static str {
        match self {
            Place::Room => "live.room",
            Place::Own => "live.own",
        }
    }
}

/// What a subscriber remembers while it is away.
#[derive(Default)]
struct Subscriber {
    /// Position of its last event.
    seq: AtomicU64,
    /// The id that its next event must have.
    next: AtomicU64,
    /// What was not as it must be.
    wrong: Mutex<Option<String>>,
}

impl Subscriber {
    fn hear(&self, payload: &[u8], begun: &Tally, received: &Tally) {
        self.seq.store(event::number(payload, "\"seq\":"), Ordering::Relaxed);
        match event::kind(payload) {
            Event::Acknowledged => begun.count(),
            Event::Insert => {
                let id = event::number(payload, "\"id\":");
                let next = self.next.fetch_add(1, Ordering::Relaxed);
                if id != next {
                    self.wrong.lock().expect("nobody panics with it").get_or_insert(format!("{id} in place of {next}"));
                }
                received.count();
            }
        }
    }
}

/// All subscribers of a place, whether they are connected or not.
struct Crowd<'a> {
    server: &'a Server,
    bench: &'a Bench,
    place: Place,
    subscribers: Vec<Arc<Subscriber>>,
    writers: Vec<Client>,
    /// Rows that each has been told of.
    told: u64,
}

/// A coming back.
struct Return {
    /// Milliseconds.
    all: f64,
    /// Milliseconds until all were logged in and their live queries had begun.
    begun: f64,
    /// Events that came, and that should.
    events: (u64, u64),
    /// Processors that the client kept busy.
    client_load: f64,
}

impl Crowd<'_> {
    async fn new<'a>(server: &'a Server, bench: &'a Bench, place: Place) -> Crowd<'a> {
        let subscribers = (0..bench.options.returning).map(|_| Arc::default()).collect();
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(server.client().await);
        }
        Crowd { server, bench, place, subscribers, writers, told: 0 }
    }

    fn login(&self, number: usize) -> Login {
        users::login(self.server, number)
    }

    /// Connects all at once, each subscribed as `options` says; what is returned is there when all have begun.
    async fn connect(&self, received: &Arc<Tally>, resume: bool) -> Vec<Listening> {
        let begun = Arc::new(Tally::default());
        let mut clients = Vec::new();
        let mut answers = Vec::new();
        for (number, subscriber) in self.subscribers.iter().enumerate() {
            let options = match subscriber.seq.load(Ordering::Relaxed) {
                seq if resume => format!(" OPTIONS (from_seq = {seq})"),
                _ => String::new(),
            };
            let (subscriber, begun, received) = (subscriber.clone(), begun.clone(), received.clone());
            let heard = move |payload: &[u8]| subscriber.hear(payload, &begun, &received);
            let client = self.bench.ears.listen(self.login(number), number, heard);
            answers
                .push(client.say(&format!("SUBSCRIBE mine TO SELECT id, body FROM {}{options}", self.place.table())));
            clients.push(client);
        }
        join_all(answers).await;
        begun.wait_for(self.subscribers.len() as u64).await;
        clients
    }

    /// Commits what the subscribers miss, each row in a commit of its own.
    async fn miss(&mut self) {
        let (first, missed) = (self.told, self.bench.options.missed as u64);
        match self.place {
            Place::Room => {
                let insert = format!("INSERT INTO {} VALUES ($1, $2)", self.place.table());
                let insert = self.writers[0].prepare(&insert).await.expect("the statement is prepared");
                for id in first..first + missed {
                    self.writers[0].execute(&insert, &[&(id as i64), &BODY]).await.expect("a row is added");
                }
            }
            Place::Own => {
                let insert = format!("EXECUTE AS USER $1 ( INSERT INTO {} VALUES ($2, $3) )", self.place.table());
                let users = self.subscribers.len();
                join_all(self.writers.iter().enumerate().map(|(writer, client)| {
                    let insert = &insert;
                    async move {
                        let statement = client.prepare(insert).await.expect("the statement is prepared");
                        // users take turns, so that the rows of each lie far apart
                        for id in first..first + missed {
                            for user in (writer..users).step_by(WRITERS) {
                                let values: [&(dyn ToSql + Sync); 3] = [&users::name(user), &(id as i64), &BODY];
                                client.execute(&statement, &values).await.expect("a row is added");
                            }
                        }
                    }
                }))
                .await;
            }
        }
        self.told += missed;
    }

    /// All come back.
    async fn come_back(&self) -> Return {
        let received = Arc::new(Tally::default());
        let due = (self.subscribers.len() * self.bench.options.missed) as u64;
        let watch = Watch::start(self.server.pid);
        let start = Instant::now();
        let clients = self.connect(&received, true).await;
        let begun = start.elapsed();
        received.reaches(due, PATIENCE).await;
        let all = start.elapsed();
        let client_load = watch.read().1.as_secs_f64() / all.as_secs_f64();
        let open = clients.iter().filter(|client| client.is_open()).count();
        assert_eq!(open, clients.len(), "connections that are open");
        let [all, begun] = [all, begun].map(|time| time.as_secs_f64() * 1e3);
        Return { all, begun, events: (received.total(), due), client_load }
    }

    fn wrong(&self) -> Vec<String> {
        let found = |subscriber: &Arc<Subscriber>| subscriber.wrong.lock().expect("nobody panics with it").take();
        self.subscribers.iter().filter_map(found).collect()
    }
}

/// All subscribe and go away; then, round by round, they miss events, come back and go away.
pub async fn measure(server: &Server, bench: &Bench) -> Vec<Row> {
    let client = server.client().await;
    client.batch_execute(TABLES).await.expect("the tables are made");
    users::make(&client, bench.options.returning).await;
    let mut rows = Vec::new();
    for place in [Place::Room, Place::Own] {
        let mut crowd = Crowd::new(server, bench, place).await;
        drop(crowd.connect(&Arc::default(), false).await);
        let mut returns = Vec::new();
        for _ in 0..bench.options.rounds {
            crowd.miss().await;
            let back = crowd.come_back().await;
            let is_whole = back.events.0 == back.events.1;
            returns.push(back);
            if !is_whole {
                // they would come back to more and more
                break;
            }
        }
        rows.extend(table(&crowd, &returns));
    }
    rows
}

fn table(crowd: &Crowd, returns: &[Return]) -> Vec<Row> {
    let (count, missed) = (crowd.subscribers.len(), crowd.bench.options.missed);
    let whose = match crowd.place {
        Place::Room => "of one SHARED table",
        Place::Own => "of its own in a USER table",
    };
    let title =
        |what: &str| format!("{count} subscribers come back with from_seq, {missed} events {whose} each: {what}");
    let figures = |figure: fn(&Return) -> f64| Figures(returns.iter().map(figure).collect());
    let begun = figures(|one| one.begun).median();
    let load = figures(|one| one.client_load).median();
    let wrong = crowd.wrong();
    let first =
        wrong.first().map_or_else(String::new, |first| format!("; {} out of order, first {first}", wrong.len()));
    let (came, due) = returns.iter().fold((0, 0), |(came, due), one| (came + one.events.0, due + one.events.1));
    let share = if wrong.is_empty() { 100.0 * came as f64 / due as f64 } else { 0.0 };
    vec![
        Row {
            title: title("time"),
            unit: "ms",
            base: None,
            figures: figures(|one| one.all),
            goal: Goal::AtMost(2_000.0),
            note: format!("all begun after {begun:.0} ms; processors busy with the client {load:.2}"),
        },
        Row {
            title: title("events in order, each once"),
            unit: "%",
            base: None,
            figures: Figures(vec![share]),
            goal: Goal::AtLeast(100.0),
            note: format!("{came} of {due}{first}"),
        },
    ]
}
