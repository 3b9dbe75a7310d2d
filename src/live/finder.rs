//! Which live queries a change may concern, by what their conditions say of single columns.

use super::probe::{Point, Probe, point};
use super::stretches::Stretches;
use crate::change::Change;
use crate::error::Result;
use crate::table::Model;
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};

/// Numbers of live queries, found by the rows that may satisfy their conditions.
#[derive(Default)]
pub(super) struct Finder {
    /// Those whose conditions say nothing that helps to find them.
    everywhere: BTreeSet<u64>,
    /// By a column's value.
    points: HashMap<usize, HashMap<Point, Vec<u64>>>,
    /// By where a column's value lies.
    stretches: HashMap<usize, Stretches>,
}

impl Finder {
    /// Adds one, by the best of its probes: that which fewest others share, values before stretches. Its place among the
    /// probes; none where there are none.
    pub(super) fn add(&mut self, id: u64, mut probes: Vec<Probe>) -> Option<usize> {
        let best = (0..probes.len()).min_by_key(|&at| self.crowd(&probes[at]));
        match best.map(|at| probes.swap_remove(at)) {
            None => {
                self.everywhere.insert(id);
            }
            Some(Probe::Points { column, points }) => {
                let values = self.points.entry(column).or_default();
                points.into_iter().for_each(|point| values.entry(point).or_default().push(id));
            }
            Some(Probe::Stretch { column, lower, upper }) => {
                self.stretches.entry(column).or_default().add(lower, upper, id);
            }
        }
        best
    }

    /// Removes one that was added by that of its probes.
    pub(super) fn remove(&mut self, id: u64, probes: &[Probe], by: Option<usize>) {
        match by.and_then(|at| probes.get(at)) {
            None => {
                self.everywhere.remove(&id);
            }
            Some(Probe::Points { column, points }) => {
                let Some(values) = self.points.get_mut(column) else { return };
                for point in points {
                    if let Some(there) = values.get_mut(point) {
                        there.retain(|other| *other != id);
                        if there.is_empty() {
                            values.remove(point);
                        }
                    }
                }
                if values.is_empty() {
                    self.points.remove(column);
                }
            }
            Some(Probe::Stretch { column, lower, .. }) => {
                let Some(stretches) = self.stretches.get_mut(column) else { return };
                stretches.remove(lower, id);
                if stretches.is_empty() {
                    self.stretches.remove(column);
                }
            }
        }
    }

    /// The live queries that changes may concern, in order, each with those changes' places among them, in order too.
    pub(super) fn find(&self, model: &Model, changes: &[&Change]) -> Result<Vec<(u64, usize)>> {
        let mut found = Vec::new();
        for (at, change) in changes.iter().enumerate() {
            found.extend(self.everywhere.iter().map(|&id| (id, at)));
            for row in [&change.old, &change.new].into_iter().flatten() {
                self.find_row(model, row, |id| found.push((id, at)))?;
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn find_row(&self, model: &Model, row: &Bytes, mut found: impl FnMut(u64)) -> Result<()> {
        if self.points.is_empty() && self.stretches.is_empty() {
            return Ok(());
        }
        let view = model.view(row.clone())?;
        let columns = &model.relation().columns;
        let value = |at: usize| -> Result<Option<Point>> { Ok(point(&model.column(&view, at)?, columns[at].ty)) };
        for (&at, values) in &self.points {
            if let Some(ids) = value(at)?.and_then(|value| values.get(&value)) {
                ids.iter().for_each(|&id| found(id));
            }
        }
        for (&at, stretches) in &self.stretches {
            if let Some(value) = value(at)? {
                stretches.holding(&value, &mut found);
            }
        }
        Ok(())
    }

    /// How bad a probe is: whether it is a stretch, whether that has no end, how many a value finds already.
    fn crowd(&self, probe: &Probe) -> (bool, bool, usize) {
        match probe {
            Probe::Points { column, points } => {
                let values = self.points.get(column);
                let there = |point| values.and_then(|values| values.get(point)).map_or(0, Vec::len);
                (false, false, points.iter().map(there).sum())
            }
            Probe::Stretch { lower, upper, .. } => (true, lower.is_empty() || upper.is_none(), 0),
        }
    }
}
