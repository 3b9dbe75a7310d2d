//! One immutable version of the catalog, and the entries it is stored as.

use super::{AclItem, Privileges, Relation, Role, Schema};
use crate::types::{CommitSeq, Oid, StorageId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A version of the catalog. Cloning copies maps of shared entries.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Counts DDL commits; plans remember it. A transaction's own versions have numbers from
    /// [`UNCOMMITTED`](Catalog::UNCOMMITTED) on, each another.
    pub version: u64,
    schemas: BTreeMap<Oid, Arc<Schema>>,
    schema_names: BTreeMap<String, Oid>,
    relations: BTreeMap<Oid, Arc<Relation>>,
    relation_names: BTreeMap<(Oid, String), Oid>,
    /// The tables of indexes, by the indexes' names.
    index_names: BTreeMap<(Oid, String), Oid>,
    roles: BTreeMap<Oid, Arc<Role>>,
    role_names: BTreeMap<String, Oid>,
    /// Topics by the table that feeds them.
    feeds: BTreeMap<Oid, BTreeSet<Oid>>,
    /// Since which commit an index has the entries of its table's rows, where it was built on rows that were there, and
    /// since which a table's rows stand under another primary key. Not stored: it concerns snapshots, which no restart
    /// outlives.
    built: BTreeMap<StorageId, CommitSeq>,
    /// The greatest of these that there ever was.
    last_built: CommitSeq,
    /// The commit that all of a transaction reads, in a version of its own.
    seen: Option<CommitSeq>,
}

/// Names one stored entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CatalogKey {
    /// A schema by OID.
    Schema(Oid),
    /// A relation by OID.
    Relation(Oid),
    /// A role by OID.
    Role(Oid),
}

/// A name that at most one object has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CatalogName {
    /// A schema's.
    Schema(String),
    /// A relation's in a schema.
    Relation(Oid, String),
    /// A role's.
    Role(String),
}

/// One stored entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum CatalogEntry {
    /// A schema.
    Schema(Arc<Schema>),
    /// A relation.
    Relation(Arc<Relation>),
    /// A role.
    Role(Arc<Role>),
}

impl CatalogEntry {
    /// The entry's name in the store.
    pub fn key(&self) -> CatalogKey {
        match self {
            CatalogEntry::Schema(schema) => CatalogKey::Schema(schema.oid),
            CatalogEntry::Relation(relation) => CatalogKey::Relation(relation.oid),
            CatalogEntry::Role(role) => CatalogKey::Role(role.oid),
        }
    }

    /// The names that nothing else of their kind may have: a relation's are its own and its indexes'.
    pub fn names(&self) -> Vec<CatalogName> {
        match self {
            CatalogEntry::Schema(schema) => vec![CatalogName::Schema(schema.name.clone())],
            CatalogEntry::Relation(relation) => {
                let all = std::iter::once(relation.name.as_str()).chain(relation.index_names());
                all.map(|name| CatalogName::Relation(relation.schema, name.to_owned())).collect()
            }
            CatalogEntry::Role(role) => vec![CatalogName::Role(role.name.clone())],
        }
    }

    /// The objects that it names beside itself and that must stay as long as it does.
    pub fn needs(&self) -> Vec<CatalogKey> {
        let acl = |acl: &[AclItem]| acl.iter().flat_map(|item| [item.grantee, item.grantor]).collect::<Vec<Oid>>();
        let (mut needed, roles) = match self {
            CatalogEntry::Schema(schema) => (Vec::new(), [vec![schema.owner], acl(&schema.acl)].concat()),
            CatalogEntry::Relation(relation) => {
                let sequences = relation.sequences_used().map(CatalogKey::Relation);
                (
                    [CatalogKey::Schema(relation.schema)].into_iter().chain(sequences).collect(),
                    [vec![relation.owner], acl(&relation.acl)].concat(),
                )
            }
            CatalogEntry::Role(role) => (Vec::new(), role.memberships.iter().map(|one| one.role).collect()),
        };
        needed.extend(roles.into_iter().filter(|role| *role != Role::PUBLIC).map(CatalogKey::Role));
        needed
    }
}

impl Catalog {
    /// The first version of catalogs that may yet be rolled back: no plan that was made against one may outlive it.
    pub const UNCOMMITTED: u64 = 1 << 63;

