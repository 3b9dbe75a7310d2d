//! Catalog entries in the ordered map, and those that a new server begins with.

use super::{AclItem, Catalog, CatalogEntry, CatalogKey, Privilege, Privileges, Role, Schema};
use crate::encoding::key::{self, Space};
use crate::error::{Error, Result, SqlState};
use crate::types::{Oid, ScopeId, StorageId};
use std::sync::Arc;

/// The first byte of a stored entry.
const FORMAT: u8 = 1;

/// What the keys of all entries begin with.
pub fn entries_prefix() -> Vec<u8> {
    key::prefix(Space::Catalog, StorageId(0), ScopeId::SHARED)
}

/// The relation whose entry stands under a key; none for other keys.
pub fn relation_in_key(key: &[u8]) -> Option<Oid> {
    let of_relation = entry_key(CatalogKey::Relation(Oid(0)));
    let (kind, oid) = key.split_at_checked(of_relation.len() - size_of::<u32>())?;
    let oid = oid.try_into().ok().map(u32::from_be_bytes)?;
    of_relation.starts_with(kind).then_some(Oid(oid))
}

/// The key of an entry.
pub fn entry_key(name: CatalogKey) -> Vec<u8> {
    let (kind, oid) = match name {
        CatalogKey::Schema(oid) => (1, oid),
        CatalogKey::Relation(oid) => (2, oid),
        CatalogKey::Role(oid) => (3, oid),
    };
    let mut out = entries_prefix();
    out.push(kind);
    out.extend_from_slice(&oid.0.to_be_bytes());
    out
}

/// An entry as it is stored.
pub fn encode_entry(entry: &CatalogEntry) -> Result<Vec<u8>> {
    Ok(postcard::to_extend(entry, vec![FORMAT])?)
}

/// A stored entry.
pub fn decode_entry(bytes: &[u8]) -> Result<CatalogEntry> {
    match bytes.split_first() {
        Some((&FORMAT, entry)) => Ok(postcard::from_bytes(entry)?),
        _ => Err(Error::new(SqlState::DATA_CORRUPTED, "stored catalog entry has an unknown format")),
    }
}

/// What exists before anybody made anything: PostgreSQL's schemas, the schema `system`, and one superuser.
pub fn bootstrap(superuser: &str) -> Catalog {
    let mut catalog = Catalog::default();
    let usage = Privileges::of(Privilege::Usage);
    let to_all = |privileges| AclItem {
        grantee: Role::PUBLIC,
        grantor: Role::BOOTSTRAP,
        privileges,
        grant_option: Privileges::NONE,
    };
    let schemas = [
        (Schema::PG_CATALOG, "pg_catalog"),
        (Schema::PUBLIC, "public"),
        (Schema::INFORMATION_SCHEMA, "information_schema"),
        (Schema::SYSTEM, "system"),
    ];
    for (oid, name) in schemas {
        catalog.put(CatalogEntry::Schema(Arc::new(Schema {
            oid,
            name: name.to_owned(),
            owner: Role::BOOTSTRAP,
            acl: vec![to_all(usage)],
        })));
    }
    catalog.put(CatalogEntry::Role(Arc::new(Role {
        oid: Role::BOOTSTRAP,
        name: superuser.to_owned(),
        login: true,
        superuser: true,
        service: false,
        inherit: true,
        create_role: true,
        create_db: true,
        connection_limit: -1,
        verifier: None,
        memberships: Vec::new(),
    })));
    catalog
}

impl Catalog {
    /// Every entry, for storing a whole catalog.
    pub fn entries(&self) -> impl Iterator<Item = CatalogEntry> {
        let schemas = self.schemas().cloned().map(CatalogEntry::Schema);
        let relations = self.relations().cloned().map(CatalogEntry::Relation);
        let roles = self.roles().cloned().map(CatalogEntry::Role);
        schemas.chain(relations).chain(roles)
    }

    /// The first OID that no entry and no constraint has: where counting goes on.
    pub fn oid_end(&self) -> Oid {
        let relations = self.relations().flat_map(|relation| {
            let keys = relation.primary_key.iter().map(|key| key.oid);
            let uniques = relation.uniques.iter().map(|unique| unique.oid);
            let checks = relation.checks.iter().map(|check| check.oid);
            let indexes = relation.indexes.iter().map(|index| index.oid);
            keys.chain(uniques).chain(indexes).chain(checks).chain([relation.oid])
        });
        let schemas = self.schemas().map(|schema| schema.oid);
        let roles = self.roles().map(|role| role.oid);
        let last = relations.chain(schemas).chain(roles).max().unwrap_or(Oid::INVALID);
        Oid(Oid::FIRST_USER.0.max(last.0 + 1))
    }
}
