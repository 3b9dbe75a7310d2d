//! Messages from the server as bytes (PostgreSQL manual, 55.7 Message Formats), appended to a buffer.
//!
//! They are written in place, length last, so that no message exists as a value first. What a statement's result needs
//! is in [`output`](super::output); here is the frame, and what start-up and errors need.

use crate::error::{Error, Fields};
use bytes::BufMut;

/// Appends one message: its type, the length of what `body` writes, and that.
pub(super) fn message(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let at = begin(out, kind);
    body(out);
    end(out, at);
}

/// Begins a message; returns where its length stands, for [`end`].
pub(super) fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    out.push(kind);
    let at = out.len();
    out.put_i32(0);
    at
}

/// Ends the message whose length stands at `at`. The length counts itself.
pub(super) fn end(out: &mut [u8], at: usize) {
    let length = i32::try_from(out.len() - at).expect("a row is bounded by ROW_BYTES_MAX, far below 2 GiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a string and its terminator. A NUL inside would end it early and shift what follows, so it is cut there.
pub(super) fn put_cstr(out: &mut Vec<u8>, text: &str) {
    let end = text.bytes().position(|byte| byte == 0).unwrap_or(text.len());
    out.extend_from_slice(&text.as_bytes()[..end]);
    out.push(0);
}

/// AuthenticationSASL with the one mechanism.
pub(super) fn authentication_sasl(out: &mut Vec<u8>, mechanism: &str) {
    message(out, b'R', |out| {
        out.put_i32(10);
        put_cstr(out, mechanism);
        out.push(0);
    });
}

/// AuthenticationSASLContinue.
pub(super) fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'R', |out| {
        out.put_i32(11);
        out.extend_from_slice(data);
    });
}

/// AuthenticationSASLFinal and AuthenticationOk.
pub(super) fn authentication_final(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'R', |out| {
        out.put_i32(12);
        out.extend_from_slice(data);
    });
    message(out, b'R', |out| out.put_i32(0));
}

/// NegotiateProtocolVersion: 3.0 is the newest (major and minor, as PostgreSQL sends it), and these options are unknown.
pub(super) fn negotiate_protocol_version(out: &mut Vec<u8>, unknown_options: &[&str]) {
    message(out, b'v', |out| {
        out.put_i32(3 << 16);
        out.put_i32(unknown_options.len() as i32);
        for option in unknown_options {
            put_cstr(out, option);
        }
    });
}

/// BackendKeyData: what a CancelRequest must repeat.
pub(super) fn backend_key_data(out: &mut Vec<u8>, pid: i32, secret: i32) {
    message(out, b'K', |out| {
        out.put_i32(pid);
        out.put_i32(secret);
    });
}

/// ParameterStatus.
pub(super) fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', |out| {
        put_cstr(out, name);
        put_cstr(out, value);
    });
}

/// NotificationResponse.
pub(super) fn notification(out: &mut Vec<u8>, pid: i32, channel: &str, payload: &str) {
    message(out, b'A', |out| {
        out.put_i32(pid);
        put_cstr(out, channel);
        put_cstr(out, payload);
    });
}

/// ErrorResponse.
pub(super) fn error_response(out: &mut Vec<u8>, error: &Error) {
    message(out, b'E', |out| put_fields(out, error.fields()));
}

/// NoticeResponse.
pub(super) fn notice_response(out: &mut Vec<u8>, notice: &Error) {
    message(out, b'N', |out| put_fields(out, notice.fields()));
}

fn put_fields(out: &mut Vec<u8>, fields: &Fields) {
    put_field(out, b'S', fields.severity.as_str());
    put_field(out, b'V', fields.severity.as_str());
    put_field(out, b'C', fields.code.as_str());
    put_field(out, b'M', &fields.message);
    let optional = [
        (b'D', &fields.detail),
        (b'H', &fields.hint),
        (b'W', &fields.context),
        (b's', &fields.object.schema),
        (b't', &fields.object.table),
        (b'c', &fields.object.column),
        (b'n', &fields.object.constraint),
    ];
    for (kind, text) in optional {
        if let Some(text) = text {
            put_field(out, kind, text);
        }
    }
    if let Some(position) = fields.position {
        put_field(out, b'P', &position.to_string());
    }
    out.push(0);
}

fn put_field(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    put_cstr(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SqlState;

    #[test]
    fn a_message_counts_its_length_but_not_its_type() {
        let mut out = Vec::new();
        parameter_status(&mut out, "TimeZone", "UTC");
        assert_eq!(out, b"S\0\0\0\x11TimeZone\0UTC\0");
    }

    #[test]
    fn an_error_carries_its_fields() {
        let mut out = Vec::new();
        error_response(&mut out, &Error::new(SqlState::SYNTAX_ERROR, "bad").hint("good").at(Some(7)));
        assert_eq!(out[0], b'E');
        assert_eq!(&out[5..], b"SERROR\0VERROR\0C42601\0Mbad\0Hgood\0P7\0\0");
    }

    #[test]
    fn a_nul_in_a_text_cannot_shift_the_frame() {
        let mut out = Vec::new();
        notification(&mut out, 1, "a\0b", "c");
        assert_eq!(&out[5..], b"\0\0\0\x01a\0c\0");
    }
}
