//! ALTER TABLE. Columns keep their places; what would need every row rewritten or judged is done on empty tables only.

use super::{Constant, Definer, constraint};
use crate::catalog::{Relation, RelationKind, TableKind};
use crate::encoding::key::{self, Space};
use crate::error::{Error, Result, SqlState};
use crate::limits::COLUMNS_MAX;
use crate::sql::parse::{AlterTable, ColumnDefinition, ColumnName, ConstraintKind, ObjectName};
use crate::storage::Direction;
use crate::types::ScopeId;
use std::ops::Bound;

impl Definer<'_, '_> {
    pub(super) fn alter_table(&mut self, name: &ObjectName, if_exists: bool, actions: &[AlterTable]) -> Result<()> {
        if if_exists && self.find_relation(name)?.is_none() {
            self.notice(format!("relation \"{}\" does not exist, skipping", name.name));
            return Ok(());
        }
        let table = self.owned_table(name)?;
        self.lock_relation(table.oid)?;
        let mut relation = Relation::clone(&table);
        for action in actions {
            self.alter(&mut relation, action)?;
        }
        self.put_relation(relation)
    }

    fn alter(&mut self, relation: &mut Relation, action: &AlterTable) -> Result<()> {
        match action {
            AlterTable::AddColumn { column, if_not_exists } => self.add_column(relation, column, *if_not_exists),
            AlterTable::DropColumn { name, if_exists, .. } => self.drop_column(relation, name, *if_exists),
            AlterTable::Default { name, default } => {
                let position = column_of(relation, name)?;
                relation.columns[position].default = match default {
                    Some(default) => {
                        let column = &relation.columns[position];
                        Some(self.cx.expressions.default(&self.catalog(), default, column)?)
                    }
                    None => None,
                };
                Ok(())
            }
            AlterTable::NotNull { name, set } => self.not_null(relation, name, *set),
            AlterTable::AddConstraint(added) => {
                let what = match added.kind {
                    ConstraintKind::PrimaryKey(_) => "adding a primary key to a table with rows",
                    ConstraintKind::Unique(_) => "adding a unique constraint to a table with rows",
                    ConstraintKind::Check(_) => "adding a check constraint to a table with rows",
                };
                self.require_empty(relation, what)?;
                self.add_constraint(relation, added)
            }
            AlterTable::DropConstraint { name, if_exists } => self.drop_constraint(relation, name, *if_exists),
            AlterTable::Rename(to) => {
                self.refuse_taken(relation, to)?;
                relation.name = to.clone();
                Ok(())
            }
            AlterTable::RenameColumn { name, to } => self.rename_column(relation, name, to),
            AlterTable::RenameConstraint { name, to } => rename_constraint(relation, name, to),
            AlterTable::Owner(role) => {
                relation.owner = self.new_owner(role)?;
                Ok(())
            }
            AlterTable::Schema(schema) => {
                let target = ObjectName { schema: Some(schema.clone()), name: relation.name.clone(), position: None };
                relation.schema = self.target_schema(&target)?.oid;
                let name = relation.name.clone();
                self.refuse_taken(relation, &name)
            }
        }
    }

