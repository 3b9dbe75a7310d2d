//! What the store holds, in one walk in key order: every entry belongs to something, can be decoded, and agrees with
//! the entries that belong to it.

use super::rows::{Expected, Rows};
use super::{Progress, Report};
use crate::catalog::{self, Relation};
use crate::encoding::key::{Space, place_of};
use crate::error::Result;
use crate::limits::SCAN_BATCH;
use crate::storage::Direction;
use crate::table::Model;
use crate::topic;
use crate::txn::Inspection;
use crate::types::{ScopeId, StorageId};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::Arc;

/// Bytes of a key that a finding shows.
const SHOWN_BYTES_MAX: usize = 48;

/// Walks the whole store.
pub(super) fn check(inspection: &Inspection, report: &mut Report, progress: &dyn Progress) -> Result<()> {
    let mut walk = Walk::new(inspection, report)?;
    progress.begin("store", 0);
    let snapshot = inspection.snapshot();
    let mut cursor = snapshot.cursor(Bound::Unbounded, Bound::Unbounded, Direction::Forward);
    let mut batch: Vec<(Bytes, Bytes)> = Vec::new();
    let mut before = Bytes::new();
    loop {
        let more = cursor.next_batch(snapshot, &mut batch, SCAN_BATCH)?;
        progress.advance(batch.len() as u64);
        for (key, value) in batch.drain(..) {
            if key <= before && walk.keys > 0 {
                report.damage(format!("key {} stands after a greater one", shown(&key)));
            }
            if let Err(error) = walk.entry(&key, value, report) {
                report.damage(format!("entry {}: {}", shown(&key), error.fields().message));
            }
            walk.keys += 1;
            before = key;
        }
        if !more {
            break;
        }
    }
    walk.finish(report)
}

/// The walk so far.
struct Walk<'a> {
    inspection: &'a Inspection,
    rows: HashMap<(u8, StorageId), Rows>,
    /// Entries of each index, and how many there must be.
    indexes: HashMap<StorageId, Expected>,
    topics: HashMap<StorageId, Arc<Relation>>,
    dropped: HashSet<(u8, StorageId)>,
    /// Scopes that rows belong to and whose user id is still to be seen.
    scopes: BTreeSet<ScopeId>,
    /// Storages that nothing names.
    strays: BTreeSet<(u8, StorageId)>,
    keys: u64,
}

impl<'a> Walk<'a> {
    fn new(inspection: &'a Inspection, report: &mut Report) -> Result<Walk<'a>> {
        let mut walk = Walk {
            inspection,
            rows: HashMap::new(),
            indexes: HashMap::new(),
            topics: HashMap::new(),
            dropped: inspection.dropped()?.into_iter().collect(),
            scopes: BTreeSet::new(),
            strays: BTreeSet::new(),
            keys: 0,
        };
        for relation in inspection.catalog().relations() {
            match Model::new(relation) {
                Ok(model) => walk.add(model),
                Err(error) => report.error(&error),
            }
        }
        Ok(walk)
    }

    fn add(&mut self, model: Arc<Model>) {
        let relation = model.relation().clone();
        let name = self.inspection.catalog().qualified_name(&relation);
        if relation.topic().is_some() {
            self.topics.insert(relation.storage, relation.clone());
        }
        for index in model.indexes() {
            self.indexes.insert(index.storage, Expected::new(format!("{name}, index {}", index.name)));
        }
        let space = model.space() as u8;
        self.rows.insert((space, relation.storage), Rows::new(name, model));
    }

    /// Looks at one entry.
    fn entry(&mut self, key: &Bytes, value: Bytes, report: &mut Report) -> Result<()> {
        let Some((space, storage, scope)) = place_of(key) else {
            report.damage(format!("key {} is too short", shown(key)));
            return Ok(());
        };
        if self.dropped.contains(&(space, storage)) {
            return Ok(());
        }
        if let Some(rows) = self.rows.get_mut(&(space, storage)) {
            if rows.is_scoped() {
                self.scopes.insert(scope);
            }
            return rows.entry(self.inspection.snapshot(), scope, key, value, &mut self.indexes, report);
        }
        if space == Space::Index as u8
            && let Some(index) = self.indexes.get_mut(&storage)
        {
            index.found += 1;
            return Ok(());
        }
        match space {
            space if space == Space::Catalog as u8 => catalog::decode_entry(&value).map(|_| ()),
            space if space == Space::Meta as u8 => Ok(()),
            space if space == Space::Group as u8 && self.topics.contains_key(&storage) => {
                topic::check_entry(key, &value)
            }
            space if space == Space::ScopeName as u8 => self.name(key, &value, scope, storage, report),
            space if space == Space::Stream as u8 => Ok(()),
            space => {
                self.strays.insert((space, storage));
                Ok(())
            }
        }
    }

    fn name(
        &mut self,
        key: &[u8],
        value: &[u8],
        scope: ScopeId,
        storage: StorageId,
        report: &mut Report,
    ) -> Result<()> {
        if storage.0 == 0 {
            self.scopes.remove(&scope);
        }
        if !self.inspection.is_named_both_ways(key, value)? {
            report.damage(format!("user id of entry {} does not lead back to it", shown(key)));
        }
        Ok(())
    }

    fn finish(self, report: &mut Report) -> Result<()> {
        for scope in &self.scopes {
            report.damage(format!("rows belong to user number {}, which has no user id", scope.0));
        }
        let mut entries = 0;
        for index in self.indexes.values() {
            entries += index.found;
            if index.found != index.expected {
                let Expected { name, found, expected } = index;
                report.damage(format!("{name}: {found} entries for {expected} rows"));
            }
        }
        let mut tables: Vec<_> = self.rows.into_values().filter(|rows| rows.count > 0).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        let rows: u64 = tables.iter().map(|table| table.count).sum();
        let (keys, tables) = (self.keys, tables.len());
        report.figures.push(format!(
            "store: {keys} keys, {rows} rows and messages in {tables} relations, {entries} index entries"
        ));
        if !self.strays.is_empty() {
            let count = self.strays.len();
            report.notes.push(format!("{count} storages belong to nothing any more; the server frees them"));
        }
        Ok(())
    }
}

/// A key for the operator's eyes.
pub(super) fn shown(key: &[u8]) -> String {
    let mut out = String::from("\\x");
    for byte in key.iter().take(SHOWN_BYTES_MAX) {
        // writing into a string cannot fail
        let _ = write!(out, "{byte:02x}");
    }
    if key.len() > SHOWN_BYTES_MAX {
        out.push('…');
    }
    out
}
