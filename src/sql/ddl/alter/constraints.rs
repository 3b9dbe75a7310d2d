//! Constraints that come and go, and their names.

use super::{Altered, Definer, column_of, constraint};
use crate::catalog::Relation;
use crate::error::{Error, Result, SqlState};
use crate::sql::ddl::ConditionOf;
use crate::sql::parse::{Constraint, ConstraintKind};

impl Definer<'_, '_> {
    /// Adds constraints, to be held to the rows that are there.
    pub(super) fn constrain(&mut self, altered: &mut Altered, added: &[&Constraint]) -> Result<()> {
        let before = altered.after.clone();
        for constraint in added {
            if let ConstraintKind::PrimaryKey(columns) = &constraint.kind {
                columns.iter().try_for_each(|column| column_of(&before, column).map(|_| ()))?;
            }
        }
        self.add_constraints(&mut altered.after, added).map_err(|error| match error.code() {
            // found before the table is looked at
            SqlState::DUPLICATE_COLUMN | SqlState::INVALID_TABLE_DEFINITION => error,
            _ => error.nowhere(),
        })?;
        let after = &altered.after;
        if before.primary_key.is_none() && after.primary_key.is_some() {
            altered.reclustered = true;
            let nullable = |relation: &Relation, at: usize| !relation.columns[at].not_null;
            let newly = (0..after.columns.len()).filter(|&at| nullable(&before, at) && !nullable(after, at));
            let newly: Vec<usize> = newly.filter(|at| !altered.not_null.contains(at)).collect();
            altered.not_null.extend(newly);
        }
        altered.built.extend(after.uniques[before.uniques.len()..].iter().map(|unique| unique.storage));
        for check in &after.checks[before.checks.len()..] {
            let kept =
                self.cx.expressions.kept(&self.catalog(), &check.condition, (after, after), ConditionOf::Check)?;
            altered.checks.push((check.name.clone(), kept.expr));
        }
        Ok(())
    }

    pub(super) fn drop_constraint(&mut self, altered: &mut Altered, name: &str, if_exists: bool) -> Result<()> {
        let relation = &mut altered.after;
        if relation.primary_key.as_ref().is_some_and(|key| key.name == name) {
            relation.primary_key = None;
            altered.reclustered = true;
            return Ok(());
        }
        if let Some(index) = relation.uniques.iter().position(|unique| unique.name == name) {
            relation.uniques.remove(index);
            return Ok(());
        }
        let before = relation.checks.len();
        relation.checks.retain(|check| check.name != name);
        if relation.checks.len() < before {
            return Ok(());
        }
        let message = format!("constraint \"{name}\" of relation \"{}\" does not exist", relation.name);
        if !if_exists {
            return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
        }
        self.notice(format!("{message}, skipping"));
        Ok(())
    }

    pub(super) fn rename_constraint(&self, relation: &mut Relation, name: &str, to: &str) -> Result<()> {
        let table = relation.name.clone();
        if !constraint::names(relation).any(|used| used == name) {
            let message = format!("constraint \"{name}\" for table \"{table}\" does not exist");
            return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
        }
        // a key's name is its index's, which is a relation
        if !relation.checks.iter().any(|check| check.name == name) {
            self.refuse_taken(relation, to)?;
        }
        if constraint::names(relation).any(|used| used == to) {
            let message = format!("constraint \"{to}\" for relation \"{table}\" already exists");
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
        }
        let Relation { primary_key, uniques, checks, .. } = relation;
        let keys = primary_key.iter_mut().map(|key| &mut key.name);
        let uniques = uniques.iter_mut().map(|unique| &mut unique.name);
        let checks = checks.iter_mut().map(|check| &mut check.name);
        for used in keys.chain(uniques).chain(checks).filter(|used| used.as_str() == name) {
            *used = to.to_owned();
        }
        Ok(())
    }
}
