//! A machine without threads, sockets or time of its own: an engine on a disk that loses what was not synced, a clock
//! that a test sets, and one session.

use std::collections::BTreeSet;
use std::sync::Arc;
use tertulia::env::{Env, ManualEnv};
use tertulia::error::{Error, SqlState};
use tertulia::interrupt::Interrupt;
use tertulia::live::Hub;
use tertulia::session::{Flow, Format, Output, PlanCache, Request, Services, Session, TransactionStatus};
use tertulia::sql::plan::ResultColumn;
use tertulia::storage::fault::{FaultDisk, FaultRates, Faults};
use tertulia::storage::log::LogOptions;
use tertulia::storage::{Index, MemoryIndex};
use tertulia::txn::{Engine, EngineOptions, Parts, Patience};
use tertulia::types::{SqlType, Value, Zone, text};

/// What a client has of an answer.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The rows that have gone out.
    pub rows: Vec<Vec<Option<String>>>,
    pub error: Option<(SqlState, String)>,
    /// Rows that are still in the server's buffer.
    buffered: Vec<Vec<Option<String>>>,
    /// Whether the buffer has room for one row only.
    narrow: bool,
}

/// The machine while it runs, and its parts.
pub struct Machine {
    pub env: Arc<ManualEnv>,
    pub faults: Faults,
    disk: FaultDisk,
    index: MemoryIndex,
    life: Option<Life>,
}

struct Life {
    engine: Arc<Engine>,
    services: Arc<Services>,
    session: Session,
}

impl Machine {
    pub fn new(seed: u64, now: i64) -> Machine {
        let faults = Faults::new(seed);
        let mut machine = Machine {
            env: Arc::new(ManualEnv::new(now, seed)),
            disk: FaultDisk::new(faults.clone()),
            index: MemoryIndex::with_faults(faults.clone()),
            faults,
            life: None,
        };
        machine.start();
        machine
    }

    pub fn engine(&self) -> &Arc<Engine> {
        &self.life.as_ref().expect("it runs").engine
    }

    /// Starts on whatever is on the disk.
    pub fn start(&mut self) {
        self.faults.set_rates(FaultRates::default());
        let parts = Parts {
            env: self.env.clone(),
            disk: Arc::new(self.disk.clone()),
            index: Index::memory(self.index.clone()),
            threads: false,
            dir: None,
        };
        let options = EngineOptions {
            generation_bytes: 16 << 10,
            fold_part_bytes: 4 << 10,
            log: LogOptions { segment_bytes: 32 << 10, threads: false, salt: 1 },
            ..EngineOptions::new("/machine")
        };
        let (engine, _) = Engine::open_with(options, parts).expect("what a crash leaves can be opened");
        let (hub, _) = Hub::with_reader(&engine);
        let services = Arc::new(Services {
            engine: engine.clone(),
            hub: Arc::new(hub),
            sessions: Default::default(),
            plans: PlanCache::default(),
            database: "tertulia".to_owned(),
            allow_session_user_id: false,
        });
        let role = engine.catalog().role_by_name("tertulia").expect("the superuser").clone();
        let session = Session::new(services.clone(), &role, 1, None, Vec::new(), Arc::new(Interrupt::default()));
        self.life = Some(Life { engine, services, session: session.unwrap() });
    }

    /// The process ends at once; what it wrote is still with the kernel.
    pub fn kill(&mut self) {
        let Life { engine, services, session } = self.life.take().expect("it runs");
        drop(session);
        services.hub.stop();
        drop(services);
        assert_eq!(Arc::strong_count(&engine), 1, "something holds the engine after its end");
    }

    /// The machine stops; of what was not synced anything may be left.
    pub fn crash(&mut self) {
        if !self.faults.has_crashed() {
            self.faults.crash();
        }
        self.kill();
        self.disk.restart();
    }

    /// The process ends in order.
    pub fn stop(&mut self) {
        self.faults.set_rates(FaultRates::default());
        self.engine().shutdown().expect("the disk is well");
        self.kill();
    }

    /// Lets the background work be done.
    pub fn fold(&self) {
        // a machine that has stopped meanwhile says so to the next statement
        while self.engine().fold().unwrap_or(false) {}
    }

    /// Runs one query string.
    pub fn run(&mut self, sql: &str) -> Heard {
        self.run_until(sql, false, usize::MAX)
    }

