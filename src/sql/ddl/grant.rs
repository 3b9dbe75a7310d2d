//! GRANT and REVOKE of privileges and memberships.

use super::Definer;
use super::names::{denied_relation, denied_schema, require_schema};
use crate::catalog::{AclItem, CatalogEntry, Privilege, Privileges, Relation, Role, Schema};
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::{Grant, GrantRole, GrantTarget, ObjectName, RoleName};
use crate::types::Oid;
use std::sync::Arc;

/// What a GRANT names.
enum Object {
    Schema(Arc<Schema>),
    Relation(Arc<Relation>),
    /// An index, which has no privileges.
    Index(String),
}

impl Definer<'_, '_> {
    /// GRANT and REVOKE on objects. Of several errors it reports PostgreSQL's: all objects are looked up first, then all
    /// roles, then the privileges; what an object's kind does not allow comes last, object by object.
    pub(super) fn grant(&mut self, grant: &Grant) -> Result<()> {
        let objects = self.objects(&grant.on)?;
        let grantees = self.grantees(&grant.grantees)?;
        let wanted = wanted(grant)?;
        for object in objects {
            match object {
                Object::Schema(schema) => self.grant_on_schema(grant, &schema, &grantees, wanted)?,
                Object::Relation(relation) => self.grant_on_relation(grant, &relation, &grantees, wanted)?,
                Object::Index(name) => {
                    return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is an index")));
                }
            }
        }
        Ok(())
    }

    fn objects(&self, target: &GrantTarget) -> Result<Vec<Object>> {
        match target {
            GrantTarget::Schemas(names) => names.iter().map(|name| self.schema(name).map(Object::Schema)).collect(),
            GrantTarget::Relations { names, .. } | GrantTarget::Sequences(names) => {
                names.iter().map(|name| self.relation_or_index(name)).collect()
            }
            GrantTarget::AllTables(schemas) => self.all_of(schemas, is_table),
            GrantTarget::AllSequences(schemas) => self.all_of(schemas, |one| one.sequence().is_some()),
        }
    }

    fn relation_or_index(&self, name: &ObjectName) -> Result<Object> {
        match self.relation(name) {
            Err(_) if self.find_indexed(name).is_some() => Ok(Object::Index(name.name.clone())),
            relation => relation.map(Object::Relation),
        }
    }

    /// All relations of a kind in these schemas, each of which the current role must have USAGE on.
    fn all_of(&self, schemas: &[String], is_wanted: fn(&Relation) -> bool) -> Result<Vec<Object>> {
        let catalog = self.catalog();
        let mut objects = Vec::new();
        for name in schemas {
            let schema = self.schema(name)?;
            require_schema(&catalog, self.cx.role, &schema, Privilege::Usage)?;
            let relations = catalog.relations().filter(|one| one.schema == schema.oid && is_wanted(one));
            objects.extend(relations.cloned().map(Object::Relation));
        }
        Ok(objects)
    }

    fn grantees(&self, names: &[RoleName]) -> Result<Vec<Oid>> {
        let oid = |name: &RoleName| match name {
            RoleName::Public => Ok(Role::PUBLIC),
            named => self.role(named).map(|role| role.oid),
        };
        names.iter().map(oid).collect()
    }

    fn grant_on_schema(
        &mut self,
        grant: &Grant,
        schema: &Arc<Schema>,
        grantees: &[Oid],
        wanted: Privileges,
    ) -> Result<()> {
        let (grantor, allowed) = self.grantor(schema.owner, &schema.acl, wanted);
        if allowed.is_empty() && !self.has_any(&schema.acl) {
            return Err(denied_schema(schema));
        }
        self.warn_partial(grant, allowed, wanted, &schema.name);
        refuse_option_of_public(grant, grantees)?;
        if allowed.is_empty() {
            return Ok(());
        }
        let mut changed = Schema::clone(schema);
        change(grant, &mut changed.acl, grantees, grantor, allowed, schema.owner)?;
        self.put(CatalogEntry::Schema(Arc::new(changed)))
    }

