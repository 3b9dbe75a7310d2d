//! Time and randomness, handed in: the engine has no clock of its own, so a test or a simulation can move it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch.
pub type UnixMicros = i64;

/// Where the engine gets time and randomness from.
pub trait Env: Send + Sync + 'static {
    /// Wall clock, microseconds since the Unix epoch; may jump either way.
    fn now(&self) -> UnixMicros;
    /// Microseconds since some start; never goes back. Time limits and leases are measured with it.
    fn monotonic(&self) -> u64;
    /// Fills `buffer` with unpredictable bytes (keys, salts, UUIDs).
    fn fill_random(&self, buffer: &mut [u8]);

    /// An unpredictable number.
    fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_random(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's clock and random numbers.
pub struct SystemEnv {
    start: Instant,
}

impl SystemEnv {
    /// The environment of a real server.
    #[expect(clippy::new_without_default, reason = "reading the clock is no default")]
    pub fn new() -> SystemEnv {
        SystemEnv { start: Instant::now() }
    }
}

impl Env for SystemEnv {
    fn now(&self) -> UnixMicros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system has random bytes after boot");
    }
}

/// A clock that stands still until it is moved, and reproducible randomness from a seed. For tests.
pub struct ManualEnv {
    now: AtomicI64,
    monotonic: AtomicU64,
    state: AtomicU64,
}

impl ManualEnv {
    /// Starts at `now`, with randomness from `seed`.
    pub fn new(now: UnixMicros, seed: u64) -> ManualEnv {
        ManualEnv { now: AtomicI64::new(now), monotonic: AtomicU64::new(0), state: AtomicU64::new(seed) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, micros: u64) {
        self.now.fetch_add(micros as i64, Ordering::SeqCst);
        self.monotonic.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an administrator might, in either direction.
    pub fn set_now(&self, now: UnixMicros) {
        self.now.store(now, Ordering::SeqCst);
    }
}

impl Env for ManualEnv {
    fn now(&self) -> UnixMicros {
        self.now.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> u64 {
        self.monotonic.load(Ordering::SeqCst)
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            // splitmix64 (Steele, Lea, Flood 2014)
            let mut z =
                self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst).wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}
