//! A worker of a consumer group: a reply to each message, in one transaction with the message's acknowledgement.

use crate::support::client::{Client, Event};

/// How long a message stays with a worker that was killed.
const VISIBILITY: &str = "2 seconds";

/// Works until the server is gone.
pub fn work(mut client: Client) {
    while step(&mut client, "200 milliseconds").is_some() {}
}

/// Works until every message up to here has its reply.
pub fn drain(client: &mut Client, messages: i64) {
    let expected = [[messages, 0, messages - 1].map(|n| Some(n.to_string())).to_vec()];
    let count = "SELECT count(*), min(\"offset\"), max(\"offset\") FROM crash.replies";
    for _ in 0..100_000 {
        if client.rows(count) == expected {
            return;
        }
        step(client, "1 second").expect("the server lives");
    }
    panic!("messages without a reply: {:?} of {messages}", client.rows(count));
}

/// One transaction: the number of messages replied to; none once the server is gone.
fn step(client: &mut Client, wait: &str) -> Option<usize> {
    run(client, "BEGIN")?;
    let consume = format!("CONSUME FROM crash.events GROUP workers LIMIT 7 WAIT '{wait}' VISIBILITY '{VISIBILITY}'");
    let events = run(client, &consume)?;
    let messages: Vec<(String, String)> = events
        .iter()
        .filter_map(|event| match event {
            // topic, partition, offset, key, …
            Event::Row(cells) => Some((text(&cells[2]), text(&cells[3]))),
            _ => None,
        })
        .collect();
    if !messages.is_empty() {
        let values: Vec<String> = messages.iter().map(|(offset, key)| format!("({offset}, '{key}')")).collect();
        let offsets: Vec<&str> = messages.iter().map(|(offset, _)| offset.as_str()).collect();
        // a message that was acknowledged and came again would have a reply already
        run(client, &format!("INSERT INTO crash.replies VALUES {}", values.join(", ")))?;
        let (events, lives) =
            client.try_simple(&format!("ACK crash.events GROUP workers OFFSET {}", offsets.join(", ")));
        let lost = events.iter().any(|event| matches!(event, Event::Error(report) if report.code == "55000"));
        if lost {
            // so slow that the messages have passed to another
            run(client, "ROLLBACK")?;
            return Some(0);
        }
        assert!(!lives || events[0] == Event::Tag(format!("ACK {}", messages.len())), "{events:?}");
    }
    run(client, "COMMIT")?;
    Some(messages.len())
}

fn text(cell: &Option<Vec<u8>>) -> String {
    String::from_utf8(cell.clone().expect("a value")).unwrap()
}

fn run(client: &mut Client, sql: &str) -> Option<Vec<Event>> {
    let (events, lives) = client.try_simple(sql);
    for event in &events {
        if let Event::Error(report) = event {
            panic!("{sql}: {report:?}");
        }
    }
    lives.then_some(events)
}
