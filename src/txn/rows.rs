//! Writing rows of tables: locks, uniqueness, index entries and the write itself, in one place for every statement.
//!
//! Each call either does everything or asks to wait and be called again; locks that it has got by then are kept.

use super::lock::{LockKey, LockMode, LockPolicy, RowLock};
use super::transaction::{Claim, StatementView, Transaction};
use crate::change::{Moved, RowChange, Write};
use crate::error::{Error, Result};
use crate::table::{Model, entry_without_row, unique_violation};
use crate::types::{ScopeId, Value, Zone};
use crate::wait::Wait;
use bytes::Bytes;
use smallvec::SmallVec;

/// What became of a row that was to be written.
pub enum Written {
    /// It is in the write set, under this key.
    Done(Bytes),
    /// Call again after this wait.
    Wait(Wait),
    /// Another row has a key that must be unique.
    Conflict(Conflict),
}

/// The row that stands in the way.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// The constraint: a position in [`Model::indexes`], none for the primary key.
    pub unique: Option<usize>,
    /// The row's key.
    pub key: Bytes,
    /// Its newest version. It is not locked.
    pub row: Bytes,
}

impl Conflict {
    /// 23505 for the values that could not be written.
    pub fn error(&self, model: &Model, schema: &str, values: &[Value], zone: &Zone) -> Error {
        let relation = model.relation();
        let primary = relation.primary_key.as_ref();
        let (name, columns) = match self.unique {
            Some(at) => (model.indexes()[at].name.as_str(), model.indexes()[at].columns.as_slice()),
            None => primary.map_or(("", [].as_slice()), |key| (key.name.as_str(), key.columns.as_slice())),
        };
        unique_violation(relation, schema, name, columns, values, zone)
    }
}

/// The answer to one lock and one look.
enum Probe {
    Free,
    Wait(Wait),
    Taken(Conflict),
}

impl Transaction {
    /// Inserts a row: all columns of the relation, checked and converted by the caller.
    pub fn insert_row(
        &mut self,
        view: &StatementView,
        model: &Model,
        scope: ScopeId,
        values: &[Value],
    ) -> Result<Written> {
        check_scope(model, scope)?;
        let row_id = if model.has_row_id() { self.engine().snowflake() } else { 0 };
        let key = model.row_key(scope, values, row_id)?;
        if !model.has_row_id() {
            match self.probe_row(view, model, &key)? {
                Probe::Free => {}
                Probe::Wait(wait) => return Ok(Written::Wait(wait)),
                Probe::Taken(conflict) => return Ok(Written::Conflict(conflict)),
            }
        }
        for (at, index) in model.indexes().iter().enumerate() {
            let Some(wanted) = index.unique_key(scope, values)? else { continue };
            match self.probe_entry(view, model, at, &wanted, None)? {
                Probe::Free => {}
                Probe::Wait(wait) => return Ok(Written::Wait(wait)),
                Probe::Taken(conflict) => return Ok(Written::Conflict(conflict)),
            }
        }
        // before anything is written, for a key may be too long
        let entries = model.indexes().iter().map(|index| index.entry_key(scope, values, &key));
        let entries = entries.collect::<Result<SmallVec<[Bytes; 4]>>>()?;
        let expired = match self.expired_entries(view, model, scope, &key)? {
            Ok(expired) => expired,
            Err(wait) => return Ok(Written::Wait(wait)),
        };
        let row = model.encode_row(values, self.engine().env.now())?;
        // an expired row that the sweep has not reached yet is gone for everybody
        for entry in expired {
            self.put_entry(view, model, entry, None)?;
        }
        self.put_row(view, model, scope, key.clone(), Some(row), None, Moved::No)?;
        for entry in entries {
            self.put_entry(view, model, entry, Some(key.clone()))?;
        }
        Ok(Written::Done(key))
    }

