//! What the rows were at every position, from the ledger alone, and what each commit changed.
//!
//! Times are compared without any allowance. The server runs on the same machine and so by the same clock, and a STREAM
//! row's time runs from its commit: from some moment between the sending of COMMIT and the arrival of its answer.

use crate::ledger::{Commit, Effects, Ledger, Maybe, Touch};
use crate::place::{Wall, wall};
use crate::table::{Key, Row, TTL, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long the times of commits are remembered, in microseconds: longer than the server must keep changes.
const REMEMBERED: Wall = 300_000_000;

/// How long STREAM rows that have vanished are remembered, in microseconds.
const FORGOTTEN: Wall = 10_000_000;

/// The rows of one table and scope.
pub type Rows = BTreeMap<Key, Arc<Row>>;

/// A table and whose rows of it.
pub type Place = (Table, &'static str);

/// A commit's net effect on one row.
#[derive(Clone, Debug)]
pub struct Change {
    pub old: Option<Arc<Row>>,
    pub new: Option<Arc<Row>>,
    /// Whether it must be told: the removal of a STREAM row that vanished just then need not be.
    pub sure: bool,
}

/// What a commit changed in one table and scope.
#[derive(Clone, Debug)]
pub struct Step {
    pub seq: u64,
    pub epoch: u64,
    pub changes: Vec<Change>,
    /// When its STREAM rows vanish, at the earliest and at the latest.
    pub expiry: (Wall, Wall),
    /// The touched keys with the rows that they had afterwards.
    after: Vec<(Key, Option<Arc<Row>>)>,
}

/// The history of one table and scope since the last quiet time.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// The rows at its beginning.
    pub base: Rows,
    pub base_epoch: u64,
    pub steps: Vec<Step>,
}

impl Lane {
    /// The rows after the commits up to a position in one life of the server; STREAM rows that have vanished are among
    /// them, those of former lives are not.
    pub fn rows_at(&self, is_stream: bool, seq: u64, epoch: u64) -> Rows {
        let forgotten = is_stream && self.base_epoch < epoch;
        let mut rows = if forgotten { Rows::new() } else { self.base.clone() };
        for step in self.steps.iter().filter(|step| step.seq <= seq && (!is_stream || step.epoch == epoch)) {
            step.apply(&mut rows);
        }
        rows
    }

    /// Every version that a row had.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<Row>> {
        let written = self.steps.iter().flat_map(|step| &step.after);
        self.base.values().chain(written.filter_map(|(_, row)| row.as_ref()))
    }
}

impl Step {
    fn bytes(&self) -> usize {
        let rows = self.changes.iter().flat_map(|change| change.old.iter().chain(&change.new));
        rows.flat_map(|row| row.cells.iter().flatten()).map(|cell| cell.len()).sum()
    }

    fn apply(&self, rows: &mut Rows) {
        for (key, row) in &self.after {
            match row {
                Some(row) => drop(rows.insert(*key, row.clone())),
                None => drop(rows.remove(key)),
            }
        }
    }
}

/// When a commit was, and how much it wrote.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub seq: u64,
    pub epoch: u64,
    /// When COMMIT was sent.
    pub sent: Wall,
    /// Bytes of the rows' values, old and new.
    pub bytes: usize,
}

/// All lanes, from the last quiet time's position to this one's.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub from: u64,
    pub to: u64,
    /// The server's life at the end.
    pub epoch: u64,
    /// When the end was.
    pub checked: Wall,
    pub lanes: BTreeMap<Place, Lane>,
    /// The commits between and of some time before.
    pub times: Vec<Moment>,
    /// Transactions of STREAM rows whose positions nobody learnt, and that may have been seen.
    pub maybes: Vec<Maybe>,
    /// Transactions that a subscriber was told of and their writers were not.
    pub settled: usize,
}

