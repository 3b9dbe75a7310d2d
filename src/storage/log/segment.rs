//! One file of the log.
//!
//! ```text
//! header (64 bytes)  magic "TRTLLOG\x01" | format u32 | crc u32 | previous u64 (last sequence before it) |
//!                    salt u64 | zeros | end u64 (0; the last sequence in it, once there is a next segment)
//! record             length u32 | crc u32 | first u64 | last u64 | payload | zeros up to 8 bytes
//! end                zeros
//! ```
//!
//! All numbers are little-endian. A record's CRC covers the segment's salt and its own length, sequences and payload: a
//! value that a user stores cannot pass for a record where a write is torn in the middle of it, for nobody knows the salt.
//! The header's CRC covers the header without `end`, which tells a log that lost its last file from one that ends here.

use crate::error::{Error, Result, SqlState};
use crate::storage::disk::DiskFile;
use crate::types::CommitSeq;
use std::sync::Arc;

/// Bytes before the first record.
pub(super) const HEADER_BYTES: u64 = 64;
/// Where the header says that there is a next segment.
const END_AT: usize = 56;
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// Bytes that are written or looked at in one piece where a file is zeros.
const ZEROS_BYTES: usize = 1 << 20;
const MAGIC: &[u8; 8] = b"TRTLLOG\x01";
const FORMAT: u32 = 1;
/// The furthest that a record's last sequence can be above the one before it: far more than a start skips.
const SEQ_STEP_MAX: u64 = 1 << 40;

/// An open segment and where its records end.
#[derive(Clone)]
pub(super) struct Segment {
    pub name: String,
    pub file: Arc<dyn DiskFile>,
    /// The last sequence before this segment.
    pub previous: CommitSeq,
    /// What its records' checksums begin with.
    pub salt: u64,
    /// The last sequence in it; `previous` while it is empty.
    pub last: CommitSeq,
    /// Where the next record goes.
    pub end: u64,
    /// Bytes allocated.
    pub capacity: u64,
    /// What its header says of its end: zero as long as it is the last.
    pub stated_end: CommitSeq,
}

/// A record's place and sequences.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHead {
    pub length: u32,
    pub crc: u32,
    pub first: CommitSeq,
    pub last: CommitSeq,
}

/// The name of the segment that follows `previous`.
pub(super) fn name_after(previous: CommitSeq) -> String {
    format!("{:020}.log", previous.0)
}

/// Bytes that a record takes.
pub(super) fn record_bytes(payload: usize) -> u64 {
    (RECORD_HEADER_BYTES + payload).next_multiple_of(8) as u64
}

