//! Locks on relations, rows, keys, entries and names of the catalog, and applications' numbers: PostgreSQL's modes,
//! deadlocks found.
//!
//! One manager for everything that can be locked, so that one wait-for graph covers it; its nodes are sessions, each
//! with its transaction. Objects ([`Object`](key::Object)) are few and served in the order in which they are asked for;
//! rows and keys are many and stand in a table of their own ([`rows`]). Both are split into shards by key. Whoever must
//! wait takes the graph's mutex too, so of the sessions of a cycle the last one to begin its wait sees all the others'
//! waits, and is at once the one that gets 40P01; PostgreSQL looks only after a second, and picks whoever looks first.
//! Locks are held until the transaction's end or until it goes back to a savepoint before them; advisory locks of a
//! session until they are given back or the session ends.

mod advisory;
mod entry;
mod graph;
mod key;
mod mode;
mod owner;
mod report;
mod rows;
mod table;

pub use advisory::AdvisoryLevel;
pub use key::{AdvisoryKey, LockKey};
pub use mode::{LockMode, RowLock};
pub use owner::{LockMark, LockOwner};
pub use report::{LockInfo, LockedThing};
pub use table::{LockPolicy, LockTable, Locked};
