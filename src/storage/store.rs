//! The ordered map of versions: recent commits over the index.
//!
//! Invariants: only published commits are in a frozen generation; a generation is dropped only after LMDB has its
//! content durably; a snapshot sees exactly the commits up to its sequence.

use super::Entry;
use super::bulk::Bulk;
use super::fold::Folding;
use super::index::Index;
use super::pressure::HeldBack;
use super::recent::Generation;
use super::snapshot::StoreSnapshot;
use super::tier::{BulkTier, Tier};
use crate::error::Result;
use crate::types::CommitSeq;
use crate::wait::Signal;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How a store is kept.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Bytes of the active generation at which it is frozen.
    pub generation_bytes: usize,
    /// Bytes of all generations at which writers wait.
    pub recent_bytes_max: usize,
    /// Bytes of memory for one commit of a fold; a larger fold is split by key range, and only its last part moves the
    /// position.
    pub fold_part_bytes: usize,
    /// Bytes of folded generations that are kept for old snapshots.
    pub retired_bytes_max: usize,
}

/// The generations at one moment.
pub(super) struct Generations {
    /// Counts folds: LMDB has everything that is not in these generations since then.
    pub fold: u64,
    pub active: Arc<Generation>,
    /// Newest first.
    pub frozen: Vec<Tier>,
}

/// The store.
pub struct Store {
    pub(super) index: Index,
    pub(super) options: StoreOptions,
    pub(super) generations: RwLock<Arc<Generations>>,
    pub(super) volatile: Arc<Generation>,
    pub(super) position: AtomicU64,
    published: AtomicU64,
    /// How many snapshots read at each sequence, so that the volatile twin knows what nobody can see.
    snapshots: Mutex<BTreeMap<CommitSeq, usize>>,
    /// Who waits for room, and for something to fold.
    pub(super) waiting: Mutex<Waiting>,
    /// One fold at a time.
    pub(super) folding: Mutex<Folding>,
    prune_cursor: Mutex<Option<Bytes>>,
    /// Whether the last fold failed: a full disk, most likely. The next one may succeed.
    pub(super) fold_failed: AtomicBool,
    /// The server is stopping.
    pub(super) closing: AtomicBool,
    pub(super) held_back: HeldBack,
    /// Whether somebody wants the active generation folded before it is full.
    freeze_soon: AtomicBool,
}

#[derive(Default)]
pub(super) struct Waiting {
    pub room: Vec<Signal>,
    frozen: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Generations {
    /// Freezes the active generation, and puts one over it that is frozen already.
    fn frozen_with(&self, newest: Option<Tier>) -> Arc<Generations> {
        let active = (!self.active.is_empty()).then(|| Tier::Map(self.active.clone()));
        let frozen = newest.into_iter().chain(active).chain(self.frozen.iter().cloned()).collect();
        Arc::new(Generations { fold: self.fold, active: Arc::default(), frozen })
    }
}

impl Store {
    /// Opens the store over an index. Its published sequence is what that has; the caller replays the log after it.
    pub fn open(index: Index, options: StoreOptions) -> Result<Store> {
        let position = index.position()?;
        let generations = Generations { fold: 0, active: Arc::default(), frozen: Vec::new() };
        Ok(Store {
            index,
            options,
            generations: RwLock::new(Arc::new(generations)),
            volatile: Arc::default(),
            position: AtomicU64::new(position.0),
            published: AtomicU64::new(position.0),
            snapshots: Mutex::default(),
            waiting: Mutex::default(),
            folding: Mutex::default(),
            prune_cursor: Mutex::default(),
            fold_failed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            held_back: HeldBack::default(),
            freeze_soon: AtomicBool::new(false),
        })
    }

    /// The commit up to which LMDB is complete.
    pub fn position(&self) -> CommitSeq {
        CommitSeq(self.position.load(Ordering::Acquire))
    }

    /// The newest published commit.
    pub fn published(&self) -> CommitSeq {
        CommitSeq(self.published.load(Ordering::Acquire))
    }

    pub(super) fn generations(&self) -> Arc<Generations> {
        self.generations.read().clone()
    }

    /// Puts a commit's entries into the recent map, invisible until [`publish`](Store::publish). Committer only;
    /// sequences increase.
    pub fn install(&self, seq: CommitSeq, entries: impl IntoIterator<Item = Entry>) {
        let published = self.published();
        assert!(seq > published, "commit {seq} is installed after {published} was published");
        let (volatile, durable): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| entry.volatile);
        if !durable.is_empty() {
            self.generations().active.insert(seq, durable);
        }
        if !volatile.is_empty() {
            self.volatile.insert(seq, volatile);
        }
    }

