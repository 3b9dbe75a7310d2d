//! The simulated machine: disk, index, clock, an engine with its sessions, and the one thread that steps all of them.

use crate::client::{Client, Common};
use crate::live::Live;
use crate::model::Model;
use crate::observer::Observer;
use crate::random::Random;
use crate::simulated::{self, Answer};
use crate::statement::Level;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tertulia::env::{Env, ManualEnv};
use tertulia::error::SqlState;
use tertulia::live::Reader;
use tertulia::session::{Flow, Request, Services, Session};
use tertulia::storage::MemoryIndex;
use tertulia::storage::fault::{Area, FaultCounts, FaultDisk, FaultRates, Faults, Step, Storm};
use tertulia::storage::log::LogOptions;
use tertulia::txn::{CommitStep, Engine, EngineOptions, Patience};
use tertulia::types::CommitSeq;

/// Where the engine's files are.
pub const DIR: &str = "/simulated";
const START: i64 = 1_700_000_000_000_000;
pub const USERS: [&str; 3] = ["tertulia", "alice", "bob"];
/// Bounds, lowered so that a simulation meets them: one of each a seed.
const GENERATION_BYTES: [usize; 3] = [1 << 10, 6 << 10, 6 << 10];
pub const RECENT_BYTES_MAX: usize = 24 << 10;
const FOLD_PART_BYTES: [usize; 2] = [256, 2 << 10];
const SEGMENT_BYTES: [u64; 3] = [256, 1 << 10, 16 << 10];
/// Bytes of a write set that is spilled, in half of the seeds.
const WRITE_SET_CHUNK_BYTES: [usize; 2] = [2 << 10, 1 << 20];
/// Once in how many of its choices an owner defines something, in one of each a seed.
const DEFINITIONS: [u64; 4] = [2, 3, 8, 60];
/// How transactions are isolated, in one of these ways a seed.
const MIXED_LEVELS: &[Level] = &[Level::Committed, Level::Committed, Level::Repeatable, Level::Serializable];
const SERIALIZABLE_LEVELS: &[Level] = &[
    Level::Serializable,
    Level::Serializable,
    Level::Serializable,
    Level::Serializable,
    Level::ReadOnly,
    Level::Deferrable,
];
/// How long faults cluster at one place at most, in steps.
const STORM_STEPS_MAX: u64 = 60;
/// The longest wait that the clock jumps over.
const PATIENCE_MICROS: u64 = 60_000_000;
/// The largest commit of the simulation, with what the bounds above do not count.
const COMMIT_BYTES: usize = 48 << 10;

/// What happened in a run.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub statements: u64,
    pub commits: u64,
    pub recoveries: u64,
    pub recovered_commits: u64,
    pub live_events: u64,
    /// Live queries that went on in another session.
    pub resumed: u64,
    pub folds: u64,
    /// Recoveries that found a torn end of the log.
    pub tails: u64,
    /// Serializable transactions that were committed, and those that were refused.
    pub serializable: u64,
    pub refused: u64,
    /// Definitions that were committed, by their kinds.
    pub defined: BTreeMap<&'static str, u64>,
}

/// How large things may become.
#[derive(Clone, Copy)]
pub struct Sizes {
    generation: usize,
    fold_part: usize,
    segment: u64,
    /// Bytes of a write set beyond which it goes to disk.
    chunk: usize,
}

/// The machine while it runs.
pub struct Machine {
    pub engine: Arc<Engine>,
    pub services: Arc<Services>,
    pub reader: Reader,
    pub clients: Vec<Client>,
}

/// All of it.
pub struct World {
    pub random: Random,
    pub env: Arc<ManualEnv>,
    pub faults: Faults,
    pub disk: FaultDisk,
    pub index: MemoryIndex,
    pub model: Model,
    pub observer: Observer,
    pub claims: BTreeMap<u64, (usize, u64)>,
    /// Live queries whose sessions have ended.
    pub left: Vec<Live>,
    pub next_tx: i64,
    /// The last number of a table or an index.
    pub next_name: u32,
    /// Once in how many of its choices an owner defines something.
    pub definitions: u64,
    /// How transactions are isolated: one of these.
    pub levels: &'static [Level],
    pub machine: Option<Machine>,
    pub rates: FaultRates,
    /// Whether faults cluster now and then; where they do now, and for how many steps still.
    pub stormy: bool,
    pub storm: Option<(Storm, u64)>,
    pub no_room: u64,
    pub sizes: Sizes,
    /// The latest that the wall clock has said: what expired by it may be gone.
    pub latest: i64,
    pub closing: bool,
    /// The log has refused to write; since when in steps.
    pub poisoned: Option<u64>,
    pub stats: Stats,
    pub verbose: bool,
}

