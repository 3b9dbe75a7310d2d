//! The engine: one data directory, opened; the only writer of it.

use super::committer::{CommitStep, Committer, Patience};
use super::endings::Endings;
use super::expiry::Expiry;
use super::feed::{Feed, FeedReader, LoggedCommits};
use super::lock::{AdvisoryKey, LockInfo, LockMode, LockTable, LockedThing};
use super::recovery::{self, Counters, RecoveryReport};
use super::scopes::Scopes;
use super::sequence::Sequences;
use super::serializable::Serializable;
use super::snowflake::Snowflake;
use super::ticket::CommitTicket;
use super::transaction::{Transaction, TxnOptions};
use crate::catalog::{self, Catalog};
use crate::change::Commit;
use crate::env::Env;
use crate::error::{Error, Result, SqlState};
use crate::limits::{
    BIG_COMMIT_BYTES_MAX, CHANGE_RETENTION, CHANGE_RETENTION_BYTES, FOLD_PART_BYTES, GENERATION_BYTES,
    RECENT_BYTES_MAX, RETIRED_BYTES_MAX, ROOM_WAIT_MAX, SNAPSHOT_AGE_MAX, STREAM_BYTES_MAX, SUBSCRIPTIONS_PER_USER_MAX,
    TRANSACTION_AGE_MAX, WRITE_SET_CHUNK_BYTES,
};
use crate::storage::bulk::{BulkDir, SpillFile};
use crate::storage::datadir::DataDir;
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::log::{CommitLog, FileLog, LogOptions};
use crate::storage::{Index, Store, StoreOptions, StoreSnapshot};
use crate::topic::Groups;
use crate::types::{CommitSeq, Oid, ScopeId, StorageId, Str};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The data directory; made if it is not there.
    pub dir: PathBuf,
    /// Name of the superuser of a new data directory.
    pub superuser: String,
    /// Address space reserved for LMDB: the largest size the store can have.
    pub map_size: usize,
    /// Readers of LMDB at once: worker threads and held snapshots.
    pub readers: u32,
    /// Size at which recent commits are folded into LMDB.
    pub generation_bytes: usize,
    /// Size of recent commits at which writers wait.
    pub recent_bytes_max: usize,
    /// How long commits wait for room while no fold gets on.
    pub room_wait_max: Duration,
    /// Size of one of LMDB's commits while it is folded.
    pub fold_part_bytes: usize,
    /// Bytes of a transaction's writes at which it spills to disk.
    pub write_set_chunk_bytes: usize,
    /// Bytes that one transaction may spill.
    pub big_commit_bytes_max: u64,
    /// How the commit log is kept.
    pub log: LogOptions,
    /// Size at which STREAM tables take no more rows.
    pub stream_bytes_max: usize,
    /// How long the log is kept after folding, for subscriptions that resume.
    pub change_retention: Duration,
    /// Bytes of the log at which it is not kept for that long.
    pub change_retention_bytes: u64,
    /// Live queries of one user id in all its sessions.
    pub live_queries_per_user_max: usize,
    /// How long a suspended portal keeps its snapshot.
    pub snapshot_age_max: Duration,
    /// How long a REPEATABLE READ or SERIALIZABLE transaction keeps its snapshot.
    pub transaction_age_max: Duration,
}

