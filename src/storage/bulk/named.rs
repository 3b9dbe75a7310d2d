//! What the log's record says of a bulk file.

use super::BulkPartition;
use crate::types::{Oid, StorageId};
use bytes::{Buf, Bytes};

/// A bulk file as the log names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkRef {
    /// Its number as a new file.
    pub number: u64,
    /// Bytes of the whole file.
    pub bytes: u64,
    /// The CRC of its index.
    pub crc: u32,
    /// The tables whose rows it writes, and where those are.
    pub tables: Vec<(Oid, StorageId)>,
    /// The messages in it.
    pub partitions: Vec<BulkPartition>,
}

impl BulkRef {
    /// As bytes: number, bytes, crc, the number of tables, each with its storage, then for each partition its topic,
    /// prefix, base and count. The length does not depend on the bases.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&(self.tables.len() as u32).to_le_bytes());
        for (table, storage) in &self.tables {
            out.extend_from_slice(&table.0.to_le_bytes());
            out.extend_from_slice(&storage.0.to_le_bytes());
        }
        for partition in &self.partitions {
            out.extend_from_slice(&partition.topic.0.to_le_bytes());
            out.extend_from_slice(&(partition.prefix.len() as u16).to_le_bytes());
            out.extend_from_slice(&partition.prefix);
            out.extend_from_slice(&partition.base.to_le_bytes());
            out.extend_from_slice(&partition.count.to_le_bytes());
        }
        out
    }

    /// From bytes; none where they are damaged.
    pub fn decode(mut bytes: Bytes) -> Option<BulkRef> {
        let rest = &mut bytes;
        let (number, length) = (rest.try_get_u64_le().ok()?, rest.try_get_u64_le().ok()?);
        let crc = rest.try_get_u32_le().ok()?;
        let mut tables = Vec::new();
        for _ in 0..rest.try_get_u32_le().ok()? {
            tables.push((Oid(rest.try_get_u32_le().ok()?), StorageId(rest.try_get_u32_le().ok()?)));
        }
        let mut partitions = Vec::new();
        while !rest.is_empty() {
            let topic = Oid(rest.try_get_u32_le().ok()?);
            let prefix = usize::from(rest.try_get_u16_le().ok()?);
            let prefix = (prefix <= rest.len()).then(|| rest.split_to(prefix))?.to_vec();
            let (base, count) = (rest.try_get_u64_le().ok()?, rest.try_get_u64_le().ok()?);
            partitions.push(BulkPartition { topic, prefix, base, count });
        }
        Some(BulkRef { number, bytes: length, crc, tables, partitions })
    }
}
