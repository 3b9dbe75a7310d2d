//! A definer: one connection that makes, fills, alters, indexes, empties and drops tables in transactions, and keeps its
//! ledger.

use crate::support::client::{Client, Event};
use crate::support::random::Random;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Tables at which it prefers to drop.
const TABLES_MANY: usize = 6;

/// A table as it must be: `id` and other columns, its rows by `id`, and its indexes with the column of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    columns: Vec<String>,
    rows: BTreeMap<i64, Vec<Option<String>>>,
    indexes: BTreeMap<String, String>,
}

type Tables = BTreeMap<String, Table>;

/// What the definer was told is committed, and what it last asked for.
#[derive(Default)]
pub struct Definitions {
    committed: Tables,
    attempted: Option<Tables>,
    serial: i64,
    /// What has been acknowledged, for the report.
    pub acknowledged: u64,
}

/// Statements in the making.
struct Draft<'a> {
    random: &'a mut Random,
    serial: &'a mut i64,
    tables: Tables,
    statements: Vec<String>,
}

impl Draft<'_> {
    fn next(&mut self) -> i64 {
        *self.serial += 1;
        *self.serial
    }

    fn pick(&mut self) -> Option<String> {
        let count = self.tables.len() as u64;
        (count > 0).then(|| self.tables.keys().nth(self.random.below(count) as usize).cloned().expect("is below"))
    }

    fn step(&mut self) {
        let Some(name) = self.pick() else { return self.create() };
        match self.random.below(13) {
            0 => self.create(),
            1 if self.tables.len() > TABLES_MANY / 2 => self.drop(&name),
            _ if self.tables.len() > TABLES_MANY => self.drop(&name),
            2 => self.add_column(&name),
            3 => self.drop_column(&name),
            4 => self.rename_column(&name),
            5 => self.rename(&name),
            6 => self.delete(&name),
            7 => self.truncate(&name),
            8 => self.change_type(&name),
            9 => self.create_index(&name),
            10 => self.drop_index(&name),
            _ => self.fill(&name),
        }
    }

    fn create(&mut self) {
        let name = format!("t{}", self.next());
        self.statements.push(format!("CREATE TABLE ddl.{name} (id bigint PRIMARY KEY, a text)"));
        self.tables.insert(name.clone(), Table { columns: vec!["a".to_owned()], ..Table::default() });
        self.fill(&name);
    }

    fn drop(&mut self, name: &str) {
        self.statements.push(format!("DROP TABLE ddl.{name}"));
        self.tables.remove(name);
    }

    fn fill(&mut self, name: &str) {
        let (first, count) = (self.next(), 1 + self.random.below(300) as i64);
        *self.serial += count;
        let mut values = String::new();
        let table = self.tables.get_mut(name).expect("is there");
        for id in first..first + count {
            let row = vec![Some(format!("v{id}")); table.columns.len()];
            // writing into a string cannot fail
            let _ = write!(
                values,
                "{}({id}{})",
                if id == first { "" } else { ", " },
                format!(", 'v{id}'").repeat(row.len())
            );
            table.rows.insert(id, row);
        }
        self.statements.push(format!("INSERT INTO ddl.{name} VALUES {values}"));
    }

    fn delete(&mut self, name: &str) {
        let table = self.tables.get_mut(name).expect("is there");
        let Some((&last, _)) = table.rows.last_key_value() else { return };
        let from = last - self.random.below(200) as i64;
        table.rows.retain(|&id, _| id < from);
        self.statements.push(format!("DELETE FROM ddl.{name} WHERE id >= {from}"));
    }

    fn truncate(&mut self, name: &str) {
        self.statements.push(format!("TRUNCATE ddl.{name}"));
        self.tables.get_mut(name).expect("is there").rows.clear();
    }

    /// A new type for a column, by an expression that changes every value: all rows are stored anew.
    fn change_type(&mut self, name: &str) {
        let Some((column, at)) = self.pick_column(name) else { return self.add_column(name) };
        let ty = self.random.pick(&["text", "varchar"]);
        let table = self.tables.get_mut(name).expect("is there");
        for value in table.rows.values_mut().filter_map(|row| row[at].as_mut()) {
            value.push('~');
        }
        self.statements.push(format!("ALTER TABLE ddl.{name} ALTER COLUMN {column} TYPE {ty} USING {column} || '~'"));
    }

    fn create_index(&mut self, name: &str) {
        let Some((column, _)) = self.pick_column(name) else { return self.add_column(name) };
        if self.tables[name].indexes.values().any(|of| *of == column) {
            // of two nobody could say which is read
            return self.drop_index(name);
        }
        let index = format!("i{}", self.next());
        self.statements.push(format!("CREATE INDEX {index} ON ddl.{name} ({column})"));
        self.tables.get_mut(name).expect("is there").indexes.insert(index, column);
    }

    fn drop_index(&mut self, name: &str) {
        let table = self.tables.get_mut(name).expect("is there");
        let Some((index, _)) = table.indexes.pop_first() else { return self.fill(name) };
        self.statements.push(format!("DROP INDEX ddl.{index}"));
    }

    fn pick_column(&mut self, name: &str) -> Option<(String, usize)> {
        let columns = &self.tables[name].columns;
        let count = columns.len() as u64;
        (count > 0).then(|| self.random.below(count) as usize).map(|at| (columns[at].clone(), at))
    }

    fn add_column(&mut self, name: &str) {
        let column = format!("c{}", self.next());
        let default = self.random.once_in(2).then(|| format!("d{}", self.next()));
        let clause = default.as_ref().map_or(String::new(), |value| format!(" DEFAULT '{value}'"));
        let table = self.tables.get_mut(name).expect("is there");
        table.rows.values_mut().for_each(|row| row.push(default.clone()));
        self.statements.push(format!("ALTER TABLE ddl.{name} ADD COLUMN {column} text{clause}"));
        table.columns.push(column);
    }

    fn drop_column(&mut self, name: &str) {
        let table = self.tables.get_mut(name).expect("is there");
        if table.columns.is_empty() {
            return self.add_column(name);
        }
        let at = self.random.below(table.columns.len() as u64) as usize;
        let column = table.columns.remove(at);
        table.rows.values_mut().for_each(|row| drop(row.remove(at)));
        table.indexes.retain(|_, of| *of != column);
        self.statements.push(format!("ALTER TABLE ddl.{name} DROP COLUMN {column}"));
    }

    fn rename_column(&mut self, name: &str) {
        let to = format!("r{}", self.next());
        let table = self.tables.get_mut(name).expect("is there");
        let Some(column) = table.columns.first_mut() else { return };
        self.statements.push(format!("ALTER TABLE ddl.{name} RENAME COLUMN {column} TO {to}"));
        table.indexes.values_mut().filter(|of| *of == column).for_each(|of| to.clone_into(of));
        *column = to;
    }

    fn rename(&mut self, name: &str) {
        let to = format!("n{}", self.next());
        self.statements.push(format!("ALTER TABLE ddl.{name} RENAME TO {to}"));
        let table = self.tables.remove(name).expect("is there");
        self.tables.insert(to, table);
    }
}

