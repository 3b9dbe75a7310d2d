//! Lock modes: PostgreSQL's eight for objects, its four for rows, and who conflicts with whom.

/// PostgreSQL's lock modes (manual, 13.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// SELECT
    AccessShare = 1,
    /// SELECT FOR UPDATE and its kin
    RowShare = 2,
    /// INSERT, UPDATE, DELETE
    RowExclusive = 3,
    /// VACUUM, CREATE INDEX CONCURRENTLY
    ShareUpdateExclusive = 4,
    /// CREATE INDEX
    Share = 5,
    /// CREATE TRIGGER
    ShareRowExclusive = 6,
    /// REFRESH MATERIALIZED VIEW CONCURRENTLY
    Exclusive = 7,
    /// DROP TABLE and most of ALTER TABLE
    AccessExclusive = 8,
}

/// Modes as a mask of bits, one for each mode that is held.
pub(super) type Modes = u16;

/// Beside the modes of a row's holder: it writes the row, or means to. Conflicts with nothing; an INSERT that meets the
/// key waits for a writer only, not for one who merely locked the row.
pub(super) const WRITES: Modes = 1;

impl LockMode {
    /// All of them, weakest first.
    pub const ALL: [LockMode; 8] = [
        LockMode::AccessShare,
        LockMode::RowShare,
        LockMode::RowExclusive,
        LockMode::ShareUpdateExclusive,
        LockMode::Share,
        LockMode::ShareRowExclusive,
        LockMode::Exclusive,
        LockMode::AccessExclusive,
    ];

    pub(super) const fn bit(self) -> Modes {
        1 << self as u16
    }

    /// The modes that this one conflicts with (manual, table 13.2).
    pub(super) const fn conflicts(self) -> Modes {
        match self {
            LockMode::AccessShare => 1 << 8,
            LockMode::RowShare => 1 << 7 | 1 << 8,
            LockMode::RowExclusive => 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8,
            LockMode::ShareUpdateExclusive => 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8,
            LockMode::Share => 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8,
            LockMode::ShareRowExclusive => 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8,
            LockMode::Exclusive => 0x1fc,
            LockMode::AccessExclusive => 0x1fe,
        }
    }

    /// Whether two transactions cannot hold these modes on one object at once.
    pub const fn conflicts_with(self, other: LockMode) -> bool {
        self.conflicts() & other.bit() != 0
    }

    /// The name that pg_locks and deadlock messages use.
    pub fn name(self) -> &'static str {
        match self {
            LockMode::AccessShare => "AccessShareLock",
            LockMode::RowShare => "RowShareLock",
            LockMode::RowExclusive => "RowExclusiveLock",
            LockMode::ShareUpdateExclusive => "ShareUpdateExclusiveLock",
            LockMode::Share => "ShareLock",
            LockMode::ShareRowExclusive => "ShareRowExclusiveLock",
            LockMode::Exclusive => "ExclusiveLock",
            LockMode::AccessExclusive => "AccessExclusiveLock",
        }
    }
}

/// PostgreSQL's row locks (manual, 13.3.2), weakest first. What one conflicts with the next conflicts with too, so a
/// transaction's lock on a row is one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowLock {
    /// The row stays, and its keys stay: foreign keys, FOR KEY SHARE.
    KeyShare = 1,
    /// The row stays as it is: FOR SHARE.
    Share = 2,
    /// Nobody else writes it: UPDATE of columns that are in no unique key, FOR NO KEY UPDATE.
    NoKeyUpdate = 3,
    /// Nobody else locks it: DELETE, UPDATE of keys, FOR UPDATE.
    Update = 4,
}

impl RowLock {
    /// All of them, weakest first.
    pub const ALL: [RowLock; 4] = [RowLock::KeyShare, RowLock::Share, RowLock::NoKeyUpdate, RowLock::Update];

    /// The mode that it is in the lock manager, as in PostgreSQL.
    pub const fn mode(self) -> LockMode {
        match self {
            RowLock::KeyShare => LockMode::AccessShare,
            RowLock::Share => LockMode::RowShare,
            RowLock::NoKeyUpdate => LockMode::Exclusive,
            RowLock::Update => LockMode::AccessExclusive,
        }
    }

    /// Whether two transactions cannot hold these on one row at once.
    pub const fn conflicts_with(self, other: RowLock) -> bool {
        self.mode().conflicts_with(other.mode())
    }

    /// As a query names it.
    pub const fn name(self) -> &'static str {
        match self {
            RowLock::KeyShare => "FOR KEY SHARE",
            RowLock::Share => "FOR SHARE",
            RowLock::NoKeyUpdate => "FOR NO KEY UPDATE",
            RowLock::Update => "FOR UPDATE",
        }
    }
}

/// What one transaction holds of a row, in four bits: the strongest lock, 0 for none, and whether it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowHold(pub(super) u8);

impl RowHold {
    const WRITES: u8 = 8;

    pub(super) fn of(modes: Modes) -> RowHold {
        let strongest = RowLock::ALL.iter().rev().find(|lock| modes & lock.mode().bit() != 0);
        let writes = if modes & WRITES != 0 { Self::WRITES } else { 0 };
        RowHold(strongest.map_or(0, |lock| *lock as u8 | writes))
    }

    pub(super) fn modes(self) -> Modes {
        let strongest = RowLock::ALL.iter().find(|lock| **lock as u8 == self.0 & 7);
        let writes = if self.0 & Self::WRITES != 0 { WRITES } else { 0 };
        strongest.map_or(0, |lock| lock.mode().bit() | writes)
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(super) fn writes(self) -> bool {
        self.0 & Self::WRITES != 0
    }

    /// This and another: the stronger lock, and whether either writes.
    pub(super) fn and(self, other: RowHold) -> RowHold {
        RowHold((self.0 & 7).max(other.0 & 7) | (self.0 | other.0) & Self::WRITES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conflict_table_is_symmetric() {
        use LockMode::{RowExclusive, Share, ShareUpdateExclusive};
        for a in LockMode::ALL {
            for b in LockMode::ALL {
                assert_eq!(a.conflicts_with(b), b.conflicts_with(a), "{a:?} {b:?}");
            }
        }
        assert!(!RowExclusive.conflicts_with(RowExclusive));
        assert!(!Share.conflicts_with(Share));
        assert!(ShareUpdateExclusive.conflicts_with(ShareUpdateExclusive));
    }

    #[test]
    fn row_locks_conflict_as_the_manual_says() {
        use RowLock::*;
        let conflicts = [(KeyShare, Update), (Share, NoKeyUpdate), (Share, Update), (NoKeyUpdate, NoKeyUpdate)];
        let conflicts = [&conflicts[..], &[(NoKeyUpdate, Update), (Update, Update)]].concat();
        for a in RowLock::ALL {
            for b in RowLock::ALL {
                let expected = conflicts.contains(&(a, b)) || conflicts.contains(&(b, a));
                assert_eq!(a.conflicts_with(b), expected, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn what_is_held_of_a_row_survives_four_bits() {
        for lock in RowLock::ALL {
            for writes in [0, WRITES] {
                let modes = lock.mode().bit() | writes;
                assert_eq!(RowHold::of(modes).modes(), modes);
            }
        }
        assert!(RowHold::of(0).is_none());
    }
}
