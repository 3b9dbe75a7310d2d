//! The real server program as a process that tests start, kill and read the log of.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// The superuser's password of every data directory that these tests make.
pub const PASSWORD: &str = "secret";

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server program that has been started.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    /// What it has written to its log so far.
    pub log: Vec<String>,
}

/// A server that accepts connections.
pub struct Running {
    process: Process,
    pub address: SocketAddr,
}

impl Process {
    /// Starts `serve` on a data directory and a free port, with these flags besides.
    pub fn spawn(data: &Path, flags: &[&str]) -> Process {
        Process::spawn_by(program(), data, flags)
    }

    /// The same by a command that becomes the server.
    pub fn spawn_by(mut command: Command, data: &Path, flags: &[&str]) -> Process {
        without_settings(&mut command);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).args(flags);
        if !flags.contains(&"--map-size") {
            // what a test writes fits, and many servers at once find the address space
            command.args(["--map-size", "4GB"]);
        }
        let mut child = command
            .env("TERTULIA_PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server program is there");
        let (sender, lines): (Sender<String>, _) = channel();
        let output = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Process { child, lines, log: Vec::new() }
    }

    /// Waits until it accepts connections; the log where it ends instead.
    pub fn ready(mut self) -> Result<Running, (ExitStatus, Vec<String>)> {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            let address = line.split_once("ready to accept connections address=").map(|(_, rest)| {
                let address = rest.split_whitespace().next().unwrap();
                address.parse().expect("an address")
            });
            self.log.push(line);
            if let Some(address) = address {
                return Ok(Running { process: self, address });
            }
        }
        Err(self.ended())
    }

    /// SIGKILL, at whatever it is doing.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.ended().1
    }

    /// Waits for the end: the status and the whole log.
    fn ended(&mut self) -> (ExitStatus, Vec<String>) {
        // the log ends when the program does
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.log.push(line);
        }
        (self.child.wait().unwrap(), std::mem::take(&mut self.log))
    }
}

impl Running {
    /// Starts a server that must come up.
    pub fn start(data: &Path, flags: &[&str]) -> Running {
        let started = Process::spawn(data, flags).ready();
        started.unwrap_or_else(|(status, log)| panic!("the server did not start: {status}\n{}", log.join("\n")))
    }

    /// SIGKILL; the log.
    pub fn kill(self) -> Vec<String> {
        self.process.kill()
    }

    /// SIGTERM, and the end: the status and the log.
    pub fn terminate(mut self) -> (ExitStatus, Vec<String>) {
        self.signal("TERM");
        self.process.ended()
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.child.id().to_string()]).status();
        assert!(sent.unwrap().success(), "kill -{name}");
    }

    /// Bytes of memory that it has now.
    pub fn resident_bytes(&self) -> u64 {
        memory(self.id(), "VmRSS:")
    }

    /// What it has logged so far.
    pub fn log(&mut self) -> &[String] {
        while let Ok(line) = self.process.lines.try_recv() {
            self.process.log.push(line);
        }
        &self.process.log
    }
}

/// The program, whose settings are not those of the tests.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tertulia"));
    without_settings(&mut command);
    command
}

fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TERTULIA_") {
            command.env_remove(name);
        }
    }
}

/// Bytes of memory of a process's own, without the pages of its files.
pub fn own_bytes(process: u32) -> u64 {
    memory(process, "RssAnon:")
}

fn memory(process: u32, kind: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

impl Drop for Process {
    fn drop(&mut self) {
        // a test that failed leaves no server behind
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
