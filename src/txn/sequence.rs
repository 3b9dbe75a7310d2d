//! Sequences: numbers that never come again, neither after a rollback nor after a crash.
//!
//! A [`Counter`] counts in memory, outside of transactions. What it gives out it has reserved before, by a commit of its
//! own that says how far it may count until the next: after a crash counting goes on there, and what was not given out
//! is a gap. Blocks grow while they are used up quickly, and the next is reserved while the current one lasts, so that
//! whoever asks seldom waits for a flush. A clean end writes down how far it came, and leaves no gap.
//!
//! A counter belongs to a storage id. ALTER SEQUENCE … RESTART gives the sequence another, whose counter begins anew
//! with that transaction's commit; other options change how the next number is found, not where it begins.

use super::engine::Engine;
use super::ticket::CommitTicket;
use super::transaction::{Transaction, TxnOptions};
use crate::catalog::{Relation, RelationKind, Sequence};
use crate::change::AtEnd;
use crate::encoding::key::{self, Space};
use crate::error::{Error, Result, SqlState};
use crate::interrupt::terminated;
use crate::limits::{SEQUENCE_RESERVE_MAX, SEQUENCE_RESERVE_MIN};
use crate::types::{CommitSeq, ScopeId, StorageId};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// After the prefix of a sequence's storage in space Meta: how far its numbers may have been given out.
const SEQUENCE: &[u8] = b"sequence";

/// A block that is used up in less time is followed by one of twice its size, microseconds.
const QUICKLY: u64 = 1_000_000;

/// Where a sequence stands, as selecting from it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceState {
    /// The last number given out, or where `is_called` is false the next one.
    pub last: i64,
    /// Whether a number was given out.
    pub is_called: bool,
    /// How many numbers are reserved beyond it.
    pub reserved: u64,
}

/// Numbers that one call has got: the first and the last, an increment apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The first.
    pub first: i64,
    /// The last.
    pub last: i64,
}

/// The answer to a request for numbers.
pub enum Counted {
    /// They are given out.
    Numbers(Numbers),
    /// Ask again when what the log is to know is there.
    Later(CommitTicket),
}

/// A sequence at work.
pub struct Counter {
    storage: StorageId,
    state: Mutex<State>,
}

struct State {
    last: i64,
    is_called: bool,
    /// The last number that is reserved; none where none is.
    end: Option<i64>,
    /// Numbers of the last block, and when it was reserved; 0 before the first.
    block: u64,
    since: u64,
    /// The next block's end, on its way to the log.
    next: Option<(CommitTicket, i64)>,
    /// Where setval says that it stands, on its way to the log: nothing is given out before it is there.
    setting: Option<(CommitTicket, i64, bool)>,
    /// The engine has ended: nothing is given out that the log does not know.
    closed: bool,
}

/// Numbers that are reserved together.
#[derive(Clone, Copy)]
struct Block {
    end: i64,
    count: u64,
}

/// The counters of an engine by storage id.
#[derive(Default)]
pub(super) struct Sequences(Arc<RwLock<HashMap<StorageId, Arc<Counter>>>>);

/// Forgets a counter when its transaction ends so.
struct Forget {
    counters: Arc<RwLock<HashMap<StorageId, Arc<Counter>>>>,
    storage: StorageId,
    /// With the commit, or with the rollback.
    committed: bool,
}

impl AtEnd for Forget {
    fn end(self: Box<Self>, committed: Option<CommitSeq>) {
        if committed.is_some() == self.committed {
            self.counters.write().remove(&self.storage);
        }
    }
}

fn state_key(storage: StorageId) -> Bytes {
    let mut out = key::prefix(Space::Meta, storage, ScopeId::SHARED);
    out.extend_from_slice(SEQUENCE);
    out.into()
}

fn encode(last: i64, is_called: bool) -> Bytes {
    Bytes::from([last.to_le_bytes().as_slice(), &[u8::from(is_called)]].concat())
}

