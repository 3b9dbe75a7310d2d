//! A live query's client: folds the events over the rows that it was given, compares with the model, and goes on from
//! where it was after its session or the machine has ended.

use crate::model::{Model, Table};
use serde_json::Value;
use std::collections::BTreeMap;

/// A live query over `id, n` of a table.
#[derive(Clone, Debug)]
pub struct Live {
    pub table: Table,
    pub user: String,
    rows: BTreeMap<i64, i64>,
    /// The position that the rows are as of; none before the first acknowledgement.
    pub seq: Option<u64>,
    /// It has begun, or begun again.
    acknowledged: bool,
    /// More events of the last commit are to come.
    more: bool,
    /// The server has ended it.
    pub ended: bool,
}

impl Live {
    pub fn new(table: Table, user: String, rows: BTreeMap<i64, i64>) -> Live {
        Live { table, user, rows, seq: None, acknowledged: false, more: false, ended: false }
    }

    /// What is left of it when its session ends.
    pub fn leave(self) -> Option<Live> {
        assert!(!self.more, "a commit's events were told in part");
        (self.acknowledged && !self.ended).then_some(Live { acknowledged: false, ..self })
    }

    /// How it is begun, or begun again.
    pub fn sql(table: Table, seq: Option<u64>, batch: &str) -> String {
        let resumed = seq.map(|seq| format!("from_seq = {seq}"));
        let options: Vec<String> =
            resumed.into_iter().chain((!batch.is_empty()).then(|| format!("batch_size = {batch}"))).collect();
        let options = if options.is_empty() { String::new() } else { format!(" OPTIONS ({})", options.join(", ")) };
        format!("SUBSCRIBE live TO SELECT id, n FROM {}{options}", table.name())
    }

    /// Hears a message. Whether it was a change.
    pub fn hear(&mut self, payload: &str, model: &Model) -> bool {
        let event: Value = serde_json::from_str(payload).expect("an event is JSON");
        let seq = event["seq"].as_u64().unwrap_or(0);
        assert!(!self.ended, "an event after the last: {payload}");
        match event["type"].as_str() {
            Some("subscription_ack") => {
                assert!(!self.acknowledged, "a second acknowledgement");
                assert!(self.seq.is_none_or(|from| from == seq), "resumed after {:?}: {payload}", self.seq);
                (self.acknowledged, self.seq) = (true, Some(seq));
                self.compare(seq, model);
            }
            Some("change") => {
                let before = self.seq.filter(|_| self.acknowledged);
                let follows = if self.more { before == Some(seq) } else { before.is_some_and(|before| before < seq) };
                assert!(follows, "{payload} after {:?}", self.seq);
                self.seq = Some(seq);
                self.fold(&event);
                self.more = event["more"] == Value::Bool(true);
                if !self.more {
                    self.compare(seq, model);
                }
                return true;
            }
            Some("lagged") => {
                assert!(!model.bulk.is_empty(), "nothing was too large to be told: {payload}");
                self.ended = true;
            }
            Some("error") => {
                self.check_end(event["code"].as_str().unwrap_or_default(), payload, model);
                self.ended = true;
            }
            other => panic!("unknown event {other:?}: {payload}"),
        }
        false
    }

    /// The server ends it only with a reason.
    fn check_end(&self, code: &str, payload: &str, model: &Model) {
        let since = self.seq.expect("it has begun");
        let fine = match code {
            // the table is another, or was stored anew
            "0A000" | "55000" => model.is_defined_since(self.table, since),
            // its changes could not be read
            "58030" | "53100" => true,
            // they are not kept any more, or too many
            "72000" => since < model.released || !model.bulk.is_empty(),
            _ => false,
        };
        assert!(fine, "a live query over {:?} at {since} is ended: {payload}", self.table);
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
        assert!(self.acknowledged || self.ended, "a live query was never acknowledged");
        if !self.ended {
            self.compare(model.last, model);
        }
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}
