//! Expressions: from the parser's tree to bound ones.

use super::Binder;
use super::ident::fold;
use super::names::{Clause, Names};
use super::scope::ColumnKind;
use crate::error::{Error, Result, SqlState};
use crate::expr::{Expr, Written};
use crate::limits::NESTING_MAX;
use crate::types::{SqlType, Value};
use sqlparser::ast::{self, BinaryOperator, Ident, InTarget, Spanned, UnaryOperator};
use sqlparser::tokenizer::Span;

impl Binder<'_> {
    /// Binds an expression. Literals and parameters may still be of type unknown.
    pub(crate) fn expr(&mut self, ast: &ast::Expr, names: &mut Names) -> Result<Expr> {
        names.depth += 1;
        if names.depth > NESTING_MAX * 4 {
            return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded"));
        }
        let bound = self.expr_inner(ast, names);
        names.depth -= 1;
        bound
    }

    fn expr_inner(&mut self, ast: &ast::Expr, names: &mut Names) -> Result<Expr> {
        match ast {
            ast::Expr::Nested(inner) => self.expr(inner, names),
            ast::Expr::Value(value) => self.literal(value),
            ast::Expr::TypedString(typed) => self.typed_string(typed),
            ast::Expr::Interval(interval) => self.interval(interval),
            ast::Expr::Identifier(ident) => self.column(std::slice::from_ref(ident), names),
            ast::Expr::CompoundIdentifier(parts) => self.column(parts, names),
            ast::Expr::BinaryOp { left, op, right } => self.binary(left, op, right, names),
            ast::Expr::UnaryOp { op, expr } => self.unary(*op, expr, ast.span(), names),
            ast::Expr::Cast {
                kind: kind @ (ast::CastKind::Cast | ast::CastKind::DoubleColon),
                expr,
                data_type,
                format: None,
            } => self.cast(expr, data_type, *kind == ast::CastKind::DoubleColon, names),
            ast::Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), names)
            }
            ast::Expr::IsNull(inner) => Ok(Expr::is_null(self.expr(inner, names)?, false)),
            ast::Expr::IsNotNull(inner) => Ok(Expr::is_null(self.expr(inner, names)?, true)),
            ast::Expr::IsTrue(inner) => self.is_truth(inner, Some(true), false, names),
            ast::Expr::IsNotTrue(inner) => self.is_truth(inner, Some(true), true, names),
            ast::Expr::IsFalse(inner) => self.is_truth(inner, Some(false), false, names),
            ast::Expr::IsNotFalse(inner) => self.is_truth(inner, Some(false), true, names),
            ast::Expr::IsUnknown(inner) => self.is_truth(inner, None, false, names),
            ast::Expr::IsNotUnknown(inner) => self.is_truth(inner, None, true, names),
            ast::Expr::IsDistinctFrom(left, right) => self.distinct_from(left, right, false, names),
            ast::Expr::IsNotDistinctFrom(left, right) => self.distinct_from(left, right, true, names),
            ast::Expr::Between { expr, negated, low, high } => self.between(expr, *negated, low, high, names),
            ast::Expr::In { expr, target: InTarget::List(list), negated, global: false } => {
                self.in_list(expr, list, *negated, names)
            }
            ast::Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let op = if *negated { "!~~" } else { "~~" };
                self.like(op, expr, pattern, escape_char.as_deref(), names)
            }
            ast::Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                let op = if *negated { "!~~*" } else { "~~*" };
                self.like(op, expr, pattern, escape_char.as_deref(), names)
            }
            ast::Expr::Function(function) => self.function_call(function, names),
            _ => self.special_call(ast, names),
        }
    }

    /// A condition: an expression that must be boolean.
    pub(crate) fn condition(&mut self, ast: &ast::Expr, names: &mut Names) -> Result<Expr> {
        let bound = self.expr(ast, names)?;
        self.boolean(bound, names.clause.name(), None).map_err(|error| error.at(self.place_of(ast)))
    }

    /// Where an expression begins, for errors about it: sqlparser leaves out what stands before its first operand.
    pub(crate) fn place_of(&self, ast: &ast::Expr) -> Option<u32> {
        let text = self.cx.text;
        match ast {
            ast::Expr::Nested(inner) => self.place_of(inner),
            ast::Expr::UnaryOp { op, expr } => {
                super::position::word_before(text, self.place_of(expr), &op.to_string().to_lowercase())
            }
            ast::Expr::Cast { kind: ast::CastKind::Cast, expr, .. } => {
                super::position::word_before(text, self.place_of(expr), "cast")
            }
            ast::Expr::Cast { expr, .. } => self.place_of(expr),
            ast::Expr::BinaryOp { left, .. } => self.place_of(left),
            ast::Expr::TypedString(typed) => self.at(typed.value.span),
            ast::Expr::Interval(interval) => self.at(interval.value.span()),
            _ => self.form_position(ast),
        }
    }

    /// 42804 unless the expression is boolean.
    pub(crate) fn boolean(&mut self, expr: Expr, of: &str, at: Option<u32>) -> Result<Expr> {
        let ty = expr.ty();
        if ty.same(SqlType::BOOL) {
            return Ok(expr);
        }
        if ty.same(SqlType::UNKNOWN) {
            return self.coerce(expr, SqlType::BOOL, at);
        }
        let message = format!("argument of {of} must be type boolean, not type {}", ty.base_name());
        Err(Error::new(SqlState::DATATYPE_MISMATCH, message).at(at))
    }

    fn column(&mut self, parts: &[Ident], names: &mut Names) -> Result<Expr> {
        let at = self.at(parts[0].span);
        let folded: Vec<String> = parts.iter().map(fold).collect();
        // Reserved words that sqlparser takes for columns.
        if let [ident] = parts {
            if super::write::is_default_word(ident) {
                let message = "DEFAULT is not allowed in this context";
                return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(at));
            }
            if ident.quote_style.is_none() && matches!(ident.value.as_str(), "current_role" | "current_schema") {
                return self.function(&ident.value, Vec::new(), at);
            }
        }
        if names.clause == Clause::Default {
            let message = "cannot use column reference in DEFAULT expression";
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(at));
        }
        let index = match folded.as_slice() {
            [name] => names.scope.resolve(name, at)?,
            [table, name] => names.scope.resolve_in(None, table, name, at)?,
            [schema, table, name] => names.scope.resolve_in(Some(schema), table, name, at)?,
            [database, schema, table, name] if database == self.cx.database => {
                names.scope.resolve_in(Some(schema), table, name, at)?
            }
            [_, _, _, _] => {
                let message = format!("cross-database references are not implemented: {}", folded.join("."));
                return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(at));
            }
            _ => {
                let message = format!("improper qualified name (too many dotted names): {}", folded.join("."));
                return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(at));
            }
        };
        if matches!(names.clause, Clause::Limit | Clause::Offset) {
            let message = format!("argument of {} must not contain variables", names.clause.name());
            return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(at));
        }
        names.reads = true;
        let (_, column) = names.scope.column(index).expect("the scope has just found it");
        if names.clause == Clause::Check && column.kind == ColumnKind::System {
            let message = format!("system column \"{}\" reference in check constraint is invalid", column.name);
            return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(at));
        }
        Ok(Expr::Column { index, ty: column.ty, at: Written(at) })
    }

    fn binary(&mut self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr, names: &mut Names) -> Result<Expr> {
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            return self.junction(left, op, right, names);
        }
        let operator = operator_name(op)?;
        let (left_at, right_at) = (self.at(left.span()), self.at(right.span()));
        let bound_left = self.expr(left, names)?;
        let bound_right = self.expr(right, names)?;
        let known = if operator == "!=" { "<>" } else { &operator };
        // Places are looked for only where there is an error to place: that reads the text.
        self.operator(known, Some((bound_left, left_at)), (bound_right, right_at), None)
            .map_err(|error| error.at(super::position::between(self.cx.text, left.span(), &operator)))
    }

    /// AND or OR, chains of one kind flattened so that long ones don't nest.
    fn junction(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        names: &mut Names,
    ) -> Result<Expr> {
        let name = if *op == BinaryOperator::And { "AND" } else { "OR" };
        // The parser nests chains to the left: walk down that side without recursion.
        let mut operands = vec![right];
        let mut rest = left;
        while let ast::Expr::BinaryOp { left, op: inner, right } = rest
            && inner == op
        {
            operands.push(right);
            rest = left;
        }
        operands.push(rest);
        let mut parts = Vec::with_capacity(operands.len());
        for operand in operands.into_iter().rev() {
            let bound = self.expr(operand, names)?;
            parts.push(self.boolean(bound, name, None).map_err(|error| error.at(self.place_of(operand)))?);
        }
        Ok(if *op == BinaryOperator::And { Expr::And(parts) } else { Expr::Or(parts) })
    }

    fn unary(&mut self, op: UnaryOperator, operand: &ast::Expr, span: Span, names: &mut Names) -> Result<Expr> {
        let (at, operand_at) = (self.at(span), self.at(operand.span()));
        if op == UnaryOperator::Minus
            && let Some(digits) = negated_number(operand)
        {
            // As PostgreSQL's grammar does it, so that -9223372036854775808 is a bigint.
            return self.number(&digits, at);
        }
        let bound = self.expr(operand, names)?;
        if op == UnaryOperator::Not {
            let bound = self.boolean(bound, "NOT", None).map_err(|error| error.at(self.place_of(operand)))?;
            return Ok(Expr::Not(Box::new(bound)));
        }
        let operator = match op {
            UnaryOperator::Plus => "+",
            UnaryOperator::Minus => "-",
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::PGSquareRoot => "|/",
            _ => return Err(Error::unsupported(format!("operator {op}")).at(at)),
        };
        self.operator(operator, None, (bound, operand_at), None)
            .map_err(|error| error.at(super::position::word_before(self.cx.text, operand_at, operator)))
    }

    fn cast(
        &mut self,
        operand: &ast::Expr,
        data_type: &ast::DataType,
        colons: bool,
        names: &mut Names,
    ) -> Result<Expr> {
        let at = self.at(operand.span());
        let target = super::types::sql_type(data_type).map_err(|error| {
            let text = self.cx.text;
            let type_at = match colons {
                true => super::position::not_blank(text, self.colons(operand).map(|at| at + 2)),
                false => super::position::cast_type(text, operand.span()),
            };
            self.named_type(error, data_type).at(type_at)
        })?;
        let bound = self.expr(operand, names)?;
        let from = bound.ty();
        // An operand that cannot be read is the operand's error, a cast that is not there the cast's.
        self.coerce_explicitly(bound, target, at)?.ok_or_else(|| {
            let cast_at = match colons {
                true => self.colons(operand),
                false => super::position::word_before(self.cx.text, at, "cast"),
            };
            let message = format!("cannot cast type {} to {}", from.base_name(), target.base_name());
            Error::new(SqlState::CANNOT_COERCE, message).at(cast_at)
        })
    }

    /// The position of `::` after an operand, which may end in a cast itself.
    fn colons(&self, operand: &ast::Expr) -> Option<u32> {
        match operand {
            ast::Expr::Cast { kind: ast::CastKind::DoubleColon, expr, .. } => {
                super::position::after(self.cx.text, Some(self.colons(expr)? + 1), "::")
            }
            _ => super::position::between(self.cx.text, operand.span(), "::"),
        }
    }

    /// A type that is not there, in a schema that is not there either.
    fn named_type(&self, error: Error, data_type: &ast::DataType) -> Error {
        let ast::DataType::Custom(name, _) = data_type else { return error };
        match super::ident::name_parts(name).as_deref() {
            Ok([schema, _]) if self.cx.catalog.schema_by_name(schema).is_none() => {
                Error::new(SqlState::UNDEFINED_SCHEMA, format!("schema \"{schema}\" does not exist"))
            }
            _ => error,
        }
    }

    fn is_truth(&mut self, operand: &ast::Expr, truth: Option<bool>, negated: bool, names: &mut Names) -> Result<Expr> {
        let name = match (truth, negated) {
            (Some(true), false) => "IS TRUE",
            (Some(true), true) => "IS NOT TRUE",
            (Some(false), false) => "IS FALSE",
            (Some(false), true) => "IS NOT FALSE",
            (None, false) => "IS UNKNOWN",
            (None, true) => "IS NOT UNKNOWN",
        };
        let bound = self.expr(operand, names)?;
        let bound = self.boolean(bound, name, None).map_err(|error| error.at(self.place_of(operand)))?;
        Ok(match truth {
            None => Expr::is_null(bound, negated),
            Some(truth) => {
                let constant = Expr::Literal { value: Value::Bool(truth), ty: SqlType::BOOL };
                Expr::distinct(bound, constant, !negated)
            }
        })
    }

    fn distinct_from(&mut self, left: &ast::Expr, right: &ast::Expr, negated: bool, names: &mut Names) -> Result<Expr> {
        let (left_at, right_at) = (self.at(left.span()), self.at(right.span()));
        let bound_left = self.expr(left, names)?;
        let bound_right = self.expr(right, names)?;
        let (bound_left, bound_right) = self
            .comparable(bound_left, left_at, bound_right, right_at)
            .map_err(|error| error.at(super::position::between(self.cx.text, left.span(), "is")))?;
        Ok(Expr::distinct(bound_left, bound_right, negated))
    }

    fn between(
        &mut self,
        operand: &ast::Expr,
        negated: bool,
        low: &ast::Expr,
        high: &ast::Expr,
        names: &mut Names,
    ) -> Result<Expr> {
        let (at, low_at, high_at) = (self.at(operand.span()), self.at(low.span()), self.at(high.span()));
        let bound = self.expr(operand, names)?;
        let low = self.expr(low, names)?;
        let (over, under, word) = if negated { ("<", ">", "not") } else { (">=", "<=", "between") };
        let text = self.cx.text;
        let place = |error: Error| error.at(super::position::between(text, operand.span(), word));
        let first = self.operator(over, Some((bound.clone(), at)), (low, low_at), None).map_err(place)?;
        let high = self.expr(high, names)?;
        let second = self.operator(under, Some((bound, at)), (high, high_at), None).map_err(place)?;
        let both = vec![first, second];
        Ok(if negated { Expr::Or(both) } else { Expr::And(both) })
    }

    fn like(
        &mut self,
        operator: &str,
        operand: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::Expr>,
        names: &mut Names,
    ) -> Result<Expr> {
        let (at, pattern_at) = (self.at(operand.span()), self.at(pattern.span()));
        let left = self.expr(operand, names)?;
        let mut right = self.expr(pattern, names)?;
        if let Some(escape) = escape {
            let escape = self.expr(escape, names)?;
            right = self.function("like_escape", vec![(right, pattern_at), (escape, pattern_at)], pattern_at)?;
        }
        let word = if operator.ends_with('*') { "ilike" } else { "like" };
        let word = if operator.starts_with('!') { "not" } else { word };
        self.operator(operator, Some((left, at)), (right, pattern_at), None)
            .map_err(|error| error.at(super::position::between(self.cx.text, operand.span(), word)))
    }
}

/// The digits of a number with the sign that a minus before it gives it; none for anything else than a number.
pub(super) fn negated_number(ast: &ast::Expr) -> Option<String> {
    match ast {
        ast::Expr::Nested(inner) => negated_number(inner),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => Some(format!("-{digits}")),
            _ => None,
        },
        ast::Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            let negative = negated_number(expr)?;
            Some(negative.strip_prefix('-').map_or_else(|| format!("-{negative}"), str::to_owned))
        }
        _ => None,
    }
}

/// An operator as PostgreSQL spells it.
fn operator_name(op: &BinaryOperator) -> Result<String> {
    Ok(match op {
        BinaryOperator::PGCustomBinaryOperator(path) => match path.as_slice() {
            [operator] => operator.clone(),
            [schema, operator] if schema == "pg_catalog" => operator.clone(),
            _ => return Err(Error::unsupported(format!("operator {op}"))),
        },
        BinaryOperator::Xor | BinaryOperator::Overlaps | BinaryOperator::Regexp | BinaryOperator::Match => {
            return Err(Error::unsupported(format!("operator {op}")));
        }
        _ => op.to_string(),
    })
}
