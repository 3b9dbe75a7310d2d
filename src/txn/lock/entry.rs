//! One locked thing with its holders and those who wait for it, in the order in which they came.

use super::mode::{LockMode, Modes, WRITES};
use crate::env::UnixMicros;
use crate::types::Oid;
use crate::wait::Signal;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// Who holds or wants a lock: a transaction's number, or a session for locks that outlive transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct OwnerId(pub(super) u64);

impl OwnerId {
    const SESSION: u64 = 1 << 63;

    pub(super) fn session(pid: i32) -> OwnerId {
        OwnerId(Self::SESSION | u64::from(pid as u32))
    }

    pub(super) fn is_session(self) -> bool {
        self.0 & Self::SESSION != 0
    }
}

/// A node of the graph of waits: a session with its transaction, or a transaction that no session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Party(u64);

impl Party {
    const LONE: u64 = 1 << 62;

    pub(super) fn of(pid: i32, transaction: u64) -> Party {
        if pid != 0 { Party(u64::from(pid as u32)) } else { Party(Self::LONE | transaction) }
    }

    /// The session's process id; 0 where there is none.
    pub(super) fn pid(self) -> i32 {
        if self.0 & Self::LONE != 0 { 0 } else { self.0 as u32 as i32 }
    }
}

/// Who asks, and as whom it would hold what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) owner: OwnerId,
    pub(super) party: Party,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) mode: LockMode,
    /// Whether a row is to be written.
    pub(super) writes: bool,
    /// Whether of those in the way only who writes the row is waited for: see [`LockPolicy::AfterWriters`].
    ///
    /// [`LockPolicy::AfterWriters`]: super::table::LockPolicy::AfterWriters
    pub(super) after_writers: bool,
}

impl Request {
    pub(super) fn modes(self) -> Modes {
        self.mode.bit() | if self.writes { WRITES } else { 0 }
    }
}

#[derive(Debug)]
pub(super) struct Holder {
    pub(super) who: Asker,
    pub(super) modes: Modes,
}

pub(super) struct Waiter {
    pub(super) who: Asker,
    pub(super) request: Request,
    pub(super) signal: Signal,
    pub(super) since: UnixMicros,
    /// The table, where it is a row of one that is waited for.
    pub(super) relation: Option<Oid>,
}

#[derive(Default)]
pub(super) struct Entry {
    pub(super) holders: SmallVec<[Holder; 2]>,
    pub(super) queue: VecDeque<Waiter>,
}

/// The signals of those who were granted what they waited for, to be given when no mutex is held.
pub(super) type Woken = SmallVec<[Signal; 4]>;

impl Entry {
    pub(super) fn modes_of(&self, owner: OwnerId) -> Modes {
        self.holders.iter().find(|holder| holder.who.owner == owner).map_or(0, |holder| holder.modes)
    }

    /// Whether nobody else's hold conflicts.
    pub(super) fn suits_holders(&self, who: Asker, mode: LockMode) -> bool {
        let conflicts = mode.conflicts();
        !self.holders.iter().any(|holder| holder.modes & conflicts != 0 && is_other(holder.who, who))
    }

    /// Whether somebody else writes the row, rather than only locking it.
    pub(super) fn has_other_writer(&self, who: Asker) -> bool {
        self.holders.iter().any(|holder| holder.modes & WRITES != 0 && is_other(holder.who, who))
    }

    /// Whether nobody who waits longer would be passed over. One who holds the object already goes before those who wait
    /// for him, as in PostgreSQL, or they would wait for each other.
    pub(super) fn suits_queue(&self, who: Asker, mode: LockMode) -> bool {
        let before = self.queue.iter().take(self.place_in_queue(who));
        !before.filter(|waiter| waiter.who != who).any(|waiter| waiter.request.mode.conflicts_with(mode))
    }

    fn place_in_queue(&self, who: Asker) -> usize {
        let held: Modes =
            self.holders.iter().filter(|holder| !is_other(holder.who, who)).fold(0, |all, holder| all | holder.modes);
        let waits_for_him = |other: &Waiter| other.request.mode.conflicts() & held != 0;
        self.queue.iter().position(waits_for_him).unwrap_or(self.queue.len())
    }

