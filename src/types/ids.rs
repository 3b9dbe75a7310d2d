//! Newtypes for the numbers that name things.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A PostgreSQL object identifier: types, relations, roles, schemas. User objects begin at [`Oid::FIRST_USER`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Oid(pub u32);

impl Oid {
    /// No object.
    pub const INVALID: Oid = Oid(0);
    /// The first OID given to objects that users make (PostgreSQL's FirstNormalObjectId).
    pub const FIRST_USER: Oid = Oid(16384);
    /// The one database of a server.
    pub const DATABASE: Oid = Oid(5);
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the one commit order of the server. Strictly increasing, with gaps only where nothing durable happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommitSeq(pub u64);

impl CommitSeq {
    /// Before the first commit.
    pub const ZERO: CommitSeq = CommitSeq(0);
    /// After every commit: of what is not committed.
    pub const MAX: CommitSeq = CommitSeq(u64::MAX);

    /// The next position.
    pub fn next(self) -> CommitSeq {
        CommitSeq(self.0 + 1)
    }
}

impl fmt::Display for CommitSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one stored ordered set of rows (a table's or an index's): part of every key. A rewrite gets a new one, so it
/// is not the relation's OID. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StorageId(pub u32);

/// Whose rows: part of every key. A user id is interned to a number that is never reused; the number is the server's
/// alone and is chosen by it, never by a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScopeId(pub u64);

impl ScopeId {
    /// The one scope of SHARED relations, topics and the catalog.
    pub const SHARED: ScopeId = ScopeId(0);
}
