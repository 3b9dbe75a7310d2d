//! ALTER TABLE.
//!
//! As in PostgreSQL the actions of one statement are done in passes, whatever their order: what is dropped goes first,
//! then types change, columns come, columns' attributes and constraints. What concerns the rows that are there is noted
//! on the way and done in one go over them at the end: conditions are judged, and where it must be, the rows are stored
//! anew under another storage id.

mod columns;
mod constraints;
mod kinds;
mod rows;
mod types;

use super::table::refuse_system_column;
use super::{Definer, constraint};
use crate::catalog::{Relation, RelationKind, TableKind};
use crate::encoding::key::{self, Space};
use crate::error::{Error, Result, SqlState};
use crate::expr::Expr;
use crate::sql::parse::{AlterTable, ColumnName, ConstraintKind, ObjectName};
use crate::storage::Direction;
use crate::table::Model;
use crate::types::{ScopeId, StorageId};
use rows::Rows;
use std::ops::Bound;
use std::sync::Arc;

/// A table that is being altered.
pub(super) struct Altered {
    /// As its rows are stored now.
    before: Arc<Relation>,
    /// As it will be.
    pub(super) after: Relation,
    /// New values of columns, over a row as it is stored.
    computed: Vec<(usize, Expr)>,
    /// Whether columns have other types in the same rows.
    retyped: bool,
    /// Whether rows have another key.
    reclustered: bool,
    /// Columns that must not be NULL in any row.
    not_null: Vec<usize>,
    /// Conditions that must hold for every row, with their constraints' names.
    checks: Vec<(String, Expr)>,
    /// Storages of indexes whose entries are to be made.
    pub(super) built: Vec<StorageId>,
}

impl Altered {
    pub(super) fn new(before: &Arc<Relation>) -> Altered {
        Altered {
            before: before.clone(),
            after: Relation::clone(before),
            computed: Vec::new(),
            retyped: false,
            reclustered: false,
            not_null: Vec::new(),
            checks: Vec::new(),
            built: Vec::new(),
        }
    }

    /// Whether PostgreSQL would write the rows anew.
    fn rewrites(&self) -> bool {
        self.retyped || !self.computed.is_empty()
    }

    /// Whether the rows get another storage.
    fn moves(&self) -> bool {
        self.rewrites() || self.reclustered
    }

    /// Whether PostgreSQL would look at all rows, of an empty table too; to make an index of them is none of it.
    fn judges_or_rewrites(&self) -> bool {
        self.rewrites() || !self.not_null.is_empty() || !self.checks.is_empty()
    }

    fn concerns_rows(&self) -> bool {
        self.moves() || self.judges_or_rewrites() || !self.built.is_empty()
    }
}

/// PostgreSQL's passes of ALTER TABLE, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pass {
    Drop,
    Type,
    AddColumn,
    Attributes,
    AddKey,
    AddOther,
    Rest,
}

fn pass_of(action: &AlterTable) -> Pass {
    match action {
        AlterTable::DropColumn { .. } | AlterTable::DropConstraint { .. } => Pass::Drop,
        AlterTable::NotNull { set: false, .. } | AlterTable::Default { default: None, .. } => Pass::Drop,
        AlterTable::Type { .. } => Pass::Type,
        AlterTable::AddColumn { .. } => Pass::AddColumn,
        AlterTable::NotNull { set: true, .. } => Pass::Attributes,
        AlterTable::AddConstraint(added) if !matches!(added.kind, ConstraintKind::Check(_)) => Pass::AddKey,
        AlterTable::AddConstraint(_) | AlterTable::Default { .. } => Pass::AddOther,
        _ => Pass::Rest,
    }
}

impl Definer<'_, '_> {
    pub(super) fn alter_table(&mut self, name: &ObjectName, if_exists: bool, actions: &[AlterTable]) -> Result<()> {
        let Some(table) = self.altered_table(name, if_exists, actions)? else { return Ok(()) };
        self.lock_relation(table.oid)?;
        let renames = |action: &AlterTable| {
            matches!(
                action,
                AlterTable::Rename(_)
                    | AlterTable::RenameColumn { .. }
                    | AlterTable::RenameConstraint { .. }
                    | AlterTable::Schema(_)
            )
        };
        if !actions.iter().any(renames) {
            self.refuse_in_use(&table, "ALTER TABLE")?;
        }
        let mut altered = Altered::new(&table);
        let conversions = self.conversions(&table, actions)?;
        let mut ordered: Vec<&AlterTable> = actions.iter().collect();
        ordered.sort_by_key(|action| pass_of(action));
        let (early, late): (Vec<_>, Vec<_>) = ordered.into_iter().partition(|action| pass_of(action) < Pass::Type);
        early.into_iter().try_for_each(|action| self.alter(&mut altered, action))?;
        self.convert(&mut altered, conversions)?;
        late.into_iter().try_for_each(|action| self.alter(&mut altered, action))?;
        self.finish(altered)
    }