    pub(super) fn hold(&mut self, who: Asker, modes: Modes) {
        match self.holders.iter_mut().find(|holder| holder.who.owner == who.owner) {
            Some(holder) => holder.modes |= modes,
            None => self.holders.push(Holder { who, modes }),
        }
    }

    /// Leaves an owner with the modes that it held before.
    pub(super) fn restore(&mut self, owner: OwnerId, modes: Modes) {
        if modes == 0 {
            self.holders.retain(|holder| holder.who.owner != owner);
        } else if let Some(holder) = self.holders.iter_mut().find(|holder| holder.who.owner == owner) {
            holder.modes = modes;
        }
    }

    /// Adds a waiter. A repeated question keeps its place and its beginning.
    pub(super) fn enqueue(&mut self, waiter: Waiter) {
        if let Some(old) = self.queue.iter_mut().find(|old| old.who == waiter.who && old.request == waiter.request) {
            old.signal = waiter.signal;
            return;
        }
        self.leave_queue(waiter.who.owner);
        let place = self.place_in_queue(waiter.who);
        self.queue.insert(place, waiter);
    }

    /// Puts one who waits before another who came before him: from where to where.
    pub(super) fn move_before(&mut self, who: Asker, other: Asker) -> Option<(usize, usize)> {
        let place = |who| self.queue.iter().position(|waiter| waiter.who == who);
        let (from, to) = (place(who)?, place(other)?);
        (to < from).then(|| self.move_to(from, to))
    }

    /// Puts one who waits at another place of the queue.
    pub(super) fn move_to(&mut self, from: usize, to: usize) -> (usize, usize) {
        if let Some(waiter) = self.queue.remove(from) {
            self.queue.insert(to, waiter);
        }
        (from, to)
    }

    pub(super) fn is_queued(&self, owner: OwnerId) -> bool {
        self.queue.iter().any(|waiter| waiter.who.owner == owner)
    }

    pub(super) fn leave_queue(&mut self, owner: OwnerId) {
        self.queue.retain(|waiter| waiter.who.owner != owner);
    }

    pub(super) fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty()
    }

    /// Grants to those in the queue, in order, whose mode conflicts with no hold and with nobody still waiting before
    /// them. Who waits for writers only is told when there is none, whether he can be granted the lock or not.
    pub(super) fn grant_queue(&mut self, woken: &mut Woken) {
        let mut waiting_before = 0;
        let mut at = 0;
        while at < self.queue.len() {
            let (who, Request { mode, after_writers, .. }) = (self.queue[at].who, self.queue[at].request);
            let is_granted = self.suits_holders(who, mode) && waiting_before & mode.conflicts() == 0;
            let is_over = after_writers && !self.has_other_writer(who);
            if !is_granted && !is_over {
                waiting_before |= mode.bit();
                at += 1;
                continue;
            }
            let waiter = self.queue.remove(at).expect("the place is within the queue");
            if is_granted {
                self.hold(waiter.who, waiter.request.modes());
            }
            woken.push(waiter.signal);
        }
    }

    /// The holders that keep a waiter from being granted.
    pub(super) fn blocking_holders(&self, waiter: &Waiter) -> impl Iterator<Item = Asker> {
        let (who, request) = (waiter.who, waiter.request);
        let conflicts = if request.after_writers { WRITES } else { request.mode.conflicts() };
        let blocks = move |holder: &&Holder| holder.modes & conflicts != 0 && is_other(holder.who, who);
        self.holders.iter().filter(blocks).map(|holder| holder.who)
    }

    /// Those before a waiter in the queue whom it may not pass.
    pub(super) fn blocking_waiters(&self, at: usize) -> impl Iterator<Item = Asker> {
        let waiter = &self.queue[at];
        let before = self.queue.iter().take(if waiter.request.after_writers { 0 } else { at });
        before.filter(|other| other.request.mode.conflicts_with(waiter.request.mode)).map(|other| other.who)
    }
}

/// Whether a holder may be in somebody's way: a session's own locks never are in its transaction's, nor the other way
/// round. Two transactions of one session may be, for the first may still be flushed when the second begins.
fn is_other(holder: Asker, who: Asker) -> bool {
    holder.owner != who.owner && (holder.party != who.party || !(holder.owner.is_session() || who.owner.is_session()))
}