fn decode(bytes: &[u8]) -> Result<(i64, bool)> {
    match bytes.split_first_chunk::<8>() {
        Some((last, &[is_called])) => Ok((i64::from_le_bytes(*last), is_called != 0)),
        _ => Err(Error::new(SqlState::DATA_CORRUPTED, "stored sequence cannot be decoded")),
    }
}

/// What follows a number without beginning anew; none at the end.
fn following(sequence: &Sequence, last: i64) -> Option<i64> {
    last.checked_add(sequence.increment).filter(|next| (sequence.min..=sequence.max).contains(next))
}

/// What follows a number; 2200H at the end of a sequence that does not cycle.
fn next_after(sequence: &Sequence, name: &str, last: i64) -> Result<i64> {
    if let Some(next) = following(sequence, last) {
        return Ok(next);
    }
    let (bound, what, first) = match sequence.increment > 0 {
        true => (sequence.max, "maximum", sequence.min),
        false => (sequence.min, "minimum", sequence.max),
    };
    if sequence.cycle {
        return Ok(first);
    }
    let message = format!("nextval: reached {what} value of sequence \"{name}\" ({bound})");
    Err(Error::new(SqlState::SEQUENCE_GENERATOR_LIMIT_EXCEEDED, message))
}

/// The numbers from `first` on that may be reserved together.
fn block_from(sequence: &Sequence, first: i64, count: u64) -> Block {
    let step = i128::from(sequence.increment);
    let bound = if step > 0 { sequence.max } else { sequence.min };
    let steps = ((i128::from(bound) - i128::from(first)) / step).clamp(0, i128::from(count) - 1);
    Block { end: (i128::from(first) + steps * step) as i64, count: steps as u64 + 1 }
}

/// The numbers from `first` to the last reserved one. What was reserved counts only where counting comes by: ALTER
/// SEQUENCE may have changed how it counts since.
fn reserved_from(sequence: &Sequence, first: i64, end: i64) -> u64 {
    let (way, step) = (i128::from(end) - i128::from(first), i128::from(sequence.increment));
    match way % step == 0 && way / step >= 0 {
        true => u64::try_from(way / step + 1).unwrap_or(u64::MAX),
        false => 0,
    }
}

impl State {
    fn reserved_from(&self, sequence: &Sequence, first: i64) -> u64 {
        self.end.map_or(0, |end| reserved_from(sequence, first, end))
    }

    /// Takes over what has come to the log: what must be waited for where a part is still on its way.
    fn take_setting(&mut self) -> Result<Option<CommitTicket>> {
        let Some((ticket, last, is_called)) = self.setting.take() else { return Ok(None) };
        match ticket.poll() {
            None => {
                self.setting = Some((ticket.clone(), last, is_called));
                Ok(Some(ticket))
            }
            Some(outcome) => {
                outcome?;
                (self.last, self.is_called, self.end) = (last, is_called, None);
                Ok(None)
            }
        }
    }

    /// The same of the next block.
    fn take_block(&mut self) -> Result<Option<CommitTicket>> {
        let Some((ticket, end)) = self.next.take() else { return Ok(None) };
        match ticket.poll() {
            None => {
                self.next = Some((ticket.clone(), end));
                Ok(Some(ticket))
            }
            Some(outcome) => {
                outcome?;
                self.end = Some(end);
                Ok(None)
            }
        }
    }
}

