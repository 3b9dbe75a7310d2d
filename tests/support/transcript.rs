//! Transcripts: a readable file of what a client sends and what the server answers, message by message.
//!
//! ```text
//! # a comment
//! > Parse "name" [int4] SELECT $1 + 1          a message to send; those of a block leave in one write
//! > Bind "portal" "name" [binary] [x"00000001" "text" NULL] [text]
//! > Sync
//! < ParseComplete                              the answer, written by a real PostgreSQL
//! ```
//!
//! A block is answered once as many ReadyForQuery have come as it has Query and Sync, or once the messages that a line
//! `? RowDescription` names have come; `? nothing` waits for none, `? Closed` for the connection's end. `b>`, `b?` and `b<` are a second connection's.

use super::client::Client;
use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::IsNull;
use postgres_protocol::message::{backend, frontend};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tertulia::types::{Oid, SqlType};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a cancelled statement has before it is cancelled again: a request may come before its statement.
const CANCEL_AGAIN: Duration = Duration::from_secs(3);

/// A message to send.
enum Message {
    Query(String),
    Parse { name: String, types: Vec<u32>, sql: String },
    Bind { portal: String, statement: String, formats: Vec<i16>, values: Vec<Option<Vec<u8>>>, results: Vec<i16> },
    Describe(u8, String),
    Execute(String, i32),
    Close(u8, String),
    Flush,
    Sync,
    CopyData(Vec<u8>),
    CopyDone,
    CopyFail(String),
    CancelRequest,
}

/// A block or a line between blocks.
enum Part {
    Text(String),
    Block { session: String, lines: Vec<String>, messages: Vec<Message>, until: Option<Vec<String>> },
}

/// A transcript.
pub struct Transcript {
    pub path: PathBuf,
    parts: Vec<Part>,
}

/// What is left of a line, taken word by word.
struct Words<'a>(&'a str);

impl Words<'_> {
    fn skip(&mut self, prefix: char) -> bool {
        self.0 = self.0.trim_start();
        let rest = self.0.strip_prefix(prefix);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn word(&mut self) -> String {
        self.0 = self.0.trim_start();
        let end = self.0.find([' ', ']']).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word.to_owned()
    }

    /// `"text"`, `x"0a0b"` or NULL.
    fn value(&mut self) -> Option<Vec<u8>> {
        self.0 = self.0.trim_start();
        if let Some(rest) = self.0.strip_prefix("NULL") {
            self.0 = rest;
            return None;
        }
        let is_hex = self.skip('x');
        assert!(self.skip('"'), "a value in quotes before: {}", self.0);
        let (inside, rest) = self.0.split_once('"').expect("a closing quote");
        self.0 = rest;
        let digits = |at: usize| u8::from_str_radix(&inside[at..at + 2], 16).expect("hexadecimal digits");
        Some(if is_hex { (0..inside.len()).step_by(2).map(digits).collect() } else { inside.as_bytes().to_vec() })
    }

    fn name(&mut self) -> String {
        String::from_utf8(self.value().expect("a name")).unwrap()
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        assert!(self.skip('['), "a list before: {}", self.0);
        let mut items = Vec::new();
        while !self.skip(']') {
            items.push(item(self));
        }
        items
    }

    fn format(&mut self) -> i16 {
        match self.word().as_str() {
            "text" => 0,
            "binary" => 1,
            other => panic!("{other} is no format"),
        }
    }

    fn oid(&mut self) -> u32 {
        let word = self.word();
        word.parse().unwrap_or_else(|_| {
            let known = (1..4_000).find(|&oid| type_name(oid) == word);
            known.unwrap_or_else(|| panic!("{word} is no type"))
        })
    }

    fn message(&mut self) -> Message {
        let kind = self.word();
        match kind.as_str() {
            "Query" => Message::Query(self.0.trim_start().to_owned()),
            "Parse" => {
                let (name, types) = (self.name(), self.list(Words::oid));
                Message::Parse { name, types, sql: self.0.trim_start().to_owned() }
            }
            "Bind" => Message::Bind {
                portal: self.name(),
                statement: self.name(),
                formats: self.list(Words::format),
                values: self.list(Words::value),
                results: self.list(Words::format),
            },
            "Describe" => Message::Describe(self.word().as_bytes()[0], self.name()),
            "Execute" => Message::Execute(self.name(), self.word().parse().expect("a number of rows")),
            "Close" => Message::Close(self.word().as_bytes()[0], self.name()),
            "Flush" => Message::Flush,
            "Sync" => Message::Sync,
            "CopyData" => Message::CopyData(copy_data(self.0.trim_start())),
            "CopyDone" => Message::CopyDone,
            "CopyFail" => Message::CopyFail(self.0.trim_start().to_owned()),
            "CancelRequest" => Message::CancelRequest,
            other => panic!("{other} is no message"),
        }
    }
}

