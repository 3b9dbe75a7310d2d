//! Settle: ACK, NACK, EXTEND and RELEASE of messages that a group holds, and a group's reset.

use super::consume::{duration, offset_value, partition_value, text_value};
use super::messages::Messages;
use super::operator::{Operator, Pull, Run};
use crate::error::{Error, Result, SqlState};
use crate::expr::Expr;
use crate::sql::plan::{Place, ResetGroup, Settle, SettleTarget, SettleVerb, TopicRef};
use crate::topic::{Group, Lease, Lookup, Outcome, Target};
use crate::txn::{LockKey, LockMode, LockPolicy};
use crate::types::{Row, SqlType, Value, compare};
use crate::wait::Wait;
use std::sync::Arc;

/// Says what becomes of messages; the transaction's end decides it.
pub(super) struct SettleOp {
    node: Arc<Settle>,
}

impl SettleOp {
    pub(super) fn new(node: Arc<Settle>) -> SettleOp {
        SettleOp { node }
    }

    fn outcome(&self, run: &Run) -> Result<Outcome> {
        let now = run.cx.env.monotonic();
        let after = |interval: Option<&Expr>, clause| {
            Ok::<_, Error>(now.saturating_add(duration(interval, clause, run.eval)?.unwrap_or(0)))
        };
        Ok(match &self.node.verb {
            SettleVerb::Ack => Outcome::Ack,
            SettleVerb::Nack(delay) => Outcome::Nack(after(delay.as_ref(), "DELAY")?),
            SettleVerb::Extend(by) => Outcome::Extend(after(Some(by), "BY")?),
            SettleVerb::Release => Outcome::Release,
        })
    }

    fn target(&self, run: &Run, messages: &Messages) -> Result<Target> {
        let chosen = partition_value(self.node.partition.as_ref(), run.eval)?;
        let chosen = chosen.map(|partition| messages.check_partition(partition)).transpose()?;
        let partition = chosen.unwrap_or(0);
        if chosen.is_none() && messages.partitions() > 1 && !matches!(self.node.target, SettleTarget::Leases(_)) {
            return Err(Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, "PARTITION must not be null"));
        }
        Ok(match &self.node.target {
            SettleTarget::Offsets(exprs) => {
                let offsets = exprs.iter().map(|expr| offset_value(expr, run.eval));
                let mut offsets = offsets.collect::<Result<Vec<u64>>>()?;
                offsets.sort_unstable();
                offsets.dedup();
                Target::Offsets(partition, offsets)
            }
            SettleTarget::UpTo(expr) => Target::UpTo(partition, offset_value(expr, run.eval)?),
            SettleTarget::Leases(exprs) => {
                let mut leases: Vec<Lease> = Vec::with_capacity(exprs.len());
                for expr in exprs {
                    let text = text_value(expr, "LEASE", run.eval)?;
                    let lease = Lease::parse(&text)?;
                    if chosen.is_some_and(|chosen| chosen != lease.partition) {
                        let message = format!("lease \"{text}\" is of another partition");
                        return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
                    }
                    leases.push(lease);
                }
                leases.sort_unstable_by_key(|lease| (lease.partition, lease.offset, lease.attempt, lease.secret));
                leases.dedup();
                Target::Leases(leases)
            }
        })
    }
}

impl Operator for SettleOp {
    fn next(&mut self, run: &mut Run, _out: &mut Row) -> Result<Pull> {
        let messages = Messages::of(&self.node.topic, run.tx)?;
        let group = match find(run, &messages, &self.node.topic, &self.node.group)? {
            Ok(group) => group,
            Err(wait) => return Ok(Pull::Wait(wait)),
        };
        let target = self.target(run, &messages)?;
        let outcome = self.outcome(run)?;
        let settlement = group.settle(&target, outcome, run.cx.identity.pid)?;
        run.affected = settlement.count();
        let writes = settlement.writes();
        // from here on an error undoes it
        run.tx.at_end(Box::new(settlement));
        for (key, value) in writes {
            run.tx.put_plain(key, value)?;
        }
        Ok(Pull::Done)
    }
}

/// The group of a name, or what to wait for. 42704 where there is none.
fn find(
    run: &Run,
    messages: &Messages,
    topic: &TopicRef,
    name: &Expr,
) -> Result<std::result::Result<Arc<Group>, Wait>> {
    let name = text_value(name, "GROUP", run.eval)?;
    match run.tx.engine().find_group(&messages.relation, &name)? {
        Lookup::Found(group) => Ok(Ok(group)),
        Lookup::Wait(wait) => Ok(Err(wait)),
        Lookup::Missing => {
            let message = format!("consumer group \"{name}\" of topic \"{}\" does not exist", topic.qualified);
            Err(Error::new(SqlState::UNDEFINED_OBJECT, message).hint("A group begins with its first CONSUME."))
        }
    }
}

/// Gives a group new positions.
pub(super) struct ResetOp {
    node: Arc<ResetGroup>,
}

impl ResetOp {
    pub(super) fn new(node: Arc<ResetGroup>) -> ResetOp {
        ResetOp { node }
    }

    fn position(&self, run: &Run, messages: &Messages, partition: u32) -> Result<u64> {
        match &self.node.to {
            Place::Earliest => messages.first(run, partition),
            Place::Latest => messages.end(run, partition),
            Place::Offset(offset) => offset_value(offset, run.eval),
            Place::Time(time) => match time.eval(&[], run.eval)? {
                Value::Null => Err(Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, "TIMESTAMP must not be null")),
                time => first_at(run, messages, partition, &time),
            },
        }
    }
}

/// The first message made at or after a time: messages are in the order of their commits.
fn first_at(run: &Run, messages: &Messages, partition: u32, time: &Value) -> Result<u64> {
    let (mut low, mut high) = (messages.first(run, partition)?, messages.end(run, partition)?);
    while low < high {
        let middle = low + (high - low) / 2;
        let before = match messages.read(run, partition, middle, 1)?.pop() {
            Some(message) => compare(&messages.created_at(message)?, time, SqlType::TIMESTAMPTZ).is_lt(),
            None => false,
        };
        if before {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

impl Operator for ResetOp {
    fn next(&mut self, run: &mut Run, _out: &mut Row) -> Result<Pull> {
        let messages = Messages::of(&self.node.topic, run.tx)?;
        let group = match find(run, &messages, &self.node.topic, &self.node.group)? {
            Ok(group) => group,
            Err(wait) => return Ok(Pull::Wait(wait)),
        };
        for partition in 0..group.partitions() {
            let key = LockKey::Key(group.key(partition));
            if let Some(wait) = run.tx.lock(key, LockMode::AccessExclusive, LockPolicy::Wait)?.wait()? {
                return Ok(Pull::Wait(wait));
            }
        }
        let positions = (0..group.partitions()).map(|partition| self.position(run, &messages, partition));
        let reset = group.reset(positions.collect::<Result<_>>()?);
        let writes = reset.writes();
        run.tx.at_end(Box::new(reset));
        for (key, value) in writes {
            run.tx.put_plain(key, value)?;
        }
        Ok(Pull::Done)
    }
}
