//! What a subscriber asks for: as SQL, and as the checker's own reading of it.

use crate::support::random::Random;
use crate::table::{COLUMNS, Image, Row, Table, image, json_of};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A condition: its SQL with parameters, how many it has, and its truth for a row.
struct Filter {
    sql: &'static str,
    parameters: usize,
    holds: fn(&Row, &[i64]) -> Option<bool>,
}

/// SQL's AND and OR, which know three truths.
fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn or(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    and(left.map(|truth| !truth), right.map(|truth| !truth)).map(|truth| !truth)
}

fn id(row: &Row) -> i64 {
    row.number(0).expect("an id")
}

fn n(row: &Row) -> i64 {
    row.number(2).expect("n is not null")
}

fn price(row: &Row) -> Option<f64> {
    row.text(4).map(|text| text.parse().expect("a price"))
}

static FILTERS: [Filter; 12] = [
    Filter { sql: "true", parameters: 0, holds: |_, _| Some(true) },
    Filter { sql: "n % 3 = 0", parameters: 0, holds: |row, _| Some(n(row) % 3 == 0) },
    Filter {
        sql: "tag LIKE 'a%' AND n < 60",
        parameters: 0,
        holds: |row, _| and(row.text(3).map(|tag| tag.starts_with('a')), Some(n(row) < 60)),
    },
    Filter { sql: "room = $1", parameters: 1, holds: |row, given| row.number(1).map(|room| room == given[0]) },
    Filter {
        sql: "room IN ($1, 2) OR n > $2 * 20",
        parameters: 2,
        holds: |row, given| or(row.number(1).map(|room| room == given[0] || room == 2), Some(n(row) > given[1] * 20)),
    },
    Filter {
        sql: "tag IS NULL OR flag",
        parameters: 0,
        holds: |row, _| or(Some(row.text(3).is_none()), row.text(6).map(|flag| flag == "t")),
    },
    Filter {
        sql: "n BETWEEN $1 * 10 AND $2 * 25",
        parameters: 2,
        holds: |row, given| Some(n(row) >= given[0] * 10 && n(row) <= given[1] * 25),
    },
    Filter {
        sql: "length(body) > 40",
        parameters: 0,
        holds: |row, _| row.text(7).map(|body| body.chars().count() > 40),
    },
    Filter {
        sql: "id % 2 = 0 AND tag <> 'ab'",
        parameters: 0,
        holds: |row, _| and(Some(id(row) % 2 == 0), row.text(3).map(|tag| tag != "ab")),
    },
    Filter { sql: "price >= 10.5", parameters: 0, holds: |row, _| price(row).map(|price| price >= 10.5) },
    Filter {
        sql: "at >= '2024-06-01 00:00:00'",
        parameters: 0,
        holds: |row, _| row.text(5).map(|at| at >= "2024-06-01 00:00:00"),
    },
    Filter {
        sql: "NOT (room = $1 AND flag)",
        parameters: 1,
        holds: |row, given| {
            let inner = and(row.number(1).map(|room| room == given[0]), row.text(6).map(|flag| flag == "t"));
            inner.map(|truth| !truth)
        },
    },
];

/// A column of the result: its SQL, name and type, and its value as text.
struct Item {
    sql: &'static str,
    name: &'static str,
    kind: &'static str,
    value: fn(&Row) -> Option<String>,
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

static EXPRESSIONS: [Item; 6] = [
    Item { sql: "n * 10 AS tens", name: "tens", kind: "integer", value: |row| Some((n(row) * 10).to_string()) },
    Item {
        sql: "length(body) AS size",
        name: "size",
        kind: "integer",
        value: |row| row.text(7).map(|body| body.chars().count().to_string()),
    },
    Item { sql: "upper(tag) AS loud", name: "loud", kind: "text", value: |row| row.text(3).map(str::to_uppercase) },
    Item {
        sql: "coalesce(tag, '-') AS label",
        name: "label",
        kind: "text",
        value: |row| Some(row.text(3).unwrap_or("-").to_owned()),
    },
    Item { sql: "id + 1 AS next", name: "next", kind: "bigint", value: |row| Some((id(row) + 1).to_string()) },
    Item { sql: "_seq", name: "_seq", kind: "bigint", value: |row| Some(row.seq.to_string()) },
];

/// Which columns, in which order: a column of the table by its index, an expression by its index after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column(usize);

impl Column {
    pub fn name(self) -> &'static str {
        COLUMNS.get(self.0).map_or_else(|| EXPRESSIONS[self.0 - COLUMNS.len()].name, |column| column.0)
    }