impl Counter {
    /// Gives out the next number, and as many after it as the sequence's CACHE says and are reserved. The caller waits
    /// where the log is to be flushed first.
    ///
    /// # Errors
    /// 2200H at the end, and those of the commit that reserves.
    pub fn next(&self, engine: &Arc<Engine>, sequence: &Sequence, name: &str) -> Result<Counted> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(terminated());
        }
        if let Some(ticket) = state.take_setting()? {
            return Ok(Counted::Later(ticket));
        }
        let first = match state.is_called {
            true => next_after(sequence, name, state.last)?,
            false => state.last,
        };
        if state.is_called && following(sequence, state.last).is_none() {
            // it begins anew: what was reserved does not follow
            (state.end, state.next) = (None, None);
        }
        if state.reserved_from(sequence, first) == 0
            && let Some(ticket) = state.take_block()?
        {
            return Ok(Counted::Later(ticket));
        }
        if state.reserved_from(sequence, first) == 0 {
            self.begin_block(engine, &mut state, sequence, first)?;
            if let Some(ticket) = state.take_block()? {
                return Ok(Counted::Later(ticket));
            }
        }
        let reserved = state.reserved_from(sequence, first);
        let taken = block_from(sequence, first, reserved.min(sequence.cache as u64).max(1));
        (state.last, state.is_called) = (taken.end, true);
        if state.next.is_none()
            && reserved - taken.count < state.block / 2
            && let Some(first) = state.end.and_then(|end| following(sequence, end))
        {
            // one that fails is tried again when it is needed
            let _ = self.begin_block(engine, &mut state, sequence, first);
        }
        Ok(Counted::Numbers(Numbers { first, last: taken.end }))
    }

    /// The same, waiting in this thread.
    pub fn next_now(&self, engine: &Arc<Engine>, sequence: &Sequence, name: &str) -> Result<Numbers> {
        loop {
            match self.next(engine, sequence, name)? {
                Counted::Numbers(numbers) => return Ok(numbers),
                Counted::Later(ticket) => engine.finish(&ticket).map(|_| ())?,
            }
        }
    }

    /// Where it stands.
    pub fn state(&self, sequence: &Sequence) -> SequenceState {
        let mut state = self.state.lock();
        // one that failed is reported to whoever counts on
        if state.setting.as_ref().is_some_and(|(ticket, ..)| matches!(ticket.poll(), Some(Ok(_)))) {
            let _ = state.take_setting();
        }
        let next = if state.is_called { following(sequence, state.last) } else { None };
        let reserved = next.map_or(0, |next| state.reserved_from(sequence, next));
        SequenceState { last: state.last, is_called: state.is_called, reserved }
    }

    /// setval: counting goes on from here, whatever becomes of the transaction, once the log knows of it; until then
    /// nobody counts. Of several the last one stands.
    pub fn set(&self, engine: &Arc<Engine>, last: i64, is_called: bool) -> Result<CommitTicket> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(terminated());
        }
        let ticket = self.write(engine, last, is_called)?;
        // a block that is on its way reserves what does not follow any more
        state.next = None;
        state.setting = Some((ticket.clone(), last, is_called));
        state.block = state.block.max(1);
        Ok(ticket)
    }

    /// Begins to reserve the numbers from `first` on.
    fn begin_block(&self, engine: &Arc<Engine>, state: &mut State, sequence: &Sequence, first: i64) -> Result<()> {
        let now = engine.env.monotonic();
        let wanted = match now.saturating_sub(state.since) < QUICKLY && state.block > 0 {
            true => state.block.saturating_mul(2).clamp(SEQUENCE_RESERVE_MIN, SEQUENCE_RESERVE_MAX),
            false => (state.block / 2).max(SEQUENCE_RESERVE_MIN),
        };
        let block = block_from(sequence, first, wanted.max(sequence.cache as u64));
        let ticket = self.write(engine, block.end, true)?;
        (state.block, state.since) = (wanted, now);
        state.next = Some((ticket, block.end));
        Ok(())
    }

    fn write(&self, engine: &Arc<Engine>, last: i64, is_called: bool) -> Result<CommitTicket> {
        let mut transaction = engine.begin(TxnOptions::default())?;
        transaction.put_plain(state_key(self.storage), Some(encode(last, is_called)))?;
        transaction.start_commit()
    }
}

impl Engine {
    /// The counter of a sequence.
    pub fn counter(&self, relation: &Relation) -> Result<Arc<Counter>> {
        let RelationKind::Sequence(sequence) = &relation.kind else {
            return Err(Error::internal("a relation that is no sequence has no counter"));
        };
        let storage = relation.storage;
        if let Some(counter) = self.sequences.0.read().get(&storage) {
            return Ok(counter.clone());
        }
        let mut counters = self.sequences.0.write();
        if let Some(counter) = counters.get(&storage) {
            return Ok(counter.clone());
        }
        let stored = self.store.snapshot()?.get(&state_key(storage))?;
        let (last, is_called) = stored.map_or(Ok((sequence.initial, false)), |bytes| decode(&bytes))?;
        let state = State { last, is_called, end: None, block: 0, since: 0, next: None, setting: None, closed: false };
        let counter = Arc::new(Counter { storage, state: Mutex::new(state) });
        counters.insert(storage, counter.clone());
        Ok(counter)
    }

