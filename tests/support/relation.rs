//! A table without SQL: for tests and benches of the engine alone.

use std::sync::Arc;
use tertulia::catalog::{CatalogEntry, Column, PrimaryKey, Relation, RelationKind, Schema, TableKind, Unique};
use tertulia::txn::{LockKey, LockMode, LockPolicy, Transaction};
use tertulia::types::{Oid, SqlType};

/// Makes the table `name (id bigint PRIMARY KEY, body text)`, its body UNIQUE if it is to be. It is there for others when
/// the transaction is committed.
pub fn create_table(transaction: &mut Transaction, name: &str, kind: TableKind, unique: bool) -> Oid {
    let column = |name: &str, ty| Column {
        name: name.into(),
        ty,
        not_null: false,
        default: None,
        dropped: false,
        missing: None,
    };
    let key = PrimaryKey { oid: transaction.alloc_oid(), name: format!("{name}_pkey"), columns: vec![0] };
    let unique = unique.then(|| Unique {
        oid: transaction.alloc_oid(),
        name: format!("{name}_body_key"),
        columns: vec![1],
        storage: transaction.alloc_storage(),
    });
    let relation = Relation {
        oid: transaction.alloc_oid(),
        schema: Schema::PUBLIC,
        name: name.into(),
        owner: Oid(10),
        kind: RelationKind::Table(kind),
        storage: transaction.alloc_storage(),
        columns: vec![column("id", SqlType::INT8), column("body", SqlType::TEXT)],
        row_version: 0,
        readable_from: 0,
        primary_key: Some(key),
        uniques: unique.into_iter().collect(),
        indexes: Vec::new(),
        checks: Vec::new(),
        acl: Vec::new(),
        options: Vec::new(),
    };
    let oid = relation.oid;
    let entry = CatalogEntry::Relation(Arc::new(relation));
    transaction.lock(LockKey::Entry(entry.key()), LockMode::Exclusive, LockPolicy::Wait).unwrap();
    transaction.put_catalog(entry).unwrap();
    oid
}
