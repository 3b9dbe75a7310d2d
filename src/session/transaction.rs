//! Statements about transactions: BEGIN, COMMIT, ROLLBACK, savepoints, SET TRANSACTION.

use super::block::{Block, Place, isolation_named};
use super::conversation::Session;
use super::statement::{Outcome, done};
use super::{Flow, Output};
use crate::error::{Error, Result, SqlState};
use crate::limits::SAVEPOINTS_MAX;
use crate::sql::parse::{Isolation as Level, TransactionModes};
use crate::txn::{CommitTicket, TxnOptions};
use crate::wait::Wait;

impl Session {
    /// How a transaction with these modes begins.
    pub(super) fn options(&self, modes: &TransactionModes) -> TxnOptions {
        let default = self.settings.frequent();
        let isolation = modes.isolation.map_or(default.isolation, |level| isolation_named(level_name(level)));
        let read_only = modes.read_only.unwrap_or(default.read_only);
        let deferrable = modes.deferrable.unwrap_or(default.deferrable);
        TxnOptions { isolation, read_only, deferrable, pid: self.who.pid }
    }

    /// Opens an implicit transaction where none is open.
    pub(super) fn ensure_transaction(&mut self) -> Result<()> {
        if let Block::Idle = self.block {
            let options = self.options(&TransactionModes::default());
            let transaction = self.services.engine.begin(options)?;
            self.activity.begin_transaction(transaction.time());
            self.block = Block::Implicit(Box::new(transaction));
        }
        Ok(())
    }

    /// Opens a block.
    pub(super) fn open_block(&mut self, options: TxnOptions) -> Result<()> {
        let transaction = self.services.engine.begin(options)?;
        self.activity.begin_transaction(transaction.time());
        self.block = Block::Explicit(Box::new(transaction));
        Ok(())
    }

    /// BEGIN: an implicit block becomes an explicit one, with what it has done already.
    pub(super) fn begin_block(&mut self, modes: &TransactionModes, output: &mut dyn Output) -> Result<()> {
        if self.block.is_explicit() {
            let message = "there is already a transaction in progress";
            self.tell(&Error::warning(SqlState::ACTIVE_SQL_TRANSACTION, message), output);
            return Ok(());
        }
        let options = self.options(modes);
        match self.block.take() {
            Some(mut transaction) => {
                transaction.set_options(options)?;
                self.block = Block::Explicit(transaction);
                Ok(())
            }
            None => self.open_block(options),
        }
    }

    /// COMMIT; of a failed block it is ROLLBACK.
    pub(super) fn commit_block(&mut self, chain: bool, output: &mut dyn Output) -> Result<Outcome> {
        let options = self.chained(chain, "COMMIT")?;
        if let Block::Failed(_) = self.block {
            if let Some(error) = self.lost.take() {
                self.rollback();
                return Err(error);
            }
            return self.rollback_block(chain, output);
        }
        self.warn_without_block(output);
        if self.block.transaction().is_none() {
            self.settings.end_transaction(true);
            return done("COMMIT");
        }
        self.commit(Some("COMMIT".to_owned()), options)?;
        Ok(Outcome::Committing)
    }

    /// ROLLBACK
    pub(super) fn rollback_block(&mut self, chain: bool, output: &mut dyn Output) -> Result<Outcome> {
        let options = self.chained(chain, "ROLLBACK")?;
        self.warn_without_block(output);
        self.rollback();
        if let Some(options) = options {
            self.open_block(options)?;
        }
        done("ROLLBACK")
    }

    /// AND CHAIN: the options of the block that follows.
    fn chained(&mut self, chain: bool, verb: &str) -> Result<Option<TxnOptions>> {
        if !chain {
            return Ok(None);
        }
        let failed = TxnOptions { pid: self.who.pid, ..self.options(&TransactionModes::default()) };
        match &self.block {
            Block::Explicit(transaction) | Block::Failed(Some(transaction)) => Ok(Some(*transaction.options())),
            Block::Failed(None) => Ok(Some(self.failed_options.unwrap_or(failed))),
            Block::Idle | Block::Implicit(_) => Err(needs_block(&format!("{verb} AND CHAIN"))),
        }
    }

