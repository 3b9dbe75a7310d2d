//! One execution of a plan.

use super::calls::Calls;
use super::copy::{self, CopyFeed, CopyInput};
use super::operator::{Operator, Pull, Run, open};
use super::sort::{check_memory, row_size};
use super::spill::Spill;
use super::{ExecContext, Opening, RowSink, SinkFlow, Step, Tag};
use crate::activity::Awaited;
use crate::error::{Error, Result, SqlState};
use crate::expr::Notifier;
use crate::limits::{IDENTIFIER_BYTES_MAX, NOTIFY_PAYLOAD_BYTES_MAX};
use crate::sql::plan::{Node, Plan};
use crate::txn::{StatementView, Transaction};
use crate::types::{Row, Str, Value};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// A plan at work with its parameters: what a portal holds.
pub struct Execution {
    plan: Arc<Plan>,
    params: Vec<Value>,
    root: Box<dyn Operator>,
    /// What the statement reads: taken in the first step, kept while it is suspended.
    view: Option<StatementView>,
    /// When that was taken, on the monotonic clock.
    taken: u64,
    /// The rest of a query whose snapshot grew too old.
    spill: Option<Box<Spill>>,
    row: Row,
    /// Rows of a statement that writes: it runs to its end before the first is given out.
    written: VecDeque<Row>,
    written_bytes: usize,
    finished: bool,
    affected: u64,
    returned: u64,
    notes: Notes,
    notices: Vec<Error>,
    /// The live query that a SUBSCRIBE goes on with.
    opening: Option<Opening>,
    /// What the client has sent to a COPY.
    feed: Option<Box<CopyFeed>>,
}

/// What was called in expressions: what pg_notify() said during a step, and what is carried out between evaluations.
#[derive(Default)]
struct Notes {
    said: Mutex<Said>,
    calls: Calls,
}

#[derive(Default)]
struct Said {
    notes: Vec<(Str, Str)>,
    bytes: usize,
}

impl Notifier for Notes {
    fn notify(&self, channel: &str, payload: &str) -> Result<()> {
        if channel.len() > IDENTIFIER_BYTES_MAX {
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "channel name too long"));
        }
        if payload.len() >= NOTIFY_PAYLOAD_BYTES_MAX {
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "payload string too long"));
        }
        let mut said = self.said.lock();
        said.bytes += channel.len() + payload.len();
        check_memory(said.bytes)?;
        said.notes.push((channel.into(), payload.into()));
        Ok(())
    }
}

impl Execution {
    /// At its beginning; nothing is read before the first step.
    pub fn new(plan: Arc<Plan>, params: Vec<Value>) -> Execution {
        let feed = matches!(plan.root, Node::Copy(_)).then(Box::default);
        Execution {
            root: open(&plan.root),
            plan,
            params,
            view: None,
            taken: 0,
            spill: None,
            row: Row::new(),
            written: VecDeque::new(),
            written_bytes: 0,
            finished: false,
            affected: 0,
            returned: 0,
            notes: Notes::default(),
            notices: Vec::new(),
            opening: None,
            feed,
        }
    }

    /// Takes what the client has sent, after [`Step::Input`].
    pub fn put(&mut self, input: CopyInput) {
        if let Some(feed) = &mut self.feed {
            feed.put(input);
        }
    }

    /// Columns that the client sends to a COPY; none for any other statement.
    pub fn input_columns(&self) -> Option<usize> {
        match &self.plan.root {
            Node::Copy(copy) => Some(copy.columns.len()),
            _ => None,
        }
    }

    /// How far a COPY is, for an error that comes from outside of it.
    pub fn place(&self) -> Option<String> {
        match (&self.plan.root, &self.feed) {
            (Node::Copy(node), Some(feed)) => Some(copy::place(node, feed.line())),
            _ => None,
        }
    }

    /// What a wait that is not for a lock is for.
    pub fn awaited(&self) -> Awaited {
        self.notes.calls.awaited().unwrap_or(Awaited::Other)
    }

    /// Begins to give out rows anew: a query's tag counts those given since.
    pub fn begin_fetch(&mut self) {
        self.returned = 0;
    }

