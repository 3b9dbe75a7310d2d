//! SNOWFLAKE_ID: numbers that grow with time and never go back, whatever the clock does.
//!
//! Milliseconds since 2020 stand above 22 bits of counter. While the clock is behind the last number, counting goes on
//! from there. Over a restart the log remembers up to where numbers may have been given out: a number beyond that is
//! reserved by a commit before the client hears of it.

use crate::env::UnixMicros;
use crate::limits::SNOWFLAKE_RESERVE_MICROS;
use std::sync::atomic::{AtomicI64, Ordering};

/// 2020-01-01 in milliseconds since the Unix epoch.
const EPOCH_MILLIS: i64 = 1_577_836_800_000;
const COUNTER_BITS: u32 = 22;

fn from_clock(now: UnixMicros) -> i64 {
    (now / 1000 - EPOCH_MILLIS).max(0) << COUNTER_BITS
}

/// The last number given out, and up to where the log has reserved them.
#[derive(Default)]
pub(super) struct Snowflake {
    last: AtomicI64,
    reserved: AtomicI64,
}

impl Snowflake {
    /// The next number.
    pub(super) fn next(&self, now: UnixMicros) -> i64 {
        let from_clock = from_clock(now);
        let next = |last: i64| Some(from_clock.max(last + 1));
        let last =
            self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).expect("the closure never refuses");
        from_clock.max(last + 1)
    }

    /// The last number given out.
    pub(super) fn last(&self) -> i64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Whether a number after `before` has been given out that no record reserves.
    pub(super) fn is_ahead(&self, before: i64) -> bool {
        self.last() > self.reserved.load(Ordering::Acquire).max(before)
    }

    /// A record that reserves numbers up to here is durable.
    pub(super) fn set_reserved(&self, upto: i64) {
        self.reserved.fetch_max(upto, Ordering::Release);
    }

    /// Up to where a record that is written now reserves. It counts from the clock where that is ahead: the numbers to
    /// come will.
    pub(super) fn reserve(&self, now: UnixMicros) -> i64 {
        self.last().max(from_clock(now)) + ((SNOWFLAKE_RESERVE_MICROS / 1000) << COUNTER_BITS)
    }

    /// Goes on above what an earlier run may have given out.
    pub(super) fn continue_after(&self, reserved: i64) {
        self.last.fetch_max(reserved, Ordering::Relaxed);
        self.set_reserved(reserved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_even_when_the_clock_goes_back() {
        let ids = Snowflake::default();
        let first = ids.next(1_700_000_000_000_000);
        let second = ids.next(1_600_000_000_000_000);
        assert!(second > first);
        ids.continue_after(ids.reserve(1_600_000_000_000_000));
        assert!(ids.next(1_700_000_000_000_000) > first + (9_000 << COUNTER_BITS));
    }
}
