//! A range of keys as a statement sees it: the snapshot's entries merged with the transaction's own writes.

use super::transaction::{StatementView, Transaction};
use crate::error::Result;
use crate::storage::{Direction, StoreCursor};
use bytes::Bytes;
use std::ops::Bound;

/// A range that is read in batches. It holds no lock and no borrow between them.
pub struct TxCursor {
    store: StoreCursor,
    direction: Direction,
    /// What is still to come of the own writes.
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    batch: Vec<(Bytes, Bytes)>,
    finished: bool,
}

impl TxCursor {
    pub(super) fn new(
        view: &StatementView,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        direction: Direction,
    ) -> TxCursor {
        TxCursor {
            store: view.snapshot().cursor(from.clone(), to.clone(), direction),
            finished: is_empty(&from, &to),
            direction,
            from,
            to,
            batch: Vec::new(),
        }
    }

    /// Adds the next entries in the cursor's direction: about `max`, more where the transaction itself wrote many there.
    /// False when nothing follows.
    pub fn next_batch(
        &mut self,
        transaction: &Transaction,
        view: &StatementView,
        out: &mut Vec<(Bytes, Bytes)>,
        max: usize,
    ) -> Result<bool> {
        if self.finished {
            return Ok(false);
        }
        if transaction.writes.is_empty() {
            let more = self.store.next_batch(view.snapshot(), out, max)?;
            self.finished = !more;
            return Ok(more);
        }
        self.batch.clear();
        let more = self.store.next_batch(view.snapshot(), &mut self.batch, max)?;
        let last = if more { self.batch.last().map(|(key, _)| key.to_vec()) } else { None };
        if more && last.is_none() {
            return Ok(true);
        }
        self.merge(transaction, view, last.as_deref(), out);
        match (last, self.direction) {
            (None, _) => self.finished = true,
            (Some(last), Direction::Forward) => self.from = Bound::Excluded(last),
            (Some(last), Direction::Backward) => self.to = Bound::Excluded(last),
        }
        Ok(!self.finished && !is_empty(&self.from, &self.to))
    }

    /// Merges the batch with the own writes up to and with its last key, or to the range's end.
    fn merge(
        &mut self,
        transaction: &Transaction,
        view: &StatementView,
        last: Option<&[u8]>,
        out: &mut Vec<(Bytes, Bytes)>,
    ) {
        let (mut from, mut to) = (as_slice(&self.from), as_slice(&self.to));
        match (last, self.direction) {
            (None, _) => {}
            (Some(last), Direction::Forward) => to = Bound::Included(last),
            (Some(last), Direction::Backward) => from = Bound::Included(last),
        }
        let range = transaction.writes.range(from, to, view.command());
        let stored = self.batch.drain(..);
        match self.direction {
            Direction::Forward => merge(stored, range, |a, b| a < b, out),
            Direction::Backward => merge(stored, range.rev(), |a, b| a > b, out),
        }
    }
}

/// Two sorted runs into one; of equal keys the own write counts, and a removal hides the key.
fn merge<'a>(
    stored: impl Iterator<Item = (Bytes, Bytes)>,
    own: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>,
    before: impl Fn(&[u8], &[u8]) -> bool,
    out: &mut Vec<(Bytes, Bytes)>,
) {
    let mut stored = stored.peekable();
    for (key, value) in own {
        while let Some(entry) = stored.next_if(|(other, _)| before(other, key)) {
            out.push(entry);
        }
        stored.next_if(|(other, _)| other == key);
        if let Some(value) = value {
            out.push((key.clone(), value.clone()));
        }
    }
    out.extend(stored);
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Whether nothing can lie between two bounds; BTreeMap panics on such a range.
fn is_empty(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        _ => false,
    }
}
