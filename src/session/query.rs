//! Plans at work: executed in steps, their rows handed to the output as they come.

use super::block::{Block, shown_of_transaction};
use super::conversation::Session;
use super::plans::Environment;
use super::portal::{Portal, Running, State};
use super::prepared::Prepared;
use super::sequences::Ids;
use super::settings::{Settings, USER_ID};
use super::statement::Outcome;
use super::{Flow, Format, Output, Services, Who};
use crate::catalog::Catalog;
use crate::error::{Error, Result, SqlState};
use crate::expr::{self, Expr, Identity, Notifier};
use crate::sql::exec::{ExecContext, Execution, RowSink, SinkFlow, Step};
use crate::sql::plan::{Plan, ResultColumn};
use crate::txn::{LockKey, LockMode, LockPolicy, Transaction, TxnOptions};
use crate::types::{Oid, ScopeId, Str, Value, Zone};
use crate::wait::Wait;
use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

/// Rows that a step looks at before others may have the thread.
const STEP_BUDGET: usize = 4_096;

/// The tables of a plan and how they are locked. Topics are none: a consumer may wait for messages for as long as it likes.
fn locked_tables(plan: &Plan, catalog: &Catalog) -> impl Iterator<Item = (Oid, LockMode)> {
    let is_table = |oid: &Oid| catalog.relation(*oid).is_some_and(|relation| relation.topic().is_none());
    let tables = plan.relations.iter().enumerate().filter(move |(_, oid)| is_table(oid));
    tables.map(|(place, oid)| (*oid, plan.lock_mode(place)))
}

/// Rows on their way to the client.
struct Rows<'a> {
    output: &'a mut dyn Output,
    columns: &'a [ResultColumn],
    formats: &'a [Format],
    zone: &'a Zone,
    given: &'a mut usize,
    /// See [`Portal::describe_once`].
    undescribed: &'a mut bool,
}

impl RowSink for Rows<'_> {
    fn row(&mut self, row: &[Value]) -> Result<SinkFlow> {
        if std::mem::take(self.undescribed) {
            self.output.row_description(self.columns, &[]);
        }
        self.output.data_row(row, self.columns, self.formats, self.zone);
        *self.given += 1;
        Ok(if self.output.is_full() { SinkFlow::Full } else { SinkFlow::More })
    }

    fn notice(&mut self, notice: &Error) {
        self.output.notice(notice);
    }
}

/// Where nothing may notify: expressions of definitions.
pub(super) struct Silent;

impl Notifier for Silent {
    fn notify(&self, _channel: &str, _payload: &str) -> Result<()> {
        Err(Error::unsupported("a notification in a definition"))
    }
}

/// The session's settings as functions use them, under the same rules as SET.
struct SettingsOfSession<'a> {
    settings: RefCell<&'a mut Settings>,
    services: &'a Services,
    who: &'a Who,
    options: TxnOptions,
}

impl expr::Settings for SettingsOfSession<'_> {
    fn get(&self, name: &str) -> Option<String> {
        if let Some(shown) = shown_of_transaction(name, &self.options) {
            return Some(shown.to_owned());
        }
        self.settings.borrow().show(name).ok()
    }

    fn set(&self, name: &str, value: &str, local: bool) -> Result<String> {
        check_setting(self.services, self.who, name, Some(value), local)?;
        let mut settings = self.settings.borrow_mut();
        settings.set(name, Some(value), local, true)?;
        settings.show(name)
    }
}

/// Whether a setting may be changed so: the user id has rules of its own.
pub(super) fn check_setting(
    services: &Services,
    who: &Who,
    name: &str,
    value: Option<&str>,
    local: bool,
) -> Result<()> {
    let (true, Some(user)) = (name.eq_ignore_ascii_case(USER_ID), value) else { return Ok(()) };
    if !local && !services.allow_session_user_id {
        let message = format!("permission denied to set parameter \"{USER_ID}\" for the session");
        let hint = format!("Use SET LOCAL {USER_ID} inside a transaction.");
        return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message).hint(hint));
    }
    who.check_may_act_for(user, &services.engine.catalog())
}

/// Who acts in an execution.
#[derive(Clone, Copy)]
pub(super) struct Acting<'a> {
    /// The session's roles, and the user in force.
    pub identity: &'a Identity,
    /// That user's rows.
    pub scope: ScopeId,
    /// When the statement began, in Unix microseconds.
    pub statement_time: i64,
}

/// Who the session is, as long as neither its settings nor the catalog nor its roles change.
pub(super) struct Known {
    settings_version: u64,
    catalog_version: u64,
    role: Oid,
    session_role: Oid,
    identity: Arc<Identity>,
    scope: ScopeId,
    environment: Arc<Environment>,
}

