//! What a client sends before it is known: requests for encryption, cancel requests and the start-up packet, from
//! bytes. Nothing here trusts a length or a text.

use crate::error::{Error, Result, SqlState};
use crate::limits::STARTUP_PACKET_BYTES_MAX;
use bytes::{Buf, BytesMut};

const CANCEL_REQUEST: u32 = 1234 << 16 | 5678;
const SSL_REQUEST: u32 = 1234 << 16 | 5679;
const GSS_ENCRYPTION_REQUEST: u32 = 1234 << 16 | 5680;

/// The first packets of a connection.
#[derive(Debug, PartialEq)]
pub(super) enum Opening {
    /// SSLRequest or GSSENCRequest.
    Encryption,
    /// CancelRequest: which session, and the secret that proves the right to cancel.
    Cancel { pid: i32, secret: i32 },
    /// The start-up packet.
    Startup(Startup),
}

/// A start-up packet of protocol 3.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Startup {
    /// The minor protocol version asked for.
    pub(super) minor: u16,
    /// The role's name.
    pub(super) user: String,
    /// The database's name; the role's name unless given.
    pub(super) database: String,
    /// Session settings in the order they were given, those of `options` first, as PostgreSQL applies them.
    pub(super) settings: Vec<(String, String)>,
    /// Protocol options (`_pq_.…`) that were asked for; none is known.
    pub(super) protocol_options: Vec<String>,
}

impl Opening {
    /// Takes one packet from the front of the buffer; none when it is not all there.
    pub(super) fn decode(buffer: &mut BytesMut) -> Result<Option<Opening>> {
        let Some(mut head) = buffer.get(..4) else { return Ok(None) };
        let length = head.get_u32() as usize;
        if !(8..=STARTUP_PACKET_BYTES_MAX).contains(&length) {
            return Err(violation("invalid length of startup packet"));
        }
        if buffer.len() < length {
            return Ok(None);
        }
        let mut packet = buffer.split_to(length).freeze();
        packet.advance(4);
        let code = packet.get_u32();
        match code {
            SSL_REQUEST | GSS_ENCRYPTION_REQUEST if packet.is_empty() => Ok(Some(Opening::Encryption)),
            CANCEL_REQUEST if packet.len() == 8 => {
                Ok(Some(Opening::Cancel { pid: packet.get_i32(), secret: packet.get_i32() }))
            }
            CANCEL_REQUEST | SSL_REQUEST | GSS_ENCRYPTION_REQUEST => Err(violation("invalid length of startup packet")),
            _ => Startup::decode(code, &packet).map(|startup| Some(Opening::Startup(startup))),
        }
    }
}

impl Startup {
    fn decode(version: u32, body: &[u8]) -> Result<Startup> {
        let (major, minor) = ((version >> 16) as u16, version as u16);
        if major != 3 {
            return Err(Error::fatal(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"),
            ));
        }
        let mut startup = Startup { minor, ..Startup::default() };
        let mut given = Vec::new();
        for (name, value) in pairs(body)? {
            match name {
                "user" => startup.user = value.to_owned(),
                "database" => startup.database = value.to_owned(),
                "options" => startup.settings = command_line_settings(value)?,
                "replication" => refuse_replication(value)?,
                _ if name.starts_with("_pq_.") => startup.protocol_options.push(name.to_owned()),
                _ => given.push((name.to_owned(), value.to_owned())),
            }
        }
        startup.settings.append(&mut given);
        if startup.user.is_empty() {
            return Err(Error::fatal(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                "no PostgreSQL user name specified in startup packet",
            ));
        }
        if startup.database.is_empty() {
            startup.database = startup.user.clone();
        }
        Ok(startup)
    }
}

