//! The binder: syntax to meaning. Names become relations and columns, operators and functions become those of the
//! library, literals and parameters get types as PostgreSQL gives them, privileges are checked. What comes out is a
//! plan, the parameters' types and the result's columns: nothing is guessed later.

mod aggregate;
mod arguments;
mod call;
mod copy;
mod definition;
mod expr;
mod from;
mod group;
mod ident;
mod library;
mod literal;
mod lock;
mod names;
mod params;
mod position;
mod relation;
mod scope;
mod select;
mod sequence;
mod sets;
mod stored;
mod subscribe;
mod title;
mod topics;
mod types;
mod write;

pub use arguments::bind_arguments;
pub use definition::Definitions;
pub use stored::{StoredKind, bind_expression, bind_text};
pub use types::sql_type;

use crate::catalog::{Catalog, Relation};
use crate::error::{Error, Result};
use crate::expr::Expr;
use crate::sql::parse::Statement;
use crate::sql::plan::{self, Command, LiveSpec, Logical, Plan, ResultColumn};
use crate::table::Model;
use crate::txn::RowLock;
use crate::types::{Oid, SqlType, Zone};
use params::Params;
use scope::Scope;
use sqlparser::tokenizer::Span;
use std::sync::Arc;

/// What a statement is bound against. A bound plan may be shared by all contexts that are equal in these.
#[derive(Clone, Copy)]
pub struct BindContext<'a> {
    /// The catalog: the transaction's own copy where it has one.
    pub catalog: &'a Arc<Catalog>,
    /// The current role, whose privileges count.
    pub role: Oid,
    /// Schemas to look in for unqualified names, in order, `$user` resolved. pg_catalog is looked in first unless named.
    pub search_path: &'a [String],
    /// The database's name: the first of three parts of a relation's name may be no other.
    pub database: &'a str,
    /// The whole query string, for the positions in errors.
    pub text: &'a str,
    /// Types that the client declared for parameters; [`SqlType::UNKNOWN`] or missing ones are inferred.
    pub params: &'a [SqlType],
    /// Whether parameters beyond the declared ones may appear: not in a simple query.
    pub open_params: bool,
    /// The session's time zone: literals of type timestamptz are read in it.
    pub zone: &'a Zone,
}

/// A bound statement.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The plan, to be cached.
    pub plan: Arc<Plan>,
}

impl Bound {
    /// Types of the parameters, in order.
    pub fn params(&self) -> &[SqlType] {
        &self.plan.params
    }

    /// Result columns; none where the statement returns no rows.
    pub fn columns(&self) -> Option<&[ResultColumn]> {
        self.plan.columns.as_deref()
    }
}

/// Binds and plans a query, an INSERT, UPDATE or DELETE, a statement on a topic's messages, a SUBSCRIBE, an EXPLAIN of
/// one, or an EXECUTE AS USER of any of them. Other statements are the session's.
pub fn bind(statement: &Statement, cx: &BindContext) -> Result<Bound> {
    let mut binder = Binder::new(cx);
    let (logical, command, columns) = binder.statement(statement)?;
    let params = binder.params.finish()?;
    let (root, effects) = plan::plan(logical, cx.catalog, cx.zone)?;
    let mut plan = Plan {
        locks: binder.locks,
        root,
        effects,
        command,
        params,
        columns,
        user: binder.user,
        catalog_version: cx.catalog.version,
        relations: binder.relations,
        live: binder.live.map(Arc::new),
    };
    if let Statement::Explain(explain) = innermost(statement) {
        plan = plan::explain(plan, explain)?;
    }
    Ok(Bound { plan: Arc::new(plan) })
}

fn innermost(statement: &Statement) -> &Statement {
    match statement {
        Statement::ExecuteAsUser { statement, .. } => statement,
        _ => statement,
    }
}

/// What a statement means: its tree, which one it is, and its columns.
type Meaning = (Logical, Command, Option<Vec<ResultColumn>>);

/// One statement's binding.
pub(crate) struct Binder<'a> {
    pub(crate) cx: &'a BindContext<'a>,
    pub(crate) params: Params,
    /// The relations used so far.
    pub(crate) relations: Vec<Oid>,
    /// Whose rows the statement touches, where it says so.
    user: Option<Expr>,
    /// What a SUBSCRIBE goes on with.
    live: Option<LiveSpec>,
    /// The strongest lock that a query takes on rows.
    locks: Option<RowLock>,
    /// No names: for LIMIT and OFFSET.
    outer_scope: Scope,
    /// The table of an INSERT, which its query may not name.
    unreachable: Vec<scope::ScopeTable>,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(cx: &'a BindContext<'a>) -> Binder<'a> {
        Binder {
            cx,
            params: Params::new(cx.params, cx.open_params),
            relations: Vec::new(),
            user: None,
            live: None,
            locks: None,
            outer_scope: Scope::default(),
            unreachable: Vec::new(),
        }
    }

    fn statement(&mut self, statement: &Statement) -> Result<Meaning> {
        match statement {
            Statement::Query(query) => {
                let bound = self.query(query, false)?;
                Ok((bound.tree, Command::Select, Some(bound.columns)))
            }
            Statement::Insert(insert) => {
                let (tree, columns) = self.insert(insert)?;
                Ok((tree, Command::Insert, columns))
            }
            Statement::Update(update) => {
                let (tree, columns) = self.update(update)?;
                Ok((tree, Command::Update, columns))
            }
            Statement::Delete(delete) => {
                let (tree, columns) = self.delete(delete)?;
                Ok((tree, Command::Delete, columns))
            }
            Statement::Copy(copy) => Ok((self.copy(copy)?, Command::Copy, None)),
            Statement::Consume(consume) => self.consume(consume),
            Statement::Settle(settle) => self.settle(settle),
            Statement::ResetGroup(reset) => self.reset_group(reset),
            Statement::Subscribe(subscribe) => {
                let bound = self.subscribe(subscribe)?;
                self.live = Some(bound.live);
                Ok((bound.query.tree, Command::Select, Some(bound.query.columns)))
            }
            Statement::ShowTopics => self.show_topics(),
            Statement::Explain(explain) => self.statement(&explain.statement),
            Statement::ExecuteAsUser { user, statement } => {
                self.user = Some(self.acting_user(user)?);
                self.statement(statement)
            }
            _ => Err(Error::internal("the binder was given a statement without a plan")),
        }
    }

    /// The position of a place in the text.
    pub(crate) fn at(&self, span: Span) -> Option<u32> {
        position::position(self.cx.text, span)
    }

    /// A relation prepared for reading and writing.
    pub(crate) fn model(&self, relation: &Arc<Relation>) -> Result<Arc<Model>> {
        Model::within(self.cx.catalog, relation)
    }
}
