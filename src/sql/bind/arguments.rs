//! Values that stand in a statement beside its query: the user of EXECUTE AS USER, the arguments of EXECUTE.

use super::names::{Clause, Names};
use super::scope::Scope;
use super::{BindContext, Binder};
use crate::error::{Error, Result, SqlState};
use crate::expr::Expr;
use crate::sql::parse::Statement;
use crate::types::SqlType;
use sqlparser::ast::{self, Spanned};

/// Binds the arguments of EXECUTE to the parameters of the prepared statement that it names.
///
/// # Errors
/// 42601 for a wrong number of them, 42804 for one of another type, as PostgreSQL's.
pub fn bind_arguments(cx: &BindContext, statement: &Statement, types: &[SqlType]) -> Result<Vec<Expr>> {
    let Statement::Execute { name, arguments } = statement else {
        return Err(Error::internal("arguments of a statement that has none"));
    };
    if arguments.len() != types.len() {
        let message = format!("wrong number of parameters for prepared statement \"{name}\"");
        let detail = format!("Expected {} parameters but got {}.", types.len(), arguments.len());
        return Err(Error::new(SqlState::SYNTAX_ERROR, message).detail(detail));
    }
    let mut binder = Binder::new(cx);
    let bound = arguments.iter().zip(types).enumerate().map(|(index, (argument, &ty))| {
        let from = |from: SqlType| {
            let (number, from, ty) = (index + 1, from.base_name(), ty.base_name());
            format!("parameter ${number} of type {from} cannot be coerced to the expected type {ty}")
        };
        binder.value(argument, Clause::Argument, ty, from)
    });
    bound.map(|bound| bound.map_err(with_hint)).collect()
}

fn with_hint(error: Error) -> Error {
    match error.code() {
        SqlState::DATATYPE_MISMATCH => error.hint("You will need to rewrite or cast the expression."),
        _ => error,
    }
}

impl Binder<'_> {
    /// The user of EXECUTE AS USER: a text.
    pub(super) fn acting_user(&mut self, user: &ast::Expr) -> Result<Expr> {
        let message =
            |from: SqlType| format!("the user of EXECUTE AS USER must be type text, not type {}", from.base_name());
        self.value(user, Clause::Argument, SqlType::TEXT, message)
    }

    /// A value of a type, where no columns are.
    fn value(
        &mut self,
        ast: &ast::Expr,
        clause: Clause,
        ty: SqlType,
        message: impl FnOnce(SqlType) -> String,
    ) -> Result<Expr> {
        let at = self.at(ast.span());
        let scope = Scope::default();
        let bound = self.expr(ast, &mut Names::new(&scope, clause))?;
        let from = bound.ty();
        self.assign(bound, ty, at, || message(from))
    }
}
