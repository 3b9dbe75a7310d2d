//! Names to relations, and the right to use them.

use super::Binder;
use super::ident::name_parts;
use super::position::position;
use crate::catalog::{AclItem, Privilege, Privileges, Relation, RelationKind, Schema};
use crate::error::{Error, Result, SqlState};
use crate::sql::plan::Source;
use crate::sql::system::{self, SystemRelation};
use crate::types::Oid;
use sqlparser::ast::{ObjectName, Spanned};
use std::sync::Arc;

/// A relation that a name led to.
#[derive(Clone)]
pub(crate) enum Found {
    Stored(Arc<Relation>),
    System(&'static SystemRelation),
}

impl Found {
    pub(crate) fn oid(&self) -> Oid {
        match self {
            Found::Stored(relation) => relation.oid,
            Found::System(relation) => relation.oid,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Found::Stored(relation) => &relation.name,
            Found::System(relation) => relation.name,
        }
    }
}

impl Binder<'_> {
    /// The relation of a name, by the search path where it has no schema. 42P01 where there is none.
    pub(crate) fn find_relation(&mut self, name: &ObjectName) -> Result<Found> {
        let parts = name_parts(name)?;
        self.find_named(&parts, position(self.cx.text, name.span()))
    }

    /// The relation of a name's parts.
    pub(crate) fn find_named(&mut self, parts: &[String], at: Option<u32>) -> Result<Found> {
        if let [database, _, _] = parts
            && database != self.cx.database
        {
            let message = format!("cross-database references are not implemented: \"{}\"", parts.join("."));
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(at));
        }
        let found = match parts {
            [table] => self.find_unqualified(table),
            [schema, table] | [_, schema, table] => self.find_in(schema, table).map_err(|error| error.at(at))?,
            _ => {
                let message = format!("improper qualified name (too many dotted names): {}", parts.join("."));
                return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(at));
            }
        };
        let found = found.ok_or_else(|| self.not_found(parts).at(at))?;
        self.relations.push(found.oid());
        Ok(found)
    }

    /// 42P01 for a name of nothing, 42809 for that of an index.
    fn not_found(&self, parts: &[String]) -> Error {
        let is_index = match parts {
            [name] => self.cx.search_path.iter().any(|schema| self.is_index(schema, name)),
            [schema, name] | [_, schema, name] => self.is_index(schema, name),
            _ => false,
        };
        match parts.last().filter(|_| is_index) {
            Some(name) => Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is an index")),
            None => Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", parts.join("."))),
        }
    }

    fn is_index(&self, schema: &str, name: &str) -> bool {
        let schema = self.cx.catalog.schema_by_name(schema);
        schema.is_some_and(|schema| self.cx.catalog.indexed_by_name(schema.oid, name).is_some())
    }

    fn find_unqualified(&self, table: &str) -> Option<Found> {
        let path = self.cx.search_path;
        let implicit = (!path.iter().any(|schema| schema == "pg_catalog")).then_some("pg_catalog");
        implicit.into_iter().chain(path.iter().map(String::as_str)).find_map(|name| {
            let schema = self.cx.catalog.schema_by_name(name)?;
            self.has_usage(schema).then(|| self.in_schema(schema, table)).flatten()
        })
    }

    fn find_in(&self, schema: &str, table: &str) -> Result<Option<Found>> {
        let Some(schema) = self.cx.catalog.schema_by_name(schema) else { return Ok(None) };
        if !self.has_usage(schema) {
            return Err(Error::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied for schema {}", schema.name),
            ));
        }
        Ok(self.in_schema(schema, table))
    }

    fn in_schema(&self, schema: &Schema, table: &str) -> Option<Found> {
        if let Some(relation) = system::find(&schema.name, table) {
            return Some(Found::System(relation));
        }
        let relation = self.cx.catalog.relation_by_name(schema.oid, table)?;
        (!matches!(relation.kind, RelationKind::System)).then(|| Found::Stored(relation.clone()))
    }

    fn has_usage(&self, schema: &Schema) -> bool {
        // Everybody may look into the system's schemas.
        let system = [Schema::PG_CATALOG, Schema::INFORMATION_SCHEMA, Schema::SYSTEM].contains(&schema.oid);
        system || self.may(schema.owner, &schema.acl, Privilege::Usage)
    }

    fn may(&self, owner: Oid, acl: &[AclItem], privilege: Privilege) -> bool {
        self.cx.catalog.has_privileges(self.cx.role, owner, acl, Privileges::of(privilege))
    }

    /// 42501 unless the role has the privilege.
    pub(crate) fn require(&self, found: &Found, privilege: Privilege) -> Result<()> {
        let allowed = match found {
            Found::Stored(relation) => self.may(relation.owner, &relation.acl, privilege),
            Found::System(_) => privilege == Privilege::Select,
        };
        if allowed {
            return Ok(());
        }
        let noun = match found {
            Found::Stored(relation) => crate::sql::ddl::noun(relation),
            Found::System(_) => "table",
        };
        let message = format!("permission denied for {noun} {}", found.name());
        Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
    }

    /// What a plan needs of the relation.
    pub(crate) fn source(&self, found: &Found) -> Result<Source> {
        Ok(match found {
            Found::Stored(relation) => Source::Stored(self.model(relation)?),
            Found::System(relation) => Source::System(relation),
        })
    }
}