    /// 55006 while an open portal of the same session uses a relation.
    pub(super) fn refuse_in_use(&self, relation: &Relation, command: &str) -> Result<()> {
        self.refuse_as_in_use(relation, command, &relation.name)
    }

    /// The same, for a part of the relation that goes by another name.
    pub(super) fn refuse_as_in_use(&self, relation: &Relation, command: &str, name: &str) -> Result<()> {
        if !self.cx.in_use.contains(&relation.oid) {
            return Ok(());
        }
        let message = format!("cannot {command} \"{name}\" because it is being used by active queries in this session");
        Err(Error::new(SqlState::OBJECT_IN_USE, message))
    }

    fn alter(&mut self, altered: &mut Altered, action: &AlterTable) -> Result<()> {
        match action {
            AlterTable::AddColumn { column, if_not_exists } => self.add_column(altered, column, *if_not_exists),
            AlterTable::DropColumn { name, if_exists, cascade } => {
                self.drop_column(altered, name, *if_exists, *cascade)
            }
            // it was converted before the columns came
            AlterTable::Type { .. } => Ok(()),
            AlterTable::Default { name, default } => self.set_default(&mut altered.after, name, default.as_ref()),
            AlterTable::NotNull { name, set } => set_not_null(altered, name, *set),
            AlterTable::AddConstraint(added) => self.constrain(altered, &[added]),
            AlterTable::DropConstraint { name, if_exists } => self.drop_constraint(altered, name, *if_exists),
            AlterTable::Rename(to) => {
                self.refuse_taken(&altered.after, to)?;
                altered.after.name = to.clone();
                Ok(())
            }
            AlterTable::RenameColumn { name, to } => self.rename_column(&mut altered.after, name, to),
            AlterTable::RenameConstraint { name, to } => self.rename_constraint(&mut altered.after, name, to),
            AlterTable::Owner(role) => {
                altered.after.owner = self.new_owner(role)?;
                Ok(())
            }
            AlterTable::Schema(schema) => self.move_to_schema(&mut altered.after, schema),
        }
    }

    /// SET SCHEMA: a relation's indexes go with it, and none of their names may be taken there.
    pub(in crate::sql::ddl) fn move_to_schema(&self, relation: &mut Relation, schema: &str) -> Result<()> {
        let target = ObjectName { schema: Some(schema.to_owned()), name: relation.name.clone(), position: None };
        let to = self.target_schema(&target)?.oid;
        if to == relation.schema {
            return Ok(());
        }
        let taken = std::iter::once(relation.name.as_str()).chain(relation.index_names());
        if let Some(name) = taken.into_iter().find(|name| self.is_taken(to, name)) {
            let message = format!("relation \"{name}\" already exists in schema \"{schema}\"");
            return Err(Error::new(SqlState::DUPLICATE_TABLE, message));
        }
        relation.schema = to;
        Ok(())
    }