impl Session {
    /// Where a text gets its meaning now.
    pub(super) fn environment(&mut self) -> Arc<Environment> {
        match self.known() {
            Ok(known) => known.environment.clone(),
            // the role is gone: nothing is found, and the statement that needs more says why
            Err(_) => Arc::new(Environment {
                role: self.who.role,
                search_path: Vec::new(),
                database: self.services.database.as_str().into(),
                zone: Zone::utc(),
            }),
        }
    }

    /// Who the session is for the statement that begins now.
    pub(super) fn identity(&mut self) -> Result<Arc<Identity>> {
        Ok(self.known()?.identity.clone())
    }

    fn known(&mut self) -> Result<&Known> {
        let catalog = self.catalog();
        let is_current = self.known.as_ref().is_some_and(|known| {
            known.settings_version == self.settings.version()
                && known.catalog_version == catalog.version
                && (known.role, known.session_role) == (self.who.role, self.who.session_role)
        });
        if !is_current {
            self.known = Some(self.look_around(&catalog)?);
        }
        self.known.as_ref().ok_or_else(|| Error::internal("the session does not know who it is"))
    }

    fn look_around(&self, catalog: &Catalog) -> Result<Known> {
        let name = |oid| {
            let gone = || Error::new(SqlState::UNDEFINED_OBJECT, format!("invalid role OID: {oid}"));
            let role = catalog.role(oid).ok_or_else(gone)?;
            Ok::<Str, Error>(Str::from(role.name.as_str()))
        };
        let role_name = name(self.who.role)?;
        let search_path = self.settings.search_path(&role_name);
        let schema = search_path.iter().find(|schema| catalog.schema_by_name(schema).is_some());
        let identity = Identity {
            role: self.who.role,
            session_role_name: name(self.who.session_role)?,
            user_id: self.who.user_in_force(&self.settings),
            database: Str::from(self.services.database.as_str()),
            schema: schema.map(|schema| Str::from(schema.as_str())),
            pid: self.who.pid,
            role_name,
        };
        Ok(Known {
            settings_version: self.settings.version(),
            catalog_version: catalog.version,
            role: self.who.role,
            session_role: self.who.session_role,
            scope: self.services.engine.scope_of(&identity.user_id)?,
            identity: Arc::new(identity),
            environment: Arc::new(Environment {
                role: self.who.role,
                search_path,
                database: self.services.database.as_str().into(),
                zone: self.settings.zone().clone(),
            }),
        })
    }

    /// Goes on with a portal whose statement has a plan.
    pub(super) fn step_plan(&mut self, portal: &mut Portal, output: &mut dyn Output) -> Result<Outcome> {
        match self.step_execution(portal, output)? {
            Step::Done(tag) => {
                portal.describe_once(output);
                let state = std::mem::replace(&mut portal.state, State::Done);
                if let State::Running(mut running) = state
                    && let Some(opening) = running.execution.take_opening()
                {
                    self.subscribed(opening);
                }
                Ok(Outcome::Done(tag.to_string()))
            }
            Step::Suspended => Ok(Outcome::Suspended),
            Step::Wait(wait) => Ok(Outcome::Pause(Flow::Wait(wait))),
            Step::Input => {
                if let State::Running(running) = &mut portal.state
                    && !std::mem::replace(&mut running.asked, true)
                {
                    output.copy_in_response(running.execution.input_columns().unwrap_or_default());
                }
                Ok(Outcome::Pause(Flow::Input(None)))
            }
            Step::Yield => Ok(Outcome::Pause(if output.is_full() { Flow::Full } else { Flow::Yield })),
        }
    }

    /// Locks the tables of a portal's plan, so that no definition changes them before the transaction ends, and binds
    /// the statement again where one did so before. A wait where a definition is under way.
    fn lock_tables(&mut self, portal: &mut Portal) -> Result<Option<Wait>> {
        loop {
            let plan = portal.prepared.plan.clone().ok_or_else(|| Error::internal("a statement without a plan"))?;
            let transaction = self.transaction()?;
            for (oid, mode) in locked_tables(&plan, &transaction.catalog()) {
                if let Some(wait) = transaction.lock(LockKey::Relation(oid), mode, LockPolicy::Wait)?.wait()? {
                    return Ok(Some(wait));
                }
            }
            // a role or a search path that was changed since Bind changes nothing, as in PostgreSQL
            if plan.catalog_version == transaction.catalog().version {
                return Ok(None);
            }
            let current = self.bound_for(portal.prepared.clone(), !portal.undescribed)?;
            let is_current = Arc::ptr_eq(&current, &portal.prepared);
            portal.prepared = current;
            if is_current {
                return Ok(None);
            }
        }
    }