impl Definitions {
    /// Defines until the server is gone.
    pub fn run(&mut self, mut client: Client, mut random: Random) {
        while self.step(&mut client, &mut random) {}
    }

    /// One transaction; false once the server is gone.
    fn step(&mut self, client: &mut Client, random: &mut Random) -> bool {
        let steps = 1 + random.below(4);
        let rolled_back = random.once_in(5);
        let tables = self.committed.clone();
        let mut draft = Draft { random, serial: &mut self.serial, tables, statements: Vec::new() };
        for _ in 0..steps {
            draft.step();
        }
        let Draft { tables, statements, .. } = draft;
        if !run(client, "BEGIN") || !statements.iter().all(|sql| run(client, sql)) {
            return false;
        }
        if rolled_back {
            return run(client, "ROLLBACK");
        }
        self.attempted = Some(tables);
        let (events, lives) = client.try_simple("COMMIT");
        match events.first() {
            Some(Event::Tag(tag)) if tag == "COMMIT" => {
                self.settle();
                self.acknowledged += 1;
            }
            Some(other) => panic!("COMMIT: {other:?}"),
            None => {}
        }
        lives
    }

    fn settle(&mut self) {
        self.committed = self.attempted.take().expect("a commit was attempted");
    }

    /// After a start: the tables are those of the last acknowledged transaction, or of the one after it, and no others.
    pub fn check(&mut self, admin: &mut Client) {
        let found = tables(admin);
        if self.attempted.as_ref() == Some(&found) {
            self.settle();
        }
        self.attempted = None;
        assert_eq!(found.keys().collect::<Vec<_>>(), self.committed.keys().collect::<Vec<_>>(), "tables");
        for (name, table) in &found {
            let committed = &self.committed[name];
            assert_eq!(table.columns, committed.columns, "columns of {name}");
            assert_eq!(table.indexes, committed.indexes, "indexes of {name}");
            assert!(table.rows == committed.rows, "rows of {name}");
            for (index, column) in &table.indexes {
                look_up(admin, name, table, (index, column));
            }
        }
    }
}

