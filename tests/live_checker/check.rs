//! Judges a journal: whether what was told is exactly what the commits changed, by the ledger alone.

use crate::journal::{End, Fold, Journal, Piece, Refusal, Start, Told};
use crate::place::Wall;
use crate::query::Query;
use crate::rows::{cut, rows_are};
use crate::table::{Cells, Image, Row, TTL, image_of, image_of_cells};
use crate::truth::{Change, Lane, Step, Truth};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tertulia::limits::FEED_BYTES_MAX;

/// Bytes of one payload at most.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Bytes of rows after which changes of STREAM tables may be gone before their time: they are kept in memory alone, which
/// is bounded. The bound counts more than rows, hence not quite all of it.
const STREAM_BYTES: usize = FEED_BYTES_MAX / 8 * 7;

/// What a journal was found to be.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong with it; empty when all is well.
    pub violations: Vec<String>,
    /// Rows as its events leave them, where it has all.
    pub fold: Option<Fold>,
    /// Positions at which it was compared with what was committed there.
    pub positions: usize,
    /// Events that were compared.
    pub events: usize,
    /// Positions of them at which it was not sure what had to be said.
    pub unsure: usize,
}

/// What decides what may be refused. That nobody is refused more often than there was reason to, the conductor counts.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How long changes are kept at least, in microseconds, in each life of the server.
    pub retentions: Vec<Wall>,
    /// Whether live queries have been killed, or statements cancelled.
    pub killed_queries: bool,
    pub cancelled: bool,
}

/// What a commit's events say.
#[derive(Clone, Debug, Default, PartialEq)]
struct Saying {
    deletes: Vec<Image>,
    /// Old and new.
    updates: Vec<(Image, Image)>,
    inserts: Vec<Image>,
}

impl Saying {
    fn is_empty(&self) -> bool {
        self.deletes.is_empty() && self.updates.is_empty() && self.inserts.is_empty()
    }

    fn sort(&mut self) {
        self.deletes.sort();
        self.updates.sort();
        self.inserts.sort();
    }

    fn add(&mut self, query: &Query, change: &Change) {
        let concerned = |row: &Option<Arc<Row>>| row.clone().filter(|row| query.holds(row));
        match (concerned(&change.old), concerned(&change.new)) {
            (Some(old), Some(new)) => self.updates.push((query.image(&old, true), query.image(&new, true))),
            (Some(old), None) => self.deletes.push(query.image(&old, true)),
            (None, Some(new)) => self.inserts.push(query.image(&new, false)),
            (None, None) => {}
        }
    }

    /// Takes out what another says; whether all of it was there.
    fn remove(&mut self, other: &Saying) -> bool {
        fn all<T: PartialEq>(from: &mut Vec<T>, what: &[T]) -> bool {
            what.iter().all(|item| from.iter().position(|other| other == item).map(|at| from.swap_remove(at)).is_some())
        }
        all(&mut self.deletes, &other.deletes)
            && all(&mut self.updates, &other.updates)
            && all(&mut self.inserts, &other.inserts)
    }
}

/// What a commit must say to a query, and the ways in which it may say what depends on a moment: "expiry emits no event", so
/// where a STREAM row's time is over about when a commit removes it, that need not be told, and where it puts another in
/// its place, that may be an update or an insert.
struct Expected<'a> {
    step: &'a Step,
    sure: Saying,
    unsure: Vec<Vec<Saying>>,
}

fn expected<'a>(query: &Query, step: &'a Step) -> Expected<'a> {
    let mut expected = Expected { step, sure: Saying::default(), unsure: Vec::new() };
    for change in &step.changes {
        if change.sure {
            expected.sure.add(query, change);
            continue;
        }
        // with the old row, or as if that had vanished before
        let mut ways = Vec::new();
        for old in [change.old.clone(), None] {
            let mut saying = Saying::default();
            saying.add(query, &Change { old, new: change.new.clone(), sure: false });
            ways.push(saying);
        }
        expected.unsure.push(ways);
    }
    expected.sure.sort();
    expected
}

