//! Relations: tables of three kinds, and topics.

use super::AclItem;
use crate::types::{Oid, SqlType, StorageId};
use serde::{Deserialize, Serialize};

/// A relation: anything with columns that a query can name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Relation {
    /// OID in pg_class.
    pub oid: Oid,
    /// Schema.
    pub schema: Oid,
    /// Name, unique in the schema among relations.
    pub name: String,
    /// Owning role.
    pub owner: Oid,
    /// What it is.
    pub kind: RelationKind,
    /// Where its rows are; a rewrite gives it a new one.
    pub storage: StorageId,
    /// Columns in the order of their numbers; dropped ones stay in place.
    pub columns: Vec<Column>,
    /// Counts the changes of the stored columns; a row says under which version it was written.
    pub row_version: u16,
    /// The first row version whose rows can be read with the columns' present types: a row of an older one is met in the
    /// log only.
    pub readable_from: u16,
    /// The primary key; without one rows have a hidden row id.
    pub primary_key: Option<PrimaryKey>,
    /// UNIQUE constraints.
    pub uniques: Vec<Unique>,
    /// Indexes that back no constraint.
    pub indexes: Vec<Index>,
    /// CHECK constraints.
    pub checks: Vec<Check>,
    /// Grants beyond the owner's.
    pub acl: Vec<AclItem>,
    /// WITH options as written, for display: FLUSH_POLICY and PostgreSQL's storage parameters.
    pub options: Vec<(String, String)>,
}

/// What a relation is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RelationKind {
    /// A table.
    Table(TableKind),
    /// A topic: an append-only relation that the committer fills.
    Topic(Topic),
    /// A sequence: its columns are shown, its one row is a counter's.
    Sequence(Sequence),
    /// A system relation, whose rows are computed from the catalog and the session.
    System,
}

/// The three kinds of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKind {
    /// Each user id has its own rows.
    User,
    /// One set of rows.
    Shared,
    /// Per user, in memory, rows vanish `ttl_micros` after their commit.
    Stream {
        /// Life of a row in microseconds.
        ttl_micros: i64,
    },
}

/// A column.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub ty: SqlType,
    /// NOT NULL, also by being in the primary key.
    pub not_null: bool,
    /// The default as SQL text, in the form that pg_get_expr shows.
    pub default: Option<String>,
    /// Dropped: keeps its place in rows, has no name any more.
    pub dropped: bool,
    /// The value of rows that were written before the column was added.
    pub missing: Option<String>,
}

/// A primary key. Rows are clustered by it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrimaryKey {
    /// OID of the constraint and its index.
    pub oid: Oid,
    /// Constraint name, `<table>_pkey` unless given.
    pub name: String,
    /// Positions in [`Relation::columns`], in key order.
    pub columns: Vec<usize>,
}

/// A UNIQUE constraint, kept by a key of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unique {
    /// OID of the constraint and its index.
    pub oid: Oid,
    /// Constraint name.
    pub name: String,
    /// Positions in [`Relation::columns`].
    pub columns: Vec<usize>,
    /// Where its entries are.
    pub storage: StorageId,
}

/// An index that backs no constraint: CREATE INDEX.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Index {
    /// OID in pg_class.
    pub oid: Oid,
    /// Name, unique in the schema among relations.
    pub name: String,
    /// Whether two rows may have the same values, NULL being equal to nothing.
    pub unique: bool,
    /// What it is sorted by.
    pub columns: Vec<IndexColumn>,
    /// Where its entries are.
    pub storage: StorageId,
}

/// A column of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexColumn {
    /// Position in [`Relation::columns`].
    pub column: usize,
    /// DESC
    pub descending: bool,
    /// NULLS FIRST
    pub nulls_first: bool,
}

/// A CHECK constraint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// OID of the constraint.
    pub oid: Oid,
    /// Constraint name.
    pub name: String,
    /// The condition as SQL text.
    pub condition: String,
}

/// How a sequence counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// AS
    pub ty: SqlType,
    /// START
    pub start: i64,
    /// The first number of this storage: START, or that of the last RESTART.
    pub initial: i64,
    /// INCREMENT, not 0
    pub increment: i64,
    /// MINVALUE
    pub min: i64,
    /// MAXVALUE
    pub max: i64,
    /// CACHE
    pub cache: i64,
    /// CYCLE
    pub cycle: bool,
}

