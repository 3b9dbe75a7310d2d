//! System relations: pg_catalog, information_schema and system.*, whose rows are computed from the catalog and the
//! session when a scan begins. The planner and the executor know them as a kind of scan and nothing more.

mod activity;
mod indexes;
mod information;
mod locks;
mod pg;
mod relations;
mod sequences;
mod tertulia;

use crate::activity::Sessions;
use crate::catalog::Catalog;
use crate::error::Result;
use crate::expr::{Identity, Settings};
use crate::live::Hub;
use crate::txn::Transaction;
use crate::types::{Oid, Row, SqlType, Value};

/// A relation that is computed.
pub struct SystemRelation {
    /// OID in pg_class: PostgreSQL's where it has the relation.
    pub oid: Oid,
    /// Schema.
    pub schema: &'static str,
    /// Name.
    pub name: &'static str,
    /// Names and types of the columns.
    pub columns: &'static [(&'static str, SqlType)],
    /// All its rows.
    pub rows: fn(&SystemContext) -> Result<Vec<Row>>,
}

impl std::fmt::Debug for SystemRelation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// What system relations are computed from.
pub struct SystemContext<'a> {
    /// The catalog.
    pub catalog: &'a Catalog,
    /// Who asks.
    pub identity: &'a Identity,
    /// The transaction that asks.
    pub tx: &'a Transaction,
    /// Who listens; none where there are no sessions.
    pub hub: Option<&'a Hub>,
    /// All sessions; none where there are none.
    pub sessions: Option<&'a Sessions>,
    /// The asking session's settings.
    pub settings: &'a dyn Settings,
}

/// The system relation of a schema and name.
pub fn find(schema: &str, name: &str) -> Option<&'static SystemRelation> {
    all().find(|relation| relation.schema == schema && relation.name == name)
}

/// All system relations.
pub fn all() -> impl Iterator<Item = &'static SystemRelation> {
    let own = pg::RELATIONS.iter().chain(relations::RELATIONS).chain(indexes::RELATIONS);
    let own = own.chain(sequences::RELATIONS).chain(locks::RELATIONS);
    own.chain(activity::RELATIONS).chain(information::RELATIONS).chain(tertulia::RELATIONS)
}

fn oid(oid: Oid) -> Value {
    Value::Int(i64::from(oid.0))
}

fn text(value: impl AsRef<str>) -> Value {
    Value::text(value.as_ref())
}
