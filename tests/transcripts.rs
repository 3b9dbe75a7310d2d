//! Message transcripts: what PostgreSQL 15 answers to each message, and Tertulia too.
//!
//! `UPDATE_GOLDEN=1 cargo test --test transcripts` has PostgreSQL write the answers.

mod support;

use support::client::Client;
use support::postgres::Postgres;
use support::server::{PASSWORD, Tertulia};
use support::transcript::{Transcript, difference};

#[test]
fn postgresql_answers_as_written() {
    let Some(postgres) = Postgres::start() else { return };
    let mut failures = Vec::new();
    for transcript in Transcript::all() {
        let database = format!("transcript_{}", transcript.name());
        let mut admin = Client::connect(postgres.address, "postgres", "", "postgres").unwrap();
        admin.run(&format!("CREATE DATABASE {database}"));
        let connect = || Client::connect(postgres.address, "postgres", "", &database).unwrap();
        let found = transcript.play(connect, postgres.address);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&transcript.path, found).unwrap();
        } else {
            failures.extend(difference(&transcript.path, &transcript.expected(), &found, "PostgreSQL"));
        }
    }
    assert!(failures.is_empty(), "{} transcripts differ\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn tertulia_answers_as_postgresql() {
    let mut failures = Vec::new();
    for transcript in Transcript::all() {
        let directory = tempfile::tempdir().unwrap();
        let server = Tertulia::start(directory.path(), "tertulia");
        let connect = || Client::connect(server.address(), "tertulia", PASSWORD, "tertulia").unwrap();
        let found = transcript.play(connect, server.address());
        failures.extend(difference(&transcript.path, &transcript.expected(), &found, "Tertulia"));
    }
    assert!(failures.is_empty(), "{} transcripts differ\n{}", failures.len(), failures.join("\n"));
}
