//! What the payload of a live channel says, as far as the benchmarks look.

use memchr::memmem;

/// What came on a live channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The live query has begun.
    Acknowledged,
    /// Rows have come.
    Insert,
}

/// What a payload is; anything but a beginning and inserts ends the benchmark.
pub fn kind(payload: &[u8]) -> Event {
    if payload.starts_with(b"{\"type\":\"change\",\"change_type\":\"insert\"") {
        return Event::Insert;
    }
    let is_beginning = payload.starts_with(b"{\"type\":\"subscription_ack\"");
    assert!(is_beginning, "not among what was expected: {}", String::from_utf8_lossy(payload));
    Event::Acknowledged
}

/// The number behind a label, which stands as `"label":`, in quotes or without.
pub fn number(payload: &[u8], label: &str) -> u64 {
    let at = memmem::find(payload, label.as_bytes()).map(|at| at + label.len());
    let digits = &payload[at.expect("it has one")..];
    let digits = digits.strip_prefix(b"\"").unwrap_or(digits);
    let value = |number: u64, digit: &u8| number * 10 + u64::from(digit - b'0');
    digits.iter().take_while(|digit| digit.is_ascii_digit()).fold(0, value)
}