impl Sizes {
    fn any(random: &mut Random) -> Sizes {
        Sizes {
            generation: random.pick(&GENERATION_BYTES),
            fold_part: random.pick(&FOLD_PART_BYTES),
            segment: random.pick(&SEGMENT_BYTES),
            chunk: random.pick(&WRITE_SET_CHUNK_BYTES),
        }
    }

    fn options(self) -> EngineOptions {
        EngineOptions {
            write_set_chunk_bytes: self.chunk,
            generation_bytes: self.generation,
            recent_bytes_max: RECENT_BYTES_MAX,
            fold_part_bytes: self.fold_part,
            log: LogOptions { segment_bytes: self.segment, threads: false, salt: 1 },
            change_retention: Duration::from_secs(60),
            ..EngineOptions::new(DIR)
        }
    }

    /// Whether write sets are spilled.
    fn spills(self) -> bool {
        self.chunk == WRITE_SET_CHUNK_BYTES[0]
    }
}

/// Once in how many steps a fault comes, or never.
fn rate(random: &mut Random, least: u64, most: u64) -> u64 {
    if random.once_in(2) { 0 } else { least + random.below(most - least) }
}

impl World {
    pub fn new(seed: u64, verbose: bool) -> World {
        let mut random = Random::new(seed);
        let faults = Faults::new(random.next());
        let mut world = World {
            env: Arc::new(ManualEnv::new(START, random.next())),
            disk: FaultDisk::new(faults.clone()),
            index: MemoryIndex::with_faults(faults.clone()),
            faults,
            model: Model::new(),
            observer: Observer::default(),
            claims: BTreeMap::new(),
            left: Vec::new(),
            next_tx: 0,
            next_name: 1,
            definitions: random.pick(&DEFINITIONS),
            levels: random.pick(&[MIXED_LEVELS, MIXED_LEVELS, SERIALIZABLE_LEVELS]),
            machine: None,
            rates: FaultRates::default(),
            stormy: !random.once_in(3),
            storm: None,
            no_room: 0,
            sizes: Sizes::any(&mut random),
            latest: START,
            closing: false,
            poisoned: None,
            stats: Stats::default(),
            verbose,
            random,
        };
        world.start();
        world.set_up();
        world.rates = world.any_rates();
        world.blow();
        world
    }

    /// Each seed has its own mixture of what goes wrong.
    fn any_rates(&mut self) -> FaultRates {
        let random = &mut self.random;
        FaultRates {
            crash: rate(random, 30, 500),
            read: rate(random, 10, 200),
            write: rate(random, 50, 1000),
            write_full: rate(random, 10, 300),
            sync: rate(random, 30, 1000),
            name: rate(random, 5, 100),
            index: rate(random, 2, 20),
        }
    }

    /// Much goes wrong at one place.
    fn any_storm(&mut self) -> Storm {
        let random = &mut self.random;
        let area = random.pick(&[Area::Log, Area::Log, Area::Bulk, Area::Index]);
        let step = match area {
            Area::Index => None,
            _ => random.pick(&[None, Some(Step::Write), Some(Step::Write), Some(Step::Sync), Some(Step::Name)]),
        };
        let crash = if step.is_some() { 2 + random.below(6) } else { rate(random, 2, 20) };
        let rates = FaultRates {
            crash,
            read: rate(random, 3, 30),
            write: rate(random, 5, 50),
            write_full: rate(random, 3, 30),
            sync: rate(random, 5, 50),
            name: rate(random, 3, 20),
            index: rate(random, 2, 6),
        };
        Storm { area, step, rates }
    }

