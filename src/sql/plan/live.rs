//! What a SUBSCRIBE goes on with after its snapshot.

use crate::expr::Expr;
use crate::live::Selected;
use crate::table::Model;
use std::sync::Arc;

/// A live query, generic in its parameters and in whose rows it tells of.
#[derive(Debug)]
pub struct LiveSpec {
    /// The channel.
    pub channel: String,
    /// The table.
    pub model: Arc<Model>,
    /// Which rows, over the table's columns and system columns.
    pub filter: Option<Expr>,
    /// What is said of them.
    pub columns: Vec<Selected>,
    /// How many rows the snapshot has at most.
    pub last_rows: Option<Expr>,
    /// How many rows an event has at most.
    pub batch_size: Option<Expr>,
    /// Where it resumes instead of a snapshot; NULL is not at all.
    pub from_seq: Option<Expr>,
}
