//! Recent commits in memory: ordered maps of versions, newest first within a key.
//!
//! A BTreeMap under a RwLock: measured against a skip list and a persistent map it was the quickest for groups of
//! writes beside short reads. Readers take few entries under one lock, so that a point read beside a scan is quick.

use super::{Direction, Entry};
use crate::error::{Error, SqlState};
use crate::limits::SCAN_BATCH;
use crate::types::CommitSeq;
use bytes::{Bytes, BytesMut};
use parking_lot::{RwLock, RwLockReadGuard};
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering as Atomic};

/// Bytes that an entry costs beside its key and value: a place in a node of the map, which is about half full where keys
/// come in order.
const ENTRY_OVERHEAD: usize = 2 * size_of::<(VersionKey, Option<Bytes>)>();

/// Bytes that a commit costs beside its entries: of its buffer's allocation, and the count of shares in it.
const COMMIT_OVERHEAD: usize = 64;

/// Bytes of a key that stand in the map itself: a prefix and two numbers, or a UUID. A look-up compares some thirty
/// keys, and each one elsewhere in memory would be waited for.
const INLINE_KEY_BYTES: usize = 32;

/// Values up to so many bytes are copied for a reader: in one buffer they cost less than a share in each record, whose
/// count is as far away as the value itself. Longer ones are shared.
const COPIED_VALUE_BYTES_MAX: usize = 1 << 10;

/// A key at a sequence. Ordered by key, then newest first.
struct VersionKey {
    key: SmallVec<[u8; INLINE_KEY_BYTES]>,
    seq: CommitSeq,
}

/// A borrowed [`VersionKey`], so that a look-up allocates nothing.
trait Versioned {
    fn key(&self) -> &[u8];
    fn seq(&self) -> CommitSeq;
}

impl Versioned for VersionKey {
    fn key(&self) -> &[u8] {
        &self.key
    }
    fn seq(&self) -> CommitSeq {
        self.seq
    }
}

struct Probe<'a>(&'a [u8], CommitSeq);

impl Versioned for Probe<'_> {
    fn key(&self) -> &[u8] {
        self.0
    }
    fn seq(&self) -> CommitSeq {
        self.1
    }
}

fn order(a: &(impl Versioned + ?Sized), b: &(impl Versioned + ?Sized)) -> Ordering {
    a.key().cmp(b.key()).then_with(|| b.seq().cmp(&a.seq()))
}

impl Ord for dyn Versioned + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self, other)
    }
}
impl PartialOrd for dyn Versioned + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for dyn Versioned + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for dyn Versioned + '_ {}

impl Ord for VersionKey {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self, other)
    }
}
impl PartialOrd for VersionKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for VersionKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for VersionKey {}

impl<'a> Borrow<dyn Versioned + 'a> for VersionKey {
    fn borrow(&self) -> &(dyn Versioned + 'a) {
        self
    }
}

/// The newest and the oldest version of a key in the map's order.
const NEWEST: CommitSeq = CommitSeq(u64::MAX);
const OLDEST: CommitSeq = CommitSeq(0);

type Map = BTreeMap<VersionKey, Option<Bytes>>;

/// What a snapshot is told whose versions are not kept any more.
#[derive(Debug)]
pub(super) struct GivenUp;

impl From<GivenUp> for Error {
    fn from(_: GivenUp) -> Error {
        Error::new(SqlState::SNAPSHOT_TOO_OLD, "snapshot too old")
            .detail("The versions of rows that it reads are not kept any more.")
            .hint("Fewer transactions should hold old snapshots at once.")
    }
}

/// One generation of versions.
#[derive(Default)]
pub(super) struct Generation {
    map: RwLock<Map>,
    /// Set under the map's lock.
    given_up: AtomicBool,
    bytes: AtomicUsize,
    last: AtomicU64,
}

