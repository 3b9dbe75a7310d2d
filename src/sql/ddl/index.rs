//! CREATE INDEX, ALTER INDEX and DROP INDEX. A new index is built as ALTER TABLE builds those of constraints; the table
//! can be read meanwhile.

use super::Definer;
use super::alter::{Altered, space_of};
use super::constraint::{check_key_type, choose, refuse_system_index};
use super::names::{plural, require_schema, wrong_kind};
use crate::catalog::{CatalogName, Index, IndexColumn, Privilege, Relation, RelationKind};
use crate::encoding::key::Space;
use crate::error::{Error, Result, SqlState};
use crate::limits::INDEX_COLUMNS_MAX;
use crate::sql::parse::{AlterTable, CreateIndex, ObjectName};
use crate::txn::{LockKey, LockMode};
use crate::types::Oid;
use std::sync::Arc;

impl Definer<'_, '_> {
    pub(super) fn create_index(&mut self, create: &CreateIndex) -> Result<()> {
        let table = self.indexed_table(&create.table)?;
        self.lock(LockKey::Relation(table.oid), LockMode::Share)?;
        self.refuse_in_use(&table, "CREATE INDEX")?;
        if create.columns.len() > INDEX_COLUMNS_MAX {
            let message = format!("cannot use more than {INDEX_COLUMNS_MAX} columns in an index");
            return Err(Error::new(SqlState::TOO_MANY_COLUMNS, message));
        }
        let columns = self.index_columns(&table, create)?;
        let name = match &create.name {
            Some(name) if self.passes_over(table.schema, name, create.if_not_exists)? => return Ok(()),
            Some(name) => name.clone(),
            None => self.choose_index_name(&table, &columns),
        };
        self.lock(LockKey::Name(CatalogName::Relation(table.schema, name.clone())), LockMode::AccessExclusive)?;
        let (oid, storage) = (self.tx.alloc_oid(), self.tx.alloc_storage());
        let mut altered = Altered::new(&table);
        altered.after.indexes.push(Index { oid, name, unique: create.unique, columns, storage });
        altered.built.push(storage);
        self.finish(altered)
    }

    fn indexed_table(&self, name: &ObjectName) -> Result<Arc<Relation>> {
        let table = self.relation(name)?;
        if !matches!(table.kind, RelationKind::Table(_)) {
            let message = format!("cannot create index on relation \"{}\"", table.name);
            return Err(wrong_kind(message, plural(&table)));
        }
        self.require_owner(&table)?;
        let catalog = self.catalog();
        if let Some(schema) = catalog.schema(table.schema) {
            require_schema(&catalog, self.cx.role, schema, Privilege::Create)?;
        }
        Ok(table)
    }

    fn index_columns(&self, table: &Relation, create: &CreateIndex) -> Result<Vec<IndexColumn>> {
        let column = |of: &crate::sql::parse::IndexedColumn| {
            refuse_system_index(&of.name.name)?;
            let column = table.column(&of.name.name).ok_or_else(|| {
                let message = format!("column \"{}\" does not exist", of.name.name);
                Error::new(SqlState::UNDEFINED_COLUMN, message)
            })?;
            check_key_type(table.columns[column].ty, of.name.position)?;
            Ok(IndexColumn { column, descending: of.descending, nulls_first: of.nulls_first })
        };
        create.columns.iter().map(column).collect()
    }

    /// Whether a relation or an index has a name.
    pub(super) fn is_taken(&self, schema: Oid, name: &str) -> bool {
        let catalog = self.catalog();
        catalog.relation_by_name(schema, name).is_some() || catalog.indexed_by_name(schema, name).is_some()
    }

    /// Whether a new relation is passed over because IF NOT EXISTS was said and its name is taken; 42P07 where it was not.
    pub(super) fn passes_over(&mut self, schema: Oid, name: &str, if_not_exists: bool) -> Result<bool> {
        if !self.is_taken(schema, name) {
            return Ok(false);
        }
        let message = format!("relation \"{name}\" already exists");
        if !if_not_exists {
            return Err(Error::new(SqlState::DUPLICATE_TABLE, message));
        }
        self.notice_with_code(SqlState::DUPLICATE_TABLE, format!("{message}, skipping"));
        Ok(true)
    }

    /// `t_a_b_idx`, `t_a_b_idx1` …: a constraint may have the name, as in PostgreSQL.
    fn choose_index_name(&self, table: &Relation, columns: &[IndexColumn]) -> String {
        let middle = table.index_column_names(columns).join("_");
        choose(&table.name, Some(&middle), "idx", |name| self.is_taken(table.schema, name))
    }

    pub(super) fn rename_index(&mut self, name: &ObjectName, if_exists: bool, to: &str) -> Result<()> {
        let Some(table) = self.find_indexed(name) else {
            if self.find_relation(name)?.is_some() {
                // PostgreSQL lets ALTER INDEX rename any relation
                return self.alter_table(name, false, &[AlterTable::Rename(to.to_owned())]);
            }
            let message = format!("relation \"{}\" does not exist", name.name);
            if !if_exists {
                name.schema.iter().try_for_each(|schema| self.schema(schema).map(|_| ()))?;
                return Err(Error::new(SqlState::UNDEFINED_TABLE, message));
            }
            self.notice(format!("{message}, skipping"));
            return Ok(());
        };
        self.require_index_owner(&table, &name.name)?;
        self.lock(LockKey::Relation(table.oid), LockMode::ShareUpdateExclusive)?;
        if self.is_taken(table.schema, to) {
            return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{to}\" already exists")));
        }
        self.lock(LockKey::Name(CatalogName::Relation(table.schema, to.to_owned())), LockMode::AccessExclusive)?;
        let mut renamed = Relation::clone(&table);
        if let Some(index) = renamed.index_names_mut().find(|index| **index == name.name) {
            to.clone_into(index);
        }
        self.put_relation(renamed)
    }

    pub(super) fn drop_indexes(&mut self, names: &[ObjectName], if_exists: bool) -> Result<()> {
        for name in names {
            let Some(table) = self.find_indexed(name) else {
                self.refuse_other_than_index(name)?;
                self.missing("index", name, if_exists)?;
                continue;
            };
            self.require_index_owner(&table, &name.name)?;
            let Some(at) = table.indexes.iter().position(|index| index.name == name.name) else {
                return Err(required(&table, &name.name));
            };
            self.lock_relation(table.oid)?;
            self.refuse_as_in_use(&table, "DROP INDEX", &name.name)?;
            let mut without = Relation::clone(&table);
            let index = without.indexes.remove(at);
            self.move_storage(Space::Index, index.storage, (space_of(&table), table.storage));
            self.put_relation(without)?;
        }
        Ok(())
    }

    fn require_index_owner(&self, table: &Relation, index: &str) -> Result<()> {
        let message = format!("must be owner of index {index}");
        self.require_owner(table).map_err(|_| Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
    }

    fn refuse_other_than_index(&self, name: &ObjectName) -> Result<()> {
        let Some(relation) = self.find_relation(name)? else { return Ok(()) };
        let noun = super::names::noun(&relation);
        let message = format!("\"{}\" is not an index", name.name);
        Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
            .hint(format!("Use DROP {} to remove a {noun}.", noun.to_ascii_uppercase())))
    }
}

/// 2BP01 for an index that a constraint needs.
fn required(table: &Relation, index: &str) -> Error {
    let constraint = format!("constraint {index} on table {}", table.name);
    Error::new(
        SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
        format!("cannot drop index {index} because {constraint} requires it"),
    )
    .hint(format!("You can drop {constraint} instead."))
}
