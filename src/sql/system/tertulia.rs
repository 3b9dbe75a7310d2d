//! system.*: what Tertulia has beyond PostgreSQL.

use super::{SystemContext, SystemRelation, text};
use crate::catalog::{Privilege, Privileges, Relation, RelationKind, TableKind};
use crate::error::Result;
use crate::live::Hub;
use crate::txn::offset_end;
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
    SystemRelation {
        oid: Oid(9112),
        schema: "system",
        name: "live",
        columns: &[
            ("id", SqlType::TEXT),
            ("channel", SqlType::TEXT),
            ("relation", SqlType::TEXT),
            ("type", SqlType::TEXT),
            ("role", SqlType::TEXT),
            ("user_id", SqlType::TEXT),
            ("since_seq", SqlType::INT8),
            ("delivered_seq", SqlType::INT8),
            ("lag", SqlType::INT8),
            ("queued", SqlType::INT8),
            ("queued_bytes", SqlType::INT8),
            ("sent", SqlType::INT8),
        ],
        rows: live,
    },
    SystemRelation {
        oid: Oid(9113),
        schema: "system",
        name: "topic_groups",
        columns: &[
            ("topic", SqlType::TEXT),
            ("group_name", SqlType::TEXT),
            ("partition", SqlType::INT4),
            ("position", SqlType::INT8),
            ("lag", SqlType::INT8),
            ("in_flight", SqlType::INT8),
            ("skipped", SqlType::INT8),
        ],
        rows: topic_groups,
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

/// Superusers see all, others those of their own role and user.
fn live(cx: &SystemContext) -> Result<Vec<Row>> {
    let superuser = cx.catalog.role(cx.identity.role).is_some_and(|role| role.superuser);
    let mut rows = Vec::new();
    for query in cx.hub.map(Hub::live_queries).unwrap_or_default() {
        if !superuser && (query.role, &query.user_id) != (cx.identity.role, &cx.identity.user_id) {
            continue;
        }
        let relation = cx.catalog.relation(query.relation);
        rows.push(vec![
            text(query.id.to_string()),
            Value::Text(query.channel),
            relation.map_or(Value::Null, |relation| text(cx.catalog.qualified_name(relation))),
            text(if query.is_query { "rows" } else { "topic" }),
            cx.catalog.role(query.role).map_or(Value::Null, |role| text(&role.name)),
            Value::Text(query.user_id),
            Value::Int(query.since.0 as i64),
            Value::Int(query.delivered.0 as i64),
            Value::Int(query.lag as i64),
            Value::Int(query.queued as i64),
            Value::Int(query.queued_bytes as i64),
            Value::Int(query.sent as i64),
        ]);
    }
    Ok(rows)
}

fn topics(cx: &SystemContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for relation in cx.catalog.relations() {
        let Some(topic) = relation.topic() else { continue };
        if !may_see(cx, relation) {
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

/// Whoever may read a topic or consume from it knows of it.
fn may_see(cx: &SystemContext, topic: &Relation) -> bool {
    [Privilege::Select, Privilege::Update].into_iter().any(|privilege| {
        cx.catalog.has_privileges(cx.identity.role, topic.owner, &topic.acl, Privileges::of(privilege))
    })
}

fn topic_groups(cx: &SystemContext) -> Result<Vec<Row>> {
    let engine = cx.tx.engine();
    let now = engine.env().monotonic();
    let snapshot = engine.snapshot()?;
    let mut rows = Vec::new();
    for relation in cx.catalog.relations().filter(|relation| relation.topic().is_some() && may_see(cx, relation)) {
        let topic = cx.catalog.qualified_name(relation);
        for group in engine.groups_of(relation)? {
            for partition in 0..group.partitions() {
                let end = offset_end(&snapshot, relation.storage, partition)?;
                let progress = group.progress(partition, now);
                let lag = end.saturating_sub(progress.position).saturating_sub(progress.acked);
                rows.push(vec![
                    text(&topic),
                    Value::Text(group.name().clone()),
                    Value::Int(i64::from(partition)),
                    Value::Int(progress.position as i64),
                    Value::Int(lag as i64),
                    Value::Int(progress.in_flight as i64),
                    Value::Int(progress.skipped as i64),
                ]);
            }
        }
    }
    Ok(rows)
}
