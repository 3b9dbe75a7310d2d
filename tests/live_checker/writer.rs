//! A writer: one connection that commits one transaction after another and tells the ledger what each did.

use crate::ledger::{Commit, Effects, Ledger, Maybe, apply};
use crate::place::{Counts, Phase, Place, Wall, wall};
use crate::session::{Answer, Gone, Session};
use crate::statements::{Statement, Statements};
use crate::support::random::Random;
use crate::table::{COLUMNS, Cells, LIVELY, TTL, Table};
use crate::truth::is_stream_only;
use std::sync::Mutex;
use std::time::Duration;

/// Codes with which a transaction may fail beside others, as PostgreSQL's may: a deadlock, for writers lock rows in any
/// order; a key that is taken, for keys are tried and moved to where rows may be; a cancel. Nothing of it is committed then,
/// which the ledger checks. Under REPEATABLE READ and SERIALIZABLE, and only there, 40001 joins them.
const MAY_FAIL: [&str; 3] = ["40P01", "23505", "57014"];
/// Rows of the large table that a flood writes, in transactions of four, and the bytes of each.
const FLOOD_ROWS: u64 = 200;
const FLOOD_BYTES: usize = 200_000;

/// How a committed transaction's position is found.
#[derive(Clone, Debug)]
enum Mark {
    /// The writer's own row in the table of progress holds the transaction's number.
    Progress,
    /// A STREAM row of its own, for transactions that touch STREAM tables only.
    Beat(i64),
    /// A row that nobody else writes.
    Row(Table, i64),
}

/// A transaction whose COMMIT was sent.
#[derive(Debug)]
struct Pending {
    tx: i64,
    effects: Effects,
    mark: Mark,
    sent: Wall,
    /// When the answer was there, if it was.
    acked: Option<Wall>,
    epoch: u64,
    pid: i32,
}

pub struct Writer<'a> {
    pub number: usize,
    /// The session's number among all.
    pub session_number: usize,
    /// The role, and whose rows it writes.
    pub role: &'static str,
    pub users: Vec<&'static str>,
    /// Whether nobody else writes that user's rows.
    pub is_alone: bool,
    pub place: &'a Place,
    pub ledger: &'a Mutex<Ledger>,
    pub random: Random,
    pub tx: i64,
    pub serial: i64,
    /// The longest pause between two transactions, in milliseconds.
    pub pause_ms_max: u64,
    /// Its transaction is REPEATABLE READ or SERIALIZABLE.
    is_isolated: bool,
    session: Option<Session<'a>>,
    pending: Option<Pending>,
}

/// Why a transaction was not done.
enum Failure {
    /// The connection is gone.
    Gone,
    /// It failed as it may.
    Refused,
}

impl From<Gone> for Failure {
    fn from(_: Gone) -> Failure {
        Failure::Gone
    }
}

