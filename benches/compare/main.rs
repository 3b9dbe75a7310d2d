//! Tertulia beside PostgreSQL 15: the same machine, disk, data and client, one workload after the other.
//!
//! `cargo bench --bench compare` starts both servers on loopback with durable defaults, loads the same rows into both,
//! and lets each workload run on them in turn, A B A B, so that whatever else the machine does meets both. A figure is
//! the median of its rounds; a ratio is the median of the rounds' own ratios. `-- --help` lists the options.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each benchmark uses its part")]
mod common;
mod data;
mod measure;
mod memory;
mod options;
mod report;
#[path = "../../tests/support/mod.rs"]
mod support;
mod workload;

use common::fanout::{self, Pace};
use common::listening::Ears;
use common::machine::Machine;
use common::servers;
use measure::Row;
use options::Options;
use workload::Workload;

fn main() {
    let options = Options::read();
    let Some((tertulia, postgres)) = servers::start() else { return };
    let ears = Ears::start(options.threads);
    let runtime = options.runtime();
    let servers = [runtime.block_on(tertulia.server()), runtime.block_on(postgres.server())];
    let machine = Machine::look();
    println!("{machine}");
    let mut rows = Vec::new();
    let memory = runtime.block_on(async {
        data::make_table(&servers).await;
        // first, while no allocator has memory left over from other work
        let wanted = options.wants(memory::TITLE);
        let memory = if wanted { Some(memory::measure(&servers, &options).await) } else { None };
        data::load(&servers, &options).await;
        for workload in Workload::ALL {
            for &clients in options.clients(workload) {
                let title = workload.title(clients);
                if options.wants(&title) {
                    rows.push(measure::workload(&servers, workload, clients, &options).await.told());
                }
            }
        }
        for &listeners in &options.listeners {
            for pace in [Pace::One, Pace::Flood] {
                let title = pace.title(listeners);
                if options.wants(&title) {
                    let length = (options.rounds, options.round);
                    let rounds = fanout::measure(&servers, &ears, pace, listeners, length).await;
                    rows.push(Row { title, rounds }.told());
                }
            }
        }
        memory
    });
    report::write(&machine, &servers, &rows, memory.as_ref(), &options);
}

impl Row {
    /// Prints the row as soon as it is there.
    fn told(self) -> Row {
        println!("{}", report::line(&self));
        self
    }
}
