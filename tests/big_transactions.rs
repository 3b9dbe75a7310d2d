//! Transactions beyond memory: what they see of themselves, what others see of them, and what a crash leaves.
//!
//! The engine spills from a few kilobytes on here, so that each of these transactions is a large one. It has no threads:
//! a commit is flushed when the test says so, a fold is a step, and the disk crashes where a seed says.

mod support;

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use support::random::Random;
use support::relation::create_table;
use tertulia::catalog::TableKind;
use tertulia::change::{Change, ChangeKind, Derive, TopicAppend};
use tertulia::encoding::key::{Space, prefix, prefix_successor};
use tertulia::encoding::row::{self, RowLayout, RowView};
use tertulia::env::{ManualEnv, UnixMicros};
use tertulia::error::{Result, SqlState};
use tertulia::storage::disk::Disk;
use tertulia::storage::fault::{FaultDisk, FaultRates, Faults, Step};
use tertulia::storage::log::LogOptions;
use tertulia::storage::{Direction, Index, MemoryIndex};
use tertulia::table::Model;
use tertulia::txn::{
    Engine, EngineOptions, LockPolicy, LockedRow, Parts, Patience, RowLock, Savepoint, StatementView, Transaction,
    TxnOptions, Written,
};
use tertulia::types::{CommitSeq, Oid, ScopeId, SqlType, StorageId, Value};

const START: UnixMicros = 1_700_000_000_000_000;
const SHARED: ScopeId = ScopeId::SHARED;

/// A machine with one engine on it.
struct World {
    engine: Arc<Engine>,
    env: Arc<ManualEnv>,
    faults: Faults,
    disk: Arc<FaultDisk>,
    index: MemoryIndex,
}

fn options() -> EngineOptions {
    EngineOptions {
        write_set_chunk_bytes: 4 << 10,
        generation_bytes: 16 << 10,
        fold_part_bytes: 2 << 10,
        log: LogOptions { segment_bytes: 32 << 10, threads: false, salt: 1 },
        ..EngineOptions::new("data")
    }
}

fn open(env: &Arc<ManualEnv>, disk: &Arc<FaultDisk>, index: &MemoryIndex) -> Result<Arc<Engine>> {
    let parts =
        Parts { env: env.clone(), disk: disk.clone(), index: Index::memory(index.clone()), threads: false, dir: None };
    Engine::open_with(options(), parts).map(|(engine, _)| engine)
}

impl World {
    fn new(seed: u64) -> World {
        let faults = Faults::new(seed);
        let (disk, index) = (Arc::new(FaultDisk::new(faults.clone())), MemoryIndex::with_faults(faults.clone()));
        let env = Arc::new(ManualEnv::new(START, seed));
        let engine = open(&env, &disk, &index).unwrap();
        World { engine, env, faults, disk, index }
    }

    /// The machine stops and starts again.
    fn crash(&mut self) {
        self.faults.set_rates(FaultRates::default());
        self.faults.crash();
        self.disk.restart();
        self.engine = open(&self.env, &self.disk, &self.index).unwrap();
    }

    fn begin(&self) -> Transaction {
        self.engine.begin(TxnOptions::default()).unwrap()
    }

    fn table(&self) -> Arc<Model> {
        let mut transaction = self.begin();
        let oid = create_table(&mut transaction, "t", TableKind::Shared, false);
        self.commit(transaction).unwrap();
        self.model(oid)
    }

    fn model(&self, oid: Oid) -> Arc<Model> {
        Model::new(self.engine.catalog().relation(oid).unwrap()).unwrap()
    }

    fn commit(&self, transaction: Transaction) -> Result<CommitSeq> {
        let ticket = transaction.start_commit()?;
        while ticket.poll().is_none() {
            self.engine.step_commits(Patience::Over);
        }
        ticket.poll().unwrap()
    }

    /// The committed rows as a session sees them now.
    fn rows(&self, model: &Model) -> BTreeMap<i64, String> {
        let mut transaction = self.begin();
        let view = transaction.statement().unwrap();
        rows(&transaction, &view, model)
    }

    fn names(&self, directory: &str) -> Vec<String> {
        self.disk.list(&PathBuf::from("data").join(directory)).unwrap()
    }

    /// Writes rows of about a hundred bytes, `count` from `from` on.
    fn fill(&self, transaction: &mut Transaction, model: &Model, from: i64, count: i64, text: &str) {
        let view = transaction.statement().unwrap();
        for id in from..from + count {
            insert(transaction, &view, model, id, &body(id, text));
        }
    }

    fn fold_all(&self) {
        while self.engine.fold().unwrap() {}
    }
}

fn body(id: i64, text: &str) -> String {
    format!("{text} {id} {}", "x".repeat(80))
}

fn values(id: i64, body: &str) -> Vec<Value> {
    vec![Value::Int(id), Value::text(body)]
}

fn insert(transaction: &mut Transaction, view: &StatementView, model: &Model, id: i64, body: &str) {
    let written = transaction.insert_row(view, model, SHARED, &values(id, body)).unwrap();
    assert!(matches!(written, Written::Done(_)), "{id} must be free");
}

fn locked(transaction: &mut Transaction, view: &StatementView, model: &Model, id: i64) -> (Bytes, Bytes) {
    let key = model.row_key(SHARED, &values(id, ""), 0).unwrap();
    match transaction.lock_row(view, (model.relation().oid, &key), RowLock::Update, true, LockPolicy::Wait).unwrap() {
        LockedRow::Granted(row) => (key, row.expect("the row is there")),
        _ => panic!("must not wait"),
    }
}

fn update(transaction: &mut Transaction, view: &StatementView, model: &Model, id: i64, new: (i64, &str)) {
    let (key, old) = locked(transaction, view, model, id);
    let written = transaction.update_row(view, model, SHARED, (&key, &old), &values(new.0, new.1)).unwrap();
    assert!(matches!(written, Written::Done(_)));
}

