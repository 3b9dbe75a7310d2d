//! SERIALIZABLE: read-write dependencies between serializable transactions, and who of them must fail (serializable
//! snapshot isolation, Cahill 2008; the rules are those of PostgreSQL, Ports and Grittner 2012).
//!
//! A serializable transaction reads one snapshot like a REPEATABLE READ one. Beside that it notes here the key ranges
//! that it reads, up to where each scan came, and the keys that it writes. One that read what another, concurrent one
//! has written without seeing it comes before that one in any serial order: an edge, reader -> writer. Every cycle has
//! two edges in a row, in -> pivot -> out, of which `out` commits first; one of the three is failed when the second
//! edge appears, or when `out` is about to commit. What committed transactions did is kept as long as one that
//! overlapped them is open.
//!
//! Transactions of other levels are not known here, as in PostgreSQL: what they write is no dependency. Nor are
//! catalogs (their locks order them), messages of topics, and the expiry of STREAM rows, which is no write. A definition
//! that looks at all rows has read them all, and one that gives a table or an index another storage takes the reads of
//! everybody along.

mod participant;
mod ranges;
mod rules;

use crate::error::{Error, Result, SqlState};
use crate::limits::{SERIALIZABLE_BYTES_MAX, SERIALIZABLE_HISTORY_MAX};
use crate::storage::StoreSnapshot;
use crate::types::CommitSeq;
use crate::wait::{self, Wait};
use bytes::Bytes;
use parking_lot::Mutex;
use participant::Participant;
pub(super) use participant::Safety;
use ranges::Ranges;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

/// Where a transaction was found to be in the way.
#[derive(Clone, Copy)]
enum Reason {
    PivotAtRead,
    PivotAtWrite,
    DoomedAtWrite,
    PivotAtCommit,
    OutToPivot(u64),
    InFromPivot,
}

/// All serializable transactions that are open or matter to one that is.
#[derive(Default)]
pub(super) struct Serializable {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: HashMap<u64, Participant>,
    /// Those that have not committed.
    open: BTreeSet<u64>,
    /// Those that have committed, in this order.
    finished: VecDeque<u64>,
    /// The last number given to a prepare or a commit.
    last: u64,
    /// What is known to be published: no snapshot that is taken from now on lacks a commit up to here.
    published: CommitSeq,
    /// Bytes of all ranges.
    bytes: usize,
}

/// The first snapshot of a transaction.
pub(super) enum Began {
    /// Reads are noted from now on.
    Noted(StoreSnapshot),
    /// READ ONLY, and nothing that it reads can be part of an anomaly.
    Safe(StoreSnapshot),
}

impl Serializable {
    /// Takes the snapshot of a transaction that begins to read.
    pub(super) fn begin(
        &self,
        id: u64,
        pid: i32,
        read_only: bool,
        snapshot: impl FnOnce() -> Result<StoreSnapshot>,
    ) -> Result<Began> {
        let mut state = self.state.lock();
        let snapshot = snapshot()?;
        state.published = state.published.max(snapshot.seq());
        let mut new = Participant::new(pid, snapshot.seq(), state.last, read_only);
        if read_only {
            let may_write = |id: &&u64| state.all.get(id).is_some_and(|other| !other.read_only && !other.doomed);
            new.unsafe_by = state.open.iter().filter(may_write).copied().collect();
            if state.is_unsafe(&new) {
                new.settle(Safety::Unsafe);
            } else if new.unsafe_by.is_empty() {
                return Ok(Began::Safe(snapshot));
            }
        }
        state.all.insert(id, new);
        state.open.insert(id);
        Ok(Began::Noted(snapshot))
    }

    /// What became of the snapshot of a READ ONLY DEFERRABLE transaction: a wait while that is open.
    pub(super) fn safety(&self, id: u64) -> std::result::Result<Safety, Wait> {
        let mut state = self.state.lock();
        let Some(own) = state.all.get_mut(&id) else { return Ok(Safety::Safe) };
        match own.safety {
            Safety::Open => {
                let (signal, wait) = wait::pair(None);
                own.waiting = Some(signal);
                Err(wait)
            }
            known => Ok(known),
        }
    }

