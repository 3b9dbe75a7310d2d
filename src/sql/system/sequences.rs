//! pg_sequence and pg_sequences.

use super::{SystemContext, SystemRelation, oid, text};
use crate::catalog::{Privilege, Privileges, Relation, Sequence};
use crate::error::Result;
use crate::types::{Oid, Row, SqlType, Value};

pub(super) const RELATIONS: &[SystemRelation] = &[
    SystemRelation {
        oid: Oid(2224),
        schema: "pg_catalog",
        name: "pg_sequence",
        columns: &[
            ("seqrelid", SqlType::OID),
            ("seqtypid", SqlType::OID),
            ("seqstart", SqlType::INT8),
            ("seqincrement", SqlType::INT8),
            ("seqmax", SqlType::INT8),
            ("seqmin", SqlType::INT8),
            ("seqcache", SqlType::INT8),
            ("seqcycle", SqlType::BOOL),
        ],
        rows: sequence,
    },
    SystemRelation {
        oid: Oid(12044),
        schema: "pg_catalog",
        name: "pg_sequences",
        columns: &[
            ("schemaname", SqlType::NAME),
            ("sequencename", SqlType::NAME),
            ("sequenceowner", SqlType::NAME),
            ("data_type", SqlType::REGTYPE),
            ("start_value", SqlType::INT8),
            ("min_value", SqlType::INT8),
            ("max_value", SqlType::INT8),
            ("increment_by", SqlType::INT8),
            ("cycle", SqlType::BOOL),
            ("cache_size", SqlType::INT8),
            ("last_value", SqlType::INT8),
        ],
        rows: sequences,
    },
];

fn all<'c>(cx: &'c SystemContext) -> impl Iterator<Item = (&'c Relation, &'c Sequence)> {
    cx.catalog.relations().filter_map(|relation| Some((&**relation, relation.sequence()?)))
}

fn sequence(cx: &SystemContext) -> Result<Vec<Row>> {
    let row = |(relation, sequence): (&Relation, &Sequence)| {
        vec![
            oid(relation.oid),
            oid(sequence.ty.oid),
            Value::Int(sequence.start),
            Value::Int(sequence.increment),
            Value::Int(sequence.max),
            Value::Int(sequence.min),
            Value::Int(sequence.cache),
            Value::Bool(sequence.cycle),
        ]
    };
    Ok(all(cx).map(row).collect())
}

fn sequences(cx: &SystemContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (relation, sequence) in all(cx) {
        let may = |privilege| {
            let wanted = Privileges::of(privilege);
            cx.catalog.has_privileges(cx.identity.role, relation.owner, &relation.acl, wanted)
        };
        let last = match may(Privilege::Usage) || may(Privilege::Select) {
            true => Some(cx.tx.engine().counter(relation)?.state(sequence)).filter(|state| state.is_called),
            false => None,
        };
        rows.push(vec![
            cx.catalog.schema(relation.schema).map_or(Value::Null, |schema| text(&schema.name)),
            text(&relation.name),
            cx.catalog.role(relation.owner).map_or(Value::Null, |role| text(&role.name)),
            oid(sequence.ty.oid),
            Value::Int(sequence.start),
            Value::Int(sequence.min),
            Value::Int(sequence.max),
            Value::Int(sequence.increment),
            Value::Bool(sequence.cycle),
            Value::Int(sequence.cache),
            last.map_or(Value::Null, |state| Value::Int(state.last)),
        ]);
    }
    Ok(rows)
}
