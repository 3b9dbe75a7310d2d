//! SQL types as PostgreSQL numbers them.

use super::Oid;
use serde::{Deserialize, Serialize};

/// A SQL type: its OID in pg_type and its modifier (`varchar(n)` has n + 4, `numeric(p,s)` PostgreSQL's packing; -1 is
/// none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SqlType {
    /// OID in pg_type.
    pub oid: Oid,
    /// Type modifier, -1 for none.
    pub modifier: i32,
}

/// PostgreSQL's type categories as far as resolution needs them (manual, table 53.64).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeCategory {
    /// `B`
    Boolean,
    /// `D`
    DateTime,
    /// `N`
    Numeric,
    /// `P`
    Pseudo,
    /// `S`
    String,
    /// `T`
    Timespan,
    /// `U`
    User,
    /// `X`
    Unknown,
}

/// One row of the table below: constant, OID, internal name, SQL name, pg_type.typlen, category, preferred.
macro_rules! builtin_types {
    ($(($konst:ident, $oid:literal, $name:literal, $sql:literal, $len:literal, $category:ident, $preferred:literal),)*) => {
        impl SqlType {
            $(#[doc = concat!("`", $sql, "`")] pub const $konst: SqlType = SqlType { oid: Oid($oid), modifier: -1 };)*

            /// Every built-in type that this version has.
            pub const ALL: &'static [SqlType] = &[$(SqlType::$konst,)*];

            /// pg_type.typname, for example `int8`; none for an OID that is not built in.
            pub fn internal_name(self) -> Option<&'static str> {
                match self.oid.0 { $($oid => Some($name),)* _ => None }
            }

            /// The name that error messages and format_type() use, without modifier, for example `bigint`.
            pub fn base_name(self) -> &'static str {
                match self.oid.0 { $($oid => $sql,)* _ => "???" }
            }

            /// pg_type.typlen: bytes, -1 for a variable length, -2 for a C string.
            pub fn typlen(self) -> i16 {
                match self.oid.0 { $($oid => $len,)* _ => -1 }
            }

            /// The category that operator and function resolution looks at.
            pub fn category(self) -> TypeCategory {
                match self.oid.0 { $($oid => TypeCategory::$category,)* _ => TypeCategory::User }
            }

            /// Whether the type is preferred within its category.
            pub fn is_preferred(self) -> bool {
                match self.oid.0 { $($oid => $preferred,)* _ => false }
            }
        }
    };
}

builtin_types! {
    (BOOL, 16, "bool", "boolean", 1, Boolean, true),
    (BYTEA, 17, "bytea", "bytea", -1, User, false),
    (NAME, 19, "name", "name", 64, String, false),
    (INT8, 20, "int8", "bigint", 8, Numeric, false),
    (INT2, 21, "int2", "smallint", 2, Numeric, false),
    (INT4, 23, "int4", "integer", 4, Numeric, false),
    (TEXT, 25, "text", "text", -1, String, true),
    (OID, 26, "oid", "oid", 4, Numeric, true),
    (JSON, 114, "json", "json", -1, User, false),
    (FLOAT8, 701, "float8", "double precision", 8, Numeric, true),
    (UNKNOWN, 705, "unknown", "unknown", -2, Unknown, false),
    (VARCHAR, 1043, "varchar", "character varying", -1, String, false),
    (DATE, 1082, "date", "date", 4, DateTime, false),
    (TIMESTAMP, 1114, "timestamp", "timestamp without time zone", 8, DateTime, false),
    (TIMESTAMPTZ, 1184, "timestamptz", "timestamp with time zone", 8, DateTime, true),
    (INTERVAL, 1186, "interval", "interval", 16, Timespan, true),
    (NUMERIC, 1700, "numeric", "numeric", -1, Numeric, false),
    (REGTYPE, 2206, "regtype", "regtype", 4, Numeric, false),
    (VOID, 2278, "void", "void", 4, Pseudo, false),
    (UUID, 2950, "uuid", "uuid", 16, User, false),
    (JSONB, 3802, "jsonb", "jsonb", -1, User, false),
    (FILE, 9000, "file", "file", -1, User, false),
}

impl SqlType {
    /// The same type with a modifier.
    pub fn with_modifier(self, modifier: i32) -> SqlType {
        SqlType { modifier, ..self }
    }

    /// The same type without its modifier.
    pub fn base(self) -> SqlType {
        SqlType { modifier: -1, ..self }
    }

    /// What RowDescription says: FILE is a domain over jsonb, and domains are sent as their base type.
    pub fn wire(self) -> SqlType {
        if self.oid == SqlType::FILE.oid { SqlType::JSONB } else { self }
    }

    /// Equality without modifiers.
    pub fn same(self, other: SqlType) -> bool {
        self.oid == other.oid
    }

    /// smallint, integer, bigint or oid: stored as [`Value::Int`](super::Value::Int).
    pub fn is_integer(self) -> bool {
        [SqlType::INT2.oid, SqlType::INT4.oid, SqlType::INT8.oid, SqlType::OID.oid].contains(&self.oid)
    }

    /// format_type(oid, modifier): `character varying(20)`, `numeric(10,2)`.
    pub fn display_name(self) -> String {
        match (self.oid, self.modifier) {
            (oid, m) if oid == SqlType::VARCHAR.oid && m >= 4 => format!("character varying({})", m - 4),
            (oid, m) if oid == SqlType::NUMERIC.oid && m >= 4 => {
                format!("numeric({},{})", ((m - 4) >> 16) & 0xffff, (m - 4) & 0x7ff)
            }
            (oid, digits @ 0..) if oid == SqlType::TIMESTAMP.oid => format!("timestamp({digits}) without time zone"),
            (oid, digits @ 0..) if oid == SqlType::TIMESTAMPTZ.oid => format!("timestamp({digits}) with time zone"),
            _ => self.base_name().to_owned(),
        }
    }
}
