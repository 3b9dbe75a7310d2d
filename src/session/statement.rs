//! Statements that the session itself carries out: transactions, settings, definitions. Queries and writes are refused
//! with 0A000 until the binder and the executor are complete.

use super::block::{Block, isolation_name, isolation_named};
use super::conversation::Session;
use super::settings::{USER_ID, definition};
use super::{Format, Output};
use crate::catalog::{Catalog, Column, Relation};
use crate::error::{Error, Result, SqlState};
use crate::sql::ddl::{Condition, Constant, DefineContext, Defined, Expressions, execute};
use crate::sql::parse::{Definition, Expression, Isolation as Level, Set, Statement, TransactionModes};
use crate::sql::plan::ResultColumn;
use crate::txn::TxnOptions;
use crate::types::{Oid, SqlType, Value};
use crate::wait::Wait;
use std::sync::Arc;

/// How a statement went.
pub(super) enum Outcome {
    /// Done; its command tag.
    Done(String),
    /// Ask again after this wait.
    Wait(Wait),
    /// It was the block's end: its tag comes with the commit.
    Committing,
}

pub(super) fn done(tag: &str) -> Result<Outcome> {
    Ok(Outcome::Done(tag.to_owned()))
}

impl Session {
    /// Carries out one statement.
    pub(super) fn execute(&mut self, statement: &Statement, output: &mut dyn Output) -> Result<Outcome> {
        match statement {
            Statement::Begin { modes, start } => {
                self.begin_block(modes, output)?;
                done(if *start { "START TRANSACTION" } else { "BEGIN" })
            }
            Statement::Commit { chain: false } => self.commit_block(output),
            Statement::Rollback { chain: false } => {
                self.warn_without_block(output);
                self.rollback();
                done("ROLLBACK")
            }
            Statement::Set(set) => self.set(set, output),
            Statement::Reset(name) => {
                self.reset(name.as_deref())?;
                done("RESET")
            }
            Statement::Show(Some(name)) => self.show(name, output),
            Statement::Listen(channel) => self.listen(channel),
            Statement::Unlisten(channel) => self.unlisten(channel.as_ref()),
            Statement::Notify { channel, payload } => self.notify(channel, payload.as_deref()),
            Statement::Define(definition) => self.define(definition, output),
            _ => Err(Error::unsupported("this statement").hint(
                "This version carries out transactions, settings, definitions and notifications; queries follow in a later version.",
            )),
        }
    }

    fn options(&self, modes: &TransactionModes) -> TxnOptions {
        let default = self.settings.get("default_transaction_isolation").unwrap_or_default();
        let isolation = match modes.isolation {
            None => isolation_named(&default),
            Some(Level::ReadUncommitted | Level::ReadCommitted) => isolation_named("read committed"),
            Some(Level::RepeatableRead) => isolation_named("repeatable read"),
            Some(Level::Serializable) => isolation_named("serializable"),
        };
        let read_only = modes.read_only.unwrap_or_else(|| self.settings.is_on("default_transaction_read_only"));
        TxnOptions { isolation, read_only, pid: self.who.pid }
    }

    /// Opens an implicit transaction where none is open.
    pub(super) fn ensure_transaction(&mut self) -> Result<()> {
        if let Block::Idle = self.block {
            let options = self.options(&TransactionModes::default());
            self.block = Block::Implicit(Box::new(self.services.engine.begin(options)?));
        }
        Ok(())
    }

    /// BEGIN: an implicit block becomes an explicit one, with what it has done already.
    fn begin_block(&mut self, modes: &TransactionModes, output: &mut dyn Output) -> Result<()> {
        if self.block.is_explicit() {
            let message = "there is already a transaction in progress";
            output.notice(&Error::warning(SqlState::ACTIVE_SQL_TRANSACTION, message));
            return Ok(());
        }
        let options = self.options(modes);
        let transaction = match self.block.take() {
            Some(mut transaction) => {
                transaction.set_options(options)?;
                transaction
            }
            None => Box::new(self.services.engine.begin(options)?),
        };
        self.block = Block::Explicit(transaction);
        Ok(())
    }

    fn commit_block(&mut self, output: &mut dyn Output) -> Result<Outcome> {
        self.warn_without_block(output);
        if let Block::Failed = self.block {
            self.rollback();
            return done("ROLLBACK");
        }
        if self.block.transaction().is_none() {
            self.settings.end_transaction(true);
            return done("COMMIT");
        }
        self.commit(Some("COMMIT".to_owned()))?;
        Ok(Outcome::Committing)
    }

