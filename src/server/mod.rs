//! The server: a data directory, its engine, its threads and its socket, from start to shutdown.

mod password;
mod sessions;

use crate::config::Config;
use crate::env::{Env, SystemEnv};
use crate::error::{Error, Result, SqlState};
use crate::limits::{HANDSHAKES_MAX, PORTALS_MAX, STACK_BYTES};
use crate::live::Hub;
use crate::maintenance::Maintenance;
use crate::txn::{Engine, EngineOptions, RecoveryReport};
use crate::wire::Acceptor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// How long clients have to take their last message when the server ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// A server that runs.
pub struct Server {
    address: SocketAddr,
    engine: Arc<Engine>,
    hub: Arc<Hub>,
    maintenance: Maintenance,
    acceptor: Acceptor,
}

impl Server {
    /// Opens the data directory and begins to accept. `password` is the superuser's at the first start; without it one
    /// is made. Must be called within [`runtime`].
    pub async fn start(config: Config, password: Option<String>, env: Arc<dyn Env>) -> Result<Server> {
        // before the data directory: a port that is taken must not touch the data
        let listener = listen(config.listen, config.max_connections)?;
        let address = listener.local_addr()?;
        let options = EngineOptions {
            map_size: config.map_size,
            generation_bytes: config.generation_bytes,
            recent_bytes_max: config.recent_bytes_max,
            change_retention: config.change_retention,
            change_retention_bytes: config.change_retention_bytes,
            live_queries_per_user_max: config.live_queries_per_user_max,
            snapshot_age_max: config.snapshot_age_max,
            transaction_age_max: config.transaction_age_max,
            readers: readers(config.max_connections),
            ..EngineOptions::new(&config.data)
        };
        let (engine, recovery) = Engine::open(options, env)?;
        report(&recovery);
        password::ensure(&engine, &config.data, password)?;
        let maintenance = Maintenance::start(engine.clone())?;
        let hub = Arc::new(Hub::start(&engine)?);
        let converse = sessions::converse(&engine, &hub, &config)?;
        let acceptor = Acceptor::start(listener, &config, engine.clone(), converse);
        tracing::info!(%address, data = %config.data.display(), "ready to accept connections");
        Ok(Server { address, engine, hub, maintenance, acceptor })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its engine, for tests and tools in the same process.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Ends every session with 57P01 and closes the data directory; what was committed is in the log.
    pub async fn shutdown(self) -> Result<()> {
        self.acceptor.stop(SHUTDOWN_GRACE).await;
        self.hub.stop();
        self.maintenance.stop();
        self.engine.shutdown()?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Snapshots that sessions may hold at once: some for each, and what a session with all its portals open holds.
fn readers(connections: usize) -> u32 {
    u32::try_from(connections.saturating_mul(4).saturating_add(2 * PORTALS_MAX)).unwrap_or(u32::MAX)
}

/// Serves until SIGTERM or SIGINT.
pub fn run(config: Config, password: Option<String>) -> Result<()> {
    let runtime = runtime(config.worker_threads)?;
    let result = runtime.block_on(async {
        // before the start, so that a signal during a long recovery is not lost
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let server = Server::start(config, password, Arc::new(SystemEnv::new())).await?;
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!("received {name}, shutting down");
        server.shutdown().await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// The threads that a server runs on.
pub fn runtime(worker_threads: usize) -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads)
        .thread_name("worker")
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()?;
    Ok(runtime)
}

/// Begins to listen, with room for all clients to come at once: one that finds none tries again only after a second.
fn listen(address: SocketAddr, clients: usize) -> Result<TcpListener> {
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "connections from other machines are not encrypted");
    }
    // the kernel has a bound of its own (net.core.somaxconn)
    let backlog = u32::try_from(clients.saturating_add(HANDSHAKES_MAX)).unwrap_or(u32::MAX);
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog.min(i32::MAX as u32))
    };
    bound().map_err(|error| {
        let code = SqlState::CONNECTION_EXCEPTION;
        Error::new(code, format!("could not listen on {address}: {error}"))
            .hint("Is another server running there? Choose another address with --listen.")
    })
}

fn report(recovery: &RecoveryReport) {
    if let Some(cut) = &recovery.tail_cut {
        tracing::warn!("the commit log ended in an unfinished write, which was never acknowledged: {cut}");
    }
    if recovery.replayed > 0 {
        tracing::info!(commits = recovery.replayed, last = recovery.last.0, "replayed the commit log");
    }
}
