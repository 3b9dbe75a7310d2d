//! A subscriber: one session that listens, sleeps, goes away and comes back, and keeps its journal.

use crate::journal::{End, Journal, Piece, Refusal, Start};
use crate::place::{Counts, Phase, Place, Wall, wall};
use crate::query::Query;
use crate::session::{Answer, Gone, Session};
use crate::support::random::Random;
use crate::table::{LIVELY, Table};
use std::sync::Mutex;
use std::time::Duration;

/// The role that may act for users.
pub const CLERK: &str = "clerk";

/// How a subscriber asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// SUBSCRIBE with a channel's name.
    Named,
    /// SUBSCRIBE without one.
    Unnamed,
    /// SUBSCRIBE to a table with a condition.
    OfTable,
    /// LISTEN on a table's name.
    ListenTable,
    /// LISTEN on a query.
    ListenQuery,
}

/// What a subscriber wants and how.
#[derive(Clone, Debug)]
pub struct Wish {
    pub number: usize,
    pub query: Query,
    pub form: Form,
    pub batch: Option<usize>,
    pub last_rows: Option<u64>,
    /// A role that acts for the user, rather than the user.
    pub by_clerk: bool,
    /// The condition's and the options' values are parameters.
    pub parameters: bool,
    /// Reads nothing while the large rows are written.
    pub sleeps: bool,
}

impl Wish {
    pub fn new(number: usize, users: &[&'static str], random: &mut Random) -> Wish {
        let user = random.pick(users);
        let sleeps = number < 2;
        let table = match number {
            0..4 => Table::Bulk,
            _ => LIVELY[(number + number / 12) % LIVELY.len()],
        };
        let mut wish = Wish {
            number,
            query: Query::of(table, user, random),
            form: random.pick(&[Form::Named, Form::Named, Form::Unnamed, Form::OfTable, Form::ListenQuery]),
            batch: random.once_in(2).then(|| random.pick(&[1, 2, 7, 100])),
            last_rows: None,
            by_clerk: random.once_in(4),
            parameters: random.once_in(2),
            sleeps,
        };
        match number % 12 {
            4 | 9 | 11 => wish.form = Form::ListenTable,
            6 => wish.last_rows = Some(1 + random.below(20)),
            7 => {
                wish.query.ordered = true;
                wish.query.limit = Some(1 + random.below(20));
            }
            8 => wish.query.ordered = true,
            10 => {
                wish.query.ordered = true;
                wish.last_rows = Some(1 + random.below(20));
            }
            _ => {}
        }
        wish.settle(random);
        wish
    }

    /// What forms cannot say is taken back.
    fn settle(&mut self, random: &mut Random) {
        if table_is_bulk(self) {
            self.query.ordered = false;
            (self.query.limit, self.last_rows) = (None, None);
            if self.sleeps {
                self.query.whole()
            } else {
                self.query.without_bodies()
            }
            self.form = if self.number.is_multiple_of(2) { Form::Named } else { Form::Unnamed };
            return;
        }
        if self.query.table.is_stream() {
            // which rows are the first ones depends on the moment
            self.query.ordered = false;
            (self.query.limit, self.last_rows) = (None, None);
        }
        if matches!(self.form, Form::OfTable | Form::ListenTable) {
            self.query.ordered = false;
            self.query.limit = None;
        }
        if self.query.table == Table::Log && !self.query.ordered {
            // there is no key that would say which rows are the last
            self.last_rows = None;
        }
        if matches!(self.form, Form::ListenTable | Form::ListenQuery) {
            (self.batch, self.last_rows, self.query.limit) = (None, None, None);
            self.parameters = false;
        }
        match self.form {
            Form::ListenTable => self.query.whole(),
            Form::OfTable => {}
            _ if random.once_in(4) => {}
            _ => self.query.project(random),
        }
    }

    pub fn role(&self) -> &'static str {
        if self.by_clerk { CLERK } else { self.query.user }
    }

    fn is_listen(&self) -> bool {
        matches!(self.form, Form::ListenTable | Form::ListenQuery)
    }

    /// What stands after TO, or is the channel's name.
    fn text(&self, with_parameters: bool) -> String {
        match self.form {
            Form::ListenTable => self.query.table.name().to_owned(),
            Form::OfTable => {
                format!("{} WHERE {}", self.query.table.name(), self.query.condition(with_parameters))
            }
            _ => self.query.select(with_parameters),
        }
    }