/// Data as a line of a transcript writes it: `\t`, `\n`, `\r`, `\\` and `\xff`.
fn copy_data(text: &str) -> Vec<u8> {
    let mut data = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        data.push(match byte {
            b'\\' => match rest.next().expect("an escape") {
                b't' => b'\t',
                b'n' => b'\n',
                b'r' => b'\r',
                b'x' => {
                    let digit = |byte: Option<u8>| char::from(byte.expect("two digits")).to_digit(16).unwrap() as u8;
                    digit(rest.next()) * 16 + digit(rest.next())
                }
                other => other,
            },
            byte => byte,
        });
    }
    data
}

fn type_name(oid: u32) -> String {
    let ty = SqlType { oid: Oid(oid), modifier: -1 };
    ty.internal_name().map_or_else(|| oid.to_string(), str::to_owned)
}

/// The session, the mark and the rest of a line of a block.
fn marked(line: &str) -> Option<(&str, char, &str)> {
    let at = line.find(['>', '?', '<'])?;
    let session = &line[..at];
    let is_name = session.len() <= 1 && session.bytes().all(|byte| byte.is_ascii_lowercase());
    is_name.then(|| (session, line[at..].chars().next().unwrap(), line[at + 1..].trim()))
}

impl Transcript {
    /// All transcripts, by name.
    pub fn all() -> Vec<Transcript> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| Transcript::read(path)).collect()
    }

    pub fn name(&self) -> &str {
        self.path.file_stem().unwrap().to_str().unwrap()
    }

    fn read(path: &Path) -> Transcript {
        let mut parts: Vec<Part> = Vec::new();
        // whether a line of the same session goes on with the block before it
        let mut open = false;
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let Some((session, mark, rest)) = marked(line).filter(|_| !line.starts_with('#')) else {
                parts.push(Part::Text(line.to_owned()));
                open = false;
                continue;
            };
            if mark == '<' {
                open = false;
                continue;
            }
            let same = matches!(parts.last(), Some(Part::Block { session: last, .. }) if last == session);
            if !(open && same) {
                let (lines, messages) = (Vec::new(), Vec::new());
                parts.push(Part::Block { session: session.to_owned(), lines, messages, until: None });
            }
            open = true;
            let Some(Part::Block { lines, messages, until, .. }) = parts.last_mut() else { unreachable!() };
            lines.push(line.to_owned());
            if mark == '>' {
                messages.push(Words(rest).message());
            } else {
                *until = Some(rest.split_whitespace().map(str::to_owned).collect());
            }
        }
        Transcript { path: path.to_owned(), parts }
    }

    pub fn expected(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    /// Plays the transcript and gives it back with the answers that came.
    pub fn play(&self, connect: impl Fn() -> Client, address: SocketAddr) -> String {
        let mut sessions: BTreeMap<String, Client> = BTreeMap::new();
        let mut text = String::new();
        for part in &self.parts {
            let (session, lines, messages, until) = match part {
                Part::Text(line) => {
                    writeln!(text, "{line}").unwrap();
                    continue;
                }
                Part::Block { session, lines, messages, until } => (session, lines, messages, until),
            };
            lines.iter().for_each(|line| writeln!(text, "{line}").unwrap());
            let client = sessions.entry(session.clone()).or_insert_with(&connect);
            let mut bytes = BytesMut::new();
            messages.iter().for_each(|message| put(message, &mut bytes));
            client.write_raw(&bytes);
            let cancels = messages.iter().any(|message| matches!(message, Message::CancelRequest));
            let answers = messages.iter().filter(|m| matches!(m, Message::Query(_) | Message::Sync)).count();
            let until = until.clone().unwrap_or_else(|| vec!["ReadyForQuery".to_owned(); answers.max(1)]);
            match answer(client, &until, cancels.then_some(address)) {
                Ok(lines) => lines.iter().for_each(|line| writeln!(text, "{session}< {line}").unwrap()),
                Err((lines, error)) => {
                    lines.iter().for_each(|line| writeln!(text, "{session}< {line}").unwrap());
                    writeln!(text, "{session}< nothing more: {error}").unwrap();
                    return text;
                }
            }
        }
        text
    }
}

