//! The messages of a topic as a statement reads them, by partition and offset.

use super::operator::Run;
use crate::catalog::Relation;
use crate::encoding::key::{partition_prefix, prefixed};
use crate::error::{Error, Result, SqlState};
use crate::limits::SCAN_BATCH;
use crate::sql::plan::TopicRef;
use crate::storage::Direction;
use crate::table::Model;
use crate::topic::Lease;
use crate::txn::Transaction;
use crate::types::{Oid, Row, Str, Value};
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

/// The place of the payload among a topic's columns.
const PAYLOAD: usize = 5;

/// A topic as it is now.
pub(super) struct Messages {
    pub(super) relation: Arc<Relation>,
    model: Arc<Model>,
    qualified: Str,
}

/// A partition's messages on their way.
pub(super) struct Stored {
    pub(super) offset: u64,
    row: Bytes,
}

impl Messages {
    /// The topic of a plan, which may have been dropped or cleared since it was bound. 42P01 where it is gone.
    pub(super) fn of(topic: &TopicRef, tx: &Transaction) -> Result<Messages> {
        let relation = tx.catalog().relation(topic.relation.oid).cloned();
        let relation = relation.ok_or_else(|| missing(&topic.qualified))?;
        Ok(Messages { model: Model::new(&relation)?, relation, qualified: topic.qualified.clone() })
    }

    /// 42P01: it is no more.
    pub(super) fn missing(&self) -> Error {
        missing(&self.qualified)
    }

    pub(super) fn oid(&self) -> Oid {
        self.relation.oid
    }

    pub(super) fn partitions(&self) -> u32 {
        self.relation.topic().map_or(1, |settings| settings.partitions)
    }

    /// 22023 for a partition that the topic does not have.
    pub(super) fn check_partition(&self, partition: i64) -> Result<u32> {
        match u32::try_from(partition) {
            Ok(partition) if partition < self.partitions() => Ok(partition),
            _ => {
                let message = format!("topic \"{}\" has no partition {partition}", self.qualified);
                Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
            }
        }
    }

    /// The next offset of a partition.
    pub(super) fn end(&self, run: &Run, partition: u32) -> Result<u64> {
        run.tx.offset_end(run.view, self.relation.storage, partition)
    }

    /// The first offset that is still there, or the next one where none is.
    pub(super) fn first(&self, run: &Run, partition: u32) -> Result<u64> {
        match self.read(run, partition, 0, 1)?.first() {
            Some(first) => Ok(first.offset),
            None => self.end(run, partition),
        }
    }

    /// The messages of a partition from an offset on, `max` at most.
    pub(super) fn read(&self, run: &Run, partition: u32, from: u64, max: usize) -> Result<Vec<Stored>> {
        let prefix = partition_prefix(self.relation.storage, partition);
        let from = [prefix.as_slice(), &from.to_be_bytes()].concat();
        let (_, to) = prefixed(prefix);
        let mut cursor = run.tx.cursor(run.view, Bound::Included(from), to, Direction::Forward);
        let mut entries = Vec::new();
        while entries.len() < max {
            let wanted = (max - entries.len()).min(SCAN_BATCH);
            if !cursor.next_batch(run.tx, run.view, &mut entries, wanted)? {
                break;
            }
        }
        entries.truncate(max);
        let stored = entries.into_iter().map(|(key, row)| match key.last_chunk() {
            Some(offset) => Ok(Stored { offset: u64::from_be_bytes(*offset), row }),
            None => Err(Error::internal("the key of a message has no offset")),
        });
        stored.collect()
    }

    /// A message in CONSUME's columns, and the bytes of its payload.
    pub(super) fn row(&self, message: Stored, lease: Option<Lease>) -> Result<(Row, usize)> {
        let view = self.model.view(message.row)?;
        let mut row = Row::with_capacity(self.relation.columns.len() + 3);
        row.push(Value::Text(self.qualified.clone()));
        for column in 0..self.relation.columns.len() {
            row.push(self.model.column(&view, column)?);
        }
        let bytes = match &row[1 + PAYLOAD] {
            Value::Text(payload) => payload.len(),
            _ => 0,
        };
        row.push(lease.map_or(Value::Null, |lease| Value::Int(i64::from(lease.attempt))));
        row.push(lease.map_or(Value::Null, |lease| Value::text(lease.to_string())));
        Ok((row, bytes))
    }

    /// The qualified name.
    pub(super) fn name(&self) -> &Str {
        &self.qualified
    }

    /// When a message was made.
    pub(super) fn created_at(&self, message: Stored) -> Result<Value> {
        let view = self.model.view(message.row)?;
        self.model.column(&view, PAYLOAD + 1)
    }
}

fn missing(topic: &Str) -> Error {
    Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{topic}\" does not exist"))
}
