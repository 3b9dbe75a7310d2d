//! The loop of a connection with a scripted session behind it: what strangers, silent clients and a shutdown do to it.

mod support;

use bytes::BytesMut;
use parking_lot::Mutex;
use postgres_protocol::message::frontend;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::client::{Client, Event, Report};
use tertulia::auth::make_verifier;
use tertulia::catalog::{CatalogEntry, Role};
use tertulia::config::Config;
use tertulia::env::SystemEnv;
use tertulia::error::{Error, Result, SqlState};
use tertulia::interrupt::Interrupt;
use tertulia::session::{CopyInput, Flow, Output, Request, TransactionStatus};
use tertulia::sql::plan::ResultColumn;
use tertulia::txn::{Engine, EngineOptions, LockKey, LockMode, LockPolicy, TxnOptions};
use tertulia::types::{Oid, SqlType, Value, Zone};
use tertulia::wait::{self, Signal, Wait};
use tertulia::wire::{Acceptor, Conversation, Newcomer};
use tokio::net::TcpListener;

/// What all scripted sessions share with the test.
#[derive(Default)]
struct Stage {
    notifications: Mutex<VecDeque<String>>,
    listeners: Mutex<Vec<Signal>>,
    rows: AtomicUsize,
    sessions: AtomicUsize,
    /// Statements that have begun to wait.
    waits: AtomicUsize,
}

impl Stage {
    fn notify(&self, payload: &str) {
        self.notifications.lock().push_back(payload.to_owned());
        self.listeners.lock().clear();
    }
}

/// A session whose statements are directions: `wait`, `rows n`, `fail`, `die`, `notify x`, `begin`.
struct Script {
    stage: Arc<Stage>,
    interrupt: Arc<Interrupt>,
    request: Option<Request>,
    rows_left: usize,
    waiting: Vec<Signal>,
}

impl Script {
    fn finish(&mut self, output: &mut dyn Output, status: TransactionStatus) -> Flow {
        output.ready_for_query(status);
        Flow::Done
    }

    fn fail(&mut self, output: &mut dyn Output, error: &Error) -> Flow {
        output.error(error);
        if error.is_fatal() {
            return Flow::End;
        }
        self.finish(output, TransactionStatus::Idle)
    }

    fn query(&mut self, sql: &str, output: &mut dyn Output) -> Flow {
        let columns = [ResultColumn { name: "x".into(), ty: SqlType::TEXT, table: Oid(0), attnum: 0 }];
        let (verb, rest) = sql.split_once(' ').unwrap_or((sql, ""));
        match verb {
            "wait" => {
                if let Err(error) = self.interrupt.check() {
                    return self.fail(output, &error);
                }
                let (signal, wait) = wait::pair(None);
                self.waiting.push(signal);
                self.stage.waits.fetch_add(1, Ordering::SeqCst);
                return Flow::Wait(wait);
            }
            "rows" => {
                let row = [Value::text("x".repeat(1_000))];
                if self.rows_left == 0 {
                    self.rows_left = rest.parse().unwrap();
                    output.row_description(&columns, &[]);
                }
                while self.rows_left > 0 {
                    if output.is_full() {
                        return Flow::Full;
                    }
                    output.data_row(&row, &columns, &[], &Zone::utc());
                    self.stage.rows.fetch_add(1, Ordering::SeqCst);
                    self.rows_left -= 1;
                }
            }
            "fail" => return self.fail(output, &Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")),
            "die" => return self.fail(output, &Error::fatal(SqlState::DATA_CORRUPTED, "dying")),
            "notify" => self.stage.notify(rest),
            "begin" => {
                output.command_complete("BEGIN");
                return self.finish(output, TransactionStatus::InTransaction);
            }
            _ => {}
        }
        output.command_complete(&verb.to_uppercase());
        self.finish(output, TransactionStatus::Idle)
    }
}

impl Conversation for Script {
    fn greet(&mut self, output: &mut dyn Output) {
        output.parameter_status("server_version", "15.8 (scripted)");
    }

    fn start(&mut self, request: Request) {
        self.request = Some(request);
    }

    fn step(&mut self, output: &mut dyn Output) -> Flow {
        match self.request.clone().expect("a request was started") {
            Request::Query(sql) => self.query(&sql, output),
            Request::Parse { .. } => {
                output.parse_complete();
                Flow::Done
            }
            Request::Sync => self.finish(output, TransactionStatus::Idle),
            Request::Malformed { error, .. } => self.fail(output, &error),
            _ => Flow::Done,
        }
    }

