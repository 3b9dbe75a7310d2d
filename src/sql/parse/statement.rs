//! What a statement can be: our own syntax tree. Queries and writes keep sqlparser's trees, whose spans all stand on
//! line 1 with the column counted in characters of the whole query string, so that a span's start is a position in
//! PostgreSQL's sense. Identifiers are folded already.

use crate::catalog::{Payload, SourceOps};
use crate::error::Error;
use crate::types::SqlType;
use sqlparser::ast;

/// One statement of a query string.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it says.
    pub statement: Statement,
    /// Where its text stands in the query string, in bytes, without surrounding white space and semicolon.
    pub range: std::ops::Range<usize>,
    /// Notices that reading it caused: identifiers that were cut.
    pub notices: Vec<Error>,
}

/// A possibly qualified name of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// The schema, if it was given.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// Position of the name's first part.
    pub position: Option<u32>,
}

impl ObjectName {
    /// The name as messages show it.
    pub fn display(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// A statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// SELECT, VALUES, WITH …
    Query(Box<ast::Query>),
    /// INSERT
    Insert(Box<ast::Insert>),
    /// UPDATE
    Update(Box<ast::Update>),
    /// DELETE
    Delete(Box<ast::Delete>),
    /// EXPLAIN
    Explain(Box<Explain>),
    /// CONSUME
    Consume(Box<Consume>),
    /// ACK, NACK, EXTEND, RELEASE of messages
    Settle(Box<Settle>),
    /// RESET CONSUMER GROUP
    ResetGroup(Box<ResetGroup>),
    /// SUBSCRIBE
    Subscribe(Box<Subscribe>),
    /// KILL LIVE QUERY
    KillLiveQuery(ast::Expr),
    /// SHOW TOPICS
    ShowTopics,
    /// EXECUTE AS USER
    ExecuteAsUser {
        /// The user id: a string or a parameter.
        user: ast::Expr,
        /// What to execute.
        statement: Box<Statement>,
    },
    /// LISTEN
    Listen(Channel),
    /// UNLISTEN; none for `*`.
    Unlisten(Option<Channel>),
    /// NOTIFY
    Notify {
        /// The channel.
        channel: Channel,
        /// The payload.
        payload: Option<String>,
    },
    /// BEGIN, START TRANSACTION
    Begin {
        /// Its modes.
        modes: TransactionModes,
        /// Spelled START TRANSACTION, which the command tag repeats.
        start: bool,
    },
    /// COMMIT, END
    Commit {
        /// AND CHAIN
        chain: bool,
    },
    /// ROLLBACK, ABORT
    Rollback {
        /// AND CHAIN
        chain: bool,
    },
    /// SAVEPOINT
    Savepoint(String),
    /// RELEASE SAVEPOINT
    ReleaseSavepoint(String),
    /// ROLLBACK TO SAVEPOINT
    RollbackTo(String),
    /// SET
    Set(Set),
    /// RESET; none for ALL.
    Reset(Option<String>),
    /// SHOW; none for ALL.
    Show(Option<String>),
    /// SET TRANSACTION
    SetTransaction(TransactionModes),
    /// SET SESSION CHARACTERISTICS AS TRANSACTION
    SetCharacteristics(TransactionModes),
    /// DISCARD
    Discard(Discard),
    /// PREPARE
    Prepare {
        /// The prepared statement's name.
        name: String,
        /// Declared types of its parameters.
        types: Vec<SqlType>,
        /// What to prepare.
        statement: Box<Statement>,
    },
    /// EXECUTE of a prepared statement
    Execute {
        /// The prepared statement's name.
        name: String,
        /// Its parameters' values.
        arguments: Vec<ast::Expr>,
    },
    /// DEALLOCATE; none for ALL.
    Deallocate(Option<String>),
    /// A definition, which [`ddl`](crate::sql::ddl) executes.
    Define(Box<Definition>),
}

/// EXPLAIN
#[derive(Clone, Debug)]
pub struct Explain {
    /// ANALYZE
    pub analyze: bool,
    /// VERBOSE
    pub verbose: bool,
    /// COSTS, on unless switched off.
    pub costs: bool,
    /// TIMING, on unless switched off.
    pub timing: bool,
    /// FORMAT
    pub format: ExplainFormat,
    /// What to explain.
    pub statement: Statement,
}

/// EXPLAIN's formats that we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainFormat {
    /// TEXT
    Text,
    /// JSON
    Json,
}

/// A channel's name, whole: the session cuts it at 63 bytes unless it names a relation or a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The name, folded unless quoted.
    pub name: String,
    /// Where it stands.
    pub position: Option<u32>,
}

impl Channel {
    /// The name as PostgreSQL keeps it, 63 bytes at most, with the NOTICE where it was cut.
    pub fn cut(&self) -> (String, Option<Error>) {
        let mut name = self.name.clone();
        let notice = super::lexer::cut_identifier(&mut name);
        (name, notice)
    }

