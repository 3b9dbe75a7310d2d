//! The two servers, and how clients come to them.

use crate::support::postgres::Postgres;
use crate::support::process::{PASSWORD, Running};
use std::net::SocketAddr;
use tokio_postgres::{Client, Config, NoTls};

/// PostgreSQL as its users tune it, and enough connections; the rest are its defaults, durability with them.
pub const POSTGRES_SETTINGS: &[&str] =
    &["shared_buffers=1GB", "max_wal_size=4GB", "max_connections=1000", "timezone=UTC"];

/// Tertulia with its defaults but for the address space of its map, which costs nothing and is enough for these loads.
pub const TERTULIA_FLAGS: &[&str] = &["--map-size", "64GB"];

/// Tertulia's own process and its directory.
pub struct Tertulia {
    process: Running,
    _directory: tempfile::TempDir,
}

/// Where a client connects, and as whom.
#[derive(Clone)]
pub struct Login {
    /// Of the server.
    pub address: SocketAddr,
    /// The role.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The database.
    pub database: String,
}

/// A server as a client knows it.
pub struct Server {
    /// Its column in the table.
    pub name: &'static str,
    /// What it says it is.
    pub version: String,
    /// Its first process.
    pub pid: u32,
    /// Its superuser's.
    pub login: Login,
}

/// Starts both; none where PostgreSQL is not installed.
pub fn start() -> Option<(Tertulia, Postgres)> {
    let postgres = Postgres::start_with(POSTGRES_SETTINGS)?;
    Some((Tertulia::start(TERTULIA_FLAGS), postgres))
}

impl Tertulia {
    /// Starts one with these flags on a directory of its own.
    pub fn start(flags: &[&str]) -> Tertulia {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let process = Running::start(&directory.path().join("data"), flags);
        Tertulia { process, _directory: directory }
    }

    /// As a client knows it.
    pub async fn server(&self) -> Server {
        let login = Login::new(self.process.address, "tertulia", PASSWORD, "tertulia");
        Server::connect("Tertulia", self.process.id(), login).await
    }
}

impl Postgres {
    /// As a client knows it.
    pub async fn server(&self) -> Server {
        Server::connect("PostgreSQL", self.id(), Login::new(self.address, "postgres", "", "postgres")).await
    }
}

impl Login {
    fn new(address: SocketAddr, user: &str, password: &str, database: &str) -> Login {
        let [user, password, database] = [user, password, database].map(str::to_owned);
        Login { address, user, password, database }
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        config.host(self.address.ip().to_string()).port(self.address.port());
        config.user(&self.user).password(&self.password).dbname(&self.database);
        config
    }
}

impl Server {
    async fn connect(name: &'static str, pid: u32, login: Login) -> Server {
        let mut server = Server { name, version: String::new(), pid, login };
        let row = server.client().await.query_one("SHOW server_version", &[]).await.expect("a version");
        server.version = row.get(0);
        server
    }

    /// A connection.
    pub async fn client(&self) -> Client {
        let (client, connection) = self.login.config().connect(NoTls).await.expect("the server takes a connection");
        tokio::spawn(connection);
        client
    }
}
