//! Schemas.

use super::Definer;
use super::names::is_system;
use crate::catalog::{CatalogEntry, Schema};
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::RoleName;
use std::sync::Arc;

impl Definer<'_, '_> {
    pub(super) fn create_schema(
        &mut self,
        name: Option<&str>,
        if_not_exists: bool,
        authorization: Option<&RoleName>,
    ) -> Result<()> {
        let owner = match authorization {
            Some(role) => self.role(role)?.oid,
            None => self.cx.role,
        };
        let catalog = self.catalog();
        let name = match (name, catalog.role(owner)) {
            (Some(name), _) => name.to_owned(),
            (None, Some(role)) => role.name.clone(),
            (None, None) => return Err(Error::internal("a role vanished")),
        };
        if !catalog.role(self.cx.role).is_some_and(|role| role.superuser) {
            let message = format!("permission denied for database {}", self.cx.database);
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        refuse_reserved(&name)?;
        if catalog.schema_by_name(&name).is_some() {
            let message = format!("schema \"{name}\" already exists");
            if !if_not_exists {
                return Err(Error::new(SqlState::DUPLICATE_SCHEMA, message));
            }
            self.notice_with_code(SqlState::DUPLICATE_SCHEMA, format!("{message}, skipping"));
            return Ok(());
        }
        let schema = Schema { oid: self.tx.alloc_oid(), name, owner, acl: Vec::new() };
        self.put(CatalogEntry::Schema(Arc::new(schema)))
    }

    pub(super) fn rename_schema(&mut self, name: &str, to: &str) -> Result<()> {
        let schema = self.altered_schema(name)?;
        if self.catalog().schema_by_name(to).is_some() {
            return Err(Error::new(SqlState::DUPLICATE_SCHEMA, format!("schema \"{to}\" already exists")));
        }
        refuse_reserved(to)?;
        let schema = Schema { name: to.to_owned(), ..Schema::clone(&schema) };
        self.put(CatalogEntry::Schema(Arc::new(schema)))
    }

    pub(super) fn schema_owner(&mut self, name: &str, owner: &RoleName) -> Result<()> {
        let schema = self.altered_schema(name)?;
        let owner = self.new_owner(owner)?;
        let schema = Schema { owner, ..Schema::clone(&schema) };
        self.put(CatalogEntry::Schema(Arc::new(schema)))
    }

    fn altered_schema(&self, name: &str) -> Result<Arc<Schema>> {
        let schema = self.schema(name)?;
        self.require_schema_owner(&schema)?;
        match is_system(schema.oid) {
            true => {
                let message = format!("permission denied for schema {name}");
                Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
            }
            false => Ok(schema),
        }
    }
}

fn refuse_reserved(name: &str) -> Result<()> {
    match name.starts_with("pg_") {
        true => Err(Error::new(SqlState::RESERVED_NAME, format!("unacceptable schema name \"{name}\""))
            .detail("The prefix \"pg_\" is reserved for system schemas.")),
        false => Ok(()),
    }
}