fn delete(transaction: &mut Transaction, view: &StatementView, model: &Model, id: i64) {
    let (key, old) = locked(transaction, view, model, id);
    transaction.delete_row(view, model, SHARED, &key, &old).unwrap();
}

fn scan(
    transaction: &Transaction,
    view: &StatementView,
    prefix: Vec<u8>,
    direction: Direction,
    batch: usize,
) -> Vec<(Bytes, Bytes)> {
    let to = prefix_successor(&prefix).unwrap();
    let mut cursor = transaction.cursor(view, Bound::Included(prefix), Bound::Excluded(to), direction);
    let mut out = Vec::new();
    let mut more = true;
    while more {
        let before = out.len();
        more = cursor.next_batch(transaction, view, &mut out, batch).unwrap();
        assert!(out.len() <= before + batch, "a batch is bounded whatever the transaction wrote");
    }
    out
}

fn decode(model: &Model, row: &Bytes) -> (i64, String) {
    let values = model.decode(row).unwrap();
    let (Value::Int(id), Value::Text(body)) = (&values[0], &values[1]) else { panic!("{values:?}") };
    (*id, body.to_string())
}

fn rows(transaction: &Transaction, view: &StatementView, model: &Model) -> BTreeMap<i64, String> {
    let rows = scan(transaction, view, model.key_prefix(SHARED), Direction::Forward, 7);
    let mut backward = scan(transaction, view, model.key_prefix(SHARED), Direction::Backward, 5);
    backward.reverse();
    assert_eq!(rows, backward);
    for (key, row) in &rows {
        assert_eq!(transaction.get(view, key).unwrap().as_ref(), Some(row));
    }
    rows.iter().map(|(_, row)| decode(model, row)).collect()
}

/// What a transaction should see, by savepoints.
type State = BTreeMap<i64, String>;

/// Writes at random and compares what the transaction sees; the state at its end.
fn live_through(
    world: &World,
    transaction: &mut Transaction,
    model: &Model,
    random: &mut Random,
    mut now: State,
) -> State {
    let mut savepoints: Vec<(Savepoint, State)> = Vec::new();
    let mut views: VecDeque<(StatementView, State)> = VecDeque::new();
    // not only at the end: a savepoint may take everything back
    let mut spilled = false;
    for step in 0..120 {
        spilled |= world.names("bulk").iter().any(|name| name.ends_with(".spill"));
        let view = transaction.statement().unwrap();
        let before = now.clone();
        let text = random.text(1, 6);
        match random.below(8) {
            0 => savepoints.push((transaction.savepoint(), now.clone())),
            1 if !savepoints.is_empty() => {
                let at = random.below(savepoints.len() as u64) as usize;
                savepoints.truncate(at + 1);
                now = savepoints[at].1.clone();
                transaction.rollback_to(savepoints[at].0);
                // what was declared since may not be read any more
                views.clear();
                continue;
            }
            2 => {
                let ids: Vec<i64> = now.keys().copied().filter(|_| random.once_in(3)).collect();
                for id in ids {
                    delete(transaction, &view, model, id);
                    now.remove(&id);
                }
            }
            3 | 4 => {
                let ids: Vec<i64> = now.keys().copied().filter(|_| random.once_in(2)).collect();
                for id in ids {
                    update(transaction, &view, model, id, (id, &body(id, &text)));
                    now.insert(id, body(id, &text));
                }
            }
            _ => {
                for _ in 0..random.below(40) {
                    let id = random.below(400) as i64;
                    if let std::collections::btree_map::Entry::Vacant(free) = now.entry(id) {
                        insert(transaction, &view, model, id, &body(id, &text));
                        free.insert(body(id, &text));
                    }
                }
            }
        }
        if step % 12 == 0 {
            assert_eq!(rows(transaction, &view, model), before, "a statement does not see itself");
            for (view, state) in &views {
                assert_eq!(rows(transaction, view, model), *state, "an older cursor sees what it saw");
            }
        }
        views.push_back((view, before));
        if views.len() > 3 {
            views.pop_front();
        }
    }
    assert!(spilled, "it was meant to be large");
    now
}

#[test]
fn a_large_transaction_sees_itself_across_savepoints_and_cursors() {
    let (mut random, _) = Random::seeded("BIG_SEED");
    for _ in 0..2 {
        let world = World::new(random.next());
        let model = world.table();
        let mut state = State::new();
        for round in 0..4 {
            let mut transaction = world.begin();
            let after = live_through(&world, &mut transaction, &model, &mut random, state.clone());
            if round == 2 {
                transaction.rollback();
            } else {
                world.commit(transaction).unwrap();
                state = after;
            }
            assert_eq!(world.rows(&model), state);
            assert!(world.names("bulk").iter().all(|name| !name.ends_with(".spill")), "what was spilled has gone");
            if random.once_in(2) {
                world.fold_all();
                assert_eq!(world.rows(&model), state);
            }
        }
    }
}

#[test]
fn others_see_all_of_a_large_commit_or_nothing() {
    let world = World::new(1);
    let model = world.table();
    let mut transaction = world.begin();
    world.fill(&mut transaction, &model, 0, 500, "a");
    assert!(world.rows(&model).is_empty());
    let mut early = world.begin();
    let early_view = early.statement().unwrap();
    let ticket = transaction.start_commit().unwrap();
    assert!(world.rows(&model).is_empty(), "it has no number yet");
    world.engine.step_commits(Patience::Over);
    let seq = ticket.poll().unwrap().unwrap();
    assert_eq!(world.rows(&model).len(), 500);
    assert!(rows(&early, &early_view, &model).is_empty(), "an older snapshot stays as it was");
    let mut reader = world.begin();
    let view = reader.statement().unwrap();
    for (_, row) in scan(&reader, &view, model.key_prefix(SHARED), Direction::Forward, 100) {
        assert_eq!(model.view(row).unwrap().seq(), seq, "each row has the commit's position");
    }
    assert!(world.names("log").len() <= 2, "nothing of it is in the log");
}

