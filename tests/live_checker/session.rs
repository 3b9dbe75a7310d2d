//! A connection to a server that may be killed at any moment.

use crate::place::{Counts, Place};
use crate::support::client::{Client, Event, Report};
use crate::table::Cells;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// How long the server may take to answer anything before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The connection has ended.
#[derive(Debug)]
pub struct Gone;

/// What one statement of a query gave.
#[derive(Debug)]
pub struct Outcome {
    pub tag: String,
    pub rows: Vec<Cells>,
}

/// What the server said to a query.
#[derive(Debug, Default)]
pub struct Answer {
    pub outcomes: Vec<Outcome>,
    pub error: Option<Report>,
}

impl Answer {
    /// The only statement's rows, or why there are none.
    pub fn rows(self) -> Result<Vec<Cells>, Box<Report>> {
        match self.error {
            Some(report) => Err(Box::new(report)),
            None => Ok(self.outcomes.into_iter().next_back().map(|outcome| outcome.rows).unwrap_or_default()),
        }
    }

    pub fn code(&self) -> Option<&str> {
        self.error.as_ref().map(|report| report.code.as_str())
    }
}

/// A session with what it has been told and not yet asked for.
pub struct Session<'a> {
    client: Client,
    told: VecDeque<(String, String)>,
    place: &'a Place,
    number: usize,
    /// The life of the server in which it was made.
    pub epoch: u64,
}

/// Codes that say that the server or its administrator ends the session: pg_terminate_backend and a shutdown, a crash, and
/// a server that ends or begins. How often they may come, the conductor checks.
fn ends_the_session(code: &str) -> bool {
    ["57P01", "57P02", "57P03"].contains(&code)
}

impl<'a> Session<'a> {
    /// Connects as soon as there is a server; none at the end. Passwords are the users' names.
    pub fn connect(place: &'a Place, number: usize, user: &str) -> Option<Session<'a>> {
        loop {
            let (address, epoch) = place.server()?;
            match Client::try_connect(address, user, user, "tertulia") {
                Ok(Ok(mut client)) => {
                    client.set_patience(PATIENCE);
                    place.enter(number, epoch, (client.pid, client.secret));
                    return Some(Session { client, told: VecDeque::new(), place, number, epoch });
                }
                Ok(Err(report)) if ends_the_session(&report.code) => drop(lost(place, epoch)),
                Ok(Err(report)) => panic!("{user} cannot log in: {report:?}"),
                Err(_) => drop(lost(place, epoch)),
            }
            place.pause(Duration::from_millis(20));
        }
    }

    /// The number of its process.
    pub fn pid(&self) -> i32 {
        self.client.pid
    }

    /// One query, of one or several statements.
    pub fn ask(&mut self, sql: &str) -> Result<Answer, Gone> {
        self.client.write_query(sql);
        self.answer(sql)
    }

    /// One statement through the extended protocol, everything as text.
    pub fn ask_with(&mut self, sql: &str, parameters: &[String]) -> Result<Answer, Gone> {
        let parameters: Vec<Option<&[u8]>> = parameters.iter().map(|text| Some(text.as_bytes())).collect();
        self.client.write_parse("", sql, &[]);
        self.client.write_bind("", "", &parameters, 0);
        self.client.write_execute("", 0);
        self.client.write_sync();
        self.answer(sql)
    }

    /// Says something and goes away without waiting for an answer.
    pub fn say_and_leave(mut self, sql: &str) {
        self.client.write_query(sql);
        let _ = self.client.try_send();
    }

    fn answer(&mut self, sql: &str) -> Result<Answer, Gone> {
        self.client.set_patience(PATIENCE);
        if !self.client.try_send() {
            return Err(self.lost());
        }
        let mut answer = Answer::default();
        let mut rows = Vec::new();
        loop {
            match self.client.next() {
                Ok(Event::Row(cells)) => rows.push(cells.into_iter().map(text).collect()),
                Ok(Event::Tag(tag)) => answer.outcomes.push(Outcome { tag, rows: std::mem::take(&mut rows) }),
                Ok(Event::Error(report)) if ends_the_session(&report.code) => return Err(self.lost()),
                Ok(Event::Error(report)) => {
                    if report.code == "57014" {
                        Counts::add(&self.place.counts.cancelled);
                    }
                    answer.error = Some(report);
                }
                Ok(Event::Notification { channel, payload, .. }) => self.told.push_back((channel, payload)),
                Ok(Event::Ready(_)) => return Ok(answer),
                Ok(_) => {}
                Err(error) if is_silence(&error) => panic!("the server does not answer: {sql}"),
                Err(_) => return Err(self.lost()),
            }
        }
    }

    fn lost(&self) -> Gone {
        lost(self.place, self.epoch)
    }

    /// The next that came with something else.
    pub fn told(&mut self) -> Option<(String, String)> {
        self.told.pop_front()
    }

    /// The next that it is told: channel and payload; none when nothing comes for so long.
    pub fn listen(&mut self, patience: Duration) -> Result<Option<(String, String)>, Gone> {
        if let Some(told) = self.told.pop_front() {
            return Ok(Some(told));
        }
        self.client.set_patience(patience);
        loop {
            match self.client.next() {
                Ok(Event::Notification { channel, payload, .. }) => return Ok(Some((channel, payload))),
                Ok(_) => {}
                Err(error) if is_silence(&error) => return Ok(None),
                Err(_) => return Err(self.lost()),
            }
        }
    }
}

/// A connection has ended, or was not made. Where the server goes on, somebody must have ended it: they are counted.
fn lost(place: &Place, epoch: u64) -> Gone {
    if place.is_open(epoch) {
        Counts::add(&place.counts.lost);
    }
    Gone
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.place.leave(self.number);
    }
}

fn text(cell: Option<Vec<u8>>) -> Option<Arc<str>> {
    cell.map(|bytes| String::from_utf8(bytes).expect("text").into())
}

fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
