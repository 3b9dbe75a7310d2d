//! Constraints of tables: their names as PostgreSQL chooses them, their columns, their conditions.
//!
//! A name that is chosen for a constraint is that of no other constraint in the schema; one that is given need only be
//! new in its table. A key has an index of its name, which is a relation.

use super::table::{SYSTEM_COLUMNS, refuse_system_column};
use super::{ConditionOf, Definer};
use crate::catalog::{Check, PrimaryKey, Relation, Unique};
use crate::error::{Error, Result, SqlState};
use crate::limits::IDENTIFIER_BYTES_MAX;
use crate::sql::parse::{ColumnName, Constraint, ConstraintKind, Expression};
use crate::types::SqlType;

/// A key as a statement asks for it.
struct Key {
    name: Option<String>,
    primary: bool,
    columns: Vec<usize>,
}

impl Definer<'_, '_> {
    /// Adds the constraints of a new table, or of a new column, in the order in which they stand there. As in PostgreSQL
    /// mistakes in keys are told first, then the conditions are made, then the keys.
    pub(super) fn add_constraints(&mut self, relation: &mut Relation, constraints: &[&Constraint]) -> Result<()> {
        let keys = keys(relation, constraints)?;
        for constraint in constraints {
            if let ConstraintKind::Check(condition) = &constraint.kind {
                self.add_check(relation, constraint.name.as_deref(), condition)?;
            }
        }
        keys.into_iter().try_for_each(|key| self.add_key(relation, key))
    }

    fn add_check(&mut self, relation: &mut Relation, name: Option<&str>, condition: &Expression) -> Result<()> {
        if let Some(name) = name.filter(|name| names(relation).any(|used| used == *name)) {
            let is_new = self.catalog().relation(relation.oid).is_none();
            let message = match is_new {
                true => format!("check constraint \"{name}\" already exists"),
                false => format!("constraint \"{name}\" for relation \"{}\" already exists", relation.name),
            };
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
        }
        let checked = self.cx.expressions.condition(&self.catalog(), condition, relation, ConditionOf::Check)?;
        let column = match checked.columns.as_slice() {
            [column] => Some(relation.columns[*column].name.as_str()),
            _ => None,
        };
        let is_used = |name: &str| self.is_constraint_beside(relation, name);
        let name = name.map_or_else(|| choose(&relation.name, column, "check", is_used), str::to_owned);
        relation.checks.push(Check { oid: self.tx.alloc_oid(), name, condition: checked.text });
        Ok(())
    }

    fn add_key(&mut self, relation: &mut Relation, key: Key) -> Result<()> {
        let Key { name, primary, columns } = key;
        if primary && relation.primary_key.is_some() {
            return Err(multiple_primary_keys(relation));
        }
        // a key's index is a relation
        let is_taken = |name: &str| self.is_taken_beside(relation, name);
        let name = match name {
            Some(name) if is_taken(&name) => {
                return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
            }
            Some(name) if relation.checks.iter().any(|check| check.name == name) => {
                let message = format!("constraint \"{name}\" for relation \"{}\" already exists", relation.name);
                return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
            }
            Some(name) => name,
            None => {
                let named: Vec<&str> = columns.iter().map(|&column| relation.columns[column].name.as_str()).collect();
                let (middle, label) = if primary { (None, "pkey") } else { (Some(named.join("_")), "key") };
                let is_used = |name: &str| is_taken(name) || self.is_constraint_beside(relation, name);
                choose(&relation.name, middle.as_deref(), label, is_used)
            }
        };
        let oid = self.tx.alloc_oid();
        if primary {
            columns.iter().for_each(|&column| relation.columns[column].not_null = true);
            relation.primary_key = Some(PrimaryKey { oid, name, columns });
        } else {
            relation.uniques.push(Unique { oid, name, columns, storage: self.tx.alloc_storage() });
        }
        Ok(())
    }

    /// Whether a relation or an index has a name: this relation as it will be, the others as they are.
    fn is_taken_beside(&self, relation: &Relation, name: &str) -> bool {
        let catalog = self.catalog();
        let by_name = catalog.relation_by_name(relation.schema, name);
        let indexed = catalog.indexed_by_name(relation.schema, name);
        by_name.into_iter().chain(indexed).any(|other| other.oid != relation.oid)
            || relation.name == name
            || relation.index_names().any(|index| index == name)
    }

    /// Whether a constraint of the schema has a name: those of this relation as they will be, the others' as they are.
    fn is_constraint_beside(&self, relation: &Relation, name: &str) -> bool {
        let catalog = self.catalog();
        let mut others =
            catalog.relations().filter(|other| other.schema == relation.schema && other.oid != relation.oid);
        names(relation).any(|used| used == name) || others.any(|other| names(other).any(|used| used == name))
    }
}