    pub fn kind(self) -> &'static str {
        COLUMNS.get(self.0).map_or_else(|| EXPRESSIONS[self.0 - COLUMNS.len()].kind, |column| column.1)
    }

    fn sql(self) -> &'static str {
        COLUMNS.get(self.0).map_or_else(|| EXPRESSIONS[self.0 - COLUMNS.len()].sql, |column| column.0)
    }

    fn value(self, row: &Row) -> Option<String> {
        match COLUMNS.get(self.0) {
            Some(_) => owned(row.text(self.0)),
            None => (EXPRESSIONS[self.0 - COLUMNS.len()].value)(row),
        }
    }
}

/// Columns and a condition over one table, for one user.
#[derive(Clone, Debug)]
pub struct Query {
    pub table: Table,
    /// Whose rows, where each user has its own.
    pub user: &'static str,
    pub columns: Vec<Column>,
    /// The condition's number.
    pub filter: usize,
    /// What the condition's parameters are.
    pub values: Vec<i64>,
    /// ORDER BY n DESC, id, room.
    pub ordered: bool,
    pub limit: Option<u64>,
}

impl Query {
    /// All columns of the rows that meet some condition.
    pub fn of(table: Table, user: &'static str, random: &mut Random) -> Query {
        let filter = random.below(FILTERS.len() as u64) as usize;
        let values = (0..FILTERS[filter].parameters).map(|_| 1 + random.below(5) as i64).collect();
        let columns = (0..COLUMNS.len()).map(Column).collect();
        Query { table, user, columns, filter, values, ordered: false, limit: None }
    }

    /// Chooses columns and expressions; `id` is among them where events could not be told apart without.
    pub fn project(&mut self, random: &mut Random) {
        let all = COLUMNS.len() + EXPRESSIONS.len();
        self.columns = (0..all).map(Column).filter(|_| random.once_in(3)).collect();
        let needs_id = self.table.is_stream() || self.table == Table::Bulk || self.columns.is_empty();
        if needs_id && !self.columns.contains(&Column(0)) {
            self.columns.push(Column(0));
        }
        if random.once_in(2) {
            self.columns.reverse();
        }
    }

    /// The whole table as its name alone means it.
    pub fn whole(&mut self) {
        (self.filter, self.values) = (0, Vec::new());
        self.columns = (0..COLUMNS.len()).map(Column).collect();
    }

    /// All rows, with large values as their length only.
    pub fn without_bodies(&mut self) {
        (self.filter, self.values) = (0, Vec::new());
        self.columns = [0, 2, COLUMNS.len() + 1].map(Column).into();
    }

    /// The condition, its parameters `$n` or literals.
    pub fn condition(&self, with_parameters: bool) -> String {
        let mut sql = FILTERS[self.filter].sql.to_owned();
        if !with_parameters {
            for (at, value) in self.values.iter().enumerate() {
                sql = sql.replace(&format!("${}", at + 1), &value.to_string());
            }
        }
        sql
    }

    /// The SELECT.
    pub fn select(&self, with_parameters: bool) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|column| column.sql()).collect();
        let mut sql = format!(
            "SELECT {} FROM {} WHERE {}",
            columns.join(", "),
            self.table.name(),
            self.condition(with_parameters)
        );
        if self.ordered {
            sql += " ORDER BY n DESC, id, room";
        }
        if let Some(limit) = self.limit {
            sql += &format!(" LIMIT {limit}");
        }
        sql
    }

    /// The result's columns as an acknowledgement says them.
    pub fn described(&self) -> Vec<(String, String)> {
        self.columns.iter().map(|column| (column.name().to_owned(), column.kind().to_owned())).collect()
    }

    /// Whether the row is of the result.
    pub fn holds(&self, row: &Row) -> bool {
        (FILTERS[self.filter].holds)(row, &self.values) == Some(true)
    }

    /// A row of the result as an event shows it: an insert's, or with the primary key one of the others'.
    pub fn image(&self, row: &Row, with_key: bool) -> Image {
        let mut members: BTreeMap<&str, String> = BTreeMap::new();
        let is_oversize = self.columns.contains(&Column(7)) && row.is_oversize();
        if is_oversize {
            members.insert("oversize", "true".into());
        } else {
            for column in &self.columns {
                members.insert(column.name(), json_of(column.kind(), column.value(row).as_deref()));
            }
        }
        if with_key || is_oversize {
            for &column in self.table.key_columns() {
                let (name, kind) = COLUMNS[column];
                members.insert(name, json_of(kind, row.text(column)));
            }
        }
        image(&members)
    }

    /// The result's order: what ORDER BY says, else the primary key's.
    pub fn order(&self, left: &Row, right: &Row) -> Ordering {
        if self.ordered {
            let by_key = id(left).cmp(&id(right)).then(left.number(1).cmp(&right.number(1)));
            return n(right).cmp(&n(left)).then(by_key);
        }
        self.table.key(&left.cells).cmp(&self.table.key(&right.cells))
    }
}
