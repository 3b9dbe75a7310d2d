//! What a client sends to a COPY, cut into lines however the messages were cut (PostgreSQL manual, COPY, text format).
//!
//! A line is handed out as a slice of the buffer that it came in, and so are its values: nothing is copied but a line
//! that goes on in the next message. What makes a line's end is learnt from the first.

use crate::error::{Error, Result, SqlState};
use crate::limits::COPY_LINE_BYTES_MAX;
use crate::types::{Str, binary};
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the longest character.
const LONGEST_CHARACTER: usize = 4;

/// What a client sends to a COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyInput<'a> {
    /// CopyData, or a part of it.
    Data(&'a [u8]),
    /// CopyDone.
    Done,
    /// CopyFail with its message.
    Fail(String),
    /// A message that must not come now.
    Unexpected(u8),
}

/// How the data ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// CopyDone.
    Done,
    /// CopyFail.
    Fail(String),
    /// A message that must not come now.
    Unexpected(u8),
}

/// What makes a line's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Eol {
    #[default]
    Unknown,
    Lf,
    Cr,
    CrLf,
}

/// Data on its way to a COPY.
#[derive(Debug, Default)]
pub struct CopyFeed {
    /// Data in which no line's end has been found yet.
    tail: BytesMut,
    /// So much of it has been looked through.
    scanned: usize,
    /// Data in which one has been found.
    block: Bytes,
    eol: Eol,
    end: Option<End>,
    /// Nothing more is taken: the end marker has come.
    marked: bool,
    /// Lines that are done.
    done: u64,
}

/// The next line of a feed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its end.
    Text(Str),
    /// The rest has not come yet.
    More,
    /// There is none.
    End(End),
}

impl CopyFeed {
    /// The number of the line that is being read or written, from 1.
    pub fn line(&self) -> u64 {
        self.done + 1
    }

    /// Goes on to the next line.
    pub(super) fn end_line(&mut self) {
        self.done += 1;
    }

    /// Takes what the client has sent.
    pub fn put(&mut self, input: CopyInput) {
        match input {
            CopyInput::Data(_) if self.marked => {}
            CopyInput::Data(data) => self.tail.extend_from_slice(data),
            CopyInput::Done => self.end = Some(End::Done),
            CopyInput::Fail(message) => self.end = Some(End::Fail(message)),
            CopyInput::Unexpected(kind) => self.end = Some(End::Unexpected(kind)),
        }
    }

    /// The next line.
    ///
    /// # Errors
    /// 22021 for what is no text, 22P04 for line ends that differ and for a bad end marker, 54000 for a line that is too
    /// long.
    pub(super) fn next_line(&mut self) -> Result<Line> {
        if !self.block.is_empty() {
            match scan(&self.block, 0, &mut self.eol, false)? {
                Scan::More(resume) => {
                    self.tail.extend_from_slice(&self.block);
                    self.block.clear();
                    self.scanned = resume;
                }
                found => return self.take(found),
            }
        }
        let done = self.end == Some(End::Done);
        if self.tail.is_empty() {
            return Ok(self.end.clone().map_or(Line::More, Line::End));
        }
        match scan(&self.tail, self.scanned, &mut self.eol, done)? {
            Scan::More(resume) => {
                self.scanned = resume;
                if self.tail.len() > COPY_LINE_BYTES_MAX {
                    let message = format!("line of COPY exceeds {COPY_LINE_BYTES_MAX} bytes");
                    return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
                }
                Ok(self.end.clone().map_or(Line::More, Line::End))
            }
            found => {
                self.block = self.tail.split().freeze();
                self.scanned = 0;
                self.take(found)
            }
        }
    }

    /// Takes a line that was found at the front of the block.
    fn take(&mut self, found: Scan) -> Result<Line> {
        match found {
            Scan::Line { end, next } => {
                let line = checked(&self.block, end)?;
                self.block.advance(next);
                Ok(Line::Text(line))
            }
            Scan::Marker { end } => {
                let line = checked(&self.block, end)?;
                self.marked = true;
                self.block.clear();
                if line.is_empty() { self.next_line() } else { Ok(Line::Text(line)) }
            }
            Scan::More(_) => Err(Error::internal("a line that was not found")),
        }
    }
}

/// What stands at the front of some data.
enum Scan {
    /// A line, and where the next begins.
    Line { end: usize, next: usize },
    /// The end marker behind so much of a line.
    Marker { end: usize },
    /// Neither yet; so much need not be looked at again.
    More(usize),
}

/// Looks for a line's end (PostgreSQL's CopyReadLineText). `last` says that nothing comes after the data.
fn scan(data: &[u8], from: usize, eol: &mut Eol, last: bool) -> Result<Scan> {
    let mut at = from;
    while let Some(found) = memchr::memchr3(b'\n', b'\r', b'\\', &data[at..]) {
        at += found;
        match (data[at], data.get(at + 1)) {
            (b'\n', _) => {
                if matches!(eol, Eol::Cr | Eol::CrLf) {
                    return Err(refuse(data, at, literal("newline", 'n')));
                }
                *eol = Eol::Lf;
                return Ok(Scan::Line { end: at, next: at + 1 });
            }
            (b'\r', _) if *eol == Eol::Lf => return Err(refuse(data, at, literal("carriage return", 'r'))),
            (b'\r', _) if *eol == Eol::Cr => return Ok(Scan::Line { end: at, next: at + 1 }),
            (b'\r', Some(b'\n')) => {
                *eol = Eol::CrLf;
                return Ok(Scan::Line { end: at, next: at + 2 });
            }
            (_, None) if !last => return Ok(Scan::More(at)),
            (b'\r', _) => {
                // PostgreSQL looks at the next character first, which may be none
                if !is_text_at(data, at + 1, last)? {
                    return Ok(Scan::More(at));
                }
                if *eol == Eol::CrLf {
                    return Err(refuse(data, at, literal("carriage return", 'r')));
                }
                *eol = Eol::Cr;
                return Ok(Scan::Line { end: at, next: at + 1 });
            }
            (_, Some(b'.')) => return marker(data, at, *eol, last),
            // what follows a backslash is data, a line's end too
            (_, next) => at += 1 + usize::from(next.is_some()),
        }
    }
    let end = data.len();
    Ok(if last { Scan::Line { end, next: end } } else { Scan::More(end) })
}

