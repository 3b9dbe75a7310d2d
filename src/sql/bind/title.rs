//! The names of result columns without alias (PostgreSQL's FigureColname).

use super::ident::{fold, name_parts};
use sqlparser::ast::{self, DataType, TrimWhereField};

/// The name of an expression's column.
pub(crate) fn title(expr: &ast::Expr) -> String {
    strong(expr).or_else(|| weak(expr)).unwrap_or_else(|| "?column?".to_owned())
}

/// Names that go before a cast's type.
fn strong(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Nested(inner) | ast::Expr::Collate { expr: inner, .. } => strong(inner),
        ast::Expr::Identifier(ident) => Some(fold(ident)),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map(fold),
        ast::Expr::Cast { expr, .. } => strong(expr),
        ast::Expr::Case { else_result: Some(result), .. } => strong(result),
        ast::Expr::Function(function) => name_parts(&function.name).ok()?.pop(),
        ast::Expr::Extract { .. } => Some("extract".to_owned()),
        ast::Expr::Position { .. } => Some("position".to_owned()),
        ast::Expr::Substring { .. } => Some("substring".to_owned()),
        ast::Expr::Overlay { .. } => Some("overlay".to_owned()),
        ast::Expr::Ceil { .. } => Some("ceil".to_owned()),
        ast::Expr::Floor { .. } => Some("floor".to_owned()),
        ast::Expr::AtTimeZone { .. } => Some("timezone".to_owned()),
        ast::Expr::Exists { .. } => Some("exists".to_owned()),
        ast::Expr::Trim { trim_where, .. } => Some(
            match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            }
            .to_owned(),
        ),
        _ => None,
    }
}

fn weak(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Nested(inner) | ast::Expr::Collate { expr: inner, .. } => weak(inner),
        ast::Expr::Cast { data_type, .. } => Some(type_title(data_type)),
        ast::Expr::TypedString(typed) => Some(type_title(&typed.data_type)),
        ast::Expr::Interval(_) => Some("interval".to_owned()),
        ast::Expr::Case { .. } => Some("case".to_owned()),
        _ => None,
    }
}

fn type_title(ty: &DataType) -> String {
    match super::types::sql_type(ty).ok().and_then(|ty| ty.internal_name()) {
        Some(name) => name.to_owned(),
        None => ty.to_string().to_lowercase(),
    }
}
