//! A simulated client: its session, its transaction, and what becomes of its statements.

use crate::live::Live;
use crate::model::{Before, Deed, Effect, Key, Model, Row, Table, Tx};
use crate::random::Random;
use crate::simulated::Answer;
use crate::statement::{Kind, Level, Statement, VISIBILITY_MS};
use crate::world::Stats;
use std::collections::BTreeMap;
use tertulia::error::SqlState;
use tertulia::session::{Flow, Request, Session};
use tertulia::storage::fault::Faults;
use tertulia::wait::Wait;

/// The TTL of STREAM rows, in microseconds.
pub const TTL_MICROS: i64 = 30_000_000;

/// What all clients share with the world.
pub struct Common<'a> {
    pub random: &'a mut Random,
    pub model: &'a mut Model,
    pub claims: &'a mut BTreeMap<u64, (usize, u64)>,
    pub next_tx: &'a mut i64,
    /// The last number of a table or an index.
    pub next_name: &'a mut u32,
    /// Once in how many of its choices an owner defines something.
    pub definitions: u64,
    /// How transactions are isolated: one of these.
    pub levels: &'static [Level],
    /// Live queries whose sessions have ended.
    pub left: &'a mut Vec<Live>,
    /// Whether they often meet.
    pub crowded: bool,
    /// The last published commit.
    pub current: u64,
    pub now: i64,
    pub latest: i64,
    pub monotonic: u64,
    /// Whether write sets are spilled, so that any statement may meet the disk's failures.
    pub spills: bool,
    /// Nobody begins anything new.
    pub closing: bool,
    pub stats: &'a mut Stats,
    /// Who knows whether the machine has stopped: nobody hears an answer then.
    pub crashed: &'a Faults,
}

/// A transaction that is open.
pub struct Open {
    pub tx: Tx,
    pub named: bool,
    pub volatile_only: bool,
    pub level: Level,
    /// The position that its statements read, where that is one for all.
    pub pinned: Option<u64>,
    /// How many deeds and claims there were at each.
    pub savepoints: Vec<(usize, usize)>,
    pub failed: bool,
    pub began: i64,
    /// Messages that it was given.
    claimed: Vec<u64>,
    /// When the STREAM rows that it wrote vanish at the earliest.
    pub expires: BTreeMap<Key, i64>,
}

/// A client and its session.
pub struct Client {
    pub number: usize,
    pub user: &'static str,
    session: Session,
    running: Option<(Statement, Answer)>,
    wait: Option<(Wait, Option<u64>)>,
    pub open: Option<Open>,
    pub live: Option<Live>,
    /// Between which positions LISTEN took effect, and what was heard since.
    pub listening: Option<(u64, u64, Vec<String>)>,
    pub queue: Vec<Kind>,
}

impl Client {
    pub fn new(number: usize, user: &'static str, session: Session) -> Client {
        Client {
            number,
            user,
            session,
            running: None,
            wait: None,
            open: None,
            live: None,
            listening: None,
            queue: Vec::new(),
        }
    }

    /// Whether it can do something now.
    pub fn is_ready(&self, monotonic: u64) -> bool {
        match &self.wait {
            Some((wait, deadline)) => wait.is_done() || deadline.is_some_and(|deadline| deadline <= monotonic),
            None => true,
        }
    }

    /// When its wait ends at the latest.
    pub fn deadline(&self) -> Option<u64> {
        self.wait.as_ref().and_then(|(_, deadline)| *deadline)
    }

    /// Whether nothing of it is under way.
    pub fn is_idle(&self) -> bool {
        self.running.is_none() && self.open.is_none()
    }

    /// The user whose rows a table shows.
    pub fn scope(&self, table: Table) -> String {
        if table.is_scoped() { self.user.to_owned() } else { String::new() }
    }

    /// Goes on: begins a statement or steps the one that runs. What it did, for the trace.
    pub fn step(&mut self, common: &mut Common) -> String {
        self.wait = None;
        if self.running.is_none() {
            common.stats.live_events += self.hear(common.model);
            let Some(kind) = self.choose(common) else { return String::new() };
            self.begin(kind, common);
        }
        let Some((statement, answer)) = &mut self.running else { return String::new() };
        let flow = self.session.step(answer);
        if common.crashed.has_crashed() {
            return String::new();
        }
        match flow {
            Flow::Wait(wait) => {
                let deadline = wait.limit.map(|limit| common.monotonic + limit.as_micros() as u64);
                self.wait = Some((wait, deadline));
                format!("{}: waits: {}", self.number, statement.sql)
            }
            Flow::Yield | Flow::Full | Flow::Input(_) => String::new(),
            Flow::End => panic!("session {} ended: {:?}", self.number, answer.error),
            Flow::Done => {
                let (statement, answer) = self.running.take().expect("it runs");
                let said = format!("{}: {} -> {:?} {:?}", self.number, statement.sql, answer.tag, answer.error);
                self.running = None;
                Self::done(self, statement, answer, common);
                said
            }
        }
    }

