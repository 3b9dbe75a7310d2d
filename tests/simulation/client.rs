//! A simulated client: what it says next, and what it makes of the answers.

use crate::live::Live;
use crate::model::{Before, Deed, Effect, Key, Model, Row, Table, Tx};
use crate::random::Random;
use crate::simulated::Answer;
use std::collections::BTreeMap;
use tertulia::error::SqlState;
use tertulia::session::{Flow, Request, Session};
use tertulia::storage::fault::Faults;
use tertulia::wait::Wait;

/// Ids of rows: few, so that transactions meet.
const IDS: u64 = 8;
/// How long a claimed message is hidden, in milliseconds.
const VISIBILITY_MS: i64 = 5_000;
/// The TTL of STREAM rows, in microseconds.
pub const TTL_MICROS: i64 = 30_000_000;

/// Which rows a statement is about.
#[derive(Clone, Debug)]
pub enum Filter {
    All,
    Id(i64),
    From(i64),
    Body(String),
}

impl Filter {
    fn sql(&self) -> String {
        match self {
            Filter::All => "true".to_owned(),
            Filter::Id(id) => format!("id = {id}"),
            Filter::From(id) => format!("id >= {id}"),
            Filter::Body(body) => format!("body = '{body}'"),
        }
    }

    fn takes(&self, id: i64, row: &Row) -> bool {
        match self {
            Filter::All => true,
            Filter::Id(wanted) => id == *wanted,
            Filter::From(least) => id >= *least,
            Filter::Body(wanted) => row.body.as_ref() == Some(wanted),
        }
    }
}

#[derive(Clone, Debug)]
enum Kind {
    Begin {
        repeatable: bool,
    },
    /// Names the transaction in the ledger.
    Ledger,
    /// A transaction of one statement.
    Auto,
    Insert(Table, bool, Vec<(i64, Row)>),
    Bump(Table, Filter, bool),
    Move(Table, i64, i64),
    Delete(Table, Filter),
    Select(Table, Filter),
    Savepoint,
    RollbackTo,
    Release,
    Commit,
    Rollback,
    Snowflake,
    Nextval,
    Create(u32),
    Drop(u32),
    Consume,
    Ack(Vec<u64>),
    Subscribe(Table),
    Unlisten,
    Listen,
}

struct Statement {
    sql: String,
    kind: Kind,
    /// The last published commit when it began.
    from: u64,
    time: i64,
    /// The largest SNOWFLAKE_ID that anybody had seen.
    ids: i64,
    /// The largest number of the sequence that anybody had seen.
    numbers: i64,
}

/// What all clients share with the world.
pub struct Common<'a> {
    pub random: &'a mut Random,
    pub model: &'a mut Model,
    pub claims: &'a mut BTreeMap<u64, (usize, u64)>,
    pub next_tx: &'a mut i64,
    pub next_extra: &'a mut u32,
    /// The last published commit.
    pub current: u64,
    pub now: i64,
    pub latest: i64,
    pub monotonic: u64,
    /// Whether write sets are spilled, so that any statement may meet the disk's failures.
    pub spills: bool,
    /// Nobody begins anything new.
    pub closing: bool,
    pub statements: &'a mut u64,
    /// Who knows whether the machine has stopped: nobody hears an answer then.
    pub crashed: &'a Faults,
}

struct Open {
    tx: Tx,
    named: bool,
    volatile_only: bool,
    repeatable: bool,
    /// The position that its statements read, once one has said so.
    pinned: Option<u64>,
    /// How many deeds and claims there were at each.
    savepoints: Vec<(usize, usize)>,
    failed: bool,
    began: i64,
    /// Messages that it was given.
    claimed: Vec<u64>,
    /// When the STREAM rows that it wrote vanish at the earliest.
    expires: BTreeMap<Key, i64>,
}

/// A client and its session.
pub struct Client {
    pub number: usize,
    pub user: &'static str,
    session: Session,
    running: Option<(Statement, Answer)>,
    wait: Option<(Wait, Option<u64>)>,
    open: Option<Open>,
    pub live: Option<Live>,
    /// Between which positions LISTEN took effect, and what was heard since.
    pub listening: Option<(u64, u64, Vec<String>)>,
    queue: Vec<Kind>,
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
    fn scope(&self, table: Table) -> String {
        if [Table::User, Table::Stream].contains(&table) { self.user.to_owned() } else { String::new() }
    }

