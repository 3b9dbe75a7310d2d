//! Damage to the commit log's files, by their documented format (ARCHITECTURE.md).

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes before the first record of a segment.
const HEADER_BYTES: usize = 64;
/// Bytes of a record before its payload.
const RECORD_HEADER_BYTES: usize = 24;

/// The segments of a data directory's log, oldest first.
pub fn segments(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data.join("log")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

/// Where the records of a segment begin, and where the last one ends.
pub fn records(segment: &Path) -> (Vec<usize>, usize) {
    let bytes = std::fs::read(segment).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let last_seq = |at: usize| u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap());
    let (mut starts, mut at) = (Vec::new(), HEADER_BYTES);
    while at + RECORD_HEADER_BYTES <= bytes.len() && last_seq(at) != 0 {
        starts.push(at);
        at += (RECORD_HEADER_BYTES + number(at)).next_multiple_of(8);
    }
    (starts, at)
}

/// Overwrites bytes of a file.
pub fn write_at(path: &Path, at: usize, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, at as u64).unwrap();
}