#[test]
fn later_commits_are_folded_ahead_of_a_large_one_and_hide_what_they_wrote() {
    let world = World::new(2);
    let model = world.table();
    let mut transaction = world.begin();
    world.fill(&mut transaction, &model, 0, 1000, "old");
    world.commit(transaction).unwrap();
    let mut state: State = (0..1000).map(|id| (id, body(id, "old"))).collect();
    let mut random = Random::new(7);
    let mut ahead = 0;
    // older snapshots, each with what it saw
    let mut held: VecDeque<(Transaction, StatementView, State)> = VecDeque::new();
    for step in 0..60 {
        let mut small = world.begin();
        let view = small.statement().unwrap();
        for _ in 0..10 {
            let id = random.below(1200) as i64;
            let text = random.text(1, 5);
            match state.remove(&id) {
                Some(_) if random.once_in(3) => delete(&mut small, &view, &model, id),
                Some(_) => {
                    update(&mut small, &view, &model, id, (id, &body(id, &text)));
                    state.insert(id, body(id, &text));
                }
                None => {
                    insert(&mut small, &view, &model, id, &body(id, &text));
                    state.insert(id, body(id, &text));
                }
            }
        }
        world.commit(small).unwrap();
        let written = world.index.position().unwrap();
        world.engine.fold().unwrap();
        let is_ahead = world.engine.unfolded_bulks() > 0 && world.index.position().unwrap() == written;
        ahead += usize::from(is_ahead);
        assert_eq!(world.rows(&model), state, "step {step}");
        let mut reader = world.begin();
        let view = reader.statement().unwrap();
        held.push_back((reader, view, state.clone()));
        if held.len() > 5 {
            held.pop_front();
        }
        for (reader, view, seen) in &held {
            assert_eq!(rows(reader, view, &model), *seen, "a snapshot stays as it was, step {step}");
        }
    }
    assert!(ahead > 20, "most folds came before the large commit was folded");
    drop(held);
    world.fold_all();
    assert_eq!(world.engine.unfolded_bulks(), 0);
    assert_eq!(world.rows(&model), state);
}

#[test]
fn a_crash_between_the_parts_of_a_fold_loses_nothing() {
    let mut world = World::new(3);
    let oid = world.table().relation().oid;
    let mut state = State::new();
    for round in 0..6_i64 {
        let model = world.model(oid);
        let mut transaction = world.begin();
        world.fill(&mut transaction, &model, round * 300, 300, "big");
        let view = transaction.statement().unwrap();
        for id in (0..round * 300).step_by(3) {
            if state.contains_key(&id) {
                update(&mut transaction, &view, &model, id, (id, &body(id, "again")));
                state.insert(id, body(id, "again"));
            }
        }
        world.commit(transaction).unwrap();
        state.extend((round * 300..round * 300 + 300).map(|id| (id, body(id, "big"))));
        for step in 0..=round * 3 {
            let mut small = world.begin();
            let view = small.statement().unwrap();
            for id in (step * 17..round * 300 + 300).step_by(59) {
                if state.remove(&id).is_some() {
                    delete(&mut small, &view, &model, id);
                }
            }
            world.commit(small).unwrap();
            world.engine.fold().unwrap();
            assert_eq!(world.rows(&model), state, "round {round}, step {step}");
        }
        world.crash();
        let model = world.model(oid);
        assert_eq!(world.rows(&model), state, "after the crash of round {round}");
    }
    world.fold_all();
    assert_eq!(world.rows(&world.model(oid)), state);
    world.crash();
    assert_eq!(world.rows(&world.model(oid)), state, "from the index alone");
}

/// Small commits in several generations, a large one, small ones over it; everything is still to be folded.
fn unfolded(world: &World, model: &Model) -> State {
    let mut state = State::new();
    let small = |from: i64, to: i64, step: usize, text: &str, state: &mut State| {
        for start in (from..to).step_by(50) {
            let mut transaction = world.begin();
            let view = transaction.statement().unwrap();
            for id in (start..(start + 50).min(to)).step_by(step) {
                match state.insert(id, body(id, text)) {
                    Some(_) if id % 7 == 0 => {
                        delete(&mut transaction, &view, model, id);
                        state.remove(&id);
                    }
                    Some(_) => update(&mut transaction, &view, model, id, (id, &body(id, text))),
                    None => insert(&mut transaction, &view, model, id, &body(id, text)),
                }
            }
            world.commit(transaction).unwrap();
        }
    };
    small(0, 200, 1, "first", &mut state);
    let mut large = world.begin();
    world.fill(&mut large, model, 200, 150, "large");
    let view = large.statement().unwrap();
    for id in (0..200).step_by(2) {
        update(&mut large, &view, model, id, (id, &body(id, "large")));
        state.insert(id, body(id, "large"));
    }
    world.commit(large).unwrap();
    state.extend((200..350).map(|id| (id, body(id, "large"))));
    small(0, 400, 3, "after", &mut state);
    state
}

