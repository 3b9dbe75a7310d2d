//! Messages from the client after start-up, from bytes (PostgreSQL manual, 55.7 Message Formats).
//!
//! A frame is taken only when it is all there, so memory grows with what was sent and never with what was claimed. A
//! frame that cannot be told from garbage ends the connection; a frame with a bad body is answered with an error, as
//! PostgreSQL does, since the next one can still be found.

use crate::error::{Error, Result, SqlState};
use crate::limits::{COPY_DATA_BYTES_MAX, MESSAGE_BYTES_MAX, STARTUP_PACKET_BYTES_MAX};
use crate::session::{Format, Request, Target};
use crate::types::Oid;
use bytes::{Buf, Bytes, BytesMut};

/// One message.
#[derive(Debug)]
pub(super) enum Frontend {
    /// For the session.
    Request(Request),
    /// A body that cannot be read; within the extended protocol or not.
    Malformed { error: Error, extended: bool },
    /// Terminate.
    Terminate,
}

/// What a COPY is sent next.
#[derive(Debug)]
pub(super) enum CopyPiece {
    /// So many bytes of rows stand at the front of the buffer, to be taken from there.
    Data(usize),
    /// CopyDone.
    Done,
    /// CopyFail with its message.
    Fail(String),
    /// Any other message, which is not taken.
    Unexpected(u8),
}

/// What stands at the front of the buffer while a COPY takes rows; none when it is not all there. CopyData is handed
/// out as it comes, whatever its length: `left` says how much of it is still to come. Flush and Sync are passed over.
pub(super) fn copy_piece(buffer: &mut BytesMut, left: &mut usize) -> Result<Option<CopyPiece>> {
    loop {
        if *left > 0 {
            let length = buffer.len().min(*left);
            *left -= length;
            return Ok((length > 0).then_some(CopyPiece::Data(length)));
        }
        match buffer.first() {
            Some(b'd') => {
                if !begin_data(buffer, left)? {
                    return Ok(None);
                }
            }
            Some(b'c' | b'f' | b'H' | b'S') => {
                let Some((kind, body)) = take_frame(buffer, MESSAGE_BYTES_MAX)? else { return Ok(None) };
                let mut body = Reader(body);
                match kind {
                    b'c' => return body.end().map(|()| Some(CopyPiece::Done)),
                    b'f' => {
                        let message = body.text()?;
                        return body.end().map(|()| Some(CopyPiece::Fail(message)));
                    }
                    _ => body.end()?,
                }
            }
            Some(&kind) => return Ok(Some(CopyPiece::Unexpected(kind))),
            None => return Ok(None),
        }
    }
}

/// Whether a whole message stands at the front of the buffer.
pub(super) fn is_complete(buffer: &[u8]) -> bool {
    // its length counts itself and not the type
    matches!(buffer, &[_, a, b, c, d, ..] if (u32::from_be_bytes([a, b, c, d]) as usize) < buffer.len())
}

/// Takes the head of a CopyData message; false when it is not all there.
fn begin_data(buffer: &mut BytesMut, left: &mut usize) -> Result<bool> {
    if buffer.len() < 5 {
        return Ok(false);
    }
    let length = u32::from_be_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
    if !(4..=COPY_DATA_BYTES_MAX).contains(&length) {
        return Err(violation("invalid message length".to_owned()));
    }
    buffer.advance(5);
    *left = length - 4;
    Ok(true)
}

