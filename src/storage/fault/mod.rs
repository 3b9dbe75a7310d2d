//! A disk in memory that fails, for tests and simulations: what a crash leaves of it, and which step fails, follows from a
//! seed.
//!
//! It promises what POSIX promises and no more. A write is durable once a sync of its file has succeeded after it;
//! until then a crash keeps any part of it: whole writes, sectors, the beginning of one, in any order. A name is
//! durable once its directory has been synced. What a failed sync should have made durable may be lost although a later
//! sync succeeds. After a crash every call fails until [`FaultDisk::restart`] has settled what is left.

mod disk;
mod plan;

pub use disk::FaultDisk;
pub use plan::{Area, FaultCounts, FaultRates, Faults, Step, Storm};
