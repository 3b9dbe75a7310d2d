//! Statements that the session itself carries out: settings, prepared statements, definitions; and which goes where.

use super::block::{Block, shown_of_transaction};
use super::conversation::Session;
use super::identity::Followed;
use super::portal::{Portal, State};
use super::query::{Acting, Silent, check_setting};
use super::sequences::Remembered;
use super::settings::joined;
use super::{Flow, Output};
use crate::error::{Error, Result, SqlState};
use crate::sql::bind::{Definitions, bind_arguments};
use crate::sql::ddl::{DefineContext, Defined, Progress, execute};
use crate::sql::parse::{Definition, Discard, Set, Statement, TransactionModes};
use crate::types::{Oid, Row, ScopeId, Value};
use std::collections::VecDeque;

/// How a statement went.
pub(super) enum Outcome {
    /// Done; its command tag.
    Done(String),
    /// The rows that this Execute asked for are out.
    Suspended,
    /// Ask again afterwards.
    Pause(Flow),
    /// It was the block's end: its tag comes with the commit.
    Committing,
}

pub(super) fn done(tag: &str) -> Result<Outcome> {
    Ok(Outcome::Done(tag.to_owned()))
}

impl Session {
    /// Carries out a statement without a plan; none when the portal now has rows to give, or another statement.
    pub(super) fn execute(&mut self, portal: &mut Portal, output: &mut dyn Output) -> Result<Option<Outcome>> {
        let prepared = portal.prepared.clone();
        let statement = prepared.statement().ok_or_else(|| Error::internal("an empty statement is not executed"))?;
        match statement {
            Statement::Show(name) => {
                let rows = match name {
                    Some(name) => VecDeque::from([vec![Value::text(self.show(name)?)]]),
                    None => self.show_all(),
                };
                portal.state = State::Rows(rows, "SHOW".to_owned());
                Ok(None)
            }
            Statement::Copy(_) => {
                // not before it runs, as in PostgreSQL: until then a name may get another meaning
                self.ensure_transaction()?;
                portal.prepared = self.bind_copy(&portal.prepared)?;
                Ok(None)
            }
            Statement::Execute { .. } => self.execute_prepared(statement, portal).map(|()| None),
            Statement::LockTables(lock) => self.lock_table(lock).map(Some),
            Statement::Define(definition) => self.define(definition, &mut portal.definition, output).map(Some),
            _ => self.carry_out(statement, output).map(Some),
        }
    }

    fn carry_out(&mut self, statement: &Statement, output: &mut dyn Output) -> Result<Outcome> {
        match statement {
            Statement::Begin { modes, start } => {
                self.begin_block(modes, output)?;
                done(if *start { "START TRANSACTION" } else { "BEGIN" })
            }
            Statement::Commit { chain } => self.commit_block(*chain, output),
            Statement::Rollback { chain } => self.rollback_block(*chain, output),
            Statement::Savepoint(name) => self.savepoint(name),
            Statement::ReleaseSavepoint(name) => self.release_savepoint(name),
            Statement::RollbackTo(name) => self.rollback_to(name),
            Statement::SetTransaction(modes) => self.set_transaction(modes, output),
            Statement::SetCharacteristics(modes) => self.set_characteristics(modes),
            Statement::Set(set) => self.set(set, output),
            Statement::Reset(name) => {
                self.reset(name.as_deref())?;
                done("RESET")
            }
            Statement::Discard(what) => self.discard(*what),
            Statement::Prepare { name, types, statement } => {
                let prepared = self.prepare_inner(statement, types)?;
                self.lock_if_free(&prepared)?;
                self.keep_statement(name, prepared)?;
                done("PREPARE")
            }
            Statement::Deallocate(Some(name)) => {
                self.statement_named(name)?;
                self.statements.remove(name);
                done("DEALLOCATE")
            }
            Statement::Deallocate(None) => {
                self.statements.clear();
                done("DEALLOCATE ALL")
            }
            Statement::Close(name) => self.close_portals(name.as_deref()),
            Statement::Listen(channel) => self.listen(channel),
            Statement::Unlisten(channel) => self.unlisten(channel.as_ref()),
            Statement::Notify { channel, payload } => self.notify(channel, payload.as_deref()),
            Statement::KillLiveQuery(id) => self.kill_live_query(id),
            _ => Err(Error::unsupported("this statement").hint("README.md says what this version carries out.")),
        }
    }

