//! Reading the log from a position: recovery, and live queries that resume.

use super::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordHead, Segment, corrupt, record_bytes};
use crate::error::Result;
use crate::types::CommitSeq;
use bytes::Bytes;
use std::collections::VecDeque;

/// Bytes read from a segment at once.
const WINDOW_BYTES: usize = 1 << 20;

/// A record: the commits from `first` to `last`.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// First sequence in it.
    pub first: CommitSeq,
    /// Last sequence in it.
    pub last: CommitSeq,
    /// What was appended.
    pub payload: Bytes,
}

/// Records in order, up to the end that the log had when the reader was made.
pub struct LogReader {
    segments: VecDeque<Segment>,
    after: CommitSeq,
    at: u64,
    window: Vec<u8>,
    window_start: u64,
    last: CommitSeq,
}

impl LogReader {
    pub(super) fn new(segments: VecDeque<Segment>, after: CommitSeq) -> LogReader {
        let last = segments.front().map_or(CommitSeq::ZERO, |segment| segment.previous);
        LogReader { segments, after, at: HEADER_BYTES, window: Vec::new(), window_start: 0, last }
    }

    /// The next record that holds a commit after the position asked for; XX001 with its place where one is damaged.
    fn next_record(&mut self) -> Result<Option<LogRecord>> {
        while let Some(segment) = self.segments.front() {
            if self.at >= segment.end {
                self.segments.pop_front();
                self.at = HEADER_BYTES;
                self.window.clear();
                continue;
            }
            let segment = segment.clone();
            let damaged = |at: u64| corrupt(&segment.name, at, "the record is damaged");
            self.fill(&segment, RECORD_HEADER_BYTES)?;
            let head = RecordHead::decode(self.bytes(RECORD_HEADER_BYTES)).ok_or_else(|| damaged(self.at))?;
            let total = record_bytes(head.length as usize);
            if self.at + total > segment.end {
                return Err(damaged(self.at));
            }
            self.fill(&segment, total as usize)?;
            let payload = &self.bytes(total as usize)[RECORD_HEADER_BYTES..][..head.length as usize];
            if !head.is_sound(segment.salt, self.last, payload) {
                return Err(damaged(self.at));
            }
            let wanted = head.last > self.after;
            let payload = if wanted { Bytes::copy_from_slice(payload) } else { Bytes::new() };
            self.at += total;
            self.last = head.last;
            if wanted {
                return Ok(Some(LogRecord { first: head.first, last: head.last, payload }));
            }
        }
        Ok(None)
    }

    fn bytes(&self, length: usize) -> &[u8] {
        &self.window[(self.at - self.window_start) as usize..][..length]
    }

    /// Makes `length` bytes from the current place available.
    fn fill(&mut self, segment: &Segment, length: usize) -> Result<()> {
        let have = self.window_start + self.window.len() as u64;
        if !self.window.is_empty() && self.at >= self.window_start && self.at + length as u64 <= have {
            return Ok(());
        }
        let left = (segment.end - self.at) as usize;
        self.window.resize(length.max(WINDOW_BYTES.min(left)), 0);
        let read = segment.file.read_at(self.at, &mut self.window)?;
        self.window.truncate(read);
        self.window_start = self.at;
        if read < length {
            return Err(corrupt(&segment.name, self.at, "the file ends too early"));
        }
        Ok(())
    }
}

impl Iterator for LogReader {
    type Item = Result<LogRecord>;

    fn next(&mut self) -> Option<Result<LogRecord>> {
        self.next_record().transpose()
    }
}
