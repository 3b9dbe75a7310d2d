//! Logical to physical: scans get their access paths, only wanted columns are read, orders that a key serves are not
//! sorted.

use super::access::{Purpose, choose, serves};
use super::node::*;
use super::{Logical, RowLocking, SortKey};
use crate::catalog::Catalog;
use crate::error::{Error, Result, SqlState};
use crate::expr::condition::{conjunction, conjuncts};
use crate::expr::{Expr, Volatility};
use crate::table::Model;
use crate::types::{SqlType, Zone};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The physical tree of a logical one, its constants computed, and whether its expressions have calls that the executor
/// carries out.
pub fn plan(mut tree: Logical, catalog: &Catalog, zone: &Zone) -> Result<(Node, bool)> {
    let effects = super::fold::fold(&mut tree, zone)?;
    Ok((physical(tree, catalog)?, effects))
}

fn physical(tree: Logical, catalog: &Catalog) -> Result<Node> {
    let schema =
        |model: &Model| catalog.schema(model.relation().schema).map_or_else(String::new, |schema| schema.name.clone());
    match tree {
        Logical::Insert { input, source, alias, conflict, checks, returning } => {
            let model = stored(source)?;
            let wanted = (0..model.relation().columns.len()).collect();
            let input = lower(*input, &wanted)?;
            let schema = schema(&model);
            Ok(Node::Insert(Arc::new(Insert { input, model, schema, alias, conflict, checks, returning })))
        }
        Logical::Update { source, alias, predicate, set, checks, returning } => {
            let model = stored(source)?;
            let input = targets(&model, &alias, predicate.clone())?;
            let schema = schema(&model);
            let recheck = predicate;
            Ok(Node::Update(Arc::new(Update { input, model, schema, alias, recheck, set, checks, returning })))
        }
        Logical::Delete { source, alias, predicate, returning } => {
            let model = stored(source)?;
            let input = targets(&model, &alias, predicate.clone())?;
            Ok(Node::Delete(Arc::new(Delete { input, model, alias, recheck: predicate, returning })))
        }
        Logical::Copy(node) => Ok(Node::Copy(Arc::new(*node))),
        Logical::Consume(node) => Ok(Node::Consume(node)),
        Logical::Settle(node) => Ok(Node::Settle(node)),
        Logical::ResetGroup(node) => Ok(Node::ResetGroup(node)),
        query => {
            let all = (0..width(&query)).collect();
            lower(query, &all)
        }
    }
}

fn stored(source: Source) -> Result<Arc<Model>> {
    match source {
        Source::Stored(model) => Ok(model),
        Source::System(_) => Err(Error::internal("a system relation is written")),
    }
}

/// How many columns a tree gives.
pub fn width(tree: &Logical) -> usize {
    match tree {
        Logical::Scan { source: Source::Stored(model), .. } => columns(model).count(),
        Logical::Scan { source: Source::System(relation), .. } => relation.columns.len(),
        Logical::Values { types, .. } => types.len(),
        Logical::Function { columns, .. } => columns.len(),
        Logical::ProjectSet { input, sets } => width(input) + sets.len(),
        Logical::Project { exprs, .. } => exprs.len(),
        Logical::Aggregate { groups, aggregates, .. } => groups.len() + aggregates.len(),
        Logical::Filter { input, .. }
        | Logical::Sort { input, .. }
        | Logical::LockRows { input, .. }
        | Logical::Limit { input, .. }
        | Logical::Distinct { input } => width(input),
        _ => 0,
    }
}

/// A tree whose columns in `wanted` are looked at.
fn lower(tree: Logical, wanted: &BTreeSet<usize>) -> Result<Node> {
    match tree {
        Logical::Scan { .. } | Logical::Filter { .. } => Ok(filtered(tree, wanted, ANY_ORDER)?.0),
        Logical::Values { rows, types } => Ok(Node::Values(Arc::new(Values { rows, types }))),
        Logical::Function { call, name, alias, columns, ordinality } => {
            Ok(Node::Function(Arc::new(FunctionScan { call, name, alias, columns, ordinality })))
        }
        Logical::ProjectSet { input, sets } => {
            let width = width(&input);
            let mut wanted: BTreeSet<usize> = wanted.range(..width).copied().collect();
            wanted.extend(used(sets.iter()));
            let input = lower(*input, &wanted)?;
            Ok(Node::ProjectSet(Arc::new(ProjectSet { input, width, sets })))
        }
        Logical::Project { input, exprs } => {
            let input = lower(*input, &used(exprs.iter()))?;
            Ok(Node::Project(Arc::new(Project { input, exprs })))
        }
        Logical::Sort { input, keys } => sort(*input, keys, None, wanted),
        Logical::LockRows { input, locking } => lock_rows(*input, locking, wanted),
        Logical::Limit { input, limit, offset } => {
            let input = match (*input, &limit) {
                (Logical::Sort { input, keys }, Some(limit)) if is_same_again(limit, offset.as_ref()) => {
                    sort(*input, keys, Some((limit.clone(), offset.clone())), wanted)?
                }
                (input, _) => lower(input, wanted)?,
            };
            Ok(Node::Limit(Arc::new(Limit { input, limit, offset })))
        }
        Logical::Distinct { input } => {
            let types = types(&input);
            let all = (0..types.len()).collect();
            Ok(Node::Distinct(Arc::new(Distinct { input: lower(*input, &all)?, types })))
        }
        Logical::Aggregate { input, groups, aggregates } => {
            let mut wanted = used(groups.iter());
            for call in &aggregates {
                let order = call.order.iter().map(|key| &key.expr);
                wanted.extend(used(
                    call.args.iter().chain(&call.filter).chain(order).chain(call.distinct.iter().flatten()),
                ));
            }
            let input = lower(*input, &wanted)?;
            Ok(Node::Aggregate(Arc::new(Aggregate { input, groups, aggregates })))
        }
        _ => Err(Error::internal("a statement that is no query stands within one")),
    }
}

