//! A transaction: what it reads, what it has written, what it holds.
//!
//! Under READ COMMITTED each statement reads a fresh snapshot; under REPEATABLE READ all read the first one's, and a
//! write to a row that changed since is refused (first updater wins, found under the row's lock). A statement sees the
//! transaction's own writes as of its start.

use super::engine::Engine;
use super::lock::{AdvisoryKey, AdvisoryLevel, LockKey, LockMark, LockMode, LockOwner, LockPolicy, Locked, RowLock};
use super::ticket::Receipt;
use crate::catalog::{Catalog, CatalogEntry, CatalogKey};
use crate::change::{AtEnd, Derive, Mark, Notification, TopicAppend, Write, WriteSet};
use crate::encoding::key::{self, Space};
use crate::env::UnixMicros;
use crate::error::{Error, Result, SqlState};
use crate::storage::StoreSnapshot;
use crate::types::{CommitSeq, Oid, ScopeId, StorageId, Str};
use crate::wait::Wait;
use bytes::Bytes;
use std::cell::RefCell;
use std::ops::Bound;
use std::sync::Arc;

/// PostgreSQL's isolation levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// READ COMMITTED by another name, as in PostgreSQL.
    ReadUncommitted,
    /// Each statement reads what is committed when it begins.
    #[default]
    ReadCommitted,
    /// All statements read what was committed when the first began.
    RepeatableRead,
    /// As if one transaction ran after the other.
    Serializable,
}

impl Isolation {
    /// Whether each statement has a snapshot of its own.
    pub fn reads_anew(self) -> bool {
        matches!(self, Isolation::ReadUncommitted | Isolation::ReadCommitted)
    }
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct TxnOptions {
    /// Isolation level.
    pub isolation: Isolation,
    /// READ ONLY: statements that write are refused when they are bound; a write that gets here is an internal error.
    pub read_only: bool,
    /// DEFERRABLE: a READ ONLY SERIALIZABLE transaction waits for a snapshot on which it cannot fail.
    pub deferrable: bool,
    /// The session's process id, for deadlock reports.
    pub pid: i32,
}

/// What one statement reads: a snapshot, and the transaction's own writes of earlier commands. Cheap to clone; a cursor
/// keeps the one it was declared with.
#[derive(Clone)]
pub struct StatementView {
    pub(super) snapshot: Arc<StoreSnapshot>,
    pub(super) command: u32,
}

impl StatementView {
    /// The position that the statement reads: current_seq().
    pub fn seq(&self) -> CommitSeq {
        self.snapshot.seq()
    }

    /// The statement's command number.
    pub fn command(&self) -> u32 {
        self.command
    }

    /// The same snapshot without any write of the transaction's own: exactly what is committed at its position.
    pub fn committed(self) -> StatementView {
        StatementView { command: 0, ..self }
    }

    pub(super) fn snapshot(&self) -> &StoreSnapshot {
        &self.snapshot
    }
}

/// A place to roll back to.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {
    mark: Mark,
    at_end: usize,
    derivers: usize,
    pub(super) locks: LockMark,
    read_only: bool,
}

/// A catalog of a transaction's own.
struct OwnCatalog {
    /// The version of the committed catalog below them.
    base: u64,
    catalog: Arc<Catalog>,
}

/// How a table's net changes become messages, and by which catalog.
pub(super) struct Derivers {
    pub(super) table: Oid,
    catalog: Arc<Catalog>,
    pub(super) derive: Vec<Arc<dyn Derive>>,
}

/// What came of an attempt to lock a row or key, for which those who only lock it need not be waited for.
pub(super) enum Claim {
    /// The lock is held.
    Held,
    /// Others hold it, but none of them writes.
    Locked,
    /// Ask again after this wait.
    Wait(Wait),
}

/// The newest version of a row, under its lock.
pub enum LockedRow {
    /// The lock is held; the row's newest version, none when it is gone.
    Granted(Option<Bytes>),
    /// Ask again after this wait.
    Wait(Wait),
    /// Another transaction holds it, and the policy was not to wait.
    NotAvailable,
}

