//! Names to objects, and who may use them.

use super::Definer;
use crate::catalog::{Catalog, Privilege, Privileges, Relation, RelationKind, Role, Schema};
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::{ObjectName, RoleName};
use crate::sql::system;
use crate::txn::LockMode;
use crate::types::Oid;
use std::sync::Arc;

/// What a relation is called in messages.
pub fn noun(relation: &Relation) -> &'static str {
    match relation.kind {
        RelationKind::Table(_) => "table",
        RelationKind::Topic(_) => "topic",
        RelationKind::Sequence(_) => "sequence",
        RelationKind::System => "view",
    }
}

/// 42501 for a relation.
pub fn denied_relation(relation: &Relation) -> Error {
    let message = format!("permission denied for {} {}", noun(relation), relation.name);
    Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
}

/// 42501 for a schema.
pub fn denied_schema(schema: &Schema) -> Error {
    Error::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied for schema {}", schema.name))
}

/// The role must have a privilege on a relation.
pub fn require_relation(catalog: &Catalog, role: Oid, relation: &Relation, privilege: Privilege) -> Result<()> {
    match catalog.has_privileges(role, relation.owner, &relation.acl, Privileges::of(privilege)) {
        true => Ok(()),
        false => Err(denied_relation(relation)),
    }
}

/// The role must have a privilege on a schema.
pub fn require_schema(catalog: &Catalog, role: Oid, schema: &Schema, privilege: Privilege) -> Result<()> {
    match catalog.has_privileges(role, schema.owner, &schema.acl, Privileges::of(privilege)) {
        true => Ok(()),
        false => Err(denied_schema(schema)),
    }
}

/// A schema that is not there.
pub fn no_schema(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_SCHEMA, format!("schema \"{name}\" does not exist"))
}

/// A role that is not there.
pub fn no_role(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
}

/// Whether a schema is the server's own.
pub fn is_system(schema: Oid) -> bool {
    [Schema::PG_CATALOG, Schema::INFORMATION_SCHEMA, Schema::SYSTEM].contains(&schema)
}

/// A relation by name, if it is there. 42501 without USAGE on a schema that was named.
fn find_relation(
    catalog: &Catalog,
    role: Oid,
    search_path: &[String],
    name: &ObjectName,
) -> Result<Option<Arc<Relation>>> {
    match &name.schema {
        Some(schema) => {
            let Some(schema) = catalog.schema_by_name(schema) else { return Ok(None) };
            require_schema(catalog, role, schema, Privilege::Usage)?;
            Ok(catalog.relation_by_name(schema.oid, &name.name).cloned())
        }
        None => Ok(search_path.iter().find_map(|schema| {
            let schema = catalog.schema_by_name(schema)?;
            require_schema(catalog, role, schema, Privilege::Usage).ok()?;
            catalog.relation_by_name(schema.oid, &name.name).cloned()
        })),
    }
}

/// The table whose index a name is; none where it is no index's.
fn find_indexed(catalog: &Catalog, search_path: &[String], name: &ObjectName) -> Option<Arc<Relation>> {
    let find = |schema: &String| {
        let schema = catalog.schema_by_name(schema)?;
        catalog.indexed_by_name(schema.oid, &name.name).cloned()
    };
    match &name.schema {
        Some(schema) => find(schema),
        None => search_path.iter().find_map(find),
    }
}

/// The table that LOCK TABLE names.
pub fn lockable(catalog: &Catalog, role: Oid, search_path: &[String], name: &ObjectName) -> Result<Arc<Relation>> {
    if let Some(schema) = &name.schema
        && catalog.schema_by_name(schema).is_none()
    {
        return Err(no_schema(schema));
    }
    let missing = || {
        let message = format!("relation \"{}\" does not exist", name.display());
        Error::new(SqlState::UNDEFINED_TABLE, message)
    };
    let other = match find_relation(catalog, role, search_path, name)? {
        Some(relation) if matches!(relation.kind, RelationKind::Table(_)) => return Ok(relation),
        Some(relation) => plural(&relation),
        None if find_indexed(catalog, search_path, name).is_some() => "indexes",
        None => return Err(missing()),
    };
    Err(wrong_kind(format!("cannot lock relation \"{}\"", name.name), other))
}

/// 42501 for the name of a system relation, which no definition touches.
pub(super) fn refuse_system_relation(name: &ObjectName) -> Result<()> {
    let schema = name.schema.as_deref().unwrap_or("pg_catalog");
    match system::find(schema, &name.name) {
        None => Ok(()),
        Some(relation) => {
            let message = format!("permission denied: \"{}\" is a system catalog", relation.name);
            Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
        }
    }
}

/// 42809 for what cannot be done with relations of a kind.
pub(super) fn wrong_kind(message: String, plural: &str) -> Error {
    Error::new(SqlState::WRONG_OBJECT_TYPE, message).detail(format!("This operation is not supported for {plural}."))
}

/// What relations of a kind are called in messages.
pub(super) fn plural(relation: &Relation) -> &'static str {
    match relation.kind {
        RelationKind::Table(_) => "tables",
        RelationKind::Topic(_) => "topics",
        RelationKind::Sequence(_) => "sequences",
        RelationKind::System => "views",
    }
}