fn put(message: &Message, out: &mut BytesMut) {
    match message {
        Message::Query(sql) => frontend::query(sql, out).unwrap(),
        Message::Parse { name, types, sql } => frontend::parse(name, sql, types.iter().copied(), out).unwrap(),
        Message::Bind { portal, statement, formats, values, results } => {
            let put = |value: &Option<Vec<u8>>, out: &mut BytesMut| match value {
                Some(bytes) => {
                    out.extend_from_slice(bytes);
                    Ok(IsNull::No)
                }
                None => Ok(IsNull::Yes),
            };
            let (formats, results) = (formats.iter().copied(), results.iter().copied());
            frontend::bind(portal, statement, formats, values, put, results, out).map_err(|_| "bind").unwrap();
        }
        Message::Describe(kind, name) => frontend::describe(*kind, name, out).unwrap(),
        Message::Execute(portal, rows) => frontend::execute(portal, *rows, out).unwrap(),
        Message::Close(kind, name) => frontend::close(*kind, name, out).unwrap(),
        Message::Flush => frontend::flush(out),
        Message::Sync => frontend::sync(out),
        Message::CopyData(data) => frontend::CopyData::new(data.as_slice()).unwrap().write(out),
        Message::CopyDone => frontend::copy_done(out),
        Message::CopyFail(message) => frontend::copy_fail(message, out).unwrap(),
        // over a connection of its own
        Message::CancelRequest => {}
    }
}

