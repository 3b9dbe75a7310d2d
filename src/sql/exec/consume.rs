//! Consume: messages of a topic, claimed for a group or only read.
//!
//! One attempt takes what is there. Where that is nothing and the statement waits, the operator returns a wait that
//! ends when messages arrive in this topic, when messages of the group come back, when the next lease runs out, or when
//! the time is over; the execution lets go of its snapshot meanwhile and the next attempt reads a new one.

use super::messages::{Messages, Stored};
use super::operator::{Operator, Pull, Run};
use crate::error::{Error, Result, SqlState};
use crate::expr::{EvalContext, Expr};
use crate::limits::{CONSUME_BYTES_MAX, CONSUME_LIMIT_DEFAULT, SCAN_BATCH, VISIBILITY_MS_DEFAULT};
use crate::sql::plan::{Consume, Place};
use crate::topic::{Claimed, Claimer, Group, Lease, Lookup, Outcome, Seen, Target};
use crate::txn::CommitTicket;
use crate::types::datetime::interval_span;
use crate::types::{Row, Value};
use crate::wait::Wait;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Messages of the first claim: most consumers want few.
const FIRST_CLAIM: usize = 16;

pub(super) struct ConsumeOp {
    node: Arc<Consume>,
    request: Option<Request>,
    /// The commit that makes the group.
    making: Option<CommitTicket>,
    rows: VecDeque<Row>,
    finished: bool,
}

/// The statement's values.
struct Request {
    group: Option<String>,
    partition: Option<i64>,
    limit: usize,
    /// When to stop waiting, on the monotonic clock.
    deadline: Option<u64>,
    visibility: u64,
    /// Where to read without a group, by partition; known after the first attempt, so that a wait for what comes after
    /// LATEST misses nothing.
    from: Vec<u64>,
}

/// How an attempt went.
enum Attempt {
    /// There are rows, or no use in waiting.
    Over,
    /// Ask again after this wait.
    Wait(Wait),
    /// Nothing was there: what was seen, and when the next message of the group is due.
    Nothing(Seen, Option<u64>),
}

/// What a statement has taken so far.
#[derive(Default)]
struct Taken {
    rows: VecDeque<Row>,
    bytes: usize,
    full: bool,
}

impl Taken {
    /// Adds a message unless there is no room for it; the first always has room.
    fn add(&mut self, messages: &Messages, message: Stored, lease: Option<Lease>) -> Result<bool> {
        if self.full {
            return Ok(false);
        }
        let (row, bytes) = messages.row(message, lease)?;
        if !self.rows.is_empty() && self.bytes + bytes > CONSUME_BYTES_MAX {
            self.full = true;
            return Ok(false);
        }
        self.bytes += bytes;
        self.rows.push_back(row);
        Ok(true)
    }
}

impl ConsumeOp {
    pub(super) fn new(node: Arc<Consume>) -> ConsumeOp {
        ConsumeOp { node, request: None, making: None, rows: VecDeque::new(), finished: false }
    }

    fn attempt(&mut self, run: &mut Run) -> Result<Attempt> {
        let request = match self.request.take() {
            Some(request) => request,
            None => Request::of(&self.node, run)?,
        };
        let request = self.request.insert(request);
        let messages = Messages::of(&self.node.topic, run.tx)?;
        let partitions = match request.partition {
            Some(partition) => vec![messages.check_partition(partition)?],
            None => (0..messages.partitions()).collect(),
        };
        if request.limit == 0 {
            return Ok(Attempt::Over);
        }
        let Some(name) = request.group.clone() else { return self.read(run, &messages, &partitions) };
        if let Some(ticket) = self.making.take() {
            match ticket.poll() {
                Some(outcome) => drop(outcome?),
                None => {
                    let wait = ticket.wait();
                    self.making = Some(ticket);
                    return Ok(Attempt::Wait(wait));
                }
            }
        }
        let engine = run.tx.engine().clone();
        match engine.find_group(&messages.relation, &name)? {
            Lookup::Found(group) => self.claim(run, &messages, &group, partitions),
            Lookup::Wait(wait) => Ok(Attempt::Wait(wait)),
            Lookup::Missing => {
                check_committed(run, &messages)?;
                let starts = self.starts(run, &messages)?;
                self.making = engine.make_group(&messages.relation, &name, starts)?;
                Ok(Attempt::Wait(self.making.as_ref().map_or_else(Wait::ready, CommitTicket::wait)))
            }
        }
    }

    /// Where a new group begins: where FROM says in the partition that it speaks of, else at the first message.
    fn starts(&self, run: &Run, messages: &Messages) -> Result<Vec<u64>> {
        let chosen = self.request.as_ref().and_then(|request| request.partition);
        let start = |partition: u32| match &self.node.from {
            Place::Latest => messages.end(run, partition),
            Place::Offset(offset) if chosen.is_none_or(|chosen| chosen == i64::from(partition)) => {
                offset_value(offset, run.eval)
            }
            _ => messages.first(run, partition),
        };
        (0..messages.partitions()).map(start).collect()
    }

