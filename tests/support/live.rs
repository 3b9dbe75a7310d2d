//! Sessions that are told of changes.

use super::client::{Client, Event};
use super::server::{PASSWORD, Tertulia};
use serde_json::Value as Json;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// A client that keeps what it is told until it is asked for.
pub struct Session {
    pub client: Client,
    pub told: VecDeque<(String, Json)>,
}

pub type Rows = Vec<Vec<Option<String>>>;

impl Session {
    pub fn connect(address: SocketAddr, user: &str, password: &str) -> Session {
        let client = Client::connect(address, user, password, "tertulia").unwrap();
        Session { client, told: VecDeque::new() }
    }

    pub fn superuser(address: SocketAddr) -> Session {
        Session::connect(address, "tertulia", PASSWORD)
    }

    /// A simple query that must succeed: its rows.
    pub fn run(&mut self, sql: &str) -> Rows {
        let events = self.client.simple(sql);
        self.keep(events, sql)
    }

    pub fn keep(&mut self, events: Vec<Event>, sql: &str) -> Rows {
        let mut rows = Vec::new();
        let text = |cell: Option<Vec<u8>>| cell.map(|bytes| String::from_utf8(bytes).unwrap());
        for event in events {
            match event {
                Event::Row(cells) => rows.push(cells.into_iter().map(text).collect()),
                Event::Error(error) => panic!("{sql}: {error:?}"),
                Event::Notification { channel, payload, .. } => {
                    self.told.push_back((channel, serde_json::from_str(&payload).unwrap()));
                }
                _ => {}
            }
        }
        rows
    }

    /// The next that it is told, of any channel.
    pub fn told(&mut self) -> Json {
        self.told_on().1
    }

    pub fn told_on(&mut self) -> (String, Json) {
        self.told.pop_front().unwrap_or_else(|| {
            let (channel, payload) = self.client.notification(Duration::from_secs(30)).expect("an event comes");
            (channel, serde_json::from_str(&payload).unwrap())
        })
    }

    /// What the next event says, in short: `insert 1 2`, `update 1>2`, `delete 3`, by the primary key `id`.
    pub fn change(&mut self) -> String {
        let event = self.told();
        assert_eq!(event["type"], "change", "{event}");
        let ids = |member: &str| -> Vec<String> {
            let rows = event[member].as_array().cloned().unwrap_or_default();
            rows.iter().map(|row| row["id"].as_str().unwrap_or("-").to_owned()).collect()
        };
        let (new, old) = (ids("rows"), ids("old_values"));
        let shown = match event["change_type"].as_str().unwrap() {
            "insert" => new,
            "delete" => old,
            _ => old.iter().zip(&new).map(|(old, new)| format!("{old}>{new}")).collect(),
        };
        let more = if event["more"] == true { " ..." } else { "" };
        format!("{} {}{more}", event["change_type"].as_str().unwrap(), shown.join(" "))
    }

    pub fn acknowledged(&mut self) -> u64 {
        let event = self.told();
        assert_eq!(event["type"], "subscription_ack", "{event}");
        event["seq"].as_u64().unwrap()
    }
}

/// A server with the users alice and bob.
pub fn server(dir: &tempfile::TempDir) -> (Tertulia, SocketAddr) {
    let server = Tertulia::start(dir.path(), "tertulia");
    let address = server.address();
    let mut root = Session::superuser(address);
    root.run("CREATE SCHEMA chat");
    for user in ["alice", "bob"] {
        root.run(&format!("CREATE ROLE {user} LOGIN PASSWORD '{user}'; GRANT USAGE ON SCHEMA chat TO {user}"));
    }
    (server, address)
}
