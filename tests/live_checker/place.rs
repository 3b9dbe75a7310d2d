//! Where the server is, what everybody is to do just now, and who is connected.

use crate::support::random::Random;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

/// Microseconds since 1970. The server runs on the same machine and so by the same clock.
pub type Wall = i64;

/// Sessions with smaller numbers are disturbed.
pub const DISTURBED: usize = 1_000;

/// What the clock says.
pub fn wall() -> Wall {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as Wall
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Writers write, subscribers come and go.
    Load,
    /// Writers rest, subscribers subscribe and read.
    Quiet,
    /// Everybody leaves.
    End,
}

/// What all threads share about the server and the time.
pub struct Place {
    state: Mutex<State>,
    changed: Condvar,
    pub counts: Counts,
}

struct State {
    address: Option<SocketAddr>,
    epoch: u64,
    phase: Phase,
    flooding: bool,
    /// Writers that rest.
    resting: usize,
    /// Each session's process number and secret key, for cancel requests and terminations.
    sessions: BTreeMap<usize, (i32, i32)>,
}

/// What happened, for the report.
#[derive(Default)]
pub struct Counts {
    pub commits: AtomicU64,
    pub rollbacks: AtomicU64,
    pub refused: AtomicU64,
    pub unanswered: AtomicU64,
    pub found_committed: AtomicU64,
    pub snapshots: AtomicU64,
    pub joins: AtomicU64,
    pub resumes: AtomicU64,
    pub disconnects: AtomicU64,
    /// Connections that the server ended while it went on.
    pub lost: AtomicU64,
    /// Statements that failed with 57014.
    pub cancelled: AtomicU64,
    pub lagged: AtomicU64,
    pub rolled_back_subscriptions: AtomicU64,
    pub naps: AtomicU64,
}

impl Counts {
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Place {
    pub fn new() -> Place {
        let state = State {
            address: None,
            epoch: 0,
            phase: Phase::Load,
            flooding: false,
            resting: 0,
            sessions: BTreeMap::new(),
        };
        Place { state: Mutex::new(state), changed: Condvar::new(), counts: Counts::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// A server's life begins.
    pub fn open(&self, address: SocketAddr) {
        self.change(|state| {
            state.address = Some(address);
            state.epoch += 1;
        });
    }

    /// The server is about to go.
    pub fn close(&self) {
        self.change(|state| {
            state.address = None;
            state.sessions.clear();
        });
    }

    /// Where the server is and which of its lives this is; none at the end.
    pub fn server(&self) -> Option<(SocketAddr, u64)> {
        let mut state = self.lock();
        loop {
            match (state.phase, state.address) {
                (Phase::End, _) => return None,
                (_, Some(address)) => return Some((address, state.epoch)),
                _ => state = self.changed.wait(state).unwrap(),
            }
        }
    }

    /// Whether this life of the server goes on, as far as anybody means it to.
    pub fn is_open(&self, epoch: u64) -> bool {
        let state = self.lock();
        state.address.is_some() && state.epoch == epoch
    }

    /// The server's life that this is.
    pub fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    pub fn begin(&self, phase: Phase) {
        self.change(|state| state.phase = phase);
    }

    pub fn set_flooding(&self, flooding: bool) {
        self.change(|state| state.flooding = flooding);
    }

    pub fn is_flooding(&self) -> bool {
        self.lock().flooding
    }

    /// Waits for so long, or until the phase or the server changes.
    pub fn pause(&self, time: Duration) {
        let state = self.lock();
        let (phase, epoch, flooding) = (state.phase, state.epoch, state.flooding);
        let same = |state: &mut State| state.phase == phase && state.epoch == epoch && state.flooding == flooding;
        drop(self.changed.wait_timeout_while(state, time, same).unwrap());
    }

    /// A writer rests until there is work again; false at the end.
    pub fn rest(&self) -> bool {
        let mut state = self.lock();
        state.resting += 1;
        self.changed.notify_all();
        state = self.changed.wait_while(state, |state| state.phase == Phase::Quiet).unwrap();
        state.resting -= 1;
        state.phase != Phase::End
    }

    /// Waits until so many writers rest; whether they do.
    pub fn all_rest(&self, writers: usize, patience: Duration) -> bool {
        let state = self.lock();
        let (state, _) = self.changed.wait_timeout_while(state, patience, |state| state.resting < writers).unwrap();
        state.resting == writers
    }

    /// Something that others wait for has happened.
    pub fn tell(&self) {
        self.changed.notify_all();
    }

    /// Waits until a condition holds that others bring about and tell; whether it does.
    pub fn wait_until(&self, patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + patience;
        while !holds() {
            if Instant::now() >= end {
                return false;
            }
            // whoever tells may do so before this begins to wait: hence not for long
            drop(self.changed.wait_timeout(self.lock(), Duration::from_millis(20)).unwrap());
        }
        true
    }

    pub fn enter(&self, session: usize, epoch: u64, process: (i32, i32)) {
        let mut state = self.lock();
        if state.epoch == epoch && session < DISTURBED {
            state.sessions.insert(session, process);
        }
    }

    pub fn leave(&self, session: usize) {
        self.lock().sessions.remove(&session);
    }

    /// A session that is connected, of that number or a greater one: its process number and secret key.
    pub fn some_session(&self, first: usize, random: &mut Random) -> Option<(i32, i32)> {
        let state = self.lock();
        let sessions: Vec<_> = state.sessions.range(first..).map(|(_, process)| *process).collect();
        (!sessions.is_empty()).then(|| random.pick(&sessions))
    }
}
