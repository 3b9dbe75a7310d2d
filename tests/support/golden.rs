//! Golden scripts: statements and their full output in one readable file.
//!
//! A line `> SQL` is a statement of the first session, `alice> SQL` one of alice's; further lines with the same prefix
//! continue it; what follows up to the next empty line is its output. `alice<` waits for alice's next notification.
//! `#` begins a comment. `UPDATE_GOLDEN=1 cargo test` writes the output that the in-process run gave.
//!
//! Numbers that differ from run to run are named by their order of appearance: `<id1>` for snowflakes, `<seq1>` for
//! commit positions, `<lease1>`, `<uuid1>`, `<time1>`.

use super::client::{Client, Event, Report};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tertulia::topic::Lease;
use tertulia::types::{Oid, SqlType, Zone, binary, text};

/// How long `alice<` waits.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What a script does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Kept as it is.
    Text(String),
    Statement {
        session: String,
        sql: String,
    },
    Notification {
        session: String,
    },
}

/// A script: its steps, each with the output that follows it.
pub struct Script {
    pub path: PathBuf,
    pub steps: Vec<(Step, String)>,
}

/// Something that runs statements and describes what came back.
pub trait Runner {
    fn statement(&mut self, session: &str, sql: &str) -> String;
    fn notification(&mut self, session: &str) -> String;
}

fn prompt(line: &str) -> Option<(&str, char, &str)> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    let kind = line[end..].chars().next()?;
    let rest = &line[end + 1..];
    let fits = matches!(kind, '>' | '<') && (rest.is_empty() || rest.starts_with(' '));
    fits.then(|| (&line[..end], kind, rest.strip_prefix(' ').unwrap_or(rest)))
}

impl Script {
    pub fn read(path: &Path) -> Script {
        Script::parse(path, &std::fs::read_to_string(path).unwrap())
    }

    fn parse(path: &Path, content: &str) -> Script {
        let mut steps: Vec<(Step, String)> = Vec::new();
        let mut in_statement = false;
        let mut in_output = false;
        for line in content.lines() {
            let found = prompt(line);
            match (found, steps.last_mut()) {
                (Some((name, '>', sql)), Some((Step::Statement { session, sql: open }, _)))
                    if in_statement && name == session =>
                {
                    open.push('\n');
                    open.push_str(sql);
                }
                (Some((name, '>', sql)), _) => {
                    steps.push((Step::Statement { session: name.to_owned(), sql: sql.to_owned() }, String::new()));
                    (in_statement, in_output) = (true, true);
                }
                (Some((name, _, _)), _) => {
                    steps.push((Step::Notification { session: name.to_owned() }, String::new()));
                    (in_statement, in_output) = (false, true);
                }
                (None, Some((_, output))) if in_output && !line.is_empty() => {
                    in_statement = false;
                    output.push_str(line);
                    output.push('\n');
                }
                (None, _) => {
                    (in_statement, in_output) = (false, false);
                    steps.push((Step::Text(line.to_owned()), String::new()));
                }
            }
        }
        Script { path: path.to_owned(), steps }
    }

    /// Runs the script and gives it back with the output that it had.
    pub fn run(&self, runner: &mut dyn Runner) -> String {
        // PostgreSQL has no snowflakes: there, long numbers are results.
        let mut names = Names { ids: !self.path.to_string_lossy().contains("sql/pg/"), ..Names::default() };
        let mut text = String::new();
        for (step, _) in &self.steps {
            match step {
                Step::Text(line) => writeln!(text, "{line}").unwrap(),
                Step::Statement { session, sql } => {
                    for line in sql.lines() {
                        writeln!(text, "{}", format!("{session}> {line}").trim_end()).unwrap();
                    }
                    text.push_str(&names.replace(&runner.statement(session, sql)));
                }
                Step::Notification { session } => {
                    writeln!(text, "{session}<").unwrap();
                    text.push_str(&names.replace(&runner.notification(session)));
                }
            }
        }
        text
    }

    /// The script as it stands in its file.
    pub fn expected(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }
}

/// Compares, or writes where `UPDATE_GOLDEN` is set and this run may.
pub fn check(script: &Script, found: &str, how: &str, may_update: bool) -> Result<(), String> {
    if may_update && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&script.path, found).unwrap();
        return Ok(());
    }
    if script.expected().trim_end() == found.trim_end() {
        return Ok(());
    }
    let mut message = format!("{} ({how}) differs:\n", script.path.display());
    let found = Script::parse(&script.path, found);
    let pairs = script.steps.iter().zip(&found.steps);
    for ((step, expected), (_, found)) in pairs.filter(|((_, expected), (_, found))| expected != found) {
        match step {
            Step::Text(line) => writeln!(message, "    {line}").unwrap(),
            Step::Statement { session, sql } => writeln!(message, "    {session}> {sql}").unwrap(),
            Step::Notification { session } => writeln!(message, "    {session}<").unwrap(),
        }
        for line in expected.lines() {
            writeln!(message, "  - {line}").unwrap();
        }
        for line in found.lines() {
            writeln!(message, "  + {line}").unwrap();
        }
    }
    Err(message)
}