/// A fold of several parts, of commits in memory and of a large one, each a commit of the index: the machine stops before
/// the first, then before the second, and so on.
#[test]
fn a_crash_before_each_part_of_each_fold_loses_nothing() {
    let mut crashes = 0;
    loop {
        let mut world = World::new(100 + crashes);
        let model = world.table();
        let state = unfolded(&world, &model);
        world.faults.crash_after(Step::Index, crashes);
        let folded = loop {
            match world.engine.fold() {
                Ok(true) => {}
                Ok(false) => break true,
                Err(_) => break false,
            }
        };
        assert_eq!(world.faults.has_crashed(), !folded);
        world.crash();
        let model = world.model(model.relation().oid);
        assert_eq!(world.rows(&model), state, "after the crash before part {crashes}");
        if folded {
            break;
        }
        // and folding goes on where it can, over an index that has some of it already
        let mut small = world.begin();
        world.fill(&mut small, &model, 1000, 3, "later");
        world.commit(small).unwrap();
        world.fold_all();
        world.crash();
        let mut rows = world.rows(&world.model(model.relation().oid));
        assert_eq!(rows.split_off(&1000).len(), 3);
        assert_eq!(rows, state, "folded after the crash before part {crashes}");
        crashes += 1;
    }
    assert!(crashes > 20, "there were many parts: {crashes}");
}

/// Ends the machine somewhere in a history of large and small transactions, again and again.
#[test]
fn a_crash_at_any_point_leaves_no_half_of_a_large_transaction() {
    let (mut random, _) = Random::seeded("BIG_CRASH_SEED");
    live_with(25, &mut random, |random| FaultRates { crash: 40 + random.below(300), ..FaultRates::default() });
}

/// The same where reads, writes, syncs and folds fail as well.
#[test]
fn a_disk_that_fails_at_any_point_leaves_no_half_of_a_large_transaction() {
    let (mut random, _) = Random::seeded("BIG_FAULT_SEED");
    live_with(25, &mut random, |random| FaultRates {
        crash: 200 + random.below(600),
        read: 300,
        write: 150,
        write_full: 60,
        sync: 150,
        name: 60,
        index: 60,
    });
}

fn live_with(worlds: usize, random: &mut Random, rates: impl Fn(&mut Random) -> FaultRates) {
    let mut seen = [0; 3];
    for _ in 0..worlds {
        let seed = random.next();
        let mut world = World::new(seed);
        let oid = world.table().relation().oid;
        let mut state = State::new();
        for round in 0..4 {
            world.faults.set_rates(rates(random));
            let model = world.model(oid);
            let outcome = history(&world, &model, random, &mut state, round);
            world.crash();
            let found = world.rows(&world.model(oid));
            match outcome {
                // it may have been durable when something went wrong
                Some(unknown) if found == unknown => {
                    seen[0] += 1;
                    state = unknown;
                }
                Some(_) => seen[1] += 1,
                None => seen[2] += 1,
            }
            assert_eq!(found, state, "seed {seed}, round {round}");
            assert!(world.names("bulk").iter().all(|name| name.ends_with(".bulk")), "{:?}", world.names("bulk"));
        }
    }
    eprintln!("not acknowledged but durable, lost, no commit under way: {seen:?}");
}

/// Commits until something goes wrong. The state that the last commit would have made, where nobody heard that it is
/// durable.
fn history(world: &World, model: &Model, random: &mut Random, state: &mut State, round: i64) -> Option<State> {
    for part in 0..6 {
        let mut after = state.clone();
        let Ok(mut transaction) = world.engine.begin(TxnOptions::default()) else { return None };
        let large = random.once_in(2);
        let first = (round * 6 + part) * 1000;
        let count = if large { 150 + random.below(200) as i64 } else { 5 };
        let text = random.text(1, 5);
        for id in first..first + count {
            let Ok(view) = transaction.statement() else { return None };
            match transaction.insert_row(&view, model, SHARED, &values(id, &body(id, &text))) {
                Ok(_) => after.insert(id, body(id, &text)),
                Err(_) => return None,
            };
        }
        match world.commit(transaction) {
            Ok(_) => *state = after,
            Err(_) => return Some(after),
        }
        for _ in 0..random.below(4) {
            if world.engine.fold().is_err() {
                return None;
            }
        }
    }
    None
}

#[test]
fn a_rolled_back_large_transaction_leaves_nothing() {
    let mut world = World::new(4);
    let model = world.table();
    let log = world.names("log");
    let mut transaction = world.begin();
    world.fill(&mut transaction, &model, 0, 2000, "a");
    transaction.rollback();
    assert!(world.rows(&model).is_empty());
    assert!(world.names("bulk").is_empty());
    assert_eq!(world.names("log"), log, "the log has nothing of it");
    // and one that a crash ends
    let mut transaction = world.begin();
    world.fill(&mut transaction, &model, 0, 2000, "a");
    let ticket = transaction.start_commit().unwrap();
    world.crash();
    assert!(!matches!(ticket.poll(), Some(Ok(_))), "nobody hears that it is done");
    assert!(world.rows(&world.model(model.relation().oid)).is_empty());
    assert!(world.names("bulk").is_empty());
}

/// A message of the row's number, in a topic of two partitions.
struct Messages {
    topic: Oid,
    storage: StorageId,
    layout: RowLayout,
    model: Arc<Model>,
}

impl Derive for Messages {
    fn derive(&self, change: &Change, _: UnixMicros, out: &mut Vec<TopicAppend>) -> Result<()> {
        let new = change.new.as_ref().or(change.old.as_ref()).expect("a change has a row");
        let id = decode(&self.model, new).0;
        let kind = i64::from(change.kind == ChangeKind::Insert);
        let row = row::encode(&self.layout, 0, None, &[Value::Int(0), Value::Int(id), Value::Int(kind)])?;
        let offset_at = row::fixed_i64_place(&row, &self.layout, 0) as u32;
        let (topic, storage) = (self.topic, self.storage);
        out.push(TopicAppend { command: 0, topic, storage, partition: (id % 2) as u32, row: row.into(), offset_at });
        Ok(())
    }
}