/// A topic's settings and sources.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Topic {
    /// Partitions, at least one.
    pub partitions: u32,
    /// How long messages are kept, microseconds.
    pub retention_micros: i64,
    /// Bytes kept at most.
    pub retention_bytes: Option<u64>,
    /// Attempts before a message goes to the dead-letter topic.
    pub max_attempts: Option<u32>,
    /// Topic that takes messages that failed too often.
    pub dead_letter: Option<Oid>,
    /// Whether two messages of one partition key may be in flight at once.
    pub ordered: Option<bool>,
    /// Tables whose changes become messages.
    pub sources: Vec<Source>,
}

/// A table that feeds a topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    /// The table.
    pub table: Oid,
    /// Which changes.
    pub ops: SourceOps,
    /// WHERE as SQL text over the table's columns.
    pub filter: Option<String>,
    /// PARTITION BY: positions of columns of the table.
    pub partition_by: Vec<usize>,
    /// What a message holds.
    pub payload: Payload,
}

/// Which kinds of change a source takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceOps {
    /// ON INSERT
    pub insert: bool,
    /// ON UPDATE
    pub update: bool,
    /// ON DELETE
    pub delete: bool,
}

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// The row.
    Full,
    /// The primary key's columns.
    Key,
    /// Key, old and new values of the changed columns.
    Diff,
}

impl Relation {
    /// The columns that exist, with their positions.
    pub fn live_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| !column.dropped)
    }

    /// The position of a column by name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.live_columns().find(|(_, column)| column.name == name).map(|(position, _)| position)
    }

    /// What the columns of an index on it are called: a column that comes twice is told apart (PostgreSQL's
    /// ChooseIndexColumnNames).
    pub fn index_column_names(&self, columns: &[IndexColumn]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for of in columns {
            let plain = &self.columns[of.column].name;
            let numbered = (1..).map(|number| format!("{plain}{number}"));
            let mut candidates = std::iter::once(plain.clone()).chain(numbered);
            names.extend(candidates.find(|name| !names.contains(name)));
        }
        names
    }

    /// The names of its indexes, those of constraints too: in PostgreSQL each is a relation.
    pub fn index_names(&self) -> impl Iterator<Item = &str> {
        let primary = self.primary_key.iter().map(|key| key.name.as_str());
        let uniques = self.uniques.iter().map(|unique| unique.name.as_str());
        primary.chain(uniques).chain(self.indexes.iter().map(|index| index.name.as_str()))
    }

    /// The same, to be changed.
    pub fn index_names_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let primary = self.primary_key.iter_mut().map(|key| &mut key.name);
        let uniques = self.uniques.iter_mut().map(|unique| &mut unique.name);
        primary.chain(uniques).chain(self.indexes.iter_mut().map(|index| &mut index.name))
    }

    /// Where its entries are: the storages of UNIQUE constraints and indexes.
    pub fn index_storages(&self) -> impl Iterator<Item = StorageId> {
        let uniques = self.uniques.iter().map(|unique| unique.storage);
        uniques.chain(self.indexes.iter().map(|index| index.storage))
    }

    /// The same, to be given others.
    pub fn index_storages_mut(&mut self) -> impl Iterator<Item = &mut StorageId> {
        let uniques = self.uniques.iter_mut().map(|unique| &mut unique.storage);
        uniques.chain(self.indexes.iter_mut().map(|index| &mut index.storage))
    }

    /// Whether each user id has its own rows.
    pub fn is_scoped(&self) -> bool {
        matches!(self.kind, RelationKind::Table(TableKind::User | TableKind::Stream { .. }))
    }

    /// Whether rows live in memory only.
    pub fn is_volatile(&self) -> bool {
        matches!(self.kind, RelationKind::Table(TableKind::Stream { .. }))
    }

    /// The sequences that its defaults name. A default names one by its OID.
    pub fn sequences_used(&self) -> impl Iterator<Item = Oid> {
        let defaults = self.live_columns().filter_map(|(_, column)| column.default.as_deref());
        defaults.flat_map(oids_in)
    }

    /// How it counts, if it is a sequence.
    pub fn sequence(&self) -> Option<&Sequence> {
        match &self.kind {
            RelationKind::Sequence(sequence) => Some(sequence),
            _ => None,
        }
    }

    /// The topic, if it is one.
    pub fn topic(&self) -> Option<&Topic> {
        match &self.kind {
            RelationKind::Topic(topic) => Some(topic),
            _ => None,
        }
    }
}

/// The OIDs that stand as constants in an expression's text.
pub fn oids_in(text: &str) -> impl Iterator<Item = Oid> {
    text.match_indices("'::oid").filter_map(|(end, _)| {
        let start = text[..end].rfind('\'')? + 1;
        text[start..end].parse().ok().map(Oid)
    })
}
