//! Roles and their attributes.

use super::Definer;
use super::names::{no_role, noun};
use crate::catalog::{Catalog, CatalogEntry, CatalogKey, Membership, Role};
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::{RoleName, RoleOption};
use crate::types::Oid;
use std::sync::Arc;

impl Definer<'_, '_> {
    pub(super) fn put_role(&mut self, role: Role) -> Result<()> {
        self.put(CatalogEntry::Role(Arc::new(role)))
    }

    fn current(&self) -> Result<Arc<Role>> {
        self.catalog().role(self.cx.role).cloned().ok_or_else(|| no_role("current_user"))
    }

    pub(super) fn create_role(&mut self, name: &str, login: bool, options: &[RoleOption]) -> Result<()> {
        refuse_reserved(name)?;
        let current = self.current()?;
        if !current.superuser && !current.create_role {
            return Err(denied("permission denied to create role"));
        }
        if self.catalog().role_by_name(name).is_some() {
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, format!("role \"{name}\" already exists")));
        }
        let mut role = Role {
            oid: self.tx.alloc_oid(),
            name: name.to_owned(),
            login,
            superuser: false,
            service: false,
            inherit: true,
            create_role: false,
            create_db: false,
            connection_limit: -1,
            verifier: None,
            memberships: Vec::new(),
        };
        self.apply(&mut role, options, &current, "create")?;
        let oid = role.oid;
        self.put_role(role)?;
        for option in options {
            let (members, admin) = match option {
                RoleOption::Members(members) => (members, false),
                RoleOption::Admins(members) => (members, true),
                _ => continue,
            };
            for member in members {
                let mut member = Role::clone(&*self.role(member)?);
                self.join(&mut member, oid, admin)?;
                self.put_role(member)?;
            }
        }
        Ok(())
    }

    pub(super) fn alter_role(&mut self, name: &RoleName, options: &[RoleOption]) -> Result<()> {
        let mut role = Role::clone(&*self.role(name)?);
        let current = self.current()?;
        // Everybody may change the own password.
        let own_password =
            role.oid == current.oid && options.iter().all(|option| matches!(option, RoleOption::Password(_)));
        if !current.superuser && !own_password && (!current.create_role || role.superuser) {
            let is_superusers = options.iter().any(|option| matches!(option, RoleOption::Superuser(_)));
            let message = match role.superuser || is_superusers {
                true => "must be superuser to alter superuser roles or change superuser attribute",
                false => "permission denied",
            };
            return Err(denied(message));
        }
        self.apply(&mut role, options, &current, "alter")?;
        self.put_role(role)
    }

    fn apply(&mut self, role: &mut Role, options: &[RoleOption], current: &Role, verb: &str) -> Result<()> {
        for option in options {
            match option {
                RoleOption::Superuser(on) => {
                    if !current.superuser && (verb == "alter" || *on) {
                        return Err(denied(match verb {
                            "create" => "must be superuser to create superusers",
                            _ => "must be superuser to alter superuser roles or change superuser attribute",
                        }));
                    }
                    if !on && role.oid == Role::BOOTSTRAP {
                        return Err(denied("permission denied: bootstrap user must be superuser"));
                    }
                    role.superuser = *on;
                }
                RoleOption::Service(on) => {
                    if !current.superuser {
                        return Err(denied("must be superuser to change the service attribute"));
                    }
                    role.service = *on;
                }
                RoleOption::Login(on) => role.login = *on,
                RoleOption::Inherit(on) => role.inherit = *on,
                RoleOption::CreateRole(on) => role.create_role = *on,
                RoleOption::CreateDb(on) => role.create_db = *on,
                RoleOption::ConnectionLimit(limit) => {
                    role.connection_limit =
                        i32::try_from(*limit).ok().filter(|&limit| limit >= -1).ok_or_else(|| {
                            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid connection limit: {limit}"))
                        })?;
                }
                RoleOption::Password(verifier) => role.verifier = verifier.clone(),
                RoleOption::InRole(roles) => {
                    for name in roles {
                        let target = self.role(name)?.oid;
                        self.join(role, target, false)?;
                    }
                }
                RoleOption::Members(_) | RoleOption::Admins(_) if verb == "create" => {}
                RoleOption::Members(_) | RoleOption::Admins(_) => {
                    return Err(Error::unsupported("adding members by ALTER ROLE").hint("Use GRANT role TO member."));
                }
            }
        }
        Ok(())
    }

    /// Makes a role a member of another. Memberships have no circles.
    pub(super) fn join(&self, member: &mut Role, target: Oid, admin: bool) -> Result<()> {
        let catalog = self.catalog();
        if target == member.oid || reaches(&catalog, target, member.oid) {
            let name = catalog.role(target).map_or("", |role| role.name.as_str());
            let message = format!("role \"{name}\" is a member of role \"{}\"", member.name);
            return Err(Error::new(SqlState::INVALID_GRANT_OPERATION, message));
        }
        match member.memberships.iter_mut().find(|membership| membership.role == target) {
            Some(membership) => membership.admin |= admin,
            None => member.memberships.push(Membership { role: target, admin }),
        }
        Ok(())
    }

    pub(super) fn rename_role(&mut self, name: &RoleName, to: &str) -> Result<()> {
        let role = self.role(name)?;
        let current = self.current()?;
        refuse_reserved(to)?;
        if role.oid == self.cx.session_role {
            return Err(Error::unsupported("renaming the session user"));
        }
        if !current.superuser && role.superuser {
            return Err(denied("must be superuser to rename superusers"));
        }
        if !current.superuser && !current.create_role {
            return Err(denied("permission denied to rename role"));
        }
        if self.catalog().role_by_name(to).is_some() {
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, format!("role \"{to}\" already exists")));
        }
        let scope = self.tx.engine().scope_of(&role.name)?;
        if self.owns_rows(scope)? {
            return Err(Error::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!("role \"{}\" cannot be renamed because its user id owns rows", role.name),
            )
            .hint("Rows belong to the user id, which does not change with the role."));
        }
        self.put_role(Role { name: to.to_owned(), ..Role::clone(&role) })
    }

    pub(super) fn drop_roles(&mut self, names: &[RoleName], if_exists: bool) -> Result<()> {
        let current = self.current()?;
        if !current.superuser && !current.create_role {
            return Err(denied("permission denied to drop role"));
        }
        for name in names {
            let RoleName::Named(name, _) = name else {
                return Err(Error::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    "cannot use special role specifier in DROP ROLE",
                ));
            };
            let catalog = self.catalog();
            let Some(role) = catalog.role_by_name(name) else {
                if !if_exists {
                    return Err(no_role(name));
                }
                self.notice(format!("role \"{name}\" does not exist, skipping"));
                continue;
            };
            let busy = |message: &str| Err(Error::new(SqlState::OBJECT_IN_USE, message));
            if role.oid == self.cx.role {
                return busy("current user cannot be dropped");
            }
            if role.oid == self.cx.session_role {
                return busy("session user cannot be dropped");
            }
            if role.superuser && !current.superuser {
                return Err(denied("must be superuser to drop superusers"));
            }
            if role.oid == Role::BOOTSTRAP {
                let message = format!("cannot drop role {name} because it is required by the database system");
                return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message));
            }
            refuse_dependent(&catalog, role)?;
            let members = catalog.roles().filter(|other| other.memberships.iter().any(|one| one.role == role.oid));
            for member in members.cloned().collect::<Vec<_>>() {
                let mut member = Role::clone(&member);
                member.memberships.retain(|one| one.role != role.oid);
                self.put_role(member)?;
            }
            self.remove(CatalogKey::Role(role.oid))?;
        }
        Ok(())
    }
}

