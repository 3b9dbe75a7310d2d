//! What goes to a client comes whole, in order and in time, whoever sends it: the session itself, or, while the session
//! rests, those who have something for it.

mod support;

use std::time::Duration;
use support::client::{Client, Event};
use support::random::Random;
use support::server::World;

/// A payload that shows where it was cut.
fn payload(number: usize, length: usize) -> String {
    format!("{number} {}", "0123456789".chars().cycle().skip(number % 10).take(length).collect::<String>())
}

/// Takes notifications and what else comes, until the query `SELECT 'end'` is answered: the payloads.
fn take_all(client: &mut Client) -> Vec<String> {
    client.write_query("SELECT 'end'");
    client.send();
    let told = |event| match event {
        Event::Notification { payload, .. } => Some(payload),
        Event::Error(error) => panic!("{error:?}"),
        _ => None,
    };
    client.until_ready().into_iter().filter_map(told).collect()
}

/// Clients stop reading until their sockets are full, so that what is sent to them stops anywhere in a message.
#[test]
fn what_a_client_takes_late_comes_whole_and_in_order() {
    const CLIENTS: usize = 4;
    // more than the kernel keeps for a socket, less than the server does
    const NOTIFICATIONS: usize = 3_600;
    // so many at once that a socket takes a part of them
    const TOGETHER: usize = 12;
    let world = World::new();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| world.connect()).collect();
    clients.iter_mut().for_each(|client| client.run("LISTEN much"));
    let mut speaker = world.connect();
    let mut random = Random::new(7);
    let said: Vec<String> = (0..NOTIFICATIONS).map(|number| payload(number, random.below(7_900) as usize)).collect();
    let mut heard: Vec<Vec<String>> = vec![Vec::new(); CLIENTS];
    for (number, texts) in said.chunks(TOGETHER).enumerate() {
        speaker.run(&texts.iter().map(|text| format!("NOTIFY much, '{text}';")).collect::<String>());
        // each reads now and then, the first never before the end
        let reader = random.below(CLIENTS as u64) as usize;
        if number % 8 == 0 && reader > 0 {
            heard[reader].extend(take_all(&mut clients[reader]));
        }
    }
    for (client, heard) in clients.iter_mut().zip(&mut heard) {
        while heard.len() < NOTIFICATIONS {
            let (_, payload) = client.notification(Duration::from_secs(10)).expect("another notification");
            heard.push(payload);
        }
        assert!(take_all(client).is_empty());
        assert_eq!(*heard, said);
    }
}

/// More listeners than one thread tells alone.
#[test]
fn many_listeners_all_hear_everything_in_order() {
    const CLIENTS: usize = 150;
    const NOTIFICATIONS: usize = 200;
    let world = World::new();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| world.connect()).collect();
    clients.iter_mut().for_each(|client| client.run("LISTEN many"));
    let mut speaker = world.connect();
    for number in 0..NOTIFICATIONS {
        speaker.run(&format!("NOTIFY many, '{number}'"));
    }
    for client in &mut clients {
        for number in 0..NOTIFICATIONS {
            let (_, payload) = client.notification(Duration::from_secs(10)).expect("another notification");
            assert_eq!(payload, number.to_string());
        }
    }
}

/// A transaction's client hears nothing until its end; nothing that came meanwhile is lost or early.
#[test]
fn a_transaction_is_not_interrupted_by_what_others_say() {
    let world = World::new();
    let (mut listener, mut speaker) = (world.connect(), world.connect());
    listener.run("LISTEN c");
    listener.run("BEGIN");
    speaker.run("NOTIFY c, '1'");
    assert_eq!(listener.notification(Duration::from_millis(200)), None);
    let events = listener.simple("SELECT 1");
    assert!(!events.iter().any(|event| matches!(event, Event::Notification { .. })), "{events:?}");
    let events = listener.simple("COMMIT");
    let end = &events[events.len() - 3..];
    assert_eq!(end[0], Event::Tag("COMMIT".to_owned()));
    assert!(matches!(&end[1], Event::Notification { payload, .. } if payload == "1"), "{events:?}");
    speaker.run("NOTIFY c, '2'");
    assert_eq!(listener.notification(Duration::from_secs(10)).map(|(_, payload)| payload).as_deref(), Some("2"));
}

/// Answers to statements that came together go out together, but never wait for one that takes time.
#[test]
fn an_answer_does_not_wait_for_the_next_statement() {
    let world = World::new();
    let (mut client, mut other) = (world.connect(), world.connect());
    other.run("SELECT pg_advisory_lock(1)");
    for sql in ["SELECT 1", "SELECT 2", "SELECT pg_advisory_lock(1)", "SELECT 3"] {
        client.write_query(sql);
    }
    client.send();
    client.until_ready();
    client.until_ready();
    other.run("SELECT pg_advisory_unlock(1)");
    client.until_ready();
    client.until_ready();
}

/// A part of the next message is no reason to wait.
#[test]
fn an_answer_does_not_wait_for_half_a_message() {
    let world = World::new();
    let mut client = world.connect();
    client.write_query("SELECT 1");
    client.write_query("SELECT 2");
    let bytes = client.take_written();
    client.write_raw(&bytes[..bytes.len() - 3]);
    client.until_ready();
    client.write_raw(&bytes[bytes.len() - 3..]);
    client.until_ready();
    // nor is one without an answer of its own
    client.write_query("SELECT 3");
    client.write_parse("", "SELECT 4", &[]);
    client.send();
    client.until_ready();
}

#[test]
fn whoever_says_goodbye_at_once_is_answered_before() {
    let world = World::new();
    let mut client = world.connect();
    client.write_query("SELECT 1");
    client.write_query("SELECT 2");
    let mut bytes = client.take_written();
    bytes.extend_from_slice(b"X\0\0\0\x04");
    client.write_raw(&bytes);
    client.until_ready();
    client.until_ready();
    assert!(client.next().is_err(), "the connection ends");
}
