//! Who a session is: its roles, and whose rows it sees.

use super::settings::{Settings, USER_ID};
use crate::catalog::{Catalog, Role};
use crate::error::{Error, Result, SqlState};
use crate::limits::USER_ID_BYTES_MAX;
use crate::types::{Oid, Str};

/// The roles and the user id of a session.
#[derive(Clone, Debug)]
pub struct Who {
    /// The role that logged in.
    pub login_role: Oid,
    /// `session_user`: the login role unless SET SESSION AUTHORIZATION changed it.
    pub session_role: Oid,
    /// `current_user`, whose privileges count: the session role unless SET ROLE changed it.
    pub role: Oid,
    /// Whose rows the session sees unless it acts for another.
    pub user_id: Str,
    /// The process id that clients know the session by.
    pub pid: i32,
}

impl Who {
    /// A role that has just logged in: its name is its user id.
    pub fn new(role: &Role, pid: i32) -> Who {
        Who {
            login_role: role.oid,
            session_role: role.oid,
            role: role.oid,
            user_id: Str::from(role.name.as_str()),
            pid,
        }
    }

    /// The user id in force: that of SET LOCAL tertulia.user_id, else the session's own.
    pub fn user_in_force(&self, settings: &Settings) -> Str {
        match settings.get(USER_ID) {
            Some(user) if !user.is_empty() => Str::from(user),
            _ => self.user_id.clone(),
        }
    }

    /// Whether the current role may act for `user`: for itself anyone, for others SERVICE and SUPERUSER.
    ///
    /// # Errors
    /// 42501 for anyone else, 22023 for an empty or too long user id.
    pub fn check_may_act_for(&self, user: &str, catalog: &Catalog) -> Result<()> {
        if user.is_empty() {
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "user id must not be empty"));
        }
        if user.len() > USER_ID_BYTES_MAX {
            let message = format!("user id is longer than {USER_ID_BYTES_MAX} bytes");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let may = |role: &Role| role.service || role.superuser;
        if user == self.user_id.as_str() || catalog.role(self.role).is_some_and(|role| may(role)) {
            return Ok(());
        }
        let message = format!("permission denied to act for user \"{user}\"");
        Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
            .hint("Only roles with the SERVICE or SUPERUSER attribute may act for other users."))
    }
}

/// The settings that name a session's roles, as they were when the roles were looked up. A role that is renamed
/// meanwhile stays the session's, and one that takes its name does not become so.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Version of the settings.
    pub version: u64,
    /// session_authorization
    pub session: String,
    /// role
    pub role: String,
}

impl Followed {
    /// As they are now.
    pub(super) fn of(settings: &Settings) -> Followed {
        Followed {
            version: settings.version(),
            session: settings.get("session_authorization").unwrap_or_default(),
            role: settings.get("role").unwrap_or_default(),
        }
    }
}