    /// Goes on: gives up to `max_rows` rows (0: all) to the sink, looks at about `budget` rows.
    pub fn step(
        &mut self,
        tx: &mut Transaction,
        cx: &ExecContext,
        sink: &mut dyn RowSink,
        max_rows: usize,
        budget: usize,
    ) -> Result<Step> {
        if self.finished {
            return self.give_written(sink, max_rows);
        }
        if self.spill.is_some() {
            return match self.let_go(tx, cx, budget)? {
                true => self.give_spilled(sink, max_rows),
                false => Ok(Step::Yield),
            };
        }
        let view = match &self.view {
            Some(view) => view.clone(),
            None => {
                self.plan.check_writable(tx)?;
                super::derive::prepare(&self.plan, tx, cx)?;
                self.begin(tx, cx)?
            }
        };
        let step = if self.plan.writes() {
            self.step_writing(tx, &view, cx, sink, max_rows, budget)
        } else {
            self.step_reading(tx, &view, cx, sink, max_rows, budget)
        };
        for (channel, payload) in std::mem::take(&mut *self.notes.said.lock()).notes {
            super::check_notify(&channel, &tx.catalog())?;
            tx.notify(channel, payload)?;
        }
        for notice in self.notices.drain(..) {
            sink.notice(&notice);
        }
        match (&step, &self.plan.root) {
            // nothing is held while a consumer waits, and afterwards it must see what has come
            (Ok(Step::Wait(_)), Node::Consume(_)) | (Ok(Step::Input), _) => self.view = None,
            _ => {}
        }
        step
    }

    /// Takes what the statement reads. A SUBSCRIBE reads what is committed and nothing of the transaction's own, which
    /// will come as changes.
    fn begin(&mut self, tx: &mut Transaction, cx: &ExecContext) -> Result<StatementView> {
        let mut view = tx.statement()?;
        if let Some(live) = &self.plan.live {
            view = view.committed();
            self.opening = Some(super::open_live(live, tx, cx, &self.params, view.seq())?);
        }
        self.taken = cx.env.monotonic();
        Ok(self.view.insert(view).clone())
    }

    /// When the snapshot was taken that it holds, on the monotonic clock.
    pub fn snapshot_taken(&self) -> Option<u64> {
        self.view.as_ref().map(|_| self.taken)
    }

    /// Brings what is left of a query into a file, about `budget` rows at a time: true once all is there and
    /// the snapshot is let go.
    ///
    /// # Errors
    /// 72000 where it would have to wait for somebody, 53400 beyond the bound of the file.
    pub fn let_go(&mut self, tx: &mut Transaction, cx: &ExecContext, budget: usize) -> Result<bool> {
        if self.view.is_none() {
            return Ok(true);
        }
        let columns = self.plan.columns.as_deref().unwrap_or_default();
        let mut spill = match self.spill.take() {
            Some(spill) => spill,
            None => Box::new(Spill::new(tx.engine().spill_file()?, columns, self.returned)),
        };
        let step = self.step(tx, cx, &mut *spill, 0, budget)?;
        let complete = match step {
            Step::Yield => false,
            Step::Done(_) => {
                spill.complete()?;
                // what it sorted or grouped is of no more use either
                self.root = Box::new(Nothing);
                self.view = None;
                // the tag counts those that were given out
                self.returned = spill.given_before();
                true
            }
            Step::Wait(_) | Step::Suspended | Step::Input => return Err(too_old()),
        };
        self.spill = Some(spill);
        Ok(complete)
    }

    fn give_spilled(&mut self, sink: &mut dyn RowSink, max_rows: usize) -> Result<Step> {
        let mut given = 0;
        while let Some(spill) = &mut self.spill
            && let Some(row) = spill.next()?
        {
            given += 1;
            self.returned += 1;
            if let Some(step) = give(sink, &row, given == max_rows)? {
                return Ok(step);
            }
        }
        Ok(Step::Done(Tag::of(self.plan.command, self.returned)))
    }

    /// The live query of a SUBSCRIBE whose rows are all out.
    pub fn take_opening(&mut self) -> Option<Opening> {
        self.opening.take()
    }