fn used<'e>(exprs: impl Iterator<Item = &'e Expr>) -> BTreeSet<usize> {
    exprs.flat_map(Expr::columns_used).collect()
}

fn types(tree: &Logical) -> Vec<SqlType> {
    match tree {
        Logical::Values { types, .. } => types.clone(),
        Logical::Project { exprs, .. } => exprs.iter().map(Expr::ty).collect(),
        Logical::Filter { input, .. }
        | Logical::Sort { input, .. }
        | Logical::Limit { input, .. }
        | Logical::Distinct { input } => types(input),
        // DISTINCT stands over a select list; nothing else has types that it asks for.
        _ => Vec::new(),
    }
}

/// Locked rows. The scan below adds what names each row.
fn lock_rows(input: Logical, locking: RowLocking, wanted: &BTreeSet<usize>) -> Result<Node> {
    let mut wanted = wanted.clone();
    wanted.insert(width(&input));
    let mut conditions = Vec::new();
    let mut below = &input;
    while let Logical::Sort { input, .. } | Logical::Filter { input, .. } = below {
        if let Logical::Filter { predicate, .. } = below {
            conditions.push(predicate.clone());
        }
        below = input;
    }
    let RowLocking { model, lock, wait } = locking;
    let input = lower(input, &wanted)?;
    Ok(Node::LockRows(Arc::new(LockRows { input, model, lock, wait, recheck: conjunction(conditions) })))
}

/// The input in an order: along a key that has it, else sorted.
fn sort(
    input: Logical,
    keys: Vec<SortKey>,
    top: Option<(Expr, Option<Expr>)>,
    wanted: &BTreeSet<usize>,
) -> Result<Node> {
    let mut wanted = wanted.clone();
    if matches!(input, Logical::Scan { .. } | Logical::Filter { .. }) {
        let purpose = Purpose { order: &keys, limited: top.is_some() };
        let (node, ordered) = filtered(input.clone(), &wanted, purpose)?;
        if ordered {
            return Ok(node);
        }
    }
    wanted.extend(used(keys.iter().map(|key| &key.expr)));
    let input = lower(input, &wanted)?;
    Ok(Node::Sort(Arc::new(Sort { input, keys, top })))
}

/// A scan with the filters over it, in an order if it can: whether it is.
fn filtered(tree: Logical, wanted: &BTreeSet<usize>, purpose: Purpose) -> Result<(Node, bool)> {
    let mut conditions = Vec::new();
    let mut rest = tree;
    while let Logical::Filter { input, predicate } = rest {
        conditions.splice(0..0, conjuncts(Some(predicate)));
        rest = *input;
    }
    match rest {
        Logical::Scan { source: Source::Stored(model), alias, qualified } => {
            let identified = wanted.contains(&columns(&model).count());
            let extra: &[ScanColumn] = if identified { &IDENTITY } else { &[] };
            scan_filtered(&model, (alias, qualified), conditions, wanted, purpose, extra)
        }
        Logical::Scan { source: Source::System(relation), alias, .. } => {
            let (late, early): (Vec<Expr>, Vec<Expr>) = conditions.into_iter().partition(Expr::has_effects);
            let input = Node::System(Arc::new(SystemScan { relation, alias, filter: conjunction(early) }));
            Ok(match conjunction(late) {
                Some(predicate) => (Node::Filter(Arc::new(Filter { input, predicate })), false),
                None => (input, false),
            })
        }
        other => {
            let mut wanted = wanted.clone();
            wanted.extend(used(conditions.iter()));
            let input = lower(other, &wanted)?;
            Ok((
                match conjunction(conditions) {
                    Some(predicate) => Node::Filter(Arc::new(Filter { input, predicate })),
                    None => input,
                },
                false,
            ))
        }
    }
}

