//! pg_namespace, pg_type, pg_roles and pg_database.

use super::{SystemContext, SystemRelation, oid, text};
use crate::error::Result;
use crate::types::{Oid, Row, SqlType, TypeCategory, Value};

pub(super) const RELATIONS: &[SystemRelation] = &[
    SystemRelation {
        oid: Oid(2615),
        schema: "pg_catalog",
        name: "pg_namespace",
        columns: &[("oid", SqlType::OID), ("nspname", SqlType::NAME), ("nspowner", SqlType::OID)],
        rows: namespaces,
    },
    SystemRelation {
        oid: Oid(1247),
        schema: "pg_catalog",
        name: "pg_type",
        columns: &[
            ("oid", SqlType::OID),
            ("typname", SqlType::NAME),
            ("typnamespace", SqlType::OID),
            ("typlen", SqlType::INT2),
            ("typtype", SqlType::TEXT),
            ("typcategory", SqlType::TEXT),
            ("typispreferred", SqlType::BOOL),
            ("typrelid", SqlType::OID),
            ("typelem", SqlType::OID),
            ("typarray", SqlType::OID),
            ("typbasetype", SqlType::OID),
        ],
        rows: types,
    },
    SystemRelation {
        oid: Oid(12000),
        schema: "pg_catalog",
        name: "pg_roles",
        columns: &[
            ("oid", SqlType::OID),
            ("rolname", SqlType::NAME),
            ("rolsuper", SqlType::BOOL),
            ("rolinherit", SqlType::BOOL),
            ("rolcreaterole", SqlType::BOOL),
            ("rolcreatedb", SqlType::BOOL),
            ("rolcanlogin", SqlType::BOOL),
            ("rolconnlimit", SqlType::INT4),
            ("rolservice", SqlType::BOOL),
        ],
        rows: roles,
    },
    SystemRelation {
        oid: Oid(1262),
        schema: "pg_catalog",
        name: "pg_database",
        columns: &[("oid", SqlType::OID), ("datname", SqlType::NAME)],
        rows: databases,
    },
];

fn namespaces(cx: &SystemContext) -> Result<Vec<Row>> {
    Ok(cx.catalog.schemas().map(|schema| vec![oid(schema.oid), text(&schema.name), oid(schema.owner)]).collect())
}

fn types(cx: &SystemContext) -> Result<Vec<Row>> {
    let schema = cx.catalog.schema_by_name("pg_catalog").map_or(Oid::INVALID, |schema| schema.oid);
    let row = |ty: &SqlType| {
        let category = match ty.category() {
            TypeCategory::Boolean => "B",
            TypeCategory::DateTime => "D",
            TypeCategory::Numeric => "N",
            TypeCategory::Pseudo => "P",
            TypeCategory::String => "S",
            TypeCategory::Timespan => "T",
            TypeCategory::User => "U",
            TypeCategory::Unknown => "X",
        };
        let domain = ty.same(SqlType::FILE);
        let kind = match ty.category() {
            TypeCategory::Pseudo | TypeCategory::Unknown => "p",
            _ if domain => "d",
            _ => "b",
        };
        vec![
            oid(ty.oid),
            text(ty.internal_name().unwrap_or_default()),
            oid(schema),
            Value::Int(i64::from(ty.typlen())),
            text(kind),
            text(category),
            Value::Bool(ty.is_preferred()),
            oid(Oid::INVALID),
            oid(Oid::INVALID),
            oid(Oid::INVALID),
            oid(if domain { SqlType::JSONB.oid } else { Oid::INVALID }),
        ]
    };
    Ok(SqlType::ALL.iter().map(row).collect())
}

fn roles(cx: &SystemContext) -> Result<Vec<Row>> {
    let roles = cx.catalog.roles().map(|role| {
        vec![
            oid(role.oid),
            text(&role.name),
            Value::Bool(role.superuser),
            Value::Bool(role.inherit),
            Value::Bool(role.create_role),
            Value::Bool(role.create_db),
            Value::Bool(role.login),
            Value::Int(i64::from(role.connection_limit)),
            Value::Bool(role.service),
        ]
    });
    Ok(roles.collect())
}

fn databases(cx: &SystemContext) -> Result<Vec<Row>> {
    Ok(vec![vec![Value::Int(i64::from(Oid::DATABASE.0)), Value::Text(cx.identity.database.clone())]])
}