impl Expected<'_> {
    /// Whether something must be told.
    fn is_due(&self) -> bool {
        !self.sure.is_empty() || self.unsure.iter().any(|ways| ways.iter().all(|way| !way.is_empty()))
    }

    /// Whether this is all of it, or for an unfinished one a part.
    fn is(&self, mut said: Saying, is_whole: bool) -> bool {
        if self.unsure.is_empty() && is_whole {
            said.sort();
            return said == self.sure;
        }
        if !is_whole {
            let mut all = Saying::default();
            for saying in self.unsure.iter().flatten().chain([&self.sure]) {
                all.deletes.extend(saying.deletes.iter().cloned());
                all.updates.extend(saying.updates.iter().cloned());
                all.inserts.extend(saying.inserts.iter().cloned());
            }
            return all.remove(&said);
        }
        if !said.remove(&self.sure) {
            return false;
        }
        for ways in &self.unsure {
            let rests = ways.iter().filter(|way| !way.is_empty()).map(|way| {
                let mut rest = said.clone();
                rest.remove(way).then_some(rest)
            });
            match rests.flatten().next() {
                Some(rest) => said = rest,
                // one way is to say nothing
                None if ways.iter().any(Saying::is_empty) => {}
                None => return false,
            }
        }
        said.is_empty()
    }
}

/// The events of one commit as they came.
#[derive(Clone, Debug)]
struct Group<'a> {
    seq: u64,
    events: Vec<&'a Told>,
    is_whole: bool,
}

/// Positions up to which a subscriber had everything, with the last life of the server in which that was.
type Reached = BTreeMap<u64, u64>;

/// Rows at a position, and the commits over them.
type Held<'a> = (u64, Fold, Vec<Group<'a>>);

fn rows<'a>(event: &'a Json, member: &str) -> Vec<&'a Json> {
    event[member].as_array().map(|rows| rows.iter().collect()).unwrap_or_default()
}

/// Splits events by commit; they must be in order, and all but the last of a commit must say that more follow.
fn groups<'a>(piece: &'a Piece, start: u64, wrong: &mut Vec<String>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut last = start;
    for told in &piece.changes {
        let Some(seq) = told.event["seq"].as_u64() else {
            wrong.push(format!("an event without a position: {}", told.event));
            continue;
        };
        let goes_on = groups.last().is_some_and(|group| !group.is_whole);
        if goes_on && seq != last {
            wrong.push(format!("more was to come at {last}, and then came {}", told.event));
        } else if !goes_on && seq <= last {
            wrong.push(format!("after position {last}: {}", told.event));
        }
        if !goes_on || seq != last {
            groups.push(Group { seq, events: Vec::new(), is_whole: true });
        }
        last = seq;
        let group = groups.last_mut().expect("one was begun");
        group.events.push(told);
        group.is_whole = told.event.get("more").is_none();
        if told.event.get("more").is_some_and(|more| more != &Json::Bool(true)) {
            wrong.push(format!("more is true or not there: {}", told.event));
        }
    }
    groups
}

/// What a group's events say, and what is wrong with their form.
fn saying(group: &Group, batch: usize, expiry: Option<(Wall, Wall)>, wrong: &mut Vec<String>) -> Saying {
    let mut saying = Saying::default();
    let mut last = 0;
    for told in &group.events {
        let event = &told.event;
        let (new, old) = (rows(event, "rows"), rows(event, "old_values"));
        let all = |rows: &[&Json]| rows.iter().map(|row| image_of(row, None)).collect::<Vec<Image>>();
        let (place, count, other) = match event["change_type"].as_str() {
            Some("delete") => (1, old.len(), new.len()),
            Some("update") => (2, new.len(), new.len().abs_diff(old.len())),
            Some("insert") => (3, new.len(), old.len()),
            _ => (0, 0, 0),
        };
        match place {
            1 => saying.deletes.extend(all(&old)),
            2 => saying.updates.extend(all(&old).into_iter().zip(all(&new))),
            _ => saying.inserts.extend(all(&new)),
        }
        let mut faults = vec![
            (place == 0, "of no known kind"),
            (place < last, "deletes, then updates, then inserts"),
            (count == 0 || count > batch, "one to batch_size rows"),
            (other > 0, "members that do not belong to its kind"),
            (told.bytes > PAYLOAD_BYTES_MAX, "larger than a payload"),
        ];
        if let Some((least, most)) = expiry.filter(|_| place > 1) {
            let ends = event["expires_at"].as_str().and_then(moment);
            let is_so = ends.is_some_and(|ends| (least..=most).contains(&ends));
            faults.push((!is_so, "it does not say when its rows vanish, or wrongly"));
        }
        wrong.extend(faults.iter().filter(|(is, _)| *is).map(|(_, what)| format!("{what}: {}", short(event))));
        last = place;
    }
    saying
}

