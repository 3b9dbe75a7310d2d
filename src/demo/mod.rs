//! The demonstration: the chat workload as its users live it, with real clients over TCP and nothing else.
//!
//! Two users and an AI worker, each with connections of its own, against an embedded server in a temporary directory or
//! any other by its URL. What happens is printed as it happens; each thing that must happen has a time limit, and the
//! first one that does not ends the demonstration with an error. It uses only what any client can: no call goes past
//! the socket.
//!
//! In reading order: `target` is the server, `schema` the tables, `client` a connection, `live` what live rows
//! say, `user` a person with two screens, `worker` what answers them, `act` the play, `report` what is printed.

mod act;
mod client;
mod live;
mod report;
mod schema;
mod script;
mod target;
mod user;
mod worker;

use crate::env::SystemEnv;
use crate::error::{Error, Result, SqlState};
use crate::server::runtime;
use report::Report;
use std::sync::Arc;
use std::time::Duration;
use target::Target;
use tokio::signal::unix::{SignalKind, signal};

/// Threads for the clients and the embedded server together.
const WORKER_THREADS: usize = 4;

/// Runs the chat workload against `url`, or against an embedded server.
pub fn run(url: Option<&str>) -> Result<()> {
    let runtime = runtime(WORKER_THREADS)?;
    let result = runtime.block_on(async {
        let target = Target::open(url, Arc::new(SystemEnv::new())).await?;
        let played = tokio::select! {
            played = play(&target) => played,
            error = interrupted() => Err(error),
        };
        // the server ends and its directory goes whatever became of the play; the first error is the one to tell
        let closed = target.close().await;
        played.and(closed)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Waits for SIGINT or SIGTERM, so that the directory goes then too.
async fn interrupted() -> Error {
    let wait = async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            result = tokio::signal::ctrl_c() => result,
        }
    };
    match wait.await {
        Ok(()) => Error::new(SqlState::QUERY_CANCELED, "the demo was interrupted"),
        Err(error) => Error::from(error),
    }
}

async fn play(target: &Target) -> Result<()> {
    let report = Report::start(target);
    let mut admin = target.connect_as_administrator().await?;
    let cast = schema::create(&mut admin, target, &report).await?;
    let played = act::play(target, &admin, &cast, &report).await;
    let left = if target.outlives_the_demo() { schema::remove(&admin).await } else { Ok(()) };
    played.and(left)?;
    report.summary();
    Ok(())
}
