//! The tables as sessions read them against the model.

use crate::model::{Model, Row, Table};
use crate::simulated::Answer;
use std::collections::{BTreeMap, BTreeSet};

type Run<'a> = &'a mut dyn FnMut(&str) -> Answer;

/// A user's view of all tables.
pub fn tables(user: &str, model: &Model, run: Run) {
    let mut tables = vec![Table::Shared, Table::User];
    if user == "tertulia" {
        tables.push(Table::Ledger);
        tables.extend(model.extras.iter().map(|number| Table::Extra(*number)));
    }
    for table in tables {
        let scope = if table == Table::User { user } else { "" };
        let wanted = model.rows_at(table, scope, u64::MAX);
        let answer = run(&format!("SELECT id, n, body FROM {} ORDER BY id", table.name()));
        assert_eq!(answer.error, None, "{}", table.name());
        let row = |at: usize| (answer.number(at, 0), Row { n: answer.number(at, 1), body: answer.rows[at][2].clone() });
        let read: BTreeMap<i64, Row> = (0..answer.rows.len()).map(row).collect();
        assert_eq!(read, wanted, "{} as {user} sees it, not as it must be", table.name());
        // the unique index finds each row
        let bodies: BTreeMap<String, i64> =
            wanted.iter().filter_map(|(id, row)| Some((row.body.clone()?, *id))).collect();
        if bodies.is_empty() || table == Table::Shared && user != "tertulia" {
            continue;
        }
        let list = bodies.keys().map(|body| format!("'{body}'")).collect::<Vec<_>>().join(", ");
        let answer = run(&format!("SELECT id, body FROM {} WHERE body IN ({list})", table.name()));
        let pair = |at: usize| (answer.rows[at][1].clone().unwrap_or_default(), answer.number(at, 0));
        let found: Vec<(String, i64)> = (0..answer.rows.len()).map(pair).collect();
        assert_eq!(found.len(), bodies.len(), "{} has a body twice", table.name());
        assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), bodies, "bodies of {}", table.name());
    }
    if user == "tertulia" {
        let answer = run("SELECT relname FROM pg_class WHERE relname LIKE 'x%' AND relkind = 'r'");
        let names: BTreeSet<String> = answer.rows.iter().filter_map(|row| row[0].clone()).collect();
        let wanted: BTreeSet<String> = model.extras.iter().map(|number| format!("x{number}")).collect();
        assert_eq!(names, wanted, "the tables that there are");
    }
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
