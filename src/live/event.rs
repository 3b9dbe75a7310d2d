//! What live channels carry: one JSON object a payload.

use crate::error::Error;
use crate::limits::{EVENT_ENVELOPE_BYTES, NOTIFY_PAYLOAD_BYTES_MAX};
use crate::types::json::write_string;
use crate::types::{CommitSeq, Str};
use bytes::Bytes;

/// Bytes that the rows of one event may take.
pub(super) const ROWS_BYTES_MAX: usize = NOTIFY_PAYLOAD_BYTES_MAX - EVENT_ENVELOPE_BYTES;

fn finished(json: Vec<u8>) -> Str {
    Str::from_utf8(Bytes::from(json)).expect("made of texts")
}

fn put_number(out: &mut Vec<u8>, label: &str, number: u64) {
    out.extend_from_slice(format!("\"{label}\":{number}").as_bytes());
}

/// The first message of a live channel: what its rows look like, and the position that it begins after.
pub(super) fn acknowledgement<'a>(
    channel: &str,
    seq: CommitSeq,
    columns: impl Iterator<Item = (&'a str, String)>,
) -> Str {
    let mut out = b"{\"type\":\"subscription_ack\",\"channel\":".to_vec();
    write_string(channel, &mut out);
    out.push(b',');
    put_number(&mut out, "seq", seq.0);
    out.extend_from_slice(b",\"columns\":[");
    for (at, (name, ty)) in columns.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        write_string(name, &mut out);
        out.extend_from_slice(b",\"type\":");
        write_string(&ty, &mut out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    finished(out)
}

/// The last message of a live query that did not receive its events fast enough: where to resume.
pub(super) fn lagged(seq: CommitSeq) -> Str {
    let mut out = b"{\"type\":\"lagged\",".to_vec();
    put_number(&mut out, "seq", seq.0);
    out.push(b'}');
    finished(out)
}

/// The last message of a live query that cannot go on.
pub(super) fn failure(error: &Error) -> Str {
    let mut out = b"{\"type\":\"error\",\"code\":".to_vec();
    write_string(error.code().as_str(), &mut out);
    out.extend_from_slice(b",\"message\":");
    write_string(&error.fields().message, &mut out);
    out.push(b'}');
    finished(out)
}

/// A topic has messages up to this offset.
pub(super) fn arrival(topic: &str, partition: u32, offset: u64) -> Str {
    let mut out = b"{\"type\":\"topic\",\"topic\":".to_vec();
    write_string(topic, &mut out);
    out.push(b',');
    put_number(&mut out, "partition", u64::from(partition));
    out.push(b',');
    put_number(&mut out, "offset", offset);
    out.push(b'}');
    finished(out)
}

/// A row's part of an event: the row as it is now, the row as it was, or both.
pub(super) struct Item {
    pub(super) new: Option<Vec<u8>>,
    pub(super) old: Option<Vec<u8>>,
}

impl Item {
    fn bytes(&self) -> usize {
        2 + self.new.as_ref().map_or(0, Vec::len) + self.old.as_ref().map_or(0, Vec::len)
    }
}

/// The events of one commit for one kind of live query, in the making.
pub(super) struct Events {
    seq: CommitSeq,
    batch_size: usize,
    /// When the rows vanish, as JSON; only for STREAM tables.
    expires: Option<Vec<u8>>,
    /// Without their ends.
    made: Vec<Vec<u8>>,
}

impl Events {
    /// None yet.
    pub(super) fn new(seq: CommitSeq, batch_size: usize, expires: Option<Vec<u8>>) -> Events {
        Events { seq, batch_size, expires, made: Vec::new() }
    }

    /// Adds all rows of one kind.
    pub(super) fn add(&mut self, kind: &str, items: &[Item]) {
        let mut first = 0;
        while first < items.len() {
            let (mut end, mut bytes) = (first, 0);
            while end < items.len() && end - first < self.batch_size {
                bytes += items[end].bytes();
                if bytes > ROWS_BYTES_MAX && end > first {
                    break;
                }
                end += 1;
            }
            self.add_one(kind, &items[first..end]);
            first = end;
        }
    }

    fn add_one(&mut self, kind: &str, items: &[Item]) {
        let mut out = b"{\"type\":\"change\",\"change_type\":\"".to_vec();
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",");
        put_number(&mut out, "seq", self.seq.0);
        let is_there = put_rows(&mut out, "rows", items.iter().filter_map(|item| item.new.as_deref()));
        put_rows(&mut out, "old_values", items.iter().filter_map(|item| item.old.as_deref()));
        if let (true, Some(expires)) = (is_there, &self.expires) {
            out.extend_from_slice(b",\"expires_at\":");
            out.extend_from_slice(expires);
        }
        self.made.push(out);
    }

    /// The payloads: all but the last say that more of the same commit follows.
    pub(super) fn finish(self) -> Vec<Str> {
        let last = self.made.len().saturating_sub(1);
        let end = |(at, mut event): (usize, Vec<u8>)| {
            event.extend_from_slice(if at < last { b",\"more\":true}" } else { b"}" });
            finished(event)
        };
        self.made.into_iter().enumerate().map(end).collect()
    }
}

