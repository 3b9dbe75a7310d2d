//! Sequences in statements: as the argument of nextval and its kin, and in FROM.

use super::Binder;
use super::library::Operand;
use super::names::Names;
use super::relation::Found;
use super::scope::{ColumnKind, Scope};
use crate::catalog::Relation;
use crate::error::{Error, Result, SqlState};
use crate::expr::{Expr, split_name};
use crate::sql::plan::Logical;
use crate::types::{SqlType, Value};
use sqlparser::ast::{self, DataType, Spanned, TableAlias};

/// Whether a function's first argument names a sequence.
pub(crate) fn takes_sequence(function: &str) -> bool {
    ["nextval", "currval", "setval"].contains(&function)
}

impl Binder<'_> {
    /// An argument that names a sequence. A constant is looked up now and stands as the OID, as a regclass does: so a
    /// default means the same sequence when that is renamed, and the sequence is known to be needed.
    pub(crate) fn sequence_argument(&mut self, ast: &ast::Expr, names: &mut Names) -> Result<Operand> {
        let at = self.at(ast.span());
        let inner = match ast {
            ast::Expr::Cast { expr, data_type, .. } if is_regclass(data_type) => expr.as_ref(),
            other => other,
        };
        let bound = self.expr(inner, names)?;
        let is_text = [SqlType::UNKNOWN, SqlType::TEXT].iter().any(|ty| bound.ty().same(*ty));
        let Expr::Literal { value: Value::Text(text), .. } = &bound else { return Ok((bound, at)) };
        if !is_text {
            return Ok((bound, at));
        }
        let parts = split_name(text).map_err(|error| error.at(at))?;
        if let [schema, _] | [_, schema, _] = parts.as_slice()
            && self.cx.catalog.schema_by_name(schema).is_none()
        {
            let message = format!("schema \"{schema}\" does not exist");
            return Err(Error::new(SqlState::UNDEFINED_SCHEMA, message).at(at));
        }
        let found = self.find_named(&parts, at).map_err(|error| match (error.code(), parts.last()) {
            (SqlState::SYNTAX_ERROR, _) => {
                let message = format!("improper relation name (too many dotted names): {}", parts.join("."));
                Error::new(SqlState::SYNTAX_ERROR, message).at(at)
            }
            (SqlState::WRONG_OBJECT_TYPE, Some(name)) => {
                Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a sequence"))
            }
            _ => error,
        })?;
        Ok((Expr::literal(Value::Int(found.oid().0.into()), SqlType::OID), at))
    }

    /// FROM a sequence: its one row.
    pub(crate) fn sequence_row(
        &mut self,
        found: &Found,
        relation: &Relation,
        alias: Option<&TableAlias>,
    ) -> Result<(Logical, Scope)> {
        let (_, mut scope) = self.named(found, alias)?;
        // a sequence has no system columns here: its row is no row of a table
        scope.tables[0].columns.retain(|column| column.kind == ColumnKind::Plain);
        let mut row = Vec::with_capacity(3);
        for function in ["pg_sequence_last_value_shown", "pg_sequence_reserved", "pg_sequence_is_called"] {
            let oid = Expr::literal(Value::Int(relation.oid.0.into()), SqlType::OID);
            row.push(self.function(function, vec![(oid, None)], None)?);
        }
        let types = row.iter().map(Expr::ty).collect();
        Ok((Logical::Values { rows: vec![row], types }, scope))
    }
}

fn is_regclass(ty: &DataType) -> bool {
    match ty {
        DataType::Regclass => true,
        DataType::Custom(name, _) => {
            name.0.last().is_some_and(|part| part.to_string().eq_ignore_ascii_case("regclass"))
        }
        _ => false,
    }
}