    fn put(&mut self, _input: CopyInput) {}

    fn notifications(&mut self, each: &mut dyn FnMut(i32, &str, &str)) -> Result<()> {
        for payload in self.stage.notifications.lock().drain(..) {
            each(1, "channel", &payload);
        }
        Ok(())
    }

    fn rest(&mut self) -> Wait {
        if !self.stage.notifications.lock().is_empty() {
            return Wait::ready();
        }
        let (signal, wait) = wait::pair(None);
        self.stage.listeners.lock().push(signal);
        wait
    }

    fn idle_limit(&self) -> Option<Duration> {
        None
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.stage.sessions.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Fixture {
    address: SocketAddr,
    stage: Arc<Stage>,
    runtime: tokio::runtime::Runtime,
    acceptor: Option<Acceptor>,
    _engine: Arc<Engine>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::with(|_| ())
    }

    fn with(adjust: impl FnOnce(&mut Config)) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let (engine, _) = Engine::open(EngineOptions::new(dir.path()), Arc::new(SystemEnv::new())).unwrap();
        set_password(&engine);
        let mut config = Config::default();
        adjust(&mut config);
        let stage = Arc::new(Stage::default());
        let shared = stage.clone();
        let converse = move |newcomer: Newcomer| -> Result<Box<dyn Conversation>> {
            if newcomer.settings.iter().any(|(name, _)| name == "nonsense") {
                return Err(Error::new(
                    SqlState::UNDEFINED_OBJECT,
                    "unrecognized configuration parameter \"nonsense\"",
                ));
            }
            shared.sessions.fetch_add(1, Ordering::SeqCst);
            let (stage, interrupt) = (shared.clone(), newcomer.interrupt);
            Ok(Box::new(Script { stage, interrupt, request: None, rows_left: 0, waiting: Vec::new() }))
        };
        let runtime = tertulia::server::runtime(2).unwrap();
        let (acceptor, address) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            (Acceptor::start(listener, &config, engine.clone(), Box::new(converse)), address)
        });
        Fixture { address, stage, runtime, acceptor: Some(acceptor), _engine: engine, _dir: dir }
    }

    fn client(&self) -> Client {
        Client::connect(self.address, "tertulia", "right", "tertulia").expect("login")
    }

    fn refused(&self, user: &str, password: &str, database: &str) -> Box<Report> {
        Client::connect(self.address, user, password, database).err().expect("refused")
    }

    fn stop(&mut self, grace: Duration) {
        let acceptor = self.acceptor.take().unwrap();
        self.runtime.block_on(acceptor.stop(grace));
    }

    /// Everything that comes back until the server closes.
    fn answer_to(&self, bytes: &[u8]) -> Vec<u8> {
        let mut client = Client::raw(self.address);
        client.stream().write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // a reset is a close too: the server had not read everything
        let _ = client.stream().read_to_end(&mut answer);
        answer
    }
}

fn set_password(engine: &Arc<Engine>) {
    let role = engine.catalog().role(Role::BOOTSTRAP).unwrap().clone();
    let sealed = Role { verifier: Some(make_verifier("right")), ..Role::clone(&role) };
    let idle = Role { oid: Oid(20_000), name: "idle".into(), login: false, ..sealed.clone() };
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    for role in [sealed, idle] {
        let entry = CatalogEntry::Role(Arc::new(role));
        transaction.lock(LockKey::Entry(entry.key()), LockMode::Exclusive, LockPolicy::NoWait).unwrap();
        transaction.put_catalog(entry).unwrap();
    }
    transaction.start_commit().unwrap().block().unwrap();
}

/// Polls until the condition holds; the test fails when it never does.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

fn startup_packet(version: u32, parameters: &[u8]) -> Vec<u8> {
    let mut bytes = (parameters.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(parameters);
    bytes
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn login_reports_settings_and_the_cancel_key() {
    let fixture = Fixture::new();
    let client = fixture.client();
    let version = Event::Status { name: "server_version".into(), value: "15.8 (scripted)".into() };
    assert_eq!(client.greeting, [version]);
    assert!(client.pid > 0);
}

#[test]
fn logins_are_refused_with_postgresql_s_codes() {
    let fixture = Fixture::new();
    let cases = [
        (
            fixture.refused("tertulia", "wrong", "tertulia"),
            "28P01",
            "password authentication failed for user \"tertulia\"",
        ),
        (fixture.refused("nobody", "right", "tertulia"), "28P01", "password authentication failed for user \"nobody\""),
        (fixture.refused("tertulia", "right", "other"), "3D000", "database \"other\" does not exist"),
        (fixture.refused("idle", "right", "tertulia"), "28000", "role \"idle\" is not permitted to log in"),
    ];
    for (report, code, message) in cases {
        assert_eq!((report.severity.as_str(), report.code.as_str(), report.message.as_str()), ("FATAL", code, message));
    }
    let parameters = [("user", "tertulia"), ("nonsense", "1")];
    let report = Client::connect_with(fixture.address, "right", &parameters).err().expect("refused");
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "42704"));
}