    /// Whether a session waits for a safe snapshot.
    pub(super) fn is_waiting(&self, pid: i32) -> bool {
        let state = self.state.lock();
        state.all.values().any(|one| one.pid == pid && one.waiting.is_some() && one.safety == Safety::Open)
    }

    /// Notes that a transaction reads a range of keys.
    pub(super) fn read(&self, id: u64, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<()> {
        let (from, to) = (ranges::first(from), ranges::end(to));
        let mut state = self.state.lock();
        let Some(own) = state.all.get_mut(&id) else { return Ok(()) };
        if own.doomed {
            return Err(failure(Reason::PivotAtRead));
        }
        let before = own.bytes();
        own.reads.add(from.clone(), to.clone());
        let after = own.bytes();
        state.grow(id, before, after);
        for writer in state.concurrent(id, |other| other.writes.meets(&from, &to)) {
            if state.matters_to_reader(id, writer) {
                state.add_edge(id, writer, id)?;
            }
        }
        Ok(())
    }

    /// Notes that a definition reads a range of keys as it is now, with all that was committed before: there is nobody
    /// whose writes it has missed, and who writes there from now on comes after it.
    pub(super) fn read_latest(&self, id: u64, from: &[u8], to: &[u8]) {
        let mut state = self.state.lock();
        if let Some(own) = state.all.get_mut(&id).filter(|own| !own.doomed) {
            let before = own.bytes();
            own.reads.add(Bytes::copy_from_slice(from), Bytes::copy_from_slice(to));
            let after = own.bytes();
            state.grow(id, before, after);
        }
    }

    /// Whoever has read something in a range has read all of another one: the rows are there now.
    pub(super) fn move_reads(&self, (from, to): (&[u8], &[u8]), (new_from, new_to): (&[u8], &[u8])) {
        let mut state = self.state.lock();
        let met = state.all.iter().filter(|(_, one)| one.reads.meets(from, to));
        let readers: Vec<u64> = met.map(|(id, _)| *id).collect();
        for id in readers {
            let Some(reader) = state.all.get_mut(&id) else { continue };
            let before = reader.bytes();
            reader.reads.add(Bytes::copy_from_slice(new_from), Bytes::copy_from_slice(new_to));
            let after = reader.bytes();
            state.grow(id, before, after);
        }
    }

    /// Notes that a transaction writes a key, over the version that a commit made where that is known.
    pub(super) fn write(&self, id: u64, key: &Bytes, over: Option<CommitSeq>) -> Result<()> {
        let is_older = |state: &State, reader| over.is_some_and(|over| state.has_older_version(reader, over));
        self.note_write(id, |own| own.add_key(key), |other| other.has(key), is_older)
    }

    /// Notes that a transaction writes all keys of a range: TRUNCATE and its kin.
    pub(super) fn write_all(&self, id: u64, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<()> {
        let (from, to) = (ranges::first(from), ranges::end(to));
        self.note_write(id, |own| own.add(from.clone(), to.clone()), |other| other.meets(&from, &to), |_, _| false)
    }

    fn note_write(
        &self,
        id: u64,
        add: impl FnOnce(&mut Ranges),
        meets: impl Fn(&Ranges) -> bool,
        comes_before_anyway: impl Fn(&State, u64) -> bool,
    ) -> Result<()> {
        let mut state = self.state.lock();
        let Some(own) = state.all.get_mut(&id) else { return Ok(()) };
        if own.doomed {
            return Err(failure(Reason::DoomedAtWrite));
        }
        let before = own.bytes();
        add(&mut own.writes);
        let after = own.bytes();
        state.grow(id, before, after);
        for reader in state.concurrent(id, |other| meets(&other.reads)) {
            if !comes_before_anyway(&state, reader) {
                state.add_edge(reader, id, id)?;
            }
        }
        Ok(())
    }

    /// The last check before a commit. After it the transaction is failed no more; the others are, where it is in their
    /// way.
    pub(super) fn prepare(&self, id: u64) -> Result<()> {
        self.state.lock().prepare(id)
    }

    /// A prepared transaction is durable, and is about to be published at this position; none where it wrote nothing.
    pub(super) fn commit(&self, id: u64, seq: Option<CommitSeq>) {
        let mut state = self.state.lock();
        state.commit(id, seq);
        if seq.is_none() {
            state.forget();
        }
    }

    /// What was committed up to this position is published.
    pub(super) fn published(&self, seq: CommitSeq) {
        let mut state = self.state.lock();
        state.published = state.published.max(seq);
        state.forget();
    }

    /// A transaction is rolled back.
    pub(super) fn abort(&self, id: u64) {
        let mut state = self.state.lock();
        if let Some(gone) = state.remove(id) {
            if !gone.read_only {
                state.settle_readers(id, None);
            }
            state.forget();
        }
    }
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Participant> {
        self.open.remove(&id);
        let gone = self.all.remove(&id)?;
        self.bytes -= gone.bytes();
        Some(gone)
    }

    /// Counts what a transaction remembers; where all together is too much, it remembers whole relations only.
    fn grow(&mut self, id: u64, before: usize, after: usize) {
        self.bytes = self.bytes + after - before;
        if self.bytes > SERIALIZABLE_BYTES_MAX
            && after > before
            && let Some(own) = self.all.get_mut(&id)
        {
            own.reads.coarsen();
            own.writes.coarsen();
            self.bytes = self.bytes + own.bytes() - after;
        }
    }

    /// Fails a transaction at its next step. What it did counts no more.
    fn doom(&mut self, id: u64) {
        if let Some(one) = self.all.get_mut(&id) {
            self.bytes -= one.bytes();
            one.doom();
        }
    }

    /// The transactions that overlap one and fulfil a condition, but for those that will fail anyway.
    fn concurrent(&self, id: u64, fulfils: impl Fn(&Participant) -> bool) -> Vec<u64> {
        let own = &self.all[&id];
        let counts = |other: &Participant| !other.doomed && fulfils(other);
        let open = self.open.iter().filter(|other| **other != id && counts(&self.all[*other]));
        let mut found: Vec<u64> = open.copied().collect();
        // newest first: what one overlaps is at the end
        for other in self.finished.iter().rev() {
            let participant = &self.all[other];
            if own.overlaps(participant) {
                if counts(participant) {
                    found.push(*other);
                }
            } else if participant.seq.is_some() {
                break;
            }
        }
        found
    }

    /// Forgets the committed transactions that no open one overlaps, nor one that is yet to begin: the snapshot of one that
    /// begins before a commit is published lacks that. Where too many are kept, the transaction that has been open longest
    /// must fail.
    fn forget(&mut self) {
        loop {
            let open = self.open.iter().filter_map(|id| Some((*id, self.all.get(id)?))).filter(|(_, one)| !one.doomed);
            let oldest = open.min_by_key(|(_, one)| (one.snapshot, one.began)).map(|(id, _)| id);
            let is_over = |front: &Participant| match oldest.and_then(|oldest| self.all.get(&oldest)) {
                None => front.seq.is_none_or(|seq| seq <= self.published),
                Some(oldest) => !oldest.overlaps(front),
            };
            let over = self.finished.iter().take_while(|id| is_over(&self.all[*id])).count();
            let over: Vec<u64> = self.finished.drain(..over).collect();
            over.into_iter().for_each(|id| drop(self.remove(id)));
            let is_full = self.finished.len() > SERIALIZABLE_HISTORY_MAX;
            match oldest.filter(|id| is_full && self.all[id].prepared().is_none()) {
                Some(oldest) => self.doom(oldest),
                None => return,
            }
        }
    }
}

fn failure(reason: Reason) -> Error {
    let why = match reason {
        Reason::PivotAtRead => "identification as a pivot, during conflict out checking".to_owned(),
        Reason::PivotAtWrite => "identification as a pivot, during write".to_owned(),
        Reason::DoomedAtWrite => "identification as a pivot, during conflict in checking".to_owned(),
        Reason::PivotAtCommit => "identification as a pivot, during commit attempt".to_owned(),
        Reason::OutToPivot(pivot) => format!("conflict out to pivot {pivot}, during read"),
        Reason::InFromPivot => "commit attempt with conflict in from prepared pivot".to_owned(),
    };
    let message = "could not serialize access due to read/write dependencies among transactions";
    Error::new(SqlState::T_R_SERIALIZATION_FAILURE, message)
        .detail(format!("Reason code: Canceled on {why}."))
        .hint("The transaction might succeed if retried.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Index, MemoryIndex, Store, StoreOptions};
    use std::sync::Arc;

    fn store() -> Arc<Store> {
        let bytes = 1 << 20;
        let options = StoreOptions {
            generation_bytes: bytes,
            recent_bytes_max: bytes,
            fold_part_bytes: bytes,
            retired_bytes_max: bytes,
        };
        Arc::new(Store::open(Index::memory(MemoryIndex::default()), options).unwrap())
    }

    fn begin(all: &Serializable, id: u64, read_only: bool, store: &Arc<Store>) -> Began {
        all.begin(id, 0, read_only, || store.snapshot()).unwrap()
    }

    fn read(all: &Serializable, id: u64, key: &'static str) -> Result<()> {
        all.read(id, Bound::Included(key.as_bytes()), Bound::Included(key.as_bytes()))
    }

    fn write(all: &Serializable, id: u64, key: &'static str) -> Result<()> {
        all.write(id, &Bytes::from(key), None)
    }

    #[test]
    fn one_that_begins_between_a_commit_and_its_publication_is_concurrent_to_it() {
        let (all, store) = (Serializable::default(), store());
        begin(&all, 1, false, &store);
        assert!(read(&all, 1, "x").is_ok() && write(&all, 1, "y").is_ok() && all.prepare(1).is_ok());
        all.commit(1, Some(CommitSeq(1)));
        begin(&all, 2, false, &store);
        assert!(read(&all, 2, "y").is_ok());
        assert!(write(&all, 2, "x").is_err(), "write skew with one that was committed, but not published");
        all.abort(2);
        store.publish(CommitSeq(1));
        all.published(CommitSeq(1));
        assert!(all.state.lock().all.is_empty());
    }

    #[test]
    fn a_snapshot_without_a_commit_that_comes_before_what_it_sees_is_not_safe() {
        let (all, store) = (Serializable::default(), store());
        begin(&all, 1, false, &store);
        begin(&all, 2, false, &store);
        assert!(read(&all, 1, "x").is_ok() && write(&all, 2, "x").is_ok() && all.prepare(2).is_ok());
        all.commit(2, Some(CommitSeq(1)));
        store.publish(CommitSeq(1));
        all.published(CommitSeq(1));
        assert!(write(&all, 1, "y").is_ok() && all.prepare(1).is_ok());
        all.commit(1, Some(CommitSeq(2)));
        assert!(matches!(begin(&all, 3, true, &store), Began::Noted(_)), "it sees what 1 comes before, and not 1");
        assert!(matches!(all.safety(3), Ok(Safety::Unsafe)));
        assert!(read(&all, 3, "y").is_err());
        all.abort(3);
        store.publish(CommitSeq(2));
        all.published(CommitSeq(2));
        assert!(matches!(begin(&all, 4, true, &store), Began::Safe(_)));
        assert!(all.state.lock().all.is_empty());
    }
}
