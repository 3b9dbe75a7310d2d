//! Aggregate calls: they become columns of the groups.

use super::Binder;
use super::library::Operand;
use super::names::{AGGREGATE_BASE, Clause, Names};
use crate::error::{Error, Result, SqlState};
use crate::expr::{Expr, resolve_aggregate};
use crate::sql::plan::{AggregateCall, SortKey};
use crate::types::SqlType;
use sqlparser::ast::{self, Spanned};

/// An aggregate's arguments as written.
pub(crate) struct Written<'a> {
    pub(crate) args: Vec<&'a ast::Expr>,
    /// `*`
    pub(crate) star: bool,
    /// DISTINCT
    pub(crate) distinct: bool,
    /// ORDER BY
    pub(crate) order: &'a [ast::OrderByExpr],
    /// FILTER (WHERE …)
    pub(crate) filter: Option<&'a ast::Expr>,
}

impl Binder<'_> {
    /// Whether a name is an aggregate's.
    pub(crate) fn is_aggregate(name: &str) -> bool {
        !matches!(resolve_aggregate(name, &[]), Ok(None))
    }

    /// A call of an aggregate function.
    pub(crate) fn aggregate(
        &mut self,
        name: &str,
        written: Written,
        names: &mut Names,
        at: Option<u32>,
    ) -> Result<Expr> {
        let outer = std::mem::replace(&mut names.in_aggregate, true);
        let call = self.aggregate_call(name, &written, names, at);
        names.in_aggregate = outer;
        let call = call?;
        // Last, as in PostgreSQL: what is wrong within the call goes before what is wrong with its place.
        names.check_aggregate(at)?;
        let index = AGGREGATE_BASE + names.aggregates.len();
        let ty = call.function.ty();
        names.aggregates.push(call);
        Ok(Expr::column(index, ty))
    }

    fn aggregate_call(
        &mut self,
        name: &str,
        written: &Written,
        names: &mut Names,
        at: Option<u32>,
    ) -> Result<AggregateCall> {
        let mut args = Vec::with_capacity(written.args.len());
        for arg in &written.args {
            let at = self.at(arg.span());
            args.push((self.expr(arg, names)?, at));
        }
        let mut order = Vec::with_capacity(written.order.len());
        for by in written.order {
            let at = self.at(by.expr.span());
            let bound = self.expr(&by.expr, names)?;
            let bound = if bound.ty().same(SqlType::UNKNOWN) { self.coerce(bound, SqlType::TEXT, at)? } else { bound };
            order.push(self.sort_key(by, bound)?);
        }
        let filter = match written.filter {
            None => None,
            Some(filter) => {
                let clause = std::mem::replace(&mut names.clause, Clause::Filter);
                names.in_aggregate = false;
                let condition = self.condition(filter, names);
                (names.clause, names.in_aggregate) = (clause, true);
                Some(condition?)
            }
        };
        if args.is_empty() && !written.star && name == "count" {
            let message = format!("{name}(*) must be used to call a parameterless aggregate function");
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(at));
        }
        let plain: Vec<Expr> = args.iter().map(|(expr, _)| expr.clone()).collect();
        let args = self.json_arguments(name, args)?;
        let types: Vec<SqlType> = args.iter().map(|(expr, _)| expr.ty()).collect();
        let resolved = resolve_aggregate(name, &types).map_err(|error| error.at(at))?;
        let resolved = resolved.ok_or_else(|| Error::internal("an aggregate without a name"))?;
        let mut coerced = Vec::with_capacity(args.len());
        for ((expr, at), ty) in args.into_iter().zip(&resolved.args) {
            coerced.push(self.coerce(expr, *ty, at)?);
        }
        let mut distinct = None;
        if written.distinct {
            // Of what is made JSON, the values before that are compared.
            let compared = if name.starts_with("json") { plain } else { coerced.clone() };
            self.check_distinct(&compared, &order, written)?;
            if resolved.aggregate.keeps_order() {
                order_values(&compared, &mut order);
            }
            distinct = Some(if name.starts_with("json") { compared } else { Vec::new() });
        }
        Ok(AggregateCall { function: resolved.aggregate, args: coerced, distinct, order, filter })
    }

    /// The aggregates that make JSON take their values as JSON, so that they need not know how each type is written.
    fn json_arguments(&mut self, name: &str, args: Vec<Operand>) -> Result<Vec<Operand>> {
        let convert = match name {
            "json_agg" | "json_object_agg" => "to_json",
            "jsonb_agg" | "jsonb_object_agg" => "to_jsonb",
            _ => return Ok(args),
        };
        let is_object = name.ends_with("object_agg");
        let mut converted = Vec::with_capacity(args.len());
        for (index, (expr, at)) in args.into_iter().enumerate() {
            let expr = if expr.ty().same(SqlType::UNKNOWN) { self.coerce(expr, SqlType::TEXT, at)? } else { expr };
            let expr = match index {
                0 if is_object => self.cast_explicitly(expr, SqlType::TEXT, at)?,
                _ => self.function(convert, vec![(expr, at)], at)?,
            };
            converted.push((expr, at));
        }
        Ok(converted)
    }

    /// What DISTINCT asks of the arguments and of ORDER BY.
    fn check_distinct(&self, args: &[Expr], order: &[SortKey], written: &Written) -> Result<()> {
        let forms: Vec<String> = args.iter().map(super::group::form).collect();
        for (key, by) in order.iter().zip(written.order) {
            if !forms.contains(&super::group::form(&key.expr)) {
                let message = "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
                return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(self.at(by.expr.span())));
            }
        }
        for (arg, ast) in args.iter().zip(&written.args) {
            if arg.ty().same(SqlType::JSON) {
                let message = "could not identify an equality operator for type json";
                return Err(Error::new(SqlState::UNDEFINED_FUNCTION, message).at(self.at(ast.span())));
            }
        }
        Ok(())
    }
}

/// A DISTINCT aggregate takes its values in their order: PostgreSQL finds equal ones by sorting.
fn order_values(args: &[Expr], order: &mut Vec<SortKey>) {
    let ordered: Vec<String> = order.iter().map(|key| super::group::form(&key.expr)).collect();
    for arg in args.iter().filter(|arg| !ordered.contains(&super::group::form(arg))) {
        order.push(SortKey { expr: arg.clone(), descending: false, nulls_first: false });
    }
}