#[test]
fn one_connection_too_many_is_told_so() {
    let fixture = Fixture::with(|config| config.max_connections = 2);
    let (_first, second) = (fixture.client(), fixture.client());
    let report = fixture.refused("tertulia", "right", "tertulia");
    assert_eq!((report.code.as_str(), report.message.as_str()), ("53300", "sorry, too many clients already"));
    drop(second);
    eventually("the place comes back", || Client::connect(fixture.address, "tertulia", "right", "tertulia").is_ok());
}

#[test]
fn garbage_ends_the_connection_and_not_the_server() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let half = &startup_packet(3 << 16, b"user\0tertulia\0\0")[..10];
    let garbage: [&[u8]; 6] = [b"GET / HTTP/1.1\r\n\r\n", &[0; 64], &[0xff; 64], b"\x40\0\0\0\0\x03\0\0", half, b""];
    for bytes in garbage {
        let mut stranger = Client::raw(fixture.address);
        stranger.stream().write_all(bytes).unwrap();
        drop(stranger);
    }
    let answer = fixture.answer_to(b"\x40\0\0\0\0\x03\0\0");
    assert!(contains(&answer, "08P01"), "a start-up packet of a gibibyte");
    let mut late = fixture.client();
    late.stream().write_all(b"Q\x40\0\0\0").unwrap();
    assert!(matches!(late.next(), Ok(Event::Error(report)) if report.code == "08P01" && report.severity == "FATAL"));
    assert!(late.next().is_err());
    assert_eq!(client.simple("ok"), [Event::Tag("OK".into()), Event::Ready(b'I')]);
}

#[test]
fn half_a_start_up_is_waited_for_only_so_long() {
    let fixture = Fixture::with(|config| config.authentication_timeout = Duration::from_millis(200));
    let whole = startup_packet(3 << 16, b"user\0tertulia\0\0");
    assert!(fixture.answer_to(&whole[..9]).is_empty());
    let answer = fixture.answer_to(&whole);
    assert!(contains(&answer, "SCRAM-SHA-256"), "asked for a password, and then closed");
}

#[test]
fn encryption_is_declined_and_nothing_may_follow_in_the_same_breath() {
    let fixture = Fixture::new();
    for code in [80_877_103u32, 80_877_104] {
        let request = [&8u32.to_be_bytes()[..], &code.to_be_bytes()].concat();
        let mut client = Client::raw(fixture.address);
        client.stream().write_all(&request).unwrap();
        let mut answer = [0];
        client.stream().read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"N");
        let smuggled = [&request[..], &startup_packet(3 << 16, b"user\0tertulia\0\0")].concat();
        assert!(contains(&fixture.answer_to(&smuggled), "received unencrypted data"));
    }
}

#[test]
fn newer_protocols_are_negotiated_down_and_older_ones_refused() {
    let fixture = Fixture::with(|config| config.authentication_timeout = Duration::from_millis(200));
    let newer = fixture.answer_to(&startup_packet(3 << 16 | 2, b"user\0tertulia\0_pq_.x\0on\0\0"));
    assert_eq!(&newer[..19], b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x");
    let older = fixture.answer_to(&startup_packet(2 << 16, b"user\0tertulia\0\0"));
    assert!(contains(&older, "0A000") && contains(&older, "unsupported frontend protocol 2.0"));
}

#[test]
fn bad_bodies_leave_the_session_intact() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.stream().write_all(b"Q\0\0\0\x08a\xffb\0").unwrap();
    let events = client.until_ready();
    assert!(matches!(&events[0], Event::Error(report) if report.code == "22021" && report.severity == "ERROR"));
    assert_eq!(client.simple("ok").last(), Some(&Event::Ready(b'I')));
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let mut bytes = BytesMut::new();
    for sql in ["one", "fail", "three"] {
        frontend::query(sql, &mut bytes).unwrap();
    }
    client.stream().write_all(&bytes).unwrap();
    assert_eq!(client.until_ready()[0], Event::Tag("ONE".into()));
    assert!(matches!(&client.until_ready()[0], Event::Error(report) if report.code == "22012"));
    assert_eq!(client.until_ready()[0], Event::Tag("THREE".into()));
}

