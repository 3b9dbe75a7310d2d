//! Constraints of tables: their names as PostgreSQL chooses them, their columns, their conditions.

use super::{ConditionOf, Definer};
use crate::catalog::{Check, PrimaryKey, Relation, Unique};
use crate::error::{Error, Result, SqlState};
use crate::limits::IDENTIFIER_BYTES_MAX;
use crate::sql::parse::{ColumnName, Constraint, ConstraintKind};
use crate::types::SqlType;

impl Definer<'_, '_> {
    pub(super) fn add_constraint(&mut self, relation: &mut Relation, constraint: &Constraint) -> Result<()> {
        if let Some(name) = constraint.name.as_deref().filter(|name| names(relation).any(|used| used == *name)) {
            let is_new = self.catalog().relation(relation.oid).is_none();
            let checks = matches!(constraint.kind, ConstraintKind::Check(_));
            let message = match is_new && checks && relation.checks.iter().any(|check| check.name == name) {
                true => format!("check constraint \"{name}\" already exists"),
                false => format!("constraint \"{name}\" for relation \"{}\" already exists", relation.name),
            };
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
        }
        match &constraint.kind {
            ConstraintKind::PrimaryKey(columns) => self.add_primary_key(relation, constraint, columns),
            ConstraintKind::Unique(columns) => {
                let positions = key_columns(relation, columns, constraint.position, "unique")?;
                let middle = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join("_");
                let name = constraint.name.clone().unwrap_or_else(|| choose(relation, Some(&middle), "key"));
                let (oid, storage) = (self.tx.alloc_oid(), self.tx.alloc_storage());
                relation.uniques.push(Unique { oid, name, columns: positions, storage });
                Ok(())
            }
            ConstraintKind::Check(expression) => {
                let checked =
                    self.cx.expressions.condition(&self.catalog(), expression, relation, ConditionOf::Check)?;
                let column = match checked.columns.as_slice() {
                    [column] => Some(relation.columns[*column].name.clone()),
                    _ => None,
                };
                let name = constraint.name.clone().unwrap_or_else(|| choose(relation, column.as_deref(), "check"));
                relation.checks.push(Check { oid: self.tx.alloc_oid(), name, condition: checked.text });
                Ok(())
            }
        }
    }

    fn add_primary_key(
        &mut self,
        relation: &mut Relation,
        constraint: &Constraint,
        columns: &[ColumnName],
    ) -> Result<()> {
        if relation.primary_key.is_some() {
            let message = format!("multiple primary keys for table \"{}\" are not allowed", relation.name);
            let had = self.catalog().relation(relation.oid).is_some_and(|before| before.primary_key.is_some());
            let at = constraint.position.filter(|_| !had);
            return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message).at(at));
        }
        let positions = key_columns(relation, columns, constraint.position, "primary key")?;
        for &position in &positions {
            relation.columns[position].not_null = true;
        }
        let name = constraint.name.clone().unwrap_or_else(|| choose(relation, None, "pkey"));
        relation.primary_key = Some(PrimaryKey { oid: self.tx.alloc_oid(), name, columns: positions });
        Ok(())
    }
}

/// The names of a relation's constraints.
pub fn names(relation: &Relation) -> impl Iterator<Item = &str> {
    let keys = relation.primary_key.iter().map(|key| key.name.as_str());
    let uniques = relation.uniques.iter().map(|unique| unique.name.as_str());
    keys.chain(uniques).chain(relation.checks.iter().map(|check| check.name.as_str()))
}

fn key_columns(relation: &Relation, columns: &[ColumnName], at: Option<u32>, what: &str) -> Result<Vec<usize>> {
    let mut positions = Vec::new();
    for column in columns {
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

/// A constraint's name that the table does not have yet: `t_pkey`, `t_a_key`, `t_a_check`, `t_a_check1` …
fn choose(relation: &Relation, column: Option<&str>, label: &str) -> String {
    let mut pass = 0;
    loop {
        let suffix = if pass == 0 { label.to_owned() } else { format!("{label}{pass}") };
        let name = make_name(&relation.name, column, &suffix);
        if !names(relation).any(|used| used == name) {
            return name;
        }
        pass += 1;
    }
}

/// PostgreSQL's makeObjectName: the longer of the two names is cut until all of it fits.
pub(super) fn make_name(table: &str, column: Option<&str>, label: &str) -> String {
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
