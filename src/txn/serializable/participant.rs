//! One serializable transaction as the others see it.

use super::ranges::Ranges;
use crate::types::CommitSeq;
use crate::wait::Signal;

/// Whether the snapshot of a READ ONLY transaction can be part of an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::txn) enum Safety {
    /// Writers that were open when it was taken still are.
    Open,
    /// It cannot.
    Safe,
    /// One of them committed after a transaction that it must come before, and that the snapshot sees.
    Unsafe,
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// It reads and writes.
    Open,
    /// It has passed its last check, with this number.
    Prepared(u64),
    /// It has committed: the numbers of its prepare and of its commit.
    Committed(u64, u64),
}

/// A serializable transaction.
pub(super) struct Participant {
    pub(super) pid: i32,
    /// What it sees.
    pub(super) snapshot: CommitSeq,
    /// The last number given when its snapshot was taken.
    pub(super) began: u64,
    /// Declared READ ONLY, or committed without a write.
    pub(super) read_only: bool,
    /// It must fail, and nothing that it did counts.
    pub(super) doomed: bool,
    pub(super) phase: Phase,
    /// Where it was published, if it wrote anything.
    pub(super) seq: Option<CommitSeq>,
    pub(super) reads: Ranges,
    pub(super) writes: Ranges,
    /// Writers of what it read: those that come after it.
    pub(super) outs: Vec<u64>,
    /// Readers of what it wrote: those that come before it.
    pub(super) ins: Vec<u64>,
    /// The earliest of `outs` that had committed when it did.
    pub(super) earliest_out: Option<CommitSeq>,
    /// READ ONLY: the writers that may still make its snapshot unsafe.
    pub(super) unsafe_by: Vec<u64>,
    pub(super) safety: Safety,
    /// It waits to know.
    pub(super) waiting: Option<Signal>,
}

impl Participant {
    pub(super) fn new(pid: i32, snapshot: CommitSeq, began: u64, read_only: bool) -> Participant {
        Participant {
            pid,
            snapshot,
            began,
            read_only,
            doomed: false,
            phase: Phase::Open,
            seq: None,
            reads: Ranges::default(),
            writes: Ranges::default(),
            outs: Vec::new(),
            ins: Vec::new(),
            earliest_out: None,
            unsafe_by: Vec::new(),
            safety: Safety::Open,
            waiting: None,
        }
    }

    /// The number of its last check, if it has passed that.
    pub(super) fn prepared(&self) -> Option<u64> {
        match self.phase {
            Phase::Open => None,
            Phase::Prepared(number) | Phase::Committed(number, _) => Some(number),
        }
    }

    /// The number of its commit.
    pub(super) fn committed(&self) -> Option<u64> {
        match self.phase {
            Phase::Committed(_, number) => Some(number),
            _ => None,
        }
    }

    /// Whether a committed transaction committed after this one's snapshot. Where that one wrote, by what the snapshot
    /// sees: between the number and the position of a commit there may be a snapshot.
    pub(super) fn overlaps(&self, committed: &Participant) -> bool {
        match committed.seq {
            Some(seq) => seq > self.snapshot,
            None => committed.committed().is_none_or(|number| number > self.began),
        }
    }

    /// Whether it sees what another has written, which then comes before it.
    pub(super) fn sees(&self, other: &Participant) -> bool {
        other.seq.is_some_and(|seq| seq <= self.snapshot)
    }

    /// Bytes of what it remembers.
    pub(super) fn bytes(&self) -> usize {
        self.reads.bytes() + self.writes.bytes()
    }

    /// Fails it at its next step.
    pub(super) fn doom(&mut self) {
        self.doomed = true;
        self.reads = Ranges::default();
        self.writes = Ranges::default();
        self.outs = Vec::new();
        self.ins = Vec::new();
    }

    /// Says what is known of its snapshot, and wakes it.
    pub(super) fn settle(&mut self, safety: Safety) {
        self.safety = safety;
        self.unsafe_by = Vec::new();
        self.waiting = None;
    }
}
