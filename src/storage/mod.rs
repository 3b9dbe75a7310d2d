//! The commit log, the recent commits in memory, and LMDB behind them. Bytes only: nothing here knows SQL.
//!
//! The log is the truth; the recent map holds what LMDB does not have yet; LMDB is written by folds, and where what was
//! dropped is freed, and is always consistent by its own rules. A commit that is too large for memory is a file of its own
//! ([`bulk`]), named by the log. Recovery is: open LMDB, replay the log after its position.

pub mod bulk;
pub mod datadir;
pub mod disk;
pub mod fault;
mod fold;
mod gate;
mod index;
mod lmdb;
pub mod log;
mod memory;
mod pressure;
mod recent;
pub mod run;
mod snapshot;
mod store;
mod tier;

pub use gate::Gate;
pub use index::Index;
pub use memory::MemoryIndex;
pub use snapshot::{StoreCursor, StoreSnapshot};
pub use store::{Store, StoreOptions};

use bytes::Bytes;
use std::ops::Bound;
use std::time::Duration;

/// One key's new value in a commit.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Key.
    pub key: Bytes,
    /// Value; none removes the key.
    pub value: Option<Bytes>,
    /// In memory only: never logged, never folded, gone at a restart.
    pub volatile: bool,
}

/// The order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

impl Direction {
    /// Whether a scan that ends at a bound has passed it with a key.
    pub fn is_beyond(self, key: &[u8], far: &Bound<Vec<u8>>) -> bool {
        match (far, self) {
            (Bound::Unbounded, _) => false,
            (Bound::Included(far), Direction::Forward) => *key > **far,
            (Bound::Excluded(far), Direction::Forward) => *key >= **far,
            (Bound::Included(far), Direction::Backward) => *key < **far,
            (Bound::Excluded(far), Direction::Backward) => *key <= **far,
        }
    }
}

/// Whether nothing can lie between two bounds.
pub fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to) | Bound::Included(to)) => from >= to,
        _ => false,
    }
}

/// How hard writers must be held back so that folding keeps up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pressure {
    /// Not at all.
    None,
    /// Each by this much.
    Delay(Duration),
    /// Until there is room.
    Full,
}
