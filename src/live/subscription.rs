//! A live query or a topic's wake-up as a session asked for it, and whether it still may have it.

use super::event;
use super::shape::Shape;
use crate::catalog::{Catalog, Privilege, Privileges, Relation, Schema};
use crate::error::{Error, Result, SqlState};
use crate::types::{CommitSeq, Oid, ScopeId, StorageId, Str};
use std::sync::Arc;

/// What a live channel tells of.
#[derive(Clone)]
pub enum Subject {
    /// Rows of a table.
    Rows(Arc<Shape>),
    /// Messages of a topic: that there are some, not what they say.
    Topic {
        /// The topic.
        relation: Arc<Relation>,
        /// Its qualified name.
        name: Str,
    },
}

/// A live channel of a session.
#[derive(Clone)]
pub struct Subscription {
    /// The channel's name, byte for byte as the client wrote it.
    pub channel: Str,
    /// What it tells of.
    pub subject: Subject,
    /// Whose rows: [`ScopeId::SHARED`] unless each user has its own.
    pub scope: ScopeId,
    /// The user id in force when it was made.
    pub user_id: Str,
    /// The role that was current then, whose rights are checked again.
    pub role: Oid,
    /// Whether that user id is another than the session's own: then the role must still have the right to act for it.
    pub acts_for_other: bool,
}

impl Subscription {
    /// The relation that it is about.
    pub fn relation(&self) -> &Arc<Relation> {
        match &self.subject {
            Subject::Rows(shape) => shape.model().relation(),
            Subject::Topic { relation, .. } => relation,
        }
    }

    /// Whether its changes are in memory only.
    pub(super) fn is_volatile(&self) -> bool {
        self.relation().is_volatile()
    }

    /// The first message.
    pub(super) fn acknowledgement(&self, seq: CommitSeq) -> Str {
        match &self.subject {
            Subject::Rows(shape) => event::acknowledgement(&self.channel, seq, shape.columns()),
            Subject::Topic { .. } => event::acknowledgement(&self.channel, seq, std::iter::empty()),
        }
    }

    /// All of it that [`check`](Self::check) looks at.
    pub(super) fn checked(&self) -> (Oid, u32, StorageId, Oid, bool) {
        let relation = self.relation();
        (relation.oid, relation.row_version.into(), relation.storage, self.role, self.acts_for_other)
    }

    /// Whether it may go on under a catalog: its relation is there with the same row type, and its role still may read
    /// it and act for its user.
    ///
    /// # Errors
    /// 42P01, 0A000 where its columns have changed, 55000 where its rows were replaced as a whole, 42501.
    pub fn check(&self, catalog: &Catalog) -> Result<()> {
        let before = self.relation();
        let name = || catalog.qualified_name(before);
        let Some(relation) = catalog.relation(before.oid) else {
            return Err(Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", name())));
        };
        if relation.topic().is_none() && relation.row_version != before.row_version {
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("the columns of {} have changed", name())));
        }
        if relation.topic().is_none() && relation.storage != before.storage {
            return Err(replaced(&name()));
        }
        let Some(role) = catalog.role(self.role) else {
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, "the role of this live query does not exist"));
        };
        if self.acts_for_other && !role.service && !role.superuser {
            let message = format!("permission denied to act for user \"{}\"", self.user_id);
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        let reads = Privileges::of(Privilege::Select);
        if !catalog.has_privileges(self.role, relation.owner, &relation.acl, reads) {
            let noun = if relation.topic().is_some() { "topic" } else { "table" };
            let message = format!("permission denied for {noun} {}", relation.name);
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        let usage = Privileges::of(Privilege::Usage);
        let may_use = |schema: &Arc<Schema>| catalog.has_privileges(self.role, schema.owner, &schema.acl, usage);
        match catalog.schema(relation.schema) {
            Some(schema) if !may_use(schema) => {
                let message = format!("permission denied for schema {}", schema.name);
                Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
            }
            _ => Ok(()),
        }
    }
}

/// 55000 for a live query over rows that were replaced as a whole.
pub(super) fn replaced(table: &str) -> Error {
    let message = format!("the rows of {table} were replaced");
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .hint("The table was truncated or stored anew. Subscribe again.")
}
