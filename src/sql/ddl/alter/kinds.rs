//! ALTER TABLE of a relation that is no table: an index or a sequence may be renamed with it, as in PostgreSQL, and what
//! it does to tables only is refused.

use super::Definer;
use crate::catalog::{Relation, RelationKind};
use crate::error::{Error, Result, SqlState};
use crate::sql::ddl::names::{plural, wrong_kind};
use crate::sql::parse::{AlterSequence, AlterTable, ObjectName};
use std::sync::Arc;

impl Definer<'_, '_> {
    /// The table that is to be altered; none where there is nothing more to do.
    pub(super) fn altered_table(
        &mut self,
        name: &ObjectName,
        if_exists: bool,
        actions: &[AlterTable],
    ) -> Result<Option<Arc<Relation>>> {
        let found = self.find_relation(name)?;
        if found.is_none() && self.find_indexed(name).is_some() {
            return self.alter_index(name, actions).map(|()| None);
        }
        if if_exists && found.is_none() {
            self.notice(format!("relation \"{}\" does not exist, skipping", name.name));
            return Ok(None);
        }
        let relation = self.relation(name)?;
        match relation.kind {
            RelationKind::Table(_) => self.require_owner(&relation).map(|()| Some(relation)),
            RelationKind::Sequence(_) => self.alter_as_sequence(&relation, name, actions).map(|()| None),
            _ => Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a table", relation.name))),
        }
    }

    fn alter_index(&mut self, name: &ObjectName, actions: &[AlterTable]) -> Result<()> {
        match actions {
            [AlterTable::Rename(to)] => self.rename_index(name, false, to),
            [AlterTable::Schema(_)] => {
                let message = format!("cannot change schema of index \"{}\"", name.name);
                Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).hint("Change the schema of the table instead."))
            }
            [AlterTable::RenameColumn { .. } | AlterTable::Owner(_) | AlterTable::RenameConstraint { .. }] => {
                Err(Error::unsupported("this form of ALTER TABLE for an index").hint("Alter the table instead."))
            }
            _ => Err(not_for(actions, &name.name, "indexes")),
        }
    }

    fn alter_as_sequence(&mut self, sequence: &Relation, name: &ObjectName, actions: &[AlterTable]) -> Result<()> {
        let action = match actions {
            [AlterTable::Rename(to)] => AlterSequence::Rename(to.clone()),
            [AlterTable::Schema(schema)] => AlterSequence::Schema(schema.clone()),
            [AlterTable::Owner(role)] => AlterSequence::Owner(role.clone()),
            [AlterTable::RenameColumn { .. }] => {
                let message = format!("cannot rename columns of relation \"{}\"", sequence.name);
                return Err(wrong_kind(message, plural(sequence)));
            }
            _ => return Err(not_for(actions, &sequence.name, plural(sequence))),
        };
        self.alter_sequence(name, false, &action)
    }
}

fn not_for(actions: &[AlterTable], name: &str, plural: &str) -> Error {
    let action = actions.first().map_or("", action_name);
    wrong_kind(format!("ALTER action {action} cannot be performed on relation \"{name}\""), plural)
}

fn action_name(action: &AlterTable) -> &'static str {
    match action {
        AlterTable::AddColumn { .. } => "ADD COLUMN",
        AlterTable::DropColumn { .. } => "DROP COLUMN",
        AlterTable::Default { .. } => "ALTER COLUMN ... SET DEFAULT",
        AlterTable::NotNull { set: true, .. } => "ALTER COLUMN ... SET NOT NULL",
        AlterTable::NotNull { set: false, .. } => "ALTER COLUMN ... DROP NOT NULL",
        AlterTable::Type { .. } => "ALTER COLUMN ... SET DATA TYPE",
        AlterTable::AddConstraint(_) => "ADD CONSTRAINT",
        AlterTable::DropConstraint { .. } => "DROP CONSTRAINT",
        AlterTable::Owner(_) => "OWNER TO",
        AlterTable::Schema(_) => "SET SCHEMA",
        AlterTable::Rename(_) | AlterTable::RenameColumn { .. } | AlterTable::RenameConstraint { .. } => "RENAME",
    }
}