fn crc_of(salt: u64, length: u32, first: u64, last: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(&first.to_le_bytes());
    hasher.update(&last.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// A record as bytes, padding included.
pub(super) fn encode_record(salt: u64, first: CommitSeq, last: CommitSeq, payload: &[u8], out: &mut Vec<u8>) {
    let length = payload.len() as u32;
    out.clear();
    out.reserve(record_bytes(payload.len()) as usize);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc_of(salt, length, first.0, last.0, payload).to_le_bytes());
    out.extend_from_slice(&first.0.to_le_bytes());
    out.extend_from_slice(&last.0.to_le_bytes());
    out.extend_from_slice(payload);
    out.resize(record_bytes(payload.len()) as usize, 0);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl RecordHead {
    /// Reads a record's head; none for the zeros after the last record. What it says is not yet checked.
    pub(super) fn decode(bytes: &[u8]) -> Option<RecordHead> {
        let head = RecordHead {
            length: u32_at(bytes, 0),
            crc: u32_at(bytes, 4),
            first: CommitSeq(u64_at(bytes, 8)),
            last: CommitSeq(u64_at(bytes, 16)),
        };
        (head.last.0 != 0).then_some(head)
    }

    /// Whether this head can follow `previous` and the payload is the one that was written.
    pub(super) fn is_sound(&self, salt: u64, previous: CommitSeq, payload: &[u8]) -> bool {
        // the bounds keep a search through a torn record's bytes from summing up what any number there claims to be
        // a length
        self.first > previous
            && self.last >= self.first
            && self.last.0 - previous.0 <= SEQ_STEP_MAX
            && self.crc == crc_of(salt, self.length, self.first.0, self.last.0, payload)
    }
}

/// Writes the header of a fresh segment.
pub(super) fn write_header(file: &dyn DiskFile, previous: CommitSeq, salt: u64) -> Result<()> {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&previous.0.to_le_bytes());
    header[24..32].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32fast::hash(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    file.write_at(0, &header)
}

/// Fills a file with zeros up to `capacity` and syncs it.
pub(super) fn allocate(file: &dyn DiskFile, capacity: u64) -> Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = 0;
    while at < capacity {
        let length = ZEROS_BYTES.min((capacity - at) as usize);
        file.write_at(at, &zeros[..length])?;
        at += length as u64;
    }
    file.sync_data()
}

/// How a walk through a segment ended.
pub(super) enum Walk {
    /// At the zeros after the last record.
    Clean,
    /// At bytes that are no record, with no sound record behind them.
    Torn,
}

impl Segment {
    /// Reads the header. A segment gets its name when its header is durable, so there is none without one.
    pub(super) fn open(name: &str, file: Arc<dyn DiskFile>) -> Result<Segment> {
        let mut header = [0; HEADER_BYTES as usize];
        if file.read_at(0, &mut header)? < header.len() {
            return Err(corrupt(name, 0, "the file ends before its header does"));
        }
        let crc = u32_at(&header, 12);
        let stated_end = CommitSeq(u64_at(&header, END_AT));
        header[12..16].fill(0);
        header[END_AT..].fill(0);
        if &header[..8] != MAGIC || crc != crc32fast::hash(&header) {
            return Err(corrupt(name, 0, "its header is damaged"));
        }
        let format = u32_at(&header, 8);
        if format != FORMAT {
            let message = format!("log segment {name} has format {format}, this version knows {FORMAT}");
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        let previous = CommitSeq(u64_at(&header, 16));
        let salt = u64_at(&header, 24);
        if name != name_after(previous) {
            return Err(corrupt(name, 0, &format!("it is the segment that follows commit {previous}")));
        }
        let (name, capacity) = (name.to_owned(), file.len()?);
        let (last, end) = (previous, HEADER_BYTES);
        Ok(Segment { name, file, previous, salt, last, end, capacity, stated_end })
    }

    /// Notes in the header that there is a next segment. Nothing waits for that to be durable: without the note the
    /// loss of all that follows would go unnoticed, and nothing else.
    pub(super) fn state_end(&mut self) -> Result<()> {
        self.stated_end = self.last;
        self.file.write_at(END_AT as u64, &self.last.0.to_le_bytes())
    }

    /// Whether it may be the last of a log.
    ///
    /// # Errors
    /// XX001 where its header says that another followed.
    pub(super) fn check_is_last(&self) -> Result<()> {
        match self.stated_end {
            CommitSeq::ZERO => Ok(()),
            end if end == self.last => Err(corrupt(&self.name, self.end, "the segment that follows is missing")),
            _ => {
                Err(corrupt(&self.name, END_AT as u64, "its header is damaged, or the segment that follows is missing"))
            }
        }
    }

    /// Walks all records and finds the end.
    ///
    /// # Errors
    /// XX001 where a sound record follows damage.
    pub(super) fn walk(&mut self) -> Result<Walk> {
        let mut bytes = vec![0; self.capacity as usize];
        let read = self.file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        let mut at = HEADER_BYTES as usize;
        while let Some((head, next)) = self.sound_record(&bytes, at) {
            self.last = head.last;
            at = next;
        }
        self.end = at as u64;
        let rest = &bytes[at.min(bytes.len())..];
        if rest.iter().all(|&byte| byte == 0) {
            return Ok(Walk::Clean);
        }
        let mut later = at + 8;
        while later + RECORD_HEADER_BYTES <= bytes.len() {
            if self.sound_record(&bytes, later).is_some() {
                return Err(corrupt(&self.name, at as u64, &format!("a sound record follows at offset {later}")));
            }
            later += 8;
        }
        Ok(Walk::Torn)
    }

    /// The record at a place that can follow the last one, and where the next one begins.
    fn sound_record(&self, bytes: &[u8], at: usize) -> Option<(RecordHead, usize)> {
        let head = RecordHead::decode(bytes.get(at..at + RECORD_HEADER_BYTES)?)?;
        let start = at + RECORD_HEADER_BYTES;
        let payload = bytes.get(start..start.checked_add(head.length as usize)?)?;
        let next = at + record_bytes(head.length as usize) as usize;
        head.is_sound(self.salt, self.last, payload).then_some((head, next))
    }

    /// Writes what it holds once more in its place, and syncs it.
    pub(super) fn rewrite(&self) -> Result<()> {
        let mut buffer = vec![0; ZEROS_BYTES];
        let mut at = 0;
        while at < self.end {
            let length = ZEROS_BYTES.min((self.end - at) as usize);
            let read = self.file.read_at(at, &mut buffer[..length])?;
            if read < length {
                return Err(corrupt(&self.name, at, "the file ends too early"));
            }
            self.file.write_at(at, &buffer[..length])?;
            at += length as u64;
        }
        self.file.sync_data()
    }

    /// Overwrites everything after the last record with zeros.
    pub(super) fn cut(&self) -> Result<()> {
        let mut buffer = vec![0; ZEROS_BYTES];
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = self.end;
        while at < self.capacity {
            let length = ZEROS_BYTES.min((self.capacity - at) as usize);
            let read = self.file.read_at(at, &mut buffer[..length])?;
            if buffer[..read].iter().any(|&byte| byte != 0) {
                self.file.write_at(at, &zeros[..read])?;
            }
            at += length as u64;
        }
        self.file.sync_data()
    }
}

/// Corruption with its place.
pub(super) fn corrupt(name: &str, offset: u64, what: &str) -> Error {
    let message = format!("commit log is corrupt: segment {name}, offset {offset}: {what}");
    Error::new(SqlState::DATA_CORRUPTED, message).hint("Restore the data directory from a backup.")
}