/// An open transaction. Dropping it rolls it back.
pub struct Transaction {
    pub(super) engine: Arc<Engine>,
    pub(super) id: u64,
    pub(super) options: TxnOptions,
    time: UnixMicros,
    pub(super) command: u32,
    pub(super) pinned: Option<Arc<StoreSnapshot>>,
    /// When that was taken, on the monotonic clock.
    pub(super) pinned_at: u64,
    /// A snapshot that may turn out to be safe.
    pub(super) candidate: Option<Arc<StoreSnapshot>>,
    /// SERIALIZABLE: what it reads and writes is noted.
    pub(super) noted: bool,
    pub(super) writes: WriteSet,
    /// The newest catalog as this transaction sees it, as of the last look, where that is another.
    own_catalog: RefCell<Option<OwnCatalog>>,
    pub(super) locks: LockOwner,
    /// Where ROLLBACK TO goes back to, while it gives locks back.
    pub(super) going_back: Option<LockMark>,
    /// Who waits until all is given back.
    pub(super) ended: Option<Receipt>,
    /// What was said of each table; the last counts.
    pub(super) derivers: Vec<Derivers>,
    /// Scopes that were written durably: their user ids must be stored with the commit.
    pub(super) scopes: Vec<ScopeId>,
    pub(super) at_end: Vec<Box<dyn AtEnd>>,
    /// The last SNOWFLAKE_ID that was given out before it began.
    pub(super) ids_before: i64,
}

impl Transaction {
    pub(super) fn new(engine: Arc<Engine>, id: u64, options: TxnOptions) -> Transaction {
        engine.count_begin();
        Transaction {
            time: engine.env.now(),
            ids_before: engine.snowflake.last(),
            locks: engine.locks.begin(id, options.pid),
            engine,
            id,
            options,
            command: 0,
            pinned: None,
            pinned_at: 0,
            candidate: None,
            noted: false,
            writes: WriteSet::default(),
            going_back: None,
            ended: None,
            own_catalog: RefCell::new(None),
            derivers: Vec::new(),
            scopes: Vec::new(),
            at_end: Vec::new(),
        }
    }

    /// The engine it runs on.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Its number among this run's transactions.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// When it began, microseconds since the Unix epoch: now().
    pub fn time(&self) -> UnixMicros {
        self.time
    }

    /// How it was begun.
    pub fn options(&self) -> &TxnOptions {
        &self.options
    }

    /// 25006 for a statement that writes, by its name, in a READ ONLY transaction.
    pub fn check_writable(&self, statement: &str) -> Result<()> {
        if !self.options.read_only {
            return Ok(());
        }
        let message = format!("cannot execute {statement} in a read-only transaction");
        Err(Error::new(SqlState::READ_ONLY_SQL_TRANSACTION, message))
    }

    /// SET TRANSACTION. 25001 once a statement has read or written under the old isolation level, and for READ WRITE once
    /// one has read under READ ONLY: its snapshot may be one that only a reader is safe on.
    pub fn set_options(&mut self, options: TxnOptions) -> Result<()> {
        if options.isolation != self.options.isolation && self.has_begun() {
            return Err(Error::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                "SET TRANSACTION ISOLATION LEVEL must be called before any query",
            ));
        }
        if self.options.read_only && !options.read_only && self.has_begun() {
            let message = "transaction read-write mode must be set before any query";
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        self.options = options;
        Ok(())
    }

    /// The catalog as this transaction sees it: the newest, or its own version once it has made DDL or while indexes are
    /// younger than what it reads.
    pub fn catalog(&self) -> Arc<Catalog> {
        let newest = self.engine.catalog();
        let seen = self.seen(&newest);
        if !self.has_defined() && seen.is_none() {
            return newest;
        }
        let mut own = self.own_catalog.borrow_mut();
        if let Some(own) = own.as_ref().filter(|own| own.base == newest.version && own.catalog.seen() == seen) {
            return own.catalog.clone();
        }
        // others have committed definitions meanwhile, of other objects: ours are locked
        let mut catalog = Catalog::clone(&newest).as_of(seen);
        catalog.apply(self.writes.catalog(), CommitSeq::MAX);
        catalog.version = self.engine.private_catalog_version();
        let catalog = Arc::new(catalog);
        *own = Some(OwnCatalog { base: newest.version, catalog: catalog.clone() });
        catalog
    }

    /// What the catalog must not pass over: the commit that all statements read, where there are younger indexes.
    fn seen(&self, newest: &Catalog) -> Option<CommitSeq> {
        let seen = self.pinned.as_ref()?.seq();
        (self.has_defined() || newest.is_younger(seen)).then_some(seen)
    }

    fn has_defined(&self) -> bool {
        !self.writes.catalog().is_empty()
    }

    /// Whether the catalog is this transaction's own version: plans made with it are its own too.
    pub fn has_own_catalog(&self) -> bool {
        self.has_defined() || self.pinned.is_some() && self.seen(&self.engine.catalog()).is_some()
    }

