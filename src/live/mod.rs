//! Readers of the commit sequence that tell sessions what happened.
//!
//! One thread follows the changefeed in commit order and puts notifications into the [`Outbox`] of every session that
//! listens on their channel. It never waits for a session: an outbox is bounded, and a session that falls behind its
//! bound is ended rather than told less than everything.

mod hub;
mod outbox;

pub use hub::{Hub, Listener};
pub use outbox::Outbox;
