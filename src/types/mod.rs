//! Values and SQL types: what a column holds, how it compares, and its text and binary forms on the wire.
//!
//! A [`SqlType`] is PostgreSQL's pair of type OID and modifier, so enums, domains and arrays can be added as catalog
//! rows. A [`Value`] does not know its SQL type; whoever handles it (a bound expression, a column) does.

pub mod binary;
mod compare;
pub mod datetime;
mod ids;
pub mod json;
pub mod numeric;
mod sql_type;
pub mod text;
mod value;
mod zone;

pub use compare::{compare, compare_intervals};
pub use ids::{CommitSeq, Oid, ScopeId, StorageId};
pub use sql_type::{SqlType, TypeCategory};
pub use value::{Interval, Numeric, Row, Str, Value};
pub use zone::Zone;
