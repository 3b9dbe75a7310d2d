//! Access paths: which conditions become stretches of a key, and which orders a key serves.

use super::SortKey;
use super::node::{Access, Bound, KeyPart, KeyRange};
use crate::encoding::key::KeyColumn;
use crate::expr::condition::{self, comparison, is_column};
use crate::expr::{CompareOp, Expr};
use crate::table::Model;
use crate::types::{SqlType, Value};

/// How a scan finds its rows, and what of its condition is left to judge.
pub(super) struct Path {
    pub(super) access: Access,
    /// The conditions that the access path has taken care of.
    pub(super) taken: Vec<Expr>,
    /// The others.
    pub(super) left: Vec<Expr>,
}

/// What a scan is wanted for.
#[derive(Clone, Copy)]
pub(super) struct Purpose<'a> {
    /// The order that its rows are wanted in.
    pub(super) order: &'a [SortKey],
    /// Whether only the first of them are wanted.
    pub(super) limited: bool,
}

/// How much of a key the conditions settle: the more the better, compared from the first field on.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Merit {
    /// One row at most.
    single: bool,
    /// Leading columns with known values.
    equal: usize,
    /// Whether the next column has bounds, and rows come in the order that is wanted.
    bounded_or_ordered: usize,
    /// Rows are read where they are, without an entry that leads to them.
    clustered: bool,
}

/// Chooses the access path for conditions over a relation's columns.
///
/// Without statistics: the key that settles most. Of an index that settles nothing use is made only where it saves
/// sorting all rows for the sake of the first few.
pub(super) fn choose(model: &Model, conditions: Vec<Expr>, purpose: Purpose) -> Path {
    let mut best: Option<(Merit, Access, Vec<usize>)> = None;
    let mut consider = |access: Access, used: Vec<usize>, single: bool| {
        let clustered = !matches!(access, Access::Index(..));
        let (equal, bounded) = match &access {
            Access::Full => (0, false),
            Access::Key(range) | Access::Index(_, range) => {
                (range.equal.len(), !range.lower.is_empty() || !range.upper.is_empty())
            }
        };
        let ordered = !purpose.order.is_empty() && serves(model, &access, purpose.order).is_some();
        let settles = equal > 0 || bounded || ordered && purpose.limited;
        if !clustered && !settles {
            return;
        }
        // of one row there is no less, however many columns say which it is
        let equal = if single { 0 } else { equal };
        let merit = Merit { single, equal, bounded_or_ordered: usize::from(bounded) + usize::from(ordered), clustered };
        if best.as_ref().is_none_or(|(best, ..)| merit > *best) {
            best = Some((merit, access, used));
        }
    };
    match by_key(model, model.key_columns(), &conditions) {
        Some((range, used)) => {
            let single = !model.has_row_id() && range.equal.len() == model.key_columns().len();
            consider(Access::Key(range), used, single);
        }
        None => consider(Access::Full, Vec::new(), false),
    }
    for (at, index) in model.indexes().iter().enumerate().filter(|(_, index)| index.readable) {
        let (range, used) = by_key(model, index.key_columns(), &conditions).unwrap_or_default();
        let single = index.unique && range.equal.len() == index.columns.len();
        consider(Access::Index(at, range), used, single);
    }
    match best {
        Some((_, access, used)) => path(access, &used, conditions),
        None => Path { access: Access::Full, taken: Vec::new(), left: conditions },
    }
}

fn path(access: Access, used: &[usize], conditions: Vec<Expr>) -> Path {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for (at, condition) in conditions.into_iter().enumerate() {
        if used.contains(&at) { taken.push(condition) } else { left.push(condition) }
    }
    Path { access, taken, left }
}

fn by_key(model: &Model, columns: &[(usize, KeyColumn)], conditions: &[Expr]) -> Option<(KeyRange, Vec<usize>)> {
    let mut range = KeyRange::default();
    let mut used = Vec::new();
    for (column, order) in columns {
        let equal = conditions
            .iter()
            .enumerate()
            .find_map(|(at, condition)| Some((at, equal_part(condition, *column, order.ty)?)));
        if let Some((at, part)) = equal {
            range.equal.push(part);
            used.push(at);
            continue;
        }
        if *column == 0 && model.relation().topic().is_some_and(|topic| topic.partitions == 1) {
            range.equal.push(KeyPart::One(Expr::literal(Value::Int(0), order.ty)));
            continue;
        }
        for (at, condition) in conditions.iter().enumerate() {
            let Some((op, value)) = comparison(condition, *column, order.ty) else { continue };
            let bound = |inclusive| Bound { value: value.clone(), inclusive };
            match op {
                CompareOp::Less => range.upper.push(bound(false)),
                CompareOp::LessEqual => range.upper.push(bound(true)),
                CompareOp::Greater => range.lower.push(bound(false)),
                CompareOp::GreaterEqual => range.lower.push(bound(true)),
                CompareOp::Equal | CompareOp::NotEqual => continue,
            }
            used.push(at);
        }
        break;
    }
    let narrows = !range.equal.is_empty() || !used.is_empty();
    narrows.then_some((range, used))
}

/// `column = value`, or `column IN (values)`.
fn equal_part(condition: &Expr, column: usize, ty: SqlType) -> Option<KeyPart> {
    if let Some((CompareOp::Equal, value)) = comparison(condition, column, ty) {
        return Some(KeyPart::One(value.clone()));
    }
    condition::listed(condition, column, ty).map(|list| KeyPart::Any(list.to_vec()))
}

/// Whether rows along a key come in an order: forward (false), backward (true), or not at all.
pub(super) fn serves(model: &Model, access: &Access, order: &[SortKey]) -> Option<bool> {
    let (columns, equal): (_, &[KeyPart]) = match access {
        Access::Full => (model.key_columns(), &[]),
        Access::Key(range) => (model.key_columns(), &range.equal),
        Access::Index(at, range) => (model.indexes()[*at].key_columns(), &range.equal),
    };
    let fixed = |at: usize| matches!(equal.get(at), Some(KeyPart::One(_)));
    // A column with one value may stand anywhere in the order.
    let is_fixed = |key: &&SortKey| {
        let mut columns = columns.iter().enumerate();
        columns.any(|(at, (column, _))| fixed(at) && is_column(&key.expr, *column))
    };
    let mut wanted = order.iter().filter(|key| !is_fixed(key));
    let mut backward = None;
    for (_, (column, along)) in columns.iter().enumerate().filter(|(at, _)| !fixed(*at)) {
        let Some(key) = wanted.next() else { return Some(backward.unwrap_or(false)) };
        let against = key.descending != along.descending;
        let has_nulls = !model.relation().columns[*column].not_null;
        let nulls_stand_right = key.nulls_first == (along.nulls_first != against);
        if !is_column(&key.expr, *column)
            || has_nulls && !nulls_stand_right
            || backward.is_some_and(|backward| backward != against)
        {
            return None;
        }
        backward = Some(against);
    }
    // All of a key that no two rows share is used: what follows in the order decides nothing more.
    let decided = match access {
        Access::Full | Access::Key(_) => !model.has_row_id(),
        Access::Index(at, _) => is_told_apart(model, *at),
    };
    (decided || wanted.next().is_none()).then_some(backward.unwrap_or(false))
}

/// Whether no two rows have the same values in all columns of an index's key.
fn is_told_apart(model: &Model, index: usize) -> bool {
    let index = &model.indexes()[index];
    match index.unique {
        true => index.columns.iter().all(|&column| model.relation().columns[column].not_null),
        false => !model.has_row_id(),
    }
}