    /// EXECUTE: the portal goes on as one of the prepared statement, with the arguments as its parameters.
    fn execute_prepared(&mut self, statement: &Statement, portal: &mut Portal) -> Result<()> {
        let Statement::Execute { name, .. } = statement else { return Ok(()) };
        let kept = self.statement_named(name)?;
        // two that name each other would never end
        if let Some(Statement::Execute { .. }) = kept.statement() {
            return Err(Error::unsupported("EXECUTE of a prepared EXECUTE").hint("EXECUTE the other statement itself."));
        }
        let prepared = self.bound(kept)?;
        self.statements.insert(name.clone(), prepared.clone());
        let environment = self.environment();
        let catalog = self.catalog();
        let context = environment.bind_context(&catalog, &portal.prepared.text, &portal.prepared.params, false);
        let arguments = bind_arguments(&context, statement, &prepared.params)?;
        let identity = self.identity()?;
        let outer = std::mem::take(&mut portal.params);
        let values = arguments.iter().map(|argument| self.evaluate(argument, &outer, &identity));
        portal.params = values.collect::<Result<Vec<Value>>>()?;
        portal.prepared = prepared;
        Ok(())
    }

    fn set(&mut self, set: &Set, output: &mut dyn Output) -> Result<Outcome> {
        if set.local && !self.is_in_block() {
            // it is carried out all the same, and its end is near
            let message = "SET LOCAL can only be used in transaction blocks";
            self.tell(&Error::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message), output);
        }
        let value = set.values.as_ref().map(|values| joined(&set.name, values)).transpose()?;
        // a query string is one transaction: an error after this takes it back
        self.ensure_transaction()?;
        match set.name.as_str() {
            "role" => self.set_role(value.as_deref(), set.local)?,
            "session_authorization" => self.set_session_authorization(value.as_deref(), set.local)?,
            "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {
                self.set_transaction_setting(&set.name, value.as_deref(), output)?;
            }
            _ => {
                check_setting(&self.services, &self.who, &set.name, value.as_deref(), set.local)?;
                self.settings.set(&set.name, value.as_deref(), set.local, true)?;
            }
        }
        done("SET")
    }

    fn reset(&mut self, name: Option<&str>) -> Result<()> {
        self.ensure_transaction()?;
        match name {
            None => {
                self.settings.reset_all(true);
                Ok(())
            }
            Some("role") => self.set_role(None, false),
            Some("session_authorization") => self.set_session_authorization(None, false),
            Some(name) => self.settings.set(name, None, false, true),
        }
    }

    fn show(&mut self, name: &str) -> Result<String> {
        let options = match self.block.transaction() {
            Some(transaction) => *transaction.options(),
            None => self.options(&TransactionModes::default()),
        };
        match shown_of_transaction(name, &options) {
            Some(shown) => Ok(shown.to_owned()),
            None => self.settings.show(name),
        }
    }

    fn show_all(&self) -> VecDeque<Row> {
        let row = |(definition, value): (&super::Definition, String)| {
            vec![Value::text(definition.name), Value::text(value), Value::text(definition.description)]
        };
        self.settings.all().into_iter().map(row).collect()
    }

    /// CLOSE: a cursor is a portal by its name, whoever opened it.
    fn close_portals(&mut self, name: Option<&str>) -> Result<Outcome> {
        let Some(name) = name else {
            self.portals.clear();
            return done("CLOSE CURSOR ALL");
        };
        match self.portals.remove(name) {
            Some(_) => done("CLOSE CURSOR"),
            None => Err(Error::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))),
        }
    }

    /// DISCARD. There are no temporary tables; plans are bound again whenever their catalog is old.
    fn discard(&mut self, what: Discard) -> Result<Outcome> {
        match what {
            Discard::Plans => done("DISCARD PLANS"),
            Discard::Sequences => {
                self.sequences = Remembered::default();
                done("DISCARD SEQUENCES")
            }
            Discard::Temp => done("DISCARD TEMP"),
            Discard::All => {
                if !matches!(self.block, Block::Idle) {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
                }
                self.portals.clear();
                self.set_session_authorization(None, false)?;
                self.settings.reset_all(false);
                self.statements.clear();
                self.listener.unlisten_all();
                self.sequences = Remembered::default();
                self.services.engine.unlock_session(self.who.pid);
                done("DISCARD ALL")
            }
        }
    }

    fn define(&mut self, definition: &Definition, progress: &mut Progress, output: &mut dyn Output) -> Result<Outcome> {
        self.ensure_transaction()?;
        let identity = self.identity()?;
        let environment = self.environment();
        let (services, text) = (self.services.clone(), self.text.clone());
        let in_use = self.relations_in_use();
        let session_role = self.who.session_role;
        let acting =
            Acting { identity: &identity, scope: ScopeId::SHARED, statement_time: services.engine.env().now() };
        let defined = self.within(acting, |transaction, world| {
            transaction.check_writable(definition.tag())?;
            // a definition is a query here: the snapshot is taken before it waits for any lock
            transaction.pin()?;
            let eval = world.eval(&[], transaction.time(), services.engine.current(), &Silent);
            let expressions =
                Definitions { text: &text, eval, role: identity.role, search_path: &environment.search_path };
            let context = DefineContext {
                role: identity.role,
                session_role,
                search_path: &environment.search_path,
                database: &services.database,
                expressions: &expressions,
                in_use: &in_use,
            };
            execute(transaction, definition, context, progress)
        });
        progress.notices.drain(..).for_each(|notice| self.tell(&notice, output));
        match defined? {
            Defined::Wait(wait) => Ok(Outcome::Pause(Flow::Wait(wait))),
            Defined::Yield => Ok(Outcome::Pause(Flow::Yield)),
            Defined::Done => done(definition.tag()),
        }
    }

    /// The relations of portals that are open beside the one under way; as in PostgreSQL a query's is until it is closed,
    /// also at its end.
    fn relations_in_use(&self) -> Vec<Oid> {
        let open = self.portals.values().filter(|portal| portal.is_query() || !matches!(portal.state, State::Done));
        open.filter_map(|portal| portal.prepared.plan.as_ref()).flat_map(|plan| plan.relations.clone()).collect()
    }

    /// SET ROLE; without a value, and for `none`, back to the session's role.
    ///
    /// # Errors
    /// 22023 for no role, 42501 for one that the session's role is not a member of.
    fn set_role(&mut self, value: Option<&str>, local: bool) -> Result<()> {
        let value = value.unwrap_or("none");
        if value != "none" {
            let catalog = self.catalog();
            let role = catalog.role_by_name(value).ok_or_else(|| no_role(value))?;
            let superuser = catalog.role(self.who.session_role).is_some_and(|role| role.superuser);
            if !superuser && !catalog.is_member(self.who.session_role, role.oid) {
                let message = format!("permission denied to set role \"{value}\"");
                return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
            }
        }
        self.settings.set_internal("role", value, local, true);
        self.follow_settings();
        self.tell_superuser(local);
        Ok(())
    }

    /// SET SESSION AUTHORIZATION: another role and another user id; only superusers may.
    fn set_session_authorization(&mut self, value: Option<&str>, local: bool) -> Result<()> {
        let catalog = self.catalog();
        let login = catalog.role(self.who.login_role).ok_or_else(|| Error::internal("the login role is gone"))?;
        let value = value.unwrap_or(&login.name);
        let role = catalog.role_by_name(value).ok_or_else(|| no_role(value))?;
        if role.oid != login.oid && !login.superuser {
            let message = format!("permission denied to set session authorization \"{value}\"");
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        self.settings.set_internal("session_authorization", value, local, true);
        self.settings.set_internal("role", "none", local, true);
        self.follow_settings();
        self.tell_superuser(local);
        Ok(())
    }

    fn tell_superuser(&mut self, local: bool) {
        let superuser = self.services.engine.catalog().role(self.who.role).is_some_and(|role| role.superuser);
        self.settings.set_internal("is_superuser", if superuser { "on" } else { "off" }, local, true);
    }

    /// The session's roles and user id as its settings say, where those name others than before: SET, or a rollback of
    /// one.
    pub(super) fn follow_settings(&mut self) {
        if self.followed.version == self.settings.version() {
            return;
        }
        let now = Followed::of(&self.settings);
        let before = std::mem::replace(&mut self.followed, now);
        let (session_changed, role_changed) =
            (before.session != self.followed.session, before.role != self.followed.role);
        if !session_changed && !role_changed {
            return;
        }
        let catalog = self.catalog();
        let named = |name: &str| catalog.role_by_name(name).map(|role| role.oid);
        if session_changed && let Some(oid) = named(&self.followed.session) {
            self.who.session_role = oid;
            self.who.user_id = self.followed.session.as_str().into();
        }
        self.who.role = named(&self.followed.role).unwrap_or(self.who.session_role);
    }
}

fn no_role(name: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("role \"{name}\" does not exist"))
}