    /// Locks the tables of a statement that was parsed or bound in a transaction block, as PostgreSQL does, so that it is
    /// what it was when it runs. Who finds a definition under way does not wait for it here, but when it runs.
    pub(super) fn lock_if_free(&mut self, prepared: &Prepared) -> Result<()> {
        let (Some(plan), Block::Explicit(transaction)) = (&prepared.plan, &mut self.block) else { return Ok(()) };
        for (oid, mode) in locked_tables(plan, &transaction.catalog()) {
            transaction.lock(LockKey::Relation(oid), mode, LockPolicy::NoWait)?;
        }
        Ok(())
    }

    /// Begins a portal whose statement has a plan: who runs it is settled now. A wait where it cannot begin yet.
    pub(super) fn begin_plan(&mut self, portal: &mut Portal) -> Result<Option<Wait>> {
        self.ensure_transaction()?;
        if let Some(wait) = self.transaction()?.pin()? {
            return Ok(Some(wait));
        }
        if let Some(wait) = self.lock_tables(portal)? {
            return Ok(Some(wait));
        }
        let plan = portal.prepared.plan.as_ref().ok_or_else(|| Error::internal("a statement without a plan"))?.clone();
        plan.check_writable(self.transaction()?)?;
        let known = self.known()?;
        let (mut identity, mut scope) = (known.identity.clone(), known.scope);
        if let Some(user) = &plan.user {
            let user = self.acting_user(user, &portal.params, &identity)?;
            scope = self.services.engine.scope_of(&user)?;
            identity = Arc::new(Identity { user_id: user, ..Identity::clone(&identity) });
        }
        if let Some(live) = &plan.live {
            self.check_new_channel(&live.channel, &identity.user_id)?;
        }
        portal.state = State::Running(Box::new(Running {
            execution: Execution::new(plan, std::mem::take(&mut portal.params)),
            identity,
            scope,
            statement_time: self.services.engine.env().now(),
            asked: false,
        }));
        Ok(None)
    }

    /// The user of EXECUTE AS USER, if the session may act for it.
    fn acting_user(&mut self, user: &Expr, params: &[Value], identity: &Identity) -> Result<Str> {
        let value = self.evaluate(user, params, identity)?;
        let Value::Text(user) = value else {
            return Err(Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, "user id must not be null"));
        };
        self.who.check_may_act_for(&user, &self.services.engine.catalog())?;
        Ok(user)
    }

    /// The value of an expression that stands beside a query: no rows, no notifications.
    pub(super) fn evaluate(&mut self, expr: &Expr, params: &[Value], identity: &Identity) -> Result<Value> {
        self.ensure_transaction()?;
        let as_who = Acting { identity, scope: ScopeId::SHARED, statement_time: self.services.engine.env().now() };
        self.within(as_who, |transaction, world| {
            let current = transaction.engine().current();
            expr.eval(&[], &world.eval(params, transaction.time(), current, &Silent))
        })
    }

    fn step_execution(&mut self, portal: &mut Portal, output: &mut dyn Output) -> Result<Step> {
        let rows_left = portal.rows_left();
        let Portal { state, prepared, formats, rows_given: given, undescribed, .. } = portal;
        let State::Running(running) = state else { return Err(Error::internal("a portal that is not at work")) };
        let Running { execution, identity, scope, statement_time, .. } = &mut **running;
        let as_who = Acting { identity, scope: *scope, statement_time: *statement_time };
        self.within(as_who, |transaction, world| {
            let columns = prepared.columns().unwrap_or_default();
            let mut rows = Rows { output, columns, formats, zone: world.zone, given, undescribed };
            execution.step(transaction, world, &mut rows, rows_left, STEP_BUDGET)
        })
    }

    /// Does something in the open transaction with all that an execution needs of its session.
    pub(super) fn within<T>(
        &mut self,
        acting: Acting,
        body: impl FnOnce(&mut Transaction, &ExecContext) -> Result<T>,
    ) -> Result<T> {
        let zone = self.settings.zone().clone();
        let Session { block, settings, services, who, known, sequences, .. } = self;
        let transaction = block.transaction().ok_or_else(|| Error::internal("no transaction is open"))?;
        let options = *transaction.options();
        let settings = SettingsOfSession { settings: RefCell::new(settings), services, who, options };
        let own = transaction.has_own_catalog().then(|| transaction.catalog());
        let ids = Ids {
            engine: &services.engine,
            catalog: own.map_or_else(OnceCell::new, OnceCell::from),
            identity: acting.identity,
            environment: known.as_ref().map(|known| &*known.environment),
            read_only: options.read_only,
            transaction: transaction.id(),
            remembered: RefCell::new(sequences),
        };
        let world = ExecContext {
            identity: acting.identity,
            scope: acting.scope,
            zone: &zone,
            env: &**services.engine.env(),
            ids: &ids,
            settings: &settings,
            statement_time: acting.statement_time,
            hub: Some(&services.hub),
            sessions: Some(&services.sessions),
        };
        body(transaction, &world)
    }
}
