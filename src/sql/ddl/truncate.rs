//! TRUNCATE: a table gets another storage, and the old one is freed in the background.
//!
//! All rows go, every user's, as PostgreSQL's TRUNCATE passes over row security; on a USER table it is therefore the
//! owner's alone. No row is looked at: sources ON DELETE get no messages, as TRUNCATE fires no DELETE triggers, and live
//! queries on the table end with an error event.

use super::Definer;
use super::alter::space_of;
use super::names::denied_relation;
use crate::catalog::{Privilege, Relation, RelationKind};
use crate::encoding::key::Space;
use crate::error::Result;
use crate::sql::parse::ObjectName;
use std::sync::Arc;

impl Definer<'_, '_> {
    /// Nothing refers to a table yet and no column owns a sequence, so CASCADE and RESTART IDENTITY have nothing to add.
    pub(super) fn truncate(&mut self, names: &[ObjectName], _cascade: bool) -> Result<()> {
        let mut tables: Vec<Arc<Relation>> = Vec::new();
        for name in names {
            let table = self.truncated_table(name)?;
            self.lock_relation(table.oid)?;
            self.refuse_in_use(&table, "TRUNCATE")?;
            if !tables.iter().any(|other| other.oid == table.oid) {
                tables.push(table);
            }
        }
        for table in tables {
            let mut emptied = Relation::clone(&table);
            emptied.storage = self.tx.alloc_storage();
            emptied.index_storages_mut().for_each(|storage| *storage = self.tx.alloc_storage());
            // who has read a part of the old rows is taken to have read all of the new ones
            let rows = (space_of(&table), emptied.storage);
            let indexes = table.index_storages().map(|storage| (Space::Index, storage));
            for (space, storage) in std::iter::once((rows.0, table.storage)).chain(indexes) {
                self.empty_storage(space, storage, Some(rows));
            }
            self.put_relation(emptied)?;
        }
        Ok(())
    }

    fn truncated_table(&self, name: &ObjectName) -> Result<Arc<Relation>> {
        let is_table = |relation: &Relation| matches!(relation.kind, RelationKind::Table(_));
        let table = self.relation_of_kind(name, "table", is_table)?;
        if table.is_scoped() {
            self.require_owner(&table)?;
            return Ok(table);
        }
        let catalog = self.catalog();
        super::require_relation(&catalog, self.cx.role, &table, Privilege::Truncate)
            .map_err(|_| denied_relation(&table))?;
        Ok(table)
    }
}
