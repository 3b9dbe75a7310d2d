//! What each session is doing, for others to see and to stop: pg_stat_activity, pg_cancel_backend, pg_terminate_backend.
//!
//! A session writes down where it is with a few stores that nobody waits for. What is kept of an idle one is its
//! [`Activity`]: its numbers, its application's name and the start of its last statement, which it shares.

use crate::env::UnixMicros;
use crate::interrupt::Interrupt;
use crate::limits::{ACTIVITY_QUERY_BYTES_MAX, IDENTIFIER_BYTES_MAX};
use crate::types::{Oid, Str};
use crate::wait::{self, Signal, Wait};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

/// All sessions of a server by process id.
#[derive(Default)]
pub struct Sessions(Mutex<BTreeMap<i32, Arc<Activity>>>);

/// Where a session stands, by PostgreSQL's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A statement runs.
    Active,
    /// The client is to speak.
    Idle,
    /// The client is to speak, in a transaction block.
    IdleInTransaction,
    /// The client is to speak, in a transaction block that has failed.
    IdleInFailedTransaction,
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Awaited {
    /// Nothing: it runs.
    Nothing,
    /// The client's next message.
    ClientRead,
    /// The client, to take what it is sent.
    ClientWrite,
    /// A lock; the lock manager knows which.
    Lock,
    /// The log's flush.
    LogSync,
    /// The end of pg_sleep().
    Sleep,
    /// A snapshot on which nothing can fail: SERIALIZABLE READ ONLY DEFERRABLE.
    SafeSnapshot,
    /// The end of a session that was told to.
    Termination,
    /// Messages of a topic, or something else that PostgreSQL does not know.
    Other,
}

/// What is known of a session.
pub struct Activity {
    /// The process id that clients know it by.
    pub pid: i32,
    /// The role that logged in.
    pub role: Oid,
    /// When it began.
    pub begun: UnixMicros,
    /// Where its client is; none where there is no socket.
    pub client: Option<SocketAddr>,
    /// How it is told to stop.
    pub interrupt: Arc<Interrupt>,
    doing: Mutex<Doing>,
    /// When its transaction began, 0 for none.
    transaction: AtomicI64,
    awaited: AtomicU8,
    /// Those who wait for its end.
    ended: Mutex<Vec<Signal>>,
}

/// What a session is doing.
#[derive(Clone, Debug)]
pub struct Doing {
    /// Where it stands.
    pub state: State,
    /// When that last changed.
    pub since: UnixMicros,
    /// The running statement, or the last one; see [`cut`].
    pub query: Arc<str>,
    /// When that arrived; none before the first.
    pub query_start: Option<UnixMicros>,
    /// The setting `application_name`.
    pub application: Str,
}

impl Sessions {
    /// Adds a session whose client has logged in.
    pub fn enter(
        &self,
        pid: i32,
        role: Oid,
        client: Option<SocketAddr>,
        begun: UnixMicros,
        interrupt: Arc<Interrupt>,
    ) -> Arc<Activity> {
        let doing = Doing {
            state: State::Idle,
            since: begun,
            query: Arc::from(""),
            query_start: None,
            application: Str::from(""),
        };
        let activity = Arc::new(Activity {
            pid,
            role,
            begun,
            client,
            interrupt,
            doing: Mutex::new(doing),
            transaction: AtomicI64::new(0),
            awaited: AtomicU8::new(Awaited::ClientRead as u8),
            ended: Mutex::default(),
        });
        self.0.lock().insert(pid, activity.clone());
        activity
    }

    /// Removes a session that has ended and gave back all that it held.
    pub fn leave(&self, pid: i32) {
        let left = self.0.lock().remove(&pid);
        let ended = left.map(|activity| std::mem::take(&mut *activity.ended.lock()));
        drop(ended);
    }

    /// The session of a process id.
    pub fn get(&self, pid: i32) -> Option<Arc<Activity>> {
        self.0.lock().get(&pid).cloned()
    }

