//! What the command line says.

use crate::common::arguments::{self, list, number, read_list, read_number};
use clap::{Arg, Command};
use std::path::PathBuf;
use std::time::Duration;

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Deliveries of notifications.
    Notify,
    /// From a notification's sending to its receipt.
    Latency,
    /// From an INSERT's sending to the receipt of its event.
    Insert,
    /// Many connections, each with a live query on its own rows.
    Connections,
    /// Many live queries over one table.
    Subscriptions,
    /// Many subscribers that come back.
    Reconnect,
}

impl Workload {
    const NAMES: [(&str, Workload); 6] = [
        ("notify", Workload::Notify),
        ("latency", Workload::Latency),
        ("insert", Workload::Insert),
        ("connections", Workload::Connections),
        ("subscriptions", Workload::Subscriptions),
        ("reconnect", Workload::Reconnect),
    ];

    fn named(name: &str) -> Result<Workload, String> {
        let found = Workload::NAMES.iter().find(|(known, _)| *known == name);
        let names = || Workload::NAMES.map(|(name, _)| name).join(", ");
        found.map(|(_, workload)| *workload).ok_or_else(|| format!("one of {}", names()))
    }
}

/// What is measured, on how much, for how long.
pub struct Options {
    only: Vec<Workload>,
    /// Rounds of each workload.
    pub rounds: usize,
    /// Length of a round.
    pub round: Duration,
    /// Listening sessions of the notifications.
    pub listeners: Vec<usize>,
    /// Sessions of the paced notifications.
    pub paced_listeners: usize,
    /// Paced notifications a second.
    pub pace: u32,
    /// Connections with a live query each.
    pub connections: usize,
    /// Inserts a second into their rows.
    pub rate: u32,
    /// Sessions that insert them.
    pub writers: usize,
    /// Live queries over one table.
    pub subscriptions: usize,
    /// Connections that they are on.
    pub subscribed_connections: usize,
    /// Those of them that an insert touches.
    pub touched: usize,
    /// Subscribers that come back.
    pub returning: usize,
    /// Events that each of them missed.
    pub missed: usize,
    /// Threads that read the sockets of listening clients.
    pub threads: usize,
    /// Where the results are written.
    pub out: PathBuf,
    /// The command line, for the report.
    pub command: String,
}

fn arguments() -> Command {
    let out = concat!(env!("CARGO_MANIFEST_DIR"), "/target/live");
    let only = Arg::new("only").long("only").value_delimiter(',').value_parser(Workload::named);
    Command::new("live")
        .about("Live rows and notifications, beside PostgreSQL 15 where it has the like")
        .arg(only.help("notify, latency, insert, connections, subscriptions, reconnect; all unless given"))
        .arg(number("rounds", "5", "rounds of each workload"))
        .arg(number("milliseconds", "3000", "length of a round"))
        .arg(list("listeners", "sessions that a notification goes to").default_value("1,10,100,500"))
        .arg(number("paced-listeners", "500", "sessions that the paced notifications go to"))
        .arg(number("pace", "20", "paced notifications a second"))
        .arg(number("connections", "10000", "connections, each with a live query on its own rows"))
        .arg(number("rate", "1000", "inserts a second into their rows"))
        .arg(number("writers", "16", "sessions that insert them"))
        .arg(number("subscriptions", "100000", "live queries over one table"))
        .arg(number("subscribed-connections", "1000", "connections that they are on"))
        .arg(number("touched", "10", "live queries that an insert touches, each of another connection"))
        .arg(number("returning", "1000", "subscribers that come back"))
        .arg(number("missed", "100", "events that each of them missed"))
        .arg(number("threads", "1", "threads that read the sockets of listening clients"))
        .arg(arguments::out(out))
        .arg(arguments::bench())
}

impl Options {
    /// Reads the command line; ends the program where it is wrong.
    pub fn read() -> Options {
        let matches = arguments().get_matches();
        let count = |name: &str| read_number(&matches, name).max(1) as usize;
        Options {
            only: matches.get_many::<Workload>("only").into_iter().flatten().copied().collect(),
            rounds: count("rounds"),
            round: Duration::from_millis(u64::from(read_number(&matches, "milliseconds"))),
            listeners: read_list(&matches, "listeners").unwrap_or_default(),
            paced_listeners: count("paced-listeners"),
            pace: read_number(&matches, "pace").max(1),
            connections: count("connections"),
            rate: read_number(&matches, "rate").max(1),
            writers: count("writers"),
            subscriptions: count("subscriptions"),
            subscribed_connections: count("subscribed-connections"),
            touched: count("touched"),
            returning: count("returning"),
            missed: count("missed"),
            threads: count("threads"),
            out: PathBuf::from(matches.get_one::<String>("out").expect("it has a default")),
            command: arguments::command("live"),
        }
    }

    /// Whether a workload is asked for.
    pub fn wants(&self, workload: Workload) -> bool {
        self.only.is_empty() || self.only.contains(&workload)
    }

    /// Sockets of listening clients that are open at once, at most.
    pub fn sockets(&self) -> usize {
        let listeners = self.listeners.iter().copied().chain([self.paced_listeners]).max().unwrap_or(0);
        let all = [
            (Workload::Notify, 2 * listeners),
            (Workload::Latency, 2 * listeners),
            (Workload::Insert, 8),
            (Workload::Connections, self.connections),
            (Workload::Subscriptions, self.subscribed_connections),
            (Workload::Reconnect, self.returning),
        ];
        all.into_iter().filter(|&(workload, _)| self.wants(workload)).map(|(_, sockets)| sockets).max().unwrap_or(0)
    }
}