/// Takes one message from the front of the buffer; none when it is not all there. CopyData that no COPY takes is thrown
/// away as it comes: `left` says how much of it is still to come. An error is fatal.
pub(super) fn decode(buffer: &mut BytesMut, left: &mut usize) -> Result<Option<Frontend>> {
    loop {
        let length = buffer.len().min(*left);
        buffer.advance(length);
        *left -= length;
        if *left > 0 {
            return Ok(None);
        }
        if buffer.first() != Some(&b'd') {
            break;
        }
        if !begin_data(buffer, left)? {
            return Ok(None);
        }
    }
    let Some((kind, body)) = take_frame(buffer, MESSAGE_BYTES_MAX)? else { return Ok(None) };
    if kind == b'X' {
        return Ok(Some(Frontend::Terminate));
    }
    let decoded = match request(kind, Reader(body)) {
        Ok(request) => Frontend::Request(request),
        Err(error) if error.is_fatal() => return Err(error),
        Err(error) => Frontend::Malformed { error, extended: matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C') },
    };
    Ok(Some(decoded))
}

/// Takes the body of a message of the login exchange (`p`), which is small or refused.
pub(super) fn decode_password(buffer: &mut BytesMut) -> Result<Option<Bytes>> {
    match take_frame(buffer, STARTUP_PACKET_BYTES_MAX)? {
        None => Ok(None),
        Some((b'p', body)) => Ok(Some(body)),
        Some((kind, _)) => Err(violation(format!("expected SASL response, got message type {kind}"))),
    }
}

/// SASLInitialResponse: the mechanism and the client's first message.
pub(super) fn sasl_initial(body: Bytes) -> Result<(String, Bytes)> {
    let mut reader = Reader(body);
    let fatal = |error: Error| violation(error.fields().message.clone());
    let mechanism = reader.text().map_err(fatal)?;
    let data = reader.value().map_err(fatal)?.unwrap_or_default();
    reader.end().map_err(fatal)?;
    Ok((mechanism, data))
}

fn take_frame(buffer: &mut BytesMut, length_max: usize) -> Result<Option<(u8, Bytes)>> {
    if buffer.len() < 5 {
        // a type that is no message is garbage even before its length is there
        return match buffer.first() {
            Some(&kind) if !is_known(kind) => Err(unknown_type(kind)),
            _ => Ok(None),
        };
    }
    let kind = buffer[0];
    if !is_known(kind) {
        return Err(unknown_type(kind));
    }
    let length = u32::from_be_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
    if !(4..=length_max).contains(&length) {
        return Err(violation("invalid message length".to_owned()));
    }
    if buffer.len() < length + 1 {
        return Ok(None);
    }
    let mut frame = buffer.split_to(length + 1).freeze();
    frame.advance(5);
    Ok(Some((kind, frame)))
}

fn is_known(kind: u8) -> bool {
    b"QPBDECHSXpdcfF".contains(&kind)
}

fn unknown_type(kind: u8) -> Error {
    violation(format!("invalid frontend message type {kind}"))
}

fn request(kind: u8, mut body: Reader) -> Result<Request> {
    let request = match kind {
        b'Q' => Request::Query(body.text()?),
        b'P' => Request::Parse { name: body.text()?, sql: body.text()?, types: body.counted(Reader::oid)? },
        b'B' => Request::Bind {
            portal: body.text()?,
            statement: body.text()?,
            parameter_formats: body.counted(Reader::format)?,
            parameters: body.counted(Reader::value)?,
            result_formats: body.counted(Reader::format)?,
        },
        b'D' => Request::Describe(body.target("DESCRIBE")?),
        b'C' => Request::Close(body.target("CLOSE")?),
        // a negative count means all, as 0 does
        b'E' => Request::Execute { portal: body.text()?, max_rows: u32::try_from(body.int()?).unwrap_or(0) },
        b'H' => Request::Flush,
        b'S' => Request::Sync,
        other => return Ok(Request::Unexpected(other)),
    };
    body.end()?;
    Ok(request)
}

/// A message's body, read from its front with every length checked.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, count: usize) -> Result<Bytes> {
        if self.0.len() < count {
            return Err(protocol("insufficient data left in message"));
        }
        Ok(self.0.split_to(count))
    }

    fn count(&mut self) -> Result<usize> {
        Ok(usize::from(self.take(2)?.get_u16()))
    }

    fn int(&mut self) -> Result<i32> {
        Ok(self.take(4)?.get_i32())
    }

    /// A string up to its terminator: UTF-8, or 22021.
    fn text(&mut self) -> Result<String> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or_else(|| protocol("invalid string in message"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        match std::str::from_utf8(&text) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(bad_encoding(&text[error.valid_up_to()..], error.error_len())),
        }
    }

    /// Bytes behind their length; a negative length is none.
    fn value(&mut self) -> Result<Option<Bytes>> {
        match self.int()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| protocol("insufficient data left in message"))?;
                self.take(length).map(Some)
            }
        }
    }

    fn oid(&mut self) -> Result<Oid> {
        Ok(Oid(self.take(4)?.get_u32()))
    }

    fn format(&mut self) -> Result<Format> {
        match self.take(2)?.get_i16() {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            code => Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {code}"))),
        }
    }

    /// A 16-bit count and as many items. The capacity follows what is there, not the count.
    fn counted<T>(&mut self, item: fn(&mut Reader) -> Result<T>) -> Result<Vec<T>> {
        let count = self.count()?;
        let mut items = Vec::with_capacity(count.min(self.0.len() / 2 + 1));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn target(&mut self, message: &str) -> Result<Target> {
        match self.take(1)?[0] {
            b'S' => Ok(Target::Statement(self.text()?)),
            b'P' => Ok(Target::Portal(self.text()?)),
            kind => Err(protocol(&format!("invalid {message} message subtype {kind}"))),
        }
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(protocol("invalid message format")) }
    }
}