impl<'a> Writer<'a> {
    pub fn new(
        number: usize,
        session_number: usize,
        (role, users, is_alone): (&'static str, Vec<&'static str>, bool),
        place: &'a Place,
        ledger: &'a Mutex<Ledger>,
        random: Random,
    ) -> Writer<'a> {
        let (tx, serial, pause_ms_max, session, pending) = (0, 0, 40, None, None);
        Writer {
            number,
            session_number,
            role,
            users,
            is_alone,
            place,
            ledger,
            random,
            tx,
            serial,
            pause_ms_max,
            is_isolated: false,
            session,
            pending,
        }
    }

    /// Writes while there is load.
    pub fn run(mut self) {
        loop {
            if self.place.phase() != Phase::Load && self.pending.is_none() && !self.place.rest() {
                return;
            }
            if self.turn().is_err() {
                self.session = None;
            } else {
                let pause = self.random.below(self.pause_ms_max);
                self.place.pause(Duration::from_millis(pause));
            }
        }
    }

    fn turn(&mut self) -> Result<(), Gone> {
        if self.session.is_none() {
            self.session = Session::connect(self.place, self.session_number, self.role);
            if self.session.is_none() {
                // the end: nothing is known any more
                self.pending = None;
                return Ok(());
            }
        }
        if self.pending.is_some() {
            return self.settle();
        }
        if self.place.phase() != Phase::Load {
            return Ok(());
        }
        if self.number == 0 && self.place.is_flooding() {
            return self.flood();
        }
        match self.transaction() {
            Ok(()) => Ok(()),
            Err(Failure::Gone) => Err(Gone),
            Err(Failure::Refused) => {
                Counts::add(&self.place.counts.refused);
                // that may be cancelled too
                while self.ask("ROLLBACK")?.error.is_some() {}
                Ok(())
            }
        }
    }

    fn session(&mut self) -> &mut Session<'a> {
        self.session.as_mut().expect("it is connected")
    }

    fn ask(&mut self, sql: &str) -> Result<Answer, Gone> {
        if self.random.once_in(4) && !sql.contains(';') {
            return self.session().ask_with(sql, &[]);
        }
        self.session().ask(sql)
    }

    /// The same for what must succeed unless a conflict or a cancel comes between.
    fn run_sql(&mut self, sql: &str) -> Result<Answer, Failure> {
        let answer = self.ask(sql)?;
        match answer.code() {
            None => Ok(answer),
            Some(code) if self.may_fail(code) => Err(Failure::Refused),
            Some(_) => panic!("{sql}: {answer:?}"),
        }
    }

    fn may_fail(&self, code: &str) -> bool {
        MAY_FAIL.contains(&code) || self.is_isolated && code == "40001"
    }

    fn violation(&self, what: String) {
        self.ledger.lock().unwrap().violations.push(what);
    }

    /// What became of a transaction that is not in the ledger.
    fn fate(&self, what: &str) {
        let fate = format!("transaction {} of writer {} at {}: {what}", self.tx, self.number, wall());
        self.ledger.lock().unwrap().fates.push(fate);
    }

    fn statements(&mut self) -> Statements<'_> {
        Statements {
            writer: self.number,
            users: &self.users,
            ledger: self.ledger,
            random: &mut self.random,
            serial: &mut self.serial,
            tx: self.tx,
        }
    }

    fn transaction(&mut self) -> Result<(), Failure> {
        self.tx += 1;
        self.is_isolated = false;
        match self.random.below(8) {
            0 | 1 => self.at_once(),
            2 => self.of_streams(),
            _ => self.block(),
        }
    }

    fn progress(&self) -> String {
        format!("UPDATE live.progress SET tx = {} WHERE writer = {}", self.tx, self.number)
    }

    /// One statement by itself, or several in one query, whose effects are known beforehand: where no answer comes they
    /// could not be asked for.
    fn at_once(&mut self) -> Result<(), Failure> {
        if self.is_alone && self.random.once_in(2) {
            let table = self.random.pick(&[Table::Notes, Table::Notes, Table::Typing]);
            let statement = self.statements().insert(table, 1);
            let cells = &statement.predicted.as_ref().expect("fresh rows are known")[0];
            let mark = Mark::Row(table, table.key(cells).1);
            return self.send(vec![statement], mark);
        }
        let mut statements = Vec::new();
        for _ in 0..=self.random.below(2) {
            let table = self.random.pick(&LIVELY);
            statements.extend(self.statements().episode(table));
        }
        self.send(statements, Mark::Progress)
    }

    /// Sends a transaction of known effects as one query.
    fn send(&mut self, statements: Vec<Statement>, mark: Mark) -> Result<(), Failure> {
        let mut script: Vec<String> = statements.iter().map(|statement| statement.sql.clone()).collect();
        if matches!(mark, Mark::Progress) {
            script.push(self.progress());
        }
        let mut effects = Effects::new();
        for statement in &statements {
            let rows = statement.predicted.as_ref().expect("its effects are known");
            apply(&mut effects, statement.table, statement.scope, statement.deed, rows).expect("they are possible");
        }
        self.sent(effects, mark);
        let script = script.join("; ");
        let answer = self.ask(&script)?;
        self.answered(&script, &answer)?;
        for (statement, outcome) in statements.iter().zip(&answer.outcomes) {
            let is_whole = outcome.rows.first().is_none_or(|cells| cells.len() == COLUMNS.len());
            if is_whole && Some(&outcome.rows) != statement.predicted.as_ref() {
                self.violation(format!("{} returned {:?}", statement.sql, outcome.rows));
            }
        }
        Ok(self.settle()?)
    }

    /// A commit is being sent.
    fn sent(&mut self, effects: Effects, mark: Mark) {
        let session = self.session.as_ref().expect("it is connected");
        let (epoch, pid) = (session.epoch, session.pid());
        self.pending = Some(Pending { tx: self.tx, effects, mark, sent: wall(), acked: None, epoch, pid });
    }

    /// A commit's answer is there.
    fn answered(&mut self, sql: &str, answer: &Answer) -> Result<(), Failure> {
        if answer.error.is_some() && answer.outcomes.iter().any(|outcome| outcome.tag == "COMMIT") {
            self.violation(format!("committed, and then {answer:?}: {sql}"));
        }
        match answer.code() {
            None => {
                self.pending.as_mut().expect("a commit was sent").acked = Some(wall());
                Ok(())
            }
            Some(code) if self.may_fail(code) => {
                self.fate(&format!("answered {code}: {sql}"));
                self.pending = None;
                Err(Failure::Refused)
            }
            Some(_) => panic!("{sql}: {answer:?}"),
        }
    }

    /// STREAM rows only: a commit that flushes nothing.
    fn of_streams(&mut self) -> Result<(), Failure> {
        let mut effects = Effects::new();
        self.run_sql("BEGIN")?;
        for _ in 0..=self.random.below(3) {
            self.something(&[Table::Typing], &mut effects)?;
        }
        self.serial += 1;
        let beat = (self.number as i64 + 1) * 1_000_000_000 + self.serial;
        self.run_sql(&format!("INSERT INTO live.beats VALUES ({beat})"))?;
        self.commit(effects, Mark::Beat(beat))
    }

    fn something(&mut self, tables: &[Table], effects: &mut Effects) -> Result<(), Failure> {
        let table = self.random.pick(tables);
        let statements = self.statements().something(table);
        for statement in statements {
            let answer = self.run_sql(&statement.sql)?;
            let rows = &answer.outcomes[0].rows;
            if let Err(what) = apply(effects, statement.table, statement.scope, statement.deed, rows) {
                self.violation(format!("writer {}: {what}: {}", self.number, statement.sql));
            }
        }
        Ok(())
    }

    /// BEGIN to COMMIT, with savepoints.
    fn block(&mut self) -> Result<(), Failure> {
        let levels = ["", "", "", "", " ISOLATION LEVEL REPEATABLE READ", " ISOLATION LEVEL SERIALIZABLE"];
        let level = self.random.pick(&levels);
        self.is_isolated = !level.is_empty();
        self.run_sql(&format!("BEGIN{level}"))?;
        let progress = self.progress();
        self.run_sql(&progress)?;
        let mut effects = Effects::new();
        for _ in 0..=self.random.below(4) {
            if self.random.once_in(5) {
                self.savepoint(&mut effects)?;
            } else {
                self.something(&LIVELY, &mut effects)?;
            }
        }
        match self.random.below(40) {
            0..4 => {
                self.run_sql("ROLLBACK")?;
                Counts::add(&self.place.counts.rollbacks);
                Ok(())
            }
            // it goes away in the middle of a transaction: nothing of it may be left
            4 => Err(Failure::Gone),
            // or while it is committed
            5 => {
                self.sent(effects, Mark::Progress);
                let session = self.session.take().expect("it is connected");
                session.say_and_leave("COMMIT");
                Ok(())
            }
            _ => self.commit(effects, Mark::Progress),
        }
    }

    /// Some statements that are taken back, or kept, or fail and are taken back.
    fn savepoint(&mut self, effects: &mut Effects) -> Result<(), Failure> {
        self.run_sql("SAVEPOINT s")?;
        let before = effects.clone();
        let mut done = Ok(());
        for _ in 0..=self.random.below(2) {
            done = done.and_then(|()| self.something(&LIVELY, effects));
        }
        match done {
            Err(Failure::Gone) => Err(Failure::Gone),
            Ok(()) if self.random.once_in(2) => self.run_sql("RELEASE s").map(drop),
            _ => {
                *effects = before;
                self.run_sql("ROLLBACK TO s").map(drop)
            }
        }
    }

    fn commit(&mut self, effects: Effects, mark: Mark) -> Result<(), Failure> {
        self.sent(effects, mark);
        let answer = self.ask("COMMIT")?;
        self.answered("COMMIT", &answer)?;
        if answer.outcomes[0].tag != "COMMIT" {
            self.violation(format!("COMMIT of writer {} answered {}", self.number, answer.outcomes[0].tag));
        }
        Ok(self.settle()?)
    }

    /// Finds out whether what was sent is committed, and where, and tells the ledger.
    fn settle(&mut self) -> Result<(), Gone> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let result = self.locate(&pending);
        let Ok(found) = result else {
            self.pending = Some(pending);
            return Err(Gone);
        };
        let counts = &self.place.counts;
        let Pending { effects, sent, acked, epoch, mark, tx, pid } = pending;
        let (writer, now) = (self.number, wall());
        let vanishes = matches!(mark, Mark::Row(Table::Typing, _));
        match (found, acked) {
            (Some(seq), _) => {
                Counts::add(if acked.is_some() { &counts.commits } else { &counts.found_committed });
                let commit = Commit { writer, epoch, effects, sent, acked: acked.unwrap_or(now) };
                self.ledger.lock().unwrap().commit(seq, commit);
            }
            // gone with the server, or its only row has vanished; whoever was told knows where it was
            (None, _) if is_stream_only(&effects) && (epoch != self.place.epoch() || vanishes && now - sent >= TTL) => {
                Counts::add(&counts.unanswered);
                self.ledger.lock().unwrap().maybes.push(Maybe { writer, epoch, effects, sent, lost: now });
            }
            (None, Some(_)) => self.violation(format!("transaction {tx} of writer {writer}, {mark:?}, is not there")),
            (None, None) => {
                Counts::add(&counts.unanswered);
                self.fate(&format!("unanswered by process {pid} of epoch {epoch}, not found"));
            }
        }
        Ok(())
    }

    /// The position of a transaction, if it is committed.
    fn locate(&mut self, pending: &Pending) -> Result<Option<u64>, Gone> {
        if pending.acked.is_none() {
            self.outlive(pending)?;
        }
        let tx = pending.tx;
        let sql = match &pending.mark {
            Mark::Progress => format!("SELECT _seq FROM live.progress WHERE writer = {} AND tx = {tx}", self.number),
            Mark::Beat(id) => format!("SELECT _seq FROM live.beats WHERE id = {id}"),
            Mark::Row(table, id) => format!("SELECT _seq FROM {} WHERE id = {id} AND tx = {tx}", table.name()),
        };
        let rows = self.read(&sql)?;
        Ok(rows.first().map(|cells| cells[0].as_ref().and_then(|text| text.parse().ok()).expect("a position")))
    }

    /// Waits until a transaction whose session this writer has left is over: what is under way holds its locks.
    fn outlive(&mut self, pending: &Pending) -> Result<(), Gone> {
        let session = self.session();
        if session.epoch != pending.epoch || session.pid() == pending.pid {
            return Ok(());
        }
        let begun = wall();
        let pid = pending.pid;
        while !self.read(&format!("SELECT pid FROM pg_stat_activity WHERE pid = {pid}"))?.is_empty() {
            assert!(wall() - begun < 30_000_000, "a session that its client left stays");
            self.place.pause(Duration::from_millis(10));
        }
        let taken = match &pending.mark {
            Mark::Progress => format!("UPDATE live.progress SET tx = tx WHERE writer = {}", self.number),
            Mark::Beat(id) => format!("INSERT INTO live.beats VALUES ({id}) ON CONFLICT DO NOTHING"),
            Mark::Row(table, id) => {
                let row = format!("INSERT INTO {} (id, n, tx) VALUES ({id}, 0, 0)", table.name());
                format!("{row} ON CONFLICT DO NOTHING")
            }
        };
        let script = format!("BEGIN; {taken}; ROLLBACK");
        while let Some(report) = self.session().ask(&script)?.error {
            assert_eq!(report.code, "57014", "{script}: {report:?}");
            while self.session().ask("ROLLBACK")?.error.is_some() {}
        }
        Ok(())
    }

    /// Rows, however often it is cancelled.
    fn read(&mut self, sql: &str) -> Result<Vec<Cells>, Gone> {
        loop {
            match self.session().ask(sql)?.rows() {
                Ok(rows) => return Ok(rows),
                Err(report) => assert_eq!(report.code, "57014", "{sql}: {report:?}"),
            }
        }
    }

    /// Large rows, more than a sleeping reader's share of memory, and then their end.
    fn flood(&mut self) -> Result<(), Gone> {
        let done = self.pour();
        self.place.set_flooding(false);
        match done {
            Err(Failure::Gone) => Err(Gone),
            Ok(()) | Err(Failure::Refused) => Ok(()),
        }
    }

    fn pour(&mut self) -> Result<(), Failure> {
        // what a flood that was cut short has left
        self.drain()?;
        for batch in 0..FLOOD_ROWS / 4 {
            self.tx += 1;
            // one of them is too large for any event
            let (rows, bytes) = if batch == 7 { (1, 6 * FLOOD_BYTES) } else { (4, FLOOD_BYTES) };
            let statement = self.statements().large(rows, bytes);
            self.send_surely(statement)?;
        }
        self.drain()
    }

    fn drain(&mut self) -> Result<(), Failure> {
        let ids = self.statements().large_ids();
        for ids in ids.chunks(50) {
            self.tx += 1;
            let statement = self.statements().drain(ids);
            self.send_surely(statement)?;
        }
        Ok(())
    }

    /// One transaction, again where a cancel came between.
    fn send_surely(&mut self, statement: Statement) -> Result<(), Failure> {
        while let Err(failure) = self.send(vec![statement.clone()], Mark::Progress) {
            if matches!(failure, Failure::Gone) {
                return Err(failure);
            }
        }
        Ok(())
    }
}