    fn step_reading(
        &mut self,
        tx: &mut Transaction,
        view: &StatementView,
        cx: &ExecContext,
        sink: &mut dyn RowSink,
        max_rows: usize,
        budget: usize,
    ) -> Result<Step> {
        let mut row = std::mem::take(&mut self.row);
        let mut given = 0;
        let step = self.run(tx, view, cx, budget, |this, run| {
            loop {
                match this.root.next(run, &mut row)? {
                    Pull::Row => {}
                    Pull::Done => return Ok(Step::Done(Tag::of(this.plan.command, this.returned))),
                    Pull::Yield => return Ok(Step::Yield),
                    Pull::Wait(wait) => return Ok(Step::Wait(wait)),
                    Pull::Input => return Ok(Step::Input),
                }
                // what a row has to tell comes before it
                run.notices.drain(..).for_each(|notice| sink.notice(&notice));
                this.returned += 1;
                given += 1;
                if let Some(step) = give(sink, &row, given == max_rows)? {
                    return Ok(step);
                }
            }
        });
        self.row = row;
        step
    }

    fn step_writing(
        &mut self,
        tx: &mut Transaction,
        view: &StatementView,
        cx: &ExecContext,
        sink: &mut dyn RowSink,
        max_rows: usize,
        budget: usize,
    ) -> Result<Step> {
        if !self.finished {
            let stopped = self.run(tx, view, cx, budget, |this, run| {
                loop {
                    match this.root.next(run, &mut this.row)? {
                        Pull::Row => {
                            this.written_bytes += row_size(&this.row);
                            check_memory(this.written_bytes)?;
                            this.written.push_back(std::mem::take(&mut this.row));
                        }
                        Pull::Done => return Ok(None),
                        Pull::Yield => return Ok(Some(Step::Yield)),
                        Pull::Wait(wait) => return Ok(Some(Step::Wait(wait))),
                        Pull::Input => return Ok(Some(Step::Input)),
                    }
                }
            })?;
            if let Some(step) = stopped {
                return Ok(step);
            }
            self.finished = true;
            // what is left to do needs no snapshot
            self.view = None;
        }
        self.give_written(sink, max_rows)
    }

    fn give_written(&mut self, sink: &mut dyn RowSink, max_rows: usize) -> Result<Step> {
        let mut given = 0;
        while let Some(row) = self.written.pop_front() {
            given += 1;
            self.returned += 1;
            if let Some(step) = give(sink, &row, given == max_rows)? {
                return Ok(step);
            }
        }
        // a write that returns rows counts those of this fetch, as PostgreSQL's does
        let count = if self.plan.columns.is_some() { self.returned } else { self.affected };
        Ok(Step::Done(Tag::of(self.plan.command, count)))
    }

    /// Makes what a step has at hand and runs it.
    fn run<T>(
        &mut self,
        tx: &mut Transaction,
        view: &StatementView,
        cx: &ExecContext,
        budget: usize,
        body: impl FnOnce(&mut Execution, &mut Run) -> Result<T>,
    ) -> Result<T> {
        let params = std::mem::take(&mut self.params);
        let notes = std::mem::take(&mut self.notes);
        let mut feed = std::mem::take(&mut self.feed);
        let eval = cx.eval(&params, tx.time(), view.seq(), &notes);
        let mut run = Run {
            tx,
            view,
            cx,
            eval: &eval,
            now: cx.env.now(),
            budget: budget.max(1),
            wanted: 0,
            affected: self.affected,
            notices: Vec::new(),
            calls: self.plan.effects.then_some(&notes.calls),
            feed: feed.as_deref_mut(),
        };
        let result = body(self, &mut run);
        self.affected = run.affected;
        self.notices.append(&mut run.notices);
        self.params = params;
        self.notes = notes;
        self.feed = feed;
        result
    }
}

/// What is left of a query whose rows are all in a file.
struct Nothing;

impl Operator for Nothing {
    fn next(&mut self, _run: &mut Run, _out: &mut Row) -> Result<Pull> {
        Ok(Pull::Done)
    }
}

/// 72000 for rows whose snapshot is gone.
pub fn too_old() -> Error {
    Error::new(SqlState::SNAPSHOT_TOO_OLD, "snapshot too old")
}

/// Gives out a row; the step's end where it is the last of those asked for, or the sink is full.
fn give(sink: &mut dyn RowSink, row: &[Value], is_last: bool) -> Result<Option<Step>> {
    let flow = sink.row(row)?;
    Ok(match flow {
        _ if is_last => Some(Step::Suspended),
        SinkFlow::Full => Some(Step::Yield),
        SinkFlow::More => None,
    })
}
