//! pg_locks: what the lock manager holds and who waits.

use super::{SystemContext, SystemRelation, oid, text};
use crate::catalog::CatalogKey;
use crate::error::Result;
use crate::txn::{LockInfo, LockedThing};
use crate::types::datetime::from_unix_micros;
use crate::types::{Oid, Row, SqlType, Value};

pub(super) const RELATIONS: &[SystemRelation] = &[SystemRelation {
    oid: Oid(12073),
    schema: "pg_catalog",
    name: "pg_locks",
    columns: &[
        ("locktype", SqlType::TEXT),
        ("database", SqlType::OID),
        ("relation", SqlType::OID),
        ("page", SqlType::INT4),
        ("tuple", SqlType::INT2),
        ("virtualxid", SqlType::TEXT),
        ("transactionid", SqlType::INT8),
        ("classid", SqlType::OID),
        ("objid", SqlType::OID),
        ("objsubid", SqlType::INT2),
        ("virtualtransaction", SqlType::TEXT),
        ("pid", SqlType::INT4),
        ("mode", SqlType::TEXT),
        ("granted", SqlType::BOOL),
        ("fastpath", SqlType::BOOL),
        ("waitstart", SqlType::TIMESTAMPTZ),
    ],
    rows: locks,
}];

/// The columns that say what is locked.
struct Thing {
    kind: &'static str,
    database: Option<Oid>,
    relation: Option<Oid>,
    virtual_xid: Option<String>,
    transaction: Option<u64>,
    /// Class, object, and what of it.
    object: Option<(Oid, Oid, u16)>,
}

fn thing_of(info: &LockInfo) -> Thing {
    let none = Thing {
        kind: info.thing.kind(),
        database: Some(Oid::DATABASE),
        relation: None,
        virtual_xid: None,
        transaction: None,
        object: None,
    };
    match info.thing {
        LockedThing::Relation(relation) => Thing { relation: Some(relation), ..none },
        LockedThing::Tuple(relation) => Thing { relation: Some(relation), ..none },
        LockedThing::Transaction(id) => Thing { database: None, transaction: Some(id), ..none },
        LockedThing::Virtual(id) => Thing { database: None, virtual_xid: Some(format!("{}/{id}", info.pid)), ..none },
        LockedThing::Advisory(key) => Thing { object: Some((Oid(key.class), Oid(key.object), key.sub)), ..none },
        LockedThing::Entry(key) => {
            let (class, object) = match key {
                CatalogKey::Schema(oid) => (Oid(2615), oid),
                CatalogKey::Relation(oid) => (Oid(1259), oid),
                CatalogKey::Role(oid) => (Oid(1260), oid),
            };
            Thing { object: Some((class, object, 0)), ..none }
        }
    }
}

fn locks(cx: &SystemContext) -> Result<Vec<Row>> {
    let or_null = |known: Option<Oid>| known.map_or(Value::Null, oid);
    let row = |info: LockInfo| {
        let thing = thing_of(&info);
        vec![
            text(thing.kind),
            or_null(thing.database),
            or_null(thing.relation),
            // a row has a key and no place
            Value::Null,
            Value::Null,
            thing.virtual_xid.map_or(Value::Null, text),
            thing.transaction.map_or(Value::Null, |id| Value::Int(id as i64)),
            or_null(thing.object.map(|(class, ..)| class)),
            or_null(thing.object.map(|(_, object, _)| object)),
            thing.object.map_or(Value::Null, |(.., sub)| Value::Int(sub.into())),
            text(format!("{}/{}", info.pid, info.transaction.unwrap_or(0))),
            if info.pid == 0 { Value::Null } else { Value::Int(info.pid.into()) },
            text(info.mode.name()),
            Value::Bool(info.granted),
            Value::Bool(false),
            info.since.map_or(Value::Null, |since| Value::Timestamp(from_unix_micros(since))),
        ]
    };
    Ok(cx.tx.engine().lock_report().into_iter().map(row).collect())
}
