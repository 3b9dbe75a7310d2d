//! Golden SQL scripts: `sql/pg` says what PostgreSQL says, `sql/ext` is what Tertulia adds.

mod support;

use support::client::Client;
use support::golden::{self, Runner, WireRunner};
use support::in_process::InProcess;
use support::postgres::Postgres;
use support::server::{PASSWORD, Tertulia};

/// Runs every script of a folder and fails with all differences together. `runner` makes what runs a script; a runner is
/// gone before the next one is made.
fn run_all<R: Runner>(folder: &str, how: &str, may_update: bool, runner: impl Fn() -> R) {
    let mut failures = Vec::new();
    for script in golden::scripts(folder) {
        let found = script.run(&mut runner());
        if let Err(difference) = golden::check(&script, &found, how, may_update) {
            failures.push(difference);
        }
    }
    assert!(failures.is_empty(), "{} scripts differ\n{}", failures.len(), failures.join("\n"));
}

/// The one run that writes the expected output where UPDATE_GOLDEN is set.
#[test]
fn postgresql_agrees_in_the_simple_protocol() {
    let Some(postgres) = Postgres::start() else { return };
    let login = ("postgres", String::new(), "postgres");
    run_all("pg", "PostgreSQL, simple", true, || WireRunner::new(postgres.address, login.clone(), false));
}

#[test]
fn postgresql_agrees_in_the_extended_protocol() {
    let Some(postgres) = Postgres::start() else { return };
    let login = ("postgres", String::new(), "postgres");
    run_all("pg", "PostgreSQL, extended", false, || WireRunner::new(postgres.address, login.clone(), true));
}

/// PostgreSQL's database has this name, which messages mention.
const PG_DATABASE: &str = "postgres";

#[test]
fn tertulia_agrees_with_postgresql_in_process() {
    run_all("pg", "Tertulia, in process", false, || Fresh::in_process(PG_DATABASE));
}

#[test]
fn tertulia_agrees_with_postgresql_in_the_simple_protocol() {
    run_all("pg", "Tertulia, simple", false, || Fresh::over_the_wire(PG_DATABASE, false));
}

#[test]
fn tertulia_agrees_with_postgresql_in_the_extended_protocol() {
    run_all("pg", "Tertulia, extended", false, || Fresh::over_the_wire(PG_DATABASE, true));
}

/// The one run that writes the expected output where UPDATE_GOLDEN is set.
#[test]
fn extensions_answer_as_written_in_process() {
    run_all("ext", "Tertulia, in process", true, || Fresh::in_process("tertulia"));
}

#[test]
fn extensions_answer_as_written_in_the_simple_protocol() {
    run_all("ext", "Tertulia, simple", false, || Fresh::over_the_wire("tertulia", false));
}

#[test]
fn extensions_answer_as_written_in_the_extended_protocol() {
    run_all("ext", "Tertulia, extended", false, || Fresh::over_the_wire("tertulia", true));
}

/// A runner on a data directory of its own. Fields are dropped in this order.
struct Fresh<R> {
    runner: R,
    _server: Option<Tertulia>,
    _directory: tempfile::TempDir,
}

impl Fresh<InProcess> {
    fn in_process(database: &str) -> Fresh<InProcess> {
        let directory = tempfile::tempdir().unwrap();
        Fresh { runner: InProcess::start(directory.path(), database), _server: None, _directory: directory }
    }
}

impl Fresh<WireRunner> {
    fn over_the_wire(database: &'static str, extended: bool) -> Fresh<WireRunner> {
        let directory = tempfile::tempdir().unwrap();
        let server = Tertulia::start(directory.path(), database);
        let login = ("tertulia", PASSWORD.to_owned(), database);
        Fresh {
            runner: WireRunner::new(server.address(), login, extended),
            _server: Some(server),
            _directory: directory,
        }
    }
}

impl<R: Runner> Runner for Fresh<R> {
    fn statement(&mut self, session: &str, sql: &str) -> String {
        self.runner.statement(session, sql)
    }

    fn notification(&mut self, session: &str) -> String {
        self.runner.notification(session)
    }
}

#[test]
fn definitions_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start(directory.path(), "tertulia");
    let mut client = Client::connect(server.address(), "tertulia", PASSWORD, "tertulia").unwrap();
    client.run("CREATE SCHEMA chat");
    client.run("BEGIN; CREATE SCHEMA lost");
    drop(client);
    drop(server);
    let server = Tertulia::start(directory.path(), "tertulia");
    let mut client = Client::connect(server.address(), "tertulia", PASSWORD, "tertulia").unwrap();
    assert_eq!(client.failure("CREATE SCHEMA chat").code, "42P06");
    client.run("CREATE SCHEMA lost");
}

#[test]
fn an_error_in_the_extended_protocol_skips_to_sync() {
    let directory = tempfile::tempdir().unwrap();
    let server = Tertulia::start(directory.path(), "tertulia");
    let mut client = Client::connect(server.address(), "tertulia", PASSWORD, "tertulia").unwrap();
    client.write_parse("", "SELECT 1 FROM nowhere", &[]);
    client.write_bind("", "", &[], 0);
    // a simple query too is passed over: its sender has not read the error yet
    client.write_query("SELECT 42");
    client.write_execute("", 0);
    client.write_sync();
    client.send();
    let events = client.until_ready();
    let codes: Vec<_> = events.iter().map(|event| format!("{event:?}").contains("42P01")).collect();
    assert_eq!(codes, [true, false], "one error, then ReadyForQuery: {events:?}");
    assert_eq!(client.rows("SHOW timezone"), [[Some("UTC".to_owned())]]);
}
