//! The server that the demonstration runs against: one of its own in a temporary directory, or another by its URL.

use super::client::{Client, LIMIT};
use crate::config::Config;
use crate::env::Env;
use crate::error::{Error, Result, SqlState};
use crate::server::Server;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A demonstration also runs where address space is scarce.
const MAP_SIZE: usize = 1 << 30;

/// A server, and how to connect to it.
pub struct Target {
    administrator: tokio_postgres::Config,
    embedded: Option<Embedded>,
    env: Arc<dyn Env>,
}

struct Embedded {
    server: Server,
    directory: TemporaryDirectory,
}

impl Target {
    /// Starts a server in a temporary directory, or takes the one that `url` names.
    pub async fn open(url: Option<&str>, env: Arc<dyn Env>) -> Result<Target> {
        let Some(url) = url else { return Target::embedded(env).await };
        let mut administrator: tokio_postgres::Config = url.parse().map_err(|error| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("\"{url}\" is not the URL of a server"))
                .detail(format!("{error}"))
                .hint("A URL is postgres://user:password@host:port/database.")
        })?;
        administrator.connect_timeout(LIMIT);
        Ok(Target { administrator, embedded: None, env })
    }

    async fn embedded(env: Arc<dyn Env>) -> Result<Target> {
        let directory = TemporaryDirectory::create(env.as_ref())?;
        let password = secret(env.as_ref());
        let config = Config {
            data: directory.path.join("data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            map_size: MAP_SIZE,
            ..Config::default()
        };
        let database = config.database.clone();
        let server = Server::start(config, Some(password.clone()), env.clone()).await?;
        let mut administrator = tokio_postgres::Config::new();
        administrator
            .host(server.address().ip().to_string())
            .port(server.address().port())
            .user("tertulia")
            .password(password)
            .dbname(database)
            .connect_timeout(LIMIT);
        Ok(Target { administrator, embedded: Some(Embedded { server, directory }), env })
    }

    /// What it is, in a few words.
    pub fn describe(&self) -> String {
        match &self.embedded {
            Some(Embedded { server, directory }) => {
                format!("a server of its own on {}, data in {}", server.address(), directory.path.display())
            }
            None => {
                let hosts = self.administrator.get_hosts().iter().map(|host| match host {
                    tokio_postgres::config::Host::Tcp(name) => name.clone(),
                    tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
                });
                format!("the server on {}", hosts.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Whether what the demonstration makes would be left behind.
    pub fn outlives_the_demo(&self) -> bool {
        self.embedded.is_none()
    }

    /// A password that nobody can guess.
    pub fn new_password(&self) -> String {
        secret(self.env.as_ref())
    }

    /// A connection of the one who sets up.
    pub async fn connect_as_administrator(&self) -> Result<Client> {
        Client::connect("the administrator", &self.administrator).await
    }

    /// A connection of a role with its password.
    pub async fn connect(&self, role: &str, password: &str) -> Result<Client> {
        let mut config = self.administrator.clone();
        config.user(role).password(password).application_name("tertulia demo");
        Client::connect(role, &config).await
    }

    /// Ends the embedded server and removes its directory; any other is left as it is.
    pub async fn close(self) -> Result<()> {
        let Some(Embedded { server, directory }) = self.embedded else { return Ok(()) };
        let stopped = server.shutdown().await;
        stopped.and(directory.remove())
    }
}

fn secret(env: &dyn Env) -> String {
    format!("{:016x}{:016x}", env.random_u64(), env.random_u64())
}

/// A directory that is removed with everything in it, at the latest when it is dropped.
struct TemporaryDirectory {
    path: PathBuf,
}

impl TemporaryDirectory {
    fn create(env: &dyn Env) -> Result<TemporaryDirectory> {
        let path = std::env::temp_dir().join(format!("tertulia-demo-{:016x}", env.random_u64()));
        std::fs::create_dir(&path).map_err(|error| cannot("create", &path, &error))?;
        Ok(TemporaryDirectory { path })
    }

    fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.path).map_err(|error| cannot("remove", &self.path, &error))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // after remove() there is nothing left, and nobody to tell
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::new(SqlState::IO_ERROR, format!("could not {what} directory \"{}\": {error}", path.display()))
}
