//! A machine without threads, sockets or time of its own: an engine on a disk that loses what was not synced, a clock
//! that a test sets, and one session.

use super::simulated::{self, Answer};
use std::collections::BTreeSet;
use std::sync::Arc;
use tertulia::env::{Env, ManualEnv};
use tertulia::session::{Flow, Request, Services, Session};
use tertulia::storage::MemoryIndex;
use tertulia::storage::fault::{FaultDisk, FaultRates, Faults};
use tertulia::storage::log::LogOptions;
use tertulia::txn::{Engine, EngineOptions, Patience};

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
        let options = EngineOptions {
            generation_bytes: 16 << 10,
            fold_part_bytes: 4 << 10,
            log: LogOptions { segment_bytes: 32 << 10, threads: false, salt: 1 },
            ..EngineOptions::new("/machine")
        };
        let opened = simulated::open(options, &self.env, &self.disk, &self.index);
        let (services, _, _) = opened.expect("what a crash leaves can be opened");
        let session = simulated::session(&services, "tertulia", 1);
        self.life = Some(Life { engine: services.engine.clone(), services, session });
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
    pub fn run(&mut self, sql: &str) -> Answer {
        self.run_until(sql, false, usize::MAX)
    }

    /// A query that must succeed: the numbers of its first column.
    pub fn numbers(&mut self, sql: &str) -> Vec<i64> {
        let heard = self.run(sql);
        assert_eq!(heard.error, None, "{sql}");
        heard.numbers()
    }

    /// Runs one query string; with a narrow buffer its rows go out one by one, and it is left when `rows` have.
    pub fn run_until(&mut self, sql: &str, narrow: bool, rows: usize) -> Answer {
        let mut heard = if narrow { Answer::narrow() } else { Answer::default() };
        self.request(Request::Query(sql.to_owned()), &mut heard, rows);
        heard.flush();
        heard
    }

    /// A query in the messages of the extended protocol, with a Flush at the end instead of a Sync.
    pub fn run_unsynced(&mut self, sql: &str) -> Answer {
        let mut heard = Answer::default();
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
    fn request(&mut self, request: Request, heard: &mut Answer, rows: usize) {
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
