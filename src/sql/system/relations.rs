//! pg_class, pg_attribute and pg_am: relations, their indexes among them, and their columns.

use super::indexes::indexes_of;
use super::{SystemContext, SystemRelation, oid, text};
use crate::catalog::RelationKind;
use crate::error::Result;
use crate::types::{Oid, Row, SqlType, StorageId, Value};

/// The access method of tables.
const HEAP: Oid = Oid(2);
/// The access method of indexes.
const BTREE: Oid = Oid(403);

pub(super) const RELATIONS: &[SystemRelation] = &[
    SystemRelation {
        oid: Oid(1259),
        schema: "pg_catalog",
        name: "pg_class",
        columns: &[
            ("oid", SqlType::OID),
            ("relname", SqlType::NAME),
            ("relnamespace", SqlType::OID),
            ("reltype", SqlType::OID),
            ("reloftype", SqlType::OID),
            ("relowner", SqlType::OID),
            ("relam", SqlType::OID),
            ("relfilenode", SqlType::OID),
            ("reltablespace", SqlType::OID),
            ("relpages", SqlType::INT4),
            ("reltuples", SqlType::FLOAT8),
            ("relallvisible", SqlType::INT4),
            ("reltoastrelid", SqlType::OID),
            ("relhasindex", SqlType::BOOL),
            ("relisshared", SqlType::BOOL),
            ("relpersistence", SqlType::TEXT),
            ("relkind", SqlType::TEXT),
            ("relnatts", SqlType::INT2),
            ("relchecks", SqlType::INT2),
            ("relhasrules", SqlType::BOOL),
            ("relhastriggers", SqlType::BOOL),
            ("relhassubclass", SqlType::BOOL),
            ("relrowsecurity", SqlType::BOOL),
            ("relforcerowsecurity", SqlType::BOOL),
            ("relispopulated", SqlType::BOOL),
            ("relreplident", SqlType::TEXT),
            ("relispartition", SqlType::BOOL),
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
        oid: Oid(2601),
        schema: "pg_catalog",
        name: "pg_am",
        columns: &[("oid", SqlType::OID), ("amname", SqlType::NAME), ("amtype", SqlType::TEXT)],
        rows: access_methods,
    },
];

/// What tells rows of pg_class apart.
struct Class<'c> {
    oid: Oid,
    name: &'c str,
    schema: Oid,
    owner: Oid,
    access_method: Oid,
    /// Where the rows or the entries are; a rewrite changes it.
    storage: StorageId,
    kind: &'static str,
    /// Whether it is gone after a restart.
    is_volatile: bool,
    columns: usize,
    checks: usize,
    has_index: bool,
}

impl Class<'_> {
    /// How many rows a relation has nobody counts, as in PostgreSQL before the first VACUUM: -1.
    fn row(self) -> Row {
        let none = || oid(Oid::INVALID);
        let no = || Value::Bool(false);
        let is_table = self.kind == "r";
        vec![
            oid(self.oid),
            text(self.name),
            oid(self.schema),
            none(),
            none(),
            oid(self.owner),
            oid(self.access_method),
            Value::Int(i64::from(self.storage.0)),
            none(),
            Value::Int(0),
            Value::Float(-1.0),
            Value::Int(0),
            none(),
            Value::Bool(self.has_index),
            no(),
            text(if self.is_volatile { "u" } else { "p" }),
            text(self.kind),
            Value::Int(self.columns as i64),
            Value::Int(self.checks as i64),
            no(),
            no(),
            no(),
            no(),
            no(),
            Value::Bool(true),
            text(if is_table { "d" } else { "n" }),
            no(),
        ]
    }
}

fn classes(cx: &SystemContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for relation in cx.catalog.relations() {
        let (kind, access_method) = match relation.kind {
            RelationKind::System => ("v", Oid::INVALID),
            RelationKind::Sequence(_) => ("S", Oid::INVALID),
            RelationKind::Table(_) | RelationKind::Topic(_) => ("r", HEAP),
        };
        let indexes = indexes_of(relation);
        let class = Class {
            oid: relation.oid,
            name: &relation.name,
            schema: relation.schema,
            owner: relation.owner,
            access_method,
            storage: relation.storage,
            kind,
            is_volatile: relation.is_volatile(),
            columns: relation.columns.len(),
            checks: relation.checks.len(),
            has_index: !indexes.is_empty(),
        };
        rows.push(class.row());
        for index in indexes {
            let class = Class {
                oid: index.oid,
                name: index.name,
                schema: relation.schema,
                owner: relation.owner,
                access_method: BTREE,
                storage: index.storage,
                kind: "i",
                is_volatile: relation.is_volatile(),
                columns: index.columns.len(),
                checks: 0,
                has_index: false,
            };
            rows.push(class.row());
        }
    }
    let system = super::all().filter_map(|relation| {
        let schema = cx.catalog.schema_by_name(relation.schema)?;
        let class = Class {
            oid: relation.oid,
            name: relation.name,
            schema: schema.oid,
            owner: schema.owner,
            access_method: Oid::INVALID,
            storage: StorageId(0),
            kind: "v",
            is_volatile: false,
            columns: relation.columns.len(),
            checks: 0,
            has_index: false,
        };
        Some(class.row())
    });
    rows.extend(system);
    Ok(rows)
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
        for index in indexes_of(relation) {
            for (at, name) in relation.index_column_names(&index.columns).into_iter().enumerate() {
                let ty = relation.columns[index.columns[at].column].ty;
                rows.push(vec![
                    oid(index.oid),
                    text(name),
                    oid(ty.oid),
                    Value::Int(at as i64 + 1),
                    Value::Int(i64::from(ty.modifier)),
                    Value::Bool(false),
                    Value::Bool(false),
                    Value::Bool(false),
                ]);
            }
        }
    }
    Ok(rows)
}

fn access_methods(_: &SystemContext) -> Result<Vec<Row>> {
    Ok(vec![vec![oid(HEAP), text("heap"), text("t")], vec![oid(BTREE), text("btree"), text("i")]])
}