    fn warn_without_block(&self, output: &mut dyn Output) {
        if !self.block.is_explicit() {
            let message = "there is no transaction in progress";
            output.notice(&Error::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        }
    }

    /// Whether a setting may be changed so: the user id has rules of its own.
    pub(super) fn check_setting(&self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        let (true, Some(user)) = (name.eq_ignore_ascii_case(USER_ID), value) else { return Ok(()) };
        if !local && !self.services.allow_session_user_id {
            let message = format!("permission denied to set parameter \"{USER_ID}\" for the session");
            let hint = format!("Use SET LOCAL {USER_ID} inside a transaction.");
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message).hint(hint));
        }
        self.who.check_may_act_for(user, &self.services.engine.catalog())
    }

    fn set(&mut self, set: &Set, output: &mut dyn Output) -> Result<Outcome> {
        let value = set.values.as_ref().map(|values| values.join(", "));
        let in_block = self.block.is_explicit() || matches!(self.block, Block::Implicit(_));
        self.check_setting(&set.name, value.as_deref(), set.local)?;
        if set.local && !self.block.is_explicit() {
            let message = "SET LOCAL can only be used in transaction blocks";
            output.notice(&Error::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
            return done("SET");
        }
        self.settings.set(&set.name, value.as_deref(), set.local, in_block)?;
        done("SET")
    }

    fn reset(&mut self, name: Option<&str>) -> Result<()> {
        let in_block = self.block.is_explicit();
        match name {
            None => {
                self.settings.reset_all(in_block);
                Ok(())
            }
            Some(name) => self.settings.set(name, None, false, in_block),
        }
    }

    fn show(&mut self, name: &str, output: &mut dyn Output) -> Result<Outcome> {
        let mut shown = self.settings.show(name)?;
        if let Some(transaction) = self.block.transaction() {
            match name {
                "transaction_isolation" => shown = isolation_name(transaction.options()).to_owned(),
                "transaction_read_only" => {
                    shown = if transaction.options().read_only { "on" } else { "off" }.to_owned();
                }
                _ => {}
            }
        }
        let title = definition(name).map_or(name, |definition| definition.name);
        let column = ResultColumn { name: title.to_owned(), ty: SqlType::TEXT, table: Oid::INVALID, attnum: 0 };
        let columns = [column];
        output.row_description(&columns, &[Format::Text]);
        output.data_row(&[Value::text(shown)], &columns, &[Format::Text], self.settings.zone());
        done("SHOW")
    }

    fn define(&mut self, definition: &Definition, output: &mut dyn Output) -> Result<Outcome> {
        let catalog = self.services.engine.catalog();
        let role = catalog.role(self.who.role).ok_or_else(|| Error::internal("the session's role is gone"))?.clone();
        let search_path = self.settings.search_path(&role.name);
        self.ensure_transaction()?;
        let services = self.services.clone();
        let context = DefineContext {
            role: self.who.role,
            session_role: self.who.session_role,
            search_path: &search_path,
            database: &services.database,
            expressions: &NoBinder,
        };
        let transaction = self.block.transaction().ok_or_else(|| Error::internal("no transaction is open"))?;
        if transaction.options().read_only {
            let message = format!("cannot execute {} in a read-only transaction", definition.tag());
            return Err(Error::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        match execute(transaction, definition, context)? {
            Defined::Wait(wait) => Ok(Outcome::Wait(wait)),
            Defined::Done(notices) => {
                notices.iter().for_each(|notice| output.notice(notice));
                done(definition.tag())
            }
        }
    }
}

/// Refuses expressions in definitions while there is no binder to validate them.
struct NoBinder;

impl NoBinder {
    fn refuse<T>(what: &str) -> Result<T> {
        Err(Error::unsupported(what).hint("Expressions in definitions follow in a later version."))
    }
}

impl Expressions for NoBinder {
    fn default(&self, _: &Arc<Catalog>, _: &Expression, _: &Column) -> Result<String> {
        NoBinder::refuse("DEFAULT")
    }

    fn condition(&self, _: &Arc<Catalog>, _: &Expression, _: &Relation) -> Result<Condition> {
        NoBinder::refuse("a condition in a definition")
    }

    fn constant(&self, _: &Arc<Catalog>, _: &Expression, _: SqlType) -> Result<Constant> {
        NoBinder::refuse("DEFAULT")
    }
}
