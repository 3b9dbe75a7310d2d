//! Folding and backpressure over a long time: inserts, updates and deletes at full speed on a table of any size.
//!
//! `cargo bench --bench endurance -- --rows 1000000 --minutes 30` starts a server with durable defaults, loads the rows,
//! lets the clients work, and writes a line for each second (`endurance.csv`), a plot (`endurance.svg`) and the figures
//! (`endurance.md`): rate, latencies, memory, sizes of the files. `-- --help` lists the options.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each benchmark uses its part")]
mod common;
mod load;
mod options;
mod plot;
mod report;
mod sample;
#[path = "../../tests/support/mod.rs"]
mod support;

use common::machine::Machine;
use options::Options;
use sample::Sampler;
use std::time::{Duration, Instant};
use support::process::Running;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

fn main() {
    let options = Options::read();
    let machine = Machine::look();
    println!("{machine}");
    let directory = tempfile::tempdir_in(&options.place).expect("a temporary directory");
    let data = directory.path().join("data");
    let flags: Vec<&str> = options.flags.iter().map(String::as_str).collect();
    let server = Running::start(&data, &flags);
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a thread for the client");
    let samples = LocalSet::new().block_on(&runtime, async {
        load::fill(&server, &options).await;
        let mut sampler = Sampler::start(server.id(), &data);
        let end = Instant::now() + options.duration;
        let clients = load::clients(&server, &options, end).await;
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sampler.take(&clients);
        }
        for client in clients.tasks {
            client.await.expect("a client works until the end");
        }
        sampler.finish()
    });
    let (status, log) = server.terminate();
    assert!(status.success(), "{status}");
    let alarms: Vec<&String> = log.iter().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    assert!(alarms.is_empty(), "the server complained: {alarms:#?}");
    report::write(&machine, &samples, &options);
}
