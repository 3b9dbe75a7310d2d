//! The transaction block of a session: none, one that the server opened for a query string, or one of BEGIN's.

use super::TransactionStatus;
use crate::error::{Error, Result, SqlState};
use crate::txn::{CommitTicket, Isolation, Transaction, TxnOptions};

/// Where a session stands between BEGIN and COMMIT.
pub(super) enum Block {
    /// No transaction.
    Idle,
    /// Opened by the server, ends with the query string.
    Implicit(Box<Transaction>),
    /// Opened by BEGIN.
    Explicit(Box<Transaction>),
    /// Opened by BEGIN, failed and rolled back; everything but its end is refused.
    Failed,
}

/// A commit under way, and the tag that is sent once it is durable.
pub(super) struct Committing {
    pub ticket: CommitTicket,
    pub tag: Option<String>,
}

impl Block {
    /// What ReadyForQuery says.
    pub(super) fn status(&self) -> TransactionStatus {
        match self {
            Block::Idle | Block::Implicit(_) => TransactionStatus::Idle,
            Block::Explicit(_) => TransactionStatus::InTransaction,
            Block::Failed => TransactionStatus::Failed,
        }
    }

    /// Whether BEGIN has opened it.
    pub(super) fn is_explicit(&self) -> bool {
        matches!(self, Block::Explicit(_) | Block::Failed)
    }

    /// The open transaction.
    pub(super) fn transaction(&mut self) -> Option<&mut Transaction> {
        match self {
            Block::Implicit(transaction) | Block::Explicit(transaction) => Some(transaction),
            Block::Idle | Block::Failed => None,
        }
    }

    /// Leaves the block and hands over its transaction.
    pub(super) fn take(&mut self) -> Option<Box<Transaction>> {
        match std::mem::replace(self, Block::Idle) {
            Block::Implicit(transaction) | Block::Explicit(transaction) => Some(transaction),
            Block::Idle | Block::Failed => None,
        }
    }
}

/// An isolation level by its name in settings.
pub(super) fn isolation_named(name: &str) -> Isolation {
    match name {
        "repeatable read" => Isolation::RepeatableRead,
        "serializable" => Isolation::Serializable,
        _ => Isolation::ReadCommitted,
    }
}

/// The name of a transaction's isolation level as SHOW prints it.
pub(super) fn isolation_name(options: &TxnOptions) -> &'static str {
    match options.isolation {
        Isolation::ReadCommitted => "read committed",
        Isolation::RepeatableRead => "repeatable read",
        Isolation::Serializable => "serializable",
    }
}

/// 25P02 for a statement in a failed block.
pub(super) fn refuse_in_failed() -> Result<()> {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    Err(Error::new(SqlState::IN_FAILED_SQL_TRANSACTION, message))
}