    /// Whether a statement has begun in it.
    pub fn has_begun(&self) -> bool {
        self.command > 0 || self.pinned.is_some()
    }

    /// When the snapshot was taken that all its statements read, on the monotonic clock; none where there is none.
    pub fn snapshot_taken(&self) -> Option<u64> {
        (self.pinned.is_some() || self.candidate.is_some()).then_some(self.pinned_at)
    }

    /// Whether a commit would have anything to do.
    pub fn has_written(&self) -> bool {
        !self.writes.is_empty() || !self.at_end.is_empty()
    }

    /// Asks for a lock, held until the transaction ends or goes back to a savepoint before it. After a wait the same
    /// question is asked again.
    pub fn lock(&mut self, key: LockKey, mode: LockMode, policy: LockPolicy) -> Result<Locked> {
        self.engine.locks.lock(&mut self.locks, &key, mode, policy)
    }

    /// A relation's lock of this mode, which is held, stays to the transaction's end: going back to a savepoint does not
    /// give it back.
    pub fn keep_to_end(&mut self, relation: Oid, mode: LockMode) {
        self.engine.locks.keep_to_end(&mut self.locks, relation, mode);
    }

    /// Asks for an advisory lock: [`LockMode::Exclusive`], or [`LockMode::Share`] for a shared one. At the level of the
    /// session each grant counts, and [`Engine::unlock_advisory`] gives one back; after a wait the same question is asked
    /// again, which counts once.
    pub fn lock_advisory(
        &mut self,
        key: AdvisoryKey,
        mode: LockMode,
        level: AdvisoryLevel,
        policy: LockPolicy,
    ) -> Result<Locked> {
        self.engine.locks.lock_advisory(&mut self.locks, key, mode, level, policy)
    }

    /// The number of the wait for a lock that it is in: lock_timeout counts for each wait.
    pub fn lock_wait(&self) -> Option<u64> {
        self.locks.wait_number()
    }

    /// Whether it has to wait for a snapshot that is safe.
    pub fn awaits_snapshot(&self) -> bool {
        self.candidate.is_some()
    }

    /// Leaves the queue for a lock that is not wanted any more: a cancelled statement, a timeout.
    pub fn stop_waiting(&mut self) {
        self.engine.locks.stop_waiting(&mut self.locks);
    }

    /// Locks a row of a table, to write it or only to keep others from it, and reads its newest version: where that
    /// differs from what the statement saw, its predicate and its SET list are to be evaluated again. 40001 under
    /// REPEATABLE READ when it changed since the snapshot.
    pub fn lock_row(
        &mut self,
        view: &StatementView,
        row: (Oid, &Bytes),
        lock: RowLock,
        writes: bool,
        policy: LockPolicy,
    ) -> Result<LockedRow> {
        let key = row.1;
        match self.engine.locks.lock_row(&mut self.locks, row, lock, writes, policy)? {
            Locked::Wait(wait) => Ok(LockedRow::Wait(wait)),
            Locked::NotAvailable => Ok(LockedRow::NotAvailable),
            Locked::Granted => {
                let newest = self.newest(view, key)?;
                if !self.options.isolation.reads_anew() {
                    self.check_unchanged(view, key, newest.as_ref(), writes)?;
                }
                Ok(LockedRow::Granted(newest))
            }
        }
    }

    /// Locks a row or a key of the map whose writers alone are of interest: where others only lock it the answer is
    /// [`Claim::Locked`]. A lock that is granted can be given back with [`give_back_to`](Self::give_back_to).
    pub(super) fn claim(&mut self, relation: Oid, key: &Bytes, lock: RowLock, writes: bool) -> Result<Claim> {
        let row = (relation, key);
        match self.engine.locks.lock_row(&mut self.locks, row, lock, writes, LockPolicy::AfterWriters)? {
            Locked::Granted => Ok(Claim::Held),
            Locked::Wait(wait) => Ok(Claim::Wait(wait)),
            Locked::NotAvailable => Ok(Claim::Locked),
        }
    }

    /// Locks a row, waiting for whoever is in the way.
    pub(super) fn wait_for(&mut self, relation: Oid, key: &Bytes, lock: RowLock, writes: bool) -> Result<Option<Wait>> {
        self.engine.locks.lock_row(&mut self.locks, (relation, key), lock, writes, LockPolicy::Wait)?.wait()
    }

    /// How many locks are held, to give back those that come after.
    pub(super) fn lock_mark(&self) -> LockMark {
        self.locks.mark()
    }

