//! What is refused before a session begins, over real sockets to the real program: start-up packets, settings in them
//! and the login exchange. PostgreSQL says whether the expectation is its own too.

mod support;

use std::io::Read;
use std::net::SocketAddr;
use support::client::{Client, Event};
use support::postgres::Postgres;
use support::process::{PASSWORD, Running};

const PROTOCOL: u32 = 3 << 16;
const CANCEL_REQUEST: u32 = 1234 << 16 | 5678;
const SSL_REQUEST: u32 = 1234 << 16 | 5679;

fn start() -> (tempfile::TempDir, Running) {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path(), &[]);
    (directory, server)
}

/// A message of the start: its length, a code and what follows.
fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend_from_slice(&code.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A message of the login exchange.
fn answer(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Code and message of the error that a stranger gets who sends these messages, after which the connection ends.
fn refusal(address: SocketAddr, messages: &[Vec<u8>]) -> (String, String) {
    let mut stranger = Client::raw(address);
    for message in messages {
        stranger.write_raw(message);
    }
    let mut answer = Vec::new();
    // what the server has not read makes the end a reset
    let _ = stranger.stream().read_to_end(&mut answer);
    let mut rest = &answer[..];
    while let [kind, length @ ..] = rest {
        let (length, body) = length.split_first_chunk::<4>().expect("a length");
        let (body, after) = body.split_at(u32::from_be_bytes(*length) as usize - 4);
        if *kind == b'E' {
            assert!(after.is_empty(), "it goes on after the error");
            let field = |name: u8| {
                let mut fields = body.split(|byte| *byte == 0);
                let found = fields.find(|field| field.first() == Some(&name)).expect("the field is there");
                String::from_utf8(found[1..].to_vec()).unwrap()
            };
            assert_eq!(field(b'V'), "FATAL");
            return (field(b'C'), field(b'M'));
        }
        rest = after;
    }
    panic!("no error for {messages:?}, but {answer:?}");
}

fn assert_serves(server: &mut Running) {
    let mut client = Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap();
    assert_eq!(client.rows("SELECT 1"), [[Some("1".to_owned())]]);
    let alarms: Vec<&String> =
        server.log().iter().filter(|line| !line.contains(" INFO ") && !line.trim().is_empty()).collect();
    assert!(alarms.is_empty(), "{alarms:#?}");
}

#[test]
fn start_up_packets_are_refused_as_in_postgresql() {
    // a packet, its code and its message
    let cases: [(u32, &[u8], &str, &str); 9] = [
        (PROTOCOL, b"\0", "28000", "no PostgreSQL user name specified in startup packet"),
        (PROTOCOL, b"database\0x\0\0", "28000", "no PostgreSQL user name specified in startup packet"),
        (PROTOCOL, b"user\0\0\0", "28000", "no PostgreSQL user name specified in startup packet"),
        (PROTOCOL, b"user\0ann\0", "08P01", "invalid startup packet layout: expected terminator as last byte"),
        (
            PROTOCOL,
            b"user\0ann\0database\0",
            "08P01",
            "invalid startup packet layout: expected terminator as last byte",
        ),
        (PROTOCOL, b"user\0ann\0\0more\0", "08P01", "invalid startup packet layout: expected terminator as last byte"),
        (4 << 16 | 7, b"user\0ann\0\0", "0A000", "unsupported frontend protocol 4.7: server supports 3.0 to 3.0"),
        (
            PROTOCOL,
            b"user\0ann\0replication\0perhaps\0\0",
            "22023",
            "invalid value for parameter \"replication\": \"perhaps\"",
        ),
        (1234 << 16 | 1, b"", "0A000", "unsupported frontend protocol 1234.1: server supports 3.0 to 3.0"),
    ];
    let check = |name: &str, address| {
        for (code, body, state, message) in cases {
            let shown = format!("{name}: {code:#x} {}", body.escape_ascii());
            assert_eq!(refusal(address, &[packet(code, body)]), (state.to_owned(), message.to_owned()), "{shown}");
        }
    };
    let (_directory, mut server) = start();
    check("Tertulia", server.address);
    assert_serves(&mut server);
    if let Some(postgres) = Postgres::start() {
        check("PostgreSQL", postgres.address);
    }
}

/// Lengths that PostgreSQL only notes in its log; and requests that are longer than they may be.
#[test]
fn start_up_packets_of_impossible_lengths_end_the_connection() {
    let (_directory, mut server) = start();
    for message in [
        b"\0\0\0\0".to_vec(),
        b"\0\0\0\x07\0\x03\0".to_vec(),
        b"\0\0\x27\x11\0\x03\0\0".to_vec(),
        b"\xff\xff\xff\xff\0\x03\0\0".to_vec(),
        packet(SSL_REQUEST, b"more"),
        packet(CANCEL_REQUEST, b"\0\0\0\x01"),
        packet(CANCEL_REQUEST, b"\0\0\0\x01\0\0\0\x01more"),
    ] {
        let (code, text) = refusal(server.address, std::slice::from_ref(&message));
        assert_eq!((code.as_str(), text.as_str()), ("08P01", "invalid length of startup packet"), "{message:?}");
    }
    assert_serves(&mut server);
}

/// Start-up parameters.
type Parameters<'a> = &'a [(&'a str, &'a str)];

#[test]
fn settings_at_the_start_are_refused_as_in_postgresql() {
    // parameters of the start, the code and the message of the error
    let cases: [(Parameters, &str, &str); 12] = [
        (&[("nothing", "1")], "42704", "unrecognized configuration parameter \"nothing\""),
        (&[("statement_timeout", "soon")], "22023", "invalid value for parameter \"statement_timeout\": \"soon\""),
        (&[("client_encoding", "klingon")], "22023", "invalid value for parameter \"client_encoding\": \"klingon\""),
        (&[("TimeZone", "Nowhere/Zone")], "22023", "invalid value for parameter \"TimeZone\": \"Nowhere/Zone\""),
        (&[("server_version", "9")], "55P02", "parameter \"server_version\" cannot be changed"),
        (&[("options", "-c nothing=1")], "42704", "unrecognized configuration parameter \"nothing\""),
        (&[("options", "--nothing=1")], "42704", "unrecognized configuration parameter \"nothing\""),
        (&[("options", "-c nothing")], "42601", "-c nothing requires a value"),
        (&[("options", "--nothing")], "42601", "--nothing requires a value"),
        (
            &[("options", "-c lock_timeout=-1")],
            "22023",
            "-1 ms is outside the valid range for parameter \"lock_timeout\" (0 .. 2147483647)",
        ),
        (&[("options", "-z")], "42601", "invalid command-line argument for server process: -z"),
        (&[("options", "stray")], "42601", "invalid command-line argument for server process: stray"),
    ];
    let check = |name: &str, address, (user, password, database): (&str, &str, &str)| {
        for (parameters, code, message) in cases {
            let all = [&[("user", user), ("database", database)][..], parameters].concat();
            let report = Client::connect_with(address, password, &all).err();
            let report = report.unwrap_or_else(|| panic!("{name}: {parameters:?} is taken"));
            let found = (report.severity.as_str(), report.code.as_str(), report.message.as_str());
            assert_eq!(found, ("FATAL", code, message), "{name}: {parameters:?}");
        }
    };
    let (_directory, mut server) = start();
    check("Tertulia", server.address, ("tertulia", PASSWORD, "tertulia"));
    let replication = [("user", "tertulia"), ("database", "tertulia"), ("replication", "database")];
    let report = Client::connect_with(server.address, PASSWORD, &replication).err().expect("there is none");
    assert_eq!((report.code.as_str(), report.hint.is_some()), ("0A000", true), "{report:?}");
    assert_serves(&mut server);
    if let Some(postgres) = Postgres::start() {
        check("PostgreSQL", postgres.address, ("postgres", "", "postgres"));
    }
}

#[test]
fn a_login_exchange_that_goes_astray_ends_the_connection() {
    let (_directory, mut server) = start();
    let hello = packet(PROTOCOL, b"user\0tertulia\0\0");
    let first = b"SCRAM-SHA-256\0\0\0\0\x12n,,n=,r=abcdefghij";
    let cases: [(&[Vec<u8>], &str); 9] = [
        (&[answer(b'Q', b"SELECT 1\0")], "expected SASL response, got message type 81"),
        (&[answer(b'z', b"")], "invalid frontend message type 122"),
        (&[answer(b'p', &[b'x'; 20_000])], "invalid message length"),
        (&[answer(b'p', b"SCRAM-SHA-256")], "invalid string in message"),
        (&[answer(b'p', b"SCRAM-SHA-256\0\0\0")], "insufficient data left in message"),
        (&[answer(b'p', b"SCRAM-SHA-256\0\0\0\0\0more")], "invalid message format"),
        (&[answer(b'p', b"PLAIN\0\0\0\0\0")], "client selected an invalid SASL authentication mechanism"),
        (&[answer(b'p', b"SCRAM-SHA-256\0\0\0\0\x04junk")], "malformed SCRAM message"),
        (&[answer(b'p', first), answer(b'p', b"junk")], "malformed SCRAM message"),
    ];
    for (messages, message) in cases {
        let all = [std::slice::from_ref(&hello), messages].concat();
        assert_eq!(refusal(server.address, &all), ("08P01".to_owned(), message.to_owned()));
    }
    let wrong = Client::connect(server.address, "tertulia", "wrong", "tertulia").err().expect("a wrong password");
    assert_eq!((wrong.severity.as_str(), wrong.code.as_str()), ("FATAL", "28P01"));
    assert_serves(&mut server);
}

#[test]
fn who_comes_while_the_server_stops_is_told_so() {
    let (_directory, server) = start();
    let mut known = Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap();
    let mut stranger = Client::raw(server.address);
    stranger.write_raw(&packet(PROTOCOL, b"user\0tertulia\0\0")[..6]);
    // its connection has been taken before this one's, which is answered
    assert_eq!(known.rows("SELECT 1"), [[Some("1".to_owned())]]);
    let mut later = Client::connect(server.address, "tertulia", PASSWORD, "tertulia").unwrap();
    assert_eq!(later.rows("SELECT 1"), [[Some("1".to_owned())]]);
    assert!(server.terminate().0.success());
    let Ok(Event::Error(report)) = stranger.next() else { panic!("it is told nothing") };
    assert_eq!(
        (report.severity.as_str(), report.code.as_str(), report.message.as_str()),
        ("FATAL", "57P03", "the database system is shutting down")
    );
}
