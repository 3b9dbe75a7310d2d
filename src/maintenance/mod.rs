//! Background steps: folding, expiry, retention, position keeping.