    /// Freezes the active generation where it is full and holds nothing unpublished. Not left to the next commit, which
    /// may have to wait for the room that only folding this one makes.
    fn freeze_if_full(&self, published: CommitSeq) {
        let now = self.generations();
        let wanted = now.active.bytes() >= self.options.generation_bytes || self.freeze_soon.load(Ordering::Relaxed);
        if wanted && now.active.last() <= published {
            self.freeze_soon.store(false, Ordering::Relaxed);
            self.freeze();
        }
    }

    /// Has the active generation frozen with the next commit, whatever its size.
    pub fn freeze_soon(&self) {
        self.freeze_soon.store(true, Ordering::Relaxed);
    }

    fn freeze(&self) {
        {
            let mut slot = self.generations.write();
            *slot = slot.frozen_with(None);
        }
        self.wake_folding();
    }

    fn wake_folding(&self) {
        if let Some(wake) = &self.waiting.lock().frozen {
            wake();
        }
    }

    /// Makes a bulk commit a generation of the store and publishes it, whatever its size. Committer only; everything that
    /// was installed is published.
    pub fn adopt(&self, bulk: Arc<Bulk>) {
        {
            let mut slot = self.generations.write();
            assert!(slot.active.last() <= self.published(), "what was installed before a bulk commit is published");
            let before = self.published.swap(bulk.seq().0, Ordering::AcqRel);
            assert!(before < bulk.seq().0, "sequences are published in order: {} after {before}", bulk.seq());
            *slot = slot.frozen_with(Some(Tier::Bulk(BulkTier::new(bulk))));
        }
        self.wake_folding();
    }

    /// Names the files of the bulk commits that were replayed, so that the next start finds them when the rest is swept.
    pub fn keep_bulks(&self) -> Result<()> {
        for tier in &self.generations().frozen {
            if let Tier::Bulk(tier) = tier {
                tier.bulk.keep()?;
            }
        }
        Ok(())
    }

    /// How many bulk commits wait to be folded.
    pub fn bulks(&self) -> usize {
        self.generations().frozen.iter().filter(|tier| matches!(tier, Tier::Bulk(_))).count()
    }

    /// Makes everything up to `seq` visible to new snapshots. Committer only, with nothing between install and publish
    /// beyond `seq`.
    pub fn publish(&self, seq: CommitSeq) {
        let before = self.published.swap(seq.0, Ordering::AcqRel);
        assert!(before <= seq.0, "sequences are published in order: {seq} after {before}");
        self.freeze_if_full(seq);
    }

    /// A snapshot at the published sequence.
    pub fn snapshot(self: &Arc<Self>) -> Result<StoreSnapshot> {
        loop {
            let generations = self.generations();
            let reader = self.index.reader(generations.fold)?;
            let seq = self.register_snapshot();
            if Arc::ptr_eq(&generations, &self.generations.read()) {
                return Ok(StoreSnapshot::new(self.clone(), seq, generations, reader));
            }
            self.index.give_back(reader);
            self.forget_snapshot(seq);
        }
    }

    fn register_snapshot(&self) -> CommitSeq {
        let mut snapshots = self.snapshots.lock();
        let seq = self.published();
        *snapshots.entry(seq).or_default() += 1;
        seq
    }

    pub(super) fn forget_snapshot(&self, seq: CommitSeq) {
        let mut snapshots = self.snapshots.lock();
        if let Some(count) = snapshots.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                snapshots.remove(&seq);
            }
        }
    }

    /// Snapshots that are open.
    pub fn open_snapshots(&self) -> usize {
        self.snapshots.lock().values().sum()
    }

    /// The oldest sequence that a snapshot reads, or the published one.
    fn oldest_snapshot(&self) -> CommitSeq {
        let snapshots = self.snapshots.lock();
        snapshots.keys().next().copied().unwrap_or_else(|| self.published())
    }

    /// Forgets versions of volatile rows that nobody can see any more, a bounded number of keys a call.
    pub fn prune_volatile(&self, keys: usize) {
        let oldest = self.oldest_snapshot();
        let mut cursor = self.prune_cursor.lock();
        *cursor = self.volatile.prune(oldest, cursor.take(), keys);
    }

    /// Bytes of all generations together.
    pub fn recent_bytes(&self) -> usize {
        let generations = self.generations();
        generations.active.bytes() + generations.frozen.iter().map(Tier::bytes).sum::<usize>()
    }

    /// Bytes of what is in memory only.
    pub fn volatile_bytes(&self) -> usize {
        self.volatile.bytes()
    }

    /// Whom to wake when a generation has been frozen.
    pub fn on_frozen(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.waiting.lock().frozen = Some(wake);
    }

    /// Freezes what is in memory whatever its size, so that a clean stop leaves nothing to replay. Only while no
    /// commit is between install and publish.
    pub fn freeze_all(&self) {
        let now = self.generations();
        if !now.active.is_empty() && now.active.last() <= self.published() {
            self.freeze();
        }
    }
}
