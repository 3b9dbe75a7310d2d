//! A set of offsets as ranges: acknowledged messages lie close together, and between two ranges there is always one
//! that is not acknowledged, so the set is never larger than what is in flight.

use std::collections::BTreeMap;

/// Offsets as disjoint ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Start and end (not included) of each.
    starts: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds the offsets from `start` to before `end`.
    pub fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        while let Some((&other, &other_end)) = self.starts.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            start = start.min(other);
            end = end.max(other_end);
            self.starts.remove(&other);
        }
        self.starts.insert(start, end);
    }

    /// The range that an offset is in.
    pub fn containing(&self, offset: u64) -> Option<(u64, u64)> {
        let (&start, &end) = self.starts.range(..=offset).next_back()?;
        (offset < end).then_some((start, end))
    }

    /// Removes everything before an offset. How many offsets that were.
    pub fn cut_before(&mut self, offset: u64) -> u64 {
        let mut removed = 0;
        while let Some(first) = self.starts.first_entry().filter(|first| *first.key() < offset) {
            let (start, end) = first.remove_entry();
            removed += end.min(offset) - start;
            if end > offset {
                self.starts.insert(offset, end);
            }
        }
        removed
    }

    /// How many offsets are in it.
    pub fn count(&self) -> u64 {
        self.starts.iter().map(|(start, end)| end - start).sum()
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.starts.iter().map(|(&start, &end)| (start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_hold_what_a_set_holds(steps in prop::collection::vec((0_u64..40, 0_u64..6, any::<bool>()), 0..40)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (offset, length, insert) in steps {
                if insert {
                    ranges.insert(offset, offset + length);
                    set.extend(offset..offset + length);
                } else {
                    let kept = set.split_off(&offset);
                    prop_assert_eq!(ranges.cut_before(offset) as usize, set.len());
                    set = kept;
                }
                prop_assert_eq!(ranges.iter().flat_map(|(start, end)| start..end).collect::<BTreeSet<_>>(), set.clone());
                prop_assert_eq!(ranges.count() as usize, set.len());
                let mut ends = ranges.iter().zip(ranges.iter().skip(1));
                prop_assert!(ends.all(|((_, end), (start, _))| end < start));
                for offset in 0..50 {
                    prop_assert_eq!(ranges.containing(offset).is_some(), set.contains(&offset));
                }
            }
        }
    }
}
