//! Prepared statements: a text that has been read and, where it is a query or a write, bound and planned.
//!
//! Every statement is prepared before it runs, be it by Parse, by PREPARE, or in passing by a simple query. What comes
//! out never changes; when the catalog has moved on, the statement is prepared again.

use super::conversation::Session;
use super::plans::{Environment, Wanted};
use super::settings::definition;
use crate::catalog::Catalog;
use crate::error::{Error, Result, SqlState};
use crate::limits::PREPARED_STATEMENTS_MAX;
use crate::sql::bind::bind;
use crate::sql::parse::{Parsed, Statement, parse};
use crate::sql::plan::{Plan, ResultColumn};
use crate::types::{Oid, SqlType};
use std::sync::Arc;

/// A statement that is ready to run.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The whole text that it stands in, for the positions in errors.
    pub text: Arc<str>,
    /// What it says; none for an empty text.
    pub parsed: Option<Arc<Parsed>>,
    /// Types of its parameters.
    pub params: Vec<SqlType>,
    /// What it does, where the binder says so.
    pub plan: Option<Arc<Plan>>,
    /// Result columns of a statement without a plan.
    own_columns: Option<Vec<ResultColumn>>,
    /// Parameter types as they were declared.
    declared: Vec<SqlType>,
    open: bool,
    environment: Arc<Environment>,
}

impl Prepared {
    /// Result columns; none where the statement returns no rows.
    pub(super) fn columns(&self) -> Option<&[ResultColumn]> {
        match &self.plan {
            Some(plan) => plan.columns.as_deref(),
            None => self.own_columns.as_deref(),
        }
    }

    /// The statement.
    pub(super) fn statement(&self) -> Option<&Statement> {
        self.parsed.as_deref().map(|parsed| &parsed.statement)
    }

    /// Whether it ends a transaction block, and so may run in one that failed.
    pub(super) fn ends_block(&self) -> bool {
        let ends = |statement: &Statement| {
            matches!(statement, Statement::Commit { .. } | Statement::Rollback { .. } | Statement::RollbackTo(_))
        };
        self.statement().is_some_and(ends)
    }

    /// Whether the statement is all of its text, so that the text can stand for it.
    fn is_whole(&self) -> bool {
        self.parsed.as_deref().is_some_and(|parsed| {
            let mut outside = self.text[..parsed.range.start].chars().chain(self.text[parsed.range.end..].chars());
            parsed.notices.is_empty() && outside.all(|c| c.is_whitespace() || c == ';')
        })
    }

    /// Whether the plan, if there is one, is what the text means now.
    fn is_current(&self, environment: &Environment, catalog_version: u64) -> bool {
        self.plan
            .as_ref()
            .is_none_or(|plan| plan.catalog_version == catalog_version && self.environment.is_like(environment))
    }

    /// Whether it is what somebody asks for.
    pub(super) fn serves(&self, wanted: Wanted) -> bool {
        self.open == wanted.open
            && self.declared == wanted.declared
            && self.is_current(wanted.environment, wanted.catalog_version)
    }

    /// Whether `other` need not be kept beside it.
    pub(super) fn supersedes(&self, other: &Prepared) -> bool {
        self.open == other.open && self.declared == other.declared && self.environment.is_like(&other.environment)
    }
}

/// Whether the binder makes a plan of a statement; others the session carries out itself.
fn is_planned(statement: &Statement) -> bool {
    match statement {
        Statement::ExecuteAsUser { statement, .. } => is_planned(statement),
        Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::Consume(_)
        | Statement::Settle(_)
        | Statement::ResetGroup(_)
        | Statement::ShowTopics
        | Statement::Subscribe(_)
        | Statement::Explain(_) => true,
        _ => false,
    }
}

/// Whether a text may be kept for all sessions: not what depends on this one's prepared statements, nor definitions,
/// which do not come again.
fn is_shared(statement: &Statement) -> bool {
    !matches!(statement, Statement::Execute { .. } | Statement::Prepare { .. } | Statement::Define(_))
}

/// A column of text that comes from no table.
pub(super) fn text_column(name: &str) -> ResultColumn {
    ResultColumn { name: name.to_owned(), ty: SqlType::TEXT, table: Oid::INVALID, attnum: 0 }
}

