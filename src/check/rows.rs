//! Rows of one relation: each decodes, stands under the key that its columns make, and has its index entries.

use super::Report;
use super::contents::shown;
use crate::error::Result;
use crate::storage::StoreSnapshot;
use crate::table::Model;
use crate::types::{ScopeId, StorageId, Value};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// How many entries an index has and must have.
pub(super) struct Expected {
    pub name: String,
    pub found: u64,
    pub expected: u64,
}

impl Expected {
    pub(super) fn new(name: String) -> Expected {
        Expected { name, found: 0, expected: 0 }
    }
}

/// The rows of one relation.
pub(super) struct Rows {
    pub name: String,
    pub count: u64,
    model: Arc<Model>,
    /// The last message's partition and offset, in a topic.
    last: Option<(u32, u64)>,
}

impl Rows {
    pub(super) fn new(name: String, model: Arc<Model>) -> Rows {
        Rows { name, count: 0, model, last: None }
    }

    pub(super) fn is_scoped(&self) -> bool {
        self.model.relation().is_scoped()
    }

    /// Looks at one row.
    pub(super) fn entry(
        &mut self,
        snapshot: &StoreSnapshot,
        scope: ScopeId,
        key: &Bytes,
        row: Bytes,
        indexes: &mut HashMap<StorageId, Expected>,
        report: &mut Report,
    ) -> Result<()> {
        self.count += 1;
        let view = self.model.view(row.clone())?;
        if view.seq() > snapshot.seq() {
            report.damage(format!("{}: row {} is of commit {}, which never was", self.name, shown(key), view.seq()));
        }
        let values = self.model.decode(&row)?;
        let row_id = self.model.row_id(key).unwrap_or_default();
        if self.model.row_key(scope, &values, row_id)? != *key {
            report.damage(format!("{}: row {} does not have the key that its columns make", self.name, shown(key)));
        }
        if self.model.relation().topic().is_some() {
            self.message(key, report);
        }
        self.entries(snapshot, scope, key, &values, indexes, report)
    }

    /// Offsets are dense: retention takes messages from the front alone.
    fn message(&mut self, key: &[u8], report: &mut Report) {
        let Some((partition, offset)) = key
            .split_last_chunk::<8>()
            .and_then(|(rest, offset)| Some((u32::from_be_bytes(*rest.last_chunk()?), u64::from_be_bytes(*offset))))
        else {
            return;
        };
        if let Some((before, last)) = self.last
            && before == partition
            && offset != last + 1
        {
            report.damage(format!("{}: partition {partition} goes from offset {last} to {offset}", self.name));
        }
        self.last = Some((partition, offset));
    }

    fn entries(
        &self,
        snapshot: &StoreSnapshot,
        scope: ScopeId,
        key: &Bytes,
        values: &[Value],
        indexes: &mut HashMap<StorageId, Expected>,
        report: &mut Report,
    ) -> Result<()> {
        for index in self.model.indexes() {
            let entry = index.entry_key(scope, values, key)?;
            if let Some(index) = indexes.get_mut(&index.storage) {
                index.expected += 1;
            }
            if snapshot.get(&entry)?.as_ref() != Some(key) {
                report.damage(format!("{}, index {}: row {} has no entry", self.name, index.name, shown(key)));
            }
        }
        Ok(())
    }
}