    fn grant_on_relation(
        &mut self,
        grant: &Grant,
        relation: &Arc<Relation>,
        grantees: &[Oid],
        named: Privileges,
    ) -> Result<()> {
        let is_sequence = relation.sequence().is_some();
        let missed_kind = match &grant.on {
            GrantTarget::Relations { topic: true, .. } if relation.topic().is_none() => Some("topic"),
            GrantTarget::Sequences(_) if !is_sequence => Some("sequence"),
            _ => None,
        };
        if let Some(kind) = missed_kind {
            let message = format!("\"{}\" is not a {kind}", relation.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        let possible = if is_sequence { Privileges::ALL_ON_SEQUENCE } else { Privileges::ALL_ON_TABLE };
        let wanted = Privileges(named.0 & possible.0);
        if wanted != named && grant.privileges.is_some() {
            if !is_sequence {
                return Err(invalid_privilege("USAGE", "table"));
            }
            let message = format!("sequence \"{}\" only supports USAGE, SELECT, and UPDATE privileges", relation.name);
            self.notices.push(Error::warning(SqlState::INVALID_GRANT_OPERATION, message));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        self.grant_these(grant, relation, grantees, wanted)
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
        refuse_option_of_public(grant, grantees)?;
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

    /// GRANT and REVOKE of memberships: who becomes a member is looked up before what.
    pub(super) fn grant_role(&mut self, grant: &GrantRole) -> Result<()> {
        for member in &grant.members {
            self.role(member)?;
        }
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

/// The privileges that a statement names, all of which must exist for that kind of object; of a relation it need not be
/// said whether it is a table or a sequence.
fn wanted(grant: &Grant) -> Result<Privileges> {
    let (all, kind) = match grant.on {
        GrantTarget::Schemas(_) => (Privileges::ALL_ON_SCHEMA, "schema"),
        GrantTarget::Relations { .. } | GrantTarget::AllTables(_) => {
            (Privileges::ALL_ON_TABLE.with(Privileges::ALL_ON_SEQUENCE), "relation")
        }
        GrantTarget::Sequences(_) | GrantTarget::AllSequences(_) => (Privileges::ALL_ON_SEQUENCE, "sequence"),
    };
    let Some(named) = &grant.privileges else { return Ok(all) };
    let mut wanted = Privileges::NONE;
    for name in named {
        let one = privilege(name)?.map(Privileges::of).filter(|one| all.contains(*one));
        wanted = wanted.with(one.ok_or_else(|| invalid_privilege(&name.to_ascii_uppercase(), kind))?);
    }
    Ok(wanted)
}

/// A privilege by name; none for one that PostgreSQL has for other kinds of objects only.
fn privilege(name: &str) -> Result<Option<Privilege>> {
    Ok(Some(match name {
        "select" => Privilege::Select,
        "insert" => Privilege::Insert,
        "update" => Privilege::Update,
        "delete" => Privilege::Delete,
        "truncate" => Privilege::Truncate,
        "references" => Privilege::References,
        "trigger" => Privilege::Trigger,
        "usage" => Privilege::Usage,
        "create" => Privilege::Create,
        "connect" | "execute" | "set" | "temp" => return Ok(None),
        _ => {
            let message = format!("unrecognized privilege type \"{name}\"");
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        }
    }))
}

fn invalid_privilege(name: &str, kind: &str) -> Error {
    let message = format!("invalid privilege type {name} for {kind}");
    Error::new(SqlState::INVALID_GRANT_OPERATION, message)
}

fn refuse_option_of_public(grant: &Grant, grantees: &[Oid]) -> Result<()> {
    if grant.grant_option && !grant.revoke && grantees.contains(&Role::PUBLIC) {
        return Err(Error::new(SqlState::INVALID_GRANT_OPERATION, "grant options can only be granted to roles"));
    }
    Ok(())
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
