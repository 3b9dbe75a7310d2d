//! The changes of a bulk commit, which are in its file and never all in memory.
//!
//! ```text
//! note  kind u8, [relation u32, scope u64, [target length u16, target], [old row]]
//! ```
//!
//! A row whose key changed is the delete of one and the insert of another here: judging it needs all writes at once. The
//! delete says where it went, and so does each key that it left within the transaction, which is nothing else otherwise.

use super::{Change, ChangeKind, Commit, NetWrite};
use crate::catalog::{self, CatalogKey};
use crate::encoding::key::{self, Space, prefix_successor};
use crate::error::{Error, Result, SqlState};
use crate::storage::Direction;
use crate::storage::bulk::{BulkCursor, BulkEntry};
use crate::types::{Oid, ScopeId};
use bytes::{Buf, Bytes};
use std::ops::Bound;

const NOTHING: u8 = 0;
const INSERT: u8 = 1;
const UPDATE: u8 = 2;
const DELETE: u8 = 3;
/// Added to one of these where the row went to another key.
const MOVED: u8 = 0x80;

impl NetWrite {
    /// What happened to the row; none where the key is no row's.
    pub fn kind(&self) -> Option<ChangeKind> {
        ChangeKind::between(self.change.as_ref()?.old.as_ref(), self.value.as_ref())
    }

    /// As a change for whoever derives messages from it; the new row has no commit sequence yet.
    pub fn to_change(&self) -> Option<Change> {
        let (kind, change) = (self.kind()?, self.change.clone()?);
        Some(Change {
            relation: change.relation,
            scope: change.scope,
            kind,
            key: self.key.clone(),
            old: change.old,
            new: self.value.clone(),
        })
    }

    /// What a bulk file notes of it.
    pub fn note(&self, out: &mut Vec<u8>) {
        out.clear();
        let kind = match self.kind() {
            None => NOTHING,
            Some(ChangeKind::Insert) => INSERT,
            Some(ChangeKind::Update) => UPDATE,
            Some(ChangeKind::Delete) => DELETE,
        };
        let target = self.change.as_ref().and_then(|change| change.moved_to.as_ref());
        out.push(if target.is_some() { kind | MOVED } else { kind });
        let Some(change) = self.change.as_ref().filter(|_| kind != NOTHING || target.is_some()) else { return };
        out.extend_from_slice(&change.relation.0.to_le_bytes());
        out.extend_from_slice(&change.scope.0.to_le_bytes());
        if let Some(target) = target {
            out.extend_from_slice(&(target.len() as u16).to_le_bytes());
            out.extend_from_slice(target);
        }
        out.extend_from_slice(change.old.as_deref().unwrap_or_default());
    }
}

/// The changes to a table's rows of one scope.
pub struct BulkChanges(Vec<BulkCursor>);

impl Commit {
    /// Whether a relation's rows may have been replaced as a whole: TRUNCATE, or a table stored anew.
    pub fn may_replace(&self, relation: Oid) -> Result<bool> {
        let entry = || catalog::entry_key(CatalogKey::Relation(relation));
        let defined = self.bulk.as_ref().map(|bulk| bulk.get(&entry())).transpose()?.flatten();
        Ok(defined.is_some() || self.replaced.contains(&relation))
    }

    /// What a bulk commit did to the row under a key: nothing, where it is no bulk commit.
    pub fn bulk_fate(&self, key: &[u8]) -> Result<Fate> {
        let entry = self.bulk.as_ref().map(|bulk| bulk.get(key)).transpose()?.flatten();
        let Some(entry) = entry else { return Ok(Fate::Stays) };
        let note = Note::read(entry.note).ok_or_else(damaged)?;
        Ok(match note.moved_to {
            Some(target) => Fate::Moved(target),
            None if entry.value.is_some() => Fate::Stays,
            None => Fate::Gone,
        })
    }

    /// The changes of a bulk commit to a table's rows of one scope, in key order, read from its file as they are asked
    /// for. None of another commit's, which has all in [`changes`](Commit::changes).
    pub fn bulk_changes(&self, table: Oid, scope: ScopeId) -> BulkChanges {
        let cursors = self.bulk.iter().flat_map(|bulk| {
            bulk.storages(table).map(move |storage| {
                let from = key::prefix(Space::Row, storage, scope);
                let to = prefix_successor(&from).expect("a space's number is not ff");
                bulk.range(Bound::Included(&from), Bound::Excluded(&to), Direction::Forward)
            })
        });
        BulkChanges(cursors.collect())
    }
}

impl Iterator for BulkChanges {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Result<Change>> {
        loop {
            let Some(entry) = self.0.last_mut()?.next() else {
                self.0.pop();
                continue;
            };
            match entry.and_then(change_of) {
                Ok(None) => {}
                Ok(Some(change)) => return Some(Ok(change)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// What became of the row that was under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there, or another is in its place.
    Stays,
    /// It went to this key, perhaps on from there.
    Moved(Bytes),
    /// It was deleted.
    Gone,
}

/// A note taken apart.
struct Note {
    kind: u8,
    relation: Oid,
    scope: ScopeId,
    moved_to: Option<Bytes>,
    old: Bytes,
}

impl Note {
    fn read(mut rest: Bytes) -> Option<Note> {
        let flags = rest.try_get_u8().ok()?;
        let kind = flags & !MOVED;
        let mut note = Note { kind, relation: Oid::INVALID, scope: ScopeId::SHARED, moved_to: None, old: Bytes::new() };
        if flags != NOTHING {
            note.relation = Oid(rest.try_get_u32_le().ok()?);
            note.scope = ScopeId(rest.try_get_u64_le().ok()?);
        }
        if flags & MOVED != 0 {
            let length = usize::from(rest.try_get_u16_le().ok()?);
            note.moved_to = Some((length <= rest.len()).then(|| rest.split_to(length))?);
        }
        note.old = rest;
        Some(note)
    }
}

/// The change that an entry of a bulk file is; none where it is no row's.
fn change_of(entry: BulkEntry) -> Result<Option<Change>> {
    let Note { kind, relation, scope, old, .. } = Note::read(entry.note).ok_or_else(damaged)?;
    let kind = match kind {
        NOTHING => return Ok(None),
        INSERT => ChangeKind::Insert,
        UPDATE => ChangeKind::Update,
        DELETE => ChangeKind::Delete,
        _ => return Err(damaged()),
    };
    let old = (kind != ChangeKind::Insert).then_some(old);
    Ok(Some(Change { relation, scope, kind, key: entry.key, old, new: entry.value }))
}

fn damaged() -> Error {
    Error::new(SqlState::DATA_CORRUPTED, "an entry of a bulk commit cannot be decoded")
}
