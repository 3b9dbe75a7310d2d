//! The two servers, and the data that both get.

use crate::options::Options;
use crate::support::postgres::Postgres;
use crate::support::process::{PASSWORD, Running};
use crate::support::random::Random;
use std::net::SocketAddr;
use std::time::Instant;
use tokio_postgres::{Client, Config, Connection, NoTls, Socket, tls::NoTlsStream};

/// PostgreSQL as its users tune it, and enough connections; the rest are its defaults, durability with them.
pub const POSTGRES_SETTINGS: &[&str] =
    &["shared_buffers=1GB", "max_wal_size=4GB", "max_connections=1000", "timezone=UTC"];

/// Tertulia with its defaults but for the address space of its map, which costs nothing and is enough for these loads.
pub const TERTULIA_FLAGS: &[&str] = &["--map-size", "64GB"];

/// Bytes of a message.
pub const BODY_BYTES: u64 = 200;

/// Rows of one INSERT while loading.
const LOAD_ROWS: i64 = 500;

/// Tertulia's own process and its directory.
pub struct Tertulia {
    process: Running,
    _directory: tempfile::TempDir,
}

/// A server as a client knows it.
pub struct Server {
    /// Its column in the table.
    pub name: &'static str,
    /// What it says it is.
    pub version: String,
    /// Its first process.
    pub pid: u32,
    config: Config,
}

/// Starts both; none where PostgreSQL is not installed.
pub fn start() -> Option<(Tertulia, Postgres)> {
    let postgres = Postgres::start_with(POSTGRES_SETTINGS)?;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let process = Running::start(&directory.path().join("data"), TERTULIA_FLAGS);
    Some((Tertulia { process, _directory: directory }, postgres))
}

impl Tertulia {
    /// As a client knows it.
    pub async fn server(&self) -> Server {
        let config = config(self.process.address, "tertulia", PASSWORD, "tertulia");
        Server::connect("Tertulia", self.process.id(), config).await
    }
}

impl Postgres {
    /// As a client knows it.
    pub async fn server(&self) -> Server {
        Server::connect("PostgreSQL", self.id(), config(self.address, "postgres", "", "postgres")).await
    }
}

fn config(address: SocketAddr, user: &str, password: &str, database: &str) -> Config {
    let mut config = Config::new();
    config.host(address.ip().to_string()).port(address.port()).user(user).password(password).dbname(database);
    config
}

impl Server {
    async fn connect(name: &'static str, pid: u32, config: Config) -> Server {
        let mut server = Server { name, version: String::new(), pid, config };
        let row = server.client().await.query_one("SHOW server_version", &[]).await.expect("a version");
        server.version = row.get(0);
        server
    }

    /// A connection whose messages the caller looks after.
    pub async fn open(&self) -> (Client, Connection<Socket, NoTlsStream>) {
        self.config.connect(NoTls).await.expect("the server takes a connection")
    }

    /// A connection.
    pub async fn client(&self) -> Client {
        let (client, connection) = self.open().await;
        tokio::spawn(connection);
        client
    }
}

/// Makes the table on both.
pub async fn make_table(servers: &[Server; 2]) {
    for server in servers {
        let own = if server.name == "Tertulia" { " WITH (TYPE = 'SHARED')" } else { "" };
        let table = format!(
            "CREATE SCHEMA bench; CREATE TABLE bench.messages (conversation_id bigint NOT NULL, id bigint NOT NULL, \
             body text NOT NULL, PRIMARY KEY (conversation_id, id)){own}"
        );
        server.client().await.batch_execute(&table).await.expect("the table is made");
    }
}

/// Loads the same rows into both.
pub async fn load(servers: &[Server; 2], options: &Options) {
    for server in servers {
        let start = Instant::now();
        let client = server.client().await;
        let mut random = Random::new(1);
        let mut row = 0;
        while row < options.rows {
            let end = (row + LOAD_ROWS).min(options.rows);
            let values: Vec<String> = (row..end)
                .map(|row| {
                    let (conversation, id) = key(row, options.conversations);
                    format!("({conversation}, {id}, '{}')", random.text(BODY_BYTES, BODY_BYTES))
                })
                .collect();
            let insert = format!("INSERT INTO bench.messages VALUES {}", values.join(", "));
            client.batch_execute(&insert).await.expect("the rows are loaded");
            row = end;
        }
        if server.name == "PostgreSQL" {
            client.batch_execute("VACUUM ANALYZE bench.messages").await.expect("the table is analysed");
            client.batch_execute("CHECKPOINT").await.expect("a checkpoint");
        }
        println!("{}: {} rows loaded in {:.1} s", server.name, options.rows, start.elapsed().as_secs_f64());
    }
}

/// Conversation and id of a loaded row: conversations grow side by side.
pub fn key(row: i64, conversations: i64) -> (i64, i64) {
    (row % conversations, row / conversations)
}