    /// Applies changes in their order, as those of a commit; [`CommitSeq::MAX`] for what is not committed.
    pub fn apply<'a>(
        &mut self,
        changes: impl IntoIterator<Item = &'a (CatalogKey, Option<CatalogEntry>)>,
        at: CommitSeq,
    ) {
        for (key, entry) in changes {
            if let CatalogKey::Relation(oid) = key {
                let after = match entry {
                    Some(CatalogEntry::Relation(relation)) => Some(relation),
                    _ => None,
                };
                self.note_built(*oid, after, at);
            }
            match entry {
                Some(entry) => self.put(entry.clone()),
                None => self.remove(*key),
            }
        }
    }

    /// Notes which indexes of a relation are new. A new table's have the entries of all its rows.
    fn note_built(&mut self, relation: Oid, after: Option<&Arc<Relation>>, at: CommitSeq) {
        let Some(before) = self.relations.get(&relation) else { return };
        let has = |storage: StorageId, relation: &Relation| relation.index_storages().any(|other| other == storage);
        for gone in before.index_storages().filter(|&storage| after.is_none_or(|after| !has(storage, after))) {
            self.built.remove(&gone);
        }
        if after.is_none_or(|after| after.storage != before.storage) {
            self.built.remove(&before.storage);
        }
        let key = |relation: &Relation| relation.primary_key.as_ref().map(|key| key.oid);
        let moved = after.filter(|after| after.storage != before.storage && key(after) != key(before));
        // of a transaction's own the rows are its own, too
        if let Some(after) = moved.filter(|_| at != CommitSeq::MAX) {
            self.built.insert(after.storage, at);
            self.last_built = self.last_built.max(at);
        }
        let new = after.into_iter().flat_map(|after| after.index_storages()).filter(|&storage| !has(storage, before));
        for storage in new {
            self.built.insert(storage, at);
            self.last_built = self.last_built.max(at);
        }
    }

    /// Whether an index has been built since a commit, so that who reads as of that one needs [`as_of`](Self::as_of).
    pub fn is_younger(&self, seen: CommitSeq) -> bool {
        self.last_built > seen
    }

    /// This version for a transaction that reads as of a commit, whatever is committed meanwhile.
    pub fn as_of(mut self, seen: Option<CommitSeq>) -> Catalog {
        self.seen = seen;
        self
    }

    /// The commit that who uses this version reads, where that is not the newest.
    pub fn seen(&self) -> Option<CommitSeq> {
        self.seen
    }

    /// Whether an index leads to all rows that who uses this version can see: not where it was built after what is read,
    /// on rows of which some may have been others then. Of a table's own storage: whether they stand there.
    pub fn leads_to_all(&self, storage: StorageId) -> bool {
        self.seen.is_none_or(|seen| self.built.get(&storage).is_none_or(|built| *built <= seen))
    }

    /// Sets or replaces an entry.
    pub fn put(&mut self, entry: CatalogEntry) {
        self.remove(entry.key());
        match entry {
            CatalogEntry::Schema(schema) => {
                self.schema_names.insert(schema.name.clone(), schema.oid);
                self.schemas.insert(schema.oid, schema);
            }
            CatalogEntry::Relation(relation) => {
                self.relation_names.insert((relation.schema, relation.name.clone()), relation.oid);
                for index in relation.index_names() {
                    self.index_names.insert((relation.schema, index.to_owned()), relation.oid);
                }
                for source in relation.topic().into_iter().flat_map(|topic| &topic.sources) {
                    self.feeds.entry(source.table).or_default().insert(relation.oid);
                }
                self.relations.insert(relation.oid, relation);
            }
            CatalogEntry::Role(role) => {
                self.role_names.insert(role.name.clone(), role.oid);
                self.roles.insert(role.oid, role);
            }
        }
    }

    /// Removes an entry; an absent one changes nothing.
    pub fn remove(&mut self, key: CatalogKey) {
        match key {
            CatalogKey::Schema(oid) => {
                if let Some(schema) = self.schemas.remove(&oid) {
                    forget(&mut self.schema_names, &schema.name, oid);
                }
            }
            CatalogKey::Relation(oid) => {
                if let Some(relation) = self.relations.remove(&oid) {
                    for source in relation.topic().into_iter().flat_map(|topic| &topic.sources) {
                        if let Some(topics) = self.feeds.get_mut(&source.table) {
                            topics.remove(&oid);
                            if topics.is_empty() {
                                self.feeds.remove(&source.table);
                            }
                        }
                    }
                    forget(&mut self.relation_names, &(relation.schema, relation.name.clone()), oid);
                    for index in relation.index_names() {
                        forget(&mut self.index_names, &(relation.schema, index.to_owned()), oid);
                    }
                }
            }
            CatalogKey::Role(oid) => {
                if let Some(role) = self.roles.remove(&oid) {
                    forget(&mut self.role_names, &role.name, oid);
                }
            }
        }
    }

    /// An entry by its key.
    pub fn entry(&self, key: CatalogKey) -> Option<CatalogEntry> {
        match key {
            CatalogKey::Schema(oid) => self.schema(oid).cloned().map(CatalogEntry::Schema),
            CatalogKey::Relation(oid) => self.relation(oid).cloned().map(CatalogEntry::Relation),
            CatalogKey::Role(oid) => self.role(oid).cloned().map(CatalogEntry::Role),
        }
    }

    /// About how many bytes this version takes beside what it shares with others.
    pub fn weight(&self) -> usize {
        const ENTRY_BYTES: usize = 256;
        // the maps' nodes, and the entry that is not shared
        const OWN_BYTES: usize = 4 << 10;
        OWN_BYTES
            + (self.schemas.len() + self.relations.len() + self.roles.len()) * ENTRY_BYTES
            + self.built.len() * size_of::<(StorageId, CommitSeq)>()
    }

    /// A schema by OID.
    pub fn schema(&self, oid: Oid) -> Option<&Arc<Schema>> {
        self.schemas.get(&oid)
    }

    /// A schema by name.
    pub fn schema_by_name(&self, name: &str) -> Option<&Arc<Schema>> {
        self.schemas.get(self.schema_names.get(name)?)
    }

    /// A relation by OID.
    pub fn relation(&self, oid: Oid) -> Option<&Arc<Relation>> {
        self.relations.get(&oid)
    }

    /// The table whose index has a name in a schema.
    pub fn indexed_by_name(&self, schema: Oid, index: &str) -> Option<&Arc<Relation>> {
        self.relation(*self.index_names.get(&(schema, index.to_owned()))?)
    }

    /// A relation by schema and name.
    pub fn relation_by_name(&self, schema: Oid, name: &str) -> Option<&Arc<Relation>> {
        self.relations.get(self.relation_names.get(&(schema, name.to_owned()))?)
    }

    /// A relation by its qualified name in one piece, as channels and topics are named.
    pub fn relation_by_qualified_name(&self, name: &str) -> Option<&Arc<Relation>> {
        name.match_indices('.').find_map(|(dot, _)| {
            let schema = self.schema_by_name(&name[..dot])?;
            self.relation_by_name(schema.oid, &name[dot + 1..])
        })
    }

    /// A role by OID.
    pub fn role(&self, oid: Oid) -> Option<&Arc<Role>> {
        self.roles.get(&oid)
    }

    /// A role by name.
    pub fn role_by_name(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(self.role_names.get(name)?)
    }

    /// All schemas by OID.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.schemas.values()
    }

    /// All relations by OID.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values()
    }

    /// All roles by OID.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// The topics that a table feeds.
    pub fn topics_of(&self, table: Oid) -> impl Iterator<Item = &Arc<Relation>> {
        self.feeds.get(&table).into_iter().flatten().filter_map(|topic| self.relations.get(topic))
    }

    /// `schema.name` of a relation, as messages, channels and topics name it.
    pub fn qualified_name(&self, relation: &Relation) -> String {
        match self.schema(relation.schema) {
            Some(schema) => format!("{}.{}", schema.name, relation.name),
            None => relation.name.clone(),
        }
    }

    /// The role and all roles whose privileges it inherits.
    pub fn effective_roles(&self, role: Oid) -> BTreeSet<Oid> {
        let mut reached = BTreeSet::new();
        let mut open = vec![role];
        while let Some(next) = open.pop() {
            if let Some(role) = self.role(next)
                && reached.insert(next)
                && role.inherit
            {
                open.extend(role.memberships.iter().map(|membership| membership.role));
            }
        }
        reached
    }

    /// Whether a role is another one or a member of it, however far and whether it inherits or not: whether it may SET
    /// ROLE to it.
    pub fn is_member(&self, role: Oid, of: Oid) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![role];
        while let Some(next) = open.pop() {
            if next == of {
                return true;
            }
            if let Some(role) = self.role(next)
                && seen.insert(next)
            {
                open.extend(role.memberships.iter().map(|membership| membership.role));
            }
        }
        false
    }

    /// Whether a role has privileges on an object with this owner and these grants. Superusers and owners have all.
    pub fn has_privileges(&self, role: Oid, owner: Oid, acl: &[AclItem], wanted: Privileges) -> bool {
        if self.role(role).is_some_and(|role| role.superuser) {
            return true;
        }
        let roles = self.effective_roles(role);
        if roles.contains(&owner) {
            return true;
        }
        let had = acl
            .iter()
            .filter(|item| item.grantee == Role::PUBLIC || roles.contains(&item.grantee))
            .fold(Privileges::NONE, |had, item| had.with(item.privileges));
        had.contains(wanted)
    }
}

/// Forgets a name, unless another object has it by now: objects that swap names are changed one after the other.
fn forget<N: Ord>(names: &mut BTreeMap<N, Oid>, name: &N, oid: Oid) {
    if names.get(name) == Some(&oid) {
        names.remove(name);
    }
}
