//! What a definition can be: schemas, tables, topics, roles and grants, as they were written.

use super::{Dropped, ObjectName};
use crate::catalog::{Payload, SourceOps};
use crate::types::SqlType;
use sqlparser::ast;

/// A definition.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "parsed once and kept as long as its statement; a box would only add an allocation"
)]
pub enum Definition {
    /// CREATE SCHEMA
    CreateSchema {
        /// Name; none with AUTHORIZATION alone, which takes the role's.
        name: Option<String>,
        /// IF NOT EXISTS
        if_not_exists: bool,
        /// AUTHORIZATION
        authorization: Option<RoleName>,
    },
    /// ALTER SCHEMA … RENAME TO
    RenameSchema {
        /// The old name.
        name: String,
        /// The new name.
        to: String,
    },
    /// ALTER SCHEMA … OWNER TO
    SchemaOwner {
        /// The schema.
        name: String,
        /// The new owner.
        owner: RoleName,
    },
    /// DROP SCHEMA
    DropSchema {
        /// Names.
        names: Vec<String>,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
    /// CREATE TABLE
    CreateTable(CreateTable),
    /// ALTER TABLE
    AlterTable {
        /// The table.
        name: ObjectName,
        /// IF EXISTS
        if_exists: bool,
        /// What to do, in order.
        actions: Vec<AlterTable>,
    },
    /// CREATE SEQUENCE
    CreateSequence {
        /// Name.
        name: ObjectName,
        /// IF NOT EXISTS
        if_not_exists: bool,
        /// How it counts.
        options: Vec<SequenceOption>,
    },
    /// ALTER SEQUENCE
    AlterSequence {
        /// The sequence.
        name: ObjectName,
        /// IF EXISTS
        if_exists: bool,
        /// What to do.
        action: AlterSequence,
    },
    /// DROP TABLE, DROP TOPIC, DROP SEQUENCE
    DropRelation {
        /// Which of them.
        kind: Dropped,
        /// Names.
        names: Vec<ObjectName>,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
    /// CREATE INDEX
    CreateIndex(CreateIndex),
    /// ALTER INDEX … RENAME TO
    RenameIndex {
        /// The index.
        name: ObjectName,
        /// IF EXISTS
        if_exists: bool,
        /// The new name.
        to: String,
    },
    /// DROP INDEX
    DropIndex {
        /// Names.
        names: Vec<ObjectName>,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
    /// TRUNCATE
    Truncate {
        /// Names.
        names: Vec<ObjectName>,
        /// RESTART IDENTITY
        restart: bool,
        /// CASCADE
        cascade: bool,
    },
    /// CREATE TOPIC
    CreateTopic {
        /// Name.
        name: ObjectName,
        /// IF NOT EXISTS
        if_not_exists: bool,
        /// PARTITIONS
        partitions: Option<i64>,
        /// WITH
        options: Vec<Opt>,
    },
    /// ALTER TOPIC
    AlterTopic {
        /// The topic.
        name: ObjectName,
        /// What to do.
        action: AlterTopic,
    },
    /// CLEAR TOPIC
    ClearTopic(ObjectName),
    /// CREATE ROLE, CREATE USER
    CreateRole {
        /// Name.
        name: String,
        /// Spelled CREATE USER: LOGIN unless said otherwise.
        login: bool,
        /// Attributes.
        options: Vec<RoleOption>,
    },
    /// ALTER ROLE, ALTER USER
    AlterRole {
        /// The role.
        name: RoleName,
        /// Attributes.
        options: Vec<RoleOption>,
    },
    /// ALTER ROLE … RENAME TO
    RenameRole {
        /// The old name.
        name: RoleName,
        /// The new name.
        to: String,
    },
    /// DROP ROLE, DROP USER
    DropRole {
        /// Names.
        names: Vec<RoleName>,
        /// IF EXISTS
        if_exists: bool,
    },
    /// GRANT and REVOKE on objects
    Grant(Grant),
    /// GRANT and REVOKE of memberships
    GrantRole(GrantRole),
}

impl Definition {
    /// The command tag.
    pub fn tag(&self) -> &'static str {
        match self {
            Definition::CreateSchema { .. } => "CREATE SCHEMA",
            Definition::RenameSchema { .. } | Definition::SchemaOwner { .. } => "ALTER SCHEMA",
            Definition::DropSchema { .. } => "DROP SCHEMA",
            Definition::CreateTable(_) => "CREATE TABLE",
            Definition::AlterTable { .. } => "ALTER TABLE",
            Definition::CreateSequence { .. } => "CREATE SEQUENCE",
            Definition::AlterSequence { .. } => "ALTER SEQUENCE",
            Definition::DropRelation { kind: Dropped::Table, .. } => "DROP TABLE",
            Definition::DropRelation { kind: Dropped::Topic, .. } => "DROP TOPIC",
            Definition::DropRelation { kind: Dropped::Sequence, .. } => "DROP SEQUENCE",
            Definition::CreateIndex(_) => "CREATE INDEX",
            Definition::RenameIndex { .. } => "ALTER INDEX",
            Definition::DropIndex { .. } => "DROP INDEX",
            Definition::Truncate { .. } => "TRUNCATE TABLE",
            Definition::CreateTopic { .. } => "CREATE TOPIC",
            Definition::AlterTopic { .. } => "ALTER TOPIC",
            Definition::ClearTopic(_) => "CLEAR TOPIC",
            Definition::CreateRole { .. } => "CREATE ROLE",
            Definition::AlterRole { .. } | Definition::RenameRole { .. } => "ALTER ROLE",
            Definition::DropRole { .. } => "DROP ROLE",
            Definition::Grant(grant) if grant.revoke => "REVOKE",
            Definition::GrantRole(grant) if grant.revoke => "REVOKE ROLE",
            Definition::Grant(_) => "GRANT",
            Definition::GrantRole(_) => "GRANT ROLE",
        }
    }
}

/// An expression of a definition: its tree, and its text to be kept.
#[derive(Clone, Debug)]
pub struct Expression {
    /// The tree, with positions in the whole query string.
    pub expr: ast::Expr,
    /// The text as written.
    pub text: String,
}

/// CREATE TABLE
#[derive(Clone, Debug)]
pub struct CreateTable {
    /// Name.
    pub name: ObjectName,
    /// IF NOT EXISTS
    pub if_not_exists: bool,
    /// Columns.
    pub columns: Vec<ColumnDefinition>,
    /// Constraints of the table.
    pub constraints: Vec<Constraint>,
    /// WITH
    pub options: Vec<Opt>,
}

/// CREATE INDEX
#[derive(Clone, Debug)]
pub struct CreateIndex {
    /// Name; none for one that is chosen.
    pub name: Option<String>,
    /// IF NOT EXISTS
    pub if_not_exists: bool,
    /// UNIQUE
    pub unique: bool,
    /// The table.
    pub table: ObjectName,
    /// What it is sorted by.
    pub columns: Vec<IndexedColumn>,
}

/// A column of an index.
#[derive(Clone, Debug)]
pub struct IndexedColumn {
    /// The column.
    pub name: ColumnName,
    /// DESC
    pub descending: bool,
    /// NULLS FIRST, or DESC without anything about NULLs.
    pub nulls_first: bool,
}

/// A column's definition.
#[derive(Clone, Debug)]
pub struct ColumnDefinition {
    /// Name.
    pub name: String,
    /// Where it stands.
    pub position: Option<u32>,
    /// Type.
    pub ty: SqlType,
    /// NOT NULL (true), NULL (false), or nothing.
    pub not_null: Option<bool>,
    /// DEFAULT
    pub default: Option<Expression>,
    /// The column's other constraints.
    pub constraints: Vec<Constraint>,
}

/// A constraint.
#[derive(Clone, Debug)]
pub struct Constraint {
    /// Its name, if given.
    pub name: Option<String>,
    /// Where it stands.
    pub position: Option<u32>,
    /// What it demands.
    pub kind: ConstraintKind,
}

/// What a constraint demands. A column's own constraint names that column.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "parsed once and kept as long as its statement; a box would only add an allocation"
)]
pub enum ConstraintKind {
    /// PRIMARY KEY
    PrimaryKey(Vec<ColumnName>),
    /// UNIQUE
    Unique(Vec<ColumnName>),
    /// CHECK
    Check(Expression),
}

