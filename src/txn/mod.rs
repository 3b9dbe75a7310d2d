//! Transactions and the commit order: snapshots, own writes, locks, the committer, the changefeed. The only writer.
//!
//! A session begins a [`Transaction`], takes a [`StatementView`] for each statement, reads with
//! [`get`](Transaction::get) and [`cursor`](Transaction::cursor), locks and writes rows, and ends with
//! [`start_commit`](Transaction::start_commit), whose [`CommitTicket`] it polls. All work that does not need the
//! commit's number is done by the session before it submits; the committer numbers, logs, syncs and publishes.
//! Invariants: positions strictly increase and are published in order; what is published is durable (or was never
//! meant to be); locks are released after publication, so whoever gets one reads what its last holder wrote.

mod bulk;
mod committer;
mod cursor;
mod ending;
mod endings;
mod engine;
mod expiry;
mod feed;
mod groups;
mod inspection;
mod lock;
mod moves;
mod prepare;
mod reading;
mod record;
mod recovery;
mod retention;
mod rows;
mod scopes;
mod sequence;
mod serializable;
mod snowflake;
mod ticket;
mod transaction;
mod upkeep;

pub use committer::{CommitStep, Patience};
pub use cursor::TxCursor;
pub use engine::{Engine, EngineOptions, Parts};
pub use feed::FeedReader;
pub use inspection::{Inspection, LoggedWrite};
pub use lock::{AdvisoryKey, AdvisoryLevel, LockInfo, LockKey, LockMode, LockPolicy, Locked, LockedThing, RowLock};
pub use recovery::{RecoveryReport, offset_end, offset_mark};
pub use rows::{Conflict, Written};
pub use sequence::{Counted, Counter, Numbers, SequenceState};
pub use ticket::CommitTicket;
pub use transaction::{Isolation, LockedRow, Savepoint, StatementView, Transaction, TxnOptions};