    /// Whether it is a query: SELECT and white space, in any case.
    pub fn is_query(&self) -> bool {
        let bytes = self.name.as_bytes();
        bytes.len() > 6 && bytes[..6].eq_ignore_ascii_case(b"select") && bytes[6].is_ascii_whitespace()
    }
}

/// Where a consumer group or a stateless read begins.
#[derive(Clone, Debug)]
pub enum From {
    /// EARLIEST
    Earliest,
    /// LATEST
    Latest,
    /// An offset, included.
    Offset(ast::Expr),
    /// The first message made at or after a time (RESET CONSUMER GROUP only).
    Timestamp(ast::Expr),
}

/// CONSUME. Every value may be a parameter.
#[derive(Clone, Debug)]
pub struct Consume {
    /// The topic.
    pub topic: ObjectName,
    /// GROUP; an identifier stands here as a string literal.
    pub group: Option<ast::Expr>,
    /// PARTITION
    pub partition: Option<ast::Expr>,
    /// FROM
    pub from: Option<From>,
    /// LIMIT
    pub limit: Option<ast::Expr>,
    /// WAIT
    pub wait: Option<ast::Expr>,
    /// VISIBILITY
    pub visibility: Option<ast::Expr>,
    /// AUTO ACK
    pub auto_ack: bool,
}

/// ACK and its kin.
#[derive(Clone, Debug)]
pub struct Settle {
    /// Which of them.
    pub verb: SettleVerb,
    /// The topic.
    pub topic: ObjectName,
    /// GROUP
    pub group: ast::Expr,
    /// PARTITION
    pub partition: Option<ast::Expr>,
    /// Which messages.
    pub target: SettleTarget,
}

/// What is done with the messages.
#[derive(Clone, Debug)]
pub enum SettleVerb {
    /// ACK
    Ack,
    /// NACK
    Nack {
        /// DELAY
        delay: Option<ast::Expr>,
        /// REASON
        reason: Option<ast::Expr>,
    },
    /// EXTEND … BY
    Extend {
        /// By how much.
        by: ast::Expr,
    },
    /// RELEASE
    Release,
}

/// Which messages are settled.
#[derive(Clone, Debug)]
pub enum SettleTarget {
    /// OFFSET n, …
    Offsets(Vec<ast::Expr>),
    /// UPTO OFFSET n
    UpTo(ast::Expr),
    /// LEASE x, …
    Leases(Vec<ast::Expr>),
}

/// RESET CONSUMER GROUP
#[derive(Clone, Debug)]
pub struct ResetGroup {
    /// The group.
    pub group: ast::Expr,
    /// The topic.
    pub topic: ObjectName,
    /// Where to.
    pub to: From,
}

/// SUBSCRIBE
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The channel: as given, or the text after TO up to OPTIONS or the end.
    pub channel: Channel,
    /// The query; `table WHERE …` stands here as `SELECT * FROM table WHERE …`.
    pub query: Box<ast::Query>,
    /// last_rows
    pub last_rows: Option<ast::Expr>,
    /// batch_size
    pub batch_size: Option<ast::Expr>,
    /// from_seq
    pub from_seq: Option<ast::Expr>,
}

/// Modes of a transaction; none where nothing was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// ISOLATION LEVEL
    pub isolation: Option<Isolation>,
    /// READ ONLY or READ WRITE
    pub read_only: Option<bool>,
    /// DEFERRABLE or NOT DEFERRABLE
    pub deferrable: Option<bool>,
}

/// Isolation levels as named; what each means is the session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// READ UNCOMMITTED
    ReadUncommitted,
    /// READ COMMITTED
    ReadCommitted,
    /// REPEATABLE READ
    RepeatableRead,
    /// SERIALIZABLE
    Serializable,
}

/// SET. SET ROLE and SET SESSION AUTHORIZATION set `role` and `session_authorization`, SET TIME ZONE sets `timezone`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// SET LOCAL
    pub local: bool,
    /// The setting, folded.
    pub name: String,
    /// The values of its list as text; none for DEFAULT.
    pub values: Option<Vec<String>>,
}

/// DISCARD
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// ALL
    All,
    /// PLANS
    Plans,
    /// SEQUENCES
    Sequences,
    /// TEMP, TEMPORARY
    Temp,
}

/// A definition.
#[derive(Clone, Debug)]
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
    /// DROP TABLE, DROP TOPIC
    DropRelation {
        /// DROP TOPIC
        topic: bool,
        /// Names.
        names: Vec<ObjectName>,
        /// IF EXISTS
        if_exists: bool,
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
        name: RoleName,
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
        to: RoleName,
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
            Definition::DropRelation { topic: false, .. } => "DROP TABLE",
            Definition::DropRelation { topic: true, .. } => "DROP TOPIC",
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
    /// The privileges with their positions; none for ALL.
    pub privileges: Option<Vec<crate::catalog::Privilege>>,
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
    /// ALL TABLES IN SCHEMA
    AllTables(Vec<String>),
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
