//! What a transaction reads: its snapshots, and its own writes over them.

use super::cursor::TxCursor;
use super::recovery;
use super::serializable::{Began, Safety};
use super::transaction::{Isolation, StatementView, Transaction, TxnOptions};
use crate::encoding::row;
use crate::error::{Error, Result};
use crate::storage::{Direction, StoreSnapshot};
use crate::types::{CommitSeq, StorageId};
use crate::wait::Wait;
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// How soon an unsafe snapshot is looked at again while nothing is published that makes for another one.
const PUBLICATION: Duration = Duration::from_millis(1);

impl Transaction {
    /// Takes the snapshot that all statements of a REPEATABLE READ or SERIALIZABLE transaction read, if it has none: the
    /// first query's, as of before it waits for any lock. A wait where a READ ONLY DEFERRABLE one has no safe one yet.
    pub fn pin(&mut self) -> Result<Option<Wait>> {
        if self.pinned.is_some() || self.options.isolation.reads_anew() {
            return Ok(None);
        }
        let engine = self.engine.clone();
        if self.candidate.is_none() {
            self.pinned_at = engine.env.monotonic();
        }
        if self.options.isolation == Isolation::RepeatableRead {
            self.pinned = Some(Arc::new(engine.store.snapshot()?));
            return Ok(None);
        }
        let TxnOptions { read_only, deferrable, pid, .. } = self.options;
        loop {
            if let Some(candidate) = self.candidate.take() {
                match engine.serializable.safety(self.id) {
                    Err(wait) => {
                        self.candidate = Some(candidate);
                        return Ok(Some(wait));
                    }
                    Ok(safety) => {
                        self.stop_noting();
                        if safety == Safety::Safe {
                            self.pinned = Some(candidate);
                            return Ok(None);
                        }
                        if candidate.seq() == engine.current() {
                            // what made it unsafe is about to be published
                            return Ok(Some(Wait::for_time(PUBLICATION)));
                        }
                    }
                }
            }
            match engine.serializable.begin(self.id, pid, read_only, || engine.store.snapshot())? {
                Began::Noted(snapshot) if read_only && deferrable => {
                    self.noted = true;
                    self.candidate = Some(Arc::new(snapshot));
                    continue;
                }
                Began::Noted(snapshot) => {
                    self.noted = true;
                    self.pinned = Some(Arc::new(snapshot));
                }
                Began::Safe(snapshot) => self.pinned = Some(Arc::new(snapshot)),
            }
            return Ok(None);
        }
    }

    /// Takes back what was noted: nothing that it read or wrote counts.
    pub(super) fn stop_noting(&mut self) {
        if std::mem::take(&mut self.noted) {
            self.engine.serializable.abort(self.id);
        }
    }

    /// Begins a statement: the next command, and what it reads.
    pub fn statement(&mut self) -> Result<StatementView> {
        self.be_back();
        self.command += 1;
        if self.pin()?.is_some() {
            return Err(Error::internal("a statement began before its transaction had a safe snapshot"));
        }
        let snapshot = match &self.pinned {
            Some(pinned) => pinned.clone(),
            None => Arc::new(self.engine.store.snapshot()?),
        };
        Ok(StatementView { snapshot, command: self.command })
    }

    /// Whether what is read through a view is to be noted: it is the transaction's own snapshot.
    pub(super) fn notes_reads(&self, view: &StatementView) -> bool {
        self.noted && self.pinned.as_ref().is_some_and(|pinned| Arc::ptr_eq(pinned, &view.snapshot))
    }

    /// Notes that it reads a range of keys: 40001 where that makes it part of an anomaly.
    pub(super) fn note_read(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<()> {
        self.engine.serializable.read(self.id, from, to)
    }

    /// Notes that it writes a key over a row, or would if that were not there already: 40001 where that makes it part of an
    /// anomaly.
    pub(super) fn note_write(&self, key: &Bytes, over: Option<&Bytes>) -> Result<()> {
        if !self.noted {
            return Ok(());
        }
        match over.map(|row| row::seq(row)) {
            // its own version: who has read the one before that is known since that was made
            Some(CommitSeq::ZERO) => Ok(()),
            over => self.engine.serializable.write(self.id, key, over),
        }
    }

    /// What is committed now with all that this transaction has written, whatever its isolation level: for definitions,
    /// which hold locks that keep it so.
    pub fn latest(&self) -> Result<StatementView> {
        Ok(StatementView { snapshot: Arc::new(self.engine.store.snapshot()?), command: u32::MAX })
    }

    /// A key's value as the statement sees it.
    pub fn get(&self, view: &StatementView, key: &[u8]) -> Result<Option<Bytes>> {
        if self.notes_reads(view) {
            self.note_read(Bound::Included(key), Bound::Included(key))?;
        }
        match self.writes.get(key, view.command)? {
            Some(own) => Ok(own),
            None => view.snapshot.get(key),
        }
    }

    /// The keys between two bounds as the statement sees them.
    pub fn cursor(
        &self,
        view: &StatementView,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        direction: Direction,
    ) -> TxCursor {
        let unnoted = self.notes_reads(view).then(|| (from.clone(), to.clone()));
        TxCursor::new(view, from, to, direction, unnoted)
    }

    /// A key's newest value: this transaction's own, else the newest published. For what is locked.
    pub fn newest(&self, view: &StatementView, key: &[u8]) -> Result<Option<Bytes>> {
        if let Some(own) = self.writes.get(key, u32::MAX)? {
            return Ok(own);
        }
        if self.engine.current() == view.snapshot.seq() {
            return view.snapshot.get(key);
        }
        self.engine.store.snapshot()?.get(key)
    }

    /// Whether the transaction itself has written a key since a statement began: while that was suspended, or by the
    /// statement. As in PostgreSQL it does not come back to such a row.
    pub fn has_rewritten(&self, view: &StatementView, key: &[u8]) -> Result<bool> {
        let newest = self.writes.get(key, u32::MAX)?;
        Ok(newest.is_some() && newest != self.writes.get(key, view.command)?)
    }

    /// A key's value with all own writes over a snapshot of now. For several keys that are not locked.
    pub(super) fn newest_in(&self, now: &StoreSnapshot, key: &[u8]) -> Result<Option<Bytes>> {
        match self.writes.get(key, u32::MAX)? {
            Some(own) => Ok(own),
            None => now.get(key),
        }
    }

    /// The offset that a topic's partition gives its next message, as the statement sees it.
    pub fn offset_end(&self, view: &StatementView, storage: StorageId, partition: u32) -> Result<u64> {
        recovery::offset_end(&view.snapshot, storage, partition)
    }
}
