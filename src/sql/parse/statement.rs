//! What a statement can be: our own syntax tree. Queries and writes keep sqlparser's trees, whose spans all stand on
//! line 1 with the column counted in characters of the whole query string, so that a span's start is a position in
//! PostgreSQL's sense. Identifiers are folded already.

use super::{Copy, Definition};
use crate::error::Error;
use crate::txn::LockMode;
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
    /// COPY
    Copy(Box<Copy>),
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
    KillLiveQuery(LiveQueryNumber),
    /// SHOW TOPICS
    ShowTopics,
    /// EXECUTE AS USER
    ExecuteAsUser {
        /// The user id: a string or a parameter.
        user: Box<ast::Expr>,
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
    /// CLOSE; none for ALL.
    Close(Option<String>),
    /// LOCK TABLE
    LockTables(LockTables),
    /// A definition, which [`ddl`](crate::sql::ddl) executes.
    Define(Box<Definition>),
}

/// LOCK TABLE
#[derive(Clone, Debug)]
pub struct LockTables {
    /// The tables.
    pub names: Vec<ObjectName>,
    /// IN … MODE
    pub mode: LockMode,
    /// NOWAIT
    pub nowait: bool,
}

/// EXPLAIN
#[derive(Clone, Debug)]
pub struct Explain {
    /// ANALYZE
    pub analyze: bool,
    /// FORMAT
    pub format: ExplainFormat,
    /// What to explain.
    pub statement: Statement,
}

/// EXPLAIN's formats that we have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainFormat {
    /// TEXT
    #[default]
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
        is_query(&self.name)
    }
}

/// Whether a channel's name is a query: SELECT and white space, in any case.
pub fn is_query(channel: &str) -> bool {
    let bytes = channel.as_bytes();
    bytes.len() > 6 && bytes[..6].eq_ignore_ascii_case(b"select") && bytes[6].is_ascii_whitespace()
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
#[expect(
    clippy::large_enum_variant,
    reason = "parsed once and kept as long as its statement; a box would only add an allocation"
)]
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
#[expect(
    clippy::large_enum_variant,
    reason = "parsed once and kept as long as its statement; a box would only add an allocation"
)]
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

/// The number of a live query, as `system.live` shows it.
#[derive(Clone, Debug)]
pub struct LiveQueryNumber {
    /// The number as text.
    pub text: String,
    /// Where it stands.
    pub position: Option<u32>,
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
