//! COPY FROM STDIN: rows of a table that the client sends as text.

use crate::expr::Expr;
use crate::table::Model;
use std::sync::Arc;

/// Rows that the client sends.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The table.
    pub model: Arc<Model>,
    /// The name of its schema, for errors.
    pub schema: String,
    /// The columns that each line has, in its order.
    pub columns: Vec<usize>,
    /// The values of the others.
    pub defaults: Vec<(usize, Expr)>,
    /// Which rows are taken, over the table's columns.
    pub filter: Option<Expr>,
    /// CHECK constraints with their names.
    pub checks: Vec<(String, Expr)>,
    /// How the lines are written.
    pub format: CopyFormat,
}

/// How the lines of a COPY are written.
#[derive(Clone, Debug)]
pub struct CopyFormat {
    /// What stands between two values.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: Vec<u8>,
    /// What the first line is.
    pub header: CopyHeader,
}

/// The first line of a COPY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyHeader {
    /// A row as the others.
    None,
    /// Not looked at.
    Skipped,
    /// The columns' names.
    Match,
}