/// Whether `from` is, directly or not, a member of `to`.
fn reaches(catalog: &Catalog, from: Oid, to: Oid) -> bool {
    let mut open = vec![from];
    let mut seen = Vec::new();
    while let Some(next) = open.pop() {
        if next == to {
            return true;
        }
        if !seen.contains(&next) {
            seen.push(next);
            open.extend(catalog.role(next).into_iter().flat_map(|role| &role.memberships).map(|one| one.role));
        }
    }
    false
}

fn refuse_dependent(catalog: &Catalog, role: &Role) -> Result<()> {
    let mut lines = Vec::new();
    for schema in catalog.schemas() {
        if schema.owner == role.oid {
            lines.push(format!("owner of schema {}", schema.name));
        } else if schema.acl.iter().any(|item| item.grantee == role.oid || item.grantor == role.oid) {
            lines.push(format!("privileges for schema {}", schema.name));
        }
    }
    for relation in catalog.relations() {
        let object = format!("{} {}", noun(relation), catalog.qualified_name(relation));
        if relation.owner == role.oid {
            lines.push(format!("owner of {object}"));
        } else if relation.acl.iter().any(|item| item.grantee == role.oid || item.grantor == role.oid) {
            lines.push(format!("privileges for {object}"));
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let message = format!("role \"{}\" cannot be dropped because some objects depend on it", role.name);
    Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message).detail(lines.join("\n")))
}

fn denied(message: &str) -> Error {
    Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
}

fn refuse_reserved(name: &str) -> Result<()> {
    match name.starts_with("pg_") {
        true => Err(Error::new(SqlState::RESERVED_NAME, format!("role name \"{name}\" is reserved"))
            .detail("Role names starting with \"pg_\" are reserved.")),
        false => Ok(()),
    }
}