    fn warn_without_block(&self, output: &mut dyn Output) {
        if !self.block.is_explicit() {
            let message = "there is no transaction in progress";
            self.tell(&Error::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message), output);
        }
    }

    /// SAVEPOINT
    ///
    /// # Errors
    /// 25P01 outside a block, 53400 beyond the bound.
    pub(super) fn savepoint(&mut self, name: &str) -> Result<Outcome> {
        let Block::Explicit(transaction) = &mut self.block else { return Err(needs_block("SAVEPOINT")) };
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            let message = format!("a transaction has {SAVEPOINTS_MAX} savepoints at most");
            return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message).hint("Release them."));
        }
        self.savepoints.push(Place {
            name: name.to_owned(),
            savepoint: transaction.savepoint(),
            settings: self.settings.mark(),
            listening: self.listening.len(),
        });
        done("SAVEPOINT")
    }

    /// RELEASE SAVEPOINT: it and those after it are forgotten, what was done stays.
    pub(super) fn release_savepoint(&mut self, name: &str) -> Result<Outcome> {
        let index = self.find_savepoint(name, "RELEASE SAVEPOINT")?;
        let savepoint = self.savepoints.drain(index..).next().map(|place| place.savepoint);
        if let (Some(savepoint), Some(transaction)) = (savepoint, self.block.transaction()) {
            transaction.release(savepoint);
        }
        for portal in self.portals.values_mut() {
            portal.depth = portal.depth.min(index);
        }
        done("RELEASE")
    }

    /// ROLLBACK TO SAVEPOINT: what was done since is undone, and a failed block goes on.
    pub(super) fn rollback_to(&mut self, name: &str) -> Result<Outcome> {
        let index = self.find_savepoint(name, "ROLLBACK TO SAVEPOINT")?;
        if let Block::Failed(_) = self.block {
            let transaction = self.block.take().ok_or_else(|| Error::internal("a failed block kept no transaction"))?;
            self.block = Block::Explicit(transaction);
        }
        self.return_to(index);
        done("ROLLBACK")
    }

    fn find_savepoint(&self, name: &str, what: &str) -> Result<usize> {
        if !self.block.is_explicit() {
            return Err(needs_block(what));
        }
        self.savepoints.iter().rposition(|place| place.name == name).ok_or_else(|| {
            let message = format!("savepoint \"{name}\" does not exist");
            Error::new(SqlState::S_E_INVALID_SPECIFICATION, message)
        })
    }

    /// Undoes what was done since a savepoint, which stays.
    pub(super) fn return_to(&mut self, index: usize) {
        self.savepoints.truncate(index + 1);
        self.portals.retain(|_, portal| portal.depth <= index);
        let (Some(place), Some(transaction)) = (self.savepoints.last(), self.block.transaction()) else { return };
        transaction.start_rollback_to(place.savepoint);
        self.listening.truncate(place.listening);
        self.settings.rollback_to(&place.settings);
        self.follow_settings();
    }

    /// The block after an error: rolled back, or with savepoints rolled back to the last of them, and failed.
    pub(super) fn fail_block(&mut self) {
        self.current = None;
        self.deadlines.lock = None;
        self.deadlines.statement = None;
        match std::mem::replace(&mut self.block, Block::Idle) {
            Block::Explicit(mut transaction) if !self.savepoints.is_empty() => {
                transaction.stop_waiting();
                self.block = Block::Explicit(transaction);
                self.return_to(self.savepoints.len() - 1);
                self.block = Block::Failed(self.block.take());
            }
            Block::Explicit(transaction) => {
                self.failed_options = Some(*transaction.options());
                self.block = Block::Explicit(transaction);
                self.rollback();
                self.block = Block::Failed(None);
            }
            failed @ Block::Failed(_) => self.block = failed,
            other => {
                self.block = other;
                self.rollback();
            }
        }
    }

    /// Whether ROLLBACK TO has given back all that it has to. Many locks take their time, a part of it in each step.
    pub(super) fn is_back(&mut self) -> bool {
        let (Block::Implicit(transaction) | Block::Explicit(transaction) | Block::Failed(Some(transaction))) =
            &mut self.block
        else {
            return true;
        };
        transaction.go_back()
    }

    /// Over when what was rolled back holds nothing any more, as after ROLLBACK in PostgreSQL.
    pub(super) fn wait_for_endings(&mut self) -> Option<Flow> {
        self.ending.retain(|ticket| ticket.poll().is_none());
        let ticket = self.ending.first()?;
        // there is nothing that could be cancelled; and who is to end need not wait
        self.interrupt.forget_cancel();
        (!self.interrupt.is_set()).then(|| Flow::Wait(ticket.wait()))
    }

    /// The client has gone, or is to go: ends the transaction. Over when it holds nothing any more, committed or rolled
    /// back; until then the others see the session, as in PostgreSQL. None when nothing is left to wait for.
    pub fn leave(&mut self) -> Option<Wait> {
        if let Some(committing) = &self.committing {
            if committing.ticket.poll().is_none() {
                return Some(committing.ticket.wait());
            }
            self.committing = None;
        }
        self.rollback();
        self.ending.retain(|ticket| ticket.poll().is_none());
        self.ending.first().map(CommitTicket::wait)
    }

    /// SET TRANSACTION
    pub(super) fn set_transaction(&mut self, modes: &TransactionModes, output: &mut dyn Output) -> Result<Outcome> {
        if !self.is_in_block() {
            let message = "SET TRANSACTION can only be used in transaction blocks";
            self.tell(&Error::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message), output);
            return done("SET");
        }
        self.ensure_transaction()?;
        let pid = self.who.pid;
        let nested = !self.savepoints.is_empty();
        let transaction = self.transaction()?;
        let begun = transaction.has_begun();
        let refuse = |what: &str| Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, what));
        let old = *transaction.options();
        let isolation = modes.isolation.map_or(old.isolation, |level| isolation_named(level_name(level)));
        if isolation != old.isolation && !begun && nested {
            return refuse("SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction");
        }
        let read_only = modes.read_only.unwrap_or(old.read_only);
        if old.read_only && !read_only {
            if nested {
                return refuse("cannot set transaction read-write mode inside a read-only transaction");
            }
            if begun {
                return refuse("transaction read-write mode must be set before any query");
            }
        }
        if modes.deferrable.is_some() {
            if nested {
                return refuse("SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction");
            }
            if begun {
                return refuse("SET TRANSACTION [NOT] DEFERRABLE must be called before any query");
            }
        }
        let deferrable = modes.deferrable.unwrap_or(old.deferrable);
        transaction.set_options(TxnOptions { isolation, read_only, deferrable, pid })?;
        done("SET")
    }

    /// SET transaction_isolation and its kin: SET TRANSACTION in another spelling.
    pub(super) fn set_transaction_setting(
        &mut self,
        name: &str,
        value: Option<&str>,
        output: &mut dyn Output,
    ) -> Result<()> {
        let value = self.settings.canonical(name, value)?;
        let mut modes = TransactionModes::default();
        match value.as_str() {
            "on" | "off" if name.eq_ignore_ascii_case("transaction_deferrable") => {
                modes.deferrable = Some(value == "on");
            }
            "on" | "off" => modes.read_only = Some(value == "on"),
            "read uncommitted" => modes.isolation = Some(Level::ReadUncommitted),
            "repeatable read" => modes.isolation = Some(Level::RepeatableRead),
            "serializable" => modes.isolation = Some(Level::Serializable),
            _ => modes.isolation = Some(Level::ReadCommitted),
        }
        if self.is_in_block() {
            self.set_transaction(&modes, output)?;
        }
        Ok(())
    }

    /// SET SESSION CHARACTERISTICS AS TRANSACTION: the defaults of the transactions to come.
    pub(super) fn set_characteristics(&mut self, modes: &TransactionModes) -> Result<Outcome> {
        if let Some(level) = modes.isolation {
            self.settings.set("default_transaction_isolation", Some(level_name(level)), false, true)?;
        }
        if let Some(read_only) = modes.read_only {
            let value = if read_only { "on" } else { "off" };
            self.settings.set("default_transaction_read_only", Some(value), false, true)?;
        }
        if let Some(deferrable) = modes.deferrable {
            let value = if deferrable { "on" } else { "off" };
            self.settings.set("default_transaction_deferrable", Some(value), false, true)?;
        }
        done("SET")
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ReadUncommitted => "read uncommitted",
        Level::ReadCommitted => "read committed",
        Level::RepeatableRead => "repeatable read",
        Level::Serializable => "serializable",
    }
}

fn needs_block(what: &str) -> Error {
    Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, format!("{what} can only be used in transaction blocks"))
}
