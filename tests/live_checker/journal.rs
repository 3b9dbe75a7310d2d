//! What a subscriber was given and told, word for word, for the checker to judge.

use crate::place::{Wall, wall};
use crate::table::{Cells, Image};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A multiset of rows as events show them.
pub type Fold = BTreeMap<Image, usize>;

/// How a subscription began.
#[derive(Clone, Debug)]
pub enum Start {
    /// SUBSCRIBE with rows, between two moments.
    Snapshot { rows: Vec<Cells>, asked: Wall, answered: Wall },
    /// LISTEN, and when it was acknowledged a SELECT at a position.
    Joined { rows: Vec<Cells>, seq: u64, asked: Wall, answered: Wall },
    /// LISTEN that was not joined to a SELECT.
    Heard,
    /// From a position on.
    Resumed { from: u64 },
    /// It goes on since the last check: the position up to which all is well, and the rows that it holds, if it holds all.
    Carried { seq: u64, fold: Option<Fold> },
}

/// Why nothing more came.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It still goes on.
    Open,
    /// The connection ended, or it was ended on purpose.
    Left,
    Lagged(u64),
    Error(String),
}

/// One event with the bytes of its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub event: Json,
    pub bytes: usize,
}

/// One subscription from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The life of the server.
    pub epoch: u64,
    /// What it was to be called.
    pub channel: String,
    /// Rows of one event at most.
    pub batch: usize,
    /// The snapshot was to be its last rows only.
    pub last_rows: Option<u64>,
    pub start: Start,
    /// The acknowledgement: position and columns.
    pub ack: Option<(u64, Vec<(String, String)>)>,
    pub changes: Vec<Told>,
    pub end: End,
    /// When it ended.
    pub ended: Wall,
}

/// A position from which the server did not resume.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub from: u64,
    pub code: String,
    pub at: Wall,
    pub epoch: u64,
}

/// Everything about one subscriber since the last check.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    pub pieces: Vec<Piece>,
    pub refusals: Vec<Refusal>,
    /// What came that belongs to no subscription, or says nothing known.
    pub strays: Vec<String>,
    /// Where it can resume: the last position up to which it has everything.
    pub position: Option<u64>,
    /// Earlier ones, since the last check.
    pub earlier: Vec<u64>,
    /// The position reached by the last check, and in which life of the server.
    pub carried_position: Option<(u64, u64)>,
}

impl Journal {
    /// The subscription that goes on.
    pub fn open(&mut self) -> Option<&mut Piece> {
        self.pieces.last_mut().filter(|piece| piece.end == End::Open)
    }

    /// Ends the subscription that goes on.
    pub fn close(&mut self, end: End) {
        if let Some(piece) = self.open() {
            (piece.end, piece.ended) = (end, wall());
        }
        // nothing is known of rows whose position was never said
        self.pieces.retain(|piece| piece.ack.is_some() || piece.end != End::Left);
    }

    /// A position is reached up to which nothing is missing.
    pub fn reach(&mut self, seq: u64) {
        if let Some(position) = self.position.replace(seq) {
            self.earlier.push(position);
        }
    }

    /// Takes what came on a channel. An error says why nobody knows what to do with it.
    pub fn take(&mut self, channel: &str, payload: &str) {
        if let Err(why) = self.try_take(channel, payload) {
            let shown: String = payload.chars().take(300).collect();
            self.strays.push(format!("{why}: {channel}: {shown}"));
        }
    }

    fn try_take(&mut self, channel: &str, payload: &str) -> Result<(), &'static str> {
        let event: Json = serde_json::from_str(payload).map_err(|_| "no JSON")?;
        let piece = self.open().ok_or("told of nothing that goes on")?;
        if piece.channel != channel {
            return Err("another channel");
        }
        let seq = event["seq"].as_u64();
        match (event["type"].as_str(), piece.ack.is_some()) {
            (Some("subscription_ack"), false) => {
                if event["channel"] != channel {
                    return Err("an acknowledgement for another channel");
                }
                let seq = seq.ok_or("no position")?;
                piece.ack = Some((seq, columns(&event).ok_or("no columns")?));
                self.reach(seq);
            }
            (Some("change"), true) => {
                let is_last = event.get("more").is_none();
                piece.changes.push(Told { event, bytes: payload.len() });
                if is_last {
                    self.reach(seq.ok_or("no position")?);
                }
            }
            (Some("lagged"), true) => {
                let seq = seq.ok_or("no position")?;
                self.close(End::Lagged(seq));
                self.reach(seq);
            }
            (Some("error"), _) => {
                let code = event["code"].as_str().ok_or("no code")?;
                self.close(End::Error(format!("{code} {}", event["message"])));
            }
            _ => return Err("out of place"),
        }
        Ok(())
    }
}

fn columns(event: &Json) -> Option<Vec<(String, String)>> {
    let column = |column: &Json| Some((column["name"].as_str()?.to_owned(), column["type"].as_str()?.to_owned()));
    event["columns"].as_array()?.iter().map(column).collect()
}