impl Generation {
    /// Bytes held, overhead included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Atomic::Relaxed)
    }

    /// The newest sequence in it.
    pub(super) fn last(&self) -> CommitSeq {
        CommitSeq(self.last.load(Atomic::Acquire))
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.last() == CommitSeq::ZERO
    }

    /// Adds the entries of one commit.
    pub(super) fn insert(&self, seq: CommitSeq, entries: impl IntoIterator<Item = Entry>) {
        let mut entries = entries.into_iter().peekable();
        let mut bytes = COMMIT_OVERHEAD;
        // readers get their turn in a large commit; none of it is visible before it is published
        while entries.peek().is_some() {
            let mut map = self.map.write();
            for entry in entries.by_ref().take(SCAN_BATCH) {
                bytes += entry_bytes(&entry.key, entry.value.as_ref());
                map.insert(VersionKey { key: SmallVec::from_slice(&entry.key), seq }, entry.value);
            }
        }
        self.bytes.fetch_add(bytes, Atomic::Relaxed);
        self.last.fetch_max(seq.0, Atomic::Release);
    }

    /// Frees all of it, though snapshots may still read it: they get an error from then on. The bytes that this freed.
    pub(super) fn give_up(&self) -> usize {
        let freed = {
            let mut map = self.map.write();
            self.given_up.store(true, Atomic::Relaxed);
            std::mem::take(&mut *map)
        };
        drop(freed);
        self.bytes.swap(0, Atomic::Relaxed)
    }

    fn read(&self) -> Result<RwLockReadGuard<'_, Map>, GivenUp> {
        let map = self.map.read();
        if self.given_up.load(Atomic::Relaxed) { Err(GivenUp) } else { Ok(map) }
    }

    /// The newest version of a key up to `seq`: none where this generation has none, `Some(None)` where it is removed.
    pub(super) fn get(&self, key: &[u8], seq: CommitSeq) -> Result<Option<Option<Bytes>>, GivenUp> {
        if self.is_empty() {
            return Ok(None);
        }
        let map = self.read()?;
        let probe = Probe(key, seq);
        let from: Bound<&dyn Versioned> = Bound::Included(&probe);
        let next = map.range::<dyn Versioned, _>((from, Bound::Unbounded)).next();
        Ok(next.filter(|(found, _)| *found.key == *key).map(|(_, value)| value.clone()))
    }

    /// Appends about the next `limit` keys of a range in order, each with its newest version up to `seq`, and says
    /// whether the range is exhausted. Removed keys are reported: they hide older tiers.
    pub(super) fn batch(
        &self,
        range: (&Bound<Vec<u8>>, &Bound<Vec<u8>>),
        direction: Direction,
        seq: CommitSeq,
        limit: usize,
        out: &mut VecDeque<(Bytes, Option<Bytes>)>,
    ) -> Result<bool, GivenUp> {
        if self.is_empty() {
            return Ok(true);
        }
        let from = match range.0 {
            Bound::Included(key) => Some((Probe(key, NEWEST), true)),
            Bound::Excluded(key) => Some((Probe(key, OLDEST), false)),
            Bound::Unbounded => None,
        };
        let to = match range.1 {
            Bound::Included(key) => Some((Probe(key, OLDEST), true)),
            Bound::Excluded(key) => Some((Probe(key, NEWEST), false)),
            Bound::Unbounded => None,
        };
        if let (Some((from, _)), Some((to, _))) = (&from, &to)
            && order(from, to) != Ordering::Less
        {
            return Ok(true);
        }
        fn edge<'a>(probe: &'a Option<(Probe<'a>, bool)>) -> Bound<&'a (dyn Versioned + 'a)> {
            match probe {
                None => Bound::Unbounded,
                Some((probe, true)) => Bound::Included(probe),
                Some((probe, false)) => Bound::Excluded(probe),
            }
        }
        let mut batch = Batch::default();
        let exhausted = {
            let map = self.read()?;
            let versions = map.range::<dyn Versioned, _>((edge(&from), edge(&to)));
            match direction {
                Direction::Forward => take_newest_first(versions, seq, limit, &mut batch),
                Direction::Backward => take_newest_last(versions.rev(), seq, limit, &mut batch),
            }
        };
        batch.move_to(out);
        Ok(exhausted)
    }

    /// All keys in order with their newest versions: what a fold writes. `visit` is called without a lock held by
    /// writers, since a frozen generation has none.
    pub(super) fn for_each_newest<E>(
        &self,
        mut visit: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let map = self.map.read();
        let mut previous: Option<&[u8]> = None;
        for (version, value) in map.iter() {
            if previous != Some(&version.key[..]) {
                visit(&version.key, value.as_deref())?;
                previous = Some(&version.key);
            }
        }
        Ok(())
    }

    /// Forgets versions that no snapshot from `oldest` on can see, in at most `limit` keys from `cursor` on. Returns
    /// where to go on, none at the end. For the volatile twin, which is never folded.
    pub(super) fn prune(&self, oldest: CommitSeq, cursor: Option<Bytes>, limit: usize) -> Option<Bytes> {
        let mut map = self.map.write();
        let probe = cursor.as_ref().map(|key| Probe(key, NEWEST));
        let from: Bound<&dyn Versioned> = probe.as_ref().map_or(Bound::Unbounded, |probe| Bound::Included(probe));
        let mut dead: Vec<(Vec<u8>, CommitSeq)> = Vec::new();
        let mut current: Option<(&[u8], bool)> = None;
        let mut keys = 0;
        let mut next = None;
        for (version, value) in map.range::<dyn Versioned, _>((from, Bound::Unbounded)) {
            let covered = match current {
                Some((key, covered)) if key == &*version.key => covered,
                _ => {
                    keys += 1;
                    if keys > limit {
                        next = Some(Bytes::copy_from_slice(&version.key));
                        break;
                    }
                    false
                }
            };
            // The newest version at or before `oldest` covers all older ones; if it is a removal it can go itself.
            let visible_to_all = version.seq <= oldest;
            if covered || (visible_to_all && value.is_none()) {
                dead.push((version.key.to_vec(), version.seq));
            }
            current = Some((version.key.as_slice(), covered || visible_to_all));
        }
        let mut freed = 0;
        for (key, seq) in dead {
            let probe = Probe(&key, seq);
            if let Some(value) = map.remove::<dyn Versioned>(&probe) {
                freed += entry_bytes(&key, value.as_ref());
            }
        }
        self.bytes.fetch_sub(freed, Atomic::Relaxed);
        next
    }
}

