//! Definitions: schemas, tables, topics, roles, grants as catalog writes.
//!
//! A definition is first worked out and then done. Working it out locks what it concerns, as PostgreSQL does: the
//! relation, then the entries that it changes, the names that it gives, the objects that these need. Where a lock was
//! free to take but the catalog has changed since the definition was begun, or where a lock was waited for, it is worked
//! out again: so every decision is taken on the catalog as it will be changed, and definitions of different objects go
//! side by side. What it does is ordinary writes of catalog entries: transactional, numbered, observable. Expressions
//! (defaults, checks, filters) are kept as SQL text that the binder has validated and spelled; it comes in as
//! [`Expressions`].

mod alter;
mod constraint;
mod drop;
mod expressions;
mod grant;
mod index;
mod names;
mod role;
mod schema;
mod sequence;
mod staged;
mod table;
mod topic;
mod truncate;
mod work;

pub use expressions::{Condition, ConditionOf, Constant, Expressions};
pub use names::{denied_relation, denied_schema, lockable, noun, require_lock, require_relation, require_schema};
pub use work::Progress;

use crate::catalog::{CatalogEntry, Relation};
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::{Definition, Opt};
use crate::txn::Transaction;
use crate::types::Oid;
use crate::wait::Wait;
use staged::Staged;
use std::collections::VecDeque;
use std::sync::Arc;
use work::{Job, WorkedOut};

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
    /// Relations that open portals of the same session read or write.
    pub in_use: &'a [Oid],
}

/// How a definition went.
pub enum Defined {
    /// It is done.
    Done,
    /// Somebody else holds what it needs; ask again after this wait.
    Wait(Wait),
    /// It has more to do; ask again when others have had their turn.
    Yield,
}

/// Why a definition goes no further though nothing is wrong.
enum Pause {
    Wait(Wait),
    /// The catalog was changed before everything was locked: it is worked out again.
    Again,
}

/// Executes a definition, or goes on with it. Its command tag is [`Definition::tag`]. What it has to say stands in
/// [`Progress::notices`], also where it fails.
pub fn execute(
    tx: &mut Transaction,
    definition: &Definition,
    cx: DefineContext,
    progress: &mut Progress,
) -> Result<Defined> {
    let mut worked_out = match progress.worked_out.take() {
        Some(worked_out) => worked_out,
        None => match work_out(tx, definition, cx, &mut progress.notices)? {
            Ok(worked_out) => worked_out,
            Err(wait) => return Ok(Defined::Wait(wait)),
        },
    };
    let is_long = !worked_out.jobs.is_empty();
    while !worked_out.go_on(tx, cx.expressions)? {
        if is_long {
            progress.worked_out = Some(worked_out);
            return Ok(Defined::Yield);
        }
    }
    Ok(Defined::Done)
}

/// What a definition has to do, with all its locks held; or what it must wait for first.
fn work_out(
    tx: &mut Transaction,
    definition: &Definition,
    cx: DefineContext,
    notices: &mut Vec<Error>,
) -> Result<std::result::Result<WorkedOut, Wait>> {
    loop {
        let staged = Staged::new(tx);
        let mut definer = Definer { staged, tx, cx, notices: Vec::new(), jobs: VecDeque::new(), pause: None };
        let done = definer.run(definition).and_then(|()| definer.settle());
        match definer.pause.take() {
            Some(Pause::Wait(wait)) => return Ok(Err(wait)),
            Some(Pause::Again) => {}
            None => {
                notices.append(&mut definer.notices);
                done?;
                let Definer { staged, jobs, .. } = definer;
                return Ok(Ok(WorkedOut { staged, jobs }));
            }
        }
    }
}

/// One definition under way.
struct Definer<'a, 'c> {
    tx: &'a mut Transaction,
    cx: DefineContext<'c>,
    notices: Vec<Error>,
    staged: Staged,
    jobs: VecDeque<Box<dyn Job>>,
    /// Set where the error that ends it is none.
    pause: Option<Pause>,
}

impl Definer<'_, '_> {
    fn run(&mut self, definition: &Definition) -> Result<()> {
        match definition {
            Definition::CreateSchema { name, if_not_exists, authorization } => {
                self.create_schema(name.as_deref(), *if_not_exists, authorization.as_ref())
            }
            Definition::RenameSchema { name, to } => self.rename_schema(name, to),
            Definition::SchemaOwner { name, owner } => self.schema_owner(name, owner),
            Definition::DropSchema { names, if_exists, cascade } => self.drop_schemas(names, *if_exists, *cascade),
            Definition::CreateTable(table) => self.create_table(table),
            Definition::AlterTable { name, if_exists, actions } => self.alter_table(name, *if_exists, actions),
            Definition::Truncate { names, cascade, .. } => self.truncate(names, *cascade),
            Definition::CreateSequence { name, if_not_exists, options } => {
                self.create_sequence(name, *if_not_exists, options)
            }
            Definition::AlterSequence { name, if_exists, action } => self.alter_sequence(name, *if_exists, action),
            Definition::DropRelation { kind, names, if_exists, cascade } => {
                self.drop_relations(*kind, names, *if_exists, *cascade)
            }
            Definition::CreateIndex(index) => self.create_index(index),
            Definition::RenameIndex { name, if_exists, to } => self.rename_index(name, *if_exists, to),
            // nothing depends on an index that is no constraint's
            Definition::DropIndex { names, if_exists, .. } => self.drop_indexes(names, *if_exists),
            Definition::CreateTopic { name, if_not_exists, partitions, options } => {
                self.create_topic(name, *if_not_exists, *partitions, options)
            }
            Definition::AlterTopic { name, action } => self.alter_topic(name, action),
            Definition::ClearTopic(name) => self.clear_topic(name),
            Definition::CreateRole { name, login, options } => self.create_role(name, *login, options),
            Definition::AlterRole { name, options } => self.alter_role(name, options),
            Definition::RenameRole { name, to } => self.rename_role(name, to),
            Definition::DropRole { names, if_exists } => self.drop_roles(names, *if_exists),
            Definition::Grant(grant) => self.grant(grant),
            Definition::GrantRole(grant) => self.grant_role(grant),
        }
    }

    /// Ends working it out for now: an error for the functions on the way, which none of them takes for another.
    fn pause(&mut self, pause: Pause) -> Error {
        self.pause = Some(pause);
        Error::internal("a definition waits")
    }

    fn notice(&mut self, message: impl Into<String>) {
        self.notices.push(Error::notice(message));
    }

    fn notice_with_code(&mut self, code: SqlState, message: impl Into<String>) {
        self.notices.push(Error::notice_with_code(code, message));
    }

    fn put_relation(&mut self, relation: Relation) -> Result<()> {
        self.put(CatalogEntry::Relation(Arc::new(relation)))
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
