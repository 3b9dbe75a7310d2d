//! information_schema: tables and columns that the current role may use.

use super::{SystemContext, SystemRelation, text};
use crate::catalog::{Privileges, Relation};
use crate::error::Result;
use crate::types::{Oid, Row, SqlType, Value};

pub(super) const RELATIONS: &[SystemRelation] = &[
    SystemRelation {
        oid: Oid(13100),
        schema: "information_schema",
        name: "tables",
        columns: &[
            ("table_catalog", SqlType::NAME),
            ("table_schema", SqlType::NAME),
            ("table_name", SqlType::NAME),
            ("table_type", SqlType::TEXT),
        ],
        rows: tables,
    },
    SystemRelation {
        oid: Oid(13101),
        schema: "information_schema",
        name: "columns",
        columns: &[
            ("table_catalog", SqlType::NAME),
            ("table_schema", SqlType::NAME),
            ("table_name", SqlType::NAME),
            ("column_name", SqlType::NAME),
            ("ordinal_position", SqlType::INT4),
            ("column_default", SqlType::TEXT),
            ("is_nullable", SqlType::TEXT),
            ("data_type", SqlType::TEXT),
        ],
        rows: columns,
    },
];

/// Relations on which the role has any privilege.
fn visible<'c>(cx: &'c SystemContext) -> impl Iterator<Item = (&'c Relation, &'c str)> {
    let may = |relation: &Relation| {
        let any = (0..7).map(|bit| Privileges(1 << bit));
        any.into_iter().any(|one| cx.catalog.has_privileges(cx.identity.role, relation.owner, &relation.acl, one))
    };
    cx.catalog.relations().filter(move |relation| may(relation)).filter_map(|relation| {
        let schema = cx.catalog.schema(relation.schema)?;
        Some((&**relation, schema.name.as_str()))
    })
}

fn tables(cx: &SystemContext) -> Result<Vec<Row>> {
    let row = |(relation, schema): (&Relation, &str)| {
        vec![Value::Text(cx.identity.database.clone()), text(schema), text(&relation.name), text("BASE TABLE")]
    };
    Ok(visible(cx).filter(|(relation, _)| relation.sequence().is_none()).map(row).collect())
}

fn columns(cx: &SystemContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (relation, schema) in visible(cx).filter(|(relation, _)| relation.sequence().is_none()) {
        for (at, column) in relation.live_columns() {
            rows.push(vec![
                Value::Text(cx.identity.database.clone()),
                text(schema),
                text(&relation.name),
                text(&column.name),
                Value::Int(at as i64 + 1),
                column.default.as_ref().map_or(Value::Null, text),
                text(if column.not_null { "NO" } else { "YES" }),
                text(column.ty.wire().base_name()),
            ]);
        }
    }
    Ok(rows)
}
