//! A disk without room: statements fail with 53100, what was committed stands, reads go on, and writing goes on as soon
//! as there is room again.
//!
//! The disk is a small file system in memory, in a mount namespace of its own. Where the machine does not let a test
//! have one, the tests say so and pass.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::client::{Client, Event};
use support::process::{PASSWORD, Process, Running};

/// Bytes of the disk: without ballast there is room for two segments of the log and for what is in them in the store.
const DISK: &str = "size=240m";

/// A small disk, as long as this lives.
struct Disk {
    /// The process that keeps the namespace.
    keeper: Child,
    place: tempfile::TempDir,
}

impl Disk {
    /// Mounts it with so many MiB of ballast on it, which can be removed to make room; none where that is not allowed.
    fn mount(ballast: u32) -> Option<Disk> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().display();
        let script = format!(
            "mount -t tmpfs -o {DISK} tmpfs {path} && head -c {ballast}M /dev/zero > {path}/ballast && echo mounted && \
             exec sleep 600"
        );
        let unshare = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut keeper = unshare.ok()?;
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "mounted" {
            let mut why = String::new();
            keeper.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            eprintln!("a file system of one's own cannot be mounted here, nothing is tested: {why}");
            keeper.wait().unwrap();
            return None;
        }
        Some(Disk { keeper, place })
    }

    fn serve(&self, flags: &[&str]) -> Running {
        let mut command = Command::new("nsenter");
        command.args(["--user", "--mount", "--preserve-credentials", "--target", &self.keeper.id().to_string()]);
        command.arg(env!("CARGO_BIN_EXE_tertulia"));
        let started = Process::spawn_by(command, &self.place.path().join("data"), flags).ready();
        started.unwrap_or_else(|(status, log)| panic!("the server did not start: {status}\n{}", log.join("\n")))
    }

    /// Where a file of the disk is for those who have not mounted it.
    fn path(&self, name: &str) -> PathBuf {
        let inside = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        inside.join(self.place.path().join(name).strip_prefix(Path::new("/")).unwrap())
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn administrator(server: &Running) -> Client {
    Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap()
}

/// Inserts rows of these bytes until one is refused. How many were not.
fn fill(client: &mut Client, from: i64, bytes: usize) -> i64 {
    for id in from.. {
        let events = client.simple(&format!("INSERT INTO t VALUES ({id}, repeat('x', {bytes}))"));
        match &events[0] {
            Event::Tag(tag) => assert_eq!(tag, "INSERT 0 1"),
            Event::Error(report) => {
                assert_eq!(report.code, "53100", "{report:?}");
                return id - from;
            }
            other => panic!("{other:?}"),
        }
    }
    unreachable!("the disk is full at some time")
}

fn count(client: &mut Client) -> i64 {
    client.rows("SELECT count(*) FROM t WHERE length(body) > 0")[0][0].as_ref().unwrap().parse().unwrap()
}

/// Fills the disk, makes room and goes on; what was acknowledged is there, then and after kills.
fn fill_and_recover(ballast: u32, flags: &[&str], bytes: usize) {
    let Some(disk) = Disk::mount(ballast) else { return };
    let server = disk.serve(flags);
    let mut client = administrator(&server);
    client.run("CREATE TABLE t (id bigint PRIMARY KEY, body text)");
    let mut rows = fill(&mut client, 0, bytes);
    assert!(rows > 0);
    assert_eq!(count(&mut client), rows, "what was committed stands, and reads go on");
    rows += fill(&mut client, rows, bytes);
    server.kill();
    let server = disk.serve(flags);
    let mut client = administrator(&server);
    assert_eq!(count(&mut client), rows, "after a start on the full disk");
    rows += fill(&mut client, rows, bytes);
    disk.make_room();
    let mut patience = 1_000;
    while client.simple(&format!("INSERT INTO t VALUES ({rows}, repeat('y', {bytes}))"))[0]
        != Event::Tag("INSERT 0 1".into())
    {
        patience -= 1;
        assert!(patience > 0, "there is room, but nothing can be written");
        client.run("SELECT pg_sleep(0.02)");
    }
    rows += 1;
    assert_eq!(count(&mut client), rows);
    server.kill();
    let server = disk.serve(flags);
    assert_eq!(count(&mut administrator(&server)), rows, "after another kill");
    assert!(server.terminate().0.success());
}

#[test]
fn a_log_without_room_refuses_and_goes_on_when_there_is_some() {
    // one segment fits, and in the store what is in it
    fill_and_recover(100, &["--generation-bytes", "1MB"], 3_000_000);
}

#[test]
fn a_store_without_room_refuses_once_memory_is_full_and_goes_on_when_there_is_some() {
    // one segment fits, and in the store a part of what is in it
    let flags = ["--generation-bytes", "256kB", "--recent-bytes-max", "1MB"];
    fill_and_recover(150, &flags, 100_000);
}

#[test]
fn a_large_transaction_without_room_is_refused_alone_and_gives_back_what_it_took() {
    let Some(disk) = Disk::mount(100) else { return };
    let server = disk.serve(&[]);
    let mut client = administrator(&server);
    client.run("CREATE TABLE t (id bigint PRIMARY KEY, body text)");
    let rows = |from: i64, count: i64| {
        let to = from + count - 1;
        format!("INSERT INTO t SELECT g, repeat('x', 60000) FROM generate_series({from}, {to}) AS s(g)")
    };
    client.run(&rows(0, 10));
    // more than the disk has room for: as what the transaction spills, or as the file of its commit
    for count in [1_500, 700] {
        let report = client.failure(&rows(1_000, count));
        assert_eq!(report.code, "53100", "{count}: {report:?}");
        let left = || std::fs::read_dir(disk.path("data/bulk")).unwrap().count();
        let mut patience = 500;
        while left() > 0 {
            // the client hears of it before the transaction is taken apart
            patience -= 1;
            assert!(patience > 0, "{count}: {} files are left", left());
            // while the session itself is idle
            administrator(&server).run("SELECT pg_sleep(0.02)");
        }
        assert_eq!(self::count(&mut client), 10, "what was committed stands, and reads go on");
    }
    client.run("INSERT INTO t VALUES (10, 'a small one has room')");
    let kept = administrator(&server).simple("UPDATE t SET body = body || '!'");
    assert_eq!(kept[0], Event::Tag("UPDATE 11".into()));
    disk.make_room();
    client.run(&rows(1_000, 300));
    assert_eq!(count(&mut client), 311);
    server.kill();
    let server = disk.serve(&[]);
    assert_eq!(count(&mut administrator(&server)), 311, "after a kill");
    assert!(server.terminate().0.success());
}
