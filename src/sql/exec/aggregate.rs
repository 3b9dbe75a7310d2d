//! Aggregate: groups of rows and what is computed of each.

use super::calls::{settle, settled};
use super::distinct::identity;
use super::operator::{Operator, Pull, Run, open, pull};
use super::sort::{check_memory, compare_rows, row_size};
use crate::error::Result;
use crate::expr::{Accumulator, EvalContext};
use crate::sql::plan::{Aggregate, AggregateCall};
use crate::types::{Row, Value};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Takes all rows, then gives the groups in the order of their first rows.
pub(super) struct AggregateOp {
    node: Arc<Aggregate>,
    input: Box<dyn Operator>,
    row: Row,
    /// Whether an expression over the row in the buffer waits for a call.
    waiting: bool,
    places: HashMap<Vec<u8>, usize>,
    groups: Vec<Group>,
    bytes: usize,
    /// The next group to give, once all rows are taken.
    next: Option<usize>,
}

struct Group {
    values: Row,
    accumulators: Vec<Box<dyn Accumulator>>,
    /// The arguments that a DISTINCT aggregate has had.
    seen: Vec<HashSet<Vec<u8>>>,
    /// The arguments that an aggregate with an order has had, each with its keys; taken at the end.
    ordered: Vec<Vec<(Row, Arguments)>>,
}

type Arguments = SmallVec<[Value; 2]>;

impl AggregateOp {
    pub(super) fn new(node: Arc<Aggregate>) -> AggregateOp {
        AggregateOp {
            input: open(&node.input),
            node,
            row: Row::new(),
            waiting: false,
            places: HashMap::new(),
            groups: Vec::new(),
            bytes: 0,
            next: None,
        }
    }

    fn group(&self, values: Row) -> Group {
        let calls = &self.node.aggregates;
        Group {
            values,
            accumulators: calls.iter().map(|call| call.function.accumulator()).collect(),
            seen: vec![HashSet::new(); calls.len()],
            ordered: vec![Vec::new(); calls.len()],
        }
    }

    fn place(&mut self, key: Vec<u8>, values: Row) -> Result<usize> {
        if let Some(&place) = self.places.get(&key) {
            return Ok(place);
        }
        self.bytes += key.len() + row_size(&values) + 64 * self.node.aggregates.len();
        check_memory(self.bytes)?;
        let group = self.group(values);
        self.groups.push(group);
        self.places.insert(key, self.groups.len() - 1);
        Ok(self.groups.len() - 1)
    }

    fn take(&mut self, taken: Taken) -> Result<()> {
        let place = self.place(taken.key, taken.values)?;
        let group = &mut self.groups[place];
        for (at, input) in taken.inputs.into_iter().enumerate() {
            let Some(Input { args, distinct, order }) = input else { continue };
            if let Some(key) = distinct {
                let size = key.len() + 64;
                if !group.seen[at].insert(key) {
                    continue;
                }
                self.bytes += size;
                check_memory(self.bytes)?;
            }
            match order {
                None => group.accumulators[at].update(&args)?,
                Some(keys) => {
                    self.bytes += row_size(&keys) + row_size(&args);
                    check_memory(self.bytes)?;
                    group.ordered[at].push((keys, args));
                }
            }
        }
        Ok(())
    }
}

/// What a row is to its group, and to each aggregate.
struct Taken {
    key: Vec<u8>,
    values: Row,
    /// None where the aggregate's filter leaves the row out.
    inputs: SmallVec<[Option<Input>; 4]>,
}

/// What an aggregate takes of a row.
struct Input {
    args: Arguments,
    /// What tells rows apart for DISTINCT.
    distinct: Option<Vec<u8>>,
    /// The keys of an aggregate with an order.
    order: Option<Row>,
}

impl Taken {
    fn of(node: &Aggregate, row: &[Value], eval: &EvalContext) -> Result<Taken> {
        let mut key = Vec::new();
        let mut values = Row::with_capacity(node.groups.len());
        for expr in &node.groups {
            let value = expr.eval(row, eval)?;
            identity(&value, expr.ty(), &mut key)?;
            values.push(value);
        }
        let inputs = node.aggregates.iter().map(|call| Input::of(call, row, eval)).collect::<Result<_>>()?;
        Ok(Taken { key, values, inputs })
    }
}

impl Input {
    fn of(call: &AggregateCall, row: &[Value], eval: &EvalContext) -> Result<Option<Input>> {
        if let Some(filter) = &call.filter
            && filter.eval_bool(row, eval)? != Some(true)
        {
            return Ok(None);
        }
        let args = call.args.iter().map(|arg| arg.eval(row, eval)).collect::<Result<Arguments>>()?;
        let distinct = match &call.distinct {
            None => None,
            Some(compared) => {
                let mut key = Vec::new();
                if compared.is_empty() {
                    call.args.iter().zip(&args).try_for_each(|(arg, value)| identity(value, arg.ty(), &mut key))?;
                }
                for expr in compared {
                    identity(&*expr.eval_ref(row, eval)?, expr.ty(), &mut key)?;
                }
                Some(key)
            }
        };
        let order = match call.order.is_empty() {
            true => None,
            false => Some(call.order.iter().map(|key| key.expr.eval(row, eval)).collect::<Result<Row>>()?),
        };
        Ok(Some(Input { args, distinct, order }))
    }
}

impl Operator for AggregateOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        while self.next.is_none() {
            if self.waiting || pull!(self.input.next(run, &mut self.row)) {
                self.waiting = true;
                let taken = settled!(settle(run, |eval| Taken::of(&self.node, &self.row, eval)));
                self.waiting = false;
                self.take(taken)?;
                continue;
            }
            // Without GROUP BY there is one group even of no rows.
            if self.node.groups.is_empty() && self.groups.is_empty() {
                let group = self.group(Row::new());
                self.groups.push(group);
            }
            self.next = Some(0);
        }
        let next = self.next.unwrap_or(0);
        let Some(group) = self.groups.get_mut(next) else { return Ok(Pull::Done) };
        self.next = Some(next + 1);
        out.clear();
        out.append(&mut group.values);
        for (at, accumulator) in group.accumulators.iter_mut().enumerate() {
            let order = &self.node.aggregates[at].order;
            let mut rows = std::mem::take(&mut group.ordered[at]);
            rows.sort_by(|(a, _), (b, _)| compare_rows(order, a, b));
            rows.iter().try_for_each(|(_, args)| accumulator.update(args))?;
            out.push(accumulator.finish()?);
        }
        Ok(Pull::Row)
    }
}
