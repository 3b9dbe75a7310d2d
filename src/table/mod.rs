//! Tables as keys and rows: what a write to a table means for the ordered map.
//!
//! A [`Model`] is prepared once for a version of a relation and kept by plans. It knows the row's layout, the key under
//! which a row stands and the entries that keep unique constraints. The scope is an argument of every key: there is no
//! way to name a row without saying whose it is.

mod model;
mod violation;

pub use model::{IndexModel, Model};
pub use violation::{
    check_violation, contains_nulls, duplicate_violation, entry_without_row, failing_row, unique_violation,
    violated_by_some_row,
};
