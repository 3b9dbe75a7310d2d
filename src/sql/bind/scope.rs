//! What names mean inside a query: the tables of FROM with their columns, and PostgreSQL's answers where a name means
//! nothing or too much.

use crate::error::{Error, Result, SqlState};
use crate::sql::plan::{ResultColumn, Source};
use crate::types::{Oid, SqlType};

/// The names that expressions may use: the row that they see is all tables' columns side by side.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    pub(crate) tables: Vec<ScopeTable>,
    /// Tables of the statement that expressions here may not name, for hints.
    pub(crate) unreachable: Vec<ScopeTable>,
}

/// One table of FROM.
#[derive(Clone)]
pub(crate) struct ScopeTable {
    /// The name it goes by.
    pub(crate) alias: String,
    /// Its real schema and name, where the alias hides them: for PostgreSQL's hint.
    pub(crate) hidden_name: Option<String>,
    /// Its schema, by which it may be named too.
    pub(crate) schema: Option<String>,
    /// The columns, system columns last.
    pub(crate) columns: Vec<ScopeColumn>,
    /// Where its columns begin in the row.
    pub(crate) offset: usize,
    /// The columns of its primary key.
    pub(crate) key: Vec<usize>,
}

/// A column that expressions may name.
#[derive(Clone)]
pub(crate) struct ScopeColumn {
    pub(crate) name: String,
    pub(crate) ty: SqlType,
    pub(crate) table: Oid,
    pub(crate) attnum: i16,
    pub(crate) kind: ColumnKind,
}

/// Which names reach a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    /// Its own and `*`.
    Plain,
    /// Its own, and `*` before all others: a topic's name.
    First,
    /// Only its own: a system column.
    System,
    /// None: a dropped column.
    Dropped,
}

/// The system columns that every stored relation has after its own: name, type, PostgreSQL's attribute number.
pub(crate) const SYSTEM_COLUMNS: [(&str, SqlType, i16); 3] =
    [("_seq", SqlType::INT8, -100), ("xmin", SqlType::OID, -2), ("tableoid", SqlType::OID, -6)];

/// The attribute number of the column that names a message's topic, which no row holds.
pub(crate) const TOPIC_ATTNUM: i16 = -101;

impl ScopeTable {
    /// The columns of a relation under a name.
    pub(crate) fn of(source: &Source, alias: String, schema: Option<String>, offset: usize) -> ScopeTable {
        let columns = match source {
            Source::Stored(model) => {
                let relation = model.relation();
                let own = relation.columns.iter().enumerate().map(|(position, column)| ScopeColumn {
                    name: column.name.clone(),
                    ty: column.ty,
                    table: relation.oid,
                    attnum: position as i16 + 1,
                    kind: if column.dropped { ColumnKind::Dropped } else { ColumnKind::Plain },
                });
                let system = SYSTEM_COLUMNS.iter().map(|&(name, ty, attnum)| ScopeColumn {
                    name: name.to_owned(),
                    ty,
                    table: relation.oid,
                    attnum,
                    kind: ColumnKind::System,
                });
                let topic = relation.topic().map(|_| ScopeColumn {
                    name: "topic".to_owned(),
                    ty: SqlType::TEXT,
                    table: relation.oid,
                    attnum: TOPIC_ATTNUM,
                    kind: ColumnKind::First,
                });
                own.chain(system).chain(topic).collect()
            }
            Source::System(relation) => {
                let own = relation.columns.iter().enumerate();
                own.map(|(position, &(name, ty))| ScopeColumn {
                    name: name.to_owned(),
                    ty,
                    table: relation.oid,
                    attnum: position as i16 + 1,
                    kind: ColumnKind::Plain,
                })
                .collect()
            }
        };
        let key = match source {
            Source::Stored(model) => model.relation().primary_key.as_ref().map(|key| key.columns.clone()),
            Source::System(_) => None,
        };
        ScopeTable { alias, hidden_name: None, schema, columns, offset, key: key.unwrap_or_default() }
    }

    /// Whether a place of the row is one of its columns.
    pub(crate) fn holds(&self, index: usize) -> bool {
        (self.offset..self.offset + self.columns.len()).contains(&index)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.kind != ColumnKind::Dropped && column.name == name)
    }
}

impl ScopeColumn {
    /// The column as a result shows it.
    pub(crate) fn result(&self) -> ResultColumn {
        ResultColumn { name: self.name.clone(), ty: self.ty, table: self.table, attnum: self.attnum }
    }
}

