//! What a transaction writes and what a commit was: plain data, the only description of changes that there is.
//!
//! Everything reactive (topics, live queries, LISTEN, resume) is derived from these types and from nothing else.

mod bulk;
mod commit;
mod net;
mod spilled;
mod write_set;

pub use bulk::{BulkChanges, Fate};
pub use commit::{AtEnd, Change, ChangeKind, Commit, Derive, Notification, TopicArrival};
pub use net::net_changes;
pub use spilled::{Net, NetWrite, StoredChange};
pub use write_set::{Mark, Moved, RowChange, TopicAppend, Write, WriteSet};
