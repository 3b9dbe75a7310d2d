//! pg_index, pg_indexes and pg_constraint: indexes, those of constraints too, and constraints.

use super::{SystemContext, SystemRelation, oid, text};
use crate::catalog::{IndexColumn, Relation};
use crate::error::Result;
use crate::expr::quote_identifier;
use crate::types::{Oid, Row, SqlType, StorageId, Value};

pub(super) const RELATIONS: &[SystemRelation] = &[
    SystemRelation {
        oid: Oid(2610),
        schema: "pg_catalog",
        name: "pg_index",
        // lists of numbers as text, for there are no vectors yet
        columns: &[
            ("indexrelid", SqlType::OID),
            ("indrelid", SqlType::OID),
            ("indnatts", SqlType::INT2),
            ("indnkeyatts", SqlType::INT2),
            ("indisunique", SqlType::BOOL),
            ("indnullsnotdistinct", SqlType::BOOL),
            ("indisprimary", SqlType::BOOL),
            ("indisexclusion", SqlType::BOOL),
            ("indimmediate", SqlType::BOOL),
            ("indisclustered", SqlType::BOOL),
            ("indisvalid", SqlType::BOOL),
            ("indcheckxmin", SqlType::BOOL),
            ("indisready", SqlType::BOOL),
            ("indislive", SqlType::BOOL),
            ("indisreplident", SqlType::BOOL),
            ("indkey", SqlType::TEXT),
            ("indoption", SqlType::TEXT),
            ("indexprs", SqlType::TEXT),
            ("indpred", SqlType::TEXT),
        ],
        rows: index,
    },
    SystemRelation {
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
    },
    SystemRelation {
        oid: Oid(2606),
        schema: "pg_catalog",
        name: "pg_constraint",
        columns: &[
            ("oid", SqlType::OID),
            ("conname", SqlType::NAME),
            ("connamespace", SqlType::OID),
            ("contype", SqlType::TEXT),
            ("condeferrable", SqlType::BOOL),
            ("condeferred", SqlType::BOOL),
            ("convalidated", SqlType::BOOL),
            ("conrelid", SqlType::OID),
            ("conindid", SqlType::OID),
        ],
        rows: constraints,
    },
];

/// An index as catalogs show it, whether a constraint has it or not.
pub(super) struct Shown<'r> {
    /// OID in pg_class.
    pub(super) oid: Oid,
    /// Its name.
    pub(super) name: &'r str,
    /// Where its entries are; of a primary key these are the rows.
    pub(super) storage: StorageId,
    unique: bool,
    primary: bool,
    /// What it is sorted by.
    pub(super) columns: Vec<IndexColumn>,
}

/// All indexes of a relation.
pub(super) fn indexes_of(relation: &Relation) -> Vec<Shown<'_>> {
    let ascending = |columns: &[usize]| -> Vec<IndexColumn> {
        columns.iter().map(|&column| IndexColumn { column, descending: false, nulls_first: false }).collect()
    };
    let primary = relation.primary_key.iter().map(|key| Shown {
        oid: key.oid,
        name: &key.name,
        storage: relation.storage,
        unique: true,
        primary: true,
        columns: ascending(&key.columns),
    });
    let uniques = relation.uniques.iter().map(|unique| Shown {
        oid: unique.oid,
        name: &unique.name,
        storage: unique.storage,
        unique: true,
        primary: false,
        columns: ascending(&unique.columns),
    });
    let indexes = relation.indexes.iter().map(|index| Shown {
        oid: index.oid,
        name: &index.name,
        storage: index.storage,
        unique: index.unique,
        primary: false,
        columns: index.columns.clone(),
    });
    primary.chain(uniques).chain(indexes).collect()
}

fn index(cx: &SystemContext) -> Result<Vec<Row>> {
    let [yes, no] = [true, false].map(Value::Bool);
    let spaced = |numbers: Vec<String>| text(numbers.join(" "));
    let mut rows = Vec::new();
    for relation in cx.catalog.relations() {
        for index in indexes_of(relation) {
            let option = |of: &IndexColumn| u8::from(of.descending) + 2 * u8::from(of.nulls_first);
            let count = Value::Int(index.columns.len() as i64);
            rows.push(vec![
                oid(index.oid),
                oid(relation.oid),
                count.clone(),
                count,
                Value::Bool(index.unique),
                no.clone(),
                Value::Bool(index.primary),
                no.clone(),
                yes.clone(),
                no.clone(),
                yes.clone(),
                no.clone(),
                yes.clone(),
                yes.clone(),
                no.clone(),
                spaced(index.columns.iter().map(|of| (of.column + 1).to_string()).collect()),
                spaced(index.columns.iter().map(|of| option(of).to_string()).collect()),
                Value::Null,
                Value::Null,
            ]);
        }
    }
    Ok(rows)
}

fn indexes(cx: &SystemContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for relation in cx.catalog.relations() {
        let Some(schema) = cx.catalog.schema(relation.schema) else { continue };
        for index in indexes_of(relation) {
            let definition = definition(relation, &schema.name, &index);
            rows.push(vec![text(&schema.name), text(&relation.name), text(index.name), Value::Null, text(definition)]);
        }
    }
    Ok(rows)
}

/// As PostgreSQL's pg_get_indexdef spells it.
fn definition(relation: &Relation, schema: &str, index: &Shown) -> String {
    let kind = if index.unique { "UNIQUE INDEX" } else { "INDEX" };
    let columns = index.columns.iter().map(|of| {
        let order = match (of.descending, of.nulls_first) {
            (false, false) => "",
            (false, true) => " NULLS FIRST",
            (true, true) => " DESC",
            (true, false) => " DESC NULLS LAST",
        };
        quote_identifier(&relation.columns[of.column].name) + order
    });
    let columns: Vec<String> = columns.collect();
    let [name, schema, table] = [index.name, schema, &relation.name].map(quote_identifier);
    format!("CREATE {kind} {name} ON {schema}.{table} USING btree ({})", columns.join(", "))
}

fn constraints(cx: &SystemContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for relation in cx.catalog.relations() {
        let mut add = |constraint: Oid, name: &str, kind: &str, index: Oid| {
            rows.push(vec![
                oid(constraint),
                text(name),
                oid(relation.schema),
                text(kind),
                Value::Bool(false),
                Value::Bool(false),
                Value::Bool(true),
                oid(relation.oid),
                oid(index),
            ]);
        };
        relation.primary_key.iter().for_each(|key| add(key.oid, &key.name, "p", key.oid));
        relation.uniques.iter().for_each(|unique| add(unique.oid, &unique.name, "u", unique.oid));
        relation.checks.iter().for_each(|check| add(check.oid, &check.name, "c", Oid::INVALID));
    }
    Ok(rows)
}