/// A column's name in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnName {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub position: Option<u32>,
}

/// One WITH or SET option.
#[derive(Clone, Debug)]
pub struct Opt {
    /// The option's name, folded.
    pub name: String,
    /// The value: a string's content, a number, a word; none where only the name stands.
    pub value: Option<String>,
    /// Where the name stands.
    pub position: Option<u32>,
}

/// One action of ALTER TABLE.
#[derive(Clone, Debug)]
pub enum AlterTable {
    /// ADD COLUMN
    AddColumn {
        /// The column.
        column: ColumnDefinition,
        /// IF NOT EXISTS
        if_not_exists: bool,
    },
    /// DROP COLUMN
    DropColumn {
        /// The column.
        name: ColumnName,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
    /// ALTER COLUMN … SET DEFAULT (some), DROP DEFAULT (none)
    Default {
        /// The column.
        name: ColumnName,
        /// The default.
        default: Option<Expression>,
    },
    /// ALTER COLUMN … SET NOT NULL (true), DROP NOT NULL (false)
    NotNull {
        /// The column.
        name: ColumnName,
        /// SET
        set: bool,
    },
    /// ALTER COLUMN … TYPE
    Type {
        /// The column.
        name: ColumnName,
        /// The new type.
        ty: SqlType,
        /// USING
        using: Option<Expression>,
    },
    /// ADD constraint
    AddConstraint(Constraint),
    /// DROP CONSTRAINT
    DropConstraint {
        /// The constraint.
        name: String,
        /// IF EXISTS
        if_exists: bool,
    },
    /// RENAME TO
    Rename(String),
    /// RENAME COLUMN
    RenameColumn {
        /// The old name.
        name: ColumnName,
        /// The new name.
        to: String,
    },
    /// RENAME CONSTRAINT
    RenameConstraint {
        /// The old name.
        name: String,
        /// The new name.
        to: String,
    },
    /// OWNER TO
    Owner(RoleName),
    /// SET SCHEMA
    Schema(String),
}

/// What ALTER TOPIC does.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "parsed once and kept as long as its statement; a box would only add an allocation"
)]
pub enum AlterTopic {
    /// ADD SOURCE
    AddSource(TopicSource),
    /// DROP SOURCE
    DropSource(ObjectName),
    /// SET (…)
    Set(Vec<Opt>),
    /// OWNER TO
    Owner(RoleName),
    /// RENAME TO
    Rename(String),
}

