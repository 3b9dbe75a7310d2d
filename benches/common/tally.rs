//! What many clients have received: how much, and how long it took.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long anything that is on its way may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts what is received and keeps the times that it took, in microseconds and in the order in which it came.
pub struct Tally {
    start: Instant,
    count: AtomicU64,
    times: Mutex<Vec<u32>>,
    /// As many as somebody waits for.
    wanted: AtomicU64,
    reached: Notify,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            start: Instant::now(),
            count: AtomicU64::new(0),
            times: Mutex::default(),
            wanted: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
        }
    }
}

impl Tally {
    /// Nanoseconds since it was made: what a message carries, so that whoever receives it knows its age.
    pub fn stamp(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// When that was, or will be.
    pub fn moment(&self, stamp: u64) -> Instant {
        self.start + Duration::from_nanos(stamp)
    }

    /// One more, with the stamp that it carries.
    pub fn take(&self, stamp: u64) {
        let micros = self.stamp().saturating_sub(stamp) / 1_000;
        self.times.lock().expect("nobody panics with it").push(micros.min(u64::from(u32::MAX)) as u32);
        self.count();
    }

    /// One more, whose time nobody asks for.
    pub fn count(&self) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if count >= self.wanted.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until there are so many; false when they are not there after `limit`. One waits at a time.
    pub async fn reaches(&self, count: u64, limit: Duration) -> bool {
        let all = async {
            self.wanted.store(count, Ordering::SeqCst);
            while self.total() < count {
                self.reached.notified().await;
            }
        };
        let is_there = tokio::time::timeout(limit, all).await.is_ok();
        self.wanted.store(u64::MAX, Ordering::SeqCst);
        is_there
    }

    /// Waits until there are so many. They must come.
    pub async fn wait_for(&self, count: u64) {
        let is_there = self.reaches(count, PATIENCE).await;
        assert!(is_there, "{} of {count} have come in {} s", self.total(), PATIENCE.as_secs());
    }

    /// The times since they were last taken.
    pub fn times(&self) -> Vec<u32> {
        std::mem::take(&mut *self.times.lock().expect("nobody panics with it"))
    }
}
