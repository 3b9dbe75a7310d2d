//! Runs a concurrent script: who waits, what each step answers, in which order waiting steps go on.

use super::client::{Client, Event};
use super::golden::{show_columns, show_row};
use super::spec::{Spec, Turn};
use std::fmt::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a step that is under way is looked at.
const GLANCE: Duration = Duration::from_millis(2);
/// How long a step may be neither complete nor wait for another session.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that scripts run on.
pub trait Place {
    /// A new session.
    fn connect(&mut self) -> Client;
    /// Whether a session waits for one of the others, or for a safe snapshot.
    fn is_blocked(&mut self, pid: i32, all: &[i32]) -> bool;
    /// How long a wait must last before nothing but another session ends it: PostgreSQL looks for a deadlock only after
    /// deadlock_timeout.
    fn settles_in(&self) -> Duration;
}

/// A session with a thread of its own, so that a step can wait.
struct Talk {
    pid: i32,
    ask: Option<Sender<String>>,
    answers: Receiver<Vec<Event>>,
    thread: Option<JoinHandle<()>>,
    /// Whether a transaction is open after the last answer.
    inside: bool,
}

impl Talk {
    fn begin(mut client: Client) -> Talk {
        client.set_patience(PATIENCE * 4);
        let (ask, questions) = channel::<String>();
        let (answer, answers) = channel();
        let pid = client.pid;
        let run = move || {
            for question in questions {
                let _ = answer.send(client.simple(&question));
            }
        };
        Talk { pid, ask: Some(ask), answers, thread: Some(std::thread::spawn(run)), inside: false }
    }

    fn ask(&self, sql: &str) {
        self.ask.as_ref().expect("the session is open").send(sql.to_owned()).expect("the session's thread runs");
    }

    /// The answer, if it comes within that time.
    fn answer(&mut self, time: Duration) -> Option<String> {
        match self.answers.recv_timeout(time) {
            Ok(events) => {
                self.inside = !matches!(events.last(), Some(Event::Ready(b'I')));
                Some(show(events))
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("a session of the script ended"),
        }
    }

    /// Asks what must succeed.
    fn demand(&mut self, sql: &str) {
        self.ask(sql);
        let answer = self.answer(PATIENCE).unwrap_or_else(|| panic!("no answer to {sql}"));
        assert!(!answer.contains("ERROR "), "{sql}\n{answer}");
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.ask = None;
        // a thread that waits for an answer ends with the test
        if let Some(thread) = self.thread.take().filter(|thread| thread.is_finished()) {
            let _ = thread.join();
        }
    }
}

/// Columns, rows, tags and errors; an error without what differs from run to run.
fn show(events: Vec<Event>) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            Event::Columns(columns) => text.push_str(&show_columns(&columns)),
            Event::Row(cells) => {
                let cell = |cell: Option<Vec<u8>>| cell.map(|bytes| String::from_utf8(bytes).unwrap());
                text.push_str(&show_row(&cells.into_iter().map(cell).collect::<Vec<_>>()));
            }
            Event::Tag(tag) => writeln!(text, "{tag}").unwrap(),
            Event::Error(report) | Event::Notice(report) => {
                writeln!(text, "{} {}: {}", report.severity, report.code, report.message).unwrap();
            }
            _ => {}
        }
    }
    text
}

/// How far a step came.
enum Progress {
    Done(String),
    Blocked,
}

