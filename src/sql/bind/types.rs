//! Type names to types.

use super::ident::name_parts;
use crate::error::{Error, Result, SqlState};
use crate::types::SqlType;
use sqlparser::ast::{CharacterLength, DataType, ExactNumberInfo, TimezoneInfo, TypeModifier};

/// Largest n of varchar(n) (PostgreSQL's MaxAttrSize).
const VARCHAR_LENGTH_MAX: u64 = 10_485_760;

/// The type that a type name means, with its modifier. 42704 for a name that is no type, 0A000 for types of
/// PostgreSQL's that this version has not.
pub fn sql_type(ty: &DataType) -> Result<SqlType> {
    Ok(match ty {
        DataType::Bool | DataType::Boolean => SqlType::BOOL,
        DataType::SmallInt(None) | DataType::Int2(None) => SqlType::INT2,
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => SqlType::INT4,
        DataType::BigInt(None) | DataType::Int8(None) => SqlType::INT8,
        DataType::DoublePrecision | DataType::Float8 | DataType::Double(ExactNumberInfo::None) => SqlType::FLOAT8,
        DataType::Float(precision) => float(precision)?,
        DataType::Text => SqlType::TEXT,
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            varchar(length.as_ref())?
        }
        DataType::Bytea => SqlType::BYTEA,
        DataType::Date => SqlType::DATE,
        DataType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            precise(SqlType::TIMESTAMP, *precision)?
        }
        DataType::Timestamp(precision, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            precise(SqlType::TIMESTAMPTZ, *precision)?
        }
        DataType::Interval { fields: None, precision } => precise(SqlType::INTERVAL, *precision)?,
        DataType::Uuid => SqlType::UUID,
        DataType::JSON => SqlType::JSON,
        DataType::JSONB => SqlType::JSONB,
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info)?,
        DataType::Custom(name, modifiers) => custom(&name_parts(name)?, modifiers)?,
        other => return Err(refused(other)),
    })
}

fn custom(parts: &[String], modifiers: &[TypeModifier]) -> Result<SqlType> {
    if let ([name], [_, ..]) = (parts, modifiers)
        && name == "TEXT"
    {
        // sqlparser's own spelling of text(n)
        return custom(&["text".to_owned()], modifiers);
    }
    let missing = || Error::new(SqlState::UNDEFINED_OBJECT, format!("type \"{}\" does not exist", parts.join(".")));
    let name = match parts {
        [name] => name,
        [schema, name] if schema == "pg_catalog" => name,
        _ => return Err(missing()),
    };
    let found = SqlType::ALL.iter().copied().find(|ty| ty.internal_name() == Some(name));
    let Some(ty) = found.filter(|ty| !ty.same(SqlType::UNKNOWN)) else {
        return Err(match name.as_str() {
            "float4" | "real" | "bpchar" | "char" | "time" | "timetz" | "money" | "regclass" | "regtype" | "inet"
            | "cidr" | "xml" | "bit" | "varbit" | "point" | "citext" | "serial" | "bigserial" | "smallserial" => {
                refused(name)
            }
            _ => missing(),
        });
    };
    match modifiers {
        [] => Ok(ty),
        _ if ty.same(SqlType::VARCHAR) || ty.same(SqlType::NUMERIC) => Err(refused(format!("{name} with a modifier"))),
        _ => {
            let message = format!("type modifier is not allowed for type \"{}\"", ty.base_name());
            Err(Error::new(SqlState::SYNTAX_ERROR, message))
        }
    }
}

fn refused(what: impl std::fmt::Display) -> Error {
    Error::unsupported(format!("type {}", what.to_string().to_lowercase())).hint(
        "Types are boolean, smallint, integer, bigint, double precision, numeric, text, varchar(n), bytea, date, \
         timestamp, timestamptz, interval, uuid, json, jsonb and file.",
    )
}

fn float(precision: &ExactNumberInfo) -> Result<SqlType> {
    match precision {
        ExactNumberInfo::None => Ok(SqlType::FLOAT8),
        ExactNumberInfo::Precision(bits @ 25..=53) => {
            let _ = bits;
            Ok(SqlType::FLOAT8)
        }
        ExactNumberInfo::Precision(0) => Err(invalid("precision for type float must be at least 1 bit")),
        ExactNumberInfo::Precision(1..=24) => Err(refused("real")),
        _ => Err(invalid("precision for type float must be less than 54 bits")),
    }
}

fn varchar(length: Option<&CharacterLength>) -> Result<SqlType> {
    match length {
        None => Ok(SqlType::VARCHAR),
        Some(CharacterLength::IntegerLength { length: 0, .. }) => {
            Err(invalid("length for type varchar must be at least 1"))
        }
        Some(CharacterLength::IntegerLength { length, .. }) if *length > VARCHAR_LENGTH_MAX => {
            Err(invalid(format!("length for type varchar cannot exceed {VARCHAR_LENGTH_MAX}")))
        }
        Some(CharacterLength::IntegerLength { length, .. }) => Ok(SqlType::VARCHAR.with_modifier(*length as i32 + 4)),
        Some(CharacterLength::Max) => Err(refused("varchar(max)")),
    }
}

/// A type whose fractional seconds have a precision: six digits are what there is.
pub(crate) fn precise(ty: SqlType, precision: Option<u64>) -> Result<SqlType> {
    match precision {
        None => Ok(ty),
        Some(digits @ 0..=6) if !ty.same(SqlType::INTERVAL) => Ok(ty.with_modifier(digits as i32)),
        Some(6) => Ok(ty),
        Some(digits) => Err(refused(format!("{}({digits})", ty.base_name()))),
    }
}

fn numeric(info: &ExactNumberInfo) -> Result<SqlType> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => return Ok(SqlType::NUMERIC),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    if !(1..=1000).contains(&precision) {
        return Err(invalid(format!("NUMERIC precision {precision} must be between 1 and 1000")));
    }
    if !(-1000..=1000).contains(&scale) {
        return Err(invalid(format!("NUMERIC scale {scale} must be between -1000 and 1000")));
    }
    let packed = ((precision as i32) << 16) | (scale as i32 & 0x7ff);
    Ok(SqlType::NUMERIC.with_modifier(packed + 4))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}
