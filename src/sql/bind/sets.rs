//! Functions in FROM, and calls in a select list whose results are sets of rows.

use super::Binder;
use super::ident::name_parts;
use super::names::{Clause, Names};
use super::scope::{ColumnKind, Scope, ScopeColumn, ScopeTable};
use crate::error::{Error, Result, SqlState};
use crate::expr::{Expr, Volatility};
use crate::sql::plan::{Logical, SortKey, width};
use crate::types::{Oid, SqlType};
use sqlparser::ast::{self, FunctionArg, Spanned, TableAlias};

/// A function in FROM as it is written.
pub(crate) struct FunctionFactor<'f> {
    pub(crate) name: &'f ast::ObjectName,
    pub(crate) args: &'f [FunctionArg],
    pub(crate) ordinality: bool,
    pub(crate) alias: Option<&'f TableAlias>,
}

impl Binder<'_> {
    /// A function in FROM: the rows of a set, or one row.
    pub(crate) fn function_factor(&mut self, factor: &FunctionFactor) -> Result<(Logical, Scope)> {
        let list =
            ast::FunctionArgumentList { duplicate_treatment: None, args: factor.args.to_vec(), clauses: Vec::new() };
        let written = ast::Function {
            name: factor.name.clone(),
            uses_odbc_syntax: false,
            parameters: ast::FunctionArguments::None,
            args: ast::FunctionArguments::List(list),
            filter: None,
            null_treatment: None,
            over: None,
            within_group: Vec::new(),
        };
        let nothing = Scope::default();
        let mut names = Names::new(&nothing, Clause::FunctionFrom);
        let call = self.function_call(&written, &mut names)?;
        if call.ty().same(SqlType::UNKNOWN) {
            return Err(Error::unsupported("this function in FROM").at(self.at(factor.name.span())));
        }
        if let (false, Some(&at)) = (call.is_set() && names.sets.len() == 1, names.sets.first()) {
            let message = "set-returning functions must appear at top level of FROM";
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(at));
        }
        let function = name_parts(factor.name)?.pop().unwrap_or_default();
        let table = self.function_table(factor, &function, call.ty())?;
        let columns = table.columns.iter().map(|column| column.name.clone()).collect();
        let alias = table.alias.clone();
        let tree = Logical::Function { call, name: function, alias, columns, ordinality: factor.ordinality };
        Ok((tree, Scope::of(table)))
    }

    fn function_table(&self, factor: &FunctionFactor, function: &str, ty: SqlType) -> Result<ScopeTable> {
        let alias = factor.alias.map_or_else(|| function.to_owned(), |alias| super::ident::fold(&alias.name));
        let column = |name: &str, ty| ScopeColumn {
            name: name.to_owned(),
            ty,
            table: Oid::INVALID,
            attnum: 0,
            kind: ColumnKind::Plain,
        };
        let mut columns = vec![column(&alias, ty)];
        if factor.ordinality {
            columns.push(column("ordinality", SqlType::INT8));
        }
        let renamed = factor.alias.map_or(&[][..], |alias| &alias.columns);
        if let Some(typed) = renamed.iter().find(|column| column.data_type.is_some()) {
            let message = "a column definition list is only allowed for functions returning \"record\"";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(self.at(typed.name.span)));
        }
        if renamed.len() > columns.len() {
            let (has, wanted) = (columns.len(), renamed.len());
            let message = format!("table \"{alias}\" has {has} columns available but {wanted} columns specified");
            return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
        for (column, renamed) in columns.iter_mut().zip(renamed) {
            column.name = super::ident::fold(&renamed.name);
        }
        Ok(ScopeTable { alias, hidden_name: None, schema: None, columns, offset: 0, key: Vec::new() })
    }

    /// Notes a call whose result is a set of rows. 0A000 where none may stand.
    pub(crate) fn note_set(&self, names: &mut Names, at: Option<u32>) -> Result<()> {
        if names.in_aggregate {
            let message = "aggregate function calls cannot contain set-returning function calls";
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).hint(LATERAL_HINT).at(at));
        }
        match names.clause {
            Clause::Select | Clause::OrderBy | Clause::FunctionFrom => {}
            Clause::GroupBy => return Err(Error::unsupported("a set-returning function in GROUP BY").at(at)),
            clause => {
                let message = format!("set-returning functions are not allowed in {}", clause.place());
                return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(at));
            }
        }
        names.sets.push(at);
        Ok(())
    }

    /// 0A000 for sets that a form which evaluates only some of its parts has within.
    pub(crate) fn refuse_sets_since(&self, before: usize, form: &str, names: &Names) -> Result<()> {
        match names.sets.get(before) {
            None => Ok(()),
            Some(&at) => {
                let message = format!("set-returning functions are not allowed in {form}");
                Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).hint(LATERAL_HINT).at(at))
            }
        }
    }
}

const LATERAL_HINT: &str = "You might be able to move the set-returning function into a LATERAL FROM item.";

/// Takes the sets out of a select list and its order: they are made by a node below, whose columns stand in their
/// place. An order that does not need them is made before they multiply the rows.
pub(crate) fn expand_sets(
    tree: Logical,
    exprs: &mut [Expr],
    keys: Vec<SortKey>,
    distinct: bool,
) -> Result<(Logical, Vec<SortKey>)> {
    if !exprs.iter().any(Expr::has_set) && !keys.iter().any(|key| key.expr.has_set()) {
        return Ok((tree, keys));
    }
    let needed = |key: &SortKey| key.expr.has_set() || key.expr.volatility() == Volatility::Volatile;
    let early = !distinct && !keys.iter().any(needed);
    let (tree, mut keys) = if early { (super::select::sorted(tree, keys), Vec::new()) } else { (tree, keys) };
    let base = width(&tree);
    let mut sets: Vec<Expr> = Vec::new();
    for expr in exprs.iter_mut() {
        take_sets(expr, base, &mut sets, 0)?;
    }
    // a set that ORDER BY and the select list share is one
    let known = sets.len();
    for key in &mut keys {
        take_sets(&mut key.expr, base, &mut sets, known)?;
    }
    Ok((Logical::ProjectSet { input: Box::new(tree), sets }, keys))
}

/// Replaces the sets within an expression by columns from `base` on; one of the first `shared` serves again.
fn take_sets(expr: &mut Expr, base: usize, sets: &mut Vec<Expr>, shared: usize) -> Result<()> {
    let mut nested = false;
    expr.visit_mut(&mut |part| {
        if !part.is_set() {
            return;
        }
        let Expr::Call { args, .. } = &*part else { return };
        let is_taken = |index: usize| index >= base && index < base + sets.len();
        nested |= args.iter().any(|arg| arg.columns_used().into_iter().any(is_taken));
        let form = super::group::form(part);
        let known = sets[..shared].iter().position(|set| super::group::form(set) == form);
        let place = known.unwrap_or(sets.len());
        let ty = part.ty();
        let set = std::mem::replace(part, Expr::column(base + place, ty));
        if known.is_none() {
            sets.push(set);
        }
    });
    if nested {
        return Err(Error::unsupported("a set-returning function in an argument of another")
            .hint("Call the inner one in FROM."));
    }
    Ok(())
}
