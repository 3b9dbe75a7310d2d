//! Leads the rounds: load, trouble, quiet, and the check of everybody.

use crate::check::{Judge, Terms, Verdict};
use crate::journal::{End, Fold, Journal, Piece, Start};
use crate::ledger::Ledger;
use crate::mutants;
use crate::observer::at_position;
use crate::place::{Phase, Place, Wall, wall};
use crate::rows::{fold_is, rows_are};
use crate::session::Session;
use crate::subscriber::Wish;
use crate::support::process::Running;
use crate::support::random::Random;
use crate::table::{Cells, image_of_cells};
use crate::truth::{Moment, Told, Truth};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long all writers may take to come to rest, and all subscribers to have everything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Violations that a failure shows.
const SHOWN: usize = 30;
/// What the server says of a write that a kill cut short.
const TORN: &str = "the commit log ended in an unfinished write";

/// What happens in the middle of a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    None,
    /// Large rows, and readers that sleep meanwhile.
    Flood,
    Kill,
    Restart,
}

#[derive(Default)]
struct Sums {
    rounds: usize,
    kills: usize,
    restarts: usize,
    cancels: usize,
    terminations: usize,
    killed_queries: usize,
    ended_queries: usize,
    bystanders: usize,
    observations: usize,
    positions: usize,
    events: usize,
    /// Positions at which it was not sure what had to be said.
    unsure: usize,
    folds: usize,
    seqs: usize,
}

pub struct Conductor<'a> {
    data: PathBuf,
    place: &'a Place,
    ledger: &'a Mutex<Ledger>,
    wishes: &'a [Wish],
    journals: &'a [Mutex<Journal>],
    random: Random,
    server: Option<Running>,
    chief: Option<Session<'a>>,
    truth: Truth,
    sums: Sums,
    /// How long each life of the server keeps changes, in microseconds.
    retentions: Vec<Wall>,
    /// Events that each subscriber was told.
    told: Vec<usize>,
    /// The journals of the last check, as they were judged.
    judged: Vec<Journal>,
    violations: Vec<String>,
    /// What became of the round's transactions that are not in the ledger.
    fates: Vec<String>,
}

