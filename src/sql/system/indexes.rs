//! pg_catalog.pg_indexes: every index with the statement that makes it.

use super::{SystemContext, SystemRelation, text};
use crate::catalog::{IndexColumn, Relation};
use crate::error::Result;
use crate::expr::quote_identifier;
use crate::types::{Oid, Row, SqlType, Value};

pub(super) const RELATIONS: &[SystemRelation] = &[SystemRelation {
    oid: Oid(12010),
    schema: "pg_catalog",
    name: "pg_indexes",
    columns: &[
        ("schemaname", SqlType::NAME),
        ("tablename", SqlType::NAME),
        ("indexname", SqlType::NAME),
        ("tablespace", SqlType::NAME),
        ("indexdef", SqlType::TEXT),
    ],
    rows: indexes,
}];

fn indexes(cx: &SystemContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for relation in cx.catalog.relations() {
        let Some(schema) = cx.catalog.schema(relation.schema) else { continue };
        let ascending = |columns: &[usize]| -> Vec<IndexColumn> {
            columns.iter().map(|&column| IndexColumn { column, descending: false, nulls_first: false }).collect()
        };
        let mut add = |name: &str, unique: bool, columns: &[IndexColumn]| {
            let definition = definition(relation, &schema.name, name, unique, columns);
            rows.push(vec![text(&schema.name), text(&relation.name), text(name), Value::Null, text(definition)]);
        };
        if let Some(key) = &relation.primary_key {
            add(&key.name, true, &ascending(&key.columns));
        }
        for unique in &relation.uniques {
            add(&unique.name, true, &ascending(&unique.columns));
        }
        for index in &relation.indexes {
            add(&index.name, index.unique, &index.columns);
        }
    }
    Ok(rows)
}

/// As PostgreSQL's pg_get_indexdef spells it.
fn definition(relation: &Relation, schema: &str, name: &str, unique: bool, columns: &[IndexColumn]) -> String {
    let kind = if unique { "UNIQUE INDEX" } else { "INDEX" };
    let columns: Vec<String> = columns
        .iter()
        .map(|of| {
            let order = match (of.descending, of.nulls_first) {
                (false, false) => "",
                (false, true) => " NULLS FIRST",
                (true, true) => " DESC",
                (true, false) => " DESC NULLS LAST",
            };
            quote_identifier(&relation.columns[of.column].name) + order
        })
        .collect();
    let [name, schema, table] = [name, schema, &relation.name].map(quote_identifier);
    format!("CREATE {kind} {name} ON {schema}.{table} USING btree ({})", columns.join(", "))
}