/// What an index finds is what the table has.
fn look_up(admin: &mut Client, name: &str, table: &Table, (index, column): (&str, &str)) {
    let at = table.columns.iter().position(|one| one == column).expect("an index has a column of the table");
    let values: Vec<&String> = table.rows.values().filter_map(|row| row[at].as_ref()).collect();
    let some = [values.first(), values.get(values.len() / 2), values.last()];
    for value in some.into_iter().flatten() {
        let query = format!("SELECT id FROM ddl.{name} WHERE {column} = '{value}'");
        let plan = admin.rows(&format!("EXPLAIN {query}"));
        assert!(plan.iter().flatten().flatten().any(|line| line.contains(index)), "{query} by {index}: {plan:?}");
        let mut found: Vec<i64> =
            admin.rows(&query).iter().map(|cells| cells[0].as_ref().unwrap().parse().unwrap()).collect();
        found.sort();
        let wanted: Vec<i64> =
            table.rows.iter().filter(|(_, row)| row[at].as_ref() == Some(*value)).map(|(&id, _)| id).collect();
        assert_eq!(found, wanted, "{query} by {index}");
    }
}

/// All tables as they are.
fn tables(admin: &mut Client) -> Tables {
    let names = admin.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'ddl'");
    let mut tables: Tables = names
        .into_iter()
        .map(|mut cells| cells.remove(0).expect("a name"))
        .map(|name| (name.clone(), table(admin, &name)))
        .collect();
    let indexes = admin.rows("SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'ddl'");
    for cells in indexes {
        let [table, index, definition] = <[_; 3]>::try_from(cells).unwrap().map(Option::unwrap);
        if !index.ends_with("_pkey") {
            let column = definition.split_once('(').unwrap().1.trim_end_matches(')').to_owned();
            tables.get_mut(&table).expect("an index has a table").indexes.insert(index, column);
        }
    }
    tables
}

fn table(admin: &mut Client, name: &str) -> Table {
    let mut table = Table::default();
    for event in admin.simple(&format!("SELECT * FROM ddl.{name}")) {
        match event {
            Event::Columns(columns) => {
                assert_eq!(columns[0].0, "id");
                table.columns = columns.into_iter().skip(1).map(|(name, _)| name).collect();
            }
            Event::Row(cells) => {
                let mut cells = cells.into_iter().map(|cell| cell.map(|bytes| String::from_utf8(bytes).unwrap()));
                let id = cells.next().flatten().expect("a key").parse().unwrap();
                let before = table.rows.insert(id, cells.collect());
                assert_eq!(before, None, "{name}: row {id} twice");
            }
            Event::Error(report) => panic!("{name}: {report:?}"),
            _ => {}
        }
    }
    table
}

/// Runs a statement that must succeed; false once the server is gone.
fn run(client: &mut Client, sql: &str) -> bool {
    let (events, lives) = client.try_simple(sql);
    for event in &events {
        if let Event::Error(report) = event {
            let statement: String = sql.chars().take(200).collect();
            panic!("{statement}: {report:?}");
        }
    }
    lives
}
