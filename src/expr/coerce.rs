//! Coercion of expressions, and the common type of several (PostgreSQL manual, 10.2 to 10.5).

use super::Expr;
use super::cast::{CastContext, CastMethod, find_cast};
use super::function::{ANY, ANYELEMENT, ANYNONARRAY};
use crate::error::{Error, Result, SqlState};
use crate::types::{SqlType, TypeCategory, Value, Zone, text};

/// What coercion needs from the binder.
pub struct CoerceContext<'a> {
    /// Literals of timestamptz are read in it.
    pub zone: &'a Zone,
    /// Is told the type of a parameter that had none; 42P08 when it had another by now.
    pub params: &'a mut dyn FnMut(usize, SqlType) -> Result<()>,
}

/// Whether a value of one type may stand, unasked, where another is wanted.
pub(super) fn can_coerce(from: SqlType, to: SqlType) -> bool {
    from.same(SqlType::UNKNOWN) || is_any(to) || find_cast(from, to, CastContext::Implicit).is_some()
}

/// Whether a declared type takes every type as it is.
fn is_any(ty: SqlType) -> bool {
    [ANY, ANYELEMENT, ANYNONARRAY].iter().any(|any| ty.same(*any))
}

/// The expression as a value of type `to`; none when no cast is allowed in that context.
pub fn coerce(expr: Expr, to: SqlType, context: CastContext, cx: &mut CoerceContext) -> Result<Option<Expr>> {
    let from = expr.ty();
    let explicit = context == CastContext::Explicit;
    if is_any(to) {
        return Ok(Some(expr));
    }
    if from.same(SqlType::UNKNOWN) {
        match expr {
            Expr::Literal { value, .. } => return literal(value, to, explicit, cx).map(Some),
            Expr::Param { index, .. } => {
                (cx.params)(index, to.base())?;
                return Ok(Some(with_modifier(Expr::Param { index, ty: to.base() }, to, explicit)));
            }
            _ => {}
        }
    }
    if from.same(to) {
        return Ok(Some(with_modifier(expr, to, explicit)));
    }
    let Some(cast) = find_cast(from, to, context) else { return Ok(None) };
    Ok(Some(Expr::Cast { input: Box::new(expr), method: cast.method, ty: to, explicit }))
}

fn with_modifier(expr: Expr, to: SqlType, explicit: bool) -> Expr {
    if to.modifier < 0 || expr.ty().modifier == to.modifier {
        return expr;
    }
    Expr::Cast { input: Box::new(expr), method: CastMethod::Relabel, ty: to, explicit }
}

fn literal(value: Value, to: SqlType, explicit: bool, cx: &CoerceContext) -> Result<Expr> {
    let Value::Text(written) = &value else { return Ok(Expr::Literal { value, ty: to }) };
    match text::parse(written, to.base(), cx.zone) {
        // The modifier is applied when constants are folded: a value that does not fit is no error of the literal.
        Ok(parsed) => Ok(with_modifier(Expr::Literal { value: parsed, ty: to.base() }, to, explicit)),
        // `now` and its kin: plans outlive transactions, so the word is read when the statement runs.
        Err(error) if error.code() == SqlState::FEATURE_NOT_SUPPORTED && to.category() == TypeCategory::DateTime => {
            let input = Box::new(Expr::Literal { value, ty: SqlType::TEXT });
            Ok(Expr::Cast { input, method: CastMethod::Text, ty: to, explicit })
        }
        Err(error) => Err(error),
    }
}

/// CAST; 42846 when there is none.
pub fn cast_explicit(expr: Expr, to: SqlType, cx: &mut CoerceContext) -> Result<Expr> {
    let from = expr.ty();
    coerce(expr, to, CastContext::Explicit, cx)?.ok_or_else(|| {
        let message = format!("cannot cast type {} to {}", from.base_name(), to.base_name());
        Error::new(SqlState::CANNOT_COERCE, message)
    })
}

/// The expression as the value of a column; 42804 when it can't be.
pub fn assign(expr: Expr, column: &str, to: SqlType, cx: &mut CoerceContext) -> Result<Expr> {
    let from = expr.ty();
    coerce(expr, to, CastContext::Assignment, cx)?.ok_or_else(|| {
        let message =
            format!("column \"{column}\" is of type {} but expression is of type {}", to.base_name(), from.base_name());
        Error::new(SqlState::DATATYPE_MISMATCH, message).hint("You will need to rewrite or cast the expression.")
    })
}

/// The expressions as values of their common type, and that type: for CASE, COALESCE, GREATEST and so on, which
/// `construct` names. 42804 when there is no such type, 42846 when one has no cast to it.
pub fn unify(exprs: Vec<Expr>, construct: &str, cx: &mut CoerceContext) -> Result<(Vec<Expr>, SqlType)> {
    let types: Vec<SqlType> = exprs.iter().map(Expr::ty).collect();
    let common = common_type(&types, construct)?;
    let mut unified = Vec::with_capacity(exprs.len());
    for (expr, from) in exprs.into_iter().zip(types) {
        let coerced = coerce(expr, common, CastContext::Implicit, cx)?;
        unified.push(coerced.ok_or_else(|| {
            let message = format!("{construct} could not convert type {} to {}", from.base_name(), common.base_name());
            Error::new(SqlState::CANNOT_COERCE, message)
        })?);
    }
    Ok((unified, common))
}

/// 42883 for a type without an order, in GREATEST, LEAST, ORDER BY and so on.
pub fn check_comparable(ty: SqlType) -> Result<()> {
    if !ty.same(SqlType::JSON) {
        return Ok(());
    }
    let message = format!("could not identify a comparison function for type {}", ty.base_name());
    Err(Error::new(SqlState::UNDEFINED_FUNCTION, message))
}

/// The type that several become in UNION, CASE, COALESCE, VALUES and so on. `construct` names which, for the 42804.
pub fn common_type(types: &[SqlType], construct: &str) -> Result<SqlType> {
    let Some((&first, rest)) = types.split_first() else { return Ok(SqlType::TEXT) };
    if !first.same(SqlType::UNKNOWN) && rest.iter().all(|ty| ty.same(first)) {
        return Ok(if rest.iter().all(|ty| ty.modifier == first.modifier) { first } else { first.base() });
    }
    let mut common = first.base();
    for ty in rest.iter().map(|ty| ty.base()) {
        if ty.same(SqlType::UNKNOWN) || ty.same(common) {
            continue;
        }
        if common.same(SqlType::UNKNOWN) {
            common = ty;
        } else if ty.category() != common.category() {
            let message = format!("{construct} types {} and {} cannot be matched", common.base_name(), ty.base_name());
            return Err(Error::new(SqlState::DATATYPE_MISMATCH, message));
        } else if !common.is_preferred() && can_coerce(common, ty) && !can_coerce(ty, common) {
            common = ty;
        }
    }
    Ok(if common.same(SqlType::UNKNOWN) { SqlType::TEXT } else { common })
}