    /// Claims for a group.
    fn claim(
        &mut self,
        run: &mut Run,
        messages: &Messages,
        group: &Arc<Group>,
        mut partitions: Vec<u32>,
    ) -> Result<Attempt> {
        let request = self.request.as_ref().ok_or_else(|| Error::internal("a CONSUME without a request"))?;
        let waits = request.deadline.is_some();
        let seen = waits.then(|| see(run, messages));
        let now = run.cx.env.monotonic();
        let claimer = Claimer { pid: run.cx.identity.pid, now, until: now.saturating_add(request.visibility) };
        if partitions.len() > 1 {
            // each consumer begins with another one, so that none is served last by all
            let first = group.next_turn() as usize % partitions.len();
            partitions.rotate_left(first);
        }
        let mut taken = Taken::default();
        for &partition in &partitions {
            let offsets = claim_in(run, messages, group, partition, claimer, request.limit, &mut taken)?;
            if self.node.auto_ack && !offsets.is_empty() {
                let settlement = group.settle(&Target::Offsets(partition, offsets), Outcome::Ack, claimer.pid)?;
                let writes = settlement.writes();
                run.tx.at_end(Box::new(settlement));
                for (key, value) in writes {
                    run.tx.put_plain(key, value)?;
                }
            }
            if taken.full || taken.rows.len() >= request.limit {
                break;
            }
        }
        self.rows = taken.rows;
        Ok(match seen {
            Some(seen) if self.rows.is_empty() => {
                let due = partitions.iter().filter_map(|&partition| group.next_due(partition, now)).min();
                Attempt::Nothing(seen, due)
            }
            _ => Attempt::Over,
        })
    }

    /// Reads without a group.
    fn read(&mut self, run: &mut Run, messages: &Messages, partitions: &[u32]) -> Result<Attempt> {
        let request = self.request.as_mut().ok_or_else(|| Error::internal("a CONSUME without a request"))?;
        let seen = request.deadline.is_some().then(|| see(run, messages));
        if request.from.is_empty() {
            let start = |&partition: &u32| match &self.node.from {
                Place::Latest => messages.end(run, partition),
                Place::Offset(offset) => offset_value(offset, run.eval),
                _ => Ok(0),
            };
            request.from = partitions.iter().map(start).collect::<Result<_>>()?;
        }
        let mut taken = Taken::default();
        for (&partition, &from) in partitions.iter().zip(&request.from) {
            let mut next = from;
            while !taken.full && taken.rows.len() < request.limit {
                let wanted = (request.limit - taken.rows.len()).min(SCAN_BATCH);
                let read = messages.read(run, partition, next, wanted)?;
                let Some(last) = read.last() else { break };
                next = last.offset + 1;
                for message in read {
                    taken.add(messages, message, None)?;
                }
            }
        }
        self.rows = taken.rows;
        Ok(match seen {
            Some(seen) if self.rows.is_empty() => Attempt::Nothing(seen, None),
            _ => Attempt::Over,
        })
    }
}

/// A group is made by a commit of its own, which must not come before its topic's.
fn check_committed(run: &Run, messages: &Messages) -> Result<()> {
    let committed = run.tx.engine().catalog();
    let storage = messages.relation.storage;
    if committed.relation(messages.oid()).is_some_and(|committed| committed.storage == storage) {
        return Ok(());
    }
    if !run.tx.has_own_catalog() {
        // dropped a moment ago
        return Err(messages.missing());
    }
    let message = format!("topic \"{}\" was created or cleared in this transaction", messages.name());
    let error = Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
    Err(error.hint("Commit before a group consumes from it."))
}

/// What has happened to a topic before it is looked at.
fn see(run: &Run, messages: &Messages) -> Seen {
    let engine = run.tx.engine();
    let returns = engine.groups().arrivals().returns(messages.oid(), engine.current());
    Seen { seq: run.view.seq(), returns }
}

/// Claims and reads messages of one partition until the statement has enough. The offsets that it took.
fn claim_in(
    run: &mut Run,
    messages: &Messages,
    group: &Arc<Group>,
    partition: u32,
    claimer: Claimer,
    limit: usize,
    taken: &mut Taken,
) -> Result<Vec<u64>> {
    let end = messages.end(run, partition)?;
    let env = run.cx.env;
    let mut offsets = Vec::new();
    let mut size = FIRST_CLAIM;
    while !taken.full && taken.rows.len() < limit {
        let claim = group.claim(partition, end, size.min(limit - taken.rows.len()), claimer, || env.random_u64());
        let claimed = claim.claimed().to_vec();
        if claimed.is_empty() {
            break;
        }
        // from here on an error gives them back
        run.tx.at_end(Box::new(claim));
        let (mut left, mut missing) = (Vec::new(), false);
        for run_of in claimed.chunk_by(|a, b| a.offset + 1 == b.offset) {
            let mut read = messages.read(run, partition, run_of[0].offset, run_of.len())?.into_iter().peekable();
            for claim in run_of {
                let Some(message) = read.next_if(|message| message.offset == claim.offset) else {
                    missing = true;
                    continue;
                };
                let Claimed { offset, attempt, secret } = *claim;
                if taken.add(messages, message, Some(Lease { partition, offset, attempt, secret }))? {
                    offsets.push(offset);
                } else {
                    left.push(*claim);
                }
            }
        }
        group.undo(partition, &left);
        if missing {
            skip(run, messages, group, partition)?;
        }
        size = (size * 4).min(SCAN_BATCH);
    }
    Ok(offsets)
}