    /// All sessions, by process id.
    pub fn all(&self) -> Vec<Arc<Activity>> {
        self.0.lock().values().cloned().collect()
    }

    /// Over when a session has left; none where it has already.
    pub fn wait_for_end(&self, pid: i32) -> Option<Wait> {
        let sessions = self.0.lock();
        let (signal, wait) = wait::pair(None);
        let mut ended = sessions.get(&pid)?.ended.lock();
        ended.retain(|waiting| !waiting.is_abandoned());
        ended.push(signal);
        Some(wait)
    }
}

impl Activity {
    /// A statement runs now. Its further messages change nothing.
    pub fn run(&self, query: &Arc<str>, now: impl FnOnce() -> UnixMicros) {
        let mut doing = self.doing.lock();
        if doing.state == State::Active && Arc::ptr_eq(&doing.query, query) {
            return;
        }
        let now = now();
        if doing.state != State::Active {
            (doing.state, doing.since) = (State::Active, now);
        }
        (doing.query, doing.query_start) = (query.clone(), Some(now));
    }

    /// The client is to speak.
    pub fn rest(&self, state: State, now: UnixMicros) {
        let mut doing = self.doing.lock();
        (doing.state, doing.since) = (state, now);
        if let Some(cut) = cut(&doing.query) {
            doing.query = cut;
        }
    }

    /// Notes the application's name, as much of it as PostgreSQL keeps.
    pub fn name_application(&self, name: &str) {
        self.doing.lock().application = Str::from(&name[..name.floor_char_boundary(IDENTIFIER_BYTES_MAX)]);
    }

    /// A transaction has begun.
    pub fn begin_transaction(&self, time: UnixMicros) {
        self.transaction.store(time, Ordering::Relaxed);
    }

    /// The transaction has ended.
    pub fn end_transaction(&self) {
        self.transaction.store(0, Ordering::Relaxed);
    }

    /// Notes what the session waits for from now on.
    pub fn wait_for(&self, what: Awaited) {
        self.awaited.store(what as u8, Ordering::Relaxed);
    }

    /// What it is doing.
    pub fn doing(&self) -> Doing {
        self.doing.lock().clone()
    }

    /// When its transaction began.
    pub fn transaction_start(&self) -> Option<UnixMicros> {
        Some(self.transaction.load(Ordering::Relaxed)).filter(|time| *time != 0)
    }

    /// What it waits for.
    pub fn awaited(&self) -> Awaited {
        const ALL: [Awaited; 9] = [
            Awaited::Nothing,
            Awaited::ClientRead,
            Awaited::ClientWrite,
            Awaited::Lock,
            Awaited::LogSync,
            Awaited::Sleep,
            Awaited::SafeSnapshot,
            Awaited::Termination,
            Awaited::Other,
        ];
        ALL[usize::from(self.awaited.load(Ordering::Relaxed))]
    }
}

impl State {
    /// As pg_stat_activity shows it.
    pub fn name(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Idle => "idle",
            State::IdleInTransaction => "idle in transaction",
            State::IdleInFailedTransaction => "idle in transaction (aborted)",
        }
    }
}

/// The start of a statement that is too long to be kept for an idle session; none for one that is not.
pub fn cut(query: &Arc<str>) -> Option<Arc<str>> {
    if query.len() <= ACTIVITY_QUERY_BYTES_MAX {
        return None;
    }
    let end = query.floor_char_boundary(ACTIVITY_QUERY_BYTES_MAX);
    Some(Arc::from(&query[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_statements_are_cut_between_characters() {
        assert_eq!(cut(&Arc::from("SELECT 1")), None);
        let long: Arc<str> = Arc::from("é".repeat(ACTIVITY_QUERY_BYTES_MAX));
        let cut = cut(&long).expect("too long");
        assert_eq!(cut.len(), ACTIVITY_QUERY_BYTES_MAX - 1);
    }
}