/// Who may lock a table: who may select from it in the weakest mode, in the others who may change or remove its rows.
pub fn require_lock(catalog: &Catalog, role: Oid, relation: &Relation, mode: LockMode) -> Result<()> {
    let any: &[Privilege] = match mode {
        LockMode::AccessShare => &[Privilege::Select],
        _ => &[Privilege::Update, Privilege::Delete, Privilege::Truncate],
    };
    let has =
        |privilege: &Privilege| catalog.has_privileges(role, relation.owner, &relation.acl, Privileges::of(*privilege));
    if any.iter().any(has) { Ok(()) } else { Err(denied_relation(relation)) }
}

impl Definer<'_, '_> {
    pub(super) fn schema(&self, name: &str) -> Result<Arc<Schema>> {
        self.catalog().schema_by_name(name).cloned().ok_or_else(|| no_schema(name))
    }

    /// The schema that a new relation goes to, with the right to make it there.
    pub(super) fn target_schema(&self, name: &ObjectName) -> Result<Arc<Schema>> {
        let catalog = self.catalog();
        let schema = match &name.schema {
            Some(schema) => self.schema(schema).map_err(|error| error.at(name.position))?,
            None => {
                let mut path = self.cx.search_path.iter();
                path.find_map(|schema| catalog.schema_by_name(schema)).cloned().ok_or_else(|| {
                    Error::new(SqlState::UNDEFINED_SCHEMA, "no schema has been selected to create in").at(name.position)
                })?
            }
        };
        if is_system(schema.oid) {
            let message = format!("permission denied to create \"{}.{}\"", schema.name, name.name);
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                .detail("System catalog modifications are currently disallowed."));
        }
        require_schema(&catalog, self.cx.role, &schema, Privilege::Create).map_err(|error| error.at(name.position))?;
        Ok(schema)
    }

    /// A relation by name, if it is there. 42501 without USAGE on a schema that was named.
    pub(super) fn find_relation(&self, name: &ObjectName) -> Result<Option<Arc<Relation>>> {
        find_relation(&self.catalog(), self.cx.role, self.cx.search_path, name)
    }

    /// A relation by name. Like PostgreSQL's definitions, and unlike its queries, errors don't say where it was named.
    pub(super) fn relation(&self, name: &ObjectName) -> Result<Arc<Relation>> {
        if let Some(schema) = &name.schema {
            self.schema(schema)?;
        }
        if let Some(relation) = self.find_relation(name)? {
            return Ok(relation);
        }
        refuse_system_relation(name)?;
        Err(match self.find_indexed(name) {
            Some(_) => Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is an index", name.name)),
            None => {
                let message = format!("relation \"{}\" does not exist", name.display());
                Error::new(SqlState::UNDEFINED_TABLE, message)
            }
        })
    }

    /// A relation by name where only one kind will do: 42809 `"x" is not a table` for another, an index too.
    pub(super) fn relation_of_kind(
        &self,
        name: &ObjectName,
        kind: &str,
        is_right: impl Fn(&Relation) -> bool,
    ) -> Result<Arc<Relation>> {
        let found = self.find_relation(name)?;
        if found.as_ref().is_some_and(|found| !is_right(found)) || found.is_none() && self.find_indexed(name).is_some()
        {
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a {kind}", name.name)));
        }
        self.relation(name)
    }

    /// The table whose index a name is; none where it is no index's.
    pub(super) fn find_indexed(&self, name: &ObjectName) -> Option<Arc<Relation>> {
        find_indexed(&self.catalog(), self.cx.search_path, name)
    }

    pub(super) fn is_owner(&self, owner: Oid) -> bool {
        let catalog = self.catalog();
        catalog.role(self.cx.role).is_some_and(|role| role.superuser)
            || catalog.effective_roles(self.cx.role).contains(&owner)
    }

    pub(super) fn require_owner(&self, relation: &Relation) -> Result<()> {
        if self.is_owner(relation.owner) && !is_system(relation.schema) {
            return Ok(());
        }
        let message = format!("must be owner of {} {}", noun(relation), relation.name);
        Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
    }

    pub(super) fn require_schema_owner(&self, schema: &Schema) -> Result<()> {
        match self.is_owner(schema.owner) {
            true => Ok(()),
            false => {
                let message = format!("must be owner of schema {}", schema.name);
                Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
            }
        }
    }

    /// A role where one is named; PUBLIC is none.
    pub(super) fn role(&self, name: &RoleName) -> Result<Arc<Role>> {
        let catalog = self.catalog();
        let found = match name {
            RoleName::Named(name, _) => catalog.role_by_name(name).ok_or_else(|| no_role(name)),
            RoleName::Current => catalog.role(self.cx.role).ok_or_else(|| no_role("current_user")),
            RoleName::Session => catalog.role(self.cx.session_role).ok_or_else(|| no_role("session_user")),
            RoleName::Public => Err(no_role("public")),
        };
        found.cloned()
    }

    /// A role that something may be given to: oneself, or one that the current role is a member of.
    pub(super) fn new_owner(&self, name: &RoleName) -> Result<Oid> {
        let role = self.role(name)?;
        if self.is_owner(role.oid) {
            return Ok(role.oid);
        }
        let message = format!("must be member of role \"{}\"", role.name);
        Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
    }
}
