//! A sync that the disk fails: what is written afterwards, and what is not.
//!
//! The server runs with a few lines of C loaded before its libraries: fdatasync of a file below a directory fails for as
//! long as another file exists. Where there is no C compiler the tests say so and pass.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use support::client::{Client, Event};
use support::process::{PASSWORD, Process, Running};

/// The functions that stand before the system's.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fdatasync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *when = getenv("SYNC_FAILS_WHEN"), *below = getenv("SYNC_FAILS_BELOW");
    if (when && below && access(when, F_OK) == 0) {
        char link[64], path[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0) {
            path[length] = 0;
            if (strncmp(path, below, strlen(below)) == 0) {
                errno = EIO;
                return -1;
            }
        }
    }
    return next(fd);
}
"#;

/// The shim as a library; none where it cannot be made.
static LIBRARY: LazyLock<Option<(tempfile::TempDir, PathBuf)>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("failing_sync.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-x", "c", "-", "-ldl", "-o"]).arg(&path).stdin(Stdio::piped());
    let made = compiler.spawn().and_then(|mut running| {
        running.stdin.take().expect("is piped").write_all(SHIM.as_bytes())?;
        running.wait()
    });
    match made {
        Ok(status) if status.success() => Some((directory, path)),
        other => {
            eprintln!("no C compiler, nothing is tested: {other:?}");
            None
        }
    }
});

/// A data directory whose syncs can be made to fail.
struct Disk {
    place: tempfile::TempDir,
    /// The directory in it whose files fail.
    below: PathBuf,
}

impl Disk {
    fn new(below: &str) -> Option<Disk> {
        LIBRARY.as_ref()?;
        let place = tempfile::tempdir().unwrap();
        let below = place.path().canonicalize().unwrap().join("data").join(below);
        Some(Disk { place, below })
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn switch(&self) -> PathBuf {
        self.place.path().join("fails")
    }

    fn serve(&self, flags: &[&str]) -> Running {
        let (_, library) = LIBRARY.as_ref().expect("was made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tertulia"));
        command.env("LD_PRELOAD", library).env("SYNC_FAILS_WHEN", self.switch()).env("SYNC_FAILS_BELOW", &self.below);
        let started = Process::spawn_by(command, &self.data(), flags).ready();
        started.unwrap_or_else(|(status, log)| panic!("the server did not start: {status}\n{}", log.join("\n")))
    }

    fn fail(&self) {
        std::fs::write(self.switch(), "").unwrap();
    }

    fn heal(&self) {
        std::fs::remove_file(self.switch()).unwrap();
    }
}

fn connect(server: &Running) -> Client {
    Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap()
}

/// The statement is refused because the log has failed, and says what to do.
#[track_caller]
fn is_refused(client: &mut Client, sql: &str) {
    let report = client.failure(sql);
    assert_eq!(report.code, "58030", "{sql}: {report:?}");
    assert_eq!(report.message, "commit log has failed; nothing can be written until the server is restarted", "{sql}");
    assert!(report.detail.is_some_and(|detail| detail.contains("after the restart")), "{sql}");
}

fn ids(client: &mut Client, table: &str) -> Vec<i64> {
    let rows = client.rows(&format!("SELECT id FROM {table} ORDER BY id"));
    rows.iter().map(|cells| cells[0].as_ref().unwrap().parse().unwrap()).collect()
}

/// The log fails, the disk is well again, and nothing is written before the restart.
fn fail_and_restart(end: impl FnOnce(Running)) {
    let Some(disk) = Disk::new("log") else { return };
    let server = disk.serve(&[]);
    let (mut client, mut open, mut serializable) = (connect(&server), connect(&server), connect(&server));
    for sql in [
        "CREATE TABLE t (id bigint PRIMARY KEY, body text)",
        "CREATE TABLE typing (id bigint PRIMARY KEY) WITH (TYPE = 'STREAM', TTL_SECONDS = 3600)",
        "CREATE SEQUENCE s",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two')",
        "INSERT INTO typing VALUES (1)",
    ] {
        client.run(sql);
    }
    open.run("BEGIN; INSERT INTO t VALUES (10, 'open')");
    serializable.run("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM t");
    disk.fail();
    is_refused(&mut client, "INSERT INTO t VALUES (3, 'in doubt')");
    disk.heal();
    is_refused(&mut open, "COMMIT");
    assert_eq!(ids(&mut open, "t"), [1, 2], "its rows and its locks are gone");
    serializable.run("SELECT count(*) FROM t; COMMIT");
    for sql in [
        "INSERT INTO t VALUES (4, 'never')",
        "UPDATE t SET body = 'never'",
        "DELETE FROM t",
        "TRUNCATE t",
        "CREATE TABLE never (id int)",
        "DROP TABLE t",
        "CREATE INDEX ON t (body)",
        "INSERT INTO typing VALUES (2)",
        "SELECT setval('s', 100)",
        "NOTIFY never",
        "INSERT INTO t SELECT g, repeat('x', 60000) FROM generate_series(1000, 1300) AS s(g)",
    ] {
        is_refused(&mut client, sql);
    }
    client.begin_copy("COPY t FROM STDIN");
    client.write_copy_data(b"5\tnever\n");
    let copied = client.end_copy();
    assert!(matches!(&copied[0], Event::Error(report) if report.code == "58030"), "{copied:?}");
    // reads go on, in transactions too, and so does what is rolled back
    assert_eq!(ids(&mut client, "t"), [1, 2]);
    assert_eq!(ids(&mut client, "typing"), [1]);
    client.run("BEGIN; INSERT INTO t VALUES (6, 'own')");
    assert_eq!(ids(&mut client, "t"), [1, 2, 6]);
    client.run("ROLLBACK");
    assert_eq!(ids(&mut connect(&server), "t"), [1, 2], "and others connect");
    end(server);
    let server = disk.serve(&[]);
    let mut client = connect(&server);
    let found = ids(&mut client, "t");
    assert!(found == [1, 2] || found == [1, 2, 3], "what was acknowledged, and what was in doubt: {found:?}");
    client.run("INSERT INTO t VALUES (7, 'goes on')");
    server.kill();
    assert_eq!(ids(&mut connect(&disk.serve(&[])), "t"), [found, vec![7]].concat());
}

