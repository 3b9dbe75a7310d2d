//! Golden SQL scripts: `sql/pg` says what PostgreSQL says, `sql/ext` is what Tertulia adds.

mod support;

use support::golden::{self, WireRunner};
use support::postgres::Postgres;

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
