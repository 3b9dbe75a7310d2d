//! The demonstration as a stranger runs it: it plays to its end, says what it has shown, and fails when it cannot.

mod support;

use std::process::{Command, Output, Stdio};
use support::client::Client;
use support::process::{PASSWORD, Running};

/// Runs `tertulia demo` with these arguments and nothing of this environment's settings.
fn demo(arguments: &[&str], temporary: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tertulia"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TERTULIA_") {
            command.env_remove(name);
        }
    }
    command.arg("demo").args(arguments).env("TMPDIR", temporary).stdin(Stdio::null()).output().unwrap()
}

fn assert_played(output: &Output) {
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert_eq!(complained, "", "it has nothing to complain of");
    let summary = said.split("\nsummary\n").nth(1).expect("a summary");
    for fact in [
        "alice        12 messages arrived live as SELECT has them, 10 in the open conversation; 8 typing events",
        "bob          8 messages arrived live as SELECT has them, 6 in the open conversation; 6 typing events",
        "resume       alice missed 4 messages; from_seq brought each of them once",
        "isolation    alice may not act for bob (42501)",
        "isolation    the superuser sees none of their messages",
        "topic        20 messages: 10 answered, 10 own replies passed; nothing left",
        "redelivery   1 message came again after its worker died, and was answered once",
    ] {
        assert!(summary.lines().any(|line| line.trim() == fact), "missing: {fact}\n{summary}");
    }
    assert!(summary.contains("\n  question -> reply, live "), "{summary}");
    assert!(summary.ends_with("\nEverything arrived.\n"), "{summary}");
}

#[test]
fn the_chat_workload_plays_on_a_server_of_its_own() {
    let temporary = tempfile::tempdir().unwrap();
    assert_played(&demo(&[], temporary.path()));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn the_chat_workload_plays_on_a_server_that_runs_and_leaves_nothing_there() {
    let temporary = tempfile::tempdir().unwrap();
    let server = Running::start(&temporary.path().join("data"), &[]);
    let url = format!("postgres://tertulia:{PASSWORD}@{}/tertulia", server.address);
    assert_played(&demo(&["--url", &url], temporary.path()));
    let mut admin = Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap();
    assert!(admin.rows("SELECT rolname FROM pg_roles WHERE rolname IN ('alice', 'bob', 'ai_worker')").is_empty());
    assert_played(&demo(&["--url", &url], temporary.path()));
    // what is there already is somebody's
    admin.run("CREATE SCHEMA chat");
    let refused = demo(&["--url", &url], temporary.path());
    assert_eq!(refused.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        complaint.starts_with("tertulia: the server has a schema or role of the demo's already: chat"),
        "{complaint}"
    );
    assert_eq!(admin.rows("SELECT nspname FROM pg_namespace WHERE nspname = 'chat'").len(), 1);
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let temporary = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = demo(&["--url", &format!("postgres://tertulia:secret@{free}/tertulia")], temporary.path());
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("the administrator connecting"), "{complaint}");
    let output = demo(&["--url", "nowhere"], temporary.path());
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.starts_with("tertulia: \"nowhere\" is not the URL of a server"), "{complaint}");
}
