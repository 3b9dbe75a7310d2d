//! The tables as sessions read them against the model.

use crate::model::{Model, Row, Table};
use crate::simulated::Answer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tertulia::catalog::{Catalog, Relation};

type Run<'a> = &'a mut dyn FnMut(&str) -> Answer;

/// The catalog has the tables that must be there, and they look as they must.
pub fn catalog(model: &Model, catalog: &Catalog) {
    let there = catalog.relations().filter_map(|relation| Some((Table::of_name(&relation.name)?, relation)));
    let there: BTreeMap<Table, &Arc<Relation>> = there.collect();
    let wanted: BTreeSet<Table> = model.tables().map(|(table, _)| table).collect();
    assert_eq!(there.keys().copied().collect::<BTreeSet<_>>(), wanted, "the tables that there are");
    model.tables().for_each(|(table, shape)| shape.check(there[&table]));
}

/// A user's view of all tables.
pub fn tables(user: &str, model: &Model, run: Run) {
    for (table, shape) in model.tables() {
        // what is nobody's own is the same for all
        if table == Table::Stream || !table.is_scoped() && user != "tertulia" {
            continue;
        }
        let scope = if table.is_scoped() { user } else { "" };
        let wanted = model.rows_at(table, scope, u64::MAX);
        let answer = run(&format!("SELECT * FROM {} ORDER BY id", table.name()));
        assert_eq!(answer.error, None, "{}", table.name());
        assert_eq!(answer.columns, shape.names(), "the columns of {}", table.name());
        let read: BTreeMap<i64, Row> = (0..answer.rows.len()).map(|at| Row::of(&answer, at)).collect();
        assert_eq!(read, wanted, "{} as {user} sees it, not as it must be", table.name());
        if table != Table::Ledger {
            let columns: BTreeSet<&str> = shape.indexes.iter().map(|index| index.columns[0]).chain(["body"]).collect();
            columns.into_iter().for_each(|column| by_index(table, column, &wanted, run));
        }
    }
    if user == "tertulia" {
        let answer = run("SELECT relname FROM pg_class WHERE relname LIKE 'x%' AND relkind = 'r'");
        let names: BTreeSet<String> = answer.rows.iter().filter_map(|row| row[0].clone()).collect();
        let wanted: BTreeSet<String> = model.extras().into_iter().map(|number| Table::Extra(number).name()).collect();
        assert_eq!(names, wanted, "the tables that there are");
    }
}

/// An index finds the rows that a look at all rows found.
fn by_index(table: Table, column: &str, rows: &BTreeMap<i64, Row>, run: Run) {
    let value = |row: &Row| match column {
        "n" => Some(row.n.to_string()),
        "body" => row.body.as_ref().map(|body| format!("'{body}'")),
        _ => row.extra.map(|extra| extra.to_string()),
    };
    let with: BTreeMap<i64, String> = rows.iter().filter_map(|(id, row)| Some((*id, value(row)?))).collect();
    if with.is_empty() {
        return;
    }
    let values: BTreeSet<&str> = with.values().map(String::as_str).collect();
    let list: Vec<&str> = values.into_iter().collect();
    let name = table.name();
    let answer = run(&format!("SELECT * FROM {name} WHERE {column} IN ({})", list.join(", ")));
    assert_eq!(answer.error, None, "{name} by {column}");
    let found: Vec<i64> = (0..answer.rows.len()).map(|at| Row::of(&answer, at).0).collect();
    let ids: BTreeSet<i64> = found.iter().copied().collect();
    assert_eq!(found.len(), ids.len(), "a row of {name} is found twice by {column}");
    assert_eq!(ids, with.keys().copied().collect(), "rows of {name} by {column}");
}

/// The topic has a message for every change of its source, in order, and its offsets are dense.
pub fn topic(model: &Model, run: Run) {
    let answer = run("SELECT \"offset\", op, key FROM evt ORDER BY \"offset\"");
    assert_eq!(answer.error, None);
    let offsets: Vec<i64> = (0..answer.rows.len()).map(|at| answer.number(at, 0)).collect();
    assert_eq!(offsets, (0..offsets.len() as i64).collect::<Vec<_>>(), "offsets are dense");
    let text = |at: usize, column: usize| answer.rows[at][column].clone().unwrap_or_default();
    let mut read: Vec<(String, String)> = (0..offsets.len()).map(|at| (text(at, 1), text(at, 2))).collect();
    let mut wanted: Vec<(String, String)> =
        model.messages.iter().map(|(_, op, id)| (op.clone(), id.to_string())).collect();
    for seq in &model.bulk {
        let from = model.messages.partition_point(|(at, ..)| at < seq);
        let to = model.messages.partition_point(|(at, ..)| at <= seq);
        wanted[from..to].sort();
        if let Some(read) = read.get_mut(from..to) {
            read.sort();
        }
    }
    assert_eq!(read, wanted, "the messages of the topic");
}

/// Exactly the messages that nobody has acknowledged are given again.
pub fn group(model: &Model, run: Run) {
    let mut given = BTreeSet::new();
    loop {
        let answer = run("CONSUME FROM evt GROUP g LIMIT 50 AUTO ACK");
        assert_eq!(answer.error, None);
        if answer.rows.is_empty() {
            break;
        }
        for at in 0..answer.rows.len() {
            assert!(given.insert(answer.number(at, 2) as u64), "a message comes twice");
        }
    }
    let all = 0..model.messages.len() as u64;
    let wanted: BTreeSet<u64> = all.filter(|offset| !model.acked.contains(offset)).collect();
    assert_eq!(given, wanted, "the messages that nobody has acknowledged");
}
