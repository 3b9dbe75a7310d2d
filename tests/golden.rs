//! Golden SQL scripts: `sql/pg` says what PostgreSQL says, `sql/ext` is what Tertulia adds.

mod support;

use support::client::Client;
use support::golden::{self, WireRunner};
use support::postgres::Postgres;
use support::server::{PASSWORD, Tertulia};

/// Runs every script of a folder and fails with all differences together.
fn run_all(folder: &str, how: &str, may_update: bool, mut runner: impl FnMut() -> WireRunner) {
    let mut failures = Vec::new();
    for script in golden::scripts(folder) {
        let found = script.run(&mut runner());
        if let Err(difference) = golden::check(&script, &found, how, may_update) {
            failures.push(difference);
        }
    }
    assert!(failures.is_empty(), "{} scripts differ\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn postgresql_agrees_with_the_scripts_in_the_simple_protocol() {
    let Some(postgres) = Postgres::start() else { return };
    let login = ("postgres", String::new(), "postgres");
    run_all("pg", "PostgreSQL, simple", true, || WireRunner::new(postgres.address, login.clone(), false));
}

#[test]
fn extensions_answer_as_written_in_the_simple_protocol() {
    let mut directories = Vec::new();
    let mut servers = Vec::new();
    let login = ("tertulia", PASSWORD.to_owned(), "tertulia");
    run_all("ext", "Tertulia, simple", true, || {
        let directory = tempfile::tempdir().unwrap();
        let server = Tertulia::start(directory.path(), "tertulia");
        let runner = WireRunner::new(server.address(), login.clone(), false);
        servers.push(server);
        directories.push(directory);
        runner
    });
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
    client.write_execute("", 0);
    client.write_sync();
    client.send();
    let events = client.until_ready();
    let codes: Vec<_> = events.iter().map(|event| format!("{event:?}").contains("42P01")).collect();
    assert_eq!(codes, [true, false], "one error, then ReadyForQuery: {events:?}");
    assert_eq!(client.rows("SHOW timezone"), [[Some("UTC".to_owned())]]);
}

#[test]
fn tertulia_agrees_with_postgresql_in_the_simple_protocol() {
    let mut failures = Vec::new();
    for script in golden::scripts("pg") {
        let directory = tempfile::tempdir().unwrap();
        // Under the name that PostgreSQL's database has, which messages mention.
        let server = Tertulia::start(directory.path(), "postgres");
        let login = ("tertulia", PASSWORD.to_owned(), "postgres");
        let found = script.run(&mut WireRunner::new(server.address(), login, false));
        failures.extend(golden::check(&script, &found, "Tertulia, simple", false).err());
    }
    assert!(failures.is_empty(), "{} scripts differ\n{}", failures.len(), failures.join("\n"));
}