/// What an entry costs. Its key stands in the map and in the commit's buffer, which has its value too.
fn entry_bytes(key: &[u8], value: Option<&Bytes>) -> usize {
    let outside = if key.len() > INLINE_KEY_BYTES { key.len() } else { 0 };
    key.len() + outside + value.map_or(0, Bytes::len) + ENTRY_OVERHEAD
}

/// Entries taken under the lock, in one buffer.
#[derive(Default)]
struct Batch {
    buffer: BytesMut,
    places: Vec<(usize, Taken)>,
}

/// A value of a batch.
enum Taken {
    Removed,
    /// In the buffer behind its key, so many bytes.
    Copied(usize),
    Shared(Bytes),
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn take(&mut self, key: &[u8], value: Option<&Bytes>, limit: usize) {
        if self.places.is_empty() {
            // the rows of a table are of like size, mostly
            let value = value.map_or(0, Bytes::len).min(COPIED_VALUE_BYTES_MAX);
            self.buffer.reserve((key.len() + value) * limit.min(SCAN_BATCH));
            self.places.reserve(limit.min(SCAN_BATCH));
        }
        self.buffer.extend_from_slice(key);
        let taken = match value {
            None => Taken::Removed,
            Some(value) if value.len() <= COPIED_VALUE_BYTES_MAX => {
                self.buffer.extend_from_slice(value);
                Taken::Copied(value.len())
            }
            Some(value) => Taken::Shared(value.clone()),
        };
        self.places.push((key.len(), taken));
    }

    fn move_to(self, out: &mut VecDeque<(Bytes, Option<Bytes>)>) {
        let mut shared = self.buffer.freeze();
        for (key, taken) in self.places {
            let key = shared.split_to(key);
            let value = match taken {
                Taken::Removed => None,
                Taken::Copied(length) => Some(shared.split_to(length)),
                Taken::Shared(value) => Some(value),
            };
            out.push_back((key, value));
        }
    }
}

type Versions<'a> = (&'a VersionKey, &'a Option<Bytes>);

fn take_newest_first<'a>(
    versions: impl Iterator<Item = Versions<'a>>,
    seq: CommitSeq,
    limit: usize,
    out: &mut Batch,
) -> bool {
    let mut previous: Option<&[u8]> = None;
    for (visited, (version, value)) in versions.enumerate() {
        if visited >= limit && previous != Some(version.key.as_slice()) && !out.is_empty() {
            return false;
        }
        if version.seq <= seq && previous != Some(version.key.as_slice()) {
            out.take(&version.key, value.as_ref(), limit);
            previous = Some(version.key.as_slice());
        }
    }
    true
}

fn take_newest_last<'a>(
    versions: impl Iterator<Item = Versions<'a>>,
    seq: CommitSeq,
    limit: usize,
    out: &mut Batch,
) -> bool {
    let mut candidate: Option<Versions<'a>> = None;
    for (visited, (version, value)) in versions.enumerate() {
        let same_key = candidate.is_some_and(|(candidate, _)| candidate.key == version.key);
        if !same_key && let Some((found, value)) = candidate.take() {
            out.take(&found.key, value.as_ref(), limit);
            if visited >= limit {
                return false;
            }
        }
        if version.seq <= seq {
            candidate = Some((version, value));
        }
    }
    if let Some((found, value)) = candidate {
        out.take(&found.key, value.as_ref(), limit);
    }
    true
}
