//! What is kept in memory of a run, as bytes behind its blocks: a run that outlives its writer is opened by it.
//!
//! ```text
//! blocks u32 | (offset u64 | length u32 | first key length u16 | first key)* |
//! entries u64 | last key length u16 | last key | filter length u32 | filter
//! ```

use super::filter::Filter;
use super::{BlockAt, Run};
use crate::storage::disk::DiskFile;
use bytes::Buf;
use std::sync::Arc;

impl Run {
    /// Its list of blocks and its filter.
    pub fn encode_index(&self, out: &mut Vec<u8>) {
        let key = |out: &mut Vec<u8>, key: &[u8]| {
            out.extend_from_slice(&(key.len() as u16).to_le_bytes());
            out.extend_from_slice(key);
        };
        out.extend_from_slice(&(self.blocks.len() as u32).to_le_bytes());
        for block in &self.blocks {
            out.extend_from_slice(&block.offset.to_le_bytes());
            out.extend_from_slice(&block.length.to_le_bytes());
            key(out, &block.first);
        }
        out.extend_from_slice(&self.entries.to_le_bytes());
        key(out, &self.last);
        out.extend_from_slice(&(self.filter.bytes() as u32).to_le_bytes());
        self.filter.encode(out);
    }

    /// The run that [`encode_index`](Self::encode_index) described; none where that is damaged.
    pub fn from_index(file: Arc<dyn DiskFile>, mut index: &[u8]) -> Option<Run> {
        let key = |index: &mut &[u8]| -> Option<Box<[u8]>> {
            let length = usize::from(index.try_get_u16_le().ok()?);
            let (key, rest) = index.split_at_checked(length)?;
            *index = rest;
            Some(key.into())
        };
        let count = index.try_get_u32_le().ok()?;
        let mut blocks = Vec::new();
        for _ in 0..count {
            let offset = index.try_get_u64_le().ok()?;
            let length = index.try_get_u32_le().ok()?;
            blocks.push(BlockAt { offset, length, first: key(&mut index)? });
        }
        let entries = index.try_get_u64_le().ok()?;
        let last = key(&mut index)?;
        let length = index.try_get_u32_le().ok()? as usize;
        let filter = (index.len() == length).then(|| Filter::decode(index)).flatten()?;
        Some(Run { file, blocks, filter, last, entries })
    }
}
