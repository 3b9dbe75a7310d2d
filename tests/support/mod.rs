//! What several test programs share.
#![expect(dead_code, reason = "each test program uses its part")]

pub mod client;
pub mod golden;
pub mod graph;
pub mod in_process;
pub mod isolation;
pub mod live;
pub mod machine;
pub mod postgres;
pub mod process;
pub mod random;
pub mod relation;
pub mod server;
pub mod simulated;
pub mod spec;
pub mod store;
pub mod transcript;
