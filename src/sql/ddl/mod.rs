//! Definitions: schemas, tables, topics, roles, grants as catalog writes.
//!
//! A definition runs under the catalog's lock, so every decision is taken on the catalog as it will be changed. What
//! it does is ordinary writes of catalog entries: transactional, numbered, observable. Expressions (defaults, checks,
//! filters) are kept as SQL text that the binder has validated and spelled; it comes in as [`Expressions`].

mod alter;
mod constraint;
mod drop;
mod grant;
mod names;
mod role;
mod schema;
mod table;
mod topic;

pub use names::{denied_relation, denied_schema, require_relation, require_schema};

use crate::catalog::{Catalog, CatalogEntry, CatalogKey, Column, Relation};
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::{Definition, Expression, Opt};
use crate::txn::{LockKey, LockMode, LockPolicy, Locked, Transaction};
use crate::types::{Oid, SqlType};
use crate::wait::Wait;
use std::sync::Arc;

/// What the binder knows of expressions in definitions.
pub trait Expressions {
    /// Validates a DEFAULT for a column (42804 where it does not fit, 0A000 for column references and sub-selects) and
    /// spells it as pg_get_expr does.
    fn default(&self, catalog: &Arc<Catalog>, default: &Expression, column: &Column) -> Result<String>;

    /// Validates a CHECK or a source's WHERE over a relation's columns (42804 unless boolean).
    fn condition(
        &self,
        catalog: &Arc<Catalog>,
        condition: &Expression,
        relation: &Relation,
        of: ConditionOf,
    ) -> Result<Condition>;

    /// The text form of a default's value where it is the same for every row; none where it is volatile or NULL.
    fn constant(&self, catalog: &Arc<Catalog>, default: &Expression, ty: SqlType) -> Result<Constant>;
}

/// What a condition is for; errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionOf {
    /// A CHECK.
    Check,
    /// A source's WHERE.
    Source,
}

/// A validated condition.
pub struct Condition {
    /// As pg_get_expr spells it.
    pub text: String,
    /// Positions of the columns that it uses.
    pub columns: Vec<usize>,
}

/// What a default is for rows that exist already.
pub enum Constant {
    /// NULL
    Null,
    /// A value's text form.
    Value(String),
    /// A value for each row.
    Volatile,
}

/// Who defines, and where.
#[derive(Clone, Copy)]
pub struct DefineContext<'a> {
    /// The current role.
    pub role: Oid,
    /// The session's role.
    pub session_role: Oid,
    /// Schemas for unqualified names, `$user` resolved.
    pub search_path: &'a [String],
    /// The database's name, for messages.
    pub database: &'a str,
    /// The binder.
    pub expressions: &'a dyn Expressions,
}

/// How a definition went.
pub enum Defined {
    /// It is done; these notices go to the client.
    Done(Vec<Error>),
    /// Another definition is under way; ask again after this wait.
    Wait(Wait),
}

/// Executes a definition. Its command tag is [`Definition::tag`].
pub fn execute(tx: &mut Transaction, definition: &Definition, cx: DefineContext) -> Result<Defined> {
    match tx.lock(LockKey::Catalog, LockMode::Exclusive, LockPolicy::Wait)? {
        Locked::Granted => {}
        Locked::Wait(wait) => return Ok(Defined::Wait(wait)),
        Locked::NotAvailable => return Err(Error::internal("a waiting lock was not available")),
    }
    let mut definer = Definer { tx, cx, notices: Vec::new() };
    let waited = definer.run(definition)?;
    Ok(waited.map_or(Defined::Done(definer.notices), Defined::Wait))
}

/// One definition under way.
struct Definer<'a, 'c> {
    tx: &'a mut Transaction,
    cx: DefineContext<'c>,
    notices: Vec<Error>,
}

impl Definer<'_, '_> {
    fn run(&mut self, definition: &Definition) -> Result<Option<Wait>> {
        match definition {
            Definition::CreateSchema { name, if_not_exists, authorization } => {
                self.create_schema(name.as_deref(), *if_not_exists, authorization.as_ref())?;
            }
            Definition::RenameSchema { name, to } => self.rename_schema(name, to)?,
            Definition::SchemaOwner { name, owner } => self.schema_owner(name, owner)?,
            Definition::DropSchema { names, if_exists, cascade } => {
                return self.drop_schemas(names, *if_exists, *cascade);
            }
            Definition::CreateTable(table) => self.create_table(table)?,
            Definition::AlterTable { name, if_exists, actions } => {
                return self.alter_table(name, *if_exists, actions);
            }
            Definition::DropRelation { topic, names, if_exists, cascade } => {
                return self.drop_relations(*topic, names, *if_exists, *cascade);
            }
            Definition::CreateTopic { name, if_not_exists, partitions, options } => {
                self.create_topic(name, *if_not_exists, *partitions, options)?;
            }
            Definition::AlterTopic { name, action } => return self.alter_topic(name, action),
            Definition::ClearTopic(name) => return self.clear_topic(name),
            Definition::CreateRole { name, login, options } => self.create_role(name, *login, options)?,
            Definition::AlterRole { name, options } => self.alter_role(name, options)?,
            Definition::RenameRole { name, to } => self.rename_role(name, to)?,
            Definition::DropRole { names, if_exists } => self.drop_roles(names, *if_exists)?,
            Definition::Grant(grant) => self.grant(grant)?,
            Definition::GrantRole(grant) => self.grant_role(grant)?,
        }
        Ok(None)
    }

    fn catalog(&self) -> Arc<Catalog> {
        self.tx.catalog()
    }

    fn notice(&mut self, message: impl Into<String>) {
        self.notices.push(Error::notice(message));
    }

    fn notice_with_code(&mut self, code: SqlState, message: impl Into<String>) {
        self.notices.push(Error::notice_with_code(code, message));
    }

    fn put_relation(&mut self, relation: Relation) -> Result<()> {
        self.tx.put_catalog(CatalogEntry::Relation(Arc::new(relation)))
    }

    fn remove(&mut self, key: CatalogKey) -> Result<()> {
        self.tx.remove_catalog(key)
    }

    /// Takes a relation for this transaction alone: nobody reads or writes it until the end.
    fn lock_relation(&mut self, relation: Oid) -> Result<Option<Wait>> {
        self.lock_in(relation, LockMode::AccessExclusive)
    }

    /// Keeps others from writing a table until the end: whose changes go to a topic is decided for whole transactions.
    fn lock_source(&mut self, table: Oid) -> Result<Option<Wait>> {
        self.lock_in(table, LockMode::ShareRowExclusive)
    }

    fn lock_in(&mut self, relation: Oid, mode: LockMode) -> Result<Option<Wait>> {
        match self.tx.lock(LockKey::Relation(relation), mode, LockPolicy::Wait)? {
            Locked::Granted => Ok(None),
            Locked::Wait(wait) => Ok(Some(wait)),
            Locked::NotAvailable => Err(Error::internal("a waiting lock was not available")),
        }
    }
}

/// 22023 where a WITH list names a parameter twice.
fn refuse_repeated(options: &[Opt]) -> Result<()> {
    for (index, option) in options.iter().enumerate() {
        if options[..index].iter().any(|before| before.name == option.name) {
            let message = format!("parameter \"{}\" specified more than once", option.name);
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).at(option.position));
        }
    }
    Ok(())
}
