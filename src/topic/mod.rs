//! Topics: what the consumer groups hold of them, and who waits for their messages.
//!
//! [`Claims`] is the state of one group in one partition: which messages are acknowledged, which are leased to whom,
//! which wait to come again. A [`Group`] has one for each partition, and [`Groups`] has them all, by topic and name.
//! Claims are in memory only and take effect at once; what is acknowledged is written by the transaction that
//! acknowledges and applied here when that is published. Nothing here knows a clock or a transaction: times are handed
//! in, and what a transaction must do at its end is handed out as an [`AtEnd`](crate::change::AtEnd).

mod arrivals;
mod claims;
mod group;
mod groups;
mod lease;
mod ranges;
mod stored;

pub use arrivals::{Arrivals, Seen};
pub use claims::{Claimed, Claimer, Claims, Outcome, Settling};
pub use group::{Claim, Group, GroupWrite, Progress, Reset, Settlement, Target};
pub use groups::{Groups, Lookup};
pub use lease::Lease;
pub use ranges::Ranges;
pub use stored::{check_entry, groups_prefix};
