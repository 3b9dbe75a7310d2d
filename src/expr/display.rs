//! Expressions as text again, in the spelling of PostgreSQL's ruleutils (pg_get_expr, EXPLAIN).

use super::expression::{CallForm, Expr};
use crate::types::{SqlType, Value, Zone, text};

impl Expr {
    /// The expression as text; `column` names the columns.
    pub fn display(&self, column: &dyn Fn(usize) -> String) -> String {
        let list = |exprs: &[Expr], separator: &str| {
            exprs.iter().map(|expr| expr.display(column)).collect::<Vec<_>>().join(separator)
        };
        match self {
            Expr::Literal { value, ty } => literal(value, *ty),
            Expr::Column { index, .. } => column(*index),
            Expr::Param { index, .. } => format!("${}", index + 1),
            Expr::CaseOperand { .. } => "CASE_TEST_EXPR".to_owned(),
            Expr::Call { function, args, form, .. } => match (form, args.as_slice()) {
                (CallForm::Operator(operator), [left, right]) => {
                    format!("({} {} {})", left.display(column), operator.name, right.display(column))
                }
                (CallForm::Operator(operator), [right]) => format!("({} {})", operator.name, right.display(column)),
                _ if args.is_empty() && is_keyword(function.name) => function.name.to_uppercase(),
                _ => format!("{}({})", function.name, list(args, ", ")),
            },
            Expr::Cast { input, ty, explicit: true, .. } => cast(&input.display(column), *ty),
            Expr::Cast { input, ty, .. } if is_operand(input) => cast(&input.display(column), *ty),
            Expr::Cast { input, .. } => input.display(column),
            Expr::And(parts) => format!("({})", list(parts, " AND ")),
            Expr::Or(parts) => format!("({})", list(parts, " OR ")),
            Expr::Not(input) => format!("(NOT {})", input.display(column)),
            Expr::IsNull { input, negated } => {
                format!("({} IS {}NULL)", input.display(column), if *negated { "NOT " } else { "" })
            }
            Expr::Distinct { left, right, negated } => {
                let word = if *negated { "IS NOT DISTINCT FROM" } else { "IS DISTINCT FROM" };
                format!("({} {word} {})", left.display(column), right.display(column))
            }
            Expr::Case { operand, whens, otherwise, .. } => {
                case(operand.as_deref(), whens, otherwise.as_deref(), column)
            }
            Expr::Coalesce { args, .. } => format!("COALESCE({})", list(args, ", ")),
            Expr::NullIf { equal, .. } => match &**equal {
                Expr::Call { args, .. } => format!("NULLIF({})", list(args, ", ")),
                other => other.display(column),
            },
            Expr::Extreme { greatest, args, .. } => {
                format!("{}({})", if *greatest { "GREATEST" } else { "LEAST" }, list(args, ", "))
            }
            Expr::InList { input, list: items, negated } => {
                let word = if *negated { "<> ALL" } else { "= ANY" };
                format!("({} {word} (ARRAY[{}]))", input.display(column), list(items, ", "))
            }
        }
    }
}

/// Conversions of columns are shown even when nobody wrote them, as ruleutils does for relabelled columns.
fn is_operand(input: &Expr) -> bool {
    matches!(input, Expr::Column { .. } | Expr::Param { .. })
}

fn is_keyword(name: &str) -> bool {
    matches!(
        name,
        "current_user"
            | "session_user"
            | "current_role"
            | "current_catalog"
            | "current_schema"
            | "user"
            | "current_date"
            | "current_timestamp"
            | "localtimestamp"
    )
}

fn cast(input: &str, ty: SqlType) -> String {
    let input = if input.starts_with('(') { input.to_owned() } else { format!("({input})") };
    format!("{input}::{}", ty.display_name())
}

fn case(
    operand: Option<&Expr>,
    whens: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    column: &dyn Fn(usize) -> String,
) -> String {
    let mut out = String::from("CASE");
    if let Some(operand) = operand {
        out.push(' ');
        out.push_str(&operand.display(column));
    }
    for (condition, result) in whens {
        // With an operand only the right side of `operand = value` was written.
        let shown = match (operand, condition) {
            (Some(_), Expr::Call { args, .. }) if args.len() == 2 => &args[1],
            _ => condition,
        };
        out.push_str(&format!(" WHEN {} THEN {}", shown.display(column), result.display(column)));
    }
    let otherwise = otherwise.map_or_else(|| "NULL".to_owned(), |otherwise| otherwise.display(column));
    out.push_str(&format!(" ELSE {otherwise} END"));
    out
}

fn literal(value: &Value, ty: SqlType) -> String {
    if value.is_null() {
        return if ty.same(SqlType::UNKNOWN) { "NULL".to_owned() } else { format!("NULL::{}", ty.display_name()) };
    }
    let written = text::to_string(value, ty, &Zone::utc());
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(number) if ty.same(SqlType::INT4) && *number >= 0 => written,
        Value::Numeric(_) if ty.modifier < 0 && !written.starts_with(['-', 'N', 'I']) && written.contains('.') => {
            written
        }
        _ if ty.same(SqlType::UNKNOWN) => quote_literal(&written),
        _ => format!("{}::{}", quote_literal(&written), ty.display_name()),
    }
}

/// A string literal; with backslashes in it an escape string.
pub(super) fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// Words that are no names without quotes (the reserved ones of PostgreSQL 15, and those that only type and function
/// names or column names may be).
const KEYWORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// An identifier, in quotes where it needs them.
pub fn quote_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && KEYWORDS.binary_search(&name).is_err();
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn identifiers_are_quoted_where_needed() {
        assert_eq!(quote_identifier("messages"), "messages");
        assert_eq!(quote_identifier("order"), "\"order\"");
        assert_eq!(quote_identifier("Say \"hi\""), "\"Say \"\"hi\"\"\"");
    }
}
