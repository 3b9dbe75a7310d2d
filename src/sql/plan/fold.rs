//! Constants of a statement, computed once when its plan is made. An error in them is the statement's whether or not
//! it would ever reach the row that needs them, as in PostgreSQL.

use super::Logical;
use crate::error::Result;
use crate::expr::{self, Expr};
use crate::types::{SqlType, Value, Zone};
use std::cell::Cell;

/// Folds all expressions of a tree: whether calls that the executor carries out are left.
pub(super) fn fold(tree: &mut Logical, zone: &Zone) -> Result<bool> {
    let effects = Cell::new(false);
    fold_tree(tree, &Folder { zone, effects: &effects })?;
    Ok(effects.get())
}

struct Folder<'a> {
    zone: &'a Zone,
    effects: &'a Cell<bool>,
}

fn fold_tree(tree: &mut Logical, folder: &Folder) -> Result<()> {
    let one = |expr: &mut Expr| folder.fold(expr);
    match tree {
        Logical::Scan { .. } | Logical::Consume(_) | Logical::Settle(_) | Logical::ResetGroup(_) => Ok(()),
        Logical::Values { rows, .. } => rows.iter_mut().flatten().try_for_each(one),
        Logical::Function { call, .. } => one(call),
        Logical::ProjectSet { input, sets } => {
            sets.iter_mut().try_for_each(one)?;
            fold_tree(input, folder)
        }
        Logical::Filter { input, predicate } => {
            one(predicate)?;
            fold_tree(input, folder)?;
            if matches!(predicate, Expr::Literal { value: Value::Bool(true), .. }) {
                let inner = std::mem::replace(&mut **input, Logical::Values { rows: Vec::new(), types: Vec::new() });
                *tree = inner;
            }
            Ok(())
        }
        Logical::Project { input, exprs } => {
            exprs.iter_mut().try_for_each(one)?;
            fold_tree(input, folder)
        }
        Logical::Sort { input, keys } => {
            keys.iter_mut().try_for_each(|key| one(&mut key.expr))?;
            fold_tree(input, folder)
        }
        Logical::Limit { input, limit, offset } => {
            // What is selected and from where goes first, as in PostgreSQL: its error is the one that is reported.
            fold_tree(input, folder)?;
            offset.iter_mut().chain(limit).try_for_each(one)
        }
        Logical::Distinct { input } | Logical::LockRows { input, .. } => fold_tree(input, folder),
        Logical::Aggregate { input, groups, aggregates } => {
            groups.iter_mut().try_for_each(one)?;
            for call in aggregates {
                call.order.iter_mut().try_for_each(|key| one(&mut key.expr))?;
                call.distinct.iter_mut().flatten().try_for_each(one)?;
                call.args.iter_mut().chain(&mut call.filter).try_for_each(one)?;
            }
            fold_tree(input, folder)
        }
        Logical::Insert { input, checks, returning, .. } => {
            fold_tree(input, folder)?;
            folder.fold_checks(checks);
            returning.iter_mut().flatten().try_for_each(one)
        }
        Logical::Copy(copy) => {
            folder.fold_checks(&mut copy.checks);
            copy.defaults.iter_mut().try_for_each(|(_, default)| one(default))?;
            copy.filter.iter_mut().try_for_each(one)
        }
        Logical::Update { set, returning, predicate, checks, .. } => {
            set.iter_mut().try_for_each(|(_, expr)| one(expr))?;
            folder.fold_checks(checks);
            returning.iter_mut().flatten().chain(predicate).try_for_each(one)
        }
        Logical::Delete { returning, predicate, .. } => {
            returning.iter_mut().flatten().chain(predicate).try_for_each(one)
        }
    }
}

impl Folder<'_> {
    fn fold(&self, expr: &mut Expr) -> Result<()> {
        let placeholder = Expr::literal(Value::Null, SqlType::UNKNOWN);
        *expr = expr::fold(std::mem::replace(expr, placeholder), self.zone)?;
        self.effects.set(self.effects.get() || expr.has_effects());
        Ok(())
    }

    /// A CHECK is the table's and not the statement's: what fails in it fails for the row that is checked.
    fn fold_checks(&self, checks: &mut [(String, Expr)]) {
        for (_, check) in checks {
            if let Ok(folded) = expr::fold(check.clone(), self.zone) {
                *check = folded;
            }
            self.effects.set(self.effects.get() || check.has_effects());
        }
    }
}
