//! One block of a run as bytes.

use super::RunEntry;
use bytes::Bytes;

/// Length and CRC.
pub(super) const HEADER_BYTES: usize = 8;
/// An entry's lengths and order.
const ENTRY_BYTES: usize = 14;

/// Adds an entry to a block's bytes.
pub(super) fn push(out: &mut Vec<u8>, key: &[u8], order: u64, payload: &[&[u8]]) {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let key_length = u16::try_from(key.len()).expect("keys are below KEY_BYTES_MAX");
    out.extend_from_slice(&key_length.to_le_bytes());
    out.extend_from_slice(&u32::try_from(length).expect("rows are below ROW_BYTES_MAX").to_le_bytes());
    out.extend_from_slice(&order.to_le_bytes());
    out.extend_from_slice(key);
    payload.iter().for_each(|part| out.extend_from_slice(part));
}

/// Begins a block: room for its header.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEADER_BYTES, 0);
}

/// Completes a block.
pub(super) fn finish(out: &mut [u8]) {
    let length = (out.len() - HEADER_BYTES) as u32;
    let crc = crc32fast::hash(&out[HEADER_BYTES..]);
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// A block that was read.
pub(super) struct Block {
    bytes: Bytes,
    /// Where each entry begins.
    places: Vec<u32>,
}

impl Block {
    /// Checks a block; none where it is damaged.
    pub(super) fn decode(bytes: Bytes) -> Option<Block> {
        let length = u32_at(&bytes, 0)? as usize;
        if length != bytes.len().checked_sub(HEADER_BYTES)? || u32_at(&bytes, 4)? != crc32fast::hash(&bytes[8..]) {
            return None;
        }
        let mut places = Vec::new();
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            places.push(at as u32);
            let key = usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
            at = at.checked_add(ENTRY_BYTES + key)?.checked_add(u32_at(&bytes, at + 2)? as usize)?;
        }
        (at == bytes.len()).then_some(Block { bytes, places })
    }

    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// An entry's key.
    pub(super) fn key(&self, at: usize) -> &[u8] {
        let (key, _) = self.spans(at);
        &self.bytes[key.0..key.1]
    }

    /// An entry.
    pub(super) fn entry(&self, at: usize) -> RunEntry {
        let start = self.places[at] as usize;
        let order = u64::from_le_bytes(self.bytes[start + 6..start + 14].try_into().expect("eight bytes"));
        let (key, payload) = self.spans(at);
        RunEntry { key: self.bytes.slice(key.0..key.1), order, payload: self.bytes.slice(payload.0..payload.1) }
    }

    fn spans(&self, at: usize) -> ((usize, usize), (usize, usize)) {
        let start = self.places[at] as usize;
        let key = usize::from(u16::from_le_bytes([self.bytes[start], self.bytes[start + 1]]));
        let key_at = start + ENTRY_BYTES;
        let end = self.places.get(at + 1).map_or(self.bytes.len(), |&next| next as usize);
        ((key_at, key_at + key), (key_at + key, end))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