    pub fn channel(&self) -> String {
        match self.form {
            Form::Named | Form::OfTable => format!("s{}", self.number),
            Form::Unnamed => self.text(self.parameters),
            Form::ListenTable | Form::ListenQuery => self.text(false),
        }
    }

    /// SUBSCRIBE with its parameters.
    fn subscribe(&self, from: Option<u64>) -> (String, Vec<String>) {
        let mut values: Vec<String> = Vec::new();
        if self.parameters {
            values.extend(self.query.values.iter().map(i64::to_string));
        }
        let given =
            [("batch_size", self.batch.map(|batch| batch as u64)), ("last_rows", self.last_rows), ("from_seq", from)];
        let mut options = Vec::new();
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            if self.parameters {
                values.push(value.to_string());
                options.push(format!("{name} = ${}", values.len()));
            } else {
                options.push(format!("{name} = {value}"));
            }
        }
        let options = if options.is_empty() { String::new() } else { format!(" OPTIONS ({})", options.join(", ")) };
        let name = match self.form {
            Form::Named | Form::OfTable => format!("s{} ", self.number),
            _ => String::new(),
        };
        (format!("SUBSCRIBE {name}TO {}{options}", self.text(self.parameters)), values)
    }
}

fn table_is_bulk(wish: &Wish) -> bool {
    wish.query.table == Table::Bulk
}

/// What to do next beside reading.
enum Whim {
    Leave,
    Unlisten,
    Sleep,
    GoBack,
    RollBack,
}

pub struct Subscriber<'a> {
    pub wish: &'a Wish,
    pub place: &'a Place,
    pub journal: &'a Mutex<Journal>,
    pub random: Random,
    session: Option<Session<'a>>,
}

impl<'a> Subscriber<'a> {
    pub fn new(wish: &'a Wish, place: &'a Place, journal: &'a Mutex<Journal>, random: Random) -> Subscriber<'a> {
        Subscriber { wish, place, journal, random, session: None }
    }

    pub fn run(mut self) {
        while self.place.phase() != Phase::End {
            if self.turn().is_err() {
                self.close(End::Left);
                self.session = None;
                Counts::add(&self.place.counts.disconnects);
            }
        }
    }

    fn journal<T>(&self, act: impl FnOnce(&mut Journal) -> T) -> T {
        act(&mut self.journal.lock().unwrap())
    }

    fn close(&mut self, end: End) {
        self.journal(|journal| journal.close(end));
    }

    /// Connects and subscribes where it has to, reads, and now and then does something else.
    fn turn(&mut self) -> Result<(), Gone> {
        if self.session.is_none() {
            let number = self.wish.number;
            let Some(session) = Session::connect(self.place, number, self.wish.role()) else { return Ok(()) };
            self.session = Some(session);
        }
        if self.journal(|journal| journal.open().is_none()) {
            self.begin()?;
        }
        self.read(Duration::from_millis(50))?;
        if self.wish.sleeps && self.place.is_flooding() {
            Counts::add(&self.place.counts.naps);
            while self.place.is_flooding() && self.place.phase() != Phase::End {
                self.place.pause(Duration::from_secs(60));
            }
        }
        if self.place.phase() == Phase::Load && self.random.once_in(80) {
            self.follow_a_whim()?;
        }
        Ok(())
    }

    fn session(&mut self) -> &mut Session<'a> {
        self.session.as_mut().expect("it is connected")
    }

    /// Reads one event, if one comes, and whatever came with it.
    fn read(&mut self, patience: Duration) -> Result<(), Gone> {
        let mut next = self.session().listen(patience)?;
        while let Some((channel, payload)) = next {
            self.took(&channel, &payload);
            next = self.session().told();
        }
        Ok(())
    }

    fn took(&mut self, channel: &str, payload: &str) {
        let counts = &self.place.counts;
        self.journal(|journal| {
            journal.take(channel, payload);
            match journal.pieces.last().map(|piece| &piece.end) {
                Some(End::Lagged(_)) => Counts::add(&counts.lagged),
                // changes that are gone do not come back
                Some(End::Error(error)) if error.starts_with("72000") => journal.position = None,
                _ => {}
            }
        });
        if self.place.phase() == Phase::Quiet {
            self.place.tell();
        }
    }

