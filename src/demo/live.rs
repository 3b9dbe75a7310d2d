//! What a live channel says, folded into the rows that it stands for.
//!
//! Events of a commit count once its last one is there (`more` is absent): a client that is cut off before that resumes
//! with `from_seq` after the last whole commit and hears the broken one again from its beginning.

use crate::error::{Error, Result, SqlState};
use serde_json::Value;
use std::collections::BTreeMap;

/// A row as its JSON object.
pub type Object = serde_json::Map<String, Value>;

/// One live channel as its client knows it.
pub struct Live {
    channel: String,
    /// The commit up to which everything is known, once the server has acknowledged the subscription.
    position: Option<i64>,
    acknowledged: bool,
    rows: BTreeMap<i64, Object>,
    /// Events of a commit whose last one has not come yet.
    begun: Vec<Object>,
}

impl Live {
    /// A channel that nothing was heard on yet.
    pub fn new(channel: &str) -> Live {
        let channel = channel.to_owned();
        Live { channel, position: None, acknowledged: false, rows: BTreeMap::new(), begun: Vec::new() }
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Whether the server has acknowledged the subscription since the last connection.
    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// Where to resume; the half of a commit that was heard is forgotten.
    pub fn resume(&mut self) -> Result<i64> {
        self.acknowledged = false;
        self.begun.clear();
        self.position.ok_or_else(|| self.astray("was never acknowledged"))
    }

    /// The rows by their ids.
    pub fn rows(&self) -> impl Iterator<Item = &Object> {
        self.rows.values()
    }

    /// Whether a row has this text in this member.
    pub fn has(&self, member: &str, text: &str) -> bool {
        self.rows().any(|row| text_of(row, member) == Some(text))
    }

    /// Takes what the channel said and returns the rows that arrived with it.
    pub fn take(&mut self, payload: &str) -> Result<Vec<Object>> {
        let Ok(Value::Object(said)) = serde_json::from_str(payload) else {
            return Err(self.astray(&format!("said what is no JSON object: {payload}")));
        };
        match said.get("type").and_then(Value::as_str) {
            Some("subscription_ack") => {
                let seq = self.seq(&said)?;
                self.position.get_or_insert(seq);
                self.acknowledged = true;
                Ok(Vec::new())
            }
            Some("change") => self.change(said),
            _ => Err(self.astray(&format!("ended with {payload}"))),
        }
    }

    fn change(&mut self, event: Object) -> Result<Vec<Object>> {
        let seq = self.seq(&event)?;
        if !self.acknowledged {
            return Err(self.astray("told a change before the acknowledgement"));
        }
        if self.position.is_some_and(|position| seq <= position) {
            return Err(self.astray(&format!("told commit {seq} again or late, after {:?}", self.position)));
        }
        let more = event.get("more") == Some(&Value::Bool(true));
        self.begun.push(event);
        if more {
            return Ok(Vec::new());
        }
        self.position = Some(seq);
        let mut arrived = Vec::new();
        for event in std::mem::take(&mut self.begun) {
            self.fold(&event, &mut arrived)?;
        }
        Ok(arrived)
    }

    fn fold(&mut self, event: &Object, arrived: &mut Vec<Object>) -> Result<()> {
        for old in objects(event, "old_values") {
            let id = self.id(old)?;
            if self.rows.remove(&id).is_none() {
                return Err(self.astray(&format!("told the end of row {id}, which it had not told before")));
            }
        }
        for new in objects(event, "rows") {
            let id = self.id(new)?;
            if self.rows.insert(id, new.clone()).is_some() {
                return Err(self.astray(&format!("told row {id} twice")));
            }
            arrived.push(new.clone());
        }
        Ok(())
    }

    fn seq(&self, said: &Object) -> Result<i64> {
        said.get("seq").and_then(Value::as_i64).ok_or_else(|| self.astray("told no seq"))
    }

    fn id(&self, row: &Object) -> Result<i64> {
        text_of(row, "id").and_then(|id| id.parse().ok()).ok_or_else(|| self.astray("told a row without its id"))
    }

    fn astray(&self, what: &str) -> Error {
        Error::new(SqlState::PROTOCOL_VIOLATION, format!("live channel \"{}\" {what}", self.channel))
    }
}

/// A member that is a string.
pub fn text_of<'a>(row: &'a Object, member: &str) -> Option<&'a str> {
    row.get(member).and_then(Value::as_str)
}

fn objects<'a>(event: &'a Object, member: &str) -> impl Iterator<Item = &'a Object> {
    event.get(member).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: &str = r#"{"type":"subscription_ack","channel":"t","seq":5,"columns":[]}"#;

    fn live(payloads: &[&str]) -> Result<Live> {
        let mut live = Live::new("t");
        payloads.iter().try_for_each(|payload| live.take(payload).map(drop))?;
        Ok(live)
    }

    #[test]
    fn events_fold_into_rows() {
        let live = live(&[
            ACK,
            r#"{"type":"change","change_type":"insert","seq":6,"rows":[{"id":"1","a":"x"},{"id":"2","a":"y"}]}"#,
            r#"{"type":"change","change_type":"delete","seq":7,"old_values":[{"id":"1","a":"x"}],"more":true}"#,
            r#"{"type":"change","change_type":"update","seq":7,"rows":[{"id":"3","a":"z"}],"old_values":[{"id":"2"}]}"#,
        ])
        .expect("in order");
        assert_eq!(live.rows().map(|row| text_of(row, "id").unwrap()).collect::<Vec<_>>(), ["3"]);
        assert!(live.has("a", "z") && !live.has("a", "x"));
    }

    #[test]
    fn half_a_commit_counts_for_nothing() {
        let half = r#"{"type":"change","change_type":"insert","seq":6,"rows":[{"id":"1"}],"more":true}"#;
        let mut live = live(&[ACK, half]).expect("in order");
        assert_eq!(live.rows().count(), 0);
        assert_eq!(live.resume().expect("acknowledged"), 5);
        let whole = r#"{"type":"change","change_type":"insert","seq":6,"rows":[{"id":"1"}]}"#;
        live.take(ACK).expect("again");
        assert_eq!(live.take(whole).expect("told once").len(), 1);
    }

    #[test]
    fn repetitions_and_closed_channels_are_errors() {
        let one = r#"{"type":"change","change_type":"insert","seq":6,"rows":[{"id":"1"}]}"#;
        let same_row = r#"{"type":"change","change_type":"insert","seq":7,"rows":[{"id":"1"}]}"#;
        for payloads in [&[ACK, one, one][..], &[ACK, one, same_row], &[one], &[ACK, r#"{"type":"lagged","seq":6}"#]] {
            assert!(live(payloads).is_err(), "{payloads:?}");
        }
    }
}
