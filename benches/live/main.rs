//! Live rows and notifications: beside PostgreSQL 15 where it has the like, against bounds where it has not.
//!
//! `cargo bench --bench live` starts both servers on loopback with durable defaults and lets each workload run on them in
//! turn, A B A B; the workloads of thousands of live queries run on Tertulia alone, each on a new server. Listening
//! clients read their sockets raw, on a thread that does nothing else (`--threads`), and whoever sends has one of its own.
//! A figure is the median of the rounds, a ratio the median of the rounds' own ratios. `-- --help` lists the options.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each benchmark uses its part")]
mod common;
mod connections;
mod event;
mod files;
mod insert;
mod matching;
mod notify;
mod options;
mod reconnect;
mod report;
mod row;
mod subscriptions;
#[path = "../../tests/support/mod.rs"]
mod support;
mod users;

use common::listening::Ears;
use common::machine::Machine;
use common::servers::{self, Server, Tertulia};
use options::{Options, Workload};
use row::Row;

/// What a workload needs beside its servers.
pub struct Bench {
    /// The command line.
    pub options: Options,
    /// The listening clients.
    pub ears: Ears,
}

fn main() {
    let options = Options::read();
    files::raise_limit(options.sockets());
    let machine = Machine::look();
    println!("{machine}");
    let ears = Ears::start(options.threads);
    let bench = Bench { options, ears };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a thread for whoever sends");
    let rows = runtime.block_on(bench.run());
    report::write(&machine, &rows, &bench.options);
}

impl Bench {
    async fn run(&self) -> Vec<Row> {
        let mut rows = self.beside_postgres().await;
        for workload in [Workload::Connections, Workload::Subscriptions, Workload::Reconnect] {
            if !self.options.wants(workload) {
                continue;
            }
            let (_process, server) = self.alone().await;
            let more = match workload {
                Workload::Connections => connections::measure(&server, self).await,
                Workload::Subscriptions => subscriptions::measure(&server, self).await,
                _ => reconnect::measure(&server, self).await,
            };
            more.iter().for_each(Row::tell);
            rows.extend(more);
        }
        rows
    }

    /// The workloads that both servers have.
    async fn beside_postgres(&self) -> Vec<Row> {
        let wanted = [Workload::Notify, Workload::Latency, Workload::Insert];
        if !wanted.into_iter().any(|workload| self.options.wants(workload)) {
            return Vec::new();
        }
        let Some((tertulia, postgres)) = servers::start() else { return Vec::new() };
        let servers = [tertulia.server().await, postgres.server().await];
        let mut rows = Vec::new();
        for workload in wanted.into_iter().filter(|&workload| self.options.wants(workload)) {
            let more = match workload {
                Workload::Notify => notify::deliveries(&servers, self).await,
                Workload::Latency => notify::latency(&servers, self).await,
                _ => insert::measure(&servers, self).await,
            };
            more.iter().for_each(Row::tell);
            rows.extend(more);
        }
        rows
    }

    /// Tertulia, with room for all connections, and for all live queries of the one user whose they are.
    async fn alone(&self) -> (Tertulia, Server) {
        let connections = (self.options.sockets() + 100).to_string();
        let live = (self.options.subscriptions + 100).to_string();
        let room = ["--max-connections", &connections, "--live-queries-per-user-max", &live];
        let process = Tertulia::start(&[servers::TERTULIA_FLAGS, &room].concat());
        let server = process.server().await;
        (process, server)
    }
}
