//! Advisory locks: numbers that only applications know the meaning of, held by a transaction or by a session.

use super::entry::{Asker, OwnerId, Party, Request};
use super::key::{AdvisoryKey, Object, Place};
use super::mode::LockMode;
use super::owner::LockOwner;
use super::table::{LockPolicy, LockTable, Locked};
use crate::error::Result;

/// How long an advisory lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvisoryLevel {
    /// To the end of the transaction (pg_advisory_xact_lock).
    Transaction,
    /// Until it is given back as often as it was got, or the session ends (pg_advisory_lock).
    Session,
}

impl LockTable {
    /// Asks for an advisory lock: [`LockMode::Exclusive`], or [`LockMode::Share`] for a shared one. At the level of the
    /// session each grant counts; after a wait the same question is asked again, which counts once.
    pub fn lock_advisory(
        &self,
        owner: &mut LockOwner,
        key: AdvisoryKey,
        mode: LockMode,
        level: AdvisoryLevel,
        policy: LockPolicy,
    ) -> Result<Locked> {
        let object = Object::Advisory(key);
        let pid = owner.who.party.pid();
        let who = match level {
            AdvisoryLevel::Transaction => owner.who,
            AdvisoryLevel::Session => Asker { owner: OwnerId::session(pid), party: Party::of(pid, 0) },
        };
        let locked =
            self.ask(owner, who, Place::Object(object), Request { mode, writes: false, after_writers: false }, policy)?;
        if let (Locked::Granted, AdvisoryLevel::Session) = (&locked, level) {
            *self.sessions.lock().entry(pid).or_default().entry((object, mode)).or_default() += 1;
        }
        Ok(locked)
    }

    /// Gives back one grant of a session's advisory lock; false where it has none in this mode.
    pub fn unlock_advisory(&self, pid: i32, key: AdvisoryKey, mode: LockMode) -> bool {
        let object = Object::Advisory(key);
        let mut sessions = self.sessions.lock();
        let Some(held) = sessions.get_mut(&pid) else { return false };
        let Some(count) = held.get_mut(&(object, mode)) else { return false };
        *count -= 1;
        if *count > 0 {
            return true;
        }
        held.remove(&(object, mode));
        let others = held.keys().filter(|(other, _)| *other == object).fold(0, |all, (_, mode)| all | mode.bit());
        if held.is_empty() {
            sessions.remove(&pid);
        }
        drop(sessions);
        self.restore_object(object, OwnerId::session(pid), others);
        true
    }

    /// Gives back all advisory locks of a session: pg_advisory_unlock_all, DISCARD ALL, and its end.
    pub fn unlock_session(&self, pid: i32) {
        let held = self.sessions.lock().remove(&pid);
        for (object, _) in held.into_iter().flatten().map(|(held, _)| held) {
            self.restore_object(object, OwnerId::session(pid), 0);
        }
    }
}