    /// Nothing goes wrong until [`blow`](Self::blow).
    pub fn calm(&self) {
        self.faults.set_rates(FaultRates::default());
        self.faults.set_storm(None);
    }

    pub fn blow(&self) {
        self.faults.set_rates(self.rates);
        self.faults.set_storm(self.storm.map(|(storm, _)| storm));
    }

    /// Storms come and go.
    fn step_weather(&mut self) {
        self.storm = match self.storm {
            None if self.stormy && self.random.once_in(40) => {
                let (storm, steps) = (self.any_storm(), 1 + self.random.below(STORM_STEPS_MAX));
                self.say(&format!("a storm for {steps} steps: {storm:?}"));
                Some((storm, steps))
            }
            None => return,
            Some((storm, steps)) if steps > 0 => Some((storm, steps - 1)),
            Some(_) => None,
        };
        self.blow();
    }

    /// What leads into a storm.
    fn step_into_storm(&mut self, area: Area) {
        match area {
            Area::Index => self.step_fold(),
            Area::Bulk if self.random.once_in(2) => self.step_fold(),
            _ => self.step_commits(),
        }
    }

    pub fn say(&mut self, what: &str) {
        if what.is_empty() {
            return;
        }
        self.faults.note(what.as_bytes());
        if self.verbose {
            eprintln!("{}", what.chars().take(180).collect::<String>());
        }
    }

    pub fn faults(&self) -> FaultCounts {
        self.faults.counts()
    }

    /// Opens the engine, once.
    fn try_start(&mut self) -> tertulia::error::Result<()> {
        let (services, reader, report) = simulated::open(self.sizes.options(), &self.env, &self.disk, &self.index)?;
        self.stats.recovered_commits += report.replayed;
        self.stats.tails += u64::from(report.tail_cut.is_some());
        self.say(&format!("opened at {} with {} replayed, cut {:?}", report.last, report.replayed, report.tail_cut));
        self.machine = Some(Machine { engine: services.engine.clone(), services, reader, clients: Vec::new() });
        Ok(())
    }

    /// Opens the engine, however often that fails.
    pub fn start(&mut self) {
        for attempt in 0.. {
            let calm = attempt > 6;
            if calm {
                self.calm();
            } else {
                self.blow();
            }
            match self.try_start() {
                Ok(()) => break,
                Err(error) => {
                    let code = error.code();
                    assert!(!calm, "the engine cannot be opened: {error:?}");
                    let fine = [SqlState::IO_ERROR, SqlState::DISK_FULL].contains(&code);
                    assert!(fine, "opening fails: {error:?} {:?}", error.fields().detail);
                    self.say(&format!("opening fails: {error}"));
                    if self.faults.has_crashed() {
                        self.disk.restart();
                    }
                }
            }
        }
        self.blow();
        if self.faults.has_crashed() {
            // the machine stopped after the last step that opening needed
            self.restart();
        }
    }

    pub fn session(&self, user: &str, pid: i32) -> Session {
        simulated::session(&self.machine().services, user, pid)
    }

    pub fn machine(&self) -> &Machine {
        self.machine.as_ref().expect("the machine runs")
    }

    /// Runs a statement of the world's own, alone.
    pub fn run(&self, session: &mut Session, sql: &str) -> Answer {
        let mut answer = Answer::default();
        session.start(Request::Query(sql.to_owned()));
        let mut idle = 0;
        loop {
            match session.step(&mut answer) {
                Flow::Done | Flow::End => return answer,
                Flow::Wait(wait) if !wait.is_done() => {
                    let step = self.machine().engine.step_commits(Patience::Over);
                    idle = if step == CommitStep::Flushed { 0 } else { idle + 1 };
                    if idle > 3 {
                        self.env.advance(wait.limit.map_or(0, |limit| limit.as_micros() as u64) + 1);
                    }
                    assert!(idle < 100, "nobody ends the wait of {sql}");
                }
                _ => {}
            }
        }
    }