/// All scripts below a folder of `tests/sql`.
pub fn scripts(folder: &str) -> Vec<Script> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql").join(folder);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "golden"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", directory.display());
    paths.iter().map(|path| Script::read(path)).collect()
}

/// Names for what differs from run to run.
#[derive(Default)]
struct Names {
    /// Whether long numbers are snowflakes.
    ids: bool,
    known: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Names {
    fn name(&mut self, kind: &'static str, value: &str) -> String {
        let count = self.counts.entry(kind).or_default();
        let known = self.known.entry(format!("{kind} {value}"));
        known
            .or_insert_with(|| {
                *count += 1;
                format!("<{kind}{count}>")
            })
            .clone()
    }

    fn replace(&mut self, output: &str) -> String {
        let mut text = String::new();
        let mut rest = output;
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
            text.push_str(&rest[..start]);
            rest = &rest[start..];
            let word_end = |s: &str| s.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(s.len());
            let end = if is_uuid(rest) {
                36
            } else if let Some(length) = lease_length(rest) {
                length
            } else if let Some(length) = time_length(rest) {
                length
            } else {
                word_end(rest)
            };
            let (word, after) = rest.split_at(end);
            let named = if is_uuid(word) {
                self.name("uuid", word)
            } else if time_length(word).is_some() {
                self.name("time", word)
            } else if self.ids && word.len() >= 17 && word.bytes().all(|b| b.is_ascii_digit()) {
                self.name("id", word)
            } else if text.ends_with("\"seq\":") && word.bytes().all(|b| b.is_ascii_digit()) {
                self.name("seq", word)
            } else if lease_length(word).is_some() {
                self.name("lease", word)
            } else {
                word.to_owned()
            };
            text.push_str(&named);
            rest = after;
        }
        text.push_str(rest);
        text
    }
}

fn is_uuid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.len() >= 36
        && text.bytes().take(36).enumerate().all(
            |(i, b)| {
                if dashes.contains(&i) { b == b'-' } else { b.is_ascii_hexdigit() }
            },
        )
}

/// The length of a message's lease.
fn lease_length(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_hexdigit() && c != '-').unwrap_or(text.len());
    Lease::parse(&text[..end]).is_ok().then_some(end)
}

/// The length of a time of this decade or a later one, with microseconds, as clocks give it; scripts use older ones.
fn time_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-dd dd:dd:dd.d";
    let fits = bytes.len() >= shape.len()
        && shape.iter().zip(bytes).all(|(s, b)| match s {
            b'd' => b.is_ascii_digit(),
            b' ' => *b == b' ' || *b == b'T',
            other => other == b,
        });
    if !fits || &text[..4] < "2026" {
        return None;
    }
    let end = bytes[20..].iter().take_while(|b| b.is_ascii_digit()).count() + 20;
    let zone = bytes[end..].iter().take_while(|b| b"+:0123456789".contains(b)).count();
    Some(end + if bytes.get(end) == Some(&b'+') { zone } else { 0 })
}

/// An error or notice as scripts show it.
pub fn show_report(report: &Report) -> String {
    let mut text = format!("{} {}: {}", report.severity, report.code, report.message);
    if let Some(position) = &report.position {
        write!(text, " @ {position}").unwrap();
    }
    text.push('\n');
    if let Some(detail) = &report.detail {
        writeln!(text, "  DETAIL: {detail}").unwrap();
    }
    if let Some(hint) = &report.hint {
        writeln!(text, "  HINT: {hint}").unwrap();
    }
    text
}

/// The head line of a result.
pub fn show_columns(columns: &[(String, u32)]) -> String {
    if columns.is_empty() {
        return "(no columns)\n".to_owned();
    }
    let show = |(name, oid): &(String, u32)| {
        let ty = SqlType { oid: Oid(*oid), modifier: -1 };
        format!("{name}:{}", ty.internal_name().map_or_else(|| oid.to_string(), str::to_owned))
    };
    columns.iter().map(show).collect::<Vec<_>>().join(" | ") + "\n"
}

/// A row: NULL as `NULL`, line breaks escaped.
pub fn show_row(cells: &[Option<String>]) -> String {
    let show = |cell: &Option<String>| match cell {
        None => "NULL".to_owned(),
        Some(text) => text.replace('\\', "\\\\").replace('\n', "\\n"),
    };
    format!("= {}\n", cells.iter().map(show).collect::<Vec<_>>().join(" | "))
}