#[test]
fn a_topic_gets_every_message_of_a_large_commit_in_the_order_of_the_writes() {
    let mut world = World::new(5);
    let model = world.table();
    let storage = world.begin().alloc_storage();
    let layout = RowLayout::new(&[SqlType::INT8, SqlType::INT8, SqlType::INT8]);
    let topic = Oid(99);
    let derive: Arc<dyn Derive> = Arc::new(Messages { topic, storage, layout: layout.clone(), model: model.clone() });
    let begin = world.engine.current();
    let mut expected: [Vec<i64>; 2] = Default::default();
    for round in 0..4_i64 {
        let count = if round % 2 == 0 { 600 } else { 3 };
        let mut transaction = world.begin();
        transaction.derive_with(model.relation().oid, vec![derive.clone()]);
        let view = transaction.statement().unwrap();
        // not in the order of keys
        for id in (round * 1000..round * 1000 + count).rev() {
            insert(&mut transaction, &view, &model, id, &body(id, "m"));
            expected[(id % 2) as usize].push(id);
        }
        let view = transaction.statement().unwrap();
        delete(&mut transaction, &view, &model, round * 1000 + 1);
        expected[1].retain(|&id| id != round * 1000 + 1);
        world.commit(transaction).unwrap();
    }
    let arrivals = |world: &World| -> Vec<(u32, u64, u64)> {
        let commits = world.engine.commits_after(begin).unwrap().map(Result::unwrap);
        let commits: Vec<_> = commits.collect();
        commits.iter().flat_map(|commit| &commit.arrivals).map(|a| (a.partition, a.first, a.count)).collect()
    };
    let told = arrivals(&world);
    let check = |world: &World| {
        let mut reader = world.begin();
        let view = reader.statement().unwrap();
        for partition in 0..2_u32 {
            let mut keys = prefix(Space::Topic, storage, SHARED);
            keys.extend(partition.to_be_bytes());
            let found = scan(&reader, &view, keys.clone(), Direction::Forward, 11);
            let mut backward = scan(&reader, &view, keys.clone(), Direction::Backward, 11);
            backward.reverse();
            assert_eq!(found, backward);
            for (at, (key, row)) in found.iter().enumerate() {
                assert_eq!(key[key.len() - 8..], (at as u64).to_be_bytes(), "offsets are dense");
                assert_eq!(reader.get(&view, key).unwrap().as_ref(), Some(row));
                let row = RowView::new(row.clone(), &layout).unwrap();
                assert_eq!(row.column(0).unwrap(), Some(Value::Int(at as i64)));
                assert!(row.seq() > begin);
            }
            let ids: Vec<i64> = found
                .iter()
                .map(|(_, row)| match RowView::new(row.clone(), &layout).unwrap().column(1).unwrap() {
                    Some(Value::Int(id)) => id,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(ids, expected[partition as usize], "partition {partition}");
            // a consumer that begins in the middle, and behind the end
            for from in [0_u64, 1, 299, 300, 301, 302, 700, 5000] {
                let mut at = keys.clone();
                at.extend(from.to_be_bytes());
                let to = prefix_successor(&keys).unwrap();
                let mut cursor = reader.cursor(&view, Bound::Included(at), Bound::Excluded(to), Direction::Forward);
                let mut out = Vec::new();
                while cursor.next_batch(&reader, &view, &mut out, 100).unwrap() {}
                assert_eq!(out, found[(from as usize).min(found.len())..]);
            }
        }
    };
    check(&world);
    world.crash();
    check(&world);
    assert_eq!(arrivals(&world), told);
    for _ in 0..5 {
        world.engine.fold().unwrap();
        check(&world);
    }
    world.fold_all();
    check(&world);
}

/// The numbers of a partition's messages, in the order of their offsets, which are dense.
fn numbers(world: &World, storage: StorageId, layout: &RowLayout, partition: u32) -> Vec<i64> {
    let mut reader = world.begin();
    let view = reader.statement().unwrap();
    let mut keys = prefix(Space::Topic, storage, SHARED);
    keys.extend(partition.to_be_bytes());
    let found = scan(&reader, &view, keys, Direction::Forward, 11);
    let offsets: Vec<u64> =
        found.iter().map(|(key, _)| u64::from_be_bytes(key[key.len() - 8..].try_into().unwrap())).collect();
    assert!(offsets.iter().copied().eq(0..offsets.len() as u64), "{offsets:?}");
    let number = |row: &Bytes| match RowView::new(row.clone(), layout).unwrap().column(1).unwrap() {
        Some(Value::Int(number)) => number,
        other => panic!("{other:?}"),
    };
    found.iter().map(|(_, row)| number(row)).collect()
}

/// A few rows that feed many topics used to become one record of the log, whatever its size, made in memory.
#[test]
fn a_small_transaction_that_makes_many_messages_is_a_large_one() {
    let mut world = World::new(12);
    let model = world.table();
    let storage = world.begin().alloc_storage();
    let layout = RowLayout::new(&[SqlType::INT8, SqlType::INT8, SqlType::INT8]);
    let derive: Arc<dyn Derive> =
        Arc::new(Messages { topic: Oid(99), storage, layout: layout.clone(), model: model.clone() });
    let commit = |ids: &[i64], sources: usize| {
        let mut transaction = world.begin();
        transaction.derive_with(model.relation().oid, vec![derive.clone(); sources]);
        let view = transaction.statement().unwrap();
        for &id in ids {
            insert(&mut transaction, &view, &model, id, &body(id, "m"));
        }
        world.commit(transaction).unwrap();
        world.names("bulk").len()
    };
    assert_eq!(commit(&[1, 2], 2), 0, "a few messages are in the log's record");
    assert_eq!(commit(&[6, 4], 100), 1, "many are in a file");
    assert_eq!(commit(&[8], 1), 1);
    let expected: Vec<i64> = [(2, 2), (6, 100), (4, 100), (8, 1)].iter().flat_map(|&(id, n)| vec![id; n]).collect();
    let check = |world: &World| {
        assert_eq!(numbers(world, storage, &layout, 0), expected);
        assert_eq!(numbers(world, storage, &layout, 1), [1, 1]);
        assert_eq!(world.rows(&model).into_keys().collect::<Vec<_>>(), [1, 2, 4, 6, 8]);
    };
    check(&world);
    world.crash();
    check(&world);
    world.fold_all();
    check(&world);
}

#[test]
fn a_transaction_that_makes_more_messages_than_it_may_is_refused() {
    let world = World::new(13);
    let model = world.table();
    let storage = world.begin().alloc_storage();
    let layout = RowLayout::new(&[SqlType::INT8, SqlType::INT8, SqlType::INT8]);
    let derive: Arc<dyn Derive> = Arc::new(Messages { topic: Oid(99), storage, layout, model: model.clone() });
    let (disk, index) = (world.disk.clone(), world.index.clone());
    let parts = Parts { env: world.env.clone(), disk, index: Index::memory(index), threads: false, dir: None };
    let small = EngineOptions { big_commit_bytes_max: 20 << 10, ..options() };
    let (engine, _) = Engine::open_with(small, parts).unwrap();
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    transaction.derive_with(model.relation().oid, vec![derive; 1000]);
    let view = transaction.statement().unwrap();
    insert(&mut transaction, &view, &model, 1, "a");
    let error = transaction.start_commit().err().expect("it is refused");
    assert_eq!(error.code(), SqlState::CONFIGURATION_LIMIT_EXCEEDED);
    assert!(world.names("bulk").is_empty());
    let mut reader = engine.begin(TxnOptions::default()).unwrap();
    let view = reader.statement().unwrap();
    assert!(rows(&reader, &view, &model).is_empty());
}

/// Rows of STREAM tables stay in memory where the rest is spilled, and used to be passed over when messages were made.
#[test]
fn a_topic_gets_the_messages_of_stream_rows_of_a_large_commit_too() {
    let world = World::new(14);
    let model = world.table();
    let mut transaction = world.begin();
    let stream = create_table(&mut transaction, "s", TableKind::Stream { ttl_micros: 60_000_000 }, false);
    world.commit(transaction).unwrap();
    let stream = world.model(stream);
    let storage = world.begin().alloc_storage();
    let layout = RowLayout::new(&[SqlType::INT8, SqlType::INT8, SqlType::INT8]);
    let mut transaction = world.begin();
    for model in [&model, &stream] {
        let (topic, layout, model) = (Oid(99), layout.clone(), model.clone());
        let oid = model.relation().oid;
        transaction.derive_with(oid, vec![Arc::new(Messages { topic, storage, layout, model })]);
    }
    let view = transaction.statement().unwrap();
    let alice = world.engine.scope_of("alice").unwrap();
    for id in 0..200 {
        let (model, scope) = if id % 4 == 0 { (&stream, alice) } else { (&model, SHARED) };
        let written = transaction.insert_row(&view, model, scope, &values(id, &body(id, "m"))).unwrap();
        assert!(matches!(written, Written::Done(_)));
    }
    world.commit(transaction).unwrap();
    assert_eq!(world.names("bulk").len(), 1);
    assert_eq!(numbers(&world, storage, &layout, 0), (0..200).step_by(2).collect::<Vec<_>>());
    assert_eq!(numbers(&world, storage, &layout, 1), (1..200).step_by(2).collect::<Vec<_>>());
}

/// The changes of all commits after a position, applied.
fn replayed(world: &World, model: &Model, after: CommitSeq) -> State {
    let mut state = State::new();
    for commit in world.engine.commits_after(after).unwrap() {
        let commit = commit.unwrap();
        let bulk: Vec<Change> = commit.bulk_changes(model.relation().oid, SHARED).map(Result::unwrap).collect();
        assert!(bulk.is_empty() || commit.changes.is_empty());
        for change in commit.changes.iter().chain(&bulk) {
            let old = change.old.as_ref().map(|row| decode(model, row));
            let new = change.new.as_ref().map(|row| decode(model, row));
            assert_eq!(change.relation, model.relation().oid);
            if let Some((id, body)) = old {
                assert_eq!(state.remove(&id), Some(body), "the old row is what was there");
            }
            if let Some((id, body)) = new {
                assert_eq!(state.insert(id, body), None);
            }
        }
    }
    state
}

#[test]
fn readers_of_the_commit_sequence_find_every_change_of_a_large_commit() {
    let mut random = Random::new(11);
    let mut world = World::new(6);
    let model = world.table();
    let begin = world.engine.current();
    let mut state = State::new();
    for _ in 0..4 {
        let mut transaction = world.begin();
        state = live_through(&world, &mut transaction, &model, &mut random, state);
        world.commit(transaction).unwrap();
    }
    assert_eq!(replayed(&world, &model, begin), state);
    world.crash();
    let model = world.model(model.relation().oid);
    assert_eq!(replayed(&world, &model, begin), state, "from the log and the files beside it");
    world.fold_all();
    world.crash();
    assert_eq!(replayed(&world, &model, begin), state, "after they were folded too");
}

/// What a statement that saw a row locks once its lock is free, as UPDATE and FOR UPDATE do.
fn follow(transaction: &mut Transaction, view: &StatementView, model: &Model, id: i64) -> Option<(i64, String)> {
    let seen = model.row_key(SHARED, &values(id, ""), 0).unwrap();
    let mut key = seen.clone();
    for _ in 0..10 {
        let target = (model.relation().oid, &key);
        match transaction.lock_row(view, target, RowLock::Update, true, LockPolicy::Wait).unwrap() {
            LockedRow::Granted(Some(row)) => return Some(decode(model, &row)),
            LockedRow::Granted(None) => match transaction.moved_to(view, model, &seen).unwrap()? {
                same if same == key => return None,
                other => key = other,
            },
            _ => panic!("must not wait"),
        }
    }
    panic!("it is followed without end")
}

#[test]
fn a_row_whose_key_a_large_commit_changed_is_followed() {
    let mut world = World::new(12);
    let model = world.table();
    let mut first = world.begin();
    world.fill(&mut first, &model, 0, 300, "old");
    world.commit(first).unwrap();
    let mut waiting = world.begin();
    let view = waiting.statement().unwrap();
    let mut large = world.begin();
    let move_all = |large: &mut Transaction, from: i64, by: i64| {
        let view = large.statement().unwrap();
        (from..from + 300).for_each(|id| update(large, &view, &model, id, (id + by, &body(id + by, "new"))));
    };
    // from key to key, and one of them on from there in a later statement, one back, one deleted
    move_all(&mut large, 0, 1000);
    let statement = large.statement().unwrap();
    update(&mut large, &statement, &model, 1007, (5007, "moved twice"));
    update(&mut large, &statement, &model, 1008, (8, "moved back"));
    delete(&mut large, &statement, &model, 1009);
    let statement = large.statement().unwrap();
    insert(&mut large, &statement, &model, 10, "another");
    world.commit(large).unwrap();
    assert_eq!(follow(&mut waiting, &view, &model, 5), Some((1005, body(1005, "new"))));
    assert_eq!(follow(&mut waiting, &view, &model, 7), Some((5007, "moved twice".to_owned())));
    assert_eq!(follow(&mut waiting, &view, &model, 8), Some((8, "moved back".to_owned())));
    assert_eq!(follow(&mut waiting, &view, &model, 9), None, "it is deleted");
    assert_eq!(follow(&mut waiting, &view, &model, 10), Some((10, "another".to_owned())), "what is in its place");
    waiting.rollback();
    // by commits of each kind, one after the other, and back to where it was
    let mut waiting = world.begin();
    let view = waiting.statement().unwrap();
    let mut small = world.begin();
    let statement = small.statement().unwrap();
    update(&mut small, &statement, &model, 1020, (2020, "small"));
    update(&mut small, &statement, &model, 1021, (2021, "small"));
    world.commit(small).unwrap();
    let mut large = world.begin();
    let statement = large.statement().unwrap();
    (3000..3200).for_each(|id| insert(&mut large, &statement, &model, id, &body(id, "more")));
    update(&mut large, &statement, &model, 2020, (3020 + 1000, "large"));
    update(&mut large, &statement, &model, 2021, (1021, "back"));
    world.commit(large).unwrap();
    let mut last = world.begin();
    let statement = last.statement().unwrap();
    delete(&mut last, &statement, &model, 1021);
    world.commit(last).unwrap();
    assert_eq!(follow(&mut waiting, &view, &model, 1020), Some((4020, "large".to_owned())));
    assert_eq!(follow(&mut waiting, &view, &model, 1021), None);
    waiting.rollback();
    // what the file says beside that is as before
    let state = world.rows(&model);
    assert_eq!(state.len(), 299 + 1 + 200 - 1);
    world.crash();
    assert_eq!(world.rows(&world.model(model.relation().oid)), state);
    world.fold_all();
    world.crash();
    assert_eq!(world.rows(&world.model(model.relation().oid)), state);
}

#[test]
fn the_file_of_a_large_commit_stays_for_as_long_as_the_log_names_it() {
    let mut world = World::new(7);
    let model = world.table();
    let begin = world.engine.current();
    let mut seqs = Vec::new();
    for round in 0..3_i64 {
        let mut transaction = world.begin();
        world.fill(&mut transaction, &model, round * 1000, 100, "a");
        seqs.push(world.commit(transaction).unwrap());
        // enough small commits for a few segments
        for part in 0..100_i64 {
            let mut small = world.begin();
            world.fill(&mut small, &model, round * 1000 + 100 + part * 5, 5, "b");
            world.commit(small).unwrap();
        }
    }
    world.fold_all();
    assert_eq!(world.names("bulk").len(), 3);
    world.engine.release_log(CommitSeq(seqs[0].0 - 1)).unwrap();
    assert_eq!(world.names("bulk").len(), 3);
    world.engine.release_log(CommitSeq(seqs[2].0 - 1)).unwrap();
    assert_eq!(world.names("bulk").len(), 1, "those before the log's first segment are gone");
    world.crash();
    let error = match world.engine.commits_after(begin) {
        Err(error) => error,
        Ok(mut commits) => commits.find_map(Result::err).unwrap_or_else(|| panic!("must be refused")),
    };
    assert_eq!(error.code(), SqlState::SNAPSHOT_TOO_OLD);
    assert_eq!(world.rows(&model).len(), 3 * 600);
}

#[test]
fn a_damaged_file_of_a_large_commit_is_named_at_the_start_or_by_whoever_reads_it() {
    let mut world = World::new(8);
    let model = world.table();
    let mut transaction = world.begin();
    world.fill(&mut transaction, &model, 0, 300, "a");
    let seq = world.commit(transaction).unwrap();
    // the file has the commit's name from the next start on
    world.engine = open(&world.env, &world.disk, &world.index).unwrap();
    let name = format!("{:020}.bulk", seq.0);
    assert_eq!(world.names("bulk"), std::slice::from_ref(&name));
    let path = PathBuf::from("data/bulk").join(&name);
    let whole = world.disk.open(&path).unwrap();
    let length = whole.len().unwrap();
    let refusal = |what: &str| {
        let Err(error) = open(&world.env, &world.disk, &world.index) else { panic!("{what}: it started") };
        assert!(error.fields().message.contains(&name), "{what}: {error:?}");
        error.code()
    };
    let away = PathBuf::from("data/bulk/away");
    world.disk.rename(&path, &away).unwrap();
    assert_eq!(refusal("missing"), SqlState::UNDEFINED_FILE);
    world.disk.rename(&away, &path).unwrap();
    let flip = |at: u64| {
        let mut byte = [0];
        whole.read_at(at, &mut byte).unwrap();
        whole.write_at(at, &[byte[0] ^ 4]).unwrap();
    };
    for (what, at) in [("magic", length - 1), ("trailer", length - 20), ("index", length - 40)] {
        flip(at);
        assert_eq!(refusal(what), SqlState::DATA_CORRUPTED);
        flip(at);
    }
    // the rest of it is looked at when it is read: no row of the block is served, nor folded
    flip(length / 3);
    let engine = open(&world.env, &world.disk, &world.index).unwrap();
    let snapshot = engine.snapshot().unwrap();
    let (from, to) = (model.key_prefix(SHARED), prefix_successor(&model.key_prefix(SHARED)).unwrap());
    let mut cursor = snapshot.cursor(Bound::Included(from), Bound::Excluded(to), Direction::Forward);
    let mut batch = Vec::new();
    let read = loop {
        match cursor.next_batch(&snapshot, &mut batch, 10) {
            Ok(true) => {}
            Ok(false) => panic!("all of it was read: {} rows", batch.len()),
            Err(error) => break error,
        }
    };
    let folded = loop {
        match engine.fold() {
            Ok(true) => {}
            Ok(false) => panic!("it was folded"),
            Err(error) => break error,
        }
    };
    for error in [read, folded] {
        assert_eq!(error.code(), SqlState::DATA_CORRUPTED);
        let message = &error.fields().message;
        assert!(message.contains(&name) && message.contains("offset"), "{message}");
    }
    drop((cursor, snapshot, engine));
    flip(length / 3);
    world.engine = open(&world.env, &world.disk, &world.index).unwrap();
    world.fold_all();
    assert_eq!(world.rows(&model).len(), 300);
}

/// With threads, real files and LMDB: a copy of the directory is what a kill would have left.
#[test]
fn a_large_commit_is_found_again_on_real_files_before_and_after_it_is_folded() {
    let env = Arc::new(ManualEnv::new(START, 1));
    let dir = tempfile::tempdir().unwrap();
    let real = |name: &str| EngineOptions { dir: dir.path().join(name), map_size: 1 << 28, ..options() };
    let (engine, _) = Engine::open(real("first"), env.clone()).unwrap();
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    let key = |n: u32| Bytes::from([prefix(Space::Group, StorageId(900), SHARED), n.to_be_bytes().to_vec()].concat());
    for n in 0..500 {
        transaction.put_plain(key(n), Some(Bytes::from(vec![b'v'; 100]))).unwrap();
    }
    let seq = transaction.start_commit().unwrap().block().unwrap();
    let check = |name: &str| {
        let mut copy = std::process::Command::new("cp");
        copy.arg("-r").arg(dir.path().join("first")).arg(dir.path().join(name));
        assert!(copy.status().unwrap().success());
        let (copy, report) = Engine::open(real(name), env.clone()).unwrap();
        assert!(report.last >= seq);
        let snapshot = copy.snapshot().unwrap();
        assert!((0..500).all(|n| snapshot.get(&key(n)).unwrap().is_some()), "in {name}");
        assert!(snapshot.get(&key(500)).unwrap().is_none());
        drop(snapshot);
        let names = std::fs::read_dir(dir.path().join(name).join("bulk")).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(names, [format!("{:020}.bulk", seq.0)]);
        copy.shutdown().unwrap();
    };
    check("unfolded");
    assert!(engine.fold().unwrap());
    check("half folded");
    while engine.fold().unwrap() {}
    check("folded");
    engine.shutdown().unwrap();
}

#[test]
fn a_transaction_that_spills_more_than_it_may_is_refused() {
    let world = World::new(8);
    let model = world.table();
    let EngineOptions { big_commit_bytes_max, .. } = options();
    assert!(big_commit_bytes_max > 1 << 30, "the default is no obstacle");
    let (disk, index) = (world.disk.clone(), world.index.clone());
    let parts = Parts { env: world.env.clone(), disk, index: Index::memory(index), threads: false, dir: None };
    let small = EngineOptions { big_commit_bytes_max: 20 << 10, ..options() };
    let (engine, _) = Engine::open_with(small, parts).unwrap();
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    let view = transaction.statement().unwrap();
    let error = (0..10_000)
        .find_map(|id| transaction.insert_row(&view, &model, SHARED, &values(id, &body(id, "a"))).err())
        .expect("it is refused");
    assert_eq!(error.code(), SqlState::CONFIGURATION_LIMIT_EXCEEDED);
    drop(transaction);
    assert!(world.names("bulk").is_empty());
}

#[test]
fn a_full_disk_refuses_a_large_transaction_and_gives_its_room_back() {
    let world = World::new(9);
    let model = world.table();
    world.faults.set_capacity(world.disk.bytes() + (40 << 10));
    let mut transaction = world.begin();
    let view = transaction.statement().unwrap();
    let error = (0..10_000)
        .find_map(|id| transaction.insert_row(&view, &model, SHARED, &values(id, &body(id, "a"))).err())
        .or_else(|| world.commit(transaction).err())
        .expect("there is no room for it");
    assert_eq!(error.code(), SqlState::DISK_FULL);
    assert!(world.names("bulk").is_empty());
    let mut small = world.begin();
    world.fill(&mut small, &model, 0, 5, "b");
    world.commit(small).unwrap();
    assert_eq!(world.rows(&model).len(), 5);
}