/// A moment of an event, in microseconds.
fn moment(text: &str) -> Option<Wall> {
    let text = text.replace(' ', "T");
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment.as_microsecond());
    }
    format!("{text}Z").parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

fn short(event: &Json) -> String {
    event.to_string().chars().take(600).collect()
}

/// Judges one journal against the truth.
pub struct Judge<'a> {
    pub query: &'a Query,
    pub truth: &'a Truth,
    pub terms: Terms,
}

impl Judge<'_> {
    fn place(&self) -> crate::truth::Place {
        (self.query.table, self.query.table.scope(self.query.user))
    }

    fn lane(&self) -> Option<&Lane> {
        self.truth.lanes.get(&self.place())
    }

    /// Whether all that it is told has one form only: no STREAM row was removed when its time was just over.
    pub fn is_sure(&self) -> bool {
        let steps = self.lane().map(|lane| lane.steps.as_slice()).unwrap_or_default();
        steps.iter().all(|step| step.changes.iter().all(|change| change.sure))
    }

    /// The last position at which something must be told to who began in the present life of the server.
    pub fn last_due(&self, epoch: u64) -> Option<u64> {
        let mut steps = self.lane()?.steps.iter().rev();
        let concerns = |step: &&Step| !self.query.table.is_stream() || step.epoch == epoch;
        steps.find(|step| concerns(step) && expected(self.query, step).is_due()).map(|step| step.seq)
    }

    /// Judges everything in it.
    pub fn judge(&self, journal: &Journal) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.violations.extend(journal.strays.iter().map(|stray| format!("it belongs to nothing: {stray}")));
        for refusal in &journal.refusals {
            if !self.may_refuse(refusal) {
                verdict.violations.push(format!("it was not resumed: {refusal:?}"));
            }
        }
        let mut reached = Reached::from_iter(journal.carried_position);
        // the fold's beginning, and the groups over it
        let mut held: Option<Held> = None;
        for (at, piece) in journal.pieces.iter().enumerate() {
            let is_last = at + 1 == journal.pieces.len();
            let mut wrong = Vec::new();
            self.piece(piece, is_last, &mut reached, &mut held, &mut verdict, &mut wrong);
            let place = format!("{} of epoch {}", piece.channel, piece.epoch);
            verdict.violations.extend(wrong.into_iter().map(|what| format!("{place}: {what}")));
        }
        verdict.fold = held.and_then(|(_, fold, groups)| self.fold(fold, &groups, journal, &mut verdict.violations));
        verdict
    }

    fn piece<'p>(
        &self,
        piece: &'p Piece,
        is_last: bool,
        reached: &mut Reached,
        held: &mut Option<Held<'p>>,
        verdict: &mut Verdict,
        wrong: &mut Vec<String>,
    ) {
        if let End::Error(error) = &piece.end {
            // KILL LIVE QUERY ends a live query with 57014
            let killed = error.starts_with("57014") && self.terms.killed_queries;
            let is_gone = error.starts_with("72000") && self.may_be_gone(piece);
            if !killed && !is_gone {
                wrong.push(format!("it ended with {error}"));
            }
        }
        let Some((acknowledged, columns)) = &piece.ack else { return };
        if *columns != self.query.described() {
            wrong.push(format!("columns {columns:?}, not {:?}", self.query.described()));
            return;
        }
        let start = self.start(piece, *acknowledged, reached, wrong);
        let groups = groups(piece, start, wrong);
        let ended = piece.end != End::Open || !is_last;
        self.compare(piece, start, &groups, ended, verdict, wrong);
        let whole = groups.iter().filter(|group| group.is_whole).map(|group| group.seq);
        let lagged = if let End::Lagged(seq) = piece.end { Some(seq) } else { None };
        reached.extend(whole.chain([start]).chain(lagged).map(|seq| (seq, piece.epoch)));
        self.hold(piece, start, columns, groups, held);
    }

    /// Whether the changes that a subscription was to catch up with may have gone before it was shown them.
    fn may_be_gone(&self, piece: &Piece) -> bool {
        matches!(piece.start, Start::Resumed { from } if self.may_be_pruned(from, piece.ended, piece.epoch))
    }

    /// Whether the server may refuse to go on from a position: where it was cancelled, and where changes since then are
    /// not kept any more ("fails with a retention error where they are gone").
    fn may_refuse(&self, refusal: &Refusal) -> bool {
        match refusal.code.as_str() {
            "57014" => self.terms.cancelled,
            "72000" => self.may_be_pruned(refusal.from, refusal.at, refusal.epoch),
            _ => false,
        }
    }

    /// Whether changes after a position may be gone at a moment in one life of the server. The time is that of the last
    /// known commit up to the position, from when its COMMIT was sent: what the server keeps it from is not earlier.
    fn may_be_pruned(&self, from: u64, at: Wall, epoch: u64) -> bool {
        let Some(last) = self.truth.last_before(from) else { return true };
        if self.query.table.is_stream() {
            // TTL_SECONDS at most, never past a restart, and no more than memory is for
            return last.epoch < epoch || at - last.sent >= TTL || self.truth.bytes_between(from, at) >= STREAM_BYTES;
        }
        let lives = &self.terms.retentions[last.epoch as usize - 1..epoch as usize];
        lives.iter().any(|kept| at - last.sent >= *kept)
    }

    /// Where a subscription begins; checks what it began with.
    fn start(&self, piece: &Piece, acknowledged: u64, reached: &Reached, wrong: &mut Vec<String>) -> u64 {
        match &piece.start {
            Start::Resumed { from } => {
                if acknowledged != *from {
                    wrong.push(format!("resumed from {from}, and acknowledged at {acknowledged}"));
                }
                match reached.get(from) {
                    None => wrong.push(format!("resumed from {from}, where it never was: events are missing")),
                    Some(epoch) if self.query.table.is_stream() && *epoch < piece.epoch => {
                        wrong.push(format!("resumed from {from}, before a restart"));
                    }
                    Some(_) => {}
                }
                *from
            }
            Start::Carried { seq, .. } => *seq,
            Start::Heard => acknowledged,
            Start::Snapshot { rows, asked, answered } => {
                self.snapshot(piece, acknowledged, rows, (*asked, *answered), wrong);
                acknowledged
            }
            Start::Joined { rows, seq, asked, answered } => {
                if *seq < acknowledged {
                    wrong.push(format!("a SELECT after the acknowledgement at {acknowledged} was at {seq}"));
                }
                self.snapshot(piece, *seq, rows, (*asked, *answered), wrong);
                acknowledged
            }
        }
    }

    /// The rows must be those of the position, or the last of them.
    fn snapshot(&self, piece: &Piece, seq: u64, rows: &[Cells], times: (Wall, Wall), wrong: &mut Vec<String>) {
        let last = piece.last_rows;
        if let Err(what) = rows_are(self.query, self.truth, seq, piece.epoch, rows, times, last) {
            wrong.push(format!("snapshot: {what}"));
        }
    }

    /// Compares the events with what the commits changed, one after the other.
    fn compare(
        &self,
        piece: &Piece,
        start: u64,
        groups: &[Group],
        ended: bool,
        verdict: &mut Verdict,
        wrong: &mut Vec<String>,
    ) {
        let is_stream = self.query.table.is_stream();
        let steps = self.lane().map(|lane| lane.steps.as_slice()).unwrap_or_default();
        let after = steps.iter().filter(|step| step.seq > start && (!is_stream || step.epoch == piece.epoch));
        let mut due = after.map(|step| expected(self.query, step)).peekable();
        for group in groups {
            while let Some(missing) = due.next_if(|expected| expected.step.seq < group.seq) {
                verdict.positions += 1;
                if missing.is_due() {
                    wrong.push(format!("missing before {}: {}", group.seq, told_short(&missing)));
                }
            }
            verdict.events += group.events.len();
            let found = due.next_if(|expected| expected.step.seq == group.seq);
            let expiry = found.as_ref().map(|found| found.step.expiry).filter(|_| is_stream);
            let said = saying(group, piece.batch, expiry, wrong);
            let Some(found) = found else {
                wrong.push(format!("no commit says this at {}: {said:?}", group.seq));
                continue;
            };
            verdict.positions += 1;
            verdict.unsure += usize::from(!found.unsure.is_empty());
            if !group.is_whole && !ended {
                wrong.push(format!("more was to come at {}", group.seq));
            }
            if !found.is(said.clone(), group.is_whole) {
                wrong.push(format!("told {}, not {}", cut(&format!("{said:?}")), told_short(&found)));
            }
        }
        let last = groups.last().map_or(start, |group| group.seq);
        match piece.end {
            End::Lagged(seq) if seq < last => wrong.push(format!("lagged at {seq}, and told up to {last}")),
            End::Lagged(seq) => {
                let skipped = due.find(|expected| expected.step.seq <= seq && expected.is_due());
                wrong.extend(skipped.map(|skipped| format!("lagged to {seq} over {}", told_short(&skipped))));
            }
            _ if ended => {}
            _ => {
                let missing = due.inspect(|_| verdict.positions += 1).filter(Expected::is_due);
                wrong.extend(missing.map(|missing| format!("never told: {}", told_short(&missing))));
            }
        }
    }

    /// Takes what a subscription says into what is to be folded.
    fn hold<'p>(
        &self,
        piece: &'p Piece,
        start: u64,
        columns: &[(String, String)],
        groups: Vec<Group<'p>>,
        held: &mut Option<Held<'p>>,
    ) {
        let is_partial = piece.last_rows.is_some() || self.query.limit.is_some();
        let fold = |rows: &[Cells]| {
            let mut fold = Fold::new();
            rows.iter().for_each(|cells| *fold.entry(image_of_cells(cells, columns)).or_default() += 1);
            fold
        };
        *held = match &piece.start {
            Start::Carried { seq, fold } => fold.clone().map(|fold| (*seq, fold, Vec::new())),
            Start::Snapshot { rows, .. } if !is_partial => Some((start, fold(rows), Vec::new())),
            Start::Joined { rows, seq, .. } if !is_partial => Some((*seq, fold(rows), Vec::new())),
            Start::Resumed { .. } => held.take(),
            Start::Snapshot { .. } | Start::Joined { .. } | Start::Heard => None,
        };
        if let Some((base, _, line)) = held {
            // from before the rows' own position on, what they have already comes again and is passed over
            if let Start::Resumed { from } = piece.start {
                line.retain(|group| group.seq <= from);
            }
            line.extend(groups.into_iter().filter(|group| group.is_whole && group.seq > *base));
        }
    }

    /// Applies the groups to the rows: what goes must be there.
    fn fold(&self, mut fold: Fold, groups: &[Group], journal: &Journal, wrong: &mut Vec<String>) -> Option<Fold> {
        let columns = &journal.pieces.last()?.ack.as_ref()?.1;
        for event in groups.iter().flat_map(|group| &group.events) {
            let event = &event.event;
            for old in rows(event, "old_values") {
                let image = image_of(old, Some(columns));
                match fold.get_mut(&image) {
                    Some(count) if *count > 1 => *count -= 1,
                    Some(_) => {
                        fold.remove(&image);
                    }
                    None => wrong.push(format!("a row that it did not have: {image} in {}", short(event))),
                }
            }
            for new in rows(event, "rows") {
                let image = image_of(new, Some(columns));
                if self.query.table.is_stream() {
                    // one of the same key has vanished, or it could not come
                    let key = format!("\"id\":{}", new["id"]);
                    fold.retain(|held, _| !held.contains(&key));
                }
                *fold.entry(image).or_default() += 1;
            }
        }
        Some(fold)
    }
}

fn told_short(expected: &Expected) -> String {
    cut(&format!("{} {:?}", expected.step.seq, expected.sure))
}
