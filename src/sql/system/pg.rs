//! pg_catalog: the part of it that tools ask for first.

use super::{SystemContext, SystemRelation, oid, text};
use crate::catalog::{Relation, RelationKind};
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
        oid: Oid(1259),
        schema: "pg_catalog",
        name: "pg_class",
        columns: &[
            ("oid", SqlType::OID),
            ("relname", SqlType::NAME),
            ("relnamespace", SqlType::OID),
            ("relowner", SqlType::OID),
            ("relkind", SqlType::TEXT),
            ("relnatts", SqlType::INT2),
            ("relchecks", SqlType::INT2),
            ("relhasindex", SqlType::BOOL),
        ],
        rows: classes,
    },
    SystemRelation {
        oid: Oid(1249),
        schema: "pg_catalog",
        name: "pg_attribute",
        columns: &[
            ("attrelid", SqlType::OID),
            ("attname", SqlType::NAME),
            ("atttypid", SqlType::OID),
            ("attnum", SqlType::INT2),
            ("atttypmod", SqlType::INT4),
            ("attnotnull", SqlType::BOOL),
            ("atthasdef", SqlType::BOOL),
            ("attisdropped", SqlType::BOOL),
        ],
        rows: attributes,
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

fn classes(cx: &SystemContext) -> Result<Vec<Row>> {
    let row = |relation: &Relation| {
        vec![
            oid(relation.oid),
            text(&relation.name),
            oid(relation.schema),
            oid(relation.owner),
            text(match relation.kind {
                RelationKind::System => "v",
                RelationKind::Sequence(_) => "S",
                RelationKind::Table(_) | RelationKind::Topic(_) => "r",
            }),
            Value::Int(relation.columns.len() as i64),
            Value::Int(relation.checks.len() as i64),
            Value::Bool(relation.primary_key.is_some() || relation.index_storages().next().is_some()),
        ]
    };
    let own = cx.catalog.relations().map(|relation| row(relation));
    let system = super::all().filter_map(|relation| {
        let schema = cx.catalog.schema_by_name(relation.schema)?;
        Some(vec![
            oid(relation.oid),
            text(relation.name),
            oid(schema.oid),
            oid(schema.owner),
            text("v"),
            Value::Int(relation.columns.len() as i64),
            Value::Int(0),
            Value::Bool(false),
        ])
    });
    Ok(own.chain(system).collect())
}

fn attributes(cx: &SystemContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for relation in cx.catalog.relations() {
        for (at, column) in relation.columns.iter().enumerate() {
            let name =
                if column.dropped { format!("........pg.dropped.{}........", at + 1) } else { column.name.clone() };
            rows.push(vec![
                oid(relation.oid),
                text(name),
                oid(if column.dropped { Oid::INVALID } else { column.ty.oid }),
                Value::Int(at as i64 + 1),
                Value::Int(i64::from(column.ty.modifier)),
                Value::Bool(column.not_null),
                Value::Bool(column.default.is_some()),
                Value::Bool(column.dropped),
            ]);
        }
    }
    Ok(rows)
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
