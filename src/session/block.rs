//! The transaction block of a session: none, one that the server opened, or one of BEGIN's, and its savepoints.

use super::TransactionStatus;
use super::settings::SettingsMark;
use crate::error::{Error, Result, SqlState};
use crate::txn::{CommitTicket, Isolation, Savepoint, Transaction, TxnOptions};

/// Where a session stands between BEGIN and COMMIT.
pub(super) enum Block {
    /// No transaction.
    Idle,
    /// Opened by the server, ends with the query string or at Sync.
    Implicit(Box<Transaction>),
    /// Opened by BEGIN.
    Explicit(Box<Transaction>),
    /// Opened by BEGIN and failed: everything but its end is refused. With savepoints the transaction is kept, rolled
    /// back to the last of them, since ROLLBACK TO may go on with it.
    Failed(Option<Box<Transaction>>),
}

/// A commit under way, and the tag that is sent once it is durable.
pub(super) struct Committing {
    pub ticket: CommitTicket,
    pub tag: Option<String>,
    /// AND CHAIN: how the next block begins.
    pub chain: Option<TxnOptions>,
    /// Asked for by Execute: after a failure everything up to Sync is passed over.
    pub extended: bool,
}

/// A savepoint, and what the session itself goes back to.
pub(super) struct Place {
    pub name: String,
    pub savepoint: Savepoint,
    pub settings: SettingsMark,
    /// How much had been said about channels.
    pub listening: usize,
}

impl Block {
    /// What ReadyForQuery says.
    pub(super) fn status(&self) -> TransactionStatus {
        match self {
            Block::Idle | Block::Implicit(_) => TransactionStatus::Idle,
            Block::Explicit(_) => TransactionStatus::InTransaction,
            Block::Failed(_) => TransactionStatus::Failed,
        }
    }

    /// Whether BEGIN has opened it.
    pub(super) fn is_explicit(&self) -> bool {
        matches!(self, Block::Explicit(_) | Block::Failed(_))
    }

    /// The open transaction, unless it has failed.
    pub(super) fn transaction(&mut self) -> Option<&mut Transaction> {
        match self {
            Block::Implicit(transaction) | Block::Explicit(transaction) => Some(transaction),
            Block::Idle | Block::Failed(_) => None,
        }
    }

    /// Leaves the block and hands over its transaction, failed or not.
    pub(super) fn take(&mut self) -> Option<Box<Transaction>> {
        match std::mem::replace(self, Block::Idle) {
            Block::Implicit(transaction) | Block::Explicit(transaction) => Some(transaction),
            Block::Failed(transaction) => transaction,
            Block::Idle => None,
        }
    }
}

/// An isolation level by its name in settings.
pub(super) fn isolation_named(name: &str) -> Isolation {
    match name {
        "read uncommitted" => Isolation::ReadUncommitted,
        "repeatable read" => Isolation::RepeatableRead,
        "serializable" => Isolation::Serializable,
        _ => Isolation::ReadCommitted,
    }
}

/// A setting that is the transaction's, as SHOW prints it; none for any other.
pub(super) fn shown_of_transaction(name: &str, options: &TxnOptions) -> Option<&'static str> {
    Some(match (name, options.isolation) {
        ("transaction_isolation", Isolation::ReadUncommitted) => "read uncommitted",
        ("transaction_isolation", Isolation::ReadCommitted) => "read committed",
        ("transaction_isolation", Isolation::RepeatableRead) => "repeatable read",
        ("transaction_isolation", Isolation::Serializable) => "serializable",
        ("transaction_read_only", _) if options.read_only => "on",
        ("transaction_read_only", _) => "off",
        ("transaction_deferrable", _) if options.deferrable => "on",
        ("transaction_deferrable", _) => "off",
        _ => return None,
    })
}

/// 25P02 for a statement in a failed block.
pub(super) fn refuse_in_failed() -> Result<()> {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    Err(Error::new(SqlState::IN_FAILED_SQL_TRANSACTION, message))
}
