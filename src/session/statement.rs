//! Statements that the session itself carries out: transactions, settings, definitions.

use super::block::{Block, isolation_name, isolation_named};
use super::conversation::Session;
use super::query::{Ids, SettingsOfSession, Silent, check_setting};
use super::settings::definition;
use super::{Flow, Format, Output};
use crate::error::{Error, Result, SqlState};
use crate::sql::bind::Definitions;
use crate::sql::ddl::{DefineContext, Defined, execute};
use crate::sql::exec::ExecContext;
use crate::sql::parse::{Definition, Isolation as Level, Set, Statement, TransactionModes};
use crate::sql::plan::ResultColumn;
use crate::txn::TxnOptions;
use crate::types::{Oid, ScopeId, SqlType, Value};
use std::cell::RefCell;

/// How a statement went.
pub(super) enum Outcome {
    /// Done; its command tag.
    Done(String),
    /// Ask again afterwards.
    Pause(Flow),
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
            Statement::Query(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Explain(_) => self.query(statement, output),
            Statement::Listen(channel) => self.listen(channel),
            Statement::Unlisten(channel) => self.unlisten(channel.as_ref()),
            Statement::Notify { channel, payload } => self.notify(channel, payload.as_deref()),
            Statement::Define(definition) => self.define(definition, output),
            _ => Err(Error::unsupported("this statement").hint("README.md says what this version carries out.")),
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

    fn set(&mut self, set: &Set, output: &mut dyn Output) -> Result<Outcome> {
        let value = set.values.as_ref().map(|values| values.join(", "));
        let in_block = self.block.is_explicit() || matches!(self.block, Block::Implicit(_));
        check_setting(&self.services, &self.who, &set.name, value.as_deref(), set.local)?;
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
        let identity = self.identity()?;
        let zone = self.settings.zone().clone();
        let Session { block, settings, services, who, text, .. } = self;
        let transaction = block.transaction().ok_or_else(|| Error::internal("no transaction is open"))?;
        let settings = SettingsOfSession { settings: RefCell::new(settings), services, who };
        let ids = Ids(&services.engine);
        let world = ExecContext {
            identity: &identity,
            scope: ScopeId::SHARED,
            zone: &zone,
            env: &**services.engine.env(),
            ids: &ids,
            settings: &settings,
            statement_time: services.engine.env().now(),
        };
        let eval = world.eval(&[], transaction.time(), services.engine.current(), &Silent);
        let expressions = Definitions { text, eval };
        let context = DefineContext {
            role: who.role,
            session_role: who.session_role,
            search_path: &search_path,
            database: &services.database,
            expressions: &expressions,
        };
        if transaction.options().read_only {
            let message = format!("cannot execute {} in a read-only transaction", definition.tag());
            return Err(Error::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        match execute(transaction, definition, context)? {
            Defined::Wait(wait) => Ok(Outcome::Pause(Flow::Wait(wait))),
            Defined::Done(notices) => {
                notices.iter().for_each(|notice| output.notice(notice));
                done(definition.tag())
            }
        }
    }
}
