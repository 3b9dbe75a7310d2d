//! Readers of the commit sequence that tell sessions what happened.
//!
//! One thread follows the changefeed in commit order and puts notifications and the events of live queries into the
//! [`Outbox`] of every session that they concern. It never waits for a session: an outbox is bounded, a live query that
//! falls behind its bound is closed with the position to resume from, and a session that misses plain notifications is
//! ended rather than told less than everything.

mod audience;
mod bulk;
mod delivery;
mod event;
mod finder;
mod followers;
mod hub;
mod listener;
mod outbox;
mod probe;
mod reader;
mod round;
mod shape;
mod stretches;
mod subscription;

pub use hub::{Hub, LiveQuery};
pub use listener::{Listener, channel_in_use};
pub use outbox::{Line, Outbox, Sent};
pub use reader::Reader;
pub use shape::{Selected, Shape, World};
pub use subscription::{Subject, Subscription};
