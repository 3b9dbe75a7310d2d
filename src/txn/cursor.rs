//! A range of keys as a statement sees it: the snapshot's entries merged with the transaction's own writes.

use super::transaction::{StatementView, Transaction};
use crate::error::Result;
use crate::limits::{SCAN_BATCH, SCAN_BATCH_BYTES};
use crate::storage::{Direction, StoreCursor, is_empty_range};
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Bound;

/// The keys between two bounds.
type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A range that is read in batches. It holds no lock and no borrow between them.
pub struct TxCursor {
    store: StoreCursor,
    direction: Direction,
    /// What was read of the store and is not given out yet.
    stored: VecDeque<(Bytes, Bytes)>,
    stored_exhausted: bool,
    batch: Vec<(Bytes, Bytes)>,
    /// The same of the own writes, and the range in which more may follow.
    own: VecDeque<(Bytes, Option<Bytes>)>,
    own_exhausted: bool,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    /// SERIALIZABLE: what of the range has not been noted as read.
    unnoted: Option<KeyRange>,
}

impl TxCursor {
    pub(super) fn new(
        view: &StatementView,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        direction: Direction,
        unnoted: Option<KeyRange>,
    ) -> TxCursor {
        let empty = is_empty_range(from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        TxCursor {
            store: view.snapshot().cursor(from.clone(), to.clone(), direction),
            direction,
            stored: VecDeque::new(),
            stored_exhausted: empty,
            batch: Vec::new(),
            own: VecDeque::new(),
            own_exhausted: empty,
            from,
            to,
            unnoted: unnoted.filter(|_| !empty),
        }
    }

    /// Adds the next entries in the cursor's direction, `max` at most, fewer where they are large. False when nothing
    /// follows.
    pub fn next_batch(
        &mut self,
        transaction: &Transaction,
        view: &StatementView,
        out: &mut Vec<(Bytes, Bytes)>,
        max: usize,
    ) -> Result<bool> {
        let start = out.len();
        let more = self.read(transaction, view, out, max)?;
        if self.unnoted.is_some() {
            let last = out[start..].last().map(|(key, _)| key);
            self.note(transaction, last, more)?;
        }
        Ok(more)
    }

    /// Notes how far it has read: up to and with the last key, or all where nothing follows.
    fn note(&mut self, transaction: &Transaction, last: Option<&Bytes>, more: bool) -> Result<()> {
        let Some((from, to)) = self.unnoted.take() else { return Ok(()) };
        let (near, far) = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        self.unnoted = match (last, self.direction) {
            _ if !more => {
                transaction.note_read(near, far)?;
                None
            }
            (None, _) => Some((from, to)),
            (Some(last), Direction::Forward) => {
                transaction.note_read(near, Bound::Included(last))?;
                Some((Bound::Excluded(last.to_vec()), to))
            }
            (Some(last), Direction::Backward) => {
                transaction.note_read(Bound::Included(last), far)?;
                Some((from, Bound::Excluded(last.to_vec())))
            }
        };
        Ok(())
    }

    fn read(
        &mut self,
        transaction: &Transaction,
        view: &StatementView,
        out: &mut Vec<(Bytes, Bytes)>,
        max: usize,
    ) -> Result<bool> {
        // what is written from now on belongs to later commands
        self.own_exhausted |= transaction.writes.is_empty();
        if self.own_exhausted && self.own.is_empty() && self.stored.is_empty() {
            if !self.stored_exhausted {
                self.stored_exhausted = !self.store.next_batch(view.snapshot(), out, max)?;
            }
            return Ok(!self.stored_exhausted);
        }
        let wanted = out.len() + max;
        let mut bytes = 0;
        while out.len() < wanted && bytes < SCAN_BATCH_BYTES {
            self.read_ahead(transaction, view, max.clamp(1, SCAN_BATCH))?;
            if self.stored.is_empty() && !self.stored_exhausted || self.own.is_empty() && !self.own_exhausted {
                continue;
            }
            let Some(next) = self.pop() else { return Ok(false) };
            if let (key, Some(value)) = next {
                bytes += value.len();
                out.push((key, value));
            }
        }
        Ok(true)
    }

    /// Reads on where nothing is ready.
    fn read_ahead(&mut self, transaction: &Transaction, view: &StatementView, max: usize) -> Result<()> {
        if self.stored.is_empty() && !self.stored_exhausted {
            self.stored_exhausted = !self.store.next_batch(view.snapshot(), &mut self.batch, max)?;
            self.stored.extend(self.batch.drain(..));
        }
        if self.own.is_empty() && !self.own_exhausted {
            let range = (&self.from, &self.to);
            let writes = &transaction.writes;
            self.own_exhausted = writes.batch(range, self.direction, view.command(), max, &mut self.own)?;
            if let Some((last, _)) = self.own.back() {
                let near = match self.direction {
                    Direction::Forward => &mut self.from,
                    Direction::Backward => &mut self.to,
                };
                *near = Bound::Excluded(last.to_vec());
            }
        }
        Ok(())
    }

    /// The next key; of equal keys the own write counts, and a removal hides the key.
    fn pop(&mut self) -> Option<(Bytes, Option<Bytes>)> {
        let order = match (self.stored.front(), self.own.front()) {
            (None, None) => return None,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((stored, _)), Some((own, _))) if self.direction == Direction::Forward => stored.cmp(own),
            (Some((stored, _)), Some((own, _))) => own.cmp(stored),
        };
        if order.is_le() {
            let stored = self.stored.pop_front().map(|(key, value)| (key, Some(value)));
            if order.is_lt() {
                return stored;
            }
        }
        self.own.pop_front()
    }
}