    pub(in crate::sql::ddl) fn refuse_taken(&self, relation: &Relation, name: &str) -> Result<()> {
        match self.is_taken(relation.schema, name) {
            true => Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))),
            false => Ok(()),
        }
    }

    /// Keeps what was made of the table, with the work on its rows if there are any.
    pub(super) fn finish(&mut self, mut altered: Altered) -> Result<()> {
        if altered.retyped {
            altered.after.readable_from = altered.after.row_version;
        }
        let concerns_rows = altered.concerns_rows() && !self.is_empty(&altered.before)?;
        if altered.moves() {
            // also where it is empty: an older snapshot may have rows there, which cannot be read as others
            self.move_rows(&mut altered)?;
        }
        if concerns_rows && altered.before.is_volatile() && (altered.moves() || !altered.built.is_empty()) {
            return Err(Error::unsupported("storing the rows of a STREAM table anew")
                .hint("Wait until its rows have expired, or delete them."));
        }
        let rows = (space_of(&altered.after), altered.after.storage);
        let kept: Vec<StorageId> = altered.after.index_storages().collect();
        for storage in altered.before.index_storages().filter(|storage| !kept.contains(storage)) {
            self.move_storage(Space::Index, storage, rows);
        }
        if altered.judges_or_rewrites() {
            self.scan_storage(rows.0, rows.1);
        }
        if concerns_rows {
            let schema = self.catalog().schema(altered.after.schema).map_or_else(String::new, |one| one.name.clone());
            self.jobs.push_back(Box::new(Rows::new(&altered, schema)?));
        }
        self.put_relation(altered.after)
    }

    /// Gives the rows and all that names them another storage.
    fn move_rows(&mut self, altered: &mut Altered) -> Result<()> {
        let table = altered.before.oid;
        if self.tx.has_messages(table) {
            // they would be derived from rows of two kinds; PostgreSQL says so of triggers
            let name = &altered.before.name;
            let message = format!("cannot ALTER TABLE \"{name}\" because it has pending trigger events");
            return Err(Error::new(SqlState::OBJECT_IN_USE, message)
                .hint("Commit the changes that become messages of a topic first."));
        }
        let space = space_of(&altered.before);
        altered.after.storage = self.tx.alloc_storage();
        self.move_storage(space, altered.before.storage, (space, altered.after.storage));
        altered.after.index_storages_mut().for_each(|storage| *storage = self.tx.alloc_storage());
        altered.built = altered.after.index_storages().collect();
        Ok(())
    }

    /// Whether no user id has a row in a table.
    pub(super) fn is_empty(&mut self, relation: &Arc<Relation>) -> Result<bool> {
        let (from, to) = key::storage_range(space_of(relation), relation.storage);
        self.is_nothing_within(relation, Bound::Included(from), Bound::Excluded(to))
    }

    /// Whether a user id has rows in any table.
    pub(super) fn owns_rows(&mut self, scope: ScopeId) -> Result<bool> {
        let catalog = self.catalog();
        for relation in catalog.relations().filter(|relation| relation.is_scoped()) {
            let (from, to) = key::prefixed(key::prefix(space_of(relation), relation.storage, scope));
            if !self.is_nothing_within(relation, from, to)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_nothing_within(
        &mut self,
        relation: &Arc<Relation>,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
    ) -> Result<bool> {
        let view = self.tx.latest()?;
        let now = self.tx.engine().env().now();
        let model = Model::new(relation)?;
        let mut cursor = self.tx.cursor(&view, from, to, Direction::Forward);
        let mut rows = Vec::new();
        let mut more = true;
        while more {
            more = cursor.next_batch(self.tx, &view, &mut rows, 1)?;
            for (_, row) in rows.drain(..) {
                if model.is_live(&row, now)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

pub(super) fn space_of(relation: &Relation) -> Space {
    match relation.kind {
        RelationKind::Table(TableKind::Stream { .. }) => Space::Stream,
        _ => Space::Row,
    }
}

fn set_not_null(altered: &mut Altered, name: &ColumnName, set: bool) -> Result<()> {
    let position = column_of(&altered.after, name)?;
    let in_key = altered.after.primary_key.iter().any(|key| key.columns.contains(&position));
    if !set && in_key {
        let message = format!("column \"{}\" is in a primary key", name.name);
        return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
    }
    if set && !altered.after.columns[position].not_null {
        altered.not_null.push(position);
    }
    altered.after.columns[position].not_null = set;
    Ok(())
}

fn no_column(relation: &Relation, name: &str) -> Error {
    let message = format!("column \"{name}\" of relation \"{}\" does not exist", relation.name);
    Error::new(SqlState::UNDEFINED_COLUMN, message)
}

fn column_of(relation: &Relation, name: &ColumnName) -> Result<usize> {
    refuse_system_column("alter", &name.name)?;
    relation.column(&name.name).ok_or_else(|| no_column(relation, &name.name))
}

/// Says that rows are of another type from now on.
fn bump(relation: &mut Relation) -> Result<()> {
    let next = relation.row_version.checked_add(1);
    relation.row_version =
        next.ok_or_else(|| Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "table was altered too often"))?;
    Ok(())
}
