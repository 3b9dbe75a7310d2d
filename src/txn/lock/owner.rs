//! A transaction as the lock table knows it: who it is, what it holds and in which order it got it, what it waits for.

use super::entry::{Asker, OwnerId, Party, Request};
use super::key::{Object, Place, RowKey};
use super::mode::{Modes, RowHold};

/// A transaction's locks. What is held is known by the order in which it was got, each with what was held of the same
/// thing before, so that going back to a savepoint is going back in this list.
#[derive(Debug)]
pub struct LockOwner {
    pub(super) who: Asker,
    /// Whether the table counts it among the open transactions.
    pub(super) is_open: bool,
    /// Whether it is known to lock rows or to write: it has a transaction id, in PostgreSQL's terms.
    pub(super) has_id: bool,
    pub(super) objects: Vec<HeldObject>,
    pub(super) rows: HeldRows,
    pub(super) waiting: Option<Waiting>,
    /// Waits begun so far.
    pub(super) waits: u64,
}

/// An object's lock.
#[derive(Debug)]
pub(super) struct HeldObject {
    pub(super) object: Object,
    /// What was held of it before.
    pub(super) before: Modes,
    /// What stays to the transaction's end, also where it goes back to a savepoint before this.
    pub(super) kept: Modes,
}

/// What an owner waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) place: Place,
    pub(super) request: Request,
    /// As whom: the transaction, or its session.
    pub(super) who: Asker,
    /// What it held of it when the wait began.
    pub(super) before: Modes,
}

/// A place to go back to.
#[derive(Clone, Copy, Debug)]
pub struct LockMark {
    pub(super) objects: usize,
    pub(super) rows: usize,
}

impl LockOwner {
    pub(super) fn new(id: u64, pid: i32, is_open: bool) -> LockOwner {
        LockOwner {
            who: Asker { owner: OwnerId(id), party: Party::of(pid, id) },
            is_open,
            has_id: false,
            objects: Vec::new(),
            rows: HeldRows::default(),
            waiting: None,
            waits: 0,
        }
    }

    /// One that holds nothing and stands for nobody, in the place of one that was handed on.
    pub fn nobody() -> LockOwner {
        LockOwner::new(0, 0, false)
    }

    /// How many row locks it holds, about.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The number of the wait that it is in.
    pub fn wait_number(&self) -> Option<u64> {
        self.waiting.is_some().then_some(self.waits)
    }

    /// The present place.
    pub fn mark(&self) -> LockMark {
        LockMark { objects: self.objects.len(), rows: self.rows.len() }
    }
}

/// Row locks in the order in which they were got: sixteen bytes each, the key's hash and what was held before. In pieces,
/// so that millions of them are never moved.
#[derive(Debug, Default)]
pub(super) struct HeldRows {
    pieces: Vec<Vec<RowKey>>,
}

impl HeldRows {
    const PIECE: usize = 8 << 10;

    pub(super) fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * Self::PIECE + last.len())
    }

    pub(super) fn push(&mut self, key: RowKey, before: RowHold) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < Self::PIECE => last.push(key.with(before.0)),
            Some(_) => {
                let mut piece = Vec::with_capacity(Self::PIECE);
                piece.push(key.with(before.0));
                self.pieces.push(piece);
            }
            None => self.pieces.push(vec![key.with(before.0)]),
        }
    }

    pub(super) fn pop(&mut self) -> Option<(RowKey, RowHold)> {
        let last = self.pieces.last_mut()?;
        let popped = last.pop().map(|held| held.split());
        if last.is_empty() {
            self.pieces.pop();
        }
        popped.map(|(key, before)| (key, RowHold(before)))
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.capacity() * std::mem::size_of::<RowKey>()).sum()
    }
}