impl EngineOptions {
    /// The defaults for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> EngineOptions {
        EngineOptions {
            dir: dir.into(),
            superuser: "tertulia".to_owned(),
            map_size: 1 << 40,
            readers: 1_024,
            generation_bytes: GENERATION_BYTES,
            recent_bytes_max: RECENT_BYTES_MAX,
            room_wait_max: ROOM_WAIT_MAX,
            fold_part_bytes: FOLD_PART_BYTES,
            write_set_chunk_bytes: WRITE_SET_CHUNK_BYTES,
            big_commit_bytes_max: BIG_COMMIT_BYTES_MAX,
            log: LogOptions::default(),
            stream_bytes_max: STREAM_BYTES_MAX,
            change_retention: CHANGE_RETENTION,
            change_retention_bytes: CHANGE_RETENTION_BYTES,
            live_queries_per_user_max: SUBSCRIPTIONS_PER_USER_MAX,
            snapshot_age_max: SNAPSHOT_AGE_MAX,
            transaction_age_max: TRANSACTION_AGE_MAX,
        }
    }

    fn store(&self) -> StoreOptions {
        StoreOptions {
            generation_bytes: self.generation_bytes,
            recent_bytes_max: self.recent_bytes_max,
            fold_part_bytes: self.fold_part_bytes,
            retired_bytes_max: RETIRED_BYTES_MAX,
        }
    }
}

/// What an engine runs on, handed in so that a simulation can make all of it from a seed.
pub struct Parts {
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// Where the commit log's files are, in `log` below the data directory.
    pub disk: Arc<dyn Disk>,
    /// What the log is folded into.
    pub index: Index,
    /// Whether commits are flushed by a thread of the engine's own; otherwise by
    /// [`step_commits`](Engine::step_commits).
    pub threads: bool,
    /// The lock on the data directory, where there is one.
    pub dir: Option<DataDir>,
}

/// One opened data directory.
pub struct Engine {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) store: Arc<Store>,
    pub(crate) log: Arc<dyn CommitLog>,
    pub(super) bulks: Arc<BulkDir>,
    pub(super) locks: Arc<LockTable>,
    pub(super) serializable: Serializable,
    pub(super) committer: Committer,
    pub(super) feed: Arc<Feed>,
    pub(super) scopes: Scopes,
    pub(super) snowflake: Snowflake,
    pub(super) expiry: Expiry,
    pub(super) groups: Groups,
    pub(super) sequences: Sequences,
    catalog: RwLock<Arc<Catalog>>,
    next_transaction: AtomicU64,
    /// The last commit that changed a row's key since the start.
    last_move: AtomicU64,
    /// Transactions that are open.
    open: AtomicUsize,
    next_oid: AtomicU32,
    /// Numbers given to catalogs of transactions.
    next_private: AtomicU64,
    next_storage: AtomicU32,
    options: EngineOptions,
    stopping: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Threads that end large transactions.
    pub(super) endings: Endings,
    threads: bool,
    /// Held for its lock on the directory.
    _dir: Option<DataDir>,
}

impl Engine {
    /// Opens a data directory: locks it, replays the log, loads the catalog. A new one gets the first schemas and the
    /// superuser.
    pub fn open(options: EngineOptions, env: Arc<dyn Env>) -> Result<(Arc<Engine>, RecoveryReport)> {
        let dir = DataDir::open(&options.dir)?;
        let index = Index::lmdb(&dir.store(), options.map_size, options.readers)?;
        let disk = Arc::new(RealDisk::new());
        Engine::open_with(options, Parts { env, disk, index, threads: true, dir: Some(dir) })
    }

