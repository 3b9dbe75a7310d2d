//! What simulated clients say.

use crate::live::Live;
use crate::model::{Row, Table};
use crate::random::Random;
use crate::shape::Definition;

/// How long a claimed message is hidden, in milliseconds.
pub const VISIBILITY_MS: i64 = 5_000;

/// Which rows a statement is about.
#[derive(Clone, Debug)]
pub enum Filter {
    All,
    Id(i64),
    From(i64),
    Body(String),
    Number(i64),
    Extra(i64),
}

impl Filter {
    pub fn sql(&self) -> String {
        match self {
            Filter::All => "true".to_owned(),
            Filter::Id(id) => format!("id = {id}"),
            Filter::From(id) => format!("id >= {id}"),
            Filter::Body(body) => format!("body = '{body}'"),
            Filter::Number(n) => format!("n = {n}"),
            Filter::Extra(extra) => format!("extra = {extra}"),
        }
    }

    pub fn takes(&self, id: i64, row: &Row) -> bool {
        match self {
            Filter::All => true,
            Filter::Id(wanted) => id == *wanted,
            Filter::From(least) => id >= *least,
            Filter::Body(wanted) => row.body.as_ref() == Some(wanted),
            Filter::Number(wanted) => row.n == *wanted,
            Filter::Extra(wanted) => row.extra == Some(*wanted),
        }
    }
}

/// What an UPDATE sets beside `n`.
#[derive(Clone, Debug)]
pub enum Also {
    Nothing,
    Body(Option<String>),
    Extra(Option<i64>),
}

/// How a transaction is isolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    #[default]
    Committed,
    Repeatable,
    Serializable,
    /// SERIALIZABLE, and only reads.
    ReadOnly,
    /// The same on a snapshot that is waited for.
    Deferrable,
}

impl Level {
    /// Whether all its statements read one snapshot.
    pub fn is_pinned(self) -> bool {
        self != Level::Committed
    }

    pub fn is_serializable(self) -> bool {
        self.is_pinned() && self != Level::Repeatable
    }

    pub fn only_reads(self) -> bool {
        [Level::ReadOnly, Level::Deferrable].contains(&self)
    }

    fn sql(self) -> &'static str {
        match self {
            Level::Committed => "BEGIN",
            Level::Repeatable => "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT current_seq()",
            Level::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT current_seq()",
            Level::ReadOnly => "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SELECT current_seq()",
            Level::Deferrable => "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE; SELECT current_seq()",
        }
    }
}

#[derive(Clone, Debug)]
pub enum Kind {
    Begin(Level),
    /// Names the transaction in the ledger.
    Ledger,
    /// A transaction of one statement.
    Auto,
    Insert(Table, bool, Vec<(i64, Row)>),
    /// `n` becomes one more.
    Bump(Table, Filter, Also),
    Move(Table, i64, i64),
    Delete(Table, Filter),
    Select(Table, Filter),
    Savepoint,
    RollbackTo,
    Release,
    Commit,
    Rollback,
    Snowflake,
    Nextval,
    Define(Table, Definition),
    Consume,
    Ack(Vec<u64>),
    Subscribe(Table),
    /// A live query goes on that an earlier session had.
    Resume(Live),
    Unlisten,
    Listen,
}

impl Kind {
    /// The table that it is about.
    pub fn table(&self) -> Option<Table> {
        match self {
            Kind::Insert(table, ..)
            | Kind::Bump(table, ..)
            | Kind::Move(table, ..)
            | Kind::Delete(table, _)
            | Kind::Select(table, _)
            | Kind::Define(table, _)
            | Kind::Subscribe(table) => Some(*table),
            _ => None,
        }
    }

    /// The rows that it looks for.
    pub fn filter(&self) -> Option<Filter> {
        match self {
            Kind::Bump(_, filter, _) | Kind::Delete(_, filter) | Kind::Select(_, filter) => Some(filter.clone()),
            Kind::Move(_, from, _) => Some(Filter::Id(*from)),
            _ => None,
        }
    }

