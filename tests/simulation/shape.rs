//! What a table looks like, and what definitions make of it and of its rows.

use crate::model::{Row, Table};
use bytes::Bytes;
use std::collections::BTreeSet;
use tertulia::catalog::Relation;
use tertulia::encoding::row::{RowLayout, RowView};
use tertulia::types::{SqlType, Value};

/// A column; the name of a dropped one is nobody's.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: &'static str,
    pub ty: SqlType,
    pub dropped: bool,
}

/// An index `i<number>`.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    pub number: u32,
    pub unique: bool,
    pub columns: &'static [&'static str],
}

/// A definition of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Definition {
    Create,
    Drop,
    CreateIndex(Index),
    DropIndex(u32),
    /// The column `extra` with its default.
    AddColumn(Option<i64>),
    DropColumn,
    /// `n` is of another type, or all of it greater by so much, or both.
    Retype {
        wide: bool,
        by: i64,
    },
    Truncate,
}

impl Definition {
    pub fn sql(&self, table: Table) -> String {
        let name = table.name();
        match self {
            Definition::Create => {
                format!("CREATE TABLE {name} (id INT PRIMARY KEY, n INT NOT NULL, body TEXT UNIQUE)")
            }
            Definition::Drop => format!("DROP TABLE {name}"),
            Definition::CreateIndex(Index { number, unique, columns }) => {
                let unique = if *unique { "UNIQUE " } else { "" };
                format!("CREATE {unique}INDEX i{number} ON {name} ({})", columns.join(", "))
            }
            Definition::DropIndex(number) => format!("DROP INDEX i{number}"),
            Definition::AddColumn(Some(default)) => {
                format!("ALTER TABLE {name} ADD COLUMN extra INT DEFAULT {default}")
            }
            Definition::AddColumn(None) => format!("ALTER TABLE {name} ADD COLUMN extra INT"),
            Definition::DropColumn => format!("ALTER TABLE {name} DROP COLUMN extra"),
            Definition::Retype { wide, by } => {
                let ty = if *wide { "BIGINT" } else { "INT" };
                let using = if *by == 0 { String::new() } else { format!(" USING n + {by}") };
                format!("ALTER TABLE {name} ALTER COLUMN n TYPE {ty}{using}")
            }
            Definition::Truncate => format!("TRUNCATE {name}"),
        }
    }

    /// What is counted of it.
    pub fn kind(&self) -> &'static str {
        match self {
            Definition::Create => "CREATE TABLE",
            Definition::Drop => "DROP TABLE",
            Definition::CreateIndex(Index { unique: true, .. }) => "CREATE UNIQUE INDEX",
            Definition::CreateIndex(_) => "CREATE INDEX",
            Definition::DropIndex(_) => "DROP INDEX",
            Definition::AddColumn(_) => "ADD COLUMN",
            Definition::DropColumn => "DROP COLUMN",
            Definition::Retype { .. } => "ALTER COLUMN TYPE",
            Definition::Truncate => "TRUNCATE",
        }
    }

    /// A row after it; none where it takes all rows away.
    pub fn of_row(&self, row: &Row) -> Option<Row> {
        match self {
            Definition::Create | Definition::CreateIndex(_) | Definition::DropIndex(_) => Some(row.clone()),
            Definition::Drop | Definition::Truncate => None,
            Definition::AddColumn(default) => Some(Row { extra: *default, ..row.clone() }),
            Definition::DropColumn => Some(Row { extra: None, ..row.clone() }),
            Definition::Retype { by, .. } => Some(Row { n: row.n + by, ..row.clone() }),
        }
    }
}

/// What a table looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    pub version: u16,
    pub columns: Vec<Column>,
    pub indexes: Vec<Index>,
    /// The default of `extra`.
    pub default: Option<i64>,
    /// The definition that made this version of the rows.
    pub made: Option<Definition>,
}

impl Shape {
    /// A table as all are made.
    pub fn new() -> Shape {
        let column = |(name, ty)| Column { name, ty, dropped: false };
        let columns = [("id", SqlType::INT4), ("n", SqlType::INT4), ("body", SqlType::TEXT)];
        Shape { version: 0, columns: columns.map(column).to_vec(), indexes: Vec::new(), default: None, made: None }
    }