    fn set_up(&mut self) {
        let columns = "(id INT PRIMARY KEY, n INT NOT NULL, body TEXT UNIQUE)";
        let mut session = self.session("tertulia", 1);
        for sql in [
            format!("CREATE TABLE t {columns}"),
            format!("CREATE TABLE u {columns} WITH (TYPE = 'USER')"),
            format!("CREATE TABLE s {columns} WITH (TYPE = 'STREAM', TTL_SECONDS = 30)"),
            format!("CREATE TABLE x1 {columns}"),
            "CREATE TABLE ledger (id INT PRIMARY KEY, n INT NOT NULL, body TEXT)".to_owned(),
            "CREATE TOPIC evt; ALTER TOPIC evt ADD SOURCE t ON INSERT, UPDATE, DELETE".to_owned(),
            "CREATE SEQUENCE q; CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN".to_owned(),
            "GRANT USAGE ON SEQUENCE q TO alice, bob".to_owned(),
            "GRANT SELECT, INSERT, UPDATE, DELETE ON t, u, s, ledger TO alice, bob".to_owned(),
        ] {
            let answer = self.run(&mut session, &sql);
            assert_eq!(answer.error, None, "{sql}");
        }
        drop(session);
        let engine = self.machine().engine.clone();
        self.observer.follow(&engine, &mut self.model, 0);
        self.join();
    }

    /// Connects the clients.
    pub fn join(&mut self) {
        let count = 2 + self.random.below(4) as usize;
        let clients = (0..count).map(|number| {
            let user = USERS[number % USERS.len()];
            Client::new(number, user, self.session(user, 10 + number as i32))
        });
        let clients = clients.collect();
        self.machine.as_mut().expect("the machine runs").clients = clients;
    }

    /// One step of anything; false when there is nothing to do.
    pub fn step(&mut self) {
        self.step_weather();
        if let Some((storm, _)) = self.storm
            && self.random.once_in(4)
        {
            self.step_into_storm(storm.area);
            self.after();
            return;
        }
        match self.random.below(65) {
            0..=35 => self.step_client(),
            36..=45 => self.step_commits(),
            46..=50 => self.step_fold(),
            51..=55 => self.step_reader(),
            56..=59 => self.step_maintenance(),
            60..=62 => self.step_clock(),
            63 => self.step_disk(),
            _ => self.step_disconnect(),
        }
        self.after();
    }

    /// What holds after each step.
    pub fn after(&mut self) {
        self.latest = self.latest.max(self.env.now());
        if !self.faults.has_crashed() {
            self.observe();
            self.check_bounds();
        }
        if self.faults.has_crashed() {
            self.restart();
        }
        if self.poisoned.is_some_and(|since| self.stats.statements > since + 20) {
            self.restart_process();
        }
    }

    pub fn observe(&mut self) {
        let engine = self.machine().engine.clone();
        self.calm();
        self.stats.commits += self.observer.read(&engine, &mut self.model);
        self.blow();
    }

    fn check_bounds(&self) {
        let recent = self.machine().engine.recent_bytes();
        assert!(recent <= RECENT_BYTES_MAX + COMMIT_BYTES, "{recent} bytes of recent commits");
    }

    pub fn step_client(&mut self) {
        let monotonic = self.env.monotonic();
        let mut machine = self.machine.take().expect("the machine runs");
        let ready: Vec<usize> =
            (0..machine.clients.len()).filter(|&at| machine.clients[at].is_ready(monotonic)).collect();
        if ready.is_empty() {
            self.machine = Some(machine);
            return;
        }
        let at = self.random.pick(&ready);
        let before = self.stats.statements;
        let mut common = Common {
            random: &mut self.random,
            model: &mut self.model,
            claims: &mut self.claims,
            next_tx: &mut self.next_tx,
            next_name: &mut self.next_name,
            definitions: self.definitions,
            levels: self.levels,
            left: &mut self.left,
            crowded: self.levels == SERIALIZABLE_LEVELS,
            current: machine.engine.current().0,
            now: self.env.now(),
            latest: self.latest,
            monotonic,
            spills: self.sizes.spills(),
            closing: self.closing,
            stats: &mut self.stats,
            crashed: &self.faults,
        };
        let said = machine.clients[at].step(&mut common);
        if said.contains("nothing can be written until") && self.poisoned.is_none() {
            self.poisoned = Some(before);
        }
        self.machine = Some(machine);
        self.say(&said);
    }