    /// Gives back the locks that were got since, and leaves the queue that it may be in.
    pub(super) fn give_back_to(&mut self, mark: LockMark) {
        self.engine.locks.stop_waiting(&mut self.locks);
        self.engine.locks.release_to(&mut self.locks, mark);
    }

    /// Gives back the locks that were got since, but stays in the queue that it is in.
    pub(super) fn release_since(&mut self, mark: LockMark) {
        self.engine.locks.release_to(&mut self.locks, mark);
    }

    /// First updater wins: 40001 when somebody else has written the key since the snapshot. As in PostgreSQL, only one
    /// who is to write the row is told whether it is gone.
    pub(super) fn check_unchanged(
        &self,
        view: &StatementView,
        key: &[u8],
        newest: Option<&Bytes>,
        writes: bool,
    ) -> Result<()> {
        if self.writes.get(key, u32::MAX)?.is_some() {
            return Ok(());
        }
        let seen = view.snapshot.get(key)?;
        if seen.as_ref() == newest {
            return Ok(());
        }
        let what = if newest.is_some() || !writes { "update" } else { "delete" };
        Err(Error::new(
            SqlState::T_R_SERIALIZATION_FAILURE,
            format!("could not serialize access due to concurrent {what}"),
        ))
    }

    /// Adds a write. 53400 beyond the bound of a transaction.
    pub fn put(&mut self, write: Write) -> Result<()> {
        if self.options.read_only {
            return Err(Error::internal("a write in a read-only transaction"));
        }
        self.check_size()?;
        self.engine.locks.give_id(&mut self.locks);
        self.note_write(&write.key, write.change.as_ref().and_then(|change| change.old.as_ref()))?;
        if write.volatile && write.value.is_some() && self.engine.is_full_of_streams() {
            return Err(Error::new(SqlState::OUT_OF_MEMORY, "out of memory for the rows of STREAM tables")
                .hint("Rows that expire make room; choose a shorter TTL_SECONDS."));
        }
        if let Some(change) = &write.change
            && !write.volatile
            && change.scope != ScopeId::SHARED
            && !self.scopes.contains(&change.scope)
        {
            self.scopes.push(change.scope);
        }
        self.writes.push(write);
        self.spill_if_large()
    }

    /// A plain durable write that is no table row: acknowledgements, marks.
    pub fn put_plain(&mut self, key: Bytes, value: Option<Bytes>) -> Result<()> {
        let command = self.command;
        self.put(Write { command, key, value, volatile: false, change: None })
    }

    /// Whether it has notified.
    pub fn notifies(&self) -> bool {
        !self.writes.notifications().is_empty()
    }

    /// NOTIFY: at commit, once for equal channel and payload. 53400 beyond the bound of a transaction.
    pub fn notify(&mut self, channel: Str, payload: Str) -> Result<()> {
        self.check_size()?;
        let pid = self.options.pid;
        self.writes.notify(Notification { channel, payload, pid });
        Ok(())
    }

    /// Adds a topic message that a statement made itself.
    pub fn append(&mut self, append: TopicAppend) -> Result<()> {
        self.writes.append(append);
        self.spill_if_large()
    }

    /// Says how a table's net changes become messages; asked at commit. Replaces what was said before, until that is
    /// rolled back.
    pub fn derive_with(&mut self, table: Oid, derive: Vec<Arc<dyn Derive>>) {
        if derive.is_empty() && !self.derivers.iter().any(|said| said.table == table) {
            return;
        }
        let catalog = self.catalog();
        self.derivers.push(Derivers { table, catalog, derive });
    }

    /// Whether [`derive_with`](Self::derive_with) was called for a table under the present catalog.
    pub fn has_derivers(&self, table: Oid) -> bool {
        let said = self.derivers.iter().rfind(|said| said.table == table);
        said.is_some_and(|said| Arc::ptr_eq(&said.catalog, &self.catalog()))
    }

    /// Whether changes of a table may become messages at the commit.
    pub fn has_messages(&self, table: Oid) -> bool {
        self.derivers.iter().any(|said| said.table == table && !said.derive.is_empty())
    }

    /// Does something with the transaction's end, beside the ordered map.
    pub fn at_end(&mut self, hook: Box<dyn AtEnd>) {
        self.at_end.push(hook);
    }

    /// Stores the number of a scope with the commit, as a write of one of its rows would.
    pub fn name_scope(&mut self, scope: ScopeId) {
        if scope != ScopeId::SHARED && !self.scopes.contains(&scope) {
            self.scopes.push(scope);
        }
    }

