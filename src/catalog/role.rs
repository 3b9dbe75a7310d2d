//! Roles, memberships and grants.

use crate::types::Oid;
use serde::{Deserialize, Serialize};

/// A role: PostgreSQL's attributes and `SERVICE`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Role {
    /// OID in pg_authid.
    pub oid: Oid,
    /// Name, unique in the server.
    pub name: String,
    /// May log in.
    pub login: bool,
    /// Passes every privilege check.
    pub superuser: bool,
    /// May act for other users (EXECUTE AS USER, SET LOCAL tertulia.user_id).
    pub service: bool,
    /// Has its members' privileges without SET ROLE.
    pub inherit: bool,
    /// May make roles.
    pub create_role: bool,
    /// May make databases.
    pub create_db: bool,
    /// Sessions at most, -1 for no limit.
    pub connection_limit: i32,
    /// The SCRAM-SHA-256 verifier in PostgreSQL's text form; never a password.
    pub verifier: Option<String>,
    /// Roles this one is a member of.
    pub memberships: Vec<Membership>,
}

impl Role {
    /// OID of the superuser made at the first start, PostgreSQL's BOOTSTRAP_SUPERUSERID.
    pub const BOOTSTRAP: Oid = Oid(10);
    /// The grantee that means everybody.
    pub const PUBLIC: Oid = Oid(0);
}

/// Membership in another role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The role whose privileges are had.
    pub role: Oid,
    /// WITH ADMIN OPTION.
    pub admin: bool,
}

/// One privilege of PostgreSQL's (manual, table 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Privilege {
    /// `r`
    Select,
    /// `a`
    Insert,
    /// `w`
    Update,
    /// `d`
    Delete,
    /// `D`
    Truncate,
    /// `x`
    References,
    /// `t`
    Trigger,
    /// `U`
    Usage,
    /// `C`
    Create,
}

/// A set of privileges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privileges(pub u16);

impl Privileges {
    /// None.
    pub const NONE: Privileges = Privileges(0);
    /// What ALL means on a table or topic.
    pub const ALL_ON_TABLE: Privileges = Privileges(0x7f);
    /// What ALL means on a sequence.
    pub const ALL_ON_SEQUENCE: Privileges = Privileges::of(Privilege::Select)
        .with(Privileges::of(Privilege::Update))
        .with(Privileges::of(Privilege::Usage));
    /// What ALL means on a schema.
    pub const ALL_ON_SCHEMA: Privileges = Privileges(0x180);

    /// The set of one.
    pub const fn of(privilege: Privilege) -> Privileges {
        Privileges(1 << privilege as u16)
    }

    /// Both sets together.
    pub const fn with(self, other: Privileges) -> Privileges {
        Privileges(self.0 | other.0)
    }

    /// This set less the other.
    pub const fn without(self, other: Privileges) -> Privileges {
        Privileges(self.0 & !other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Privileges) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One grant: who may do what, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclItem {
    /// The role, or [`Role::PUBLIC`].
    pub grantee: Oid,
    /// The role that granted it.
    pub grantor: Oid,
    /// What may be done.
    pub privileges: Privileges,
    /// The part of it that may be granted on.
    pub grant_option: Privileges,
}