    /// Replaces a row whose lock is held. `old` is its newest version, as [`lock_row`](Self::lock_row) gave it.
    pub fn update_row(
        &mut self,
        view: &StatementView,
        model: &Model,
        scope: ScopeId,
        row: (&Bytes, &Bytes),
        values: &[Value],
    ) -> Result<Written> {
        check_scope(model, scope)?;
        let (key, old) = row;
        let new_key = if model.has_row_id() { key.clone() } else { model.row_key(scope, values, 0)? };
        if new_key != *key {
            match self.probe_row(view, model, &new_key)? {
                Probe::Free => {}
                Probe::Wait(wait) => return Ok(Written::Wait(wait)),
                Probe::Taken(conflict) => return Ok(Written::Conflict(conflict)),
            }
        }
        let mut entries: SmallVec<[(Bytes, Bytes); 4]> = SmallVec::new();
        let old_values = if model.indexes().is_empty() { Vec::new() } else { model.decode(old)? };
        for (at, index) in model.indexes().iter().enumerate() {
            let before = index.entry_key(scope, &old_values, key)?;
            let after = index.entry_key(scope, values, &new_key)?;
            if before == after && new_key == *key {
                continue;
            }
            if before != after && index.unique_key(scope, values)?.is_some() {
                match self.probe_entry(view, model, at, &after, Some(key))? {
                    Probe::Free => {}
                    Probe::Wait(wait) => return Ok(Written::Wait(wait)),
                    Probe::Taken(conflict) => return Ok(Written::Conflict(conflict)),
                }
            }
            entries.push((before, after));
        }
        let encoded = model.encode_row(values, self.engine().env.now())?;
        if new_key == *key {
            self.put_row(view, model, scope, key.clone(), Some(encoded), Some(old.clone()), Moved::No)?;
        } else {
            self.put_move(view, model, scope, (key, old), (new_key.clone(), encoded))?;
        }
        for (before, after) in entries {
            if before != after {
                self.put_entry(view, model, before, None)?;
            }
            self.put_entry(view, model, after, Some(new_key.clone()))?;
        }
        Ok(Written::Done(new_key))
    }

    /// Removes a row whose lock is held. `old` is its newest version.
    pub fn delete_row(
        &mut self,
        view: &StatementView,
        model: &Model,
        scope: ScopeId,
        key: &Bytes,
        old: &Bytes,
    ) -> Result<()> {
        check_scope(model, scope)?;
        self.put_row(view, model, scope, key.clone(), None, Some(old.clone()), Moved::No)?;
        if model.indexes().is_empty() {
            return Ok(());
        }
        let values = model.decode(old)?;
        for index in model.indexes() {
            self.put_entry(view, model, index.entry_key(scope, &values, key)?, None)?;
        }
        Ok(())
    }

    /// Refuses a row for a conflict: 40001 rather than 23505 where the row in the way is there because of a transaction
    /// that this one cannot come after, so that a retry sees it.
    pub fn refuse(&self, conflict: &Conflict, error: impl FnOnce() -> Error) -> Error {
        match self.note_write(&conflict.key, None) {
            Ok(()) => error(),
            Err(anomaly) => anomaly,
        }
    }

    /// Lets INSERT pass over a conflict (ON CONFLICT DO NOTHING): 40001 under REPEATABLE READ where the row in the way is
    /// not as the transaction sees it.
    pub fn pass_over(&self, view: &StatementView, conflict: &Conflict) -> Result<()> {
        match self.options().isolation.reads_anew() {
            true => Ok(()),
            false => self.check_unchanged(view, &conflict.key, Some(&conflict.row), false),
        }
    }

    /// Locks a row's key and looks whether a row is there. One that is there is not locked, nor are those waited for who
    /// only lock it: as in PostgreSQL it stands in the way as it is.
    fn probe_row(&mut self, view: &StatementView, model: &Model, key: &Bytes) -> Result<Probe> {
        let (mark, relation) = (self.lock_mark(), model.relation().oid);
        let claim = self.claim(relation, key, RowLock::Update, true)?;
        if let Claim::Wait(wait) = claim {
            return Ok(Probe::Wait(wait));
        }
        if let Some(row) = self.live_row(view, model, key)? {
            self.give_back_to(mark);
            return Ok(Probe::Taken(Conflict { unique: None, key: key.clone(), row }));
        }
        match claim {
            Claim::Held => Ok(Probe::Free),
            _ => {
                let wait = self.wait_for(relation, key, RowLock::Update, true)?;
                // where there is none the locks of a row that is not there are gone: look again
                Ok(Probe::Wait(wait.unwrap_or_else(Wait::ready)))
            }
        }
    }

