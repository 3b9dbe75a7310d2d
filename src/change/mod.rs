//! What a transaction writes and what a commit was: plain data, the only description of changes that there is.
//!
//! Everything reactive (topics, live queries, LISTEN, resume) is derived from these types and from nothing else.

mod commit;
mod write_set;

pub use commit::{Change, ChangeKind, Commit, Notification, TopicArrival};
pub use write_set::{RowChange, TopicAppend, Write, WriteSet};