    /// Opens what is in these parts: replays the log, loads the catalog.
    pub fn open_with(options: EngineOptions, parts: Parts) -> Result<(Arc<Engine>, RecoveryReport)> {
        let Parts { env, disk, index, threads, dir } = parts;
        let store = Arc::new(Store::open(index, options.store())?);
        let bulks = BulkDir::open(disk.clone(), &options.dir.join("bulk"))?;
        let log = LogOptions { salt: env.random_u64(), ..options.log };
        let (log, log_report) = FileLog::open(disk, &options.dir.join("log"), log, store.position())?;
        let log: Arc<dyn CommitLog> = Arc::new(log);
        let (replayed, last) = recovery::replay(&store, &*log, &bulks)?;
        store.keep_bulks()?;
        bulks.sweep(last)?;
        let snapshot = store.snapshot()?;
        let mut catalog = recovery::load_catalog(&snapshot)?;
        let created = catalog.roles().next().is_none();
        if created {
            catalog = catalog::bootstrap(&options.superuser);
        }
        let counters = recovery::read_counters(&snapshot)?;
        let marks = recovery::read_marks(&snapshot)?;
        let scope_end = recovery::scope_end(&snapshot)?;
        drop(snapshot);
        // commits without a record may have had numbers up to the reserved ones, and clients may remember them
        let current = CommitSeq(last.0.max(marks.seq_reserved));
        store.publish(current);
        let snowflake = Snowflake::default();
        snowflake.continue_after(marks.snowflake_reserved);
        let locks = Arc::new(LockTable::new(env.clone()));
        let engine = Arc::new(Engine {
            endings: Endings::new(locks.clone(), threads),
            locks,
            env,
            store,
            log,
            serializable: Serializable::default(),
            bulks,
            committer: Committer::new(current.next()),
            feed: Arc::new(Feed::new(current)),
            scopes: Scopes::new(scope_end),
            snowflake,
            expiry: Expiry::default(),
            groups: Groups::default(),
            sequences: Sequences::default(),
            next_transaction: AtomicU64::new(1),
            last_move: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            next_oid: AtomicU32::new(counters.next_oid.max(catalog.oid_end().0)),
            next_private: AtomicU64::new(0),
            next_storage: AtomicU32::new(counters.next_storage.max(1)),
            catalog: RwLock::new(Arc::new(catalog)),
            options,
            stopping: AtomicBool::new(false),
            thread: Mutex::new(None),
            threads,
            _dir: dir,
        });
        if threads {
            engine.start_committer()?;
        }
        if created {
            engine.store_bootstrap()?;
            // from here on a directory without its log is not taken for a new one: the store knows that there was one
            engine.store.freeze_all();
            while engine.fold()? {}
        }
        engine.sweep_sequences()?;
        Ok((engine, RecoveryReport { tail_cut: log_report.tail_cut, replayed, last, created }))
    }

    fn start_committer(self: &Arc<Engine>) -> Result<()> {
        let engine = self.clone();
        let run = move || engine.committer.run(&engine);
        let thread = std::thread::Builder::new().name("committer".to_owned()).spawn(run)?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Waits for a commit of the engine's own. Where nobody else flushes it, this does.
    pub fn finish(&self, ticket: &CommitTicket) -> Result<CommitSeq> {
        while !self.threads && ticket.poll().is_none() {
            self.step_commits(Patience::Over);
        }
        ticket.block()
    }

    /// Flushes the next group of commits that wait, for an engine without threads.
    pub fn step_commits(&self, patience: Patience) -> CommitStep {
        self.committer.step(self, patience)
    }

    /// Whether commits are flushed by a thread of the engine's own.
    pub(super) fn has_threads(&self) -> bool {
        self.threads
    }

    /// Whether commits wait for [`step_commits`](Self::step_commits).
    pub fn has_waiting_commits(&self) -> bool {
        self.committer.has_waiting()
    }

    fn store_bootstrap(self: &Arc<Engine>) -> Result<()> {
        use super::lock::{LockKey, LockPolicy};
        let mut transaction = self.begin(TxnOptions::default())?;
        for entry in self.catalog().entries() {
            transaction.lock(LockKey::Entry(entry.key()), LockMode::Exclusive, LockPolicy::NoWait)?;
            transaction.put_catalog(entry)?;
        }
        self.finish(&transaction.start_commit()?)?;
        Ok(())
    }

    /// Begins a transaction.
    pub fn begin(self: &Arc<Engine>, options: TxnOptions) -> Result<Transaction> {
        let id = self.next_transaction.fetch_add(1, Ordering::Relaxed);
        Ok(Transaction::new(self.clone(), id, options))
    }

    /// The newest committed catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().clone()
    }