    /// A query that must succeed: the numbers of its first column.
    pub fn numbers(&mut self, sql: &str) -> Vec<i64> {
        let heard = self.run(sql);
        assert_eq!(heard.error, None, "{sql}");
        heard.numbers()
    }

    /// Runs one query string; with a narrow buffer its rows go out one by one, and it is left when `rows` have.
    pub fn run_until(&mut self, sql: &str, narrow: bool, rows: usize) -> Heard {
        let mut heard = Heard { narrow, ..Heard::default() };
        self.request(Request::Query(sql.to_owned()), &mut heard, rows);
        heard.flush();
        heard
    }

    /// A query in the messages of the extended protocol, with a Flush at the end instead of a Sync.
    pub fn run_unsynced(&mut self, sql: &str) -> Heard {
        let mut heard = Heard::default();
        let nothing = String::new;
        for request in [
            Request::Parse { name: nothing(), sql: sql.to_owned(), types: Vec::new() },
            Request::Bind {
                portal: nothing(),
                statement: nothing(),
                parameter_formats: Vec::new(),
                parameters: Vec::new(),
                result_formats: Vec::new(),
            },
            Request::Execute { portal: nothing(), max_rows: 0 },
            Request::Flush,
        ] {
            self.request(request, &mut heard, usize::MAX);
        }
        heard.flush();
        heard
    }

    /// Steps a request to its end, or until so many rows have gone out.
    fn request(&mut self, request: Request, heard: &mut Heard, rows: usize) {
        let life = self.life.as_mut().expect("it runs");
        life.session.start(request);
        for _ in 0..1_000_000 {
            match life.session.step(heard) {
                Flow::Done | Flow::End => return,
                Flow::Full => {
                    heard.flush();
                    if heard.rows.len() >= rows {
                        return;
                    }
                }
                Flow::Wait(wait) if !wait.is_done() => {
                    life.engine.step_commits(Patience::Over);
                }
                _ => {}
            }
        }
        panic!("a request does not end");
    }

    /// Sets the wall clock.
    pub fn set_clock(&self, now: i64) {
        self.env.set_now(now);
    }

    /// What the wall clock says.
    pub fn clock(&self) -> i64 {
        self.env.now()
    }
}

impl Heard {
    fn flush(&mut self) {
        self.rows.append(&mut self.buffered);
    }

    /// The numbers of the first column.
    pub fn numbers(&self) -> Vec<i64> {
        self.rows.iter().map(|row| row[0].as_ref().expect("a value").parse().expect("a number")).collect()
    }
}

impl Output for Heard {
    fn parse_complete(&mut self) {}

    fn bind_complete(&mut self) {}

    fn close_complete(&mut self) {}

    fn parameter_description(&mut self, _types: &[SqlType]) {}

    fn row_description(&mut self, _columns: &[ResultColumn], _formats: &[Format]) {}

    fn no_data(&mut self) {}

    fn data_row(&mut self, row: &[Value], columns: &[ResultColumn], _formats: &[Format], zone: &Zone) {
        let show = |(value, column): (&Value, &ResultColumn)| {
            (!value.is_null()).then(|| text::to_string(value, column.ty, zone))
        };
        self.buffered.push(row.iter().zip(columns).map(show).collect());
    }

    fn copy_in_response(&mut self, _columns: usize) {}

    fn command_complete(&mut self, _tag: &str) {}

    fn empty_query(&mut self) {}

    fn portal_suspended(&mut self) {}

    fn notice(&mut self, _notice: &Error) {}

    fn error(&mut self, error: &Error) {
        self.error = Some((error.code(), error.fields().message.clone()));
    }

    fn parameter_status(&mut self, _name: &str, _value: &str) {}

    fn ready_for_query(&mut self, _status: TransactionStatus) {}

    fn is_full(&self) -> bool {
        self.narrow && !self.buffered.is_empty()
    }
}

/// Numbers that may each come once.
#[derive(Default)]
pub struct Once(BTreeSet<i64>);

impl Once {
    /// Takes numbers that a client was given.
    #[track_caller]
    pub fn take(&mut self, what: &str, numbers: impl IntoIterator<Item = i64>) {
        for number in numbers {
            assert!(self.0.insert(number), "{what}: {number} came twice");
        }
    }

    /// The highest.
    pub fn highest(&self) -> Option<i64> {
        self.0.last().copied()
    }
}