impl Session {
    /// Prepares the statements of a query string.
    pub(super) fn prepare_script(&mut self, text: &str) -> Result<Vec<Arc<Prepared>>> {
        if let Some(prepared) = self.cached(text, &[], false)? {
            return Ok(vec![prepared]);
        }
        self.text = Arc::from(text);
        let parsed = parse(text)?;
        let statements: Vec<Arc<Prepared>> =
            parsed.into_iter().map(|parsed| Arc::new(self.unbound(Some(parsed), &[], false))).collect();
        if let [prepared] = &statements[..] {
            self.share(prepared);
        }
        Ok(statements)
    }

    /// Prepares a single statement, as Parse does.
    ///
    /// # Errors
    /// 42601 for several statements; 25P02 in a failed block; those of reading and binding.
    pub(super) fn prepare_one(&mut self, text: &str, declared: &[SqlType]) -> Result<Arc<Prepared>> {
        let prepared = match self.cached(text, declared, true)? {
            Some(prepared) => {
                self.text = prepared.text.clone();
                prepared
            }
            None => {
                self.text = Arc::from(text);
                let mut parsed = parse(text)?;
                if parsed.len() > 1 {
                    let message = "cannot insert multiple commands into a prepared statement";
                    return Err(Error::new(SqlState::SYNTAX_ERROR, message));
                }
                let unbound = Arc::new(self.unbound(parsed.pop(), declared, true));
                self.refuse_if_failed(&unbound)?;
                self.share(&unbound);
                self.bound(unbound)?
            }
        };
        self.refuse_if_failed(&prepared)?;
        Ok(prepared)
    }

    /// Prepares the statement inside PREPARE.
    pub(super) fn prepare_inner(&mut self, statement: &Statement, declared: &[SqlType]) -> Result<Arc<Prepared>> {
        let parsed = Parsed { statement: statement.clone(), range: 0..self.text.len(), notices: Vec::new() };
        let unbound = self.unbound(Some(parsed), declared, true);
        self.bind_now(&Arc::new(unbound), declared).map(Arc::new)
    }

    /// Keeps a statement without a plan for all sessions, so that its text need not be read again.
    fn share(&self, prepared: &Arc<Prepared>) {
        let fits = |statement| is_shared(statement) && !is_planned(statement);
        if prepared.is_whole() && prepared.statement().is_some_and(fits) {
            self.services.plans.put(prepared);
        }
    }

    fn unbound(&mut self, parsed: Option<Parsed>, declared: &[SqlType], open: bool) -> Prepared {
        Prepared {
            text: self.text.clone(),
            parsed: parsed.map(Arc::new),
            params: declared.to_vec(),
            plan: None,
            own_columns: None,
            declared: declared.to_vec(),
            open,
            environment: self.environment(),
        }
    }

    fn cached(&mut self, text: &str, declared: &[SqlType], open: bool) -> Result<Option<Arc<Prepared>>> {
        if self.block.transaction().is_some_and(|transaction| transaction.has_own_catalog()) {
            return Ok(None);
        }
        let environment = self.environment();
        let catalog_version = self.services.engine.catalog().version;
        let wanted = Wanted { text, declared, open, environment: &environment, catalog_version };
        Ok(self.services.plans.get(wanted))
    }

    /// A statement with what it means now: as it is where that has not changed, else bound again.
    ///
    /// # Errors
    /// Those of binding; 0A000 where the result's columns would not be what the client was told.
    pub(super) fn bound(&mut self, prepared: Arc<Prepared>) -> Result<Arc<Prepared>> {
        self.bound_for(prepared, true)
    }