impl Truth {
    /// Takes what was committed since and makes the history of it. `told` says which rows each position's events on STREAM
    /// tables named, by life of the server: so positions of commits that nobody was answered are found.
    pub fn advance(&mut self, ledger: &mut Ledger, to: u64, epoch: u64, told: &Told) -> Vec<String> {
        self.rebase();
        let mut commits = std::mem::take(&mut ledger.commits);
        let maybes = std::mem::take(&mut ledger.maybes);
        self.settled += settle(&mut commits, maybes, told, &mut self.maybes);
        let mut violations = Vec::new();
        (self.to, self.epoch, self.checked) = (to, epoch, wall());
        self.times.retain(|moment| moment.sent > wall() - REMEMBERED);
        let mut last_epoch = 0;
        let mut current: BTreeMap<Place, (u64, Rows)> =
            self.lanes.iter().map(|(place, lane)| (*place, (lane.base_epoch, lane.base.clone()))).collect();
        for (seq, commit) in commits {
            if seq <= self.from || seq > to {
                violations.push(format!("a commit at {seq}, which is not between {} and {to}", self.from));
            }
            if commit.epoch < last_epoch {
                violations.push(format!("the commit at {seq} is older than a restart that came before it"));
            }
            last_epoch = last_epoch.max(commit.epoch);
            let bytes = self.step(seq, &commit, &mut current, &mut violations);
            self.times.push(Moment { seq, epoch: commit.epoch, sent: commit.sent, bytes });
        }
        violations
    }

    /// The rows at the end become those at the beginning.
    fn rebase(&mut self) {
        let epoch = self.epoch;
        for ((table, _), lane) in &mut self.lanes {
            lane.base = lane.rows_at(table.is_stream(), self.to, epoch);
            // what had vanished long before then is nobody's business any more
            let then = self.checked - FORGOTTEN;
            lane.base.retain(|_, row| row.expiry.is_none_or(|(_, most)| most > then));
            lane.base_epoch = epoch;
            lane.steps.clear();
        }
        self.from = self.to;
        self.maybes.clear();
    }

    /// Takes one commit; the bytes of its rows.
    fn step(
        &mut self,
        seq: u64,
        commit: &Commit,
        current: &mut BTreeMap<Place, (u64, Rows)>,
        violations: &mut Vec<String>,
    ) -> usize {
        let mut bytes = 0;
        let mut places: BTreeMap<Place, BTreeMap<Key, &Touch>> = BTreeMap::new();
        for ((table, scope, key), touch) in &commit.effects {
            places.entry((*table, *scope)).or_default().insert(*key, touch);
        }
        for (place, touches) in places {
            let is_stream = place.0.is_stream();
            let (epoch, rows) = current.entry(place).or_default();
            if is_stream && *epoch < commit.epoch {
                rows.clear();
            }
            *epoch = commit.epoch;
            let step = net_effect(seq, commit, is_stream, &touches, rows);
            let step = step.unwrap_or_else(|(wrong, step)| {
                violations.extend(wrong.iter().map(|what| format!("{place:?} at {seq}: {what}")));
                step
            });
            step.apply(rows);
            bytes += step.bytes();
            self.lanes.entry(place).or_default().steps.push(step);
        }
        bytes
    }

    /// The rows of a place after a position, in one life of the server.
    pub fn rows_at(&self, place: Place, seq: u64, epoch: u64) -> Rows {
        self.lanes.get(&place).map(|lane| lane.rows_at(place.0.is_stream(), seq, epoch)).unwrap_or_default()
    }

    /// Keys of STREAM rows of which nobody knows whether they were there at a position.
    pub fn doubtful(&self, place: Place, epoch: u64) -> BTreeSet<Key> {
        let of_epoch = self.maybes.iter().filter(|maybe| maybe.epoch == epoch);
        let keys = of_epoch.flat_map(|maybe| maybe.effects.keys());
        keys.filter(|(table, scope, _)| (*table, *scope) == place).map(|(_, _, key)| *key).collect()
    }

    /// The last commit up to a position, if it is not long ago.
    pub fn last_before(&self, seq: u64) -> Option<&Moment> {
        let before = self.times.partition_point(|moment| moment.seq <= seq);
        self.times[..before].last()
    }

    /// Bytes of the rows that were written after a position and before a moment.
    pub fn bytes_between(&self, seq: u64, end: Wall) -> usize {
        let since = self.times.iter().filter(|moment| moment.seq > seq && moment.sent <= end);
        since.map(|moment| moment.bytes).sum()
    }
}

