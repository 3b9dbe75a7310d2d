//! Tertulia: a database for chat applications that speaks the PostgreSQL wire protocol.
//!
//! Every statement reads one snapshot and produces at most one write set; one committer turns write sets into a
//! numbered sequence of commits; everything reactive reads that sequence and nothing else. The layers, in reading
//! order; a module imports only from those above it here (`tests/tidy.rs` enforces it, ARCHITECTURE.md explains it).

// 0: no imports of ours
pub mod config;
pub mod env;
pub mod error;
pub mod interrupt;
pub mod limits;
pub mod wait;
// 1: values and bytes
pub mod encoding;
pub mod types;
// 2: the ordered map and the log; scalar expressions; what sessions do
pub mod activity;
pub mod expr;
pub mod storage;
// 3: what exists
pub mod catalog;
// 4: what changes
pub mod change;
// 5: what a change means
pub mod table;
pub mod topic;
// 6: the only writer
pub mod txn;
// 7: readers of the commit sequence, background steps
pub mod check;
pub mod live;
pub mod maintenance;
// 8: SQL
pub mod sql;
// 9: sessions and login
pub mod auth;
pub mod session;
// 10: the protocol
pub mod wire;
// 11: the program
pub mod demo;
pub mod server;