fn bad_encoding(rest: &[u8], length: Option<usize>) -> Error {
    let bad = &rest[..length.unwrap_or(rest.len()).min(4)];
    let bytes: Vec<String> = bad.iter().map(|byte| format!("0x{byte:02x}")).collect();
    let message = format!("invalid byte sequence for encoding \"UTF8\": {}", bytes.join(" "));
    Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
}

fn protocol(message: &str) -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, message)
}

fn violation(message: String) -> Error {
    Error::fatal(SqlState::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postgres_protocol::IsNull;
    use postgres_protocol::message::frontend;
    use proptest::prelude::*;

    fn one(mut bytes: BytesMut) -> Frontend {
        let message = decode(&mut bytes, &mut 0).expect("no garbage").expect("all there");
        assert!(bytes.is_empty());
        message
    }

    fn frame(kind: u8, body: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::from(&[kind][..]);
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_bind_is_read_as_a_client_writes_it() {
        let mut bytes = BytesMut::new();
        let values = [Some(&b"7"[..]), None];
        let write = |value: Option<&[u8]>, out: &mut BytesMut| match value {
            Some(value) => {
                out.extend_from_slice(value);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        };
        frontend::bind("p", "s", [1i16], values, write, [0i16, 1], &mut bytes).unwrap_or_else(|_| panic!("fits"));
        let Frontend::Request(Request::Bind { portal, statement, parameter_formats, parameters, result_formats }) =
            one(bytes)
        else {
            panic!("a Bind")
        };
        assert_eq!((portal.as_str(), statement.as_str()), ("p", "s"));
        assert_eq!(parameter_formats, [Format::Binary]);
        assert_eq!(parameters, [Some(Bytes::from_static(b"7")), None]);
        assert_eq!(result_formats, [Format::Text, Format::Binary]);
    }

    #[test]
    fn a_bad_body_is_an_error_and_the_next_message_is_found() {
        let cases: [(u8, &[u8], &str); 7] = [
            (b'Q', b"select 1", "08P01"),
            (b'Q', b"select '\xff'\0", "22021"),
            (b'Q', b"select 1\0rest", "08P01"),
            (b'P', b"\0select 1\0\xff\xff", "08P01"),
            (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff", "08P01"),
            (b'B', b"\0\0\0\x01\0\x02\0\0\0\0", "22023"),
            (b'D', b"X\0", "08P01"),
        ];
        for (kind, body, code) in cases {
            let mut bytes = frame(kind, body);
            bytes.unsplit(frame(b'S', b""));
            match decode(&mut bytes, &mut 0) {
                Ok(Some(Frontend::Malformed { error, extended })) => {
                    assert_eq!(error.code().as_str(), code, "{body:?}");
                    assert_eq!(extended, kind != b'Q');
                }
                other => panic!("{body:?}: {other:?}"),
            }
            assert!(matches!(one(bytes), Frontend::Request(Request::Sync)));
        }
    }

    #[test]
    fn garbage_and_a_claim_of_a_gibibyte_end_the_connection() {
        for bytes in [&b"GET / HTTP/1.1"[..], b"\0", b"Q\x40\0\0\0", b"Q\0\0\0\x03", b"Q\xff\xff\xff\xff"] {
            let error = decode(&mut BytesMut::from(bytes), &mut 0).expect_err("garbage");
            assert!(error.is_fatal() && error.code() == SqlState::PROTOCOL_VIOLATION, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(kind in proptest::sample::select(b"QPBDECHSXpdcf".to_vec()),
                          body in proptest::collection::vec(any::<u8>(), 0..48)) {
            let _ = decode(&mut frame(kind, &body), &mut 0);
            let _ = sasl_initial(Bytes::from(body));
        }

        #[test]
        fn messages_survive_the_round_trip_however_they_are_cut(sql in "[^\0]{0,40}", rows in 0i32.., cut in 0usize..40) {
            let mut bytes = BytesMut::new();
            frontend::parse("n", &sql, [20u32], &mut bytes).unwrap();
            frontend::execute("p", rows, &mut bytes).unwrap();
            let rest = bytes.split_off(cut.min(bytes.len()));
            let mut seen = Vec::new();
            for part in [bytes.split(), rest] {
                bytes.unsplit(part);
                while let Some(message) = decode(&mut bytes, &mut 0).expect("no garbage") {
                    seen.push(format!("{message:?}"));
                }
            }
            let parse = Request::Parse { name: "n".into(), sql, types: vec![Oid(20)] };
            let execute = Request::Execute { portal: "p".into(), max_rows: rows as u32 };
            let expected = [Frontend::Request(parse), Frontend::Request(execute)].map(|m| format!("{m:?}"));
            prop_assert_eq!(seen, expected);
        }
    }
}