    /// Writes down how far each sequence came, and gives out no more numbers.
    pub(super) fn close_sequences(self: &Arc<Engine>) -> Result<()> {
        let counters: Vec<Arc<Counter>> = self.sequences.0.read().values().cloned().collect();
        let mut transaction = self.begin(TxnOptions::default())?;
        for counter in counters {
            let mut state = counter.state.lock();
            // whatever becomes of it: what comes later in the log counts
            state.next = None;
            if let Some((ticket, last, is_called)) = state.setting.take()
                && self.finish(&ticket).is_ok()
            {
                (state.last, state.is_called) = (last, is_called);
            }
            state.closed = true;
            if state.block > 0 {
                let stored = encode(state.last, state.is_called);
                transaction.put_plain(state_key(counter.storage), Some(stored))?;
            }
        }
        if transaction.has_written() {
            self.finish(&transaction.start_commit()?)?;
        }
        Ok(())
    }

    /// Removes what sequences have left whose transactions were rolled back or were dropped while somebody counted.
    pub(super) fn sweep_sequences(self: &Arc<Engine>) -> Result<()> {
        let snapshot = self.store.snapshot()?;
        let catalog = self.catalog();
        let alive = catalog.relations().filter(|relation| matches!(relation.kind, RelationKind::Sequence(_)));
        let alive: HashSet<Bytes> = alive.map(|relation| state_key(relation.storage)).collect();
        let mut transaction = self.begin(TxnOptions::default())?;
        super::recovery::for_each(&snapshot, vec![Space::Meta as u8], |mark, _| {
            if mark.get(key::PREFIX_BYTES..) == Some(SEQUENCE) && !alive.contains(&mark) {
                transaction.put_plain(mark, None)?;
            }
            Ok(())
        })?;
        if transaction.has_written() {
            self.finish(&transaction.start_commit()?)?;
        }
        Ok(())
    }
}

impl Transaction {
    /// A sequence's storage that this transaction makes: a rollback forgets its counter.
    pub fn begin_sequence(&mut self, storage: StorageId) {
        let counters = self.engine.sequences.0.clone();
        self.at_end(Box::new(Forget { counters, storage, committed: false }));
    }

    /// A sequence's storage that is not used any more once the transaction is committed.
    pub fn end_sequence(&mut self, storage: StorageId) -> Result<()> {
        let counters = self.engine.sequences.0.clone();
        self.at_end(Box::new(Forget { counters, storage, committed: true }));
        self.put_plain(state_key(storage), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SqlType;

    fn sequence(increment: i64, min: i64, max: i64) -> Sequence {
        Sequence { ty: SqlType::INT8, start: min, initial: min, increment, min, max, cache: 1, cycle: false }
    }

    #[test]
    fn blocks_end_where_the_sequence_does() {
        let up = block_from(&sequence(3, 1, 10), 4, 32);
        assert_eq!((up.end, up.count), (10, 3));
        let down = block_from(&sequence(-1, i64::MIN, -1), i64::MIN + 1, 32);
        assert_eq!((down.end, down.count), (i64::MIN, 2));
        let wide = block_from(&sequence(i64::MAX, i64::MIN, i64::MAX), i64::MIN, 32);
        assert_eq!((wide.end, wide.count), (i64::MAX - 1, 3));
    }

    #[test]
    fn what_was_reserved_counts_only_where_counting_comes_by() {
        assert_eq!(reserved_from(&sequence(3, 1, 100), 4, 10), 3);
        assert_eq!(reserved_from(&sequence(3, 1, 100), 4, 11), 0);
        assert_eq!(reserved_from(&sequence(-1, 1, 100), 4, 10), 0);
        assert_eq!(reserved_from(&sequence(1, i64::MIN, i64::MAX), i64::MIN, i64::MAX), u64::MAX);
    }
}