    /// Whether a lock is held in this mode or a stronger one.
    pub fn holds(&self, key: &LockKey, mode: LockMode) -> bool {
        self.engine.locks.holds(&self.locks, key, mode)
    }

    /// Sets (some) or removes (none) catalog entries. The caller holds each one's [`LockKey::Entry`], that of a new name
    /// too, and its decisions come from [`catalog`](Self::catalog) read after the grants.
    pub fn change_catalog(&mut self, changes: Vec<(CatalogKey, Option<CatalogEntry>)>) -> Result<()> {
        if self.options.read_only {
            return Err(Error::internal("a definition in a read-only transaction"));
        }
        if changes.iter().any(|(key, _)| !self.holds(&LockKey::Entry(*key), LockMode::Exclusive)) {
            return Err(Error::internal("the catalog was changed without its lock"));
        }
        let before = self.catalog();
        let base = self.own_catalog.get_mut().as_ref().map_or(before.version, |own| own.base);
        let mut catalog = Catalog::clone(&before);
        catalog.apply(&changes, CommitSeq::MAX);
        catalog.version = self.engine.private_catalog_version();
        *self.own_catalog.get_mut() = Some(OwnCatalog { base, catalog: Arc::new(catalog) });
        for (key, entry) in changes {
            self.writes.change_catalog(key, entry);
        }
        Ok(())
    }

    /// Sets a catalog entry, as [`change_catalog`](Self::change_catalog) does.
    pub fn put_catalog(&mut self, entry: CatalogEntry) -> Result<()> {
        self.change_catalog(vec![(entry.key(), Some(entry))])
    }

    /// A new OID, never reused.
    pub fn alloc_oid(&self) -> Oid {
        self.engine.alloc_oid()
    }

    /// A new storage id, never reused.
    pub fn alloc_storage(&self) -> StorageId {
        self.engine.alloc_storage()
    }

    /// Has a storage's rows of one space freed in the background after the commit: DROP, TRUNCATE, CLEAR.
    pub fn drop_storage(&mut self, space: Space, storage: StorageId) -> Result<()> {
        let mut mark = key::prefix(Space::Meta, storage, ScopeId::SHARED);
        mark.extend_from_slice(super::recovery::DROPPED);
        mark.push(space as u8);
        self.put_plain(Bytes::from(mark), Some(Bytes::from_static(&[1])))
    }

    /// Says to the other serializable transactions that a definition has read all rows of a storage as they are now.
    pub fn note_scanned(&self, space: Space, storage: StorageId) {
        if self.noted {
            let (from, to) = key::storage_range(space, storage);
            self.engine.serializable.read_latest(self.id, &from, &to);
        }
    }

    /// Says to them that all rows of a storage are taken away: 40001 where that makes it part of an anomaly.
    pub fn note_emptied(&self, space: Space, storage: StorageId) -> Result<()> {
        if !self.noted {
            return Ok(());
        }
        let (from, to) = key::storage_range(space, storage);
        self.engine.serializable.write_all(self.id, Bound::Included(&from), Bound::Excluded(&to))
    }

    /// What serializable transactions have read in one storage they have read in another from now on: definitions of any
    /// level give rows and indexes other storages, and a rollback leaves behind what nobody looks for.
    pub fn note_moved(&self, from: (Space, StorageId), to: (Space, StorageId)) {
        let [(from, end), (to, to_end)] = [from, to].map(|(space, storage)| key::storage_range(space, storage));
        self.engine.serializable.move_reads((&from, &end), (&to, &to_end));
    }

    /// The present place, to roll back to.
    pub fn savepoint(&mut self) -> Savepoint {
        self.be_back();
        Savepoint {
            mark: self.writes.mark(),
            at_end: self.at_end.len(),
            derivers: self.derivers.len(),
            locks: self.locks.mark(),
            read_only: self.options.read_only,
        }
    }

    /// A savepoint is over and what was done since is kept: READ ONLY is as it was there.
    pub fn release(&mut self, savepoint: Savepoint) {
        self.options.read_only = savepoint.read_only;
    }

    /// Forgets what was done since a savepoint, but for the locks.
    pub(super) fn cut_to(&mut self, savepoint: &Savepoint) {
        self.options.read_only = savepoint.read_only;
        self.writes.cut(savepoint.mark);
        self.derivers.truncate(savepoint.derivers);
        for hook in self.at_end.drain(savepoint.at_end..) {
            hook.end(None);
        }
        *self.own_catalog.get_mut() = None;
    }
}