    /// Goes on: begins a statement or steps the one that runs. What it did, for the trace.
    pub fn step(&mut self, common: &mut Common) -> String {
        self.wait = None;
        if self.running.is_none() {
            self.hear(common.model);
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

    /// Takes what the session was told.
    pub fn hear(&mut self, model: &Model) {
        let fresh = self.session.outbox().drain().expect("nothing is lost in so short a time");
        for notification in fresh {
            let (channel, payload) = (notification.channel.as_str(), notification.payload.as_str());
            match (channel, &mut self.live, &mut self.listening) {
                ("live", Some(live), _) => live.hear(payload, model),
                ("tx", _, Some((_, _, heard))) => heard.push(payload.to_owned()),
                // what was under way when the channel was closed
                _ => {}
            }
        }
    }

    fn begin(&mut self, kind: Kind, common: &mut Common) {
        let sql = self.sql(&kind, common);
        *common.statements += 1;
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

    fn choose(&mut self, common: &mut Common) -> Option<Kind> {
        if let Some(kind) = self.queue.pop() {
            return Some(kind);
        }
        let random = &mut *common.random;
        match &self.open {
            None if common.closing => None,
            None => Some(match random.below(20) {
                0 if random.once_in(2) => Kind::Snowflake,
                0 => Kind::Nextval,
                1 | 2 => Kind::Auto,
                3 | 4 => Kind::Select(self.any_table(common), any_filter(common.random)),
                5 if self.live.is_none() => Kind::Subscribe(common.random.pick(&[Table::Shared, Table::User])),
                5 => Kind::Unlisten,
                6 if self.listening.is_none() => Kind::Listen,
                n => Kind::Begin { repeatable: n % 4 == 0 },
            }),
            Some(open) if open.failed && !open.savepoints.is_empty() && !random.once_in(3) => Some(Kind::RollbackTo),
            Some(open) if open.failed => Some(Kind::Rollback),
            Some(open) if !open.named => Some(Kind::Ledger),
            Some(open) => {
                let savepoints = open.savepoints.len();
                let volatile_only = open.volatile_only;
                Some(match random.below(if common.closing { 2 } else { 16 }) {
                    0 if random.once_in(4) => Kind::Rollback,
                    0 | 1 => Kind::Commit,
                    2 if random.once_in(4) => Kind::Nextval,
                    2 if savepoints < 3 => Kind::Savepoint,
                    3 if savepoints > 0 => {
                        if random.once_in(2) {
                            Kind::RollbackTo
                        } else {
                            Kind::Release
                        }
                    }
                    4 if !volatile_only && random.once_in(4) => self.definition(common),
                    5 if !volatile_only && self.user == "tertulia" => Kind::Consume,
                    6 | 7 => Kind::Select(self.any_table(common), any_filter(common.random)),
                    n => self.write(n, volatile_only, common),
                })
            }
        }
    }

    fn definition(&self, common: &mut Common) -> Kind {
        let extras: Vec<u32> = common.model.extras.iter().copied().collect();
        if self.user != "tertulia" {
            return Kind::Select(Table::Shared, Filter::All);
        }
        if extras.is_empty() || common.random.once_in(2) {
            *common.next_extra += 1;
            Kind::Create(*common.next_extra)
        } else {
            Kind::Drop(common.random.pick(&extras))
        }
    }

    fn any_table(&self, common: &mut Common) -> Table {
        let extras: Vec<u32> = common.model.extras.iter().copied().collect();
        match common.random.below(10) {
            0..=4 => Table::Shared,
            5..=7 => Table::User,
            8 if self.user == "tertulia" && !extras.is_empty() => Table::Extra(common.random.pick(&extras)),
            _ => Table::Stream,
        }
    }

    fn write(&self, n: u64, volatile_only: bool, common: &mut Common) -> Kind {
        let table = if volatile_only { Table::Stream } else { self.any_table(common) };
        let random = &mut *common.random;
        // STREAM rows are not updated
        match if table == Table::Stream && n != 9 { 13 } else { n } {
            8 => Kind::Move(table, random.below(IDS) as i64, random.below(IDS) as i64),
            9 => Kind::Delete(table, any_filter(random)),
            10 => Kind::Bump(table, any_filter(random), false),
            11 | 12 => Kind::Bump(table, Filter::Id(random.below(IDS) as i64), true),
            _ => {
                let mut rows = Vec::new();
                for _ in 0..1 + random.below(3) {
                    let id = random.below(IDS) as i64;
                    if rows.iter().all(|(taken, _)| *taken != id) {
                        rows.push((id, Row { n: random.below(100) as i64, body: any_body(random) }));
                    }
                }
                Kind::Insert(table, random.once_in(3), rows)
            }
        }
    }

    fn sql(&mut self, kind: &Kind, common: &mut Common) -> String {
        match kind {
            Kind::Begin { repeatable: false } => "BEGIN".to_owned(),
            Kind::Begin { repeatable: true } => "BEGIN ISOLATION LEVEL REPEATABLE READ".to_owned(),
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
                let (id, number) = (*common.next_tx, self.number as i64);
                let key = (Table::Ledger, String::new(), id);
                let effect = Effect { key, before: Before::Absent, after: Some(Row { n: number, body: None }) };
                let tx = Tx { id, deeds: vec![Deed::Write(effect)], doubtful: false };
                common.model.pending.insert(id, tx.clone());
                self.open = Some(Open::new(tx, common.now));
                format!("INSERT INTO ledger VALUES ({id}, {number}, NULL)")
            }
            Kind::Insert(table, do_nothing, rows) => {
                let show = |(id, row): &(i64, Row)| {
                    let body = row.body.as_ref().map_or("NULL".to_owned(), |body| format!("'{body}'"));
                    format!("({id}, {}, {body})", row.n)
                };
                let values: Vec<String> = rows.iter().map(show).collect();
                let conflict = if *do_nothing { " ON CONFLICT DO NOTHING" } else { "" };
                let (name, values) = (table.name(), values.join(", "));
                format!("INSERT INTO {name} VALUES {values}{conflict} RETURNING id, n, body")
            }
            Kind::Bump(table, filter, rename) => {
                let body = match any_body(common.random) {
                    Some(body) if *rename => format!(", body = '{body}'"),
                    None if *rename => ", body = NULL".to_owned(),
                    _ => String::new(),
                };
                let (name, filter) = (table.name(), filter.sql());
                format!("UPDATE {name} SET n = n + 1{body} WHERE {filter} RETURNING id, n, body")
            }
            Kind::Move(table, from, to) => {
                format!("UPDATE {} SET id = {to} WHERE id = {from} RETURNING id, n, body", table.name())
            }
            Kind::Delete(table, filter) => {
                format!("DELETE FROM {} WHERE {} RETURNING id, n, body", table.name(), filter.sql())
            }
            Kind::Select(table, filter) => {
                let way = common.random.pick(&["", " ORDER BY id", " ORDER BY id DESC"]);
                format!("SELECT id, n, body, current_seq() FROM {} WHERE {}{way}", table.name(), filter.sql())
            }
            Kind::Savepoint => "SAVEPOINT a".to_owned(),
            Kind::RollbackTo => "ROLLBACK TO a".to_owned(),
            Kind::Release => "RELEASE a".to_owned(),
            Kind::Commit => "COMMIT".to_owned(),
            Kind::Rollback => "ROLLBACK".to_owned(),
            Kind::Snowflake => "SELECT snowflake_id()".to_owned(),
            Kind::Nextval => "SELECT nextval('q')".to_owned(),
            Kind::Create(number) => {
                format!("CREATE TABLE x{number} (id INT PRIMARY KEY, n INT NOT NULL, body TEXT UNIQUE)")
            }
            Kind::Drop(number) => format!("DROP TABLE x{number}"),
            Kind::Consume => format!("CONSUME FROM evt GROUP g LIMIT 3 VISIBILITY '{VISIBILITY_MS} ms'"),
            Kind::Ack(offsets) => {
                let offsets: Vec<String> = offsets.iter().map(u64::to_string).collect();
                format!("ACK evt GROUP g OFFSET {}", offsets.join(", "))
            }
            Kind::Subscribe(table) => format!("SUBSCRIBE live TO SELECT id, n FROM {}", table.name()),
            Kind::Unlisten => "UNLISTEN live".to_owned(),
            Kind::Listen => "LISTEN tx".to_owned(),
        }
    }

    fn done(&mut self, statement: Statement, answer: Answer, common: &mut Common) {
        common.model.committing.remove(&self.number);
        if let Some((code, message)) = &answer.error {
            self.failed(&statement, *code, message, common);
            return;
        }
        match &statement.kind {
            Kind::Begin { repeatable } => {
                *common.next_tx += 1;
                let mut open = Open::new(Tx { id: *common.next_tx, ..Tx::default() }, common.now);
                open.volatile_only = common.random.once_in(5);
                open.named = false;
                open.repeatable = *repeatable;
                self.open = Some(open);
            }
            Kind::Ledger => {
                let number = self.number as i64;
                let open = self.open.as_mut().expect("it is open");
                if !open.volatile_only {
                    let key = (Table::Ledger, String::new(), open.tx.id);
                    let after = Some(Row { n: number, body: None });
                    open.tx.deeds.push(Deed::Write(Effect { key, before: Before::Absent, after }));
                }
            }
            Kind::Auto | Kind::Commit => {
                assert_ne!(answer.tag.as_deref(), Some("ROLLBACK"));
                let open = self.open.take().expect("it was open");
                let known = common.model.committed.contains_key(&open.tx.id);
                let nothing = open.tx.deeds.is_empty() && open.volatile_only;
                assert!(known || nothing, "transaction {} is acknowledged and not published", open.tx.id);
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
            Kind::Create(number) => self.deed(Deed::Create(*number)),
            Kind::Drop(number) => self.deed(Deed::Drop(*number)),
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
            Kind::Unlisten => self.live = None,
            Kind::Listen => self.listening = Some((statement.from, common.current, Vec::new())),
            Kind::Select(table, filter) => self.selected(&statement, *table, filter, &answer, common),
            kind => {
                self.check_complete(&statement, &answer, common);
                self.wrote(kind.clone(), &statement, &answer, common);
            }
        }
    }

    fn deed(&mut self, deed: Deed) {
        self.open.as_mut().expect("it is open").tx.deeds.push(deed);
    }

    fn failed(&mut self, statement: &Statement, code: SqlState, message: &str, common: &mut Common) {
        let ends = matches!(statement.kind, Kind::Commit | Kind::Auto);
        let log_failed = [SqlState::IO_ERROR, SqlState::DISK_FULL].contains(&code);
        let fine = match &statement.kind {
            Kind::Commit | Kind::Auto | Kind::Snowflake | Kind::Nextval | Kind::Subscribe(_) | Kind::Consume
                if log_failed =>
            {
                true
            }
            Kind::Insert(table, ..) | Kind::Bump(table, ..) | Kind::Move(table, ..)
                if code == SqlState::UNIQUE_VIOLATION =>
            {
                self.check_violation(statement, *table, common);
                true
            }
            // what is spilled needs the disk
            _ if log_failed && common.spills => true,
            _ => {
                let lost = code == SqlState::T_R_SERIALIZATION_FAILURE
                    && self.open.as_ref().is_some_and(|open| open.repeatable);
                let gone = code == SqlState::UNDEFINED_TABLE && statement.sql.contains(" x");
                lost || gone || code == SqlState::T_R_DEADLOCK_DETECTED
            }
        };
        assert!(fine, "{} fails: {code}: {message}", statement.sql);
        if ends {
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
        } else if let Some(open) = &mut self.open {
            open.failed = true;
            // what cannot be committed any more is given back at once
            let claims = open.savepoints.last().map_or(0, |(_, claims)| *claims);
            let returned = open.claimed.split_off(claims);
            common.claims.retain(|offset, (client, _)| *client != self.number || !returned.contains(offset));
        }
    }

    /// A violation needs somebody who has the value; where nothing was committed meanwhile it must be seen.
    fn check_violation(&self, statement: &Statement, table: Table, common: &Common) {
        if statement.from != common.current
            || table == Table::Stream
            || self.open.as_ref().is_some_and(|o| o.repeatable)
        {
            return;
        }
        let seen = self.view(table, &Filter::All, common.current, common.model);
        match &statement.kind {
            Kind::Insert(_, _, rows) => {
                let bodies = |row: &Row| row.body.is_some() && seen.values().any(|other| other.body == row.body);
                let mut own = std::collections::BTreeSet::new();
                let taken = rows.iter().any(|(id, row)| {
                    seen.contains_key(id) || bodies(row) || (row.body.is_some() && !own.insert(row.body.clone()))
                });
                assert!(taken, "{} finds a duplicate in {seen:?}", statement.sql);
            }
            Kind::Move(_, _, to) => assert!(seen.contains_key(to), "{} finds a duplicate in {seen:?}", statement.sql),
            _ => {}
        }
    }

    /// What a statement must see as of a commit, own writes over it.
    fn view(&self, table: Table, filter: &Filter, seq: u64, model: &Model) -> BTreeMap<i64, Row> {
        let scope = self.scope(table);
        let mut rows = model.rows_at(table, &scope, seq);
        if let Some(open) = &self.open {
            for ((of, user, id), row) in open.tx.overlay() {
                if of == table && user == scope {
                    match row {
                        Some(row) => rows.insert(id, row),
                        None => rows.remove(&id),
                    };
                }
            }
            let dropped = |deed: &Deed| matches!((deed, table), (Deed::Drop(a), Table::Extra(b)) if *a == b);
            assert!(!open.tx.deeds.iter().any(dropped), "a dropped table is read");
        }
        rows.retain(|id, row| filter.takes(*id, row));
        rows
    }

    fn selected(&mut self, statement: &Statement, table: Table, filter: &Filter, answer: &Answer, common: &Common) {
        let read: BTreeMap<i64, Row> =
            (0..answer.rows.len()).map(|at| (answer.number(at, 0), returned(answer, at))).collect();
        assert_eq!(read.len(), answer.rows.len(), "{} gives a row twice", statement.sql);
        let said = (!answer.rows.is_empty()).then(|| answer.number(0, 3) as u64);
        if let Some(open) = self.open.as_mut().filter(|open| open.repeatable) {
            let pinned = open.pinned.or(said);
            assert!(said.is_none() || said == pinned, "{} reads at {said:?}, not {pinned:?}", statement.sql);
            open.pinned = pinned;
        }
        let pinned = self.open.as_ref().and_then(|open| open.pinned);
        let unpinned = self.open.as_ref().is_some_and(|open| open.repeatable && open.pinned.is_none());
        if let Some(said) = said {
            let fresh = pinned.is_some() || said >= statement.from;
            assert!(fresh && said <= common.current, "{} reads at {said}", statement.sql);
        }
        let mut seqs = match said.or(pinned) {
            Some(seq) => seq..=seq,
            // an empty answer does not tell its position
            None if unpinned => 0..=common.current,
            None => statement.from..=common.current,
        };
        if table == Table::Stream {
            self.selected_stream(statement, filter, &read, said, common);
            return;
        }
        let fits = seqs.clone().any(|seq| self.view(table, filter, seq, common.model) == read);
        let wanted = seqs.next().map(|seq| self.view(table, filter, seq, common.model));
        assert!(fits, "{} at {said:?} gives {read:?}, not {wanted:?}", statement.sql);
        if self.open.as_ref().is_none_or(|open| !open.repeatable || open.pinned.is_some()) {
            check_order(statement, answer);
        }
    }

    /// STREAM rows vanish with time: what is read was there, and what cannot have vanished is read.
    fn selected_stream(
        &self,
        statement: &Statement,
        filter: &Filter,
        read: &BTreeMap<i64, Row>,
        said: Option<u64>,
        common: &Common,
    ) {
        let seqs = said.map_or(statement.from..=common.current, |seq| seq..=seq);
        if self.open.as_ref().is_some_and(|open| open.repeatable) {
            return;
        }
        let fits = |seq: u64| {
            let seen = self.view(Table::Stream, filter, seq, common.model);
            let own = self.open.as_ref().map(|open| open.tx.overlay()).unwrap_or_default();
            let must_stay = |id: &i64| {
                let key = (Table::Stream, self.user.to_owned(), *id);
                !own.contains_key(&key) && common.model.expires.get(&key).is_some_and(|at| *at > common.latest)
            };
            read.iter().all(|(id, row)| seen.get(id) == Some(row))
                && seen.keys().all(|id| read.contains_key(id) || !must_stay(id))
        };
        let (mut tried, last) = (seqs.clone(), *seqs.end());
        let seen = self.view(Table::Stream, filter, last, common.model);
        assert!(tried.any(fits), "{} at {said:?} gives {read:?} of {seen:?}", statement.sql);
    }

    /// Where nothing was committed meanwhile a write finds exactly the rows that a SELECT would.
    fn check_complete(&self, statement: &Statement, answer: &Answer, common: &Common) {
        let (Kind::Bump(table, filter, _) | Kind::Delete(table, filter)) = &statement.kind else { return };
        if statement.from != common.current
            || *table == Table::Stream
            || self.open.as_ref().is_some_and(|o| o.repeatable)
        {
            return;
        }
        let seen = self.view(*table, filter, common.current, common.model);
        let mut found: Vec<i64> = (0..answer.rows.len()).map(|at| answer.number(at, 0)).collect();
        found.sort_unstable();
        assert_eq!(found, seen.keys().copied().collect::<Vec<_>>(), "{}", statement.sql);
    }

    fn wrote(&mut self, kind: Kind, statement: &Statement, answer: &Answer, common: &mut Common) {
        for at in 0..answer.rows.len() {
            let (id, row) = (answer.number(at, 0), returned(answer, at));
            let table = match &kind {
                Kind::Insert(table, ..) | Kind::Bump(table, ..) | Kind::Move(table, ..) | Kind::Delete(table, ..) => {
                    *table
                }
                other => unreachable!("{other:?} returns no rows"),
            };
            let key: Key = (table, self.scope(table), id);
            let volatile = table == Table::Stream;
            let was = |before: Before| if volatile { Before::Unknown } else { before };
            if volatile {
                let began = self.open.as_ref().map_or(statement.time, |open| open.began);
                let expires = began.min(statement.time).min(common.now) + TTL_MICROS;
                self.open.as_mut().expect("it is open").expires.insert(key.clone(), expires);
            }
            match &kind {
                Kind::Insert(..) => self.effect(key, was(Before::Absent), Some(row)),
                Kind::Bump(_, _, rename) => {
                    let body = (!rename).then(|| row.body.clone());
                    self.effect(key, was(Before::Was(row.n - 1, body)), Some(row));
                }
                Kind::Move(_, from, to) if from == to => {
                    self.effect(key, was(Before::Was(row.n, Some(row.body.clone()))), Some(row));
                }
                Kind::Move(_, from, _) => {
                    let old = (key.0, key.1.clone(), *from);
                    self.effect(old, was(Before::Was(row.n, Some(row.body.clone()))), None);
                    self.effect(key, was(Before::Absent), Some(row));
                }
                _ => self.effect(key, was(Before::Was(row.n, Some(row.body.clone()))), None),
            }
        }
    }

    fn effect(&mut self, key: Key, before: Before, after: Option<Row>) {
        self.deed(Deed::Write(Effect { key, before, after }));
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
            repeatable: false,
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

/// A returned row without its id.
fn returned(answer: &Answer, at: usize) -> Row {
    Row { n: answer.number(at, 1), body: answer.rows[at][2].clone() }
}

fn check_order(statement: &Statement, answer: &Answer) {
    let ids: Vec<i64> = (0..answer.rows.len()).map(|at| answer.number(at, 0)).collect();
    if statement.sql.ends_with("DESC") {
        assert!(ids.iter().rev().is_sorted(), "{} gives {ids:?}", statement.sql);
    } else if statement.sql.ends_with("ORDER BY id") {
        assert!(ids.is_sorted(), "{} gives {ids:?}", statement.sql);
    }
}

fn any_filter(random: &mut Random) -> Filter {
    match random.below(6) {
        0 => Filter::All,
        1 => Filter::From(random.below(IDS) as i64),
        2 => Filter::Body(format!("b{}", random.below(6))),
        _ => Filter::Id(random.below(IDS) as i64),
    }
}

fn any_body(random: &mut Random) -> Option<String> {
    match random.below(8) {
        0 | 1 => None,
        2..=5 => Some(format!("b{}", random.below(6))),
        6 => Some(random.text(20, 200)),
        _ => Some(random.text(200, 1500)),
    }
}
