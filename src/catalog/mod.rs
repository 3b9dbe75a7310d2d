//! The catalog: what exists, who owns it and who may use it.
//!
//! A [`Catalog`] is an immutable snapshot; a commit with DDL publishes a new one. A transaction with DDL of its own
//! works on a private copy. Every object is stored as one entry of the ordered map (space `catalog`), so DDL is an
//! ordinary write: transactional, numbered, observable.

mod relation;
mod role;
mod schema;
mod snapshot;
mod stored;

pub use relation::{
    Check, Column, Index, IndexColumn, Payload, PrimaryKey, Relation, RelationKind, Sequence, Source, SourceOps,
    TableKind, Topic, Unique, oids_in,
};
pub use role::{AclItem, Membership, Privilege, Privileges, Role};
pub use schema::Schema;
pub use snapshot::{Catalog, CatalogEntry, CatalogKey, CatalogName};
pub use stored::{bootstrap, decode_entry, encode_entry, entries_prefix, entry_key, relation_in_key};