/// Runs all permutations of a script at all its levels; what its file of expectations should hold.
pub fn run(spec: &Spec, place: &mut dyn Place) -> String {
    let mut sessions: Vec<Talk> = spec.sessions.iter().map(|_| Talk::begin(place.connect())).collect();
    let mut control = Talk::begin(place.connect());
    let levels = if spec.levels.is_empty() { vec![None] } else { spec.levels.iter().map(Some).collect() };
    let mut text = String::new();
    for level in levels {
        for session in &mut sessions {
            let level = level.map_or("read committed", String::as_str);
            session.demand(&format!("SET default_transaction_isolation = '{level}'"));
        }
        for turns in &spec.permutations {
            let level = level.map_or_else(String::new, |level| format!("{level}: "));
            writeln!(text, "permutation {level}{}", spec.name(turns)).unwrap();
            spec.setup.iter().for_each(|sql| control.demand(sql));
            for (session, part) in sessions.iter_mut().zip(&spec.sessions) {
                part.setup.iter().for_each(|sql| session.demand(sql));
            }
            let mut permutation = Permutation { spec, sessions: &mut sessions, place, waiting: Vec::new(), text };
            permutation.run(turns);
            text = permutation.text;
            for (session, part) in sessions.iter_mut().zip(&spec.sessions) {
                if session.inside {
                    session.demand("ROLLBACK");
                }
                part.teardown.iter().for_each(|sql| session.demand(sql));
            }
            spec.teardown.iter().for_each(|sql| control.demand(sql));
            text.push('\n');
        }
    }
    text
}

struct Permutation<'a> {
    spec: &'a Spec,
    sessions: &'a mut [Talk],
    place: &'a mut dyn Place,
    /// Steps that were said to wait, in the order in which they began, each with its answer once there is one.
    waiting: Vec<(Turn, Option<String>)>,
    text: String,
}

impl Permutation<'_> {
    fn run(&mut self, turns: &[Turn]) {
        for turn in turns {
            // a session says one thing at a time
            self.settle(Some(turn.session));
            let step = self.spec.step(turn);
            self.sessions[turn.session].ask(&step.sql);
            write!(self.text, "step {}: {}", step.name, step.sql).unwrap();
            let progress = if turn.told_to_wait { Progress::Blocked } else { self.look(turn.session) };
            match progress {
                Progress::Done(answer) if self.may_tell(turn) => {
                    write!(self.text, "\n{answer}").unwrap();
                    self.settle(None);
                }
                progress => {
                    self.text.push_str(" <waiting ...>\n");
                    self.settle(None);
                    let answer = if let Progress::Done(answer) = progress { Some(answer) } else { None };
                    self.waiting.push((turn.clone(), answer));
                }
            }
        }
        while let Some((turn, _)) = self.waiting.first() {
            self.settle(Some(turn.session));
        }
    }

    /// Tells which waiting steps are complete now; that of `session`, if there is one, must become so.
    fn settle(&mut self, session: Option<usize>) {
        let start = Instant::now();
        loop {
            for at in 0..self.waiting.len() {
                if self.waiting[at].1.is_none()
                    && let Progress::Done(answer) = self.look(self.waiting[at].0.session)
                {
                    self.waiting[at].1 = Some(answer);
                }
            }
            let ready = |(turn, answer): &(Turn, Option<String>)| answer.is_some() && self.may_tell(turn);
            if let Some(at) = self.waiting.iter().position(ready) {
                let (turn, answer) = self.waiting.remove(at);
                let name = &self.spec.step(&turn).name;
                writeln!(self.text, "step {name}: <... completed>").unwrap();
                self.text.push_str(&answer.unwrap_or_default());
                continue;
            }
            let Some(wanted) = self.waiting.iter().find(|(turn, _)| Some(turn.session) == session) else { return };
            let name = &self.spec.step(&wanted.0).name;
            assert!(start.elapsed() < PATIENCE, "step {name} waits for ever after\n{}", self.text);
        }
    }

    /// Waits until the session's step is complete, or waits for another session.
    fn look(&mut self, session: usize) -> Progress {
        let start = Instant::now();
        let pids: Vec<i32> = self.sessions.iter().map(|session| session.pid).collect();
        loop {
            if let Some(answer) = self.sessions[session].answer(GLANCE) {
                return Progress::Done(answer);
            }
            if self.place.is_blocked(pids[session], &pids) {
                return match self.sessions[session].answer(self.place.settles_in()) {
                    Some(answer) => Progress::Done(answer),
                    None => Progress::Blocked,
                };
            }
            assert!(start.elapsed() < PATIENCE, "a step neither ends nor waits after\n{}", self.text);
        }
    }

    /// Whether no step that is to be told before this one still waits.
    fn may_tell(&self, turn: &Turn) -> bool {
        !self.waiting.iter().any(|(other, _)| turn.after.contains(&self.spec.step(other).name))
    }
}
