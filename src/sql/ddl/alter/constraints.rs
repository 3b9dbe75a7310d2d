//! Constraints that come and go, and their names.

use super::{Altered, Definer, constraint};
use crate::catalog::{Catalog, Relation};
use crate::error::{Error, Result, SqlState};
use crate::sql::ddl::ConditionOf;
use crate::sql::parse::{Constraint, ConstraintKind};

impl Definer<'_, '_> {
    /// Adds a constraint, to be held to the rows that are there.
    pub(super) fn constrain(&mut self, altered: &mut Altered, added: &Constraint) -> Result<()> {
        let nullable =
            |relation: &Relation| -> Vec<bool> { relation.columns.iter().map(|one| !one.not_null).collect() };
        let before = nullable(&altered.after);
        self.add_constraint(&mut altered.after, added)?;
        match &added.kind {
            ConstraintKind::PrimaryKey(_) => {
                altered.reclustered = true;
                let after = nullable(&altered.after);
                let newly = (0..after.len()).filter(|&at| before[at] && !after[at] && !altered.not_null.contains(&at));
                altered.not_null.extend(newly.collect::<Vec<_>>());
            }
            ConstraintKind::Unique(_) => altered.built.extend(altered.after.uniques.last().map(|one| one.storage)),
            ConstraintKind::Check(_) => {
                let Some(check) = altered.after.checks.last() else { return Ok(()) };
                let names = (&altered.after, &altered.after);
                let kept = self.cx.expressions.kept(&self.catalog(), &check.condition, names, ConditionOf::Check)?;
                altered.checks.push((check.name.clone(), kept.expr));
            }
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
}

pub(super) fn rename(catalog: &Catalog, relation: &mut Relation, name: &str, to: &str) -> Result<()> {
    let table = relation.name.clone();
    if !constraint::names(relation).any(|used| used == name) {
        let message = format!("constraint \"{name}\" for table \"{table}\" does not exist");
        return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
    }
    // a key's name is its index's, which is a relation in PostgreSQL
    let is_key = |name: &str, relation: &Relation| {
        let checks = relation.checks.iter().any(|check| check.name == name);
        let indexes = relation.indexes.iter().any(|index| index.name == name);
        indexes || constraint::names(relation).any(|used| used == name) && !checks
    };
    let same_schema = catalog.relations().filter(|other| other.schema == relation.schema);
    if is_key(name, relation) && same_schema.into_iter().any(|other| other.name == to || is_key(to, other)) {
        return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{to}\" already exists")));
    }
    if constraint::names(relation).any(|used| used == to) {
        let message = format!("constraint \"{to}\" for relation \"{table}\" already exists");
        return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
    }
    let keys = relation.primary_key.iter_mut().map(|key| &mut key.name);
    let uniques = relation.uniques.iter_mut().map(|unique| &mut unique.name);
    let checks = relation.checks.iter_mut().map(|check| &mut check.name);
    for used in keys.chain(uniques).chain(checks).filter(|used| used.as_str() == name) {
        *used = to.to_owned();
    }
    Ok(())
}