    /// Its session ends, whatever is under way; what is left of its live query.
    pub fn leave(self) -> Option<Live> {
        match self.running {
            Some((Statement { kind: Kind::Resume(live), .. }, _)) => Some(live),
            _ => self.live.and_then(Live::leave),
        }
    }

    /// Takes what the session was told. How many changes that were.
    pub fn hear(&mut self, model: &Model) -> u64 {
        let mut changes = 0;
        let fresh = self.session.outbox().drain().expect("nothing is lost in so short a time");
        for notification in fresh {
            let (channel, payload) = (notification.channel.as_str(), notification.payload.as_str());
            match (channel, &mut self.live, &mut self.listening) {
                ("live", Some(live), _) => changes += u64::from(live.hear(payload, model)),
                ("tx", _, Some((_, _, heard))) => heard.push(payload.to_owned()),
                // what was under way when the channel was closed
                _ => {}
            }
        }
        self.live.take_if(|live| live.ended);
        changes
    }

    fn begin(&mut self, kind: Kind, common: &mut Common) {
        let sql = self.sql(&kind, common);
        common.stats.statements += 1;
        if let (Kind::Commit, Some(open)) = (&kind, &self.open) {
            common.model.pending.insert(open.tx.id, open.tx.clone());
            common.model.committing.insert(self.number);
        }
        self.session.start(Request::Query(sql.clone()));
        let ids = common.model.ids.last().copied().unwrap_or(0);
        let numbers = common.model.numbers.last().copied().unwrap_or(0);
        let statement = Statement { sql, kind, from: common.current, time: common.now, ids, numbers };
        self.running = Some((statement, Answer::default()));
    }

    fn sql(&mut self, kind: &Kind, common: &mut Common) -> String {
        match kind {
            Kind::Ledger => {
                let Some(open) = &mut self.open else { unreachable!("the ledger names an open transaction") };
                open.named = true;
                let id = open.tx.id;
                if open.volatile_only {
                    return format!("NOTIFY tx, '{id}'");
                }
                format!("INSERT INTO ledger VALUES ({id}, {}, NULL); NOTIFY tx, '{id}'", self.number)
            }
            Kind::Auto => {
                *common.next_tx += 1;
                let id = *common.next_tx;
                let tx = Tx { id, deeds: vec![self.signature(id)], ..Tx::default() };
                common.model.pending.insert(id, tx.clone());
                self.open = Some(Open::new(tx, common.now));
                format!("INSERT INTO ledger VALUES ({id}, {}, NULL)", self.number)
            }
            kind => kind.sql(common.random),
        }
    }

    /// The row that a transaction writes into the ledger.
    fn signature(&self, id: i64) -> Deed {
        let row = Row { n: self.number as i64, body: None, extra: None };
        let key = (Table::Ledger, String::new(), id);
        Deed::Write(Effect { key, before: Before::Absent, after: Some(row), from: None })
    }

    fn done(&mut self, statement: Statement, answer: Answer, common: &mut Common) {
        common.model.committing.remove(&self.number);
        if let Some((code, message)) = &answer.error {
            self.failed(&statement, *code, message, common);
            return;
        }
        match &statement.kind {
            Kind::Begin(level) => {
                *common.next_tx += 1;
                let mut open = Open::new(Tx { id: *common.next_tx, ..Tx::default() }, common.now);
                open.volatile_only = common.random.once_in(5);
                open.named = false;
                open.level = *level;
                open.pinned = level.is_pinned().then(|| answer.number(0, 0) as u64);
                open.tx.snapshot = open.pinned.filter(|_| level.is_serializable());
                self.open = Some(open);
            }
            Kind::Ledger => {
                let open = self.open.as_ref().expect("it is open");
                if !open.volatile_only {
                    let signature = self.signature(open.tx.id);
                    self.deed(signature);
                }
            }
            Kind::Auto | Kind::Commit => {
                assert_ne!(answer.tag.as_deref(), Some("ROLLBACK"));
                let open = self.open.take().expect("it was open");
                let known = common.model.committed.contains_key(&open.tx.id);
                let nothing = open.tx.deeds.is_empty() && (open.volatile_only || open.level.only_reads());
                assert!(known || nothing, "transaction {} is acknowledged and not published", open.tx.id);
                if !known {
                    common.model.serials.extend(open.tx.serial());
                }
                common.model.pending.remove(&open.tx.id);
                common.model.expires.extend(open.expires);
            }
            Kind::Rollback => {
                let open = self.open.take().expect("it was open");
                common.claims.retain(|offset, (client, _)| *client != self.number || !open.claimed(*offset));
            }
            Kind::Savepoint => {
                let open = self.open.as_mut().expect("it is open");
                open.savepoints.push((open.tx.deeds.len(), open.claimed.len()));
            }
            Kind::RollbackTo => {
                let open = self.open.as_mut().expect("it is open");
                let (deeds, claims) = *open.savepoints.last().expect("there is one");
                open.tx.deeds.truncate(deeds);
                let returned = open.claimed.split_off(claims);
                common.claims.retain(|offset, (client, _)| *client != self.number || !returned.contains(offset));
                open.failed = false;
            }
            Kind::Release => {
                self.open.as_mut().expect("it is open").savepoints.pop();
            }
            Kind::Snowflake => {
                let id = answer.number(0, 0);
                assert!(id > statement.ids, "SNOWFLAKE_ID gives {id} after {}", statement.ids);
                assert!(common.model.ids.insert(id), "SNOWFLAKE_ID gives {id} twice");
            }
            Kind::Nextval => {
                let number = answer.number(0, 0);
                assert!(number > statement.numbers, "nextval gives {number} after {}", statement.numbers);
                assert!(common.model.numbers.insert(number), "nextval gives {number} twice");
            }
            Kind::Define(table, definition) => self.deed(Deed::Define(*table, definition.clone())),
            Kind::Ack(offsets) if answer.tag == Some(format!("ACK {}", offsets.len())) => {
                offsets.iter().for_each(|offset| self.deed(Deed::Ack(*offset)));
            }
            // some came back to the group, and nobody says which
            Kind::Ack(_) => self.queue.push(Kind::Rollback),
            Kind::Consume => self.consumed(&answer, common),
            Kind::Subscribe(table) => {
                let rows = (0..answer.rows.len()).map(|row| (answer.number(row, 0), answer.number(row, 1)));
                self.live = Some(Live::new(*table, self.scope(*table), rows.collect()));
            }
            Kind::Resume(live) => {
                assert!(answer.rows.is_empty(), "{} has rows", statement.sql);
                common.stats.resumed += 1;
                self.live = Some(live.clone());
            }
            Kind::Unlisten => self.live = None,
            Kind::Listen => self.listening = Some((statement.from, common.current, Vec::new())),
            Kind::Select(table, filter) => {
                self.note_read(&statement.kind, common.model);
                self.selected(&statement, *table, filter, &answer, common);
            }
            _ => {
                self.note_read(&statement.kind, common.model);
                self.check_complete(&statement, &answer, common);
                self.wrote(&statement, &answer, common);
            }
        }
    }