#[test]
fn flush_brings_what_there_is() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.write_parse("", "x", &[]);
    client.write_flush();
    client.send();
    assert_eq!(client.next().unwrap(), Event::ParseComplete);
}

#[test]
fn a_cancel_wakes_the_statement_that_waits() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let mut bytes = BytesMut::new();
    frontend::query("wait", &mut bytes).unwrap();
    client.stream().write_all(&bytes).unwrap();
    // one that comes before the statement is forgotten
    eventually("a statement that waits", || fixture.stage.waits.load(Ordering::SeqCst) == 1);
    client.cancel(fixture.address);
    let events = client.until_ready();
    assert!(matches!(&events[0], Event::Error(report) if report.code == "57014"), "{events:?}");
    assert_eq!(client.simple("ok")[0], Event::Tag("OK".into()));
}

#[test]
fn a_client_that_goes_away_ends_its_statement() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let mut bytes = BytesMut::new();
    frontend::query("wait", &mut bytes).unwrap();
    client.stream().write_all(&bytes).unwrap();
    eventually("one session", || fixture.stage.sessions.load(Ordering::SeqCst) == 1);
    drop(client);
    eventually("no session", || fixture.stage.sessions.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_client_that_stops_reading_stops_its_statement_alone() {
    let mut fixture = Fixture::new();
    let mut greedy = fixture.client();
    let mut bytes = BytesMut::new();
    frontend::query("rows 1000000", &mut bytes).unwrap();
    greedy.stream().write_all(&bytes).unwrap();
    let produced = || fixture.stage.rows.load(Ordering::SeqCst);
    let mut before = usize::MAX;
    eventually("the statement stops", || {
        std::thread::park_timeout(Duration::from_millis(200));
        std::mem::replace(&mut before, produced()) == produced() && produced() > 0
    });
    assert!(produced() < 100_000, "the socket's buffers hold a few megabytes");
    assert_eq!(fixture.client().simple("ok")[0], Event::Tag("OK".into()));
    fixture.stop(Duration::from_millis(200));
    assert_eq!(fixture.stage.sessions.load(Ordering::SeqCst), 0, "cut off after the grace time");
}

#[test]
fn rows_arrive_in_full_through_a_bounded_buffer() {
    let fixture = Fixture::new();
    let events = fixture.client().simple("rows 5000");
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Row(_))).count(), 5_000);
}

#[test]
fn notifications_reach_an_idle_session_at_once() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    fixture.stage.notify("first");
    assert_eq!(client.notification(Duration::from_secs(10)), Some(("channel".into(), "first".into())));
    let events = client.simple("notify own");
    let own = Event::Notification { channel: "channel".into(), payload: "own".into(), pid: 1 };
    assert_eq!(events, [Event::Tag("NOTIFY".into()), own, Event::Ready(b'I')], "before ReadyForQuery");
}

#[test]
fn notifications_wait_for_the_end_of_a_transaction() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    assert_eq!(client.simple("begin").last(), Some(&Event::Ready(b'T')));
    fixture.stage.notify("later");
    assert_eq!(client.notification(Duration::from_millis(200)), None);
    assert!(matches!(client.simple("commit")[1], Event::Notification { .. }));
}

#[test]
fn a_fatal_error_ends_the_session() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let mut bytes = BytesMut::new();
    frontend::query("die", &mut bytes).unwrap();
    client.stream().write_all(&bytes).unwrap();
    assert!(matches!(client.next(), Ok(Event::Error(report)) if report.severity == "FATAL"));
    assert!(client.next().is_err());
}

#[test]
fn a_shutdown_ends_idle_and_waiting_sessions_with_57p01() {
    let mut fixture = Fixture::new();
    let (mut idle, mut waiting) = (fixture.client(), fixture.client());
    let mut bytes = BytesMut::new();
    frontend::query("wait", &mut bytes).unwrap();
    waiting.stream().write_all(&bytes).unwrap();
    fixture.stop(Duration::from_secs(10));
    for client in [&mut idle, &mut waiting] {
        let event = client.next().expect("a last message");
        let Event::Error(report) = event else { panic!("{event:?}") };
        assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "57P01"));
        assert_eq!(report.message, "terminating connection due to administrator command");
        assert!(client.next().is_err());
    }
    assert!(std::net::TcpStream::connect(fixture.address).is_err(), "nobody listens");
}
