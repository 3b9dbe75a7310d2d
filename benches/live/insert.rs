//! From an INSERT to the event that it is for a live query, one subscriber, one row at a time.
//!
//! A time begins when the statement is sent, so that of a durable INSERT holds the flush of its commit. A NOTIFY alone
//! writes nothing and is not flushed, on either server; what an event costs over a notification is therefore seen where
//! both wait for the disk (the notification is sent by the INSERT's own commit) and where neither does (a STREAM table).

use crate::Bench;
use crate::common::listening::Listening;
use crate::common::process::Watch;
use crate::common::round::{Figures, Round, lengths};
use crate::common::servers::Server;
use crate::common::tally::Tally;
use crate::event::{self, Event};
use crate::row::{Base, Goal, Row, postgres};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Statement};

const BODY: &str = "what somebody has to say, in a sentence of the usual length";

const TERTULIA: &str = "CREATE SCHEMA live;
    CREATE TABLE live.notes (sent bigint PRIMARY KEY, body text NOT NULL) WITH (TYPE = 'SHARED');
    CREATE TABLE live.plain (sent bigint PRIMARY KEY, body text NOT NULL) WITH (TYPE = 'SHARED');
    CREATE TABLE live.fleeting (sent bigint PRIMARY KEY, body text NOT NULL) WITH (TYPE = 'STREAM', TTL_SECONDS = 10);";

const POSTGRES: &str = "CREATE SCHEMA live;
    CREATE TABLE live.notes (sent bigint PRIMARY KEY, body text NOT NULL);
    CREATE FUNCTION live.tell() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_notify('notes', row_to_json(NEW)::text); RETURN NULL; END $$;
    CREATE TRIGGER tell AFTER INSERT ON live.notes FOR EACH ROW EXECUTE FUNCTION live.tell();";

/// What a lane's subscriber asks for, and what its sender sends; its parameters are the stamp and, where it writes a
/// row, the body.
struct Path {
    listen: &'static str,
    send: &'static str,
    is_live: bool,
}

const EVENT: Path = Path {
    listen: "SUBSCRIBE notes TO SELECT sent, body FROM live.notes",
    send: "INSERT INTO live.notes VALUES ($1, $2)",
    is_live: true,
};

const TRIGGER: Path = Path { listen: "LISTEN notes", send: "INSERT INTO live.notes VALUES ($1, $2)", is_live: false };

const INSERT_AND_NOTIFY: Path = Path {
    listen: "LISTEN plain",
    send: "INSERT INTO live.plain VALUES ($1, $2) RETURNING pg_notify('plain', \
           '{\"sent\":' || sent::text || ',\"body\":\"' || body || '\"}')",
    is_live: false,
};

const FLEETING_EVENT: Path = Path {
    listen: "SUBSCRIBE fleeting TO SELECT sent, body FROM live.fleeting",
    send: "INSERT INTO live.fleeting VALUES ($1, $2)",
    is_live: true,
};

const NOTIFY: Path = Path {
    listen: "LISTEN alone",
    send: "SELECT pg_notify('alone', '{\"sent\":' || $1::bigint::text || ',\"body\":\"' || $2::text || '\"}')",
    is_live: false,
};

/// A sender and a subscriber.
struct Lane {
    pid: u32,
    sender: Client,
    statement: Statement,
    received: Arc<Tally>,
    _subscriber: Listening,
    rounds: Vec<Round>,
}

impl Lane {
    async fn open(server: &Server, bench: &Bench, path: &Path) -> Lane {
        let received = Arc::new(Tally::default());
        let (taken, is_live) = (received.clone(), path.is_live);
        let heard = move |payload: &[u8]| {
            if !is_live || event::kind(payload) == Event::Insert {
                taken.take(event::number(payload, "\"sent\":"));
            }
        };
        let subscriber = bench.ears.listen(server.login.clone(), 0, heard);
        subscriber.say(path.listen).await;
        let sender = server.client().await;
        let statement = sender.prepare(path.send).await.expect("the statement is prepared");
        Lane { pid: server.pid, sender, statement, received, _subscriber: subscriber, rounds: Vec::new() }
    }

    async fn run(&self, length: Duration) -> Round {
        let watch = Watch::start(self.pid);
        let start = Instant::now();
        let mut sent = self.received.total();
        while start.elapsed() < length {
            let stamp = self.received.stamp() as i64;
            self.sender.query(&self.statement, &[&stamp, &BODY]).await.expect("it is sent");
            sent += 1;
            self.received.wait_for(sent).await;
        }
        let elapsed = start.elapsed();
        Round::of(self.received.times(), elapsed, &watch)
    }

    fn p50(&self) -> Figures {
        Figures::of(&self.rounds, |round| round.p50)
    }

    fn p99(&self) -> f64 {
        Figures::of(&self.rounds, |round| round.p99).median()
    }
}

/// Measures all paths in turn. A short round of each comes first and is not counted.
pub async fn measure(servers: &[Server; 2], bench: &Bench) -> Vec<Row> {
    let [ours, theirs] = servers;
    ours.client().await.batch_execute(TERTULIA).await.expect("tables");
    theirs.client().await.batch_execute(POSTGRES).await.expect("a table and its trigger");
    let mut lanes = Vec::new();
    for (server, path) in
        [(ours, EVENT), (theirs, TRIGGER), (ours, INSERT_AND_NOTIFY), (ours, FLEETING_EVENT), (ours, NOTIFY)]
    {
        lanes.push(Lane::open(server, bench, &path).await);
    }
    for (length, counts) in lengths(bench.options.rounds, bench.options.round) {
        for lane in &mut lanes {
            let result = lane.run(length).await;
            if counts {
                lane.rounds.push(result);
            }
        }
    }
    let [event, trigger, both, fleeting, notify] = &lanes[..] else { panic!("five lanes") };
    rows(event, trigger, both, fleeting, notify)
}

fn rows(event: &Lane, trigger: &Lane, both: &Lane, fleeting: &Lane, notify: &Lane) -> Vec<Row> {
    let here = |name: &'static str, lane: &Lane| Some(Base { name, figures: lane.p50() });
    let row = |what: &str, lane: &Lane, base: Option<Base>, against: f64, goal: Goal| Row {
        title: format!("{what} to the event of a live query, one subscriber, p50"),
        unit: "us",
        base,
        figures: lane.p50(),
        goal,
        note: format!("p99 {:.0} : {against:.0}", lane.p99()),
    };
    vec![
        row("durable INSERT", event, postgres(trigger.p50()), trigger.p99(), Goal::Within(1.0)),
        row("durable INSERT", event, here("INSERT and NOTIFY in one commit here", both), both.p99(), Goal::Within(1.2)),
        row("INSERT into a STREAM table", fleeting, here("NOTIFY here", notify), notify.p99(), Goal::Within(1.2)),
        row("durable INSERT", event, here("NOTIFY here, not flushed", notify), notify.p99(), Goal::None),
    ]
}
