//! Keys of topic messages in a bulk file: they are numbered from zero there, and by the committer outside.
//!
//! The order of keys is the same inside and outside, so bounds can be carried over.

use super::Bulk;
use crate::types::Oid;
use bytes::{Bytes, BytesMut};
use std::ops::Bound;

/// The messages of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkPartition {
    /// The topic.
    pub topic: Oid,
    /// What the keys of the partition's messages begin with; eight bytes of offset follow, big-endian.
    pub prefix: Vec<u8>,
    /// Offset of the first.
    pub base: u64,
    /// How many.
    pub count: u64,
}

/// Bytes of an offset in a key.
const OFFSET_BYTES: usize = 8;

impl Bulk {
    fn partition_of(&self, key: &[u8]) -> Option<&BulkPartition> {
        self.named.partitions.iter().find(|partition| key.starts_with(&partition.prefix))
    }

    /// The messages that it brings.
    pub fn partitions(&self) -> &[BulkPartition] {
        &self.named.partitions
    }

    /// A key of the store in the file; none where the file cannot have it.
    pub(super) fn inner_key(&self, key: &[u8]) -> Option<Vec<u8>> {
        let Some(partition) = self.partition_of(key) else { return Some(key.to_vec()) };
        let (_, offset) = key.split_at(partition.prefix.len());
        let inner = u64::from_be_bytes(offset.try_into().ok()?).checked_sub(partition.base)?;
        Some([&*partition.prefix, &inner.to_be_bytes()].concat())
    }

    /// A bound of a range of the store, among the keys of the file.
    pub(super) fn inner_bound(&self, bound: Bound<&[u8]>, lower: bool) -> Bound<Vec<u8>> {
        let (Bound::Included(key) | Bound::Excluded(key)) = bound else { return Bound::Unbounded };
        let Some(partition) = self.partition_of(key) else { return bound.map(<[u8]>::to_vec) };
        let tail = &key[partition.prefix.len()..];
        let mut offset = [0; OFFSET_BYTES];
        let known = tail.len().min(OFFSET_BYTES);
        offset[..known].copy_from_slice(&tail[..known]);
        let offset = u64::from_be_bytes(offset);
        // a shorter key stands before the first offset that it begins, a longer one behind its offset
        let included = match (tail.len().cmp(&OFFSET_BYTES), lower) {
            (std::cmp::Ordering::Less, lower) => lower,
            (std::cmp::Ordering::Greater, lower) => !lower,
            (std::cmp::Ordering::Equal, _) => matches!(bound, Bound::Included(_)),
        };
        let (offset, included) = match offset.checked_sub(partition.base) {
            Some(inner) => (inner, included),
            None => (0, lower),
        };
        let mut inner = partition.prefix.clone();
        inner.extend_from_slice(&offset.to_be_bytes());
        if included { Bound::Included(inner) } else { Bound::Excluded(inner) }
    }

    /// A key of the file as the store has it, and the offset in it where it is a message's.
    pub(super) fn outer_key(&self, key: Bytes) -> (Bytes, Option<u64>) {
        let Some(partition) = self.partition_of(&key) else { return (key, None) };
        let Some(inner) = key[partition.prefix.len()..].first_chunk() else { return (key, None) };
        let offset = partition.base + u64::from_be_bytes(*inner);
        let mut outer = BytesMut::with_capacity(key.len());
        outer.extend_from_slice(&partition.prefix);
        outer.extend_from_slice(&offset.to_be_bytes());
        (outer.freeze(), Some(offset))
    }
}