impl Scope {
    /// A scope of one table.
    pub(crate) fn of(table: ScopeTable) -> Scope {
        Scope { tables: vec![table], unreachable: Vec::new() }
    }

    /// The column at a place of the row.
    pub(crate) fn column(&self, index: usize) -> Option<(&ScopeTable, &ScopeColumn)> {
        let table = self.tables.iter().find(|table| table.holds(index))?;
        Some((table, &table.columns[index - table.offset]))
    }

    /// The place of an unqualified column.
    pub(crate) fn resolve(&self, name: &str, at: Option<u32>) -> Result<usize> {
        let mut found = None;
        for table in &self.tables {
            if let Some(position) = table.find(name)
                && found.replace(table.offset + position).is_some()
            {
                let message = format!("column reference \"{name}\" is ambiguous");
                return Err(Error::new(SqlState::AMBIGUOUS_COLUMN, message).at(at));
            }
        }
        found.ok_or_else(|| self.missing(None, name, at))
    }

    /// The place of a column of a named table.
    pub(crate) fn resolve_in(&self, schema: Option<&str>, table: &str, name: &str, at: Option<u32>) -> Result<usize> {
        let from = self.table(schema, table, at)?;
        match from.find(name) {
            Some(position) => Ok(from.offset + position),
            None => Err(self.missing(Some(table), name, at)),
        }
    }

    /// The table of a name. 42P01 where FROM has none.
    pub(crate) fn table(&self, schema: Option<&str>, name: &str, at: Option<u32>) -> Result<&ScopeTable> {
        let matches =
            |table: &&ScopeTable| table.alias == name && (schema.is_none() || table.schema.as_deref() == schema);
        if let Some(table) = self.tables.iter().find(matches) {
            return Ok(table);
        }
        let error = match self.tables.iter().find(|table| table.hidden_name.as_deref() == Some(name)) {
            Some(hidden) => Error::new(
                SqlState::UNDEFINED_TABLE,
                format!("invalid reference to FROM-clause entry for table \"{name}\""),
            )
            .hint(format!("Perhaps you meant to reference the table alias \"{}\".", hidden.alias)),
            None if self.unreachable.iter().any(|table| table.alias == name) => {
                let message = format!("invalid reference to FROM-clause entry for table \"{name}\"");
                Error::new(SqlState::UNDEFINED_TABLE, message).hint(format!(
                    "There is an entry for table \"{name}\", but it cannot be referenced from this part of the query."
                ))
            }
            None => Error::new(SqlState::UNDEFINED_TABLE, format!("missing FROM-clause entry for table \"{name}\"")),
        };
        Err(error.at(at))
    }

    /// 42703 with PostgreSQL's guess at what was meant.
    fn missing(&self, table: Option<&str>, name: &str, at: Option<u32>) -> Error {
        let message = match table {
            Some(table) => format!("column {table}.{name} does not exist"),
            None => format!("column \"{name}\" does not exist"),
        };
        let error = Error::new(SqlState::UNDEFINED_COLUMN, message).at(at);
        if let Some(table) = self.unreachable.iter().find(|table| table.find(name).is_some()) {
            return error.hint(format!(
                "There is a column named \"{name}\" in table \"{}\", but it cannot be referenced from this part of the query.",
                table.alias
            ));
        }
        match self.guess(table, name).as_slice() {
            [one] => error.hint(format!("Perhaps you meant to reference the column \"{one}\".")),
            [one, two] => {
                error.hint(format!("Perhaps you meant to reference the column \"{one}\" or the column \"{two}\"."))
            }
            _ => error,
        }
    }

    /// The one or two columns nearest to a name (parse_relation.c, updateFuzzyAttrMatchState).
    fn guess(&self, qualifier: Option<&str>, name: &str) -> Vec<String> {
        const DISTANCE_MAX: usize = 3;
        let mut best = DISTANCE_MAX + 1;
        let mut nearest = Vec::new();
        for table in &self.tables {
            let penalty = qualifier.map_or(0, |qualifier| distance(qualifier, &table.alias));
            for column in table.columns.iter().filter(|column| column.kind == ColumnKind::Plain) {
                let apart = distance(name, &column.name);
                if apart > column.name.chars().count() / 2 || apart + penalty > best {
                    continue;
                }
                if apart + penalty < best {
                    best = apart + penalty;
                    nearest.clear();
                }
                nearest.push(format!("{}.{}", table.alias, column.name));
            }
        }
        // More than two are too many to be a hint.
        if nearest.len() > 2 { Vec::new() } else { nearest }
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances_are_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("id", "id"), 0);
    }
}
