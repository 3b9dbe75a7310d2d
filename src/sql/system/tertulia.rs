//! system.*: what Tertulia has beyond PostgreSQL.

use super::{SystemContext, SystemRelation, text};
use crate::catalog::RelationKind;
use crate::catalog::{Privilege, Privileges, TableKind};
use crate::error::Result;
use crate::types::{Oid, Row, SqlType, Value};

pub(super) const RELATIONS: &[SystemRelation] = &[
    SystemRelation {
        oid: Oid(9110),
        schema: "system",
        name: "tables",
        columns: &[
            ("schema", SqlType::TEXT),
            ("name", SqlType::TEXT),
            ("type", SqlType::TEXT),
            ("ttl_seconds", SqlType::INT8),
        ],
        rows: tables,
    },
    SystemRelation {
        oid: Oid(9111),
        schema: "system",
        name: "topics",
        columns: &[
            ("topic", SqlType::TEXT),
            ("partitions", SqlType::INT4),
            ("retention_seconds", SqlType::INT8),
            ("max_attempts", SqlType::INT4),
            ("sources", SqlType::INT4),
        ],
        rows: topics,
    },
];

fn tables(cx: &SystemContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for relation in cx.catalog.relations() {
        let RelationKind::Table(kind) = &relation.kind else { continue };
        let schema = cx.catalog.schema(relation.schema).map_or("", |schema| schema.name.as_str());
        let (name, ttl) = match kind {
            TableKind::User => ("USER", Value::Null),
            TableKind::Shared => ("SHARED", Value::Null),
            TableKind::Stream { ttl_micros } => ("STREAM", Value::Int(ttl_micros / 1_000_000)),
        };
        rows.push(vec![text(schema), text(&relation.name), text(name), ttl]);
    }
    Ok(rows)
}

fn topics(cx: &SystemContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for relation in cx.catalog.relations() {
        let Some(topic) = relation.topic() else { continue };
        let select = Privileges::of(Privilege::Select);
        if !cx.catalog.has_privileges(cx.identity.role, relation.owner, &relation.acl, select) {
            continue;
        }
        rows.push(vec![
            text(cx.catalog.qualified_name(relation)),
            Value::Int(i64::from(topic.partitions)),
            Value::Int(topic.retention_micros / 1_000_000),
            topic.max_attempts.map_or(Value::Null, |attempts| Value::Int(i64::from(attempts))),
            Value::Int(topic.sources.len() as i64),
        ]);
    }
    Ok(rows)
}
