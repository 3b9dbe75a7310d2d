//! A live query's client: folds the events over the rows that it was given, and compares with the model.

use crate::model::{Model, Table};
use serde_json::Value;
use std::collections::BTreeMap;

/// A live query over `id, n` of a table.
pub struct Live {
    pub table: Table,
    user: String,
    rows: BTreeMap<i64, i64>,
    /// The position that the rows are as of; none before the acknowledgement.
    pub seq: Option<u64>,
    /// The server has ended it.
    pub ended: bool,
    pub events: u64,
}

impl Live {
    pub fn new(table: Table, user: String, rows: BTreeMap<i64, i64>) -> Live {
        Live { table, user, rows, seq: None, ended: false, events: 0 }
    }

    pub fn hear(&mut self, payload: &str, model: &Model) {
        let event: Value = serde_json::from_str(payload).expect("an event is JSON");
        let seq = event["seq"].as_u64().unwrap_or(0);
        assert!(!self.ended, "an event after the last: {payload}");
        match event["type"].as_str() {
            Some("subscription_ack") => {
                assert!(self.seq.is_none(), "a second acknowledgement");
                self.seq = Some(seq);
                self.compare(seq, model);
            }
            Some("change") => {
                assert!(self.seq.is_some_and(|before| before <= seq), "{payload} after {:?}", self.seq);
                self.seq = Some(seq);
                self.events += 1;
                self.fold(&event);
                if event["more"] != Value::Bool(true) {
                    self.compare(seq, model);
                }
            }
            // its changes could not be read, or were too many
            Some("error" | "lagged") => self.ended = true,
            other => panic!("unknown event {other:?}: {payload}"),
        }
    }

    fn fold(&mut self, event: &Value) {
        let none = Vec::new();
        let old = event["old_values"].as_array().unwrap_or(&none);
        let new = event["rows"].as_array().unwrap_or(&none);
        for row in old {
            let id = number(&row["id"]);
            let was = self.rows.remove(&id);
            assert!(was.is_some(), "{event} takes a row away that is not there");
        }
        for row in new {
            let before = self.rows.insert(number(&row["id"]), number(&row["n"]));
            assert!(before.is_none(), "{event} brings a row that is there");
        }
    }

    fn compare(&self, seq: u64, model: &Model) {
        assert_eq!(self.rows, self.wanted(seq, model), "the live query over {:?} at {seq}", self.table);
    }

    fn wanted(&self, seq: u64, model: &Model) -> BTreeMap<i64, i64> {
        model.rows_at(self.table, &self.user, seq).into_iter().map(|(id, row)| (id, row.n)).collect()
    }

    /// Everything has been delivered.
    pub fn check_level(&self, model: &Model) {
        if !self.ended {
            self.compare(model.last, model);
        }
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}
