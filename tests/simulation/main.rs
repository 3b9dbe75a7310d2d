//! A simulation of the engine with its sessions from a seed: one thread steps clients, committer, folds, maintenance and
//! the live reader in an order that follows from the seed, over a disk that loses, tears and refuses what it may, with
//! crashes between and in all steps. A simple model says what must come of it.
//!
//! ```text
//! cargo test --test simulation                                            some thousand short seeds
//! TERTULIA_SIM_SEED=7 cargo test --test simulation -- --nocapture         one seed, told step by step
//! TERTULIA_SIM_SECONDS=3600 cargo test --test simulation -- --nocapture   as many as fit into an hour
//! ```

mod check;
mod choose;
mod client;
#[path = "../support/graph.rs"]
mod graph;
mod judge;
mod live;
mod model;
mod observer;
#[path = "../support/random.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod random;
mod restart;
mod serial;
mod shape;
#[path = "../support/simulated.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod simulated;
mod statement;
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tertulia::storage::fault::FaultCounts;
use world::{Stats, World};

/// Seeds of a usual run.
const SEEDS: u64 = 1_200;
/// Steps of a short run.
const STEPS: u64 = 300;
/// Threads that run seeds beside each other; each seed has one.
const THREADS: u64 = 2;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

fn command(seed: u64) -> String {
    format!("TERTULIA_SIM_SEED={seed} cargo test --test simulation -- --nocapture")
}

/// Runs a seed: what happened, and a hash of it.
fn run(seed: u64, verbose: bool) -> (Stats, u64, FaultCounts) {
    SEED.set(Some(seed));
    let mut world = World::new(seed, verbose);
    for _ in 0..STEPS {
        world.step();
    }
    let done = world.finish();
    SEED.set(None);
    done
}

/// Adds up what runs have counted.
#[derive(Default)]
struct Sum {
    seeds: u64,
    stats: Stats,
    faults: FaultCounts,
    failed: Vec<u64>,
}

impl Sum {
    fn add(&mut self, stats: &Stats, faults: &FaultCounts) {
        self.seeds += 1;
        self.stats.statements += stats.statements;
        self.stats.commits += stats.commits;
        self.stats.recoveries += stats.recoveries;
        self.stats.recovered_commits += stats.recovered_commits;
        self.stats.live_events += stats.live_events;
        self.stats.folds += stats.folds;
        self.stats.tails += stats.tails;
        self.stats.serializable += stats.serializable;
        self.stats.refused += stats.refused;
        self.stats.resumed += stats.resumed;
        for (kind, count) in &stats.defined {
            *self.stats.defined.entry(kind).or_default() += count;
        }
        for (what, count) in faults {
            *self.faults.entry(what).or_default() += count;
        }
    }

    fn report(&self) {
        let Stats {
            statements,
            commits,
            recoveries,
            recovered_commits,
            live_events,
            resumed,
            folds,
            tails,
            serializable,
            refused,
            defined,
        } = &self.stats;
        eprintln!(
            "{} seeds: {statements} statements, {commits} commits, {folds} folds, {live_events} live events",
            self.seeds
        );
        eprintln!("{recoveries} recoveries, {recovered_commits} commits replayed, {tails} torn ends of the log cut");
        eprintln!("{resumed} live queries resumed");
        eprintln!("{serializable} serializable transactions, {refused} refused");
        for (what, count) in defined.iter().chain(&self.faults) {
            eprintln!("{count:>10} {what}");
        }
    }
}

/// Says which seed fails, even where the process ends with it.
fn name_failing_seeds() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(seed) = SEED.get() {
            eprintln!("the simulation failed; again with: {}", command(seed));
        }
        before(info);
    }));
}

/// Runs seeds from `first` on, until `more` says no.
fn run_many(first: u64, more: impl Fn(u64) -> bool + Sync) -> Sum {
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let work = || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if !more(number) || sum.lock().unwrap().failed.len() >= 3 {
                        return;
                    }
                    let seed = first.wrapping_add(number);
                    match catch_unwind(AssertUnwindSafe(|| run(seed, false))) {
                        Ok((stats, _, faults)) => sum.lock().unwrap().add(&stats, &faults),
                        Err(_) => sum.lock().unwrap().failed.push(seed),
                    }
                }
            };
            std::thread::Builder::new().stack_size(32 << 20).spawn_scoped(scope, work).unwrap();
        }
    });
    sum.into_inner().unwrap()
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn what_the_database_promises_holds_whatever_fails() {
    name_failing_seeds();
    if let Some(seed) = number_of("TERTULIA_SIM_SEED") {
        let alone = std::thread::Builder::new().stack_size(32 << 20);
        let (stats, trace, faults) = alone.spawn(move || run(seed, true)).unwrap().join().expect("the seed fails");
        let mut sum = Sum::default();
        sum.add(&stats, &faults);
        sum.report();
        eprintln!("trace {trace:016x}");
        return;
    }
    let sum = match number_of("TERTULIA_SIM_SECONDS") {
        Some(seconds) => {
            let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
            let (began, limit) = (Instant::now(), Duration::from_secs(seconds));
            eprintln!("from seed {first}");
            run_many(first, |_| began.elapsed() < limit)
        }
        None => run_many(1, |number| number < number_of("TERTULIA_SIM_SEEDS").unwrap_or(SEEDS)),
    };
    sum.report();
    let commands: Vec<String> = sum.failed.iter().map(|seed| command(*seed)).collect();
    assert!(commands.is_empty(), "again with:\n{}", commands.join("\n"));
}

#[test]
fn a_seed_is_a_run() {
    if number_of("TERTULIA_SIM_SEED").is_some() {
        return;
    }
    let twice = |seed| (run(seed, false).1, run(seed, false).1);
    for seed in 1_000_001..1_000_011 {
        let run = std::thread::Builder::new().stack_size(32 << 20).spawn(move || twice(seed)).unwrap();
        let (first, second) = run.join().unwrap();
        assert_eq!(first, second, "seed {seed} runs differently");
    }
}