    /// The names of the columns that are there.
    pub fn names(&self) -> Vec<&'static str> {
        self.columns.iter().filter(|column| !column.dropped).map(|column| column.name).collect()
    }

    pub fn has_extra(&self) -> bool {
        self.names().contains(&"extra")
    }

    fn column(&mut self, name: &str) -> &mut Column {
        let found = self.columns.iter_mut().find(|column| column.name == name && !column.dropped);
        found.unwrap_or_else(|| panic!("column {name} is not there"))
    }

    /// Whether a definition puts the rows into another storage.
    pub fn is_replaced_by(&self, definition: &Definition) -> bool {
        match definition {
            Definition::Truncate => true,
            Definition::Retype { wide, by } => *by != 0 || *wide != (self.columns[1].ty == SqlType::INT8),
            _ => false,
        }
    }

    /// The table after a definition of it.
    pub fn define(&mut self, definition: &Definition) {
        let version = self.version;
        match definition {
            Definition::Create | Definition::Drop | Definition::Truncate => {}
            Definition::CreateIndex(index) => {
                let missing = index.columns.iter().find(|column| !self.names().contains(column));
                assert_eq!(missing, None, "{index:?} is over a column that is not there");
                self.indexes.push(index.clone());
            }
            Definition::DropIndex(number) => {
                let before = self.indexes.len();
                self.indexes.retain(|index| index.number != *number);
                assert!(self.indexes.len() < before, "i{number} is dropped and was not there");
            }
            Definition::AddColumn(default) => {
                assert!(!self.has_extra(), "a column is added twice");
                self.columns.push(Column { name: "extra", ty: SqlType::INT4, dropped: false });
                self.default = *default;
                self.version += 1;
            }
            Definition::DropColumn => {
                self.column("extra").dropped = true;
                self.indexes.retain(|index| !index.columns.contains(&"extra"));
                self.default = None;
                self.version += 1;
            }
            Definition::Retype { wide, .. } => {
                self.column("n").ty = if *wide { SqlType::INT8 } else { SqlType::INT4 };
                self.version += 1;
            }
        }
        if self.version > version {
            self.made = Some(definition.clone());
        }
    }

    /// A row of a table that looks like this, as it is stored, with its id.
    pub fn decode(&self, row: &Bytes) -> (i64, Row) {
        let types: Vec<SqlType> = self.columns.iter().map(|column| column.ty).collect();
        let layout = RowLayout::new(&types);
        let view = RowView::new(row.clone(), &layout).expect("a row");
        let value = |name: &str| {
            let at = self.columns.iter().position(|column| column.name == name && !column.dropped)?;
            Some(view.column(at).expect("a column").expect("a row has the columns of its version"))
        };
        let number = |value: Option<Value>| match value {
            Some(Value::Int(number)) => Some(number),
            _ => None,
        };
        let body = match value("body") {
            Some(Value::Text(body)) => Some(body.to_string()),
            _ => None,
        };
        let (id, n, extra) = (number(value("id")), number(value("n")), number(value("extra")));
        (id.expect("an id"), Row { n: n.expect("a number"), body, extra })
    }

    /// Two rows that a unique key forbids beside each other.
    pub fn duplicate<'r>(&self, rows: impl Iterator<Item = (i64, &'r Row)> + Clone) -> Option<(i64, i64)> {
        let own = self.indexes.iter().filter(|index| index.unique).map(|index| index.columns);
        own.chain([&["body"][..]]).find_map(|columns| duplicate(columns, rows.clone()))
    }

    /// The catalog says the same of it.
    pub fn check(&self, relation: &Relation) {
        let name = &relation.name;
        assert_eq!(relation.row_version, self.version, "the version of {name}'s rows");
        let shown = |name: &str, ty: SqlType, dropped: bool| match dropped {
            true => "dropped".to_owned(),
            false => format!("{name} {ty:?}"),
        };
        let columns = relation.columns.iter();
        let columns: Vec<_> = columns.map(|column| shown(&column.name, column.ty, column.dropped)).collect();
        let wanted: Vec<_> = self.columns.iter().map(|column| shown(column.name, column.ty, column.dropped)).collect();
        assert_eq!(columns, wanted, "the columns of {name}");
        let indexes: BTreeSet<(String, bool, Vec<String>)> = relation
            .indexes
            .iter()
            .map(|index| (index.name.clone(), index.unique, relation.index_column_names(&index.columns)))
            .collect();
        let named = |index: &Index| {
            let columns = index.columns.iter().map(|column| (*column).to_owned()).collect();
            (format!("i{}", index.number), index.unique, columns)
        };
        assert_eq!(indexes, self.indexes.iter().map(named).collect(), "the indexes of {name}");
    }
}

/// Two rows with the same values in some columns, none of them NULL.
pub fn duplicate<'r>(columns: &[&str], rows: impl Iterator<Item = (i64, &'r Row)>) -> Option<(i64, i64)> {
    let mut seen: std::collections::BTreeMap<Vec<String>, i64> = Default::default();
    for (id, row) in rows {
        let value = |column: &&str| match *column {
            "n" => Some(row.n.to_string()),
            "body" => row.body.clone(),
            _ => row.extra.map(|extra| extra.to_string()),
        };
        if let Some(values) = columns.iter().map(value).collect::<Option<Vec<String>>>()
            && let Some(other) = seen.insert(values, id)
        {
            return Some((other, id));
        }
    }
    None
}
