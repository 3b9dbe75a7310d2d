//! Leases as clients hold them.

use crate::error::{Error, Result, SqlState};
use std::fmt;

/// One message given to one consumer for one attempt. Its text is not to be guessed, because of `secret`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The message's partition.
    pub partition: u32,
    /// The message's offset.
    pub offset: u64,
    /// From 1.
    pub attempt: u32,
    /// Random.
    pub secret: u64,
}

impl Lease {
    /// Reads a lease's text; 55000 for any other, as for one that has ended.
    pub fn parse(text: &str) -> Result<Lease> {
        let mut parts = text.split('-').map(|part| u64::from_str_radix(part, 16));
        let lease = (|| {
            let partition = u32::try_from(parts.next()?.ok()?).ok()?;
            let offset = parts.next()?.ok()?;
            let attempt = u32::try_from(parts.next()?.ok()?).ok()?;
            let secret = parts.next()?.ok()?;
            Some(Lease { partition, offset, attempt, secret })
        })();
        // one text for one lease: neither signs, nor capitals, nor leading zeros
        lease.filter(|lease| lease.to_string() == text).ok_or_else(|| not_held(format_args!("lease \"{text}\"")))
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}-{:016x}", self.partition, self.offset, self.attempt, self.secret)
    }
}

/// 55000: what was to be settled is not the caller's.
pub(super) fn not_held(what: impl fmt::Display) -> Error {
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, format!("{what} is not held"))
        .hint("It was settled, or its time ended and the message passed to another consumer.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_one_text() {
        let lease = Lease { partition: 1, offset: 300, attempt: 2, secret: 0xabc };
        assert_eq!(lease.to_string(), "1-12c-2-0000000000000abc");
        assert_eq!(Lease::parse("1-12c-2-0000000000000abc").unwrap(), lease);
        for other in ["", "1-12c-2-abc", "1-12C-2-0000000000000abc", "+1-12c-2-0000000000000abc", "1-12c-2"] {
            assert_eq!(Lease::parse(other).unwrap_err().code(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        }
    }
}
