//! A server in the test's own process, on a data directory and a free port.

use super::client::Client;
use std::path::Path;
use std::sync::Arc;
use tertulia::config::Config;
use tertulia::env::SystemEnv;
use tertulia::server::{Server, runtime};
use tertulia::txn::Engine;
use tokio::runtime::Runtime;

/// The password of the superuser in these tests.
pub const PASSWORD: &str = "secret";

/// A server on a data directory and a free port.
pub struct Tertulia {
    runtime: Runtime,
    server: Option<Server>,
}

impl Tertulia {
    pub fn start(data: &Path, database: &str) -> Tertulia {
        Tertulia::start_with(data, database, |_| {})
    }

    /// With settings of its own.
    pub fn start_with(data: &Path, database: &str, set: impl FnOnce(&mut Config)) -> Tertulia {
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = Config {
            data: data.to_owned(),
            listen,
            map_size: 1 << 30,
            database: database.to_owned(),
            ..Config::default()
        };
        set(&mut config);
        let runtime = runtime(2).unwrap();
        let start = Server::start(config, Some(PASSWORD.to_owned()), Arc::new(SystemEnv::new()));
        let server = runtime.block_on(start).unwrap();
        Tertulia { runtime, server: Some(server) }
    }

    pub fn engine(&self) -> &Arc<Engine> {
        self.server.as_ref().unwrap().engine()
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.server.as_ref().unwrap().address()
    }
}

impl Drop for Tertulia {
    fn drop(&mut self) {
        let server = self.server.take().unwrap();
        self.runtime.block_on(server.shutdown()).unwrap();
    }
}

/// A server on an empty directory of its own.
pub struct World {
    pub server: Tertulia,
    _directory: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        World { server: Tertulia::start(directory.path(), "tertulia"), _directory: directory }
    }

    /// A session of the superuser.
    pub fn connect(&self) -> Client {
        self.connect_as("tertulia", PASSWORD)
    }

    pub fn connect_as(&self, user: &str, password: &str) -> Client {
        Client::connect(self.server.address(), user, password, "tertulia").unwrap()
    }
}