    fn follow_a_whim(&mut self) -> Result<(), Gone> {
        let whims = [Whim::Leave, Whim::Leave, Whim::Unlisten, Whim::Sleep, Whim::Sleep, Whim::GoBack, Whim::RollBack];
        let at = self.random.below(whims.len() as u64) as usize;
        match whims[at] {
            Whim::Leave => Err(Gone),
            Whim::Unlisten => self.unlisten(),
            Whim::Sleep => {
                let time = Duration::from_millis(100 + self.random.below(1_500));
                self.place.pause(time);
                Ok(())
            }
            Whim::GoBack => {
                self.unlisten()?;
                let back = self.random.next();
                self.journal(|journal| {
                    let earlier = &mut journal.earlier;
                    if let (false, Some(_)) = (earlier.is_empty(), journal.position) {
                        let to = earlier[back as usize % earlier.len()];
                        journal.position = Some(to);
                        // what came after it is to come again: going back there would be going forward
                        earlier.retain(|&position| position <= to);
                    }
                });
                Ok(())
            }
            Whim::RollBack => {
                self.unlisten()?;
                self.roll_back()
            }
        }
    }

    /// Ends the subscription; what came before the answer still belongs to it.
    fn unlisten(&mut self) -> Result<(), Gone> {
        let channel = self.wish.channel();
        let sql = if self.random.once_in(3) { "UNLISTEN *".into() } else { format!("UNLISTEN \"{channel}\"") };
        let answer = self.session().ask(&sql)?;
        while let Some((channel, payload)) = self.session().told() {
            self.took(&channel, &payload);
        }
        // cancelled: it goes on
        match answer.code() {
            Some("57014") => self.unlisten(),
            Some(_) => panic!("{sql}: {answer:?}"),
            None => {
                self.close(End::Left);
                Ok(())
            }
        }
    }

    /// A subscription that its transaction takes back: nothing may come of it.
    fn roll_back(&mut self) -> Result<(), Gone> {
        let (sql, values) = self.wish.subscribe(None);
        let session = self.session();
        session.ask("BEGIN")?;
        session.ask_with(&sql, &values)?;
        session.ask("ROLLBACK")?;
        Counts::add(&self.place.counts.rolled_back_subscriptions);
        self.read(Duration::from_millis(30))
    }

    fn begin(&mut self) -> Result<(), Gone> {
        let position = self.journal(|journal| journal.position).filter(|_| !self.random.once_in(6));
        match position {
            Some(from) if !self.wish.is_listen() || self.random.once_in(2) => self.resume(from),
            _ if self.wish.is_listen() => self.listen_and_join(),
            _ => self.subscribe(),
        }
    }

    fn push(&mut self, start: Start, batch: Option<usize>, last_rows: Option<u64>) {
        let epoch = self.session().epoch;
        let (channel, batch) = (self.wish.channel(), batch.unwrap_or(1000));
        let (changes, ack, end, ended) = (Vec::new(), None, End::Open, Wall::MAX);
        self.journal(|journal| {
            journal.pieces.push(Piece { epoch, channel, batch, last_rows, start, ack, changes, end, ended });
        });
    }