    /// A transaction has begun.
    pub(super) fn count_begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// A transaction is over, or waits for nothing but its flush.
    pub(super) fn count_end(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a transaction is the only one that is open.
    pub(super) fn is_alone(&self) -> bool {
        self.open.load(Ordering::Relaxed) <= 1
    }

    /// A number for a catalog of a transaction's own.
    pub(super) fn private_catalog_version(&self) -> u64 {
        Catalog::UNCOMMITTED | self.next_private.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn note_move(&self, seq: CommitSeq) {
        self.last_move.fetch_max(seq.0, Ordering::Release);
    }

    /// The last commit that changed a row's key since the start.
    pub(super) fn last_move(&self) -> CommitSeq {
        CommitSeq(self.last_move.load(Ordering::Acquire))
    }

    pub(super) fn set_catalog(&self, catalog: Arc<Catalog>) {
        *self.catalog.write() = catalog;
    }

    /// The number of a user id. 22023 for an empty or oversize one.
    pub fn scope_of(&self, user: &str) -> Result<ScopeId> {
        self.scopes.scope_of(user, || self.store.snapshot())
    }

    /// The user id of a number.
    pub fn user_of(&self, scope: ScopeId) -> Option<Str> {
        self.scopes.user_of(scope, || self.store.snapshot())
    }

    /// The last published commit.
    pub fn current(&self) -> CommitSeq {
        self.store.published()
    }

    /// SNOWFLAKE_ID()
    pub fn snowflake(&self) -> i64 {
        self.snowflake.next(self.env.now())
    }

    /// Reserves the SNOWFLAKE_IDs that were given out, so that no restart gives them again. None where they are: a
    /// session asks before it says that it is ready, for ids that no commit has reserved.
    pub fn reserve_ids(self: &Arc<Engine>) -> Result<Option<CommitTicket>> {
        if !self.snowflake.is_ahead(0) {
            return Ok(None);
        }
        let mut transaction = self.begin(TxnOptions::default())?;
        transaction.reserve_ids();
        transaction.start_commit().map(Some)
    }

    /// Time and randomness.
    pub fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// Whether a session's transaction waits for another one, as tests of concurrent sessions ask.
    pub fn is_waiting(&self, pid: i32) -> bool {
        self.locks.is_waiting(pid) || self.serializable.is_waiting(pid)
    }

    /// Whether STREAM tables take no more rows.
    pub(super) fn is_full_of_streams(&self) -> bool {
        self.store.volatile_bytes() + self.expiry.bytes() > self.options.stream_bytes_max
    }

    /// All locks that are held or awaited, as pg_locks shows them.
    pub fn lock_report(&self) -> Vec<LockInfo> {
        self.locks.snapshot_locks()
    }

    /// Who keeps a session from the lock that it waits for: pg_blocking_pids.
    pub fn lock_blockers(&self, pid: i32) -> Vec<i32> {
        self.locks.blockers(pid)
    }

    /// What a session waits for, if it waits for a lock: pg_stat_activity.
    pub fn lock_awaited(&self, pid: i32) -> Option<LockedThing> {
        self.locks.awaited(pid)
    }

    /// Gives back one grant of a session's advisory lock; false where it has none in this mode.
    pub fn unlock_advisory(&self, pid: i32, key: AdvisoryKey, mode: LockMode) -> bool {
        self.locks.unlock_advisory(pid, key, mode)
    }

    /// Gives back all advisory locks that a session holds beyond its transactions: at its end at the latest.
    pub fn unlock_session(&self, pid: i32) {
        self.locks.unlock_session(pid);
    }

    /// Bytes of the commits that are not folded yet.
    pub fn recent_bytes(&self) -> usize {
        self.store.recent_bytes()
    }

    /// How often groups of commits were delayed so that folding keeps up, and how often they had to wait for room.
    pub fn held_back(&self) -> (u64, u64) {
        self.store.held_back()
    }

    /// How it was opened.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// A file for rows that wait for their client; it goes with the value.
    pub fn spill_file(&self) -> Result<SpillFile> {
        self.bulks.spill()
    }

    /// Snapshots that are open: each keeps what it sees from being replaced in the store.
    pub fn open_snapshots(&self) -> usize {
        self.store.open_snapshots()
    }

    /// A snapshot outside any transaction, for readers of the commit sequence.
    pub fn snapshot(&self) -> Result<StoreSnapshot> {
        self.store.snapshot()
    }

    /// A follower of the commits after now.
    pub fn feed(&self) -> FeedReader {
        self.feed_after(self.current())
    }

    /// A follower of the commits after a position.
    pub fn feed_after(&self, seq: CommitSeq) -> FeedReader {
        FeedReader::new(self.feed.clone(), self.log.clone(), self.bulks.clone(), seq)
    }

    /// Ends the waits of all followers, so that they look at what else they were told.
    pub fn wake_followers(&self) {
        self.feed.wake_all();
    }

    /// The commits after a position up to now, for a subscription that resumes: from memory where that reaches back so
    /// far, else from the log, which has no notifications and no changes of STREAM tables. 72000 where even the log
    /// does not reach back.
    pub fn commits_after(&self, seq: CommitSeq) -> Result<Box<dyn Iterator<Item = Result<Arc<Commit>>> + Send>> {
        match self.recent_commits_after(seq) {
            Some(commits) => Ok(Box::new(commits.into_iter().map(Ok))),
            None => Ok(Box::new(LoggedCommits::new(&*self.log, &self.bulks, seq, self.current())?)),
        }
    }

    /// The commits after a position up to now as the log has them.
    pub fn logged_commits_after(
        &self,
        seq: CommitSeq,
    ) -> Result<impl Iterator<Item = Result<Arc<Commit>>> + Send + use<>> {
        LoggedCommits::new(&*self.log, &self.bulks, seq, self.current())
    }

    /// The commits after a position with all their changes, those of STREAM tables too; none where some of them are not
    /// in memory any more, or were before this start.
    pub fn recent_commits_after(&self, seq: CommitSeq) -> Option<Vec<Arc<Commit>>> {
        self.feed.after(seq, usize::MAX)
    }

    pub(super) fn alloc_oid(&self) -> Oid {
        Oid(self.next_oid.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn alloc_storage(&self) -> StorageId {
        StorageId(self.next_storage.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn counters_entry(&self) -> (Bytes, Bytes) {
        recovery::counters_entry(Counters {
            next_oid: self.next_oid.load(Ordering::Relaxed),
            next_storage: self.next_storage.load(Ordering::Relaxed),
        })
    }

    pub(super) fn offset_end(&self, storage: StorageId, partition: u32) -> Result<u64> {
        recovery::offset_end(&self.store.snapshot()?, storage, partition)
    }

    /// Calls `wake` whenever a generation of recent commits is ready to be folded.
    pub fn on_frozen(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.store.on_frozen(Box::new(wake));
    }

    /// Whether [`shutdown`](Self::shutdown) was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Refuses further commits, flushes those under way and ends the committer's thread. What is not folded yet is in
    /// the log.
    pub fn shutdown(self: &Arc<Engine>) -> Result<()> {
        self.stopping.store(true, Ordering::Release);
        if let Err(error) = self.close_sequences() {
            // gaps are all that comes of it
            tracing::warn!(%error, "sequences could not be written down");
        }
        self.committer.stop();
        self.store.end_waits();
        self.endings.close()?;
        if let Some(thread) = self.thread.lock().take() {
            let joined = thread.join();
            joined.map_err(|_| Error::new(SqlState::INTERNAL_ERROR, "the committer's thread panicked"))?;
        }
        while self.has_waiting_commits() {
            self.step_commits(Patience::Over);
        }
        self.feed.wake_all();
        self.log.sync()?;
        // nothing is between install and publish any more: the next start has nothing to replay
        self.store.freeze_all();
        while self.fold()? {}
        Ok(())
    }
}
