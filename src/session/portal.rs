//! Portals: a prepared statement with its parameters, under way or not, and how far it is.
//!
//! A simple query runs each of its statements as a portal that nobody names. A portal that is suspended keeps its
//! execution, and with it what it reads, until it goes on, is closed, or its transaction ends.

use super::prepared::Prepared;
use super::{Format, Output};
use crate::error::Error;
use crate::expr::Identity;
use crate::sql::ddl::Progress;
use crate::sql::exec::Execution;
use crate::sql::plan::Plan;
use crate::types::{Row, ScopeId, Value};
use std::collections::VecDeque;
use std::sync::Arc;

/// A statement with its parameters.
pub(super) struct Portal {
    /// The statement.
    pub prepared: Arc<Prepared>,
    /// Values of its parameters, taken when it begins.
    pub params: Vec<Value>,
    /// Formats of its result, as in Bind.
    pub formats: Vec<Format>,
    /// How far it is.
    pub state: State,
    /// Rows at most in this Execute, 0 for all.
    pub rows_max: usize,
    /// Rows given out in this Execute.
    pub rows_given: usize,
    /// How far its definition is, if it is one.
    pub definition: Progress,
    /// Part of a simple query that has yet to say what its rows look like.
    pub undescribed: bool,
    /// How many savepoints there were when it was made: it ends with any made later.
    pub depth: usize,
}

/// How far a portal is.
pub(super) enum State {
    /// Not begun.
    Ready,
    /// A plan at work.
    Running(Box<Running>),
    /// Rows that a statement without a plan has made, and its tag.
    Rows(VecDeque<Row>, String),
    /// Its rows could not be kept when its snapshot grew too old: whoever fetches them is told.
    Lost(Error),
    /// Done: a statement that returns rows gives no more of them, another is not run again.
    Done,
}

/// A plan at work.
pub(super) struct Running {
    /// The execution.
    pub execution: Execution,
    /// Who runs it.
    pub identity: Arc<Identity>,
    /// Whose rows it touches.
    pub scope: ScopeId,
    /// When it began, in Unix microseconds.
    pub statement_time: i64,
    /// Whether the client has been asked for the rows of a COPY.
    pub asked: bool,
}

impl Portal {
    /// At its beginning.
    pub(super) fn new(prepared: Arc<Prepared>, params: Vec<Value>, formats: Vec<Format>) -> Portal {
        Portal {
            prepared,
            params,
            formats,
            state: State::Ready,
            rows_max: 0,
            rows_given: 0,
            definition: Progress::default(),
            undescribed: false,
            depth: 0,
        }
    }

    /// Begins an Execute of up to `rows_max` rows, 0 for all.
    pub(super) fn fetch(&mut self, rows_max: usize) {
        self.rows_max = rows_max;
        self.rows_given = 0;
        if let State::Running(running) = &mut self.state {
            running.execution.begin_fetch();
        }
    }

    /// Whether it only reads. As in PostgreSQL, such a statement describes its rows in a simple query when it begins to
    /// run, any other with its first row: what it does besides may fail.
    pub(super) fn is_query(&self) -> bool {
        let reads = |plan: &Arc<Plan>| !plan.writes() && plan.live.is_none();
        self.prepared.plan.as_ref().is_some_and(reads)
    }

    /// RowDescription in a simple query, unless it has been.
    pub(super) fn describe_once(&mut self, output: &mut dyn Output) {
        if std::mem::take(&mut self.undescribed)
            && let Some(columns) = self.prepared.columns()
        {
            output.row_description(columns, &[]);
        }
    }

    /// Rows that this Execute may still give out, 0 for all.
    pub(super) fn rows_left(&self) -> usize {
        self.rows_max.saturating_sub(self.rows_given)
    }
}
