//! When which STREAM row vanishes.

use crate::env::UnixMicros;
use bytes::Bytes;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Keys of STREAM rows by the time at which they vanish. A row that was deleted or replaced since is still listed under
/// its old time; whoever takes a key looks at the row again.
#[derive(Default)]
pub(super) struct Expiry {
    heap: Mutex<BinaryHeap<Reverse<(UnixMicros, Bytes)>>>,
}

impl Expiry {
    /// Lists a row.
    pub(super) fn add(&self, expires: UnixMicros, key: Bytes) {
        // a copy, so that the list does not keep the whole commit's buffer
        self.heap.lock().push(Reverse((expires, Bytes::copy_from_slice(&key))));
    }

    /// Takes up to `max` keys whose time has come.
    pub(super) fn take(&self, now: UnixMicros, max: usize) -> Vec<(UnixMicros, Bytes)> {
        let mut heap = self.heap.lock();
        let mut taken = Vec::new();
        while taken.len() < max && heap.peek().is_some_and(|Reverse((expires, _))| *expires <= now) {
            taken.extend(heap.pop().map(|Reverse(entry)| entry));
        }
        taken
    }

    /// Puts keys back that could not be removed now.
    pub(super) fn put_back(&self, entries: impl IntoIterator<Item = (UnixMicros, Bytes)>) {
        self.heap.lock().extend(entries.into_iter().map(Reverse));
    }
}
