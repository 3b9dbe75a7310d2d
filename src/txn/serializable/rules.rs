//! The rules: which edges make a dangerous structure, and who fails then.

use super::participant::{Participant, Phase, Safety};
use super::{Reason, State, failure};
use crate::error::Result;
use crate::types::CommitSeq;

impl State {
    /// Whether a reader must come before a writer at all. A READ ONLY one that a committed writer does not see may come
    /// first, unless that writer comes before something that the reader sees.
    pub(super) fn matters_to_reader(&self, reader: u64, writer: u64) -> bool {
        let (reader, writer) = (&self.all[&reader], &self.all[&writer]);
        !reader.read_only
            || writer.committed().is_none()
            || writer.earliest_out.is_some_and(|out| out <= reader.snapshot)
    }

    /// Adds an edge between two transactions, one of which is `own`, unless it is there. Where it completes a dangerous
    /// structure the writer fails: at once if that is `own`, at its next step if it can; else the reader.
    pub(super) fn add_edge(&mut self, reader: u64, writer: u64, own: u64) -> Result<()> {
        if self.all[&reader].outs.contains(&writer) {
            return Ok(());
        }
        if self.is_dangerous(&self.all[&reader], &self.all[&writer]) {
            if own == writer {
                return Err(failure(Reason::PivotAtWrite));
            }
            if self.all[&writer].prepared().is_some() {
                return Err(failure(Reason::OutToPivot(writer)));
            }
            self.doom(writer);
            return Ok(());
        }
        if let Some(reader) = self.all.get_mut(&reader) {
            reader.outs.push(writer);
        }
        if let Some(writer) = self.all.get_mut(&writer) {
            writer.ins.push(reader);
        }
        Ok(())
    }

    /// Whether the snapshot of a READ ONLY transaction that begins sees something that a transaction comes before which is
    /// committed, but not published yet.
    pub(super) fn is_unsafe(&self, reader: &Participant) -> bool {
        let latest = self.finished.iter().rev().filter_map(|id| self.all.get(id));
        let mut unseen = latest.take_while(|other| other.seq.is_none() || !reader.sees(other));
        unseen.any(|writer| writer.earliest_out.is_some_and(|out| out <= reader.snapshot))
    }

    /// Whether a reader has read an older version of a key than the one that a commit made: it comes before that commit's
    /// transaction, and through it before whoever writes over that version.
    pub(super) fn has_older_version(&self, reader: u64, over: CommitSeq) -> bool {
        let is_known = || self.finished.iter().rev().any(|id| self.all[id].seq == Some(over));
        over > self.all[&reader].snapshot && is_known()
    }

    fn of<'a>(&'a self, ids: &'a [u64]) -> impl Iterator<Item = &'a Participant> {
        // who is not there any more was rolled back, or committed before all that are
        ids.iter().filter_map(|id| self.all.get(id)).filter(|one| !one.doomed)
    }

    /// Whether an edge that is new would be part of in -> pivot -> out, with `out` committed first.
    fn is_dangerous(&self, reader: &Participant, writer: &Participant) -> bool {
        // reader -> writer -> out: the writer committed after an `out` of its own
        if writer.committed().is_some()
            && writer.earliest_out.is_some_and(|out| !reader.read_only || out <= reader.snapshot)
        {
            return true;
        }
        // the same, with an `out` that may yet be first
        let first = |out: &Participant, other: &Participant| match (out.prepared(), other.committed()) {
            (Some(prepared), Some(committed)) => prepared <= committed,
            _ => true,
        };
        let writer_is_pivot = self.of(&writer.outs).any(|out| {
            out.prepared().is_some()
                && first(out, reader)
                && first(out, writer)
                && (!reader.read_only || reader.sees(out))
        });
        if writer_is_pivot {
            return true;
        }
        // in -> reader -> writer
        let Some(prepared) = writer.prepared().filter(|_| !reader.read_only) else { return false };
        self.of(&reader.ins).any(|before| {
            before.committed().is_none_or(|committed| committed >= prepared)
                && (!before.read_only || before.sees(writer))
        })
    }

    /// See [`Serializable::prepare`](super::Serializable::prepare).
    pub(super) fn prepare(&mut self, id: u64) -> Result<()> {
        let Some(own) = self.all.get(&id) else { return Ok(()) };
        if own.doomed {
            return Err(failure(Reason::PivotAtCommit));
        }
        // far -> near -> own, where this one would be the first to commit: the pivot fails, so that whoever commits
        // makes progress
        let mut pivots = Vec::new();
        for &near in &own.ins {
            let Some(pivot) = self.all.get(&near).filter(|pivot| !pivot.doomed && pivot.committed().is_none()) else {
                continue;
            };
            let is_open = |far: &Participant| !far.doomed && far.committed().is_none() && !far.read_only;
            if pivot.ins.iter().any(|far| *far == id || self.all.get(far).is_some_and(is_open)) {
                if pivot.prepared().is_some() {
                    return Err(failure(Reason::InFromPivot));
                }
                pivots.push(near);
            }
        }
        pivots.into_iter().for_each(|pivot| self.doom(pivot));
        self.last += 1;
        let number = self.last;
        if let Some(own) = self.all.get_mut(&id) {
            own.phase = Phase::Prepared(number);
        }
        Ok(())
    }

    /// See [`Serializable::commit`](super::Serializable::commit).
    pub(super) fn commit(&mut self, id: u64, seq: Option<CommitSeq>) {
        let Some(own) = self.all.get(&id) else { return };
        let Some(prepared) = own.prepared() else { return };
        let was_read_only = own.read_only;
        let read_only = own.read_only || own.writes.is_empty();
        let earliest = self.of(&own.outs).filter(|out| out.committed().is_some()).filter_map(|out| out.seq).min();
        let earliest = earliest.filter(|_| !read_only);
        self.last += 1;
        let number = self.last;
        if let Some(own) = self.all.get_mut(&id) {
            own.phase = Phase::Committed(prepared, number);
            own.seq = seq;
            own.read_only = read_only;
            own.earliest_out = earliest;
            own.settle(Safety::Safe);
        }
        if !was_read_only {
            self.settle_readers(id, earliest);
        }
        self.open.remove(&id);
        self.finished.push_back(id);
    }

    /// A writer has ended: READ ONLY transactions that it might have made unsafe know more. `earliest_out` is that of
    /// one that committed.
    pub(super) fn settle_readers(&mut self, writer: u64, earliest_out: Option<CommitSeq>) {
        let mut safe = Vec::new();
        for &id in &self.open {
            let Some(reader) = self.all.get_mut(&id) else { continue };
            let Some(at) = reader.unsafe_by.iter().position(|id| *id == writer) else { continue };
            if earliest_out.is_some_and(|out| out <= reader.snapshot) {
                reader.settle(Safety::Unsafe);
                continue;
            }
            reader.unsafe_by.swap_remove(at);
            if reader.unsafe_by.is_empty() {
                safe.push(id);
            }
        }
        // nothing that these read matters to anybody from here on
        safe.into_iter().for_each(|id| drop(self.remove(id)));
    }
}
