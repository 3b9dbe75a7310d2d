//! The retention of topics: messages go from the front of each partition when their time is over. Offsets go on, and
//! no reader of the commit sequence hears of it.

use super::engine::Engine;
use super::lock::{LockKey, LockMode, LockPolicy, Locked};
use super::recovery::offset_mark;
use super::transaction::TxnOptions;
use crate::encoding::key::{partition_prefix, prefixed};
use crate::error::{Error, Result};
use crate::limits::{SCAN_BATCH, SWEEP_ROWS_MAX};
use crate::storage::Direction;
use crate::table::Model;
use crate::types::Value;
use crate::types::datetime::from_unix_micros;
use bytes::Bytes;
use std::sync::Arc;

/// The place of a message's time among a topic's columns.
const CREATED_AT: usize = 6;

impl Engine {
    /// Removes messages that are older than their topic's retention, a bounded number from each partition. Whether
    /// there may be more.
    pub fn expire_messages(self: &Arc<Engine>) -> Result<bool> {
        let catalog = self.catalog();
        let mut more = false;
        for topic in catalog.relations() {
            let Some(settings) = topic.topic() else { continue };
            let oldest = from_unix_micros(self.env.now().saturating_sub(settings.retention_micros));
            let model = Model::new(topic)?;
            for partition in 0..settings.partitions {
                more |= self.expire_in(&model, partition, oldest)? == SWEEP_ROWS_MAX;
            }
        }
        Ok(more)
    }

    /// Removes the messages at the front of a partition that were made before `oldest`. How many.
    fn expire_in(self: &Arc<Engine>, model: &Model, partition: u32, oldest: i64) -> Result<usize> {
        let mark = Bytes::from(offset_mark(model.relation().storage, partition));
        let mut transaction = self.begin(TxnOptions::default())?;
        // who clears the topic moves the mark too, and it must not go back
        match transaction.lock(LockKey::Key(mark.clone()), LockMode::AccessExclusive, LockPolicy::NoWait)? {
            Locked::Granted => {}
            _ => return Ok(0),
        }
        let mut expired = Vec::new();
        let snapshot = self.store.snapshot()?;
        let (from, to) = prefixed(partition_prefix(model.relation().storage, partition));
        let mut cursor = snapshot.cursor(from, to, Direction::Forward);
        // mostly not even the first message is old, so one is read first
        let (mut batch, mut size, mut more) = (Vec::new(), 1, true);
        while more && expired.len() < SWEEP_ROWS_MAX {
            more = cursor.next_batch(&snapshot, &mut batch, size.min(SWEEP_ROWS_MAX - expired.len()))?;
            size = SCAN_BATCH;
            for (key, row) in batch.drain(..) {
                let view = model.view(row)?;
                match model.column(&view, CREATED_AT)? {
                    Value::Timestamp(created) if created < oldest => expired.push(key),
                    _ => {
                        more = false;
                        break;
                    }
                }
            }
        }
        drop(snapshot);
        let Some(last) = expired.last() else { return Ok(0) };
        let count = expired.len();
        let offset = last.last_chunk().ok_or_else(|| Error::internal("the key of a message has no offset"))?;
        let next = u64::from_be_bytes(*offset) + 1;
        for key in expired {
            transaction.put_plain(key, None)?;
        }
        transaction.put_plain(mark, Some(Bytes::copy_from_slice(&next.to_be_bytes())))?;
        self.finish(&transaction.start_commit()?)?;
        Ok(count)
    }
}