/// A scan and what is asked of its rows. What may wait or do something is asked in the order in which it was written, of
/// the rows that are left by what stands before it and by the key's stretches, and never by the scan itself.
fn scan_filtered(
    model: &Arc<Model>,
    names: (String, String),
    conditions: Vec<Expr>,
    wanted: &BTreeSet<usize>,
    purpose: Purpose,
    extra: &[ScanColumn],
) -> Result<(Node, bool)> {
    let first = conditions.iter().position(Expr::has_effects).unwrap_or(conditions.len());
    let mut early = conditions;
    let late = early.split_off(first);
    let (effects, plain): (Vec<Expr>, Vec<Expr>) = late.iter().cloned().partition(Expr::has_effects);
    if effects.is_empty() {
        return scan(model, names, early, wanted, purpose, extra);
    }
    let path = choose(model, early.iter().cloned().chain(plain).collect(), purpose);
    let is_taken = |expr: &Expr| path.taken.iter().any(|taken| format!("{taken:?}") == format!("{expr:?}"));
    let (taken, late): (Vec<Expr>, Vec<Expr>) = late.into_iter().partition(is_taken);
    early.extend(taken);
    let mut wanted = wanted.clone();
    wanted.extend(used(late.iter()));
    let (input, ordered) = scan(model, names, early, &wanted, purpose, extra)?;
    Ok(match conjunction(late) {
        Some(predicate) => (Node::Filter(Arc::new(Filter { input, predicate })), ordered),
        None => (input, ordered),
    })
}

/// Whether LIMIT and OFFSET may be asked twice.
fn is_same_again(limit: &Expr, offset: Option<&Expr>) -> bool {
    [Some(limit), offset].into_iter().flatten().all(|expr| expr.volatility() != Volatility::Volatile)
}

/// Rows in whatever order they are found.
const ANY_ORDER: Purpose = Purpose { order: &[], limited: false };

/// What names a row and tells whether it has changed: the last columns of a scan whose rows are to be locked.
const IDENTITY: [ScanColumn; 2] = [ScanColumn::Key, ScanColumn::Row];

/// The system columns after a relation's own, as [`bind`](crate::sql::bind) numbers them.
const SYSTEM: [ScanColumn; 3] = [ScanColumn::Seq, ScanColumn::Xmin, ScanColumn::TableOid];

/// The columns that expressions over a relation may name, in their order.
fn columns(model: &Model) -> impl Iterator<Item = ScanColumn> {
    let own = (0..model.relation().columns.len()).map(ScanColumn::Stored);
    own.chain(SYSTEM).chain(model.relation().topic().map(|_| ScanColumn::Topic))
}

fn scan(
    model: &Arc<Model>,
    (alias, qualified): (String, String),
    conditions: Vec<Expr>,
    wanted: &BTreeSet<usize>,
    purpose: Purpose,
    extra: &[ScanColumn],
) -> Result<(Node, bool)> {
    if !model.is_readable() {
        let table = &model.relation().name;
        let message = format!("could not serialize access due to another primary key of table \"{table}\"");
        return Err(Error::new(SqlState::T_R_SERIALIZATION_FAILURE, message)
            .detail("Rows of an older snapshot are not to be found under it.")
            .hint("The transaction might succeed if retried."));
    }
    let path = choose(model, conditions, purpose);
    let order = purpose.order;
    let direction = if order.is_empty() { Some(false) } else { serves(model, &path.access, order) };
    let mut wanted = wanted.clone();
    wanted.extend(used(path.left.iter()));
    if matches!(path.access, Access::Index(..)) {
        // they may have to be judged again on the row
        wanted.extend(used(path.taken.iter()));
    }
    let all = columns(model).enumerate();
    let mut columns: Vec<ScanColumn> =
        all.map(|(at, column)| if wanted.contains(&at) { column } else { ScanColumn::Unused }).collect();
    if extra.is_empty() {
        // Rows need not be wider than what is looked at.
        columns.truncate(wanted.last().map_or(0, |last| last + 1));
    }
    columns.extend_from_slice(extra);
    let node = Scan {
        model: model.clone(),
        alias,
        qualified: qualified.into(),
        columns,
        access: path.access,
        backward: direction.unwrap_or(false),
        filter: conjunction(path.left),
        condition: conjunction(path.taken),
    };
    Ok((Node::Scan(Arc::new(node)), direction.is_some()))
}

/// Key and stored form of the rows that a statement is to write.
fn targets(model: &Arc<Model>, alias: &str, predicate: Option<Expr>) -> Result<Node> {
    let names = (alias.to_owned(), String::new());
    Ok(scan_filtered(model, names, conjuncts(predicate), &BTreeSet::new(), ANY_ORDER, &IDENTITY)?.0)
}
