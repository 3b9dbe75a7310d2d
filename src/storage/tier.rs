//! A generation of the store: commits in memory, or one bulk commit in its file.

use super::Direction;
use super::bulk::Bulk;
use super::recent::Generation;
use crate::error::Result;
use crate::limits::SCAN_BATCH_BYTES;
use crate::types::CommitSeq;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// A frozen generation.
#[derive(Clone)]
pub(super) enum Tier {
    Map(Arc<Generation>),
    Bulk(BulkTier),
}

/// A bulk commit that is not folded yet, less the keys of later commits that were folded before it.
#[derive(Clone)]
pub(super) struct BulkTier {
    pub bulk: Arc<Bulk>,
    /// Keys that the index has newer values of, a set for each generation that was folded ahead.
    hidden: Vec<Arc<BTreeSet<Bytes>>>,
}

/// Bytes that a hidden key takes beside itself.
const HIDDEN_OVERHEAD: usize = 64;

/// What a snapshot reads, without a share in it.
#[derive(Clone, Copy)]
pub(super) enum TierRef<'a> {
    Map(&'a Generation),
    Bulk(&'a BulkTier),
}

/// A key and its value; none where it is removed.
type Found = (Bytes, Option<Bytes>);

impl Tier {
    /// The newest sequence in it.
    pub(super) fn last(&self) -> CommitSeq {
        match self {
            Tier::Map(map) => map.last(),
            Tier::Bulk(tier) => tier.bulk.seq(),
        }
    }

    /// Bytes in memory that folding it frees.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Tier::Map(map) => map.bytes(),
            Tier::Bulk(tier) => {
                let hidden = tier.hidden.iter().flat_map(|keys| keys.iter());
                hidden.map(|key| key.len() + HIDDEN_OVERHEAD).sum()
            }
        }
    }

    /// For reading.
    pub(super) fn view(&self) -> TierRef<'_> {
        match self {
            Tier::Map(map) => TierRef::Map(map),
            Tier::Bulk(tier) => TierRef::Bulk(tier),
        }
    }

    /// Whether a bulk commit may write a key.
    pub(super) fn may_have(&self, key: &[u8]) -> bool {
        matches!(self, Tier::Bulk(tier) if tier.bulk.may_have(key))
    }

    /// This tier once a later generation has been folded before it.
    pub(super) fn hiding(&self, keys: &[Bytes]) -> Tier {
        let Tier::Bulk(tier) = self else { return self.clone() };
        let hidden: BTreeSet<Bytes> = keys.iter().filter(|key| tier.bulk.may_have(key)).cloned().collect();
        let mut tier = tier.clone();
        if !hidden.is_empty() {
            tier.hidden.push(Arc::new(hidden));
        }
        Tier::Bulk(tier)
    }
}

impl BulkTier {
    pub(super) fn new(bulk: Arc<Bulk>) -> BulkTier {
        BulkTier { bulk, hidden: Vec::new() }
    }

    /// Whether the index has a newer value of a key.
    pub(super) fn hides(&self, key: &[u8]) -> bool {
        self.hidden.iter().any(|keys| keys.contains(key))
    }

    fn get(&self, key: &[u8], seq: CommitSeq) -> Result<Option<Option<Bytes>>> {
        if seq < self.bulk.seq() || self.hides(key) {
            return Ok(None);
        }
        Ok(self.bulk.get(key)?.map(|entry| entry.value))
    }

    fn batch(
        &self,
        range: (&Bound<Vec<u8>>, &Bound<Vec<u8>>),
        direction: Direction,
        seq: CommitSeq,
        limit: usize,
        out: &mut VecDeque<Found>,
    ) -> Result<bool> {
        if seq < self.bulk.seq() {
            return Ok(true);
        }
        let bounds = (range.0.as_ref().map(Vec::as_slice), range.1.as_ref().map(Vec::as_slice));
        let mut entries = self.bulk.range(bounds.0, bounds.1, direction);
        let wanted = out.len() + limit;
        let mut bytes = 0;
        while out.len() < wanted && bytes < SCAN_BATCH_BYTES {
            let Some(entry) = entries.next().transpose()? else { return Ok(true) };
            if !self.hides(&entry.key) {
                bytes += entry.value.as_ref().map_or(0, Bytes::len);
                out.push_back((entry.key, entry.value));
            }
        }
        Ok(false)
    }
}

impl TierRef<'_> {
    /// The newest version of a key up to `seq`: none where this tier has none, `Some(None)` where it is removed.
    pub(super) fn get(self, key: &[u8], seq: CommitSeq) -> Result<Option<Option<Bytes>>> {
        match self {
            TierRef::Map(map) => Ok(map.get(key, seq)?),
            TierRef::Bulk(tier) => tier.get(key, seq),
        }
    }

    /// Appends about the next `limit` keys of a range with their newest versions up to `seq`; whether it is exhausted.
    pub(super) fn batch(
        self,
        range: (&Bound<Vec<u8>>, &Bound<Vec<u8>>),
        direction: Direction,
        seq: CommitSeq,
        limit: usize,
        out: &mut VecDeque<Found>,
    ) -> Result<bool> {
        match self {
            TierRef::Map(map) => Ok(map.batch(range, direction, seq, limit, out)?),
            TierRef::Bulk(tier) => tier.batch(range, direction, seq, limit, out),
        }
    }
}