fn put_rows<'a>(out: &mut Vec<u8>, label: &str, rows: impl Iterator<Item = &'a [u8]>) -> bool {
    let start = out.len();
    for row in rows {
        if out.len() == start {
            out.extend_from_slice(format!(",\"{label}\":[").as_bytes());
        } else {
            out.push(b',');
        }
        out.extend_from_slice(row);
    }
    let any = out.len() > start;
    if any {
        out.push(b']');
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(new: Option<&str>, old: Option<&str>) -> Item {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Item { new: new.map(bytes), old: old.map(bytes) }
    }

    #[test]
    fn all_but_a_commits_last_event_say_that_more_follows() {
        let mut events = Events::new(CommitSeq(7), 2, None);
        events.add("delete", &[item(None, Some("{\"id\":1}"))]);
        events.add("insert", &[item(Some("{}"), None), item(Some("{}"), None), item(Some("{}"), None)]);
        let made: Vec<String> = events.finish().iter().map(Str::to_string).collect();
        assert_eq!(
            made,
            [
                r#"{"type":"change","change_type":"delete","seq":7,"old_values":[{"id":1}],"more":true}"#,
                r#"{"type":"change","change_type":"insert","seq":7,"rows":[{},{}],"more":true}"#,
                r#"{"type":"change","change_type":"insert","seq":7,"rows":[{}]}"#,
            ]
        );
    }

    #[test]
    fn an_event_is_no_larger_than_a_payload() {
        let mut events = Events::new(CommitSeq(1), 1_000, None);
        let row = "x".repeat(400_000);
        let items: Vec<Item> = (0..5).map(|_| item(Some(&row), None)).collect();
        events.add("insert", &items);
        let made = events.finish();
        assert_eq!(made.len(), 3);
        assert!(made.iter().all(|event| event.len() < NOTIFY_PAYLOAD_BYTES_MAX));
    }

    #[test]
    fn messages_are_as_documented() {
        let columns = [("id", "bigint".to_owned()), ("a\"b", "text".to_owned())];
        assert_eq!(
            acknowledgement("chat.messages", CommitSeq(3), columns.into_iter()).as_str(),
            concat!(
                r#"{"type":"subscription_ack","channel":"chat.messages","seq":3,"#,
                r#""columns":[{"name":"id","type":"bigint"},{"name":"a\"b","type":"text"}]}"#
            )
        );
        assert_eq!(lagged(CommitSeq(9)).as_str(), r#"{"type":"lagged","seq":9}"#);
        assert_eq!(arrival("chat.t", 2, 41).as_str(), r#"{"type":"topic","topic":"chat.t","partition":2,"offset":41}"#);
    }
}
