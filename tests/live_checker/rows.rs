//! Compares rows that were read, or that events leave, with those that the ledger knows of.

use crate::journal::Fold;
use crate::place::Wall;
use crate::query::Query;
use crate::table::{Cells, Image, Key, Row, image_of_cells};
use crate::truth::{Lane, Truth};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// As much of a text as a message shows.
pub fn cut(text: &str) -> String {
    text.chars().take(900).collect()
}

/// Whether the rows are those of a query at a position; STREAM rows by the time of the SELECT.
pub fn rows_are(
    query: &Query,
    truth: &Truth,
    seq: u64,
    epoch: u64,
    rows: &[Cells],
    times: (Wall, Wall),
    last: Option<u64>,
) -> Result<(), String> {
    let place = (query.table, query.table.scope(query.user));
    let state = truth.rows_at(place, seq, epoch);
    let mut wanted: Vec<&Arc<Row>> = state.values().filter(|row| query.holds(row)).collect();
    wanted.sort_by(|left, right| query.order(left, right));
    let columns = query.described();
    let found: Vec<Image> = rows.iter().map(|cells| image_of_cells(cells, &columns)).collect();
    if query.table.is_stream() {
        return stream_rows_are(query, &wanted, &found, times, &truth.doubtful(place, epoch));
    }
    wanted.truncate(query.limit.map_or(usize::MAX, |limit| limit as usize));
    let first = wanted.len().saturating_sub(last.map_or(usize::MAX, |last| last as usize));
    let mut wanted: Vec<Image> = wanted[first..].iter().map(|row| query.image(row, false)).collect();
    let mut found = found;
    if !query.ordered {
        wanted.sort();
        found.sort();
    }
    if wanted == found { Ok(()) } else { Err(difference(seq, &wanted, &found)) }
}

fn difference(seq: u64, wanted: &[Image], found: &[Image]) -> String {
    let missing: Vec<&Image> = wanted.iter().filter(|image| !found.contains(image)).collect();
    let surplus: Vec<&Image> = found.iter().filter(|image| !wanted.contains(image)).collect();
    let counts = (wanted.len(), found.len());
    cut(&format!("at {seq} {counts:?} rows; missing {missing:?}, too many {surplus:?}"))
}

/// The same where rows vanish: all that must be there are, and nothing that cannot be.
fn stream_rows_are(
    query: &Query,
    state: &[&Arc<Row>],
    found: &[Image],
    (asked, answered): (Wall, Wall),
    doubtful: &BTreeSet<Key>,
) -> Result<(), String> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    found.iter().for_each(|image| *left.entry(image).or_default() += 1);
    for row in state {
        let (least, most) = row.expiry.expect("a STREAM row vanishes");
        let image = query.image(row, false);
        let is_there = left.get_mut(image.as_str()).is_some_and(|count| {
            let is_there = *count > 0;
            *count = count.saturating_sub(1);
            is_there
        });
        let is_doubtful = doubtful.contains(&query.table.key(&row.cells));
        if !is_there && least > answered && !is_doubtful {
            return Err(format!("missing, though it vanishes later: {image}"));
        }
        if is_there && most < asked {
            return Err(format!("it has vanished: {image}"));
        }
    }
    let names_doubtful = |image: &str| doubtful.iter().any(|(_, id)| image.contains(&format!("\"id\":\"{id}\"")));
    match left.iter().find(|(image, count)| **count > 0 && !names_doubtful(image)) {
        Some((image, _)) => Err(format!("too many: {image}")),
        None => Ok(()),
    }
}

/// Whether folded rows are those of a SELECT at the same position; STREAM rows that have vanished may be left.
pub fn fold_is(query: &Query, truth: &Truth, fold: &Fold, rows: &[Cells], now: Wall) -> Result<(), String> {
    let columns = query.described();
    let mut left = fold.clone();
    for cells in rows {
        let image = image_of_cells(cells, &columns);
        match left.get_mut(&image) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                left.remove(&image);
            }
            None => return Err(format!("the SELECT has a row that the fold has not: {image}")),
        }
    }
    if query.table.is_stream() {
        let place = (query.table, query.table.scope(query.user));
        for row in truth.lanes.get(&place).into_iter().flat_map(Lane::versions) {
            let vanished = row.expiry.is_some_and(|(least, _)| least <= now);
            if vanished {
                left.remove(&query.image(row, false));
            }
        }
    }
    match left.first_key_value() {
        None => Ok(()),
        Some((image, _)) => Err(format!("the fold has {} rows more: {image}", left.len())),
    }
}
