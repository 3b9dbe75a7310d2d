//! The executor: a tree of operators that pull rows from one another, one step at a time.
//!
//! Nothing here blocks. A step ends when the rows asked for are out, when its budget is spent, when something must be
//! waited for (a row lock), or when the statement is done; calling `Execution::step` again goes on where it stopped.
//! Each operator keeps the state for that; rows go through buffers that are used again and again.

mod tag;

pub use tag::Tag;

use crate::error::Result;
use crate::types::Value;
use crate::wait::Wait;

/// How far a step came.
pub enum Step {
    /// The statement is done.
    Done(Tag),
    /// The rows asked for are out and there may be more.
    Suspended,
    /// The budget is spent; call again.
    Yield,
    /// Something must be waited for; call again when it is over.
    Wait(Wait),
}

/// Whether the taker of rows can take more at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkFlow {
    /// Go on.
    More,
    /// This row is taken, but no more for now: the step ends with [`Step::Yield`].
    Full,
}

/// Where result rows go. The row's buffer is used again after the call.
pub trait RowSink {
    /// Takes a row.
    fn row(&mut self, row: &[Value]) -> Result<SinkFlow>;
}
