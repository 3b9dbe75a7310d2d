//! GRANT and REVOKE of privileges and memberships.

use super::Definer;
use super::names::{denied_relation, denied_schema};
use crate::catalog::{AclItem, CatalogEntry, Privileges, Relation, Role, Schema};
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::{Grant, GrantRole, GrantTarget, RoleName};
use crate::types::Oid;
use std::sync::Arc;

impl Definer<'_, '_> {
    pub(super) fn grant(&mut self, grant: &Grant) -> Result<()> {
        let mut grantees = Vec::new();
        for grantee in &grant.grantees {
            grantees.push(match grantee {
                RoleName::Public if grant.grant_option && !grant.revoke => {
                    return Err(Error::new(
                        SqlState::INVALID_GRANT_OPERATION,
                        "grant options can only be granted to roles",
                    ));
                }
                RoleName::Public => Role::PUBLIC,
                named => self.role(named)?.oid,
            });
        }
        match &grant.on {
            GrantTarget::Schemas(names) => {
                for name in names {
                    let schema = self.schema(name)?;
                    self.grant_on_schema(grant, &schema, &grantees)?;
                }
            }
            GrantTarget::Relations { names, topic } => {
                for name in names {
                    let relation = self.relation(name)?;
                    if *topic && relation.topic().is_none() {
                        let message = format!("\"{}\" is not a topic", relation.name);
                        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(name.position));
                    }
                    self.grant_on_relation(grant, &relation, &grantees)?;
                }
            }
            GrantTarget::Sequences(names) => {
                for name in names {
                    let relation = self.relation(name)?;
                    if relation.sequence().is_none() {
                        let message = format!("\"{}\" is not a sequence", relation.name);
                        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
                    }
                    self.grant_on_sequence(grant, &relation, &grantees)?;
                }
            }
            GrantTarget::AllSequences(schemas) => {
                for name in schemas {
                    let schema = self.schema(name)?.oid;
                    let catalog = self.catalog();
                    for relation in catalog.relations().filter(|one| one.schema == schema && one.sequence().is_some()) {
                        self.grant_on_sequence(grant, relation, &grantees)?;
                    }
                }
            }
            GrantTarget::AllTables(schemas) => {
                for name in schemas {
                    let schema = self.schema(name)?.oid;
                    let catalog = self.catalog();
                    let tables = catalog.relations().filter(|one| one.schema == schema && is_table(one));
                    for relation in tables {
                        self.grant_on_relation(grant, relation, &grantees)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn grant_on_schema(&mut self, grant: &Grant, schema: &Arc<Schema>, grantees: &[Oid]) -> Result<()> {
        let wanted = wanted(grant, Privileges::ALL_ON_SCHEMA, "schema")?;
        let (grantor, allowed) = self.grantor(schema.owner, &schema.acl, wanted);
        if allowed.is_empty() && !self.has_any(&schema.acl) {
            return Err(denied_schema(schema));
        }
        self.warn_partial(grant, allowed, wanted, &schema.name);
        if allowed.is_empty() {
            return Ok(());
        }
        let mut changed = Schema::clone(schema);
        change(grant, &mut changed.acl, grantees, grantor, allowed, schema.owner)?;
        self.put(CatalogEntry::Schema(Arc::new(changed)))
    }

    fn grant_on_sequence(&mut self, grant: &Grant, relation: &Arc<Relation>, grantees: &[Oid]) -> Result<()> {
        let wanted = wanted(grant, Privileges::ALL_ON_SEQUENCE, "sequence")?;
        self.grant_these(grant, relation, grantees, wanted)
    }

    fn grant_on_relation(&mut self, grant: &Grant, relation: &Arc<Relation>, grantees: &[Oid]) -> Result<()> {
        // whether it is a sequence need not be said
        let all = Privileges::ALL_ON_TABLE.with(Privileges::ALL_ON_SEQUENCE);
        let named = wanted(grant, all, "relation")?;
        if relation.sequence().is_none() {
            let wanted = wanted(grant, Privileges::ALL_ON_TABLE, "table")?;
            return self.grant_these(grant, relation, grantees, wanted);
        }
        let possible = Privileges(named.0 & Privileges::ALL_ON_SEQUENCE.0);
        if possible != named && grant.privileges.is_some() {
            let message = format!("sequence \"{}\" only supports USAGE, SELECT, and UPDATE privileges", relation.name);
            self.notices.push(Error::warning(SqlState::INVALID_GRANT_OPERATION, message));
        }
        if possible.is_empty() {
            return Ok(());
        }
        self.grant_these(grant, relation, grantees, possible)
    }

    fn grant_these(
        &mut self,
        grant: &Grant,
        relation: &Arc<Relation>,
        grantees: &[Oid],
        wanted: Privileges,
    ) -> Result<()> {
        let (grantor, allowed) = self.grantor(relation.owner, &relation.acl, wanted);
        if allowed.is_empty() && !self.has_any(&relation.acl) {
            return Err(denied_relation(relation));
        }
        self.warn_partial(grant, allowed, wanted, &relation.name);
        if allowed.is_empty() {
            return Ok(());
        }
        let mut changed = Relation::clone(relation);
        change(grant, &mut changed.acl, grantees, grantor, allowed, relation.owner)?;
        self.put_relation(changed)
    }

    /// Who grants, and which of the wanted privileges that role may grant: an owner all, others by grant option.
    fn grantor(&self, owner: Oid, acl: &[AclItem], wanted: Privileges) -> (Oid, Privileges) {
        if self.is_owner(owner) {
            return (owner, wanted);
        }
        let roles = self.catalog().effective_roles(self.cx.role);
        let options = acl
            .iter()
            .filter(|item| roles.contains(&item.grantee))
            .fold(Privileges::NONE, |had, item| had.with(item.grant_option));
        (self.cx.role, Privileges(wanted.0 & options.0))
    }

    /// Whether the current role has any privilege: then that it may grant none is a warning, and otherwise an error.
    fn has_any(&self, acl: &[AclItem]) -> bool {
        let roles = self.catalog().effective_roles(self.cx.role);
        let is_own = |item: &AclItem| item.grantee == Role::PUBLIC || roles.contains(&item.grantee);
        acl.iter().any(|item| is_own(item) && !item.privileges.is_empty())
    }

    fn warn_partial(&mut self, grant: &Grant, allowed: Privileges, wanted: Privileges, name: &str) {
        let some = match (allowed.is_empty(), allowed == wanted || grant.privileges.is_none()) {
            (true, _) => "no",
            (false, true) => return,
            (false, false) => "not all",
        };
        let (code, what) = match grant.revoke {
            true => (SqlState::WARNING_PRIVILEGE_NOT_REVOKED, "could be revoked"),
            false => (SqlState::WARNING_PRIVILEGE_NOT_GRANTED, "were granted"),
        };
        self.notices.push(Error::warning(code, format!("{some} privileges {what} for \"{name}\"")));
    }

    pub(super) fn grant_role(&mut self, grant: &GrantRole) -> Result<()> {
        for name in &grant.roles {
            let target = self.role(name)?;
            self.require_admin(&target)?;
            for member in &grant.members {
                let mut member = Role::clone(&*self.role(member)?);
                let had = member.memberships.iter().find(|one| one.role == target.oid).copied();
                let message =
                    |what: &str| format!("role \"{}\" is {what} a member of role \"{}\"", member.name, target.name);
                match (grant.revoke, had) {
                    (false, Some(had)) if had.admin || !grant.admin => {
                        self.notice(message("already"));
                        continue;
                    }
                    (true, None) => {
                        let warning = Error::warning(SqlState::WARNING, message("not"));
                        self.notices.push(warning);
                        continue;
                    }
                    (false, _) => self.join(&mut member, target.oid, grant.admin)?,
                    (true, Some(_)) if grant.admin => {
                        let memberships = member.memberships.iter_mut();
                        memberships.filter(|one| one.role == target.oid).for_each(|one| one.admin = false);
                    }
                    (true, Some(_)) => member.memberships.retain(|one| one.role != target.oid),
                }
                self.put_role(member)?;
            }
        }
        Ok(())
    }

    /// Memberships are given by superusers, by CREATEROLE unless of a superuser, and by members with ADMIN OPTION.
    fn require_admin(&self, target: &Role) -> Result<()> {
        let catalog = self.catalog();
        let Some(current) = catalog.role(self.cx.role) else { return Err(Error::internal("a role vanished")) };
        if target.superuser && !current.superuser {
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, "must be superuser to alter superusers"));
        }
        let is_admin = catalog
            .effective_roles(current.oid)
            .iter()
            .filter_map(|role| catalog.role(*role))
            .any(|role| role.memberships.iter().any(|one| one.role == target.oid && one.admin));
        if current.superuser || current.create_role || is_admin {
            return Ok(());
        }
        let message = format!("must have admin option on role \"{}\"", target.name);
        Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
    }
}

fn is_table(relation: &Relation) -> bool {
    relation.topic().is_none() && relation.sequence().is_none()
}

/// The privileges that a statement names, which must exist for that kind of object.
fn wanted(grant: &Grant, all: Privileges, kind: &str) -> Result<Privileges> {
    let Some(named) = &grant.privileges else { return Ok(all) };
    let mut wanted = Privileges::NONE;
    for privilege in named {
        let one = Privileges::of(*privilege);
        if !all.contains(one) {
            let name = format!("{privilege:?}").to_ascii_uppercase();
            let message = format!("invalid privilege type {name} for {kind}");
            return Err(Error::new(SqlState::INVALID_GRANT_OPERATION, message));
        }
        wanted = wanted.with(one);
    }
    Ok(wanted)
}

/// Changes the grants of one object. A privilege or grant option that others were given on by it falls with it only
/// where CASCADE says so.
fn change(
    grant: &Grant,
    acl: &mut Vec<AclItem>,
    grantees: &[Oid],
    grantor: Oid,
    privileges: Privileges,
    owner: Oid,
) -> Result<()> {
    for &grantee in grantees {
        if !grant.revoke {
            give(acl, grantee, grantor, privileges, grant.grant_option);
            continue;
        }
        for item in acl.iter_mut().filter(|item| item.grantee == grantee && item.grantor == grantor) {
            item.grant_option = item.grant_option.without(privileges);
            if !grant.grant_option {
                item.privileges = item.privileges.without(privileges);
            }
        }
        drop_orphans(acl, owner, grant.cascade)?;
    }
    acl.retain(|item| !item.privileges.is_empty());
    Ok(())
}

fn give(acl: &mut Vec<AclItem>, grantee: Oid, grantor: Oid, privileges: Privileges, grant_option: bool) {
    let option = if grant_option { privileges } else { Privileges::NONE };
    match acl.iter_mut().find(|item| item.grantee == grantee && item.grantor == grantor) {
        Some(item) => {
            item.privileges = item.privileges.with(privileges);
            item.grant_option = item.grant_option.with(option);
        }
        None => acl.push(AclItem { grantee, grantor, privileges, grant_option: option }),
    }
}

/// Takes back what was granted by those who may not grant it any more, until nothing changes.
fn drop_orphans(acl: &mut [AclItem], owner: Oid, cascade: bool) -> Result<()> {
    loop {
        let snapshot = acl.to_vec();
        let mut changed = false;
        for item in acl.iter_mut().filter(|item| item.grantor != owner) {
            let options = snapshot
                .iter()
                .filter(|other| other.grantee == item.grantor)
                .fold(Privileges::NONE, |had, other| had.with(other.grant_option));
            let kept = Privileges(item.privileges.0 & options.0);
            if kept != item.privileges {
                if !cascade {
                    return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "dependent privileges exist")
                        .hint("Use CASCADE to revoke them too."));
                }
                item.privileges = kept;
                item.grant_option = Privileges(item.grant_option.0 & kept.0);
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
    }
}
