//! Topics: what a consumer group holds of a partition.
//!
//! [`Claims`] is the state of one group in one partition, in memory: which messages are acknowledged, which are leased
//! to whom, which wait to come again. It knows neither storage nor clock; what must outlive a restart, the
//! acknowledged offsets, is written by the transaction that acknowledges.

mod claims;
mod lease;

pub use claims::{Claimed, Claimer, Claims, Outcome, Settling};
pub use lease::Lease;
