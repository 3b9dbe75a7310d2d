//! Key ranges that a transaction has read or written, in bounded memory.
//!
//! Ranges are half open and disjoint; one that touches another is joined with it, so that a scan is one range however
//! many batches it took. A set that grows beyond its bound forgets where in a relation its ranges were: a conflict that
//! was none is possible then, one that is missed never.

use crate::encoding::key::prefix_successor;
use crate::limits::SERIALIZABLE_RANGE_BYTES_MAX;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Bytes of a key that name its space and its storage.
const RELATION_BYTES: usize = 5;
/// Greater than every key: spaces are small numbers.
const END: &[u8] = &[0xff];
/// What an entry of the map costs beside its keys, about.
const ENTRY_BYTES: usize = 96;

/// Disjoint ranges of keys.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// From the first key of each to the one after its last.
    map: BTreeMap<Bytes, Bytes>,
    bytes: usize,
}

impl Ranges {
    /// Adds one key.
    pub(super) fn add_key(&mut self, key: &Bytes) {
        if !self.has(key) {
            self.add(key.clone(), after(key));
        }
    }

    /// Adds the keys from `from` to before `to`.
    pub(super) fn add(&mut self, mut from: Bytes, mut to: Bytes) {
        if from >= to {
            return;
        }
        if let Some((before, end)) = self.map.range::<[u8], _>((Bound::Unbounded, Bound::Included(&*from))).next_back()
            && *end >= from
        {
            if *end >= to {
                return;
            }
            from = before.clone();
        }
        while let Some((inner, end)) =
            self.map.range::<[u8], _>((Bound::Included(&*from), Bound::Included(&*to))).next()
        {
            let inner = inner.clone();
            to = to.max(end.clone());
            self.bytes -= inner.len() + end.len() + ENTRY_BYTES;
            self.map.remove(&inner);
        }
        self.bytes += from.len() + to.len() + ENTRY_BYTES;
        self.map.insert(from, to);
        if self.bytes > SERIALIZABLE_RANGE_BYTES_MAX {
            self.coarsen();
        }
    }

    /// Whether a key is in one of the ranges.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        let before = self.map.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.is_some_and(|(_, end)| **end > *key)
    }

    /// Whether one of the ranges has a key of the range from `from` to before `to`.
    pub(super) fn meets(&self, from: &[u8], to: &[u8]) -> bool {
        let before = self.map.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(to))).next_back();
        from < to && before.is_some_and(|(_, end)| **end > *from)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Bytes that they take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the ranges of each relation one that is all of it; where even that is too much, one for everything.
    pub(super) fn coarsen(&mut self) {
        let mut coarse = Ranges::default();
        for (from, end) in std::mem::take(&mut self.map) {
            let from = Bytes::copy_from_slice(&from[..from.len().min(RELATION_BYTES)]);
            let relation = &end[..end.len().min(RELATION_BYTES)];
            let end = if relation == &*end { end } else { prefix_successor(relation).map_or_else(last, Bytes::from) };
            coarse.add_unbounded(from, end);
        }
        if coarse.bytes > SERIALIZABLE_RANGE_BYTES_MAX / 2 {
            coarse = Ranges::default();
            coarse.add_unbounded(Bytes::new(), last());
        }
        *self = coarse;
    }

    /// Adds a range to the end, behind all others or joined with the last.
    fn add_unbounded(&mut self, from: Bytes, to: Bytes) {
        if let Some(mut entry) = self.map.last_entry()
            && *entry.get() >= from
        {
            if *entry.get() < to {
                *entry.get_mut() = to;
            }
            return;
        }
        self.bytes += from.len() + to.len() + ENTRY_BYTES;
        self.map.insert(from, to);
    }
}

/// The first key that a bound lets in.
pub(super) fn first(bound: Bound<&[u8]>) -> Bytes {
    match bound {
        Bound::Included(key) => Bytes::copy_from_slice(key),
        Bound::Excluded(key) => after(key),
        Bound::Unbounded => Bytes::new(),
    }
}

/// The first key beyond a bound.
pub(super) fn end(bound: Bound<&[u8]>) -> Bytes {
    match bound {
        Bound::Included(key) => after(key),
        Bound::Excluded(key) => Bytes::copy_from_slice(key),
        Bound::Unbounded => last(),
    }
}

fn last() -> Bytes {
    Bytes::from_static(END)
}

/// The next key after a key.
fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn range(ranges: &mut Ranges, from: &'static str, to: &'static str) {
        ranges.add(Bytes::from(from), Bytes::from(to));
    }

    #[test]
    fn touching_ranges_are_one() {
        let mut ranges = Ranges::default();
        range(&mut ranges, "b", "d");
        range(&mut ranges, "h", "k");
        range(&mut ranges, "d", "f");
        assert_eq!(ranges.map.len(), 2);
        range(&mut ranges, "a", "z");
        assert_eq!(ranges.map.len(), 1);
        assert_eq!(ranges.bytes, 2 + ENTRY_BYTES);
        range(&mut ranges, "c", "c");
        assert!(ranges.has(b"a") && ranges.has(b"y\xff") && !ranges.has(b"z"));
    }

    #[test]
    fn ranges_hold_what_was_added_and_nothing_else() {
        let mut ranges = Ranges::default();
        let mut model = BTreeSet::new();
        let mut random = 7_u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        };
        for _ in 0..60 {
            let (from, length) = (next(), next() % 6);
            let to = from.saturating_add(length);
            ranges.add(Bytes::copy_from_slice(&[from]), Bytes::copy_from_slice(&[to]));
            model.extend(from..to);
        }
        for key in 0..=254_u8 {
            assert_eq!(ranges.has(&[key]), model.contains(&key), "{key}");
            assert_eq!(ranges.meets(&[key], &[key + 1]), model.contains(&key), "{key}");
        }
    }

    #[test]
    fn beyond_its_bound_a_set_is_whole_relations() {
        let mut ranges = Ranges::default();
        let key = |relation: u8, row: u32| {
            let mut key = vec![3, 0, 0, 0, relation];
            key.extend_from_slice(&[0; 8]);
            key.extend_from_slice(&row.to_be_bytes());
            Bytes::from(key)
        };
        for row in 0..50_000 {
            ranges.add_key(&key(1, row * 2));
            ranges.add_key(&key(2, row * 2));
        }
        assert!(ranges.bytes <= SERIALIZABLE_RANGE_BYTES_MAX);
        assert!(ranges.has(&key(1, 1)) && ranges.has(&key(2, 0)));
        assert!(!ranges.has(&key(0, 0)) && !ranges.has(&key(3, 0)));
    }
}