    fn resume(&mut self, from: u64) -> Result<(), Gone> {
        let (sql, values) = self.wish.subscribe(Some(from));
        let answer = self.subscribe_by(&sql, &values)?;
        if let Some(report) = answer.error {
            let refusal = Refusal { from, code: report.code, at: wall(), epoch: self.session().epoch };
            self.journal(|journal| {
                if refusal.code != "57014" {
                    journal.position = None;
                }
                journal.refusals.push(refusal);
            });
            return Ok(());
        }
        Counts::add(&self.place.counts.resumes);
        let rows = answer.outcomes.iter().map(|outcome| outcome.rows.len()).sum::<usize>();
        if rows > 0 {
            self.journal(|journal| journal.strays.push(format!("{rows} rows of {sql}")));
        }
        self.push(Start::Resumed { from }, self.wish.batch, None);
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(), Gone> {
        let (sql, values) = self.wish.subscribe(None);
        let asked = wall();
        let answer = self.subscribe_by(&sql, &values)?;
        let answered = wall();
        if self.is_refused(&answer, &sql) {
            return Ok(());
        }
        Counts::add(&self.place.counts.snapshots);
        let mut rows = answer.outcomes.into_iter().find(|outcome| outcome.tag.starts_with("SELECT"));
        let rows = rows.as_mut().map(|outcome| std::mem::take(&mut outcome.rows)).unwrap_or_default();
        self.push(Start::Snapshot { rows, asked, answered }, self.wish.batch, self.wish.last_rows);
        Ok(())
    }

    /// Whether it was not done; anything but a cancel is nothing that may happen.
    fn is_refused(&mut self, answer: &Answer, sql: &str) -> bool {
        let Some(report) = &answer.error else { return false };
        if report.code != "57014" {
            self.journal(|journal| journal.strays.push(format!("{report:?} to {sql}")));
        }
        true
    }

    /// SUBSCRIBE by itself, for a user, or in a transaction of some kind.
    fn subscribe_by(&mut self, sql: &str, values: &[String]) -> Result<Answer, Gone> {
        let (user, by_clerk) = (self.wish.query.user, self.wish.by_clerk && self.wish.query.table.is_scoped());
        // a channel that is named by the text needs no brackets around it
        let needs_block = by_clerk && (self.wish.form == Form::Unnamed || self.wish.is_listen());
        let in_block = needs_block || self.random.once_in(3);
        if !in_block {
            let acting = format!("EXECUTE AS USER '{user}' ( {sql} )");
            return self.ask(if by_clerk { &acting } else { sql }, values);
        }
        let level = self.random.pick(&["", " ISOLATION LEVEL REPEATABLE READ"]);
        let mut block = vec![format!("BEGIN{level}")];
        if by_clerk {
            block.push(format!("SET LOCAL tertulia.user_id = '{user}'"));
        }
        if self.random.once_in(2) {
            block.push("SELECT current_seq()".into());
        }
        let time = Duration::from_millis(self.random.below(30));
        let session = self.session();
        for statement in &block {
            let answer = session.ask(statement)?;
            if answer.error.is_some() {
                session.ask("ROLLBACK")?;
                return Ok(answer);
            }
        }
        self.place.pause(time);
        let answer = self.ask(sql, values)?;
        let end = self.session().ask(if answer.error.is_none() { "COMMIT" } else { "ROLLBACK" })?;
        Ok(if answer.error.is_none() && end.error.is_some() { end } else { answer })
    }

    /// One statement over one protocol or the other.
    fn ask(&mut self, sql: &str, values: &[String]) -> Result<Answer, Gone> {
        if values.is_empty() && self.random.once_in(2) {
            return self.session().ask(sql);
        }
        self.session().ask_with(sql, values)
    }

    /// LISTEN, wait for the acknowledgement, SELECT with its position.
    fn listen_and_join(&mut self) -> Result<(), Gone> {
        let user = self.wish.query.user;
        let by_clerk = self.wish.by_clerk && self.wish.query.table.is_scoped();
        let sql = format!("LISTEN \"{}\"", self.wish.channel());
        let acting = format!("BEGIN; SET LOCAL tertulia.user_id = '{user}'; {sql}; COMMIT");
        let answer = self.session().ask(if by_clerk { &acting } else { &sql })?;
        if self.is_refused(&answer, &sql) {
            self.session().ask("ROLLBACK")?;
            return Ok(());
        }
        self.push(Start::Heard, None, None);
        let is_acknowledged = |journal: &mut Journal| journal.open().is_none_or(|piece| piece.ack.is_some());
        while !self.journal(is_acknowledged) {
            if self.place.phase() == Phase::End {
                return Ok(());
            }
            self.read(Duration::from_millis(200))?;
        }
        let asked = wall();
        let set = if by_clerk { format!("SET LOCAL tertulia.user_id = '{user}'; ") } else { String::new() };
        let select = self.wish.query.select(false);
        let block =
            format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {set}SELECT current_seq() AS seq; {select}; COMMIT");
        let answer = self.session().ask(&block)?;
        let answered = wall();
        if self.is_refused(&answer, &block) {
            self.session().ask("ROLLBACK")?;
            return Ok(());
        }
        Counts::add(&self.place.counts.joins);
        let mut results = answer.outcomes.into_iter().filter(|outcome| outcome.tag.starts_with("SELECT"));
        let position = results.next().expect("current_seq()").rows;
        let seq = position[0][0].as_ref().and_then(|text| text.parse().ok()).expect("a position");
        let rows = results.next().expect("the query's rows").rows;
        self.journal(|journal| {
            if let Some(piece) = journal.open() {
                piece.start = Start::Joined { rows, seq, asked, answered };
            }
        });
        Ok(())
    }
}