    /// Locks an entry of a unique constraint and looks whether it names another row.
    fn probe_entry(
        &mut self,
        view: &StatementView,
        model: &Model,
        unique: usize,
        entry: &Bytes,
        own: Option<&Bytes>,
    ) -> Result<Probe> {
        let mark = self.lock_mark();
        let locked = self.lock(LockKey::Key(entry.clone()), LockMode::AccessExclusive, LockPolicy::Wait)?;
        if let Some(wait) = locked.wait()? {
            return Ok(Probe::Wait(wait));
        }
        let held = self.lock_mark();
        let mut named = self.newest(view, entry)?;
        loop {
            let Some(key) = named else { return Ok(Probe::Free) };
            if own == Some(&key) {
                return Ok(Probe::Free);
            }
            // whoever is removing or changing that row decides whether the value is taken
            if let Claim::Wait(wait) = self.claim(model.relation().oid, &key, RowLock::Share, false)? {
                // he may yet want the entry himself, and must not find it held by one who waits for him
                self.release_since(mark);
                return Ok(Probe::Wait(wait));
            }
            // both as of one moment: who only locked the row may write it now
            let now = self.engine().snapshot()?;
            named = self.newest_in(&now, entry)?;
            let row = if named.as_ref() == Some(&key) { self.newest_in(&now, &key)? } else { None };
            drop(now);
            let row = if let Some(row) = row { self.if_live(model, row)? } else { None };
            self.give_back_to(if row.is_some() { mark } else { held });
            if named.as_ref() != Some(&key) {
                continue;
            }
            return Ok(match row {
                Some(row) => Probe::Taken(Conflict { unique: Some(unique), key, row }),
                None if model.is_volatile() => Probe::Free,
                None => return Err(entry_without_row(&model.indexes()[unique].name)),
            });
        }
    }

    /// The entries of an expired row under a key whose lock is held, which go with it when another takes its place. They
    /// are locked: an inserter that found one of them free may yet roll back and leave it as it was. None where there is
    /// something to wait for first.
    fn expired_entries(
        &mut self,
        view: &StatementView,
        model: &Model,
        scope: ScopeId,
        key: &Bytes,
    ) -> Result<std::result::Result<Vec<Bytes>, Wait>> {
        let mut entries = Vec::new();
        if !model.is_volatile() || model.indexes().is_empty() {
            return Ok(Ok(entries));
        }
        let Some(expired) = self.newest(view, key)? else { return Ok(Ok(entries)) };
        let values = model.decode(&expired)?;
        for index in model.indexes() {
            let entry = index.entry_key(scope, &values, key)?;
            let locked = self.lock(LockKey::Key(entry.clone()), LockMode::AccessExclusive, LockPolicy::Wait)?;
            if let Some(wait) = locked.wait()? {
                return Ok(Err(wait));
            }
            if self.newest(view, &entry)?.as_ref() == Some(key) {
                entries.push(entry);
            }
        }
        Ok(Ok(entries))
    }

    fn live_row(&self, view: &StatementView, model: &Model, key: &Bytes) -> Result<Option<Bytes>> {
        match self.newest(view, key)? {
            Some(row) => self.if_live(model, row),
            None => Ok(None),
        }
    }

    fn if_live(&self, model: &Model, row: Bytes) -> Result<Option<Bytes>> {
        Ok(if model.is_live(&row, self.engine().env.now())? { Some(row) } else { None })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one write, all of them different")]
    fn put_row(
        &mut self,
        view: &StatementView,
        model: &Model,
        scope: ScopeId,
        key: Bytes,
        value: Option<Bytes>,
        old: Option<Bytes>,
        moved: Moved,
    ) -> Result<()> {
        let relation = model.relation().oid;
        let change = RowChange { relation, scope, old, moved };
        self.put(Write { command: view.command(), key, value, volatile: model.is_volatile(), change: Some(change) })
    }

    fn put_move(
        &mut self,
        view: &StatementView,
        model: &Model,
        scope: ScopeId,
        from: (&Bytes, &Bytes),
        to: (Bytes, Bytes),
    ) -> Result<()> {
        let relation = model.relation().oid;
        let change = RowChange { relation, scope, old: Some(from.1.clone()), moved: Moved::To(to.0.clone()) };
        let volatile = model.is_volatile();
        self.put(Write { command: view.command(), key: from.0.clone(), value: None, volatile, change: Some(change) })?;
        self.put_row(view, model, scope, to.0, Some(to.1), None, Moved::From(from.0.clone()))
    }

    fn put_entry(&mut self, view: &StatementView, model: &Model, key: Bytes, value: Option<Bytes>) -> Result<()> {
        self.put(Write { command: view.command(), key, value, volatile: model.is_volatile(), change: None })
    }
}

/// A scoped table is never written in the shared scope, nor the other way round.
fn check_scope(model: &Model, scope: ScopeId) -> Result<()> {
    if model.relation().is_scoped() == (scope != ScopeId::SHARED) {
        return Ok(());
    }
    Err(Error::internal(format!("table {} was written in the wrong scope", model.relation().oid)))
}
