//! Escapes inside string literals: `E'…'` and `U&'…'`.

use crate::error::{Error, SqlState};

/// The value of an `E'…'` string's inside. An error comes with its offset in bytes.
pub fn escaped(raw: &str) -> Result<String, (usize, Error)> {
    let mut out: Vec<u8> = Vec::with_capacity(raw.len());
    let bytes = raw.as_bytes();
    let mut at = 0;
    let mut high: Option<u32> = None;
    while at < bytes.len() {
        let start = at;
        let Some(escape) = (bytes[at] == b'\\').then(|| bytes.get(at + 1)).flatten() else {
            refuse_open_pair(high, start)?;
            out.push(bytes[at]);
            // A quote stands doubled here.
            at += if bytes[at] == b'\'' { 2 } else { 1 };
            continue;
        };
        at += 2;
        if matches!(escape, b'u' | b'U') {
            let digits = if *escape == b'u' { 4 } else { 8 };
            let code = hex(raw, at, digits).ok_or_else(|| (start, bad_escape()))?;
            at += digits;
            high = push_code(&mut out, high, code).map_err(|error| (start, error))?;
            continue;
        }
        refuse_open_pair(high, start)?;
        match escape {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let length = digits_at(bytes, at - 1, 3, |byte| matches!(byte, b'0'..=b'7'));
                let value = u32::from_str_radix(&raw[at - 1..at - 1 + length], 8).expect("octal digits");
                out.push(value as u8);
                at += length - 1;
            }
            b'x' if bytes.get(at).is_some_and(u8::is_ascii_hexdigit) => {
                let length = digits_at(bytes, at, 2, |byte| byte.is_ascii_hexdigit());
                out.push(u8::from_str_radix(&raw[at..at + length], 16).expect("hexadecimal digits"));
                at += length;
            }
            other => out.push(*other),
        }
    }
    refuse_open_pair(high, raw.len())?;
    finish(out).map_err(|error| (0, error))
}

fn digits_at(bytes: &[u8], at: usize, most: usize, test: fn(u8) -> bool) -> usize {
    bytes[at..].iter().take(most).take_while(|&&byte| test(byte)).count()
}

fn refuse_open_pair(high: Option<u32>, at: usize) -> Result<(), (usize, Error)> {
    match high {
        Some(_) => Err((at, Error::new(SqlState::SYNTAX_ERROR, "invalid Unicode surrogate pair"))),
        None => Ok(()),
    }
}

fn hex(raw: &str, at: usize, digits: usize) -> Option<u32> {
    let text = raw.get(at..at + digits)?;
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok())?
}

fn bad_escape() -> Error {
    Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid Unicode escape")
        .hint("Unicode escapes must be \\uXXXX or \\UXXXXXXXX.")
}

/// Appends a code point; a first surrogate is handed back to be joined with the second.
fn push_code(out: &mut Vec<u8>, high: Option<u32>, code: u32) -> Result<Option<u32>, Error> {
    let is_high = (0xd800..0xdc00).contains(&code);
    let is_low = (0xdc00..0xe000).contains(&code);
    let code = match (high, is_high, is_low) {
        (None, true, _) => return Ok(Some(code)),
        (None, _, false) => code,
        (Some(high), _, true) => 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00),
        _ => return Err(Error::new(SqlState::SYNTAX_ERROR, "invalid Unicode surrogate pair")),
    };
    let character = char::from_u32(code).filter(|&character| character != '\0');
    let character = character.ok_or_else(|| Error::new(SqlState::SYNTAX_ERROR, "invalid Unicode escape value"))?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(None)
}

/// Octal and hexadecimal escapes can make anything; what is kept is UTF-8 without zeros.
fn finish(bytes: Vec<u8>) -> Result<String, Error> {
    let wrong = |bytes: &[u8]| {
        let shown: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
        let message = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
        Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
    };
    if bytes.contains(&0) {
        return Err(wrong(&[0]));
    }
    String::from_utf8(bytes).map_err(|error| {
        let from = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let claimed = match bytes[from] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        wrong(&bytes[from..bytes.len().min(from + claimed)])
    })
}

/// The value of a `U&'…'` string's inside.
pub fn unicode(raw: &str, escape: char) -> Result<String, Error> {
    let bad = || {
        Error::new(SqlState::SYNTAX_ERROR, "invalid Unicode escape")
            .hint("Unicode escapes must be \\XXXX or \\+XXXXXX.")
    };
    let mut out = Vec::with_capacity(raw.len());
    let mut high = None;
    let mut rest = raw;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        if character != escape || after.starts_with(escape) {
            refuse_open_pair(high, 0).map_err(|(_, error)| error)?;
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = if character == escape { &after[escape.len_utf8()..] } else { after };
            continue;
        }
        let (from, digits) = if after.starts_with('+') { (1, 6) } else { (0, 4) };
        let code = hex(after, from, digits).ok_or_else(bad)?;
        high = push_code(&mut out, high, code)?;
        rest = &after[from + digits..];
    }
    refuse_open_pair(high, 0).map_err(|(_, error)| error)?;
    finish(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_postgresql_reads_them() {
        let read = |raw| escaped(raw).map_err(|(_, error)| error.fields().message.clone());
        assert_eq!(read("a\\nb\\tc\\\\''d"), Ok("a\nb\tc\\'d".to_owned()));
        assert_eq!(read("\\101\\x41\\u0041\\U00000041\\q"), Ok("AAAAq".to_owned()));
        assert_eq!(read("\\ud83d\\ude00"), Ok("😀".to_owned()));
        assert_eq!(read("\\ud83dx"), Err("invalid Unicode surrogate pair".to_owned()));
        assert_eq!(read("\\u00"), Err("invalid Unicode escape".to_owned()));
        assert_eq!(read("\\xff"), Err("invalid byte sequence for encoding \"UTF8\": 0xff".to_owned()));
        assert_eq!(read("a\\0"), Err("invalid byte sequence for encoding \"UTF8\": 0x00".to_owned()));
        assert_eq!(unicode("d\\0061t\\+000061\\\\", '\\').ok(), Some("data\\".to_owned()));
        assert!(unicode("\\00", '\\').is_err());
    }
}
