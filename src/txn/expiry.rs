//! When each STREAM row vanishes.

use crate::env::UnixMicros;
use bytes::Bytes;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Keys of STREAM rows by the time at which they vanish. A row that was deleted or replaced since is still listed under
/// its old time; whoever takes a key looks at the row again.
#[derive(Default)]
pub(super) struct Expiry {
    heap: Mutex<BinaryHeap<Reverse<(UnixMicros, Bytes)>>>,
    bytes: AtomicUsize,
}

/// About what an entry takes.
fn weight(key: &Bytes) -> usize {
    key.len() + 64
}

impl Expiry {
    /// Lists a row.
    pub(super) fn add(&self, expires: UnixMicros, key: Bytes) {
        // a copy, so that the list does not keep the whole commit's buffer
        self.bytes.fetch_add(weight(&key), Ordering::Relaxed);
        self.heap.lock().push(Reverse((expires, Bytes::copy_from_slice(&key))));
    }

    /// Bytes of the list, which counts with the rows: those that are replaced again and again are listed each time.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes up to `max` keys whose time has come.
    pub(super) fn take(&self, now: UnixMicros, max: usize) -> Vec<(UnixMicros, Bytes)> {
        let mut heap = self.heap.lock();
        let mut taken = Vec::new();
        while taken.len() < max && heap.peek().is_some_and(|Reverse((expires, _))| *expires <= now) {
            taken.extend(heap.pop().map(|Reverse(entry)| entry));
        }
        self.bytes.fetch_sub(taken.iter().map(|(_, key)| weight(key)).sum(), Ordering::Relaxed);
        taken
    }

    /// Puts keys back that could not be removed now.
    pub(super) fn put_back(&self, entries: impl IntoIterator<Item = (UnixMicros, Bytes)>) {
        for (expires, key) in entries {
            self.add(expires, key);
        }
    }
}
