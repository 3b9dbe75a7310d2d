//! Ends and beginnings of the simulated machine: crashes, kills, recovery, and what is compared then.

use crate::client::Client;
use crate::live::Live;
use crate::world::{DIR, Stats, USERS, World};
use std::path::Path;
use std::sync::Arc;
use tertulia::check::{Progress, run_on};
use tertulia::env::Env;
use tertulia::error::SqlState;
use tertulia::session::Session;
use tertulia::storage::Index;
use tertulia::storage::fault::{FaultCounts, FaultRates};

/// Nobody looks on.
struct Unseen;

impl Progress for Unseen {
    fn begin(&self, _pass: &str, _steps: u64) {}

    fn advance(&self, _steps: u64) {}
}

impl World {
    fn forget_machine(&mut self) {
        let mut machine = self.machine.take().expect("the machine runs");
        self.left.extend(machine.clients.drain(..).filter_map(Client::leave));
        machine.services.hub.stop();
        let weak = Arc::downgrade(&machine.engine);
        drop(machine);
        assert_eq!(weak.strong_count(), 0, "something holds the engine after its end");
    }

    /// The machine has stopped: whatever the disk permits is left.
    pub fn restart(&mut self) {
        self.forget_machine();
        self.disk.restart();
        self.recover();
    }

    /// The process is killed, or ends in order: the machine goes on, with all that was written.
    pub fn restart_process(&mut self) {
        let orderly = self.random.once_in(2) && self.poisoned.is_none();
        self.say(if orderly { "shutdown" } else { "kill" });
        if orderly {
            self.calm();
            self.faults.set_capacity(u64::MAX);
            let ended = self.machine().engine.shutdown();
            // the log may have failed with nobody told yet
            let log_failed = ended.as_ref().is_err_and(|error| error.code() == SqlState::IO_ERROR);
            assert!(ended.is_ok() || log_failed, "shutdown fails: {ended:?}");
            self.observe();
        }
        self.forget_machine();
        if self.faults.has_crashed() {
            // the machine has stopped while the process ended
            self.disk.restart();
        }
        self.recover();
        if self.faults.has_crashed() {
            self.restart();
        }
    }

    /// What the next start will find is sound.
    fn inspect(&self) {
        self.calm();
        let index = || Ok(Index::memory(self.index.clone()));
        let report = run_on(Arc::new(self.disk.clone()), Path::new(DIR), index, &Unseen).expect("it can be checked");
        assert!(report.findings.is_empty(), "the offline check finds damage: {:#?}", report.findings);
    }

    fn recover(&mut self) {
        self.inspect();
        self.poisoned = None;
        self.no_room = 0;
        self.claims.clear();
        self.stats.recoveries += 1;
        self.start();
        if self.machine.is_none() {
            return;
        }
        self.calm();
        self.faults.set_capacity(u64::MAX);
        let engine = self.machine().engine.clone();
        self.stats.commits += self.observer.recover(&engine, &mut self.model);
        self.check_tables();
        self.blow();
        drop(engine);
        self.join();
    }

    /// All tables hold what the model says.
    fn check_tables(&self) {
        for user in USERS {
            let mut session = self.session(user, 2);
            let run = |session: &mut Session, sql: &str| self.run(session, sql);
            crate::check::tables(user, &self.model, &mut |sql| run(&mut session, sql));
        }
        let mut session = self.session("tertulia", 3);
        crate::check::topic(&self.model, &mut |sql| self.run(&mut session, sql));
    }

    /// Lets everything end, then compares all that can be compared.
    pub fn finish(mut self) -> (Stats, u64, FaultCounts) {
        self.closing = true;
        (self.rates, self.storm) = (FaultRates::default(), None);
        self.blow();
        self.faults.set_capacity(u64::MAX);
        if self.poisoned.is_some() {
            self.restart_process();
        }
        for round in 0.. {
            let done = self.machine().clients.iter().all(Client::is_idle);
            if done || self.poisoned.is_some() {
                break;
            }
            assert!(round < 3_000, "somebody waits for ever: {:#?}", self.machine().engine.lock_report());
            self.step_client();
            self.step_commits();
            self.step_fold();
            self.step_reader();
            let monotonic = self.env.monotonic();
            if self.machine().clients.iter().all(|client| client.is_idle() || !client.is_ready(monotonic)) {
                self.env.advance(100_000);
            }
            self.after();
        }
        if self.poisoned.is_some() {
            // the last to hear of a failure before the faults ended
            self.restart_process();
        }
        self.level();
        self.resume_all();
        self.check_tables();
        self.drain();
        self.observe();
        let machine = self.machine.as_mut().expect("the machine runs");
        machine.clients.clear();
        assert_eq!(machine.engine.open_snapshots(), 0, "snapshots are left");
        let engine = machine.engine.clone();
        self.observer.check_log(&engine, &self.model);
        drop(engine);
        self.machine().engine.shutdown().expect("the disk is well");
        self.forget_machine();
        self.inspect();
        let faults = self.faults();
        self.model.check_serializable();
        self.stats.serializable = self.model.serials.len() as u64;
        self.stats.defined = std::mem::take(&mut self.model.defined);
        (self.stats, self.faults.trace(), faults)
    }

    /// Lets the live reader catch up, and compares what sessions have heard.
    fn level(&mut self) {
        self.observe();
        // to the end of the log, then on from there
        self.follow_late(usize::MAX);
        self.follow_late(usize::MAX);
        self.observer.check_late(&self.model);
        let machine = self.machine.as_mut().expect("the machine runs");
        while machine.reader.step() {}
        for client in &mut machine.clients {
            self.stats.live_events += client.hear(&self.model);
            client.live.iter().for_each(|live| live.check_level(&self.model));
            if let Some((from, to, heard)) = &client.listening {
                self.observer.check_heard(*from, *to, heard);
            }
        }
    }

    /// Live queries whose sessions have ended go on, and come to what is there.
    fn resume_all(&mut self) {
        for mut live in std::mem::take(&mut self.left) {
            let mut session = self.session(if live.user.is_empty() { "tertulia" } else { &live.user }, 5);
            let answer = self.run(&mut session, &Live::sql(live.table, live.seq, ""));
            if let Some((code, message)) = answer.error {
                let gone = live.seq.is_some_and(|seq| seq < self.model.released);
                assert!(gone && code == SqlState::SNAPSHOT_TOO_OLD, "{live:?} cannot go on: {message}");
                continue;
            }
            let reader = &mut self.machine.as_mut().expect("the machine runs").reader;
            while reader.step() {}
            for told in session.outbox().drain().expect("it is not much") {
                self.stats.live_events += u64::from(live.hear(told.payload.as_str(), &self.model));
            }
            self.stats.resumed += 1;
            live.check_level(&self.model);
        }
    }

    /// Nothing is locked, and exactly the messages that nobody acknowledged come again.
    fn drain(&mut self) {
        self.machine.as_mut().expect("the machine runs").clients.clear();
        self.env.advance(60_000_000);
        let mut session = self.session("tertulia", 4);
        crate::check::group(&self.model, &mut |sql| self.run(&mut session, sql));
        let before = self.env.monotonic();
        for sql in ["BEGIN", "UPDATE t SET n = n", "DELETE FROM s", "DELETE FROM ledger", "ROLLBACK"] {
            let answer = self.run(&mut session, sql);
            assert_eq!(answer.error, None, "{sql}");
        }
        assert_eq!(self.env.monotonic(), before, "a lock is left");
    }
}