    fn refuse_taken(&self, relation: &Relation, name: &str) -> Result<()> {
        match self.catalog().relation_by_name(relation.schema, name) {
            Some(_) => Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))),
            None => Ok(()),
        }
    }

    fn add_column(
        &mut self,
        relation: &mut Relation,
        definition: &ColumnDefinition,
        if_not_exists: bool,
    ) -> Result<()> {
        if relation.column(&definition.name).is_some() {
            let message = format!("column \"{}\" of relation \"{}\" already exists", definition.name, relation.name);
            if !if_not_exists {
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(definition.position));
            }
            self.notice_with_code(SqlState::DUPLICATE_COLUMN, format!("{message}, skipping"));
            return Ok(());
        }
        if relation.columns.len() >= COLUMNS_MAX {
            let message = format!("tables can have at most {COLUMNS_MAX} columns");
            return Err(Error::new(SqlState::TOO_MANY_COLUMNS, message));
        }
        let mut column = self.column(definition)?;
        if !self.is_empty(relation)? {
            if !definition.constraints.is_empty() {
                return Err(filled("adding a column with a constraint to a table with rows"));
            }
            let constant = match &definition.default {
                Some(default) => self.cx.expressions.constant(&self.catalog(), default, column.ty)?,
                None => Constant::Null,
            };
            column.missing = match constant {
                Constant::Value(value) => Some(value),
                Constant::Null if column.not_null => {
                    return Err(contains_nulls(&column.name, relation));
                }
                Constant::Null => None,
                Constant::Volatile => {
                    return Err(filled("adding a column with a volatile default to a table with rows"));
                }
            };
        }
        relation.columns.push(column);
        bump(relation)?;
        definition.constraints.iter().try_for_each(|own| self.add_constraint(relation, own))
    }

    /// A dropped column keeps its place. One that a key, a check or a source uses stays.
    fn drop_column(&mut self, relation: &mut Relation, name: &ColumnName, if_exists: bool) -> Result<()> {
        let Some(position) = relation.column(&name.name) else {
            let error = no_column(relation, &name.name);
            if !if_exists {
                return Err(error);
            }
            self.notice(format!("{}, skipping", error.fields().message));
            return Ok(());
        };
        let in_key = relation.primary_key.iter().any(|key| key.columns.contains(&position));
        let in_unique = relation.uniques.iter().any(|unique| unique.columns.contains(&position));
        let is_source = self.catalog().topics_of(relation.oid).next().is_some();
        if in_key || in_unique || is_source || !relation.checks.is_empty() {
            return Err(Error::unsupported("dropping a column of a table with constraints over it, checks or topics")
                .hint("Drop the constraints, or the topic's source, first; a primary key's columns stay."));
        }
        let column = &mut relation.columns[position];
        column.name = format!("........pg.dropped.{}........", position + 1);
        (column.dropped, column.not_null, column.default) = (true, false, None);
        bump(relation)
    }

    fn not_null(&mut self, relation: &mut Relation, name: &ColumnName, set: bool) -> Result<()> {
        let position = column_of(relation, name)?;
        let in_key = relation.primary_key.iter().any(|key| key.columns.contains(&position));
        if !set && in_key {
            let message = format!("column \"{}\" is in a primary key", name.name);
            return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
        }
        if set && !relation.columns[position].not_null {
            self.require_empty(relation, "setting NOT NULL on a table with rows")?;
        }
        relation.columns[position].not_null = set;
        Ok(())
    }

    fn drop_constraint(&mut self, relation: &mut Relation, name: &str, if_exists: bool) -> Result<()> {
        if relation.primary_key.as_ref().is_some_and(|key| key.name == name) {
            self.require_empty(relation, "dropping the primary key of a table with rows")?;
            relation.primary_key = None;
            return Ok(());
        }
        if let Some(index) = relation.uniques.iter().position(|unique| unique.name == name) {
            let unique = relation.uniques.remove(index);
            self.free_storage(Space::Index, unique.storage);
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

    /// Checks and filters are kept as text with the columns' names, so a column they may use keeps its name.
    fn rename_column(&mut self, relation: &mut Relation, name: &ColumnName, to: &str) -> Result<()> {
        let position = column_of(relation, name)?;
        if relation.column(to).is_some() {
            let message = format!("column \"{to}\" of relation \"{}\" already exists", relation.name);
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
        let filtered = self
            .catalog()
            .topics_of(relation.oid)
            .filter_map(|topic| topic.topic())
            .flat_map(|topic| &topic.sources)
            .any(|source| source.table == relation.oid && source.filter.is_some());
        if filtered || !relation.checks.is_empty() {
            return Err(Error::unsupported("renaming a column of a table with checks or filtered topic sources")
                .hint("Drop the checks or the topic's source first."));
        }
        relation.columns[position].name = to.to_owned();
        Ok(())
    }

    fn require_empty(&mut self, relation: &Relation, what: &str) -> Result<()> {
        if self.is_empty(relation)? { Ok(()) } else { Err(filled(what)) }
    }

    /// Whether no user id has a row in a table.
    fn is_empty(&mut self, relation: &Relation) -> Result<bool> {
        let first = key::prefix(space_of(relation), relation.storage, ScopeId(0));
        let every = first[..first.len() - size_of::<u64>()].to_vec();
        self.is_nothing_under(every)
    }

    /// Whether a user id has rows in any table.
    pub(super) fn owns_rows(&mut self, scope: ScopeId) -> Result<bool> {
        let catalog = self.catalog();
        for relation in catalog.relations().filter(|relation| relation.is_scoped()) {
            if !self.is_nothing_under(key::prefix(space_of(relation), relation.storage, scope))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_nothing_under(&mut self, prefix: Vec<u8>) -> Result<bool> {
        let to = key::prefix_successor(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
        let view = self.tx.latest()?;
        let mut cursor = self.tx.cursor(&view, Bound::Included(prefix), to, Direction::Forward);
        let mut rows = Vec::new();
        while rows.is_empty() && cursor.next_batch(self.tx, &view, &mut rows, 1)? {}
        Ok(rows.is_empty())
    }
}

fn space_of(relation: &Relation) -> Space {
    match relation.kind {
        RelationKind::Table(TableKind::Stream { .. }) => Space::Stream,
        _ => Space::Row,
    }
}

fn filled(what: &str) -> Error {
    Error::unsupported(what).hint("Make a new table with the wanted definition and copy the rows into it.")
}

fn contains_nulls(column: &str, relation: &Relation) -> Error {
    let message = format!("column \"{column}\" of relation \"{}\" contains null values", relation.name);
    Error::new(SqlState::NOT_NULL_VIOLATION, message)
}

fn no_column(relation: &Relation, name: &str) -> Error {
    let message = format!("column \"{name}\" of relation \"{}\" does not exist", relation.name);
    Error::new(SqlState::UNDEFINED_COLUMN, message)
}

fn column_of(relation: &Relation, name: &ColumnName) -> Result<usize> {
    relation.column(&name.name).ok_or_else(|| no_column(relation, &name.name))
}

fn bump(relation: &mut Relation) -> Result<()> {
    let next = relation.row_version.checked_add(1);
    relation.row_version =
        next.ok_or_else(|| Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "table was altered too often"))?;
    Ok(())
}

fn rename_constraint(relation: &mut Relation, name: &str, to: &str) -> Result<()> {
    if constraint::names(relation).any(|used| used == to) {
        let message = format!("constraint \"{to}\" for relation \"{}\" already exists", relation.name);
        return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
    }
    let table = relation.name.clone();
    let keys = relation.primary_key.iter_mut().map(|key| &mut key.name);
    let uniques = relation.uniques.iter_mut().map(|unique| &mut unique.name);
    let checks = relation.checks.iter_mut().map(|check| &mut check.name);
    match keys.chain(uniques).chain(checks).find(|used| used.as_str() == name) {
        Some(used) => {
            *used = to.to_owned();
            Ok(())
        }
        None => {
            let message = format!("constraint \"{name}\" for table \"{table}\" does not exist");
            Err(Error::new(SqlState::UNDEFINED_OBJECT, message))
        }
    }
}
