//! The tables, their rows as the checker holds them, and rows as events show them.

use crate::place::Wall;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tables of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// SHARED, with a primary key of two columns, of which one is also what subscribers filter by.
    Rooms,
    /// USER.
    Notes,
    /// STREAM.
    Typing,
    /// SHARED, without a primary key.
    Log,
    /// SHARED, with large rows, so that a reader who sleeps is left behind.
    Bulk,
}

/// The tables that everybody writes all the time.
pub const LIVELY: [Table; 4] = [Table::Rooms, Table::Notes, Table::Typing, Table::Log];

/// How long a STREAM row lives, in microseconds.
pub const TTL: Wall = 4_000_000;

/// The columns of every table: name and type as an acknowledgement says it.
pub static COLUMNS: [(&str, &str); 9] = [
    ("id", "bigint"),
    ("room", "integer"),
    ("n", "integer"),
    ("tag", "text"),
    ("price", "numeric"),
    ("at", "timestamp without time zone"),
    ("flag", "boolean"),
    ("body", "text"),
    ("tx", "bigint"),
];

/// What stands between the brackets of each CREATE TABLE, less the key.
pub const DEFINITION: &str = "id BIGINT NOT NULL, room INT, n INT NOT NULL, tag TEXT, price NUMERIC, at TIMESTAMP, \
                              flag BOOLEAN, body TEXT, tx BIGINT NOT NULL";

/// A primary key: `room` where it belongs to it, else 0, and `id`.
pub type Key = (i64, i64);

/// A row as text.
pub type Cells = Vec<Option<Arc<str>>>;

/// A row as an event shows it, members sorted by name, so that equal rows are equal texts.
pub type Image = String;

/// Bytes of a body from which on a row is certainly too large for one payload.
pub const OVERSIZE: usize = 1 << 20;

/// Bytes of a text up to which images hold it as it is.
const SHORT: usize = 1_000;

/// One version of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub cells: Cells,
    /// The position of the commit that wrote it.
    pub seq: u64,
    /// When it vanishes at the earliest and at the latest.
    pub expiry: Option<(Wall, Wall)>,
}

impl Table {
    pub fn name(self) -> &'static str {
        match self {
            Table::Rooms => "live.rooms",
            Table::Notes => "live.notes",
            Table::Typing => "live.typing",
            Table::Log => "live.log",
            Table::Bulk => "live.bulk",
        }
    }

    /// Whether each user has rows of its own.
    pub fn is_scoped(self) -> bool {
        matches!(self, Table::Notes | Table::Typing)
    }

    pub fn is_stream(self) -> bool {
        self == Table::Typing
    }

    /// Whose rows they are when this user asks.
    pub fn scope(self, user: &'static str) -> &'static str {
        if self.is_scoped() { user } else { "" }
    }

    /// What tells rows apart: the primary key, or `id` where there is none and writers take care of it.
    pub fn key(self, cells: &Cells) -> Key {
        let room = if self == Table::Rooms { number(cells, 1).expect("a key is not null") } else { 0 };
        (room, number(cells, 0).expect("a key is not null"))
    }

    /// The columns of the primary key.
    pub fn key_columns(self) -> &'static [usize] {
        match self {
            Table::Rooms => &[0, 1],
            Table::Log => &[],
            Table::Notes | Table::Typing | Table::Bulk => &[0],
        }
    }
}

pub fn number(cells: &Cells, column: usize) -> Option<i64> {
    cells[column].as_ref().map(|text| text.parse().expect("an integer"))
}

impl Row {
    pub fn number(&self, column: usize) -> Option<i64> {
        number(&self.cells, column)
    }

    pub fn text(&self, column: usize) -> Option<&str> {
        self.cells[column].as_deref()
    }

    /// Whether it is too large for a payload.
    pub fn is_oversize(&self) -> bool {
        self.text(7).is_some_and(|body| body.len() >= OVERSIZE)
    }
}

/// A value as an event shows it.
pub fn json_of(kind: &str, text: Option<&str>) -> String {
    let Some(text) = text else { return "null".into() };
    match kind {
        "integer" => text.into(),
        "boolean" => (text == "t").to_string(),
        "timestamp without time zone" => quoted(&text.replace(' ', "T")),
        _ => quoted(text),
    }
}

/// Text as JSON; of long text its length and checksum.
fn quoted(text: &str) -> String {
    if text.len() > SHORT {
        return format!("{} bytes {:x}", text.len(), crc32fast::hash(text.as_bytes()));
    }
    serde_json::to_string(text).expect("text is JSON")
}

fn shown(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), quoted)
}

/// An object of these members.
pub fn image(members: &BTreeMap<&str, String>) -> Image {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    format!("{{{}}}", members.join(","))
}

/// A row of an event, with all its members or, given the columns, without what was added to them.
pub fn image_of(row: &Json, columns: Option<&[(String, String)]>) -> Image {
    let members = row.as_object().expect("a row is an object");
    let is_oversize = members.contains_key("oversize");
    let wanted = |name: &str| columns.is_none_or(|columns| columns.iter().any(|(column, _)| column == name));
    let members = members.iter().filter(|(name, _)| is_oversize || wanted(name));
    image(&members.map(|(name, value)| (name.as_str(), shown(value))).collect())
}

/// A row of a SELECT as an event would show it.
pub fn image_of_cells(cells: &Cells, columns: &[(String, String)]) -> Image {
    let values = columns.iter().zip(cells);
    let body = values.clone().find(|((name, _), _)| name == "body").and_then(|(_, cell)| cell.as_ref());
    let is_oversize = body.is_some_and(|body| body.len() >= OVERSIZE);
    let shown = values.filter(|((name, _), _)| !is_oversize || name == "id");
    let mut members: BTreeMap<&str, String> =
        shown.map(|((name, kind), cell)| (name.as_str(), json_of(kind, cell.as_deref()))).collect();
    if is_oversize {
        members.insert("oversize", "true".into());
    }
    image(&members)
}