    /// Whether it names the column `extra`.
    pub fn names_extra(&self) -> bool {
        match self {
            Kind::Bump(_, Filter::Extra(_), _)
            | Kind::Delete(_, Filter::Extra(_))
            | Kind::Select(_, Filter::Extra(_))
            | Kind::Bump(_, _, Also::Extra(_))
            | Kind::Define(_, Definition::DropColumn) => true,
            Kind::Define(_, Definition::CreateIndex(index)) => index.columns.contains(&"extra"),
            _ => false,
        }
    }

    /// As SQL, where that follows from it alone.
    pub fn sql(&self, random: &mut Random) -> String {
        match self {
            Kind::Begin(level) => level.sql().to_owned(),
            Kind::Ledger | Kind::Auto => unreachable!("{self:?} names its transaction"),
            Kind::Insert(table, do_nothing, rows) => {
                let values: Vec<String> =
                    rows.iter().map(|(id, row)| format!("({id}, {}, {})", row.n, quoted(&row.body))).collect();
                let conflict = if *do_nothing { " ON CONFLICT DO NOTHING" } else { "" };
                let (name, values) = (table.name(), values.join(", "));
                format!("INSERT INTO {name} (id, n, body) VALUES {values}{conflict} RETURNING *")
            }
            Kind::Bump(table, filter, also) => {
                let also = match also {
                    Also::Nothing => String::new(),
                    Also::Body(body) => format!(", body = {}", quoted(body)),
                    Also::Extra(extra) => {
                        format!(", extra = {}", extra.map_or("NULL".to_owned(), |extra| extra.to_string()))
                    }
                };
                format!("UPDATE {} SET n = n + 1{also} WHERE {} RETURNING *", table.name(), filter.sql())
            }
            Kind::Move(table, from, to) => {
                format!("UPDATE {} SET id = {to} WHERE id = {from} RETURNING *", table.name())
            }
            Kind::Delete(table, filter) => {
                format!("DELETE FROM {} WHERE {} RETURNING *", table.name(), filter.sql())
            }
            Kind::Select(table, filter) => {
                let way = random.pick(&["", " ORDER BY id", " ORDER BY id DESC", " ORDER BY n"]);
                format!("SELECT *, current_seq() FROM {} WHERE {}{way}", table.name(), filter.sql())
            }
            Kind::Savepoint => "SAVEPOINT a".to_owned(),
            Kind::RollbackTo => "ROLLBACK TO a".to_owned(),
            Kind::Release => "RELEASE a".to_owned(),
            Kind::Commit => "COMMIT".to_owned(),
            Kind::Rollback => "ROLLBACK".to_owned(),
            Kind::Snowflake => "SELECT snowflake_id()".to_owned(),
            Kind::Nextval => "SELECT nextval('q')".to_owned(),
            Kind::Define(table, definition) => definition.sql(*table),
            Kind::Consume => format!("CONSUME FROM evt GROUP g LIMIT 3 VISIBILITY '{VISIBILITY_MS} ms'"),
            Kind::Ack(offsets) => {
                let offsets: Vec<String> = offsets.iter().map(u64::to_string).collect();
                format!("ACK evt GROUP g OFFSET {}", offsets.join(", "))
            }
            Kind::Subscribe(table) => Live::sql(*table, None, random.pick(&["", "1"])),
            Kind::Resume(live) => Live::sql(live.table, live.seq, random.pick(&["", "1"])),
            Kind::Unlisten => "UNLISTEN live".to_owned(),
            Kind::Listen => "LISTEN tx".to_owned(),
        }
    }
}

fn quoted(text: &Option<String>) -> String {
    text.as_ref().map_or("NULL".to_owned(), |text| format!("'{text}'"))
}

/// A statement under way.
pub struct Statement {
    pub sql: String,
    pub kind: Kind,
    /// The last published commit when it began.
    pub from: u64,
    pub time: i64,
    /// The largest SNOWFLAKE_ID that anybody had seen.
    pub ids: i64,
    /// The largest number of the sequence that anybody had seen.
    pub numbers: i64,
}