#[test]
fn a_failed_sync_of_the_log_stops_writes_until_a_kill_and_a_start() {
    fail_and_restart(|server| {
        let log = server.kill();
        let said = log.iter().filter(|line| line.contains("ERROR") && line.contains("the commit log failed"));
        assert_eq!(said.count(), 1, "the log of the server says so once: {log:#?}");
    });
}

#[test]
fn a_failed_sync_of_the_log_stops_writes_until_an_orderly_restart_which_ends_in_an_error() {
    fail_and_restart(|server| {
        let (status, log) = server.terminate();
        assert_eq!(status.code(), Some(1), "{log:#?}");
        assert!(log.iter().any(|line| line.starts_with("tertulia: commit log has failed")), "{log:#?}");
    });
}

#[test]
fn a_failed_sync_of_a_large_commit_s_file_fails_that_commit_alone() {
    let Some(disk) = Disk::new("bulk") else { return };
    let server = disk.serve(&[]);
    let mut client = connect(&server);
    client.run("CREATE TABLE t (id bigint PRIMARY KEY, body text)");
    let large = |from: i64| {
        format!("INSERT INTO t SELECT g, repeat('x', 60000) FROM generate_series({from}, {}) AS s(g)", from + 299)
    };
    disk.fail();
    let report = client.failure(&large(1000));
    assert_eq!(report.code, "58030", "{report:?}");
    client.run("INSERT INTO t VALUES (1, 'small ones need no file')");
    assert_eq!(files(&disk.data().join("bulk")), [""; 0], "nothing is left of it");
    disk.heal();
    client.run(&large(2000));
    let count = |client: &mut Client| client.rows("SELECT count(*), min(id), max(id) FROM t");
    let expected = [["301", "1", "2299"].map(|number| Some(number.to_owned()))];
    assert_eq!(count(&mut client), expected);
    server.kill();
    assert_eq!(count(&mut connect(&disk.serve(&[]))), expected);
}

#[test]
fn a_failed_sync_of_the_index_delays_folding_and_nothing_else() {
    let Some(disk) = Disk::new("index") else { return };
    let flags = ["--generation-bytes", "64kB"];
    let mut server = disk.serve(&flags);
    let mut client = connect(&server);
    client.run("CREATE TABLE t (id bigint PRIMARY KEY, body text)");
    disk.fail();
    let failed = |server: &mut Running| server.log().iter().filter(|line| line.contains("folding failed")).count();
    let mut rows = 0;
    while failed(&mut server) < 3 {
        rows += 1;
        client.run(&format!("INSERT INTO t VALUES ({rows}, repeat('x', 10000))"));
        assert!(rows < 10_000, "nothing is folded");
    }
    assert_eq!(ids(&mut client, "t"), (1..=rows).collect::<Vec<_>>());
    // half of the time the restart comes first
    let server = if rows % 2 == 0 {
        server.kill();
        disk.serve(&flags)
    } else {
        server
    };
    disk.heal();
    assert_eq!(ids(&mut connect(&server), "t"), (1..=rows).collect::<Vec<_>>());
    connect(&server).run(&format!("INSERT INTO t VALUES ({}, 'goes on')", rows + 1));
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
    let mut check = Command::new(env!("CARGO_BIN_EXE_tertulia"));
    let output = check.arg("check").arg(disk.data()).args(["--map-size", "4GB"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains(" 0 later commits in the log alone"), "{text}");
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