/// The packet's names and values up to the empty name that ends it.
fn pairs(body: &[u8]) -> Result<Vec<(&str, &str)>> {
    let layout = || violation("invalid startup packet layout: expected terminator as last byte");
    let body = body.strip_suffix(&[0]).ok_or_else(layout)?;
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let body = body.strip_suffix(&[0]).ok_or_else(layout)?;
    let texts = body.split(|&byte| byte == 0).map(|text| {
        std::str::from_utf8(text).map_err(|_| {
            Error::fatal(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\"")
        })
    });
    let texts = texts.collect::<Result<Vec<_>>>()?;
    if texts.len() % 2 != 0 || texts.iter().step_by(2).any(|name| name.is_empty()) {
        return Err(layout());
    }
    Ok(texts.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

fn refuse_replication(value: &str) -> Result<()> {
    let lower = value.to_ascii_lowercase();
    // PostgreSQL's Booleans may be cut
    let is = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    if lower == "0" || is("false", 1) || is("no", 1) || is("off", 2) {
        return Ok(());
    }
    if lower == "1" || value == "database" || is("true", 1) || is("yes", 1) || is("on", 2) {
        return Err(Error::fatal(SqlState::FEATURE_NOT_SUPPORTED, "replication connections are not supported")
            .hint("Changes can be read with SUBSCRIBE and CONSUME."));
    }
    let message = format!("invalid value for parameter \"replication\": \"{value}\"");
    Err(Error::fatal(SqlState::INVALID_PARAMETER_VALUE, message)
        .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\"."))
}

/// The settings of `options`: PostgreSQL's `-c name=value` and `--name=value`, words parted by white space, a backslash
/// keeping the next character.
fn command_line_settings(options: &str) -> Result<Vec<(String, String)>> {
    let invalid = |word: &str| {
        Error::fatal(SqlState::SYNTAX_ERROR, format!("invalid command-line argument for server process: {word}"))
            .hint("Only -c name=value and --name=value are known.")
    };
    let mut settings = Vec::new();
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let (flag, assignment) = match word.strip_prefix("-c") {
            Some("") => ("-c ", words.next().ok_or_else(|| invalid(&word))?),
            Some(rest) => ("-c ", rest.to_owned()),
            None => ("--", word.strip_prefix("--").ok_or_else(|| invalid(&word))?.to_owned()),
        };
        let (name, value) = assignment
            .split_once('=')
            .ok_or_else(|| Error::fatal(SqlState::SYNTAX_ERROR, format!("{flag}{assignment} requires a value")))?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            _ if character.is_ascii_whitespace() => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

fn violation(message: &str) -> Error {
    Error::fatal(SqlState::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use proptest::prelude::*;

    fn packet(code: u32, body: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        bytes.put_u32(body.len() as u32 + 8);
        bytes.put_u32(code);
        bytes.put_slice(body);
        bytes
    }

    fn startup(body: &[u8]) -> Result<Startup> {
        match Opening::decode(&mut packet(3 << 16, body))? {
            Some(Opening::Startup(startup)) => Ok(startup),
            other => panic!("{other:?}"),
        }
    }

    fn setting(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn settings_of_options_come_before_the_others() {
        let startup =
            startup(b"user\0ann\0client_encoding\0'utf-8'\0options\0-c a=1 --b-c=x\\ y -cd=2\0\0").expect("valid");
        assert_eq!(startup.user, "ann");
        assert_eq!(startup.database, "ann");
        let expected =
            vec![setting("a", "1"), setting("b_c", "x y"), setting("d", "2"), setting("client_encoding", "'utf-8'")];
        assert_eq!(startup.settings, expected);
    }

    #[test]
    fn bad_packets_are_refused_with_postgresql_s_codes() {
        let code = |body: &[u8]| startup(body).expect_err("refused").code().as_str().to_owned();
        assert_eq!(code(b"database\0x\0\0"), "28000");
        assert_eq!(code(b"\0"), "28000");
        assert_eq!(code(b"user\0ann\0"), "08P01");
        assert_eq!(code(b"user\0ann"), "08P01");
        assert_eq!(code(b"user\0ann\0\xff\0x\0\0"), "22021");
        assert_eq!(code(b"user\0ann\0options\0-x\0\0"), "42601");
        assert_eq!(code(b"user\0ann\0replication\0database\0\0"), "0A000");
        let old = Opening::decode(&mut packet(2 << 16, b"user\0ann\0\0")).expect_err("refused");
        assert_eq!(old.fields().message, "unsupported frontend protocol 2.0: server supports 3.0 to 3.0");
    }

    #[test]
    fn a_claim_of_a_gibibyte_is_refused_before_it_is_read() {
        let mut bytes = BytesMut::from(&b"\x40\0\0\0"[..]);
        assert!(Opening::decode(&mut bytes).is_err());
    }

    #[test]
    fn half_a_packet_is_waited_for() {
        let mut whole = packet(SSL_REQUEST, b"");
        let rest = whole.split_off(5);
        assert_eq!(Opening::decode(&mut whole).expect("fine so far"), None);
        whole.unsplit(rest);
        assert_eq!(Opening::decode(&mut whole).expect("valid"), Some(Opening::Encryption));
    }

    #[test]
    fn a_cancel_request_names_session_and_secret() {
        let cancel = Opening::decode(&mut packet(CANCEL_REQUEST, &[0, 0, 0, 7, 0, 0, 1, 0])).expect("valid");
        assert_eq!(cancel, Some(Opening::Cancel { pid: 7, secret: 256 }));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), code in 0u32..4) {
            let codes = [3 << 16, SSL_REQUEST, CANCEL_REQUEST, 0];
            let _ = Opening::decode(&mut packet(codes[code as usize], &bytes));
            let _ = Opening::decode(&mut BytesMut::from(&bytes[..]));
        }
    }
}
