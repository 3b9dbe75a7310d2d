//! Which keys a run does not have: a Bloom filter of cache lines, so that a look-up in many runs reads one line a run and
//! hardly ever a block in vain. At ten bits a key about one look-up in eighty is.

/// Bits for each key.
const BITS: usize = 10;
/// Bits that each key sets, all of one line.
const PROBES: usize = 6;
/// Words of a line.
const LINE: usize = 8;
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of a key that filters use. It is a part of the format of files.
pub fn hash_of(key: &[u8]) -> u64 {
    let mut hash = MIX ^ key.len() as u64;
    let mut words = key.chunks_exact(8);
    for word in &mut words {
        hash = fold(hash ^ u64::from_le_bytes(word.try_into().expect("eight bytes")));
    }
    let mut rest = [0; 8];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    fold(fold(hash ^ u64::from_le_bytes(rest)))
}

fn fold(hash: u64) -> u64 {
    let product = u128::from(hash ^ 0xd6e8_feb8_6659_fd93) * u128::from(MIX);
    product as u64 ^ (product >> 64) as u64
}

/// The keys of a run, roughly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter(Vec<u64>);

impl Filter {
    /// Room for so many keys.
    pub(super) fn new(keys: u64) -> Filter {
        let lines = (keys as usize * BITS).div_ceil(LINE * 64).max(1);
        Filter(vec![0; lines * LINE])
    }

    /// Adds a key.
    pub(super) fn add(&mut self, hash: u64) {
        let line = self.line(hash);
        for bit in bits(hash) {
            self.0[line + bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether a key may have been added.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let line = self.line(hash);
        bits(hash).all(|bit| self.0[line + bit / 64] & 1 << (bit % 64) != 0)
    }

    /// Bytes in memory and on disk.
    pub(super) fn bytes(&self) -> usize {
        self.0.len() * 8
    }

    /// As it is stored.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    /// As it was stored; none where that is no filter.
    pub(super) fn decode(bytes: &[u8]) -> Option<Filter> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(LINE * 8) {
            return None;
        }
        Some(Filter(bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight"))).collect()))
    }

    fn line(&self, hash: u64) -> usize {
        let lines = (self.0.len() / LINE) as u64;
        ((u128::from(hash) * u128::from(lines)) >> 64) as usize * LINE
    }
}

/// The bits of a key in its line.
fn bits(hash: u64) -> impl Iterator<Item = usize> {
    let mut state = hash;
    (0..PROBES).map(move |_| {
        state = fold(state);
        (state >> 55) as usize
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_what_was_added_and_little_else() {
        let hash = |n: u64| hash_of(&n.to_be_bytes());
        let mut filter = Filter::new(10_000);
        (0..10_000).for_each(|n| filter.add(hash(n)));
        assert!((0..10_000).all(|n| filter.may_have(hash(n))));
        let wrong = (10_000..110_000).filter(|&n| filter.may_have(hash(n))).count();
        assert!(wrong < 4_000, "{wrong} of 100,000");
        let mut stored = Vec::new();
        filter.encode(&mut stored);
        assert_eq!(Filter::decode(&stored), Some(filter));
    }
}
