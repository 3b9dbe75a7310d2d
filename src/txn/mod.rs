//! Transactions.
pub mod lock;
