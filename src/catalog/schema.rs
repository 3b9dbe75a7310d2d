//! Schemas, which the surface also calls namespaces.

use super::AclItem;
use crate::types::Oid;
use serde::{Deserialize, Serialize};

/// A schema.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Schema {
    /// OID in pg_namespace.
    pub oid: Oid,
    /// Name, unique in the database.
    pub name: String,
    /// Owning role.
    pub owner: Oid,
    /// Grants beyond the owner's.
    pub acl: Vec<AclItem>,
}

impl Schema {
    /// pg_catalog's OID, as in PostgreSQL.
    pub const PG_CATALOG: Oid = Oid(11);
    /// public's OID, as in PostgreSQL.
    pub const PUBLIC: Oid = Oid(2200);
    /// information_schema's OID.
    pub const INFORMATION_SCHEMA: Oid = Oid(13000);
    /// The schema `system` of Tertulia's own views.
    pub const SYSTEM: Oid = Oid(9100);
}
