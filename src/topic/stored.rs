//! What is stored of a consumer group.
//!
//! For each partition one entry with its position, and one for each range of messages that was acknowledged after it:
//!
//! ```text
//! prefix | name length u8 | name | partition u32                                -> generation u32 | position u64
//! prefix | name length u8 | name | partition u32 | generation u32 | start u64   -> end u64
//! ```
//!
//! All numbers are big-endian. A reset begins a new generation, so that an acknowledgement that commits beside it
//! counts for the state that it was made in and for no other.

use crate::encoding::key::{self, Space};
use crate::error::{Error, Result, SqlState};
use crate::types::{ScopeId, StorageId};
use bytes::Bytes;

/// Where a group's state in one partition is stored.
#[derive(Clone, Debug)]
pub(super) struct Place {
    prefix: Vec<u8>,
}

/// An entry of a group, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// Where a partition's messages begin that are not acknowledged.
    Position { generation: u32, position: u64 },
    /// Acknowledged ones after it.
    Acked { generation: u32, start: u64, end: u64 },
}

/// What the keys of all groups of a topic begin with.
pub fn groups_prefix(storage: StorageId) -> Vec<u8> {
    key::prefix(Space::Group, storage, ScopeId::SHARED)
}

impl Place {
    pub(super) fn new(storage: StorageId, group: &str, partition: u32) -> Place {
        let mut prefix = groups_prefix(storage);
        let length = u8::try_from(group.len()).expect("a group's name is checked when the group is looked for");
        prefix.push(length);
        prefix.extend_from_slice(group.as_bytes());
        prefix.extend_from_slice(&partition.to_be_bytes());
        Place { prefix }
    }

    /// What all keys of the partition begin with; the key of its position too.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    pub(super) fn position(&self, generation: u32, position: u64) -> (Bytes, Bytes) {
        let value = [generation.to_be_bytes().as_slice(), &position.to_be_bytes()].concat();
        (Bytes::copy_from_slice(&self.prefix), Bytes::from(value))
    }

    pub(super) fn acked(&self, generation: u32, start: u64, end: u64) -> (Bytes, Bytes) {
        let key = [self.prefix.as_slice(), &generation.to_be_bytes(), &start.to_be_bytes()].concat();
        (Bytes::from(key), Bytes::copy_from_slice(&end.to_be_bytes()))
    }
}

/// Whether a group's entry can be read back: XX001 where not.
pub fn check_entry(key: &[u8], value: &[u8]) -> Result<()> {
    decode(key, value).map(|_| ())
}

/// Reads an entry back: the group's name, the partition, and what it says.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<(String, u32, Stored)> {
    decoded(key, value)
        .ok_or_else(|| Error::new(SqlState::DATA_CORRUPTED, "state of a consumer group cannot be decoded"))
}

fn decoded(key: &[u8], value: &[u8]) -> Option<(String, u32, Stored)> {
    let rest = key.get(key::PREFIX_BYTES..)?;
    let (&length, rest) = rest.split_first()?;
    let (name, rest) = rest.split_at_checked(length.into())?;
    let name = String::from_utf8(name.to_vec()).ok()?;
    let (partition, rest) = rest.split_first_chunk()?;
    let partition = u32::from_be_bytes(*partition);
    let stored = if rest.is_empty() {
        let (generation, position) = value.split_first_chunk()?;
        Stored::Position {
            generation: u32::from_be_bytes(*generation),
            position: u64::from_be_bytes(position.try_into().ok()?),
        }
    } else {
        let (generation, start) = rest.split_first_chunk()?;
        Stored::Acked {
            generation: u32::from_be_bytes(*generation),
            start: u64::from_be_bytes(start.try_into().ok()?),
            end: u64::from_be_bytes(value.try_into().ok()?),
        }
    };
    Some((name, partition, stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back() {
        let place = Place::new(StorageId(7), "workers", 3);
        let (key, value) = place.position(2, 99);
        let position = Stored::Position { generation: 2, position: 99 };
        assert_eq!(decode(&key, &value).unwrap(), ("workers".to_owned(), 3, position));
        let (key, value) = place.acked(2, 100, 105);
        let acked = Stored::Acked { generation: 2, start: 100, end: 105 };
        assert_eq!(decode(&key, &value).unwrap(), ("workers".to_owned(), 3, acked));
        assert!(decode(&key[..key.len() - 1], &value).is_err());
    }
}