    pub fn deed(&mut self, deed: Deed) {
        self.open.as_mut().expect("it is open").tx.deeds.push(deed);
    }

    fn failed(&mut self, statement: &Statement, code: SqlState, message: &str, common: &mut Common) {
        assert!(self.may_fail(statement, code, common), "{} fails: {code}: {message}", statement.sql);
        common.stats.refused += u64::from(message.contains("read/write dependencies"));
        if matches!(statement.kind, Kind::Commit | Kind::Auto) {
            let open = self.open.take().expect("it was open");
            let doubtful = code == SqlState::IO_ERROR;
            if let Some(tx) = common.model.pending.get_mut(&open.tx.id) {
                tx.doubtful = doubtful;
                if !doubtful {
                    common.model.pending.remove(&open.tx.id);
                }
            }
            assert!(!common.model.committed.contains_key(&open.tx.id), "a published commit is reported as failed");
            common.claims.retain(|_, (client, _)| *client != self.number);
        } else if let Kind::Resume(live) = &statement.kind {
            common.left.extend((code != SqlState::SNAPSHOT_TOO_OLD).then(|| live.clone()));
        } else if let Some(open) = &mut self.open {
            open.failed = true;
            self.queue.clear();
            // what cannot be committed any more is given back at once
            let claims = open.savepoints.last().map_or(0, |(_, claims)| *claims);
            let returned = open.claimed.split_off(claims);
            common.claims.retain(|offset, (client, _)| *client != self.number || !returned.contains(offset));
        }
    }

    fn consumed(&mut self, answer: &Answer, common: &mut Common) {
        let until = common.monotonic + VISIBILITY_MS as u64 * 1000;
        let mut offsets = Vec::new();
        for at in 0..answer.rows.len() {
            let offset = answer.number(at, 2) as u64;
            assert!(!common.model.acked.contains(&offset), "message {offset} comes again after its ACK");
            if let Some((client, held)) = common.claims.get(&offset) {
                // a COMMIT that failed has given its messages back before its client hears of it
                let open = common.model.committing.contains(client);
                let free = *client == self.number || *held <= common.monotonic || open;
                assert!(free, "message {offset} is given to client {} and is held by {client}", self.number);
            }
            common.claims.insert(offset, (self.number, until));
            offsets.push(offset);
        }
        self.open.as_mut().expect("it is open").claimed.extend(&offsets);
        if !offsets.is_empty() && !common.random.once_in(3) {
            self.queue.push(Kind::Ack(offsets));
        }
    }
}

impl Open {
    fn new(tx: Tx, began: i64) -> Open {
        Open {
            tx,
            named: true,
            volatile_only: false,
            level: Level::Committed,
            pinned: None,
            savepoints: Vec::new(),
            failed: false,
            began,
            claimed: Vec::new(),
            expires: BTreeMap::new(),
        }
    }

    fn claimed(&self, offset: u64) -> bool {
        self.claimed.contains(&offset)
    }
}