/// `\.`, which must be followed by a line's end as the lines before had it.
fn marker(data: &[u8], at: usize, eol: Eol, last: bool) -> Result<Scan> {
    let corrupt = || Err(refuse(data, at, bad_format("end-of-copy marker corrupt")));
    let mismatch = || Err(refuse(data, at, bad_format("end-of-copy marker does not match previous newline style")));
    let byte = |place: usize| match data.get(place) {
        None if !last => None,
        byte => Some(byte.copied().unwrap_or(0)),
    };
    let mut place = at + 2;
    if eol == Eol::CrLf {
        match byte(place) {
            None => return Ok(Scan::More(at)),
            Some(b'\r') => place += 1,
            Some(b'\n') => return mismatch(),
            Some(_) => return corrupt(),
        }
    }
    match (eol, byte(place)) {
        (_, None) => Ok(Scan::More(at)),
        (Eol::Lf | Eol::CrLf, Some(b'\r')) | (Eol::Cr, Some(b'\n')) => mismatch(),
        (_, Some(b'\r' | b'\n')) => Ok(Scan::Marker { end: at }),
        _ => corrupt(),
    }
}

/// The error at a place, unless what stands before it is no text, which PostgreSQL finds first.
fn refuse(data: &[u8], at: usize, error: Error) -> Error {
    checked(&Bytes::copy_from_slice(data), at).err().unwrap_or(error)
}

/// The front of some data as text. 22021 shows bytes behind it too where a character would go on there.
fn checked(data: &Bytes, end: usize) -> Result<Str> {
    binary::utf8(data.slice(..end)).map_err(|error| {
        let longer = data.slice(..data.len().min(end + LONGEST_CHARACTER - 1));
        binary::utf8(longer).err().unwrap_or(error)
    })
}

/// Whether a character begins at a place: false where its rest has not come yet, 22021 where there is none.
fn is_text_at(data: &[u8], at: usize, last: bool) -> Result<bool> {
    let front = &data[at..data.len().min(at + LONGEST_CHARACTER)];
    match std::str::from_utf8(front) {
        Err(error) if error.valid_up_to() == 0 && (last || error.error_len().is_some()) => {
            binary::utf8(Bytes::copy_from_slice(front)).map(|_| true)
        }
        Err(error) => Ok(error.valid_up_to() > 0),
        Ok(_) => Ok(true),
    }
}

fn literal(what: &str, letter: char) -> Error {
    bad_format(format!("literal {what} found in data")).hint(format!("Use \"\\{letter}\" to represent {what}."))
}

/// 22P04.
pub(super) fn bad_format(message: impl Into<String>) -> Error {
    Error::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]]) -> Result<Vec<String>> {
        let mut feed = CopyFeed::default();
        let mut pieces = pieces.iter();
        let mut lines = Vec::new();
        loop {
            match feed.next_line()? {
                Line::Text(line) => lines.push(line.to_string()),
                Line::End(end) => {
                    assert_eq!(end, End::Done);
                    return Ok(lines);
                }
                Line::More => match pieces.next() {
                    Some(piece) => feed.put(CopyInput::Data(piece)),
                    None => feed.put(CopyInput::Done),
                },
            }
        }
    }

    #[test]
    fn a_line_ends_as_the_first_did() {
        assert_eq!(lines(&[b"a\nb\n\nc"]).unwrap(), ["a", "b", "", "c"]);
        assert_eq!(lines(&[b"a\r\nb\r\n"]).unwrap(), ["a", "b"]);
        assert_eq!(lines(&[b"a\rb\rc\r"]).unwrap(), ["a", "b", "c"]);
        assert_eq!(lines(&[b"a\\\nb\n"]).unwrap(), ["a\\\nb"]);
        assert_eq!(lines(&[b"a\n\\.\nb\n", b"c\n"]).unwrap(), ["a"]);
        for bad in [&b"a\nb\rc"[..], b"a\rb\nc", b"a\r\nb\nc", b"a\r\nb\rc", b"a\n\\.x\n", b"a\n\\.", b"a\r\n\\.\n"] {
            let error = lines(&[bad]).expect_err("two kinds of line ends");
            assert_eq!(error.code(), SqlState::BAD_COPY_FILE_FORMAT);
        }
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_are_cut(
            data in proptest::collection::vec(proptest::sample::select(b"ab\\.\r\n\n".to_vec()), 0..40),
            cuts in proptest::collection::vec(0usize..40, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(data.len())).chain([0, data.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect();
            let (whole, cut) = (lines(&[&data]), lines(&pieces));
            prop_assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
        }
    }
}
