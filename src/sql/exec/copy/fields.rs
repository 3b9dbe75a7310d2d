//! One line of a COPY as values: cut at the delimiters, with what a backslash means (PostgreSQL's
//! CopyReadAttributesText).

use crate::error::Result;
use crate::sql::plan::CopyFormat;
use crate::types::{Str, binary};
use bytes::Bytes;
use std::ops::Range;

/// One value of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Null,
    /// As it stands in the line.
    Plain(Range<usize>),
    /// Without its escapes.
    Unescaped(Str),
}

/// The values of a line. The buffers serve line after line.
#[derive(Debug, Default)]
pub(super) struct Fields {
    line: Str,
    fields: Vec<Field>,
}

impl Fields {
    /// A line of a table without columns.
    pub(super) fn clear(&mut self) {
        self.fields.clear();
    }

    /// Cuts a line.
    ///
    /// # Errors
    /// 22021 where escapes make a value that is no text.
    pub(super) fn split(&mut self, line: Str, format: &CopyFormat) -> Result<()> {
        self.fields.clear();
        let bytes = line.as_bytes();
        let mut start = 0;
        loop {
            let found = memchr::memchr2(format.delimiter, b'\\', &bytes[start..]).map(|found| start + found);
            let (end, unescaped) = match found {
                Some(at) if bytes[at] == b'\\' => {
                    let (end, unescaped) = unescape(bytes, start, at, format.delimiter);
                    (end, Some(unescaped))
                }
                found => (found.unwrap_or(bytes.len()), None),
            };
            // the mark for NULL is compared with what was sent, so that a value can be written that looks like it
            self.fields.push(match unescaped {
                _ if bytes[start..end] == format.null => Field::Null,
                None => Field::Plain(start..end),
                Some(unescaped) => Field::Unescaped(binary::utf8(Bytes::from(unescaped))?),
            });
            if bytes.get(end) != Some(&format.delimiter) {
                break;
            }
            start = end + 1;
        }
        self.line = line;
        Ok(())
    }

    /// How many values the line has.
    pub(super) fn count(&self) -> usize {
        self.fields.len()
    }

    /// A value; none is NULL.
    pub(super) fn text(&self, index: usize) -> Option<&str> {
        match &self.fields[index] {
            Field::Null => None,
            Field::Plain(range) => Some(&self.line[range.clone()]),
            Field::Unescaped(text) => Some(text),
        }
    }

    /// A value that shares the line's buffer.
    pub(super) fn shared(&self, index: usize) -> Option<Str> {
        match &self.fields[index] {
            Field::Null => None,
            Field::Plain(range) => Some(self.line.slice(range.clone())),
            Field::Unescaped(text) => Some(text.clone()),
        }
    }
}

/// A field's value without its escapes, and where the field ends. The first backslash stands at `at`.
fn unescape(bytes: &[u8], start: usize, at: usize, delimiter: u8) -> (usize, Vec<u8>) {
    let mut out = bytes[start..at].to_vec();
    let mut at = at;
    loop {
        let Some(&byte) = bytes.get(at) else { return (at, out) };
        if byte == delimiter {
            return (at, out);
        }
        if byte != b'\\' {
            out.push(byte);
            at += 1;
            continue;
        }
        let Some(&escaped) = bytes.get(at + 1) else { return (at, out) };
        at += 2;
        out.push(match escaped {
            b'0'..=b'7' => {
                let (value, length) = digits(&bytes[at..], u32::from(escaped - b'0'), 8);
                at += length;
                value as u8
            }
            b'x' if bytes.get(at).is_some_and(u8::is_ascii_hexdigit) => {
                let (value, length) = digits(&bytes[at..], 0, 16);
                at += length;
                value as u8
            }
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            other => other,
        });
    }
}

/// Up to two digits that go on a number, and how many there are.
fn digits(bytes: &[u8], mut value: u32, radix: u32) -> (u32, usize) {
    let mut length = 0;
    for digit in bytes.iter().take(2).map_while(|&byte| char::from(byte).to_digit(radix)) {
        value = value * radix + digit;
        length += 1;
    }
    (value, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::plan::CopyHeader;
    use proptest::prelude::*;

    fn split(line: &str, null: &str) -> Result<Vec<Option<String>>> {
        let format = CopyFormat { delimiter: b'|', null: null.as_bytes().to_vec(), header: CopyHeader::None };
        let mut fields = Fields::default();
        fields.split(Str::from(line), &format)?;
        let all = (0..fields.count()).map(|index| fields.text(index).map(str::to_owned)).collect();
        assert!((0..fields.count()).all(|index| fields.shared(index).as_deref() == fields.text(index)));
        Ok(all)
    }

    fn some(values: &[&str]) -> Vec<Option<String>> {
        values.iter().map(|value| Some((*value).to_owned())).collect()
    }

    #[test]
    fn escapes_are_those_of_the_manual() {
        assert_eq!(
            split(r"a|\b\f\n\r\t\v|\\|\||\q", r"\N").unwrap(),
            some(&["a", "\u{8}\u{c}\n\r\t\u{b}", "\\", "|", "q"])
        );
        assert_eq!(split(r"\101\7\0618|\x41\x7z\xg", r"\N").unwrap(), some(&["A\u{7}18", "A\u{7}zxg"]));
        assert_eq!(split(r"\303\244|\xe2\x82\xac", r"\N").unwrap(), some(&["ä", "€"]));
        assert_eq!(split("", r"\N").unwrap(), some(&[""]));
        assert_eq!(split("|", r"\N").unwrap(), some(&["", ""]));
        assert_eq!(split(r"a\", r"\N").unwrap(), some(&["a"]));
    }

    #[test]
    fn null_is_what_was_sent_not_what_it_means() {
        assert_eq!(split(r"\N|\\N|N", r"\N").unwrap(), [None, Some("\\N".to_owned()), Some("N".to_owned())]);
        assert_eq!(split("|x|", "").unwrap(), [None, Some("x".to_owned()), None]);
        assert_eq!(split(r"\x|", r"\x").unwrap(), [None, Some(String::new())]);
    }

    #[test]
    fn an_escape_that_makes_no_text_is_refused_unless_it_is_null() {
        for bad in [r"\xff", r"\000", r"\xe2\x82"] {
            assert_eq!(split(bad, r"\N").expect_err("no text").code().as_str(), "22021");
            assert_eq!(split(bad, bad).unwrap(), [None]);
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "[a-z0-9\\\\|xN.ä\u{0}]{0,24}", null in "[a-zN\\\\]{0,3}") {
            let _ = split(&line, &null);
        }
    }
}