/// For each position, the life of the server and the keys that events on a STREAM table named, by place.
pub type Told = BTreeMap<u64, (u64, BTreeSet<(Place, Key)>)>;

/// Finds the positions of transactions that nobody was answered by what subscribers were told; leaves the others.
fn settle(commits: &mut BTreeMap<u64, Commit>, maybes: Vec<Maybe>, told: &Told, left: &mut Vec<Maybe>) -> usize {
    let mut settled = 0;
    for maybe in maybes {
        let touches = |place: &Place, key: &Key| maybe.effects.contains_key(&(place.0, place.1, *key));
        let found = told.iter().find(|(seq, (epoch, keys))| {
            *epoch == maybe.epoch && !commits.contains_key(seq) && keys.iter().any(|(place, key)| touches(place, key))
        });
        let Some((&seq, _)) = found else {
            left.push(maybe);
            continue;
        };
        let Maybe { writer, epoch, effects, sent, lost } = maybe;
        commits.insert(seq, Commit { writer, epoch, effects, sent, acked: lost });
        settled += 1;
    }
    settled
}

/// A step, or with it what cannot have been.
type Found = Result<Step, (Vec<String>, Step)>;

fn net_effect(seq: u64, commit: &Commit, is_stream: bool, touches: &BTreeMap<Key, &Touch>, rows: &Rows) -> Found {
    let expiry = (commit.sent + TTL, commit.acked + TTL);
    let mut wrong = Vec::new();
    let mut before: BTreeMap<Key, Arc<Row>> = BTreeMap::new();
    for (key, touch) in touches {
        match (touch.existed, rows.get(key)) {
            (true, Some(row)) => drop(before.insert(*key, row.clone())),
            (false, None) => {}
            // its time was over
            (false, Some(row)) if row.expiry.is_some_and(|(least, _)| least <= commit.acked) => {}
            (existed, row) => wrong.push(format!("writer {} found a row: {existed}, not {row:?}", commit.writer)),
        }
    }
    let row =
        |cells: &crate::table::Cells| Arc::new(Row { cells: cells.clone(), seq, expiry: is_stream.then_some(expiry) });
    let after: BTreeMap<Key, (Option<Arc<Row>>, Option<Key>)> = touches
        .iter()
        .map(|(key, touch)| match &touch.now {
            Some((cells, origin)) => (*key, (Some(row(cells)), *origin)),
            None => (*key, (None, None)),
        })
        .collect();
    let changes = changes(&before, &after, commit.acked);
    let after = after.into_iter().map(|(key, (row, _))| (key, row)).collect();
    let step = Step { seq, epoch: commit.epoch, changes, expiry, after };
    if wrong.is_empty() { Ok(step) } else { Err((wrong, step)) }
}

/// The net effect on each row. A moved row is one update only if nothing holds the old key at the end and nothing held
/// the new one before.
fn changes(
    before: &BTreeMap<Key, Arc<Row>>,
    after: &BTreeMap<Key, (Option<Arc<Row>>, Option<Key>)>,
    acked: Wall,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut moved_from = BTreeSet::new();
    let mut moved_to = BTreeSet::new();
    for (key, (row, origin)) in after {
        let (Some(row), Some(origin)) = (row, origin) else { continue };
        let is_left = after.get(origin).is_some_and(|(row, _)| row.is_none());
        if origin == key || !is_left || before.contains_key(key) {
            continue;
        }
        let Some(old) = before.get(origin) else { continue };
        changes.push(Change { old: Some(old.clone()), new: Some(row.clone()), sure: true });
        moved_from.insert(*origin);
        moved_to.insert(*key);
    }
    for (key, (new, _)) in after {
        let old = before.get(key).filter(|_| !moved_from.contains(key)).cloned();
        let new = new.clone().filter(|_| !moved_to.contains(key));
        if old.is_none() && new.is_none() {
            continue;
        }
        let vanishes = old.as_ref().is_some_and(|row| row.expiry.is_some_and(|(least, _)| least <= acked));
        changes.push(Change { old, new, sure: !vanishes });
    }
    changes
}

/// Whether a transaction touches STREAM rows and nothing else.
pub fn is_stream_only(effects: &Effects) -> bool {
    effects.keys().all(|(table, ..)| table.is_stream())
}
