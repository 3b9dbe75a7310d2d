//! What the command line says.

use crate::common::arguments::{self, list, number, read_list, read_number};
use crate::workload::Workload;
use clap::{Arg, ArgAction, Command};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How the comparison is made.
pub struct Options {
    /// Rows loaded before anything is measured.
    pub rows: i64,
    /// Conversations that they belong to.
    pub conversations: i64,
    /// Rounds of each workload on each server.
    pub rounds: usize,
    /// Length of a round.
    pub round: Duration,
    /// Listening sessions of the fan-outs.
    pub listeners: Vec<usize>,
    /// Idle connections whose memory is measured.
    pub connections: usize,
    /// Where the tables are written.
    pub out: PathBuf,
    clients: Option<Vec<usize>>,
    only: Vec<String>,
    /// Threads of the client.
    pub threads: usize,
    /// The command line, for the report.
    pub command: String,
}

impl Options {
    /// Reads the command line; ends the program where it is wrong.
    pub fn read() -> Options {
        let out = concat!(env!("CARGO_MANIFEST_DIR"), "/target/compare");
        let matches = Command::new("compare")
            .about("Tertulia beside PostgreSQL 15")
            .arg(number("rows", "100000", "rows loaded before anything is measured"))
            .arg(number("conversations", "1000", "conversations that they belong to"))
            .arg(number("rounds", "5", "rounds of each workload on each server"))
            .arg(number("milliseconds", "2000", "length of a round"))
            .arg(list("clients", "clients of each workload, in place of its own"))
            .arg(list("listeners", "sessions that a notification goes to").default_value("100,500"))
            .arg(number("connections", "500", "idle connections whose memory is measured"))
            .arg(number("threads", "1", "threads of the client"))
            .arg(
                Arg::new("only")
                    .long("only")
                    .action(ArgAction::Append)
                    .help("workloads whose titles hold one of these"),
            )
            .arg(arguments::out(out))
            .arg(arguments::bench())
            .get_matches();
        let number = |name: &str| read_number(&matches, name);
        let list = |name: &str| read_list(&matches, name);
        Options {
            rows: i64::from(number("rows")),
            conversations: i64::from(number("conversations")).max(1),
            rounds: number("rounds").max(1) as usize,
            round: Duration::from_millis(u64::from(number("milliseconds"))),
            listeners: list("listeners").unwrap_or_default(),
            connections: number("connections") as usize,
            out: PathBuf::from(matches.get_one::<String>("out").expect("it has a default")),
            clients: list("clients"),
            only: matches.get_many::<String>("only").into_iter().flatten().cloned().collect(),
            threads: number("threads") as usize,
            command: arguments::command("compare"),
        }
    }

    /// Whether a row of the table is asked for.
    pub fn wants(&self, title: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| title.contains(part.as_str()))
    }

    /// With how many clients a workload runs.
    pub fn clients(&self, workload: Workload) -> &[usize] {
        self.clients.as_deref().unwrap_or(workload.clients())
    }

    /// The client's threads. One alone spends nothing on waking the others.
    pub fn runtime(&self) -> Runtime {
        let mut builder = match self.threads {
            0 | 1 => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        builder.worker_threads(self.threads.max(1)).enable_all().build().expect("threads for the client")
    }
}
