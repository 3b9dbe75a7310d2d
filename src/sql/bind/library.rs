//! Operators, functions and conversions: the binder's side of the expression library's resolution.

use super::Binder;
use crate::error::{Error, Result, SqlState};
use crate::expr::{
    self, CastContext, CoerceContext, Expr, cast_explicit, common_type, resolve_function, resolve_operator,
};
use crate::types::SqlType;

/// An operand with its place in the text.
pub(crate) type Operand = (Expr, Option<u32>);

impl Binder<'_> {
    /// Runs a coercion with this binder's parameters; errors point at the expression.
    fn coercing<T>(&mut self, at: Option<u32>, body: impl FnOnce(&mut CoerceContext) -> Result<T>) -> Result<T> {
        let params = &mut self.params;
        let mut resolve = |index: usize, ty: SqlType| params.resolve(index, ty, at);
        let mut cx = CoerceContext { zone: self.cx.zone, params: &mut resolve };
        body(&mut cx).map_err(|error| error.at(at))
    }

    /// The expression as a value of a type, by what PostgreSQL does unasked.
    pub(crate) fn coerce(&mut self, expr: Expr, to: SqlType, at: Option<u32>) -> Result<Expr> {
        let from = expr.ty();
        match self.coercing(at, |cx| expr::coerce(expr, to, CastContext::Implicit, cx))? {
            Some(expr) => Ok(expr),
            None => {
                let message = format!("cannot cast type {} to {}", from.base_name(), to.base_name());
                Err(Error::new(SqlState::CANNOT_COERCE, message).at(at))
            }
        }
    }

    /// The expression as a value that is stored or used as a type; none where no cast does it.
    pub(crate) fn coerce_to(&mut self, expr: Expr, to: SqlType, at: Option<u32>) -> Result<Option<Expr>> {
        self.coercing(at, |cx| expr::coerce(expr, to, CastContext::Assignment, cx))
    }

    /// The expression as a value that is stored or used as a type; 42804 with `message` where no cast does it.
    pub(crate) fn assign(
        &mut self,
        expr: Expr,
        to: SqlType,
        at: Option<u32>,
        message: impl FnOnce() -> String,
    ) -> Result<Expr> {
        self.coerce_to(expr, to, at)?.ok_or_else(|| Error::new(SqlState::DATATYPE_MISMATCH, message()).at(at))
    }

    /// The expression as the value of a column.
    pub(crate) fn assign_column(&mut self, expr: Expr, column: &str, to: SqlType, at: Option<u32>) -> Result<Expr> {
        self.coercing(at, |cx| expr::assign(expr, column, to, cx))
    }

    /// CAST and `::`.
    pub(crate) fn cast_explicitly(&mut self, expr: Expr, to: SqlType, at: Option<u32>) -> Result<Expr> {
        self.coercing(at, |cx| cast_explicit(expr, to, cx))
    }

    /// CAST and `::`; none where no cast does it.
    pub(crate) fn coerce_explicitly(&mut self, expr: Expr, to: SqlType, at: Option<u32>) -> Result<Option<Expr>> {
        self.coercing(at, |cx| expr::coerce(expr, to, CastContext::Explicit, cx))
    }

    /// A call of an operator, `left` none for a prefix operator.
    pub(crate) fn operator(
        &mut self,
        name: &str,
        left: Option<Operand>,
        right: Operand,
        at: Option<u32>,
    ) -> Result<Expr> {
        let left_type = left.as_ref().map(|(expr, _)| expr.ty());
        let resolved = resolve_operator(name, left_type, right.0.ty()).map_err(|error| error.at(at))?;
        let operands = left.into_iter().chain([right]);
        let mut args = Vec::with_capacity(2);
        for ((expr, at), ty) in operands.zip(&resolved.args) {
            args.push(self.coerce(expr, *ty, at)?);
        }
        Ok(resolved.call(args))
    }

    /// A call of a function that is no aggregate.
    pub(crate) fn function(&mut self, name: &str, args: Vec<Operand>, at: Option<u32>) -> Result<Expr> {
        let types: Vec<SqlType> = args.iter().map(|(expr, _)| expr.ty()).collect();
        // PostgreSQL does not say where a polymorphic argument's type is missing.
        let resolved = resolve_function(name, &types)
            .map_err(|error| if error.code() == SqlState::DATATYPE_MISMATCH { error } else { error.at(at) })?;
        let mut coerced = Vec::with_capacity(args.len());
        for ((expr, at), ty) in args.into_iter().zip(&resolved.args) {
            coerced.push(self.coerce(expr, *ty, at)?);
        }
        Ok(resolved.call(coerced))
    }

    /// Two values of one type, for IS DISTINCT FROM and its kin: the types that `=` takes.
    pub(crate) fn comparable(
        &mut self,
        left: Expr,
        left_at: Option<u32>,
        right: Expr,
        right_at: Option<u32>,
    ) -> Result<(Expr, Expr)> {
        let equal = self.operator("=", Some((left, left_at)), (right, right_at), None)?;
        match equal {
            Expr::Call { mut args, .. } if args.len() == 2 => {
                let right = args.pop().expect("two arguments");
                let left = args.pop().expect("two arguments");
                Ok((left, right))
            }
            _ => Err(Error::internal("an equality is no call of two arguments")),
        }
    }

    /// Several values as one type: CASE, COALESCE, VALUES.
    pub(crate) fn unify(&mut self, exprs: Vec<Operand>, construct: &str) -> Result<Vec<Expr>> {
        let types: Vec<SqlType> = exprs.iter().map(|(expr, _)| expr.ty()).collect();
        let common = common_type(&types, construct).map_err(|error| {
            // The first that does not go with those before it.
            let odd = (1..types.len()).find(|&odd| common_type(&types[..=odd], construct).is_err());
            error.at(odd.and_then(|odd| exprs[odd].1))
        })?;
        exprs.into_iter().map(|(expr, at)| self.coerce(expr, common, at)).collect()
    }
}
