//! Aggregate: groups of rows and what is computed of each.

use super::distinct::identity;
use super::operator::{Operator, Pull, Run, open, pull};
use super::sort::{check_memory, compare_rows, row_size};
use crate::error::Result;
use crate::expr::Accumulator;
use crate::sql::plan::Aggregate;
use crate::types::{Row, Value};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Takes all rows, then gives the groups in the order of their first rows.
pub(super) struct AggregateOp {
    node: Arc<Aggregate>,
    input: Box<dyn Operator>,
    row: Row,
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

    fn place(&mut self, run: &Run) -> Result<usize> {
        let mut key = Vec::new();
        let mut values = Row::with_capacity(self.node.groups.len());
        for expr in &self.node.groups {
            let value = expr.eval(&self.row, run.eval)?;
            identity(&value, expr.ty(), &mut key)?;
            values.push(value);
        }
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

    fn take(&mut self, run: &Run) -> Result<()> {
        let place = self.place(run)?;
        let node = self.node.clone();
        let group = &mut self.groups[place];
        for (at, call) in node.aggregates.iter().enumerate() {
            if let Some(filter) = &call.filter
                && filter.eval_bool(&self.row, run.eval)? != Some(true)
            {
                continue;
            }
            let mut args = Arguments::new();
            for arg in &call.args {
                args.push(arg.eval(&self.row, run.eval)?);
            }
            if let Some(compared) = &call.distinct {
                let mut key = Vec::new();
                for expr in compared {
                    identity(&*expr.eval_ref(&self.row, run.eval)?, expr.ty(), &mut key)?;
                }
                let size = key.len() + 64;
                if !group.seen[at].insert(key) {
                    continue;
                }
                self.bytes += size;
                check_memory(self.bytes)?;
            }
            if call.order.is_empty() {
                group.accumulators[at].update(&args)?;
                continue;
            }
            let keys = call.order.iter().map(|key| key.expr.eval(&self.row, run.eval)).collect::<Result<Row>>()?;
            self.bytes += row_size(&keys) + row_size(&args);
            check_memory(self.bytes)?;
            group.ordered[at].push((keys, args));
        }
        Ok(())
    }
}

impl Operator for AggregateOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        while self.next.is_none() {
            if pull!(self.input.next(run, &mut self.row)) {
                self.take(run)?;
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
