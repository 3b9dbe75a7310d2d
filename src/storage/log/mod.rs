//! The commit log: the truth. A commit is durable when its record is here and synced.
//!
//! Segments are preallocated and zero-filled, because a sync that need not extend the file is several times faster.
//! Each record carries its length, a CRC and the commit sequences it holds. A torn tail (what a crash leaves of writes
//! that were not synced) is cut at the start; damage with a sound record behind it is corruption, and the server does
//! not start over it.
//!
//! A failed write or sync poisons the log until a restart: after a failed fdatasync nobody knows what the disk holds. A
//! write that found no room does not: what it left is no record, and is cleared before the next one is written.

mod file_log;
mod reader;
mod scan;
mod segment;

pub use file_log::{FileLog, LogOptions, LogReport};
pub use reader::{LogReader, LogRecord};
pub use scan::{Scan, scan, stored_bytes};

use crate::error::Result;
use crate::types::CommitSeq;

/// An ordered, durable sequence of records. A replicated log can take its place.
pub trait CommitLog: Send + Sync {
    /// Writes a record that holds the commits from `first` to `last`. Only one caller at a time; durable after
    /// [`sync`](CommitLog::sync). Where it fails no start finds the record, unless [`check`](CommitLog::check) fails too.
    fn append(&self, first: CommitSeq, last: CommitSeq, payload: &[u8]) -> Result<()>;

    /// Whether it can be written to: 58030 once a write or a sync has failed.
    fn check(&self) -> Result<()>;

    /// Makes everything appended durable. No lock is held meanwhile.
    fn sync(&self) -> Result<()>;

    /// Reads the records that hold commits after `after`, up to what has been appended by now.
    ///
    /// # Errors
    /// 58P01 where the log no longer reaches back that far.
    fn read_from(&self, after: CommitSeq) -> Result<LogReader>;

    /// Lets go of segments that hold nothing after `upto`.
    fn release(&self, upto: CommitSeq) -> Result<()>;

    /// The positions after which its segments begin, oldest first, with the bytes that each takes.
    fn segments(&self) -> Vec<(CommitSeq, u64)>;

    /// The position after which every commit can be read.
    fn oldest(&self) -> CommitSeq;
}
