//! A real PostgreSQL 15 beside the server, as the oracle: a cluster of its own in a temporary directory.

use super::client::Client;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set where a missing PostgreSQL is a failure and not a notice.
const REQUIRED: &str = "TERTULIA_REQUIRE_POSTGRES";
const BIN: &str = "/usr/lib/postgresql/15/bin";

pub struct Postgres {
    server: Child,
    pub address: SocketAddr,
    _directory: tempfile::TempDir,
}

/// User and group id of the first user that may run PostgreSQL: it refuses root.
fn unprivileged() -> Option<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let find = |name: &str| {
        let line = passwd.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody"))
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

fn command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(format!("{BIN}/{program}"));
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if is_root() {
        let (uid, gid) = unprivileged().expect("a user other than root");
        command.uid(uid).gid(gid);
    }
    command
}

impl Postgres {
    /// Starts a cluster that answers rightly and may lose everything; none where PostgreSQL 15 is not installed.
    pub fn start() -> Option<Postgres> {
        Postgres::start_with(&["timezone=UTC", "fsync=off"])
    }

    /// Starts a cluster with these settings; none, with a notice, where PostgreSQL 15 is not installed.
    pub fn start_with(settings: &[&str]) -> Option<Postgres> {
        if !PathBuf::from(BIN).join("initdb").exists() {
            assert!(std::env::var_os(REQUIRED).is_none(), "PostgreSQL 15 is required here and not installed");
            eprintln!("notice: PostgreSQL 15 is not installed; its side of this test is skipped");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            let (uid, gid) = unprivileged().expect("a user other than root");
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = directory.path().join("data");
        let made = command("initdb", directory.path())
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--auth=trust", "--username=postgres", "--no-sync", "-D"])
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success(), "initdb failed");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = command("postgres", directory.path())
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=127.0.0.1", "-p", &port.to_string(), "-k", ""])
            .args(settings.iter().flat_map(|setting| ["-c", *setting]))
            .spawn()
            .unwrap();
        let postgres = Postgres { server, address: ([127, 0, 0, 1], port).into(), _directory: directory };
        postgres.wait_until_ready();
        Some(postgres)
    }

    /// Its first process.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    fn wait_until_ready(&self) {
        let start = Instant::now();
        let ready = || {
            std::net::TcpStream::connect(self.address).is_ok()
                && Client::connect(self.address, "postgres", "", "postgres").is_ok()
        };
        while !ready() {
            assert!(start.elapsed() < Duration::from_secs(60), "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT's immediate shutdown is right for a cluster that nobody will open again.
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}
