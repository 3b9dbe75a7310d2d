//! Tertulia: a database for chat applications that speaks the PostgreSQL wire protocol.
//!
//! Every statement reads one snapshot and produces at most one write set; one committer turns write sets into a
//! numbered sequence of commits; everything reactive reads that sequence and nothing else. The layers, in reading
//! order; a module imports only from those above it here (`tests/tidy.rs` enforces it, ARCHITECTURE.md explains it).

// 0: no imports of ours
pub mod env;
pub mod error;
pub mod limits;
pub mod wait;
// 1: values and bytes
pub mod encoding;
pub mod types;
// 3: what exists
pub mod catalog;
// 4: what changes
pub mod change;
