//! Constants: numbers, strings, parameters.

use super::Binder;
use crate::error::{Error, Result};
use crate::expr::Expr;
use crate::types::{SqlType, Value, numeric};
use sqlparser::ast::{self, TypedString, ValueWithSpan};

impl Binder<'_> {
    /// A constant or a parameter as it stands.
    pub(crate) fn literal(&mut self, literal: &ValueWithSpan) -> Result<Expr> {
        let at = self.at(literal.span);
        match &literal.value {
            ast::Value::Number(digits, _) => self.number(digits, at),
            ast::Value::Boolean(value) => Ok(Expr::literal(Value::Bool(*value), SqlType::BOOL)),
            ast::Value::Null => Ok(Expr::literal(Value::Null, SqlType::UNKNOWN)),
            ast::Value::Placeholder(name) => {
                let (index, ty) = self.params.reference(name, at)?;
                Ok(Expr::Param { index, ty })
            }
            other => match string(other) {
                Some(text) => Ok(Expr::literal(Value::text(text), SqlType::UNKNOWN)),
                None => Err(Error::unsupported("this kind of constant").at(at)),
            },
        }
    }

    /// A number: integer, bigint or numeric, the first that holds it.
    pub(crate) fn number(&mut self, digits: &str, at: Option<u32>) -> Result<Expr> {
        if let Ok(value) = digits.parse::<i64>() {
            let ty = if i32::try_from(value).is_ok() { SqlType::INT4 } else { SqlType::INT8 };
            return Ok(Expr::literal(Value::Int(value), ty));
        }
        let value = numeric::parse(digits).map_err(|error| error.at(at))?;
        Ok(Expr::literal(Value::Numeric(value), SqlType::NUMERIC))
    }

    /// `date '2020-01-01'`
    pub(crate) fn typed_string(&mut self, typed: &TypedString) -> Result<Expr> {
        let at = self.at(typed.value.span);
        let target = super::types::sql_type(&typed.data_type)
            .map_err(|error| error.at(super::position::type_before(self.cx.text, at)))?;
        let literal = self.literal(&typed.value)?;
        self.cast_explicitly(literal, target, at)
    }

    /// `interval '1 day'`, `interval '1' day`
    pub(crate) fn interval(&mut self, interval: &ast::Interval) -> Result<Expr> {
        let ast::Expr::Value(value) = interval.value.as_ref() else {
            return Err(Error::unsupported("INTERVAL of an expression"));
        };
        let at = self.at(value.span);
        if interval.last_field.is_some() || interval.leading_precision.is_some() {
            return Err(Error::unsupported("INTERVAL with a range of fields or a precision").at(at));
        }
        let (Some(text), field) = (string(&value.value), &interval.leading_field) else {
            return Err(Error::unsupported("INTERVAL of something else than a string").at(at));
        };
        let text = match field {
            None => text.to_owned(),
            Some(field) => format!("{text} {}", field.to_string().to_lowercase()),
        };
        self.cast_explicitly(Expr::literal(Value::text(text), SqlType::UNKNOWN), SqlType::INTERVAL, at)
    }
}

fn string(value: &ast::Value) -> Option<&str> {
    match value {
        ast::Value::SingleQuotedString(text)
        | ast::Value::EscapedStringLiteral(text)
        | ast::Value::UnicodeStringLiteral(text)
        | ast::Value::NationalStringLiteral(text) => Some(text),
        ast::Value::DollarQuotedString(quoted) => Some(&quoted.value),
        _ => None,
    }
}