    /// As [`bound`](Self::bound), for a client that has been told the result's columns or not yet.
    pub(super) fn bound_for(&mut self, prepared: Arc<Prepared>, told: bool) -> Result<Arc<Prepared>> {
        let Some(statement) = prepared.statement() else { return Ok(prepared) };
        let is_shared = is_planned(statement);
        if !is_shared && prepared.plan.is_none() {
            return self.described(prepared);
        }
        let own_catalog = self.block.transaction().is_some_and(|transaction| transaction.has_own_catalog());
        if prepared.plan.is_some() {
            let environment = self.environment();
            if prepared.is_current(&environment, self.catalog().version) {
                return Ok(prepared);
            }
        }
        let params = prepared.params.clone();
        let again = Arc::new(self.bind_now(&prepared, &params)?);
        if told && prepared.plan.is_some() && !same_columns(prepared.columns(), again.columns()) {
            let message = "cached plan must not change result type";
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        if !own_catalog && is_shared && prepared.is_whole() {
            self.services.plans.put(&again);
        }
        Ok(again)
    }

    /// A statement without a plan, with the columns that it returns.
    fn described(&mut self, prepared: Arc<Prepared>) -> Result<Arc<Prepared>> {
        if prepared.own_columns.is_some() {
            return Ok(prepared);
        }
        let own_columns = match prepared.statement() {
            Some(Statement::Show(Some(name))) => {
                // an unknown name is refused before its row is described
                self.settings.show(name)?;
                vec![text_column(definition(name).map_or(name.as_str(), |definition| definition.name))]
            }
            Some(Statement::Show(None)) => ["name", "setting", "description"].map(text_column).to_vec(),
            Some(Statement::Execute { name, .. }) => match self.statement_named(name)?.columns() {
                Some(columns) => columns.to_vec(),
                None => return Ok(prepared),
            },
            _ => return Ok(prepared),
        };
        let prepared = Prepared {
            text: prepared.text.clone(),
            parsed: prepared.parsed.clone(),
            params: prepared.params.clone(),
            plan: None,
            own_columns: Some(own_columns),
            declared: prepared.declared.clone(),
            open: prepared.open,
            environment: prepared.environment.clone(),
        };
        Ok(Arc::new(prepared))
    }

    /// A COPY with its plan, which is made when it runs.
    pub(super) fn bind_copy(&mut self, prepared: &Arc<Prepared>) -> Result<Arc<Prepared>> {
        self.bind_now(prepared, &[]).map(Arc::new)
    }

    fn bind_now(&mut self, prepared: &Arc<Prepared>, params: &[SqlType]) -> Result<Prepared> {
        let statement = prepared.statement().ok_or_else(|| Error::internal("an empty statement has no plan"))?;
        let environment = self.environment();
        let catalog = self.catalog();
        let context = environment.bind_context(&catalog, &prepared.text, params, prepared.open);
        let plan = bind(statement, &context)?.plan;
        Ok(Prepared {
            text: prepared.text.clone(),
            parsed: prepared.parsed.clone(),
            params: plan.params.clone(),
            plan: Some(plan),
            own_columns: None,
            declared: prepared.declared.clone(),
            open: prepared.open,
            environment,
        })
    }

    /// The catalog as the session sees it now.
    pub(super) fn catalog(&mut self) -> Arc<Catalog> {
        match self.block.transaction() {
            Some(transaction) => transaction.catalog(),
            None => self.services.engine.catalog(),
        }
    }

    /// The prepared statement of a name. 26000 when there is none.
    pub(super) fn statement_named(&self, name: &str) -> Result<Arc<Prepared>> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_owned(),
                _ => format!("prepared statement \"{name}\" does not exist"),
            };
            Error::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Keeps a prepared statement under a name, the unnamed one in the place of the one before.
    ///
    /// # Errors
    /// 42P05 for a name in use, 53400 beyond the bound.
    pub(super) fn keep_statement(&mut self, name: &str, prepared: Arc<Prepared>) -> Result<()> {
        if !name.is_empty() {
            if self.statements.contains_key(name) {
                let message = format!("prepared statement \"{name}\" already exists");
                return Err(Error::new(SqlState::DUPLICATE_PSTATEMENT, message));
            }
            if self.statements.len() >= PREPARED_STATEMENTS_MAX {
                let message = format!("a session keeps {PREPARED_STATEMENTS_MAX} prepared statements at most");
                return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
                    .hint("Close or DEALLOCATE those that are not needed any more."));
            }
        }
        self.statements.insert(name.to_owned(), prepared);
        Ok(())
    }
}

/// Whether two results look the same to a client.
fn same_columns(one: Option<&[ResultColumn]>, other: Option<&[ResultColumn]>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.name == b.name && a.ty == b.ty)
        }
        (None, None) => true,
        _ => false,
    }
}