impl<'a> Conductor<'a> {
    pub fn start(
        data: &Path,
        place: &'a Place,
        ledger: &'a Mutex<Ledger>,
        wishes: &'a [Wish],
        journals: &'a [Mutex<Journal>],
        random: Random,
    ) -> Conductor<'a> {
        let mut conductor = Conductor {
            data: data.to_owned(),
            place,
            ledger,
            wishes,
            journals,
            random,
            server: None,
            chief: None,
            truth: Truth::default(),
            sums: Sums::default(),
            retentions: Vec::new(),
            told: vec![0; wishes.len()],
            judged: Vec::new(),
            violations: Vec::new(),
            fates: Vec::new(),
        };
        let sent = wall();
        conductor.open();
        let (seq, epoch) = (conductor.position(), place.epoch());
        (conductor.truth.to, conductor.truth.epoch) = (seq, epoch);
        conductor.truth.times.push(Moment { seq, epoch, sent, bytes: 0 });
        conductor
    }

    /// A life of the server begins.
    fn open(&mut self) {
        let (retention, seconds) = self.random.pick(&[("60s", 60), ("60s", 60), ("3s", 3)]);
        let mut flags = vec!["--change-retention", retention];
        if self.random.once_in(2) {
            // so small that a fold is always under way
            flags.extend(["--generation-bytes", "64kB", "--recent-bytes-max", "8MB"]);
        }
        self.retentions.push(seconds * 1_000_000);
        let server = Running::start(&self.data, &flags);
        self.place.open(server.address);
        self.server = Some(server);
        self.chief = Session::connect(self.place, crate::place::DISTURBED, "chief");
    }

    fn chief(&mut self) -> &mut Session<'a> {
        self.chief.as_mut().expect("it is connected")
    }

    /// A statement of the administrator's, whom nobody disturbs.
    fn ask(&mut self, sql: &str) -> Result<Vec<Cells>, String> {
        let answer = self.chief().ask(sql).expect("the server is there");
        answer.rows().map_err(|report| report.code)
    }

    fn position(&mut self) -> u64 {
        let rows = self.ask("SELECT current_seq()").expect("a position");
        rows[0][0].as_ref().and_then(|text| text.parse().ok()).expect("a number")
    }

    /// Load with its trouble, quiet, and the check. Panics with what is wrong.
    pub fn round(&mut self, trouble: Trouble) {
        self.place.begin(Phase::Load);
        let slices = 6 + self.random.below(6);
        self.disturb(slices);
        match trouble {
            Trouble::None => {}
            Trouble::Flood => {
                self.place.set_flooding(true);
                while self.place.is_flooding() {
                    self.disturb(1);
                }
            }
            Trouble::Kill | Trouble::Restart => self.interrupt(trouble == Trouble::Kill),
        }
        self.disturb(slices);
        self.place.begin(Phase::Quiet);
        assert!(self.place.all_rest(crate::WRITERS.len(), PATIENCE), "writers do not come to rest");
        self.check();
        self.sums.rounds += 1;
        self.report_round(trouble);
        self.assert_sound();
    }

    fn assert_sound(&mut self) {
        if let Some(server) = &mut self.server {
            let log = server.log().to_vec();
            self.read_log(&log);
        }
        if self.violations.is_empty() {
            return;
        }
        let shown: Vec<&str> = self.violations.iter().take(SHOWN).map(String::as_str).collect();
        let fates = self.fates.join("\n");
        panic!(
            "{} violations in round {}:\n{}\nnot committed, it seems:\n{fates}",
            self.violations.len(),
            self.sums.rounds,
            shown.join("\n")
        );
    }

    /// The server's log tells of nothing but what a kill may leave.
    fn read_log(&mut self, log: &[String]) {
        let alarms = log.iter().filter(|line| line.contains("WARN") || line.contains("ERROR"));
        let alarms: Vec<&String> = alarms.filter(|line| !line.contains(TORN)).collect();
        if !alarms.is_empty() {
            self.violations.push(format!("the server's log: {alarms:?}"));
        }
    }

    fn interrupt(&mut self, kill: bool) {
        self.place.pause(Duration::from_micros(self.random.below(20_000)));
        self.place.close();
        self.chief = None;
        let server = self.server.take().expect("it runs");
        let log = if kill {
            self.sums.kills += 1;
            server.kill()
        } else {
            self.sums.restarts += 1;
            let (status, log) = server.terminate();
            assert!(status.success(), "{status}");
            log
        };
        self.read_log(&log);
        self.ledger.lock().unwrap().forget_streams();
        self.open();
    }

    /// Small troubles for so many tenths of a second.
    fn disturb(&mut self, slices: u64) {
        for _ in 0..slices {
            self.place.pause(Duration::from_millis(60 + self.random.below(80)));
            match self.random.below(8) {
                0 => (0..8).for_each(|_| self.cancel()),
                1 => self.cancel(),
                2 => self.terminate(),
                3 => self.kill_query(),
                4 => self.pass_by(),
                _ => {}
            }
        }
    }

    /// A cancel request, mostly for a writer: the others seldom do anything that could be cancelled.
    fn cancel(&mut self) {
        let first = if self.random.once_in(4) { 0 } else { self.wishes.len() };
        let Some((pid, secret)) = self.place.some_session(first, &mut self.random) else { return };
        let Some((address, _)) = self.place.server() else { return };
        let mut request = Vec::new();
        for number in [16, 80_877_102, pid, secret] {
            request.extend(number.to_be_bytes());
        }
        TcpStream::connect(address).and_then(|mut stream| stream.write_all(&request)).expect("the server listens");
        self.sums.cancels += 1;
    }

    fn terminate(&mut self) {
        let Some((pid, _)) = self.place.some_session(0, &mut self.random) else { return };
        self.ask(&format!("SELECT pg_terminate_backend({pid})")).expect("a superuser may");
        self.sums.terminations += 1;
    }

    fn kill_query(&mut self) {
        let live = self.ask("SELECT id FROM system.live").expect("a superuser may");
        if live.is_empty() {
            return;
        }
        let at = self.random.below(live.len() as u64) as usize;
        let id = live[at][0].as_deref().expect("an id");
        match self.ask(&format!("KILL LIVE QUERY '{id}'")) {
            Ok(_) => self.sums.killed_queries += 1,
            // it has ended meanwhile: there is no such live query
            Err(code) => assert_eq!(code, "42704"),
        }
    }

    /// Definitions that concern nobody who listens.
    fn pass_by(&mut self) {
        let statements = [
            "CREATE TABLE IF NOT EXISTS live.bystander (a int PRIMARY KEY); INSERT INTO live.bystander VALUES (1)",
            "DROP TABLE IF EXISTS live.bystander",
            "ALTER TABLE live.beats ADD COLUMN IF NOT EXISTS more int",
            "GRANT SELECT ON live.progress TO carol",
        ];
        let sql = self.random.pick(&statements);
        match self.ask(sql).err().as_deref() {
            // the table was there, and its row
            None | Some("23505") => self.sums.bystanders += 1,
            Some(code) => panic!("{sql}: {code}"),
        }
    }

    fn terms(&self) -> Terms {
        let (killed_queries, cancelled) = (self.sums.killed_queries > 0, self.sums.cancels > 0);
        Terms { retentions: self.retentions.clone(), killed_queries, cancelled }
    }

    fn check(&mut self) {
        let (to, epoch) = (self.position(), self.place.epoch());
        let told = self.told_of_streams();
        let mut ledger = std::mem::take(&mut *self.ledger.lock().unwrap());
        self.sums.seqs += ledger.commits.len();
        self.violations.append(&mut ledger.violations);
        self.fates = std::mem::take(&mut ledger.fates);
        self.violations.extend(self.truth.advance(&mut ledger, to, epoch, &told));
        self.check_observations(std::mem::take(&mut ledger.observations));
        self.ledger.lock().unwrap().keys = ledger.keys;
        self.judged.clear();
        for at in 0..self.wishes.len() {
            self.wait_for(at, epoch);
            self.check_subscriber(at, epoch);
        }
        self.check_reasons();
    }

    /// Nothing is ended or refused more often than somebody wanted it: KILL LIVE QUERY ends one live query, a cancel one
    /// statement at most, pg_terminate_backend one session.
    fn check_reasons(&mut self) {
        let counts = &self.place.counts;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as usize;
        for (what, ended, wanted) in [
            ("live queries ended with 57014", self.sums.ended_queries, self.sums.killed_queries),
            ("statements cancelled", of(&counts.cancelled), self.sums.cancels),
            ("connections lost", of(&counts.lost), self.sums.terminations),
        ] {
            if ended > wanted {
                self.violations.push(format!("{what}: {ended}, though only {wanted} were to be"));
            }
        }
    }

    /// Which STREAM rows events named at which position.
    fn told_of_streams(&self) -> Told {
        let mut told = Told::new();
        for (wish, journal) in self.wishes.iter().zip(self.journals) {
            let table = wish.query.table;
            if !table.is_stream() {
                continue;
            }
            for piece in &journal.lock().unwrap().pieces {
                for event in piece.changes.iter().map(|told| &told.event) {
                    let rows = ["rows", "old_values"].map(|member| event[member].as_array().cloned());
                    let ids = rows.iter().flatten().flatten().filter_map(|row| row["id"].as_str()?.parse().ok());
                    let Some(seq) = event["seq"].as_u64() else { continue };
                    let (_, keys) = told.entry(seq).or_insert_with(|| (piece.epoch, Default::default()));
                    keys.extend(ids.map(|id| ((table, table.scope(wish.query.user)), (0, id))));
                }
            }
        }
        told
    }

    fn check_observations(&mut self, observations: Vec<crate::ledger::Observation>) {
        for observation in observations {
            let times = (observation.asked, observation.answered);
            let (query, rows) = (&observation.query, &observation.rows);
            let found = rows_are(query, &self.truth, observation.seq, observation.epoch, rows, times, None);
            if let Err(what) = found {
                self.violations.push(format!("SELECT and ledger differ: {what}: {}", query.select(false)));
            }
            self.sums.observations += 1;
        }
    }

    /// Waits until a subscriber has subscribed and been told everything.
    fn wait_for(&mut self, at: usize, epoch: u64) {
        let judge = self.judge(at);
        let due = judge.last_due(epoch);
        let has_all = || {
            let mut journal = self.journals[at].lock().unwrap();
            let position = journal.position;
            let piece = journal.open();
            piece.is_some_and(|piece| piece.epoch == epoch && piece.ack.is_some()) && position >= due
        };
        if !self.place.wait_until(PATIENCE, has_all) {
            let wish = &self.wishes[at];
            self.violations.push(format!("subscriber {} waits in vain for {due:?}: {wish:?}", wish.number));
        }
    }

    fn judge(&self, at: usize) -> Judge<'_> {
        Judge { query: &self.wishes[at].query, truth: &self.truth, terms: self.terms() }
    }

    fn check_subscriber(&mut self, at: usize, epoch: u64) {
        let (wishes, journals) = (self.wishes, self.journals);
        let wish = &wishes[at];
        let mut journal = journals[at].lock().unwrap();
        let mut verdict = self.judge(at).judge(&journal);
        self.judged.push(journal.clone());
        let ended = journal.pieces.iter().filter(|piece| ends_killed(piece)).count();
        // of the others nobody leaves so much unread that a bound is near
        if !wish.sleeps && journal.pieces.iter().any(|piece| matches!(piece.end, End::Lagged(_))) {
            verdict.violations.push("it lags, though it reads".into());
        }
        let asked = wall();
        let rows = self.select(wish);
        let times = (asked, wall());
        if let Err(what) = rows_are(&unlimited(wish), &self.truth, self.truth.to, epoch, &rows, times, None) {
            verdict.violations.push(format!("SELECT and ledger differ: {what}"));
        }
        if let Some(fold) = &verdict.fold {
            if let Err(what) = fold_is(&wish.query, &self.truth, fold, &rows, times.1) {
                verdict.violations.push(format!("fold and SELECT differ: {what}"));
            }
            self.sums.folds += 1;
        }
        carry(&mut journal, wish, &verdict, &rows, (self.truth.to, epoch));
        drop(journal);
        self.sums.ended_queries += ended;
        self.sums.positions += verdict.positions;
        self.sums.events += verdict.events;
        self.sums.unsure += verdict.unsure;
        self.told[at] += verdict.events;
        let who = format!("subscriber {} ({:?} of {} as {})", wish.number, wish.form, wish.query.user, wish.role());
        let violations = verdict.violations.into_iter().map(|what| format!("{who}: {what}"));
        self.violations.extend(violations);
    }

    /// The rows of a subscriber's query, all of them.
    fn select(&mut self, wish: &Wish) -> Vec<Cells> {
        let user = wish.query.table.is_scoped().then_some(wish.query.user);
        let select = unlimited(wish).select(false);
        let found = at_position(self.chief(), &select, user);
        let Ok(Some((_, rows))) = found else { panic!("the administrator is disturbed: {found:?}") };
        rows
    }

    fn report_round(&self, trouble: Trouble) {
        let Sums { rounds, kills, seqs, events, positions, observations, folds, .. } = self.sums;
        eprintln!(
            "round {rounds} ({trouble:?}): {seqs} commits, {events} events, {positions} positions of subscribers, \
             {folds} folds and {observations} SELECTs checked, {kills} kills so far"
        );
    }

    /// Shows that the check would have found what could have gone wrong: it must not let any of the changed journals pass.
    pub fn try_mutants(&mut self) {
        let mut tried: BTreeMap<&str, usize> = mutants::kinds().map(|what| (what, 0)).collect();
        for at in 0..self.judged.len() {
            if !self.judge(at).is_sure() {
                continue;
            }
            let is_stream = self.wishes[at].query.table.is_stream();
            for (what, mutant) in mutants::of(&self.judged[at], is_stream, &mut self.random) {
                let verdict = self.judge(at).judge(&mutant);
                assert!(!verdict.violations.is_empty(), "the check does not see it: {what} in {mutant:#?}");
                *tried.entry(what).or_default() += 1;
            }
        }
        eprintln!("changed journals, all found out: {tried:?}");
        assert!(tried.values().all(|count| *count > 0), "no journal could be changed so: {tried:?}");
    }

    /// Ends the server; the report.
    pub fn finish(mut self, writers: usize) {
        self.chief = None;
        self.place.close();
        let (status, log) = self.server.take().expect("it runs").terminate();
        assert!(status.success(), "{status}");
        self.read_log(&log);
        self.assert_sound();
        let counts = &self.place.counts;
        let sums = &self.sums;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        eprintln!(
            "{} rounds, {} kills, {} restarts, {} cancels, {} sessions ended, {} live queries killed, {} definitions\n\
             {writers} writers: {} commits acknowledged, {} found committed, {} unanswered, {} rolled back, {} refused; \
             {} positions of STREAM commits found by events\n\
             {} subscribers: {} snapshots, {} joined SELECTs, {} resumes, {} lost connections, {} lagged, {} naps, {} \
             rolled back\n\
             checked: {} commits, {} events, {} positions of subscribers ({} not sure), {} folds, {} SELECTs at a \
             position; {} statements cancelled, {} connections ended by the server",
            sums.rounds,
            sums.kills,
            sums.restarts,
            sums.cancels,
            sums.terminations,
            sums.killed_queries,
            sums.bystanders,
            of(&counts.commits),
            of(&counts.found_committed),
            of(&counts.unanswered),
            of(&counts.rollbacks),
            of(&counts.refused),
            self.truth.settled,
            self.wishes.len(),
            of(&counts.snapshots),
            of(&counts.joins),
            of(&counts.resumes),
            of(&counts.disconnects),
            of(&counts.lagged),
            of(&counts.naps),
            of(&counts.rolled_back_subscriptions),
            sums.seqs,
            sums.events,
            sums.positions,
            sums.unsure,
            sums.folds,
            sums.observations,
            of(&counts.cancelled),
            of(&counts.lost),
        );
        self.assert_enough();
    }

    /// The check is worth something only where there was something to check: a fraction of what a slow machine does. A few
    /// conditions may be met by nothing that is written in half a minute.
    fn assert_enough(&self) {
        let (counts, sums) = (&self.place.counts, &self.sums);
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as usize;
        let rounds = sums.rounds;
        for (what, count, least) in [
            ("commits", sums.seqs, 40 * rounds),
            ("events", sums.events, 400 * rounds),
            ("positions", sums.positions, 400 * rounds),
            ("folds", sums.folds, 20 * rounds),
            ("SELECTs at a position", sums.observations, 10 * rounds),
            ("snapshots", of(&counts.snapshots), self.wishes.len() / 2),
            ("joined SELECTs", of(&counts.joins), 10),
            ("resumes", of(&counts.resumes), 10 * rounds),
            ("lagged", of(&counts.lagged), 1),
            ("kills", sums.kills, 1),
            ("restarts", sums.restarts, 1),
            ("cancels", sums.cancels, 1),
            ("sessions ended", sums.terminations, 1),
            ("transactions rolled back", of(&counts.rollbacks), 1),
            (
                "subscribers that were told something",
                self.told.iter().filter(|count| **count > 0).count(),
                self.told.len() * 7 / 8,
            ),
        ] {
            assert!(count >= least, "too little has happened: {count} {what}, not {least}");
        }
        assert!(sums.unsure * 20 < sums.positions, "too much is not sure: {} of {}", sums.unsure, sums.positions);
    }
}

fn ends_killed(piece: &Piece) -> bool {
    matches!(&piece.end, End::Error(error) if error.starts_with("57014"))
}

/// The query without what shapes only its snapshot.
fn unlimited(wish: &Wish) -> crate::query::Query {
    crate::query::Query { limit: None, ..wish.query.clone() }
}

/// A journal begins anew with what goes on.
fn carry(journal: &mut Journal, wish: &Wish, verdict: &Verdict, rows: &[Cells], (to, epoch): (u64, u64)) {
    let columns = wish.query.described();
    let fold = verdict.fold.as_ref().map(|fold| {
        if !wish.query.table.is_stream() {
            return fold.clone();
        }
        // rows that have vanished are not held
        let mut fold = Fold::new();
        rows.iter().for_each(|cells| *fold.entry(image_of_cells(cells, &columns)).or_default() += 1);
        fold
    });
    let open = journal.open().map(|piece| {
        let start = Start::Carried { seq: to, fold };
        Piece { start, changes: Vec::new(), ..piece.clone() }
    });
    journal.pieces = Vec::from_iter(open);
    journal.refusals.clear();
    journal.strays.clear();
    journal.earlier.clear();
    journal.carried_position = journal.position.map(|position| (position, epoch));
}