/// What ALTER SEQUENCE does.
#[derive(Clone, Debug)]
pub enum AlterSequence {
    /// How it counts.
    Options(Vec<SequenceOption>),
    /// OWNER TO
    Owner(RoleName),
    /// RENAME TO
    Rename(String),
    /// SET SCHEMA
    Schema(String),
}

/// An option of a sequence.
#[derive(Clone, Debug)]
pub struct SequenceOption {
    /// What it sets.
    pub setting: SequenceSetting,
    /// Where it stands.
    pub position: Option<u32>,
}

/// What an option of a sequence sets.
#[derive(Clone, Copy, Debug)]
pub enum SequenceSetting {
    /// AS
    As(SqlType),
    /// INCREMENT
    Increment(i64),
    /// MINVALUE; none for NO MINVALUE
    Min(Option<i64>),
    /// MAXVALUE; none for NO MAXVALUE
    Max(Option<i64>),
    /// START
    Start(i64),
    /// RESTART; none without a value
    Restart(Option<i64>),
    /// CACHE
    Cache(i64),
    /// CYCLE, NO CYCLE
    Cycle(bool),
    /// OWNED BY NONE
    OwnedByNone,
}

/// ADD SOURCE
#[derive(Clone, Debug)]
pub struct TopicSource {
    /// The table.
    pub table: ObjectName,
    /// ON …
    pub ops: SourceOps,
    /// WHERE
    pub filter: Option<Expression>,
    /// PARTITION BY
    pub partition_by: Vec<ColumnName>,
    /// WITH (payload = …)
    pub payload: Option<Payload>,
}

/// A role where one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// By name.
    Named(String, Option<u32>),
    /// CURRENT_USER, CURRENT_ROLE
    Current,
    /// SESSION_USER
    Session,
    /// PUBLIC
    Public,
}

/// One attribute in CREATE ROLE or ALTER ROLE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleOption {
    /// SUPERUSER, NOSUPERUSER
    Superuser(bool),
    /// SERVICE, NOSERVICE
    Service(bool),
    /// LOGIN, NOLOGIN
    Login(bool),
    /// INHERIT, NOINHERIT
    Inherit(bool),
    /// CREATEROLE, NOCREATEROLE
    CreateRole(bool),
    /// CREATEDB, NOCREATEDB
    CreateDb(bool),
    /// CONNECTION LIMIT
    ConnectionLimit(i64),
    /// PASSWORD as a SCRAM verifier already; none for PASSWORD NULL. The password itself is kept nowhere.
    Password(Option<String>),
    /// IN ROLE
    InRole(Vec<RoleName>),
    /// ROLE, USER: these become members.
    Members(Vec<RoleName>),
    /// ADMIN: these become members with ADMIN OPTION.
    Admins(Vec<RoleName>),
}

/// GRANT and REVOKE on objects.
#[derive(Clone, Debug)]
pub struct Grant {
    /// REVOKE
    pub revoke: bool,
    /// WITH GRANT OPTION, or GRANT OPTION FOR
    pub grant_option: bool,
    /// The privileges' names, whether or not there are such; none for ALL.
    pub privileges: Option<Vec<String>>,
    /// On what.
    pub on: GrantTarget,
    /// To or from whom.
    pub grantees: Vec<RoleName>,
    /// CASCADE of a REVOKE
    pub cascade: bool,
}

/// What a grant is about.
#[derive(Clone, Debug)]
pub enum GrantTarget {
    /// Tables and topics by name.
    Relations {
        /// The names.
        names: Vec<ObjectName>,
        /// Spelled ON TOPIC.
        topic: bool,
    },
    /// Sequences by name.
    Sequences(Vec<ObjectName>),
    /// ALL TABLES IN SCHEMA
    AllTables(Vec<String>),
    /// ALL SEQUENCES IN SCHEMA
    AllSequences(Vec<String>),
    /// Schemas
    Schemas(Vec<String>),
}

/// GRANT and REVOKE of memberships.
#[derive(Clone, Debug)]
pub struct GrantRole {
    /// REVOKE
    pub revoke: bool,
    /// WITH ADMIN OPTION, or ADMIN OPTION FOR
    pub admin: bool,
    /// The roles whose membership it is.
    pub roles: Vec<RoleName>,
    /// Who becomes or ends being a member.
    pub members: Vec<RoleName>,
}