/// Goes on where retention has left off, and says what the group has missed.
fn skip(run: &mut Run, messages: &Messages, group: &Arc<Group>, partition: u32) -> Result<()> {
    let first = messages.first(run, partition)?;
    let Some((from, lost)) = group.skip_to(partition, first) else { return Ok(()) };
    let message = format!(
        "consumer group \"{}\" has missed messages of topic \"{}\": {lost} between offsets {from} and {} of partition \
         {partition}",
        group.name(),
        messages.name(),
        first - 1,
    );
    let warning = Error::warning(SqlState::WARNING, message);
    run.notices.push(warning.hint("The topic's retention removed them before the group had acknowledged them."));
    Ok(())
}

impl Request {
    fn of(node: &Consume, run: &Run) -> Result<Request> {
        let now = run.cx.env.monotonic();
        let wait = duration(node.wait.as_ref(), "WAIT", run.eval)?;
        if wait.is_some() && !run.tx.options().isolation.reads_anew() {
            return Err(Error::unsupported("CONSUME with WAIT under REPEATABLE READ")
                .hint("The transaction keeps reading what was there when it began; use READ COMMITTED."));
        }
        let visibility = duration(node.visibility.as_ref(), "VISIBILITY", run.eval)?;
        let group = node.group.as_ref().map(|group| text_value(group, "GROUP", run.eval)).transpose()?;
        Ok(Request {
            partition: partition_value(node.partition.as_ref(), run.eval)?,
            limit: match super::limit::limit_value(node.limit.as_ref(), run.eval)? {
                Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
                None => CONSUME_LIMIT_DEFAULT as usize,
            },
            deadline: wait.filter(|&wait| wait > 0).map(|wait| now.saturating_add(wait)),
            visibility: match visibility {
                Some(0) => {
                    let message = "VISIBILITY must be greater than zero";
                    return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
                }
                Some(visibility) => visibility,
                None => VISIBILITY_MS_DEFAULT * 1_000,
            },
            group,
            from: Vec::new(),
        })
    }
}

/// A text that must be given.
pub(super) fn text_value(expr: &Expr, clause: &str, cx: &EvalContext) -> Result<String> {
    match expr.eval(&[], cx)? {
        Value::Text(text) => Ok(text.as_str().to_owned()),
        _ => Err(is_null(clause)),
    }
}

/// PARTITION; none where it is left out or NULL.
pub(super) fn partition_value(expr: Option<&Expr>, cx: &EvalContext) -> Result<Option<i64>> {
    match expr.map(|expr| expr.eval(&[], cx)).transpose()? {
        Some(Value::Int(partition)) => Ok(Some(partition)),
        _ => Ok(None),
    }
}

/// An offset that must be given.
pub(super) fn offset_value(expr: &Expr, cx: &EvalContext) -> Result<u64> {
    match expr.eval(&[], cx)? {
        Value::Int(offset) => u64::try_from(offset).map_err(|_| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("offset {offset} must not be negative"))
        }),
        _ => Err(is_null("OFFSET")),
    }
}

/// An interval in microseconds; none where it is left out or NULL.
pub(super) fn duration(expr: Option<&Expr>, clause: &str, cx: &EvalContext) -> Result<Option<u64>> {
    let Some(Value::Interval(interval)) = expr.map(|expr| expr.eval(&[], cx)).transpose()? else { return Ok(None) };
    let micros = interval_span(interval);
    if micros < 0 {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("{clause} must not be negative")));
    }
    Ok(Some(u64::try_from(micros).unwrap_or(u64::MAX)))
}

fn is_null(clause: &str) -> Error {
    Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, format!("{clause} must not be null"))
}

impl Operator for ConsumeOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        while !self.finished {
            match self.attempt(run)? {
                Attempt::Over => self.finished = true,
                Attempt::Wait(wait) => return Ok(Pull::Wait(wait)),
                Attempt::Nothing(seen, due) => {
                    let deadline = self.request.as_ref().and_then(|request| request.deadline).unwrap_or(0);
                    let now = run.cx.env.monotonic();
                    if now < deadline {
                        let engine = run.tx.engine();
                        let topic = self.node.topic.relation.oid;
                        let mut wait = engine.groups().arrivals().wait(topic, seen);
                        let until = due.map_or(deadline, |due| due.min(deadline));
                        wait.limit = Some(Duration::from_micros(until.saturating_sub(now)));
                        return Ok(Pull::Wait(wait));
                    }
                    self.finished = true;
                }
            }
        }
        match self.rows.pop_front() {
            Some(row) => {
                *out = row;
                run.affected += 1;
                Ok(Pull::Row)
            }
            None => Ok(Pull::Done),
        }
    }
}
