//! Concurrent scripts: what sessions see of one another, who waits for whom, and who fails.
//!
//! `tests/isolation/*.spec` are scripts, each with what a real PostgreSQL 15 answered beside it in a file `.out`, which
//! Tertulia must answer too; those in `tests/isolation/ext` are of things that PostgreSQL does not have or does
//! otherwise. `UPDATE_GOLDEN=1` writes the answers anew; `TERTULIA_SPEC` names a part of the scripts' names to run.

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::client::Client;
use support::isolation::{Place, run};
use support::postgres::Postgres;
use support::server::{PASSWORD, Tertulia};
use support::spec::Spec;

/// PostgreSQL, with a connection to ask it who waits.
struct OnPostgres {
    server: Postgres,
    control: Client,
}

/// PostgreSQL's deadlock_timeout here. Whoever has waited longer is not chosen to resolve a deadlock any more: the last
/// to begin its wait is, as in Tertulia.
const DEADLOCK_TIMEOUT: &str = "deadlock_timeout=10ms";
/// A wait on PostgreSQL that lasts longer has seen its deadlock_timeout.
const SETTLED: Duration = Duration::from_millis(100);

impl OnPostgres {
    fn start() -> Option<OnPostgres> {
        let server = Postgres::start_with(&["timezone=UTC", "fsync=off", DEADLOCK_TIMEOUT])?;
        let control = Client::connect(server.address, "postgres", "", "postgres").unwrap();
        Some(OnPostgres { server, control })
    }
}

impl Place for OnPostgres {
    fn connect(&mut self) -> Client {
        Client::connect(self.server.address, "postgres", "", "postgres").unwrap()
    }

    fn is_blocked(&mut self, pid: i32, all: &[i32]) -> bool {
        let all: Vec<String> = all.iter().map(i32::to_string).collect();
        let all = all.join(",");
        let sql = format!("SELECT pg_catalog.pg_isolation_test_session_is_blocked({pid}, '{{{all}}}')");
        self.control.rows(&sql)[0][0].as_deref() == Some("t")
    }

    fn settles_in(&self) -> Duration {
        SETTLED
    }
}

/// A server of this process on an empty directory.
struct OnTertulia {
    server: Tertulia,
    _directory: tempfile::TempDir,
}

impl OnTertulia {
    fn start() -> OnTertulia {
        let directory = tempfile::tempdir().unwrap();
        OnTertulia { server: Tertulia::start(directory.path(), "postgres"), _directory: directory }
    }
}

impl Place for OnTertulia {
    fn connect(&mut self) -> Client {
        Client::connect(self.server.address(), "tertulia", PASSWORD, "postgres").unwrap()
    }

    fn is_blocked(&mut self, pid: i32, _all: &[i32]) -> bool {
        self.server.engine().is_waiting(pid)
    }

    /// Deadlocks are found when a wait begins.
    fn settles_in(&self) -> Duration {
        Duration::ZERO
    }
}

/// The scripts of a folder, or those that TERTULIA_SPEC names.
fn specs(folder: &str) -> Vec<Spec> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let wanted = std::env::var("TERTULIA_SPEC").unwrap_or_default();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "spec"))
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    paths.sort();
    paths.iter().map(|path| Spec::read(path)).collect()
}

/// What is wrong with a script's outcome; the one server that may writes the expectation where UPDATE_GOLDEN is set.
fn judge(spec: &Spec, found: &str, may_update: bool) -> Vec<String> {
    let path = spec.path.with_extension("out");
    if may_update && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
        return Vec::new();
    }
    match std::fs::read_to_string(&path) {
        Ok(expected) => differences(spec, &expected, found),
        Err(_) => vec![format!("{} is missing: UPDATE_GOLDEN=1 writes it", path.display())],
    }
}

fn report(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} permutations differ\n{}", failures.len(), failures.join("\n"));
}

/// Each permutation that came out otherwise, whole, with `-` before what was expected and `+` before what came.
fn differences(spec: &Spec, expected: &str, found: &str) -> Vec<String> {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.split("\n\n").collect(), found.split("\n\n").collect());
    if expected.len() != found.len() {
        return vec![format!("{}: other permutations than its file has", spec.path.display())];
    }
    let differ = expected.iter().zip(&found).filter(|(expected, found)| expected != found);
    differ.map(|(expected, found)| format!("{}\n{}", spec.path.display(), diff(expected, found))).collect()
}

fn diff(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let mut lines: Vec<String> = expected[..same].iter().map(|line| format!("    {line}")).collect();
    lines.extend(expected[same..].iter().map(|line| format!("  - {line}")));
    lines.extend(found[same..].iter().map(|line| format!("  + {line}")));
    lines.join("\n")
}

/// Servers that share the scripts: nearly all of the time goes into waits that are long enough to tell something. A
/// server for each, since a safe snapshot waits for the transactions of all of a server's databases.
const POSTGRES_SERVERS: usize = 3;

/// The one run that writes the expectations where UPDATE_GOLDEN is set.
#[test]
fn postgresql_answers_as_written() {
    let specs = specs("isolation");
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failures = Vec::new();
        let Some(mut place) = OnPostgres::start() else { return failures };
        while let Some(spec) = specs.get(next.fetch_add(1, Ordering::Relaxed)) {
            failures.extend(judge(spec, &run(spec, &mut place), true));
        }
        failures
    };
    let failures = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..POSTGRES_SERVERS.min(specs.len())).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    report(failures);
}

#[test]
fn tertulia_answers_as_postgresql() {
    let one = |spec: &Spec| judge(spec, &run(spec, &mut OnTertulia::start()), false);
    report(specs("isolation").iter().flat_map(one).collect());
}

/// The one run that writes the expectations where UPDATE_GOLDEN is set.
#[test]
fn tertulia_answers_as_written() {
    let one = |spec: &Spec| judge(spec, &run(spec, &mut OnTertulia::start()), true);
    report(specs("isolation/ext").iter().flat_map(one).collect());
}