/// The keys among constraints, the primary key first. Of several over the same columns one is made, with the first name
/// that was given.
fn keys(relation: &Relation, constraints: &[&Constraint]) -> Result<Vec<Key>> {
    let mut keys: Vec<Key> = Vec::new();
    for constraint in constraints {
        let (columns, primary) = match &constraint.kind {
            ConstraintKind::PrimaryKey(columns) => (columns, true),
            ConstraintKind::Unique(columns) => (columns, false),
            ConstraintKind::Check(_) => continue,
        };
        if primary && keys.iter().any(|key| key.primary) {
            return Err(multiple_primary_keys(relation).at(constraint.position));
        }
        let what = if primary { "primary key" } else { "unique" };
        let columns = key_columns(relation, columns, constraint.position, what)?;
        keys.push(Key { name: constraint.name.clone(), primary, columns });
    }
    keys.sort_by_key(|key| !key.primary);
    let mut made: Vec<Key> = Vec::new();
    for key in keys {
        match made.iter_mut().find(|other| other.columns == key.columns) {
            Some(same) => same.name = same.name.take().or(key.name),
            None => made.push(key),
        }
    }
    Ok(made)
}

fn multiple_primary_keys(relation: &Relation) -> Error {
    let message = format!("multiple primary keys for table \"{}\" are not allowed", relation.name);
    Error::new(SqlState::INVALID_TABLE_DEFINITION, message)
}

/// The names of a relation's constraints.
pub fn names(relation: &Relation) -> impl Iterator<Item = &str> {
    let keys = relation.primary_key.iter().map(|key| key.name.as_str());
    let uniques = relation.uniques.iter().map(|unique| unique.name.as_str());
    keys.chain(uniques).chain(relation.checks.iter().map(|check| check.name.as_str()))
}

/// 0A000 for an index on a system column.
pub(super) fn refuse_system_index(column: &str) -> Result<()> {
    match SYSTEM_COLUMNS.contains(&column) {
        true => Err(Error::unsupported("index creation on system columns")),
        false => Ok(()),
    }
}

fn key_columns(relation: &Relation, columns: &[ColumnName], at: Option<u32>, what: &str) -> Result<Vec<usize>> {
    let mut positions = Vec::new();
    for column in columns {
        match what {
            "primary key" => refuse_system_column("alter", &column.name)?,
            _ => refuse_system_index(&column.name)?,
        }
        let position = relation.column(&column.name).ok_or_else(|| {
            let message = format!("column \"{}\" named in key does not exist", column.name);
            Error::new(SqlState::UNDEFINED_COLUMN, message).at(at)
        })?;
        if positions.contains(&position) {
            let message = format!("column \"{}\" appears twice in {what} constraint", column.name);
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(at));
        }
        check_key_type(relation.columns[position].ty, column.position)?;
        positions.push(position);
    }
    Ok(positions)
}

/// Whether values of a type can be kept in order by their keys.
pub(super) fn check_key_type(ty: SqlType, at: Option<u32>) -> Result<()> {
    if ty.same(SqlType::JSON) {
        let message = "data type json has no default operator class for access method \"btree\"";
        return Err(Error::new(SqlState::UNDEFINED_OBJECT, message).hint(
            "You must specify an operator class for the index or define a default operator class for the data type.",
        ));
    }
    if ty.same(SqlType::JSONB) || ty.same(SqlType::FILE) {
        return Err(Error::unsupported(format!("a key of type {}", ty.display_name())).at(at));
    }
    Ok(())
}

/// The first name that is not used: `t_a_check`, `t_a_check1` …
pub(super) fn choose(table: &str, column: Option<&str>, label: &str, is_used: impl Fn(&str) -> bool) -> String {
    let mut labels = std::iter::once(label.to_owned()).chain((1_u64..).map(|pass| format!("{label}{pass}")));
    let name = labels.find_map(|label| Some(make_name(table, column, &label)).filter(|name| !is_used(name)));
    name.unwrap_or_default()
}

/// PostgreSQL's makeObjectName: the longer of the two names is cut until all of it fits.
fn make_name(table: &str, column: Option<&str>, label: &str) -> String {
    let (mut table, mut column) = (table.to_owned(), column.map(str::to_owned));
    let length = |table: &String, column: &Option<String>| {
        table.len() + column.as_ref().map_or(0, |column| column.len() + 1) + 1 + label.len()
    };
    while length(&table, &column) > IDENTIFIER_BYTES_MAX {
        match &mut column {
            Some(column) if column.len() >= table.len() => column.pop(),
            _ => table.pop(),
        };
    }
    match column {
        Some(column) => format!("{table}_{column}_{label}"),
        None => format!("{table}_{label}"),
    }
}

#[cfg(test)]
mod tests {
    use super::make_name;

    #[test]
    fn names_are_made_as_postgresql_makes_them() {
        assert_eq!(make_name("t", None, "pkey"), "t_pkey");
        assert_eq!(make_name("t", Some("a_b"), "key"), "t_a_b_key");
        let long = make_name(&"x".repeat(63), Some("column"), "check");
        assert_eq!((long.len(), long.ends_with("_column_check")), (63, true));
    }
}