    pub fn step_commits(&mut self) {
        let patience = if self.no_room > 30 { Patience::Over } else { Patience::Left };
        let step = self.machine().engine.step_commits(patience);
        match step {
            CommitStep::NoRoom => self.no_room += 1,
            CommitStep::Flushed => self.no_room = 0,
            CommitStep::Idle => return,
        }
        self.say(&format!("commits: {step:?}"));
    }

    pub fn step_fold(&mut self) {
        let folded = self.machine().engine.fold();
        if !matches!(folded, Ok(false)) {
            self.stats.folds += 1;
            self.say(&format!("fold: {folded:?}"));
        }
    }

    pub fn step_reader(&mut self) {
        self.observe();
        let machine = self.machine.as_mut().expect("the machine runs");
        machine.reader.step();
        if !self.faults.has_crashed() {
            let count = self.random.below(4) as usize;
            self.follow_late(count);
        }
    }

    /// The late follower reads some commits, if there are so many.
    pub fn follow_late(&mut self, count: usize) {
        let engine = self.machine().engine.clone();
        self.calm();
        self.observer.follow_late(&engine, &self.model, count);
        self.blow();
    }

    fn step_maintenance(&mut self) {
        let engine = self.machine().engine.clone();
        let what = self.random.below(6);
        let done = match what {
            0 => engine.sweep_expired().map(|_| ()),
            1 => engine.free_dropped().map(|_| ()),
            2 => engine.fold_groups(),
            3 => {
                engine.prune_volatile();
                Ok(())
            }
            4 => engine.store_scopes(),
            _ => {
                let current = engine.current().0;
                let upto = current.saturating_sub(self.random.below(60));
                self.model.released = self.model.released.max(upto);
                engine.release_log(CommitSeq(upto))
            }
        };
        if let Err(error) = done {
            self.say(&format!("maintenance {what}: {error}"));
            let fine = [SqlState::IO_ERROR, SqlState::DISK_FULL].contains(&error.code());
            assert!(fine, "maintenance step {what} fails: {error:?}");
        }
    }

    fn step_clock(&mut self) {
        let monotonic = self.env.monotonic();
        let what = self.random.below(6);
        let clients = &self.machine().clients;
        let waiting = clients.iter().filter(|client| !client.is_ready(monotonic)).count();
        match what {
            // the wall clock jumps, either way
            0 => {
                let jump = self.random.below(20_000_000) as i64 - 10_000_000;
                self.env.set_now(self.env.now() + jump);
                self.say(&format!("the clock jumps by {jump}"));
            }
            1 if waiting == clients.len() => {
                let next = clients.iter().filter_map(Client::deadline).min();
                // not to the end of what waits for something that is still to be done
                if let Some(next) = next.filter(|next| next - monotonic.min(*next) < PATIENCE_MICROS) {
                    self.env.advance(next.saturating_sub(monotonic) + 1);
                }
            }
            _ => self.env.advance(self.random.below(200_000)),
        }
    }

    /// A client goes away in the middle of whatever it does, and another comes.
    fn step_disconnect(&mut self) {
        let machine = self.machine.as_mut().expect("the machine runs");
        let at = self.random.below(machine.clients.len() as u64) as usize;
        let gone = machine.clients.remove(at);
        let (number, user) = (gone.number, gone.user);
        self.left.extend(gone.leave());
        self.model.committing.remove(&number);
        self.claims.retain(|_, (client, _)| *client != number);
        let session = self.session(user, 10 + number as i32);
        self.machine.as_mut().expect("the machine runs").clients.insert(at, Client::new(number, user, session));
        self.say(&format!("{number} goes away"));
    }

    /// The disk gets room or loses it, or the machine stops between two steps.
    fn step_disk(&mut self) {
        match self.random.below(6) {
            0 => {
                let room = self.random.below(3 * self.sizes.segment);
                self.faults.set_capacity(self.disk.bytes() + room);
                self.say(&format!("the disk has room for {room}"));
            }
            1..=3 => self.faults.set_capacity(u64::MAX),
            4 if self.rates.crash > 0 => self.faults.crash(),
            5 if self.random.once_in(3) => self.restart_process(),
            _ => {}
        }
    }
}
