//! What a definition is going to do, and the locks that it does it under.
//!
//! Nothing is written before everything is locked, so that a definition that must wait has done nothing yet and is
//! worked out anew after its wait. Locks are kept until the transaction ends or goes back to a savepoint before them.

use super::{Definer, Pause};
use crate::catalog::{Catalog, CatalogEntry, CatalogKey, Role};
use crate::encoding::key::Space;
use crate::error::Result;
use crate::txn::{LockKey, LockMode, LockPolicy, Transaction};
use crate::types::{CommitSeq, Oid, StorageId};
use std::sync::Arc;

/// The writes of a definition.
pub(super) struct Staged {
    /// The catalog when it was begun.
    base: Arc<Catalog>,
    /// The same with what is staged.
    catalog: Arc<Catalog>,
    changes: Vec<(CatalogKey, Option<CatalogEntry>)>,
    /// Storages to be freed.
    freed: Vec<(Space, StorageId)>,
    /// Storages whose rows are taken away, as serializable transactions are told.
    emptied: Vec<(Space, StorageId)>,
    /// Storages in whose place there is another.
    moved: Vec<[(Space, StorageId); 2]>,
    /// Storages whose rows are all looked at.
    scanned: Vec<(Space, StorageId)>,
    /// Storages of sequences that begin and that end.
    begun: Vec<StorageId>,
    ended: Vec<StorageId>,
    /// Whether a lock was taken that was not held when it was begun.
    locked: bool,
}

impl Staged {
    pub(super) fn new(tx: &Transaction) -> Staged {
        let base = tx.catalog();
        Staged {
            catalog: base.clone(),
            base,
            changes: Vec::new(),
            freed: Vec::new(),
            emptied: Vec::new(),
            moved: Vec::new(),
            scanned: Vec::new(),
            begun: Vec::new(),
            ended: Vec::new(),
            locked: false,
        }
    }

    /// Does it.
    pub(super) fn write(&mut self, tx: &mut Transaction) -> Result<()> {
        for (space, storage) in std::mem::take(&mut self.emptied) {
            tx.note_emptied(space, storage)?;
        }
        for [from, to] in std::mem::take(&mut self.moved) {
            tx.note_moved(from, to);
        }
        for (space, storage) in std::mem::take(&mut self.scanned) {
            tx.note_scanned(space, storage);
        }
        for (space, storage) in std::mem::take(&mut self.freed) {
            tx.drop_storage(space, storage)?;
        }
        for storage in std::mem::take(&mut self.begun) {
            tx.begin_sequence(storage);
        }
        for storage in std::mem::take(&mut self.ended) {
            tx.end_sequence(storage)?;
        }
        match std::mem::take(&mut self.changes) {
            changes if changes.is_empty() => Ok(()),
            changes => tx.change_catalog(changes),
        }
    }
}

impl Definer<'_, '_> {
    /// The catalog with what the definition has changed so far.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        self.staged.catalog.clone()
    }

    /// Sets an entry: locks it, its names that are new, and what it needs.
    pub(super) fn put(&mut self, entry: CatalogEntry) -> Result<()> {
        let before = self.catalog().entry(entry.key());
        self.lock(LockKey::Entry(entry.key()), LockMode::Exclusive)?;
        let named = before.as_ref().map_or_else(Vec::new, CatalogEntry::names);
        for name in entry.names().into_iter().filter(|name| !named.contains(name)) {
            self.lock(LockKey::Name(name), LockMode::AccessExclusive)?;
        }
        let had = before.map_or_else(Vec::new, |before| before.needs());
        let bootstrap = CatalogKey::Role(Role::BOOTSTRAP);
        for needed in entry.needs().into_iter().filter(|key| !had.contains(key) && *key != bootstrap) {
            self.lock(LockKey::Entry(needed), LockMode::AccessShare)?;
        }
        self.stage(entry.key(), Some(entry));
        Ok(())
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, key: CatalogKey) -> Result<()> {
        self.lock(LockKey::Entry(key), LockMode::AccessExclusive)?;
        self.stage(key, None);
        Ok(())
    }

    fn stage(&mut self, key: CatalogKey, entry: Option<CatalogEntry>) {
        let change = (key, entry);
        Arc::make_mut(&mut self.staged.catalog).apply([&change], CommitSeq::MAX);
        self.staged.changes.push(change);
    }

    /// Has a storage freed in the background once the definition is committed.
    pub(super) fn free_storage(&mut self, space: Space, storage: StorageId) {
        self.staged.freed.push((space, storage));
    }

    /// The same, of a storage whose rows go with it: who has read one of them comes before this transaction. There may
    /// be another in its place.
    pub(super) fn empty_storage(&mut self, space: Space, storage: StorageId, to: Option<(Space, StorageId)>) {
        self.staged.emptied.push((space, storage));
        match to {
            Some(to) => self.move_storage(space, storage, to),
            None => self.free_storage(space, storage),
        }
    }

    /// The same, of a storage in whose place there is another: who has read in the one has read in the other.
    pub(super) fn move_storage(&mut self, space: Space, storage: StorageId, to: (Space, StorageId)) {
        self.staged.moved.push([(space, storage), to]);
        self.free_storage(space, storage);
    }

    /// The definition looks at all rows of a storage as they are now.
    pub(super) fn scan_storage(&mut self, space: Space, storage: StorageId) {
        self.staged.scanned.push((space, storage));
    }

    /// A sequence counts anew, in a storage of its own.
    pub(super) fn begin_sequence(&mut self, storage: StorageId) {
        self.staged.begun.push(storage);
    }

    /// Nobody counts in a sequence's storage any more, once the definition is committed.
    pub(super) fn end_sequence(&mut self, storage: StorageId) {
        self.staged.ended.push(storage);
    }

    /// Takes a relation for this transaction alone: nobody reads or writes it until the end.
    pub(super) fn lock_relation(&mut self, relation: Oid) -> Result<()> {
        self.lock(LockKey::Relation(relation), LockMode::AccessExclusive)
    }

    /// Keeps others from writing a table until the end: whose changes go to a topic is decided for whole transactions.
    pub(super) fn lock_source(&mut self, table: Oid) -> Result<()> {
        self.lock(LockKey::Relation(table), LockMode::ShareRowExclusive)
    }

    /// Locks something until the end of the transaction.
    pub(super) fn lock(&mut self, key: LockKey, mode: LockMode) -> Result<()> {
        if self.tx.holds(&key, mode) {
            return Ok(());
        }
        match self.tx.lock(key, mode, LockPolicy::Wait)?.wait()? {
            None => {
                self.staged.locked = true;
                Ok(())
            }
            Some(wait) => Err(self.pause(Pause::Wait(wait))),
        }
    }

    /// Makes sure that what was decided so far is still so: from here on it stays so.
    pub(super) fn settle(&mut self) -> Result<()> {
        match self.staged.locked && !Arc::ptr_eq(&self.tx.catalog(), &self.staged.base) {
            true => Err(self.pause(Pause::Again)),
            false => {
                self.staged.locked = false;
                Ok(())
            }
        }
    }
}