/// The server's messages until those that are waited for have come, in their order; what came before an error.
fn answer(
    client: &mut Client,
    until: &[String],
    cancel: Option<SocketAddr>,
) -> Result<Vec<String>, (Vec<String>, io::Error)> {
    let mut awaited = until.iter().filter(|name| *name != "nothing").peekable();
    let mut lines = Vec::new();
    let start = Instant::now();
    client.set_patience(if cancel.is_some() { CANCEL_AGAIN } else { PATIENCE });
    if let Some(address) = cancel {
        client.cancel(address);
    }
    while let Some(name) = awaited.peek() {
        let message = match (client.message(), cancel) {
            (Ok(message), _) => message,
            (Err(error), Some(address)) if error.kind() == io::ErrorKind::WouldBlock && start.elapsed() < PATIENCE => {
                client.cancel(address);
                continue;
            }
            (Err(error), _) if *name == "Closed" && error.kind() != io::ErrorKind::WouldBlock => {
                lines.push("Closed".to_owned());
                break;
            }
            (Err(error), _) => return Err((lines, error)),
        };
        let line = show(message, client).map_err(|error| (lines.clone(), error))?;
        if line.split(' ').next() == Some(name.as_str()) {
            awaited.next();
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Text in quotes; what is none, in hexadecimal digits.
fn value(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control() && c != '\n') => {
            format!("\"{}\"", text.replace('\n', "\\n"))
        }
        _ => format!("x\"{}\"", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

fn show(message: backend::Message, client: &Client) -> io::Result<String> {
    use backend::Message as M;
    Ok(match message {
        M::RowDescription(body) => {
            let column = |field: backend::Field<'_>| {
                let from = if field.table_oid() == 0 { String::new() } else { format!(" from {}", field.column_id()) };
                let modifier = match field.type_modifier() {
                    -1 => String::new(),
                    modifier => format!("({modifier})"),
                };
                let format = if field.format() == 0 { "text" } else { "binary" };
                let (name, ty, size) = (field.name(), type_name(field.type_oid()), field.type_size());
                Ok(format!("{name:?} {ty}{modifier} size {size} {format}{from}"))
            };
            let columns: Vec<String> = body.fields().map(column).collect()?;
            format!("RowDescription [{}]", columns.join(", "))
        }
        M::DataRow(body) => {
            let cell = |range: Option<std::ops::Range<usize>>| {
                Ok(range.map_or_else(|| "NULL".to_owned(), |range| value(&body.buffer()[range])))
            };
            let cells: Vec<String> = body.ranges().map(cell).collect()?;
            format!("DataRow [{}]", cells.join(" "))
        }
        M::ParameterDescription(body) => {
            let types: Vec<String> = body.parameters().map(|oid| Ok(type_name(oid))).collect()?;
            format!("ParameterDescription [{}]", types.join(" "))
        }
        M::CommandComplete(body) => format!("CommandComplete {}", body.tag()?),
        M::CopyInResponse(body) => {
            let formats: Vec<String> = body.column_formats().map(|format| Ok(format.to_string())).collect()?;
            format!("CopyInResponse {} [{}]", body.format(), formats.join(" "))
        }
        M::EmptyQueryResponse => "EmptyQueryResponse".into(),
        M::NoData => "NoData".into(),
        M::PortalSuspended => "PortalSuspended".into(),
        M::ParseComplete => "ParseComplete".into(),
        M::BindComplete => "BindComplete".into(),
        M::CloseComplete => "CloseComplete".into(),
        M::ErrorResponse(body) => format!("ErrorResponse {}", fields(body.fields())?),
        M::NoticeResponse(body) => format!("NoticeResponse {}", fields(body.fields())?),
        M::NotificationResponse(body) => {
            let own = if body.process_id() == client.pid { "own" } else { "another's" };
            format!("NotificationResponse {:?} {:?} {own}", body.channel()?, body.message()?)
        }
        M::ParameterStatus(body) => format!("ParameterStatus {:?} {:?}", body.name()?, body.value()?),
        M::ReadyForQuery(body) => format!("ReadyForQuery {}", char::from(body.status())),
        _ => return Err(io::Error::other("a message that transcripts do not know")),
    })
}

/// All fields of an error that are not about PostgreSQL's own source.
fn fields(mut fields: backend::ErrorFields<'_>) -> io::Result<String> {
    let mut shown = String::new();
    while let Some(field) = fields.next()? {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'S' => shown.push_str(&value),
            b'C' => write!(shown, " {value}").unwrap(),
            b'M' => write!(shown, " {value:?}").unwrap(),
            b'D' => write!(shown, " detail {value:?}").unwrap(),
            b'H' => write!(shown, " hint {value:?}").unwrap(),
            b'P' => write!(shown, " position {value}").unwrap(),
            // others are PostgreSQL's alone
            b'W' if value.starts_with("COPY ") => write!(shown, " context {value:?}").unwrap(),
            b's' => write!(shown, " schema {value:?}").unwrap(),
            b't' => write!(shown, " table {value:?}").unwrap(),
            b'c' => write!(shown, " column {value:?}").unwrap(),
            b'd' => write!(shown, " type {value:?}").unwrap(),
            b'n' => write!(shown, " constraint {value:?}").unwrap(),
            _ => {}
        }
    }
    Ok(shown)
}

/// Where two versions of a transcript part.
pub fn difference(path: &Path, expected: &str, found: &str, who: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut message = format!("{} ({who}) differs:\n", path.display());
    let (left, right): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
    left[same.saturating_sub(6)..same].iter().for_each(|line| writeln!(message, "    {line}").unwrap());
    left[same..].iter().take(8).for_each(|line| writeln!(message, "  - {line}").unwrap());
    right[same..].iter().take(8).for_each(|line| writeln!(message, "  + {line}").unwrap());
    Some(message)
}
