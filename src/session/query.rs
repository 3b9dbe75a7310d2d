//! Queries and writes: bound, executed in steps, their rows handed to the output as they come.

use super::conversation::Session;
use super::settings::{Settings, USER_ID};
use super::statement::Outcome;
use super::{Flow, Format, Output, Services, Who};
use crate::error::{Error, Result, SqlState};
use crate::expr::{self, IdSource, Identity, Notifier};
use crate::sql::bind::{BindContext, bind};
use crate::sql::exec::{ExecContext, Execution, RowSink, SinkFlow, Step};
use crate::sql::parse::Statement;
use crate::sql::plan::ResultColumn;
use crate::txn::Engine;
use crate::types::{ScopeId, Str, Value, Zone};
use std::cell::RefCell;

/// Rows that a step looks at before others may have the thread.
const STEP_BUDGET: usize = 4_096;

/// A statement under way.
pub(super) struct Running {
    execution: Execution,
    columns: Vec<ResultColumn>,
    identity: Identity,
    scope: ScopeId,
    statement_time: i64,
}

/// Rows on their way to the client.
struct Rows<'a> {
    output: &'a mut dyn Output,
    columns: &'a [ResultColumn],
    zone: &'a Zone,
}

impl RowSink for Rows<'_> {
    fn row(&mut self, row: &[Value]) -> Result<SinkFlow> {
        self.output.data_row(row, self.columns, &[Format::Text], self.zone);
        Ok(if self.output.is_full() { SinkFlow::Full } else { SinkFlow::More })
    }
}

/// The engine as the giver of numbers.
pub(super) struct Ids<'a>(pub &'a Engine);

impl IdSource for Ids<'_> {
    fn snowflake(&self) -> i64 {
        self.0.snowflake()
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
pub(super) struct SettingsOfSession<'a> {
    pub settings: RefCell<&'a mut Settings>,
    pub services: &'a Services,
    pub who: &'a Who,
}

impl expr::Settings for SettingsOfSession<'_> {
    fn get(&self, name: &str) -> Option<String> {
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

impl Session {
    /// Who the session is for the statement that begins now.
    pub(super) fn identity(&self) -> Result<Identity> {
        let catalog = self.services.engine.catalog();
        let name = |oid| {
            let role = catalog.role(oid).ok_or_else(|| Error::internal("the session's role is gone"))?;
            Ok::<Str, Error>(Str::from(role.name.as_str()))
        };
        let role_name = name(self.who.role)?;
        let path = self.settings.search_path(&role_name);
        let schema = path.iter().find(|schema| catalog.schema_by_name(schema).is_some());
        Ok(Identity {
            role: self.who.role,
            session_role_name: name(self.who.session_role)?,
            user_id: self.who.user_in_force(&self.settings),
            database: Str::from(self.services.database.as_str()),
            schema: schema.map(|schema| Str::from(schema.as_str())),
            pid: self.who.pid,
            role_name,
        })
    }

    /// Begins or goes on with a query or a write.
    pub(super) fn query(&mut self, statement: &Statement, output: &mut dyn Output) -> Result<Outcome> {
        if self.running.is_none() {
            self.ensure_transaction()?;
            let running = self.begin_query(statement)?;
            if running.execution.plan().columns.is_some() {
                output.row_description(&running.columns, &[Format::Text]);
            }
            self.running = Some(running);
        }
        match self.step_query(output) {
            Ok(Step::Done(tag)) => {
                self.running = None;
                Ok(Outcome::Done(tag.to_string()))
            }
            Ok(Step::Wait(wait)) => Ok(Outcome::Pause(Flow::Wait(wait))),
            Ok(Step::Yield | Step::Suspended) => {
                Ok(Outcome::Pause(if output.is_full() { Flow::Full } else { Flow::Yield }))
            }
            Err(error) => {
                self.running = None;
                Err(error)
            }
        }
    }

    fn begin_query(&mut self, statement: &Statement) -> Result<Running> {
        let identity = self.identity()?;
        let search_path = self.settings.search_path(&identity.role_name);
        let zone = self.settings.zone().clone();
        let transaction = self.block.transaction().ok_or_else(|| Error::internal("no transaction is open"))?;
        let catalog = transaction.catalog();
        let context = BindContext {
            catalog: &catalog,
            role: self.who.role,
            search_path: &search_path,
            text: &self.text,
            params: &[],
            open_params: false,
            zone: &zone,
        };
        let plan = bind(statement, &context)?.plan;
        Ok(Running {
            columns: plan.columns.clone().unwrap_or_default(),
            execution: Execution::new(plan, Vec::new()),
            scope: self.services.engine.scope_of(&identity.user_id)?,
            identity,
            statement_time: self.services.engine.env().now(),
        })
    }

    fn step_query(&mut self, output: &mut dyn Output) -> Result<Step> {
        let zone = self.settings.zone().clone();
        let Session { running, block, settings, services, who, .. } = self;
        let running = running.as_mut().ok_or_else(|| Error::internal("no statement is under way"))?;
        let transaction = block.transaction().ok_or_else(|| Error::internal("no transaction is open"))?;
        let settings = SettingsOfSession { settings: RefCell::new(settings), services, who };
        let ids = Ids(&services.engine);
        let context = ExecContext {
            identity: &running.identity,
            scope: running.scope,
            zone: &zone,
            env: &**services.engine.env(),
            ids: &ids,
            settings: &settings,
            statement_time: running.statement_time,
        };
        let mut rows = Rows { output, columns: &running.columns, zone: &zone };
        running.execution.step(transaction, &context, &mut rows, 0, STEP_BUDGET)
    }
}