/// The user that a session is named after, whose password is the name: `alice2` is a second session of alice. None for
/// the superuser.
pub fn login_name(session: &str) -> Option<&str> {
    let login = session.trim_end_matches(|c: char| c.is_ascii_digit());
    (!login.is_empty()).then_some(login)
}

/// Runs statements over the wire, in the simple or the extended protocol.
pub struct WireRunner {
    pub address: SocketAddr,
    pub superuser: (&'static str, String, &'static str),
    /// Extended protocol with binary results instead of the simple one.
    pub extended: bool,
    sessions: BTreeMap<String, Client>,
    /// Each session's TimeZone, by which its binary results are written as text.
    zones: BTreeMap<String, Zone>,
}

impl WireRunner {
    pub fn new(address: SocketAddr, superuser: (&'static str, String, &'static str), extended: bool) -> WireRunner {
        WireRunner { address, superuser, extended, sessions: BTreeMap::new(), zones: BTreeMap::new() }
    }

    /// The session of that name: the superuser's, or that of the user, whose password is the name.
    fn session(&mut self, name: &str) -> &mut Client {
        let (user, password, database) = self.superuser.clone();
        let address = self.address;
        self.sessions.entry(name.to_owned()).or_insert_with(|| {
            let who = login_name(name).map_or((user, password.as_str()), |login| (login, login));
            Client::connect(address, who.0, who.1, database).unwrap_or_else(|error| panic!("{name}: {error:?}"))
        })
    }
}

fn decode(cell: Option<Vec<u8>>, oid: u32, is_binary: bool, zone: &Zone) -> Option<String> {
    let bytes = cell?;
    if !is_binary {
        return Some(String::from_utf8(bytes).unwrap());
    }
    let ty = SqlType { oid: Oid(oid), modifier: -1 };
    let value = binary::decode(&bytes.into(), ty).unwrap();
    let mut out = Vec::new();
    text::write(&value, ty, zone, &mut out);
    Some(String::from_utf8(out).unwrap())
}

/// Whether a text is one statement without parameters: the extended protocol takes one at a time, and a parameter that is
/// not given is another error there.
fn fits_the_extended_protocol(sql: &str) -> bool {
    let inner = sql.trim_end().trim_end_matches(';');
    let has_parameter = inner.as_bytes().windows(2).any(|pair| pair[0] == b'$' && pair[1].is_ascii_digit());
    !inner.contains(';') && (!has_parameter || inner.starts_with("PREPARE"))
}

/// Whether a simple query describes the statement's rows with the first of them: PostgreSQL does so for statements that
/// write, and so do we; CONSUME with a group is one.
fn describes_late(sql: &str) -> bool {
    ["INSERT", "UPDATE", "DELETE", "EXECUTE", "SUBSCRIBE"].iter().any(|word| sql.starts_with(word))
        || sql.starts_with("CONSUME") && sql.contains(" GROUP ")
}

impl Runner for WireRunner {
    fn statement(&mut self, session: &str, sql: &str) -> String {
        let extended = self.extended && fits_the_extended_protocol(sql);
        let client = self.session(session);
        let events = if extended { client.extended(sql, &[]) } else { client.simple(sql) };
        let zone = self.zones.entry(session.to_owned()).or_insert_with(Zone::utc);
        let mut output = String::new();
        // The head line is shown with what follows it.
        let mut head = String::new();
        let mut types: Vec<u32> = Vec::new();
        for event in events {
            if let Event::Error(_) = event
                && extended
                && describes_late(sql)
            {
                // Describe came before the statement ran.
                head.clear();
            }
            if !matches!(event, Event::Notice(_) | Event::ParseComplete | Event::BindComplete) {
                output.push_str(&std::mem::take(&mut head));
            }
            match event {
                Event::Columns(columns) => {
                    types = columns.iter().map(|(_, oid)| *oid).collect();
                    head = show_columns(&columns);
                }
                Event::Row(cells) => {
                    let cells: Vec<_> =
                        cells.into_iter().zip(&types).map(|(cell, oid)| decode(cell, *oid, extended, zone)).collect();
                    output.push_str(&show_row(&cells));
                }
                Event::Tag(tag) => writeln!(output, "{tag}").unwrap(),
                Event::Empty => output.push_str("(empty)\n"),
                Event::Error(report) | Event::Notice(report) => output.push_str(&show_report(&report)),
                Event::Notification { channel, payload, .. } => {
                    writeln!(output, "NOTIFICATION {channel}: {payload}").unwrap();
                }
                Event::Status { name, value } if name == "TimeZone" => *zone = Zone::parse(&value).unwrap(),
                _ => {}
            }
        }
        output
    }

    fn notification(&mut self, session: &str) -> String {
        match self.session(session).notification(PATIENCE) {
            Some((channel, payload)) => format!("NOTIFICATION {channel}: {payload}\n"),
            None => "no notification\n".to_owned(),
        }
    }
}
