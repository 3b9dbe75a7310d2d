//! The engine without SQL: the commit order, locks, recovery, and the invariants that everything above rests on.

mod support;

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use support::relation::create_table;
use tertulia::catalog::{CatalogEntry, Schema, TableKind};
use tertulia::change::{Change, ChangeKind, Commit, Derive, TopicAppend, Write};
use tertulia::encoding::key::{Space, prefix, prefix_successor};
use tertulia::encoding::row::{self, RowLayout, RowView};
use tertulia::env::{ManualEnv, UnixMicros};
use tertulia::error::{Result, SqlState};
use tertulia::limits::SEQ_RESERVE;
use tertulia::storage::Direction;
use tertulia::table::Model;
use tertulia::txn::{
    Engine, EngineOptions, Isolation, LockKey, LockMode, LockPolicy, LockedRow, RowLock, StatementView, Transaction,
    TxnOptions, Written,
};
use tertulia::types::{CommitSeq, Oid, ScopeId, SqlType, StorageId, Value, Zone};

const START: UnixMicros = 1_700_000_000_000_000;

struct Fixture {
    engine: Arc<Engine>,
    env: Arc<ManualEnv>,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let env = Arc::new(ManualEnv::new(START, 1));
        let (engine, report) = Engine::open(options(&dir), env.clone()).unwrap();
        assert!(report.created);
        Fixture { engine, env, dir }
    }

    /// Shuts the engine down and opens the directory again.
    fn reopen(self) -> Fixture {
        let Fixture { engine, env, dir } = self;
        engine.shutdown().unwrap();
        drop(engine);
        let (engine, report) = Engine::open(options(&dir), env.clone()).unwrap();
        assert!(!report.created && report.tail_cut.is_none());
        Fixture { engine, env, dir }
    }

    /// Goes on with the directory as a kill would leave it now.
    fn crash(self) -> Fixture {
        let Fixture { engine, env, dir } = self;
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        engine.shutdown().unwrap();
        let (engine, _) = Engine::open(options(&copy), env.clone()).unwrap();
        Fixture { engine, env, dir: copy }
    }

    fn begin(&self) -> Transaction {
        self.engine.begin(TxnOptions::default()).unwrap()
    }

    fn table(&self, name: &str, kind: TableKind) -> Arc<Model> {
        let mut transaction = self.begin();
        let oid = create_table(&mut transaction, name, kind, true);
        commit(transaction);
        Model::new(self.engine.catalog().relation(oid).unwrap()).unwrap()
    }

    /// The rows of a scope as `id=body`.
    fn rows(&self, model: &Model, scope: ScopeId) -> String {
        let mut transaction = self.begin();
        let view = transaction.statement().unwrap();
        rows_seen(&transaction, &view, model, scope)
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_dir(&entry, &to);
        } else {
            std::fs::copy(&entry, &to).unwrap();
        }
    }
}

fn options(dir: &tempfile::TempDir) -> EngineOptions {
    // large commits are in the log here; those that are not are in big_transactions.rs
    EngineOptions { map_size: 1 << 30, write_set_chunk_bytes: 1 << 30, ..EngineOptions::new(dir.path().join("data")) }
}

fn commit(transaction: Transaction) -> CommitSeq {
    transaction.start_commit().unwrap().block().unwrap()
}

fn values(id: i64, body: &str) -> Vec<Value> {
    vec![Value::Int(id), Value::text(body)]
}

fn scan(transaction: &Transaction, view: &StatementView, prefix: Vec<u8>, direction: Direction) -> Vec<(Bytes, Bytes)> {
    let to = prefix_successor(&prefix).unwrap();
    let mut cursor = transaction.cursor(view, Bound::Included(prefix), Bound::Excluded(to), direction);
    let mut out = Vec::new();
    while cursor.next_batch(transaction, view, &mut out, 3).unwrap() {}
    out
}

fn rows_seen(transaction: &Transaction, view: &StatementView, model: &Model, scope: ScopeId) -> String {
    let rows = scan(transaction, view, model.key_prefix(scope), Direction::Forward);
    let shown = rows.iter().map(|(_, row)| {
        let values = model.decode(row).unwrap();
        let (Value::Int(id), Value::Text(body)) = (&values[0], &values[1]) else { panic!("{values:?}") };
        format!("{id}={body}")
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn insert(transaction: &mut Transaction, model: &Model, scope: ScopeId, id: i64, body: &str) -> Written {
    let view = transaction.statement().unwrap();
    transaction.insert_row(&view, model, scope, &values(id, body)).unwrap()
}

#[track_caller]
fn must_insert(transaction: &mut Transaction, model: &Model, scope: ScopeId, id: i64, body: &str) -> Bytes {
    match insert(transaction, model, scope, id, body) {
        Written::Done(key) => key,
        Written::Wait(_) => panic!("must not wait"),
        Written::Conflict(conflict) => panic!("must not conflict: {conflict:?}"),
    }
}

#[track_caller]
fn must_lock(transaction: &mut Transaction, view: &StatementView, key: &Bytes) -> Bytes {
    match transaction.lock_row(view, (Oid(1), key), RowLock::Update, true, LockPolicy::Wait).unwrap() {
        LockedRow::Granted(row) => row.expect("the row is there"),
        _ => panic!("must not wait"),
    }
}

fn update(transaction: &mut Transaction, model: &Model, scope: ScopeId, id: i64, new: (i64, &str)) {
    let view = transaction.statement().unwrap();
    let key = model.row_key(scope, &values(id, ""), 0).unwrap();
    let old = must_lock(transaction, &view, &key);
    let written = transaction.update_row(&view, model, scope, (&key, &old), &values(new.0, new.1)).unwrap();
    assert!(matches!(written, Written::Done(_)));
}

fn delete(transaction: &mut Transaction, model: &Model, scope: ScopeId, id: i64) {
    let view = transaction.statement().unwrap();
    let key = model.row_key(scope, &values(id, ""), 0).unwrap();
    let old = must_lock(transaction, &view, &key);
    transaction.delete_row(&view, model, scope, &key, &old).unwrap();
}

fn apply(state: &mut BTreeMap<Bytes, Bytes>, commit: &Commit) {
    for change in &commit.changes {
        match (&change.kind, &change.new) {
            (ChangeKind::Delete, _) => assert!(state.remove(&change.key).is_some(), "{change:?}"),
            (ChangeKind::Insert, Some(new)) => assert!(state.insert(change.key.clone(), new.clone()).is_none()),
            (ChangeKind::Update, Some(new)) => {
                let old_key =
                    state.iter().find(|(_, row)| Some(*row) == change.old.as_ref()).map(|(key, _)| key.clone());
                state.remove(&old_key.expect("the old row is there"));
                state.insert(change.key.clone(), new.clone());
            }
            (kind, None) => panic!("{kind:?} without a row"),
        }
    }
}

#[test]
fn replaying_the_log_gives_the_tables() {
    let fixture = Fixture::new();
    let model = fixture.table("t", TableKind::User);
    let scope = fixture.engine.scope_of("alice").unwrap();
    let begin = fixture.engine.current();
    let mut feed = fixture.engine.feed();

    let mut transaction = fixture.begin();
    for id in 0..10 {
        must_insert(&mut transaction, &model, scope, id, &format!("b{id}"));
    }
    commit(transaction);
    let mut transaction = fixture.begin();
    update(&mut transaction, &model, scope, 1, (1, "changed"));
    update(&mut transaction, &model, scope, 2, (22, "moved"));
    delete(&mut transaction, &model, scope, 3);
    delete(&mut transaction, &model, scope, 4);
    must_insert(&mut transaction, &model, scope, 4, "again");
    must_insert(&mut transaction, &model, scope, 50, "gone");
    delete(&mut transaction, &model, scope, 50);
    commit(transaction);
    assert_eq!(fixture.rows(&model, scope), "0=b0 1=changed 4=again 5=b5 6=b6 7=b7 8=b8 9=b9 22=moved");

    let mut followed = Vec::new();
    assert!(feed.next(100, &mut followed).unwrap());
    let fixture = fixture.reopen();
    let logged: Vec<_> = fixture.engine.commits_after(begin).unwrap().map(Result::unwrap).collect();
    let mut transaction = fixture.begin();
    let view = transaction.statement().unwrap();
    let present: BTreeMap<_, _> =
        scan(&transaction, &view, model.key_prefix(scope), Direction::Forward).into_iter().collect();
    for commits in [followed, logged] {
        let mut state = BTreeMap::new();
        commits.iter().for_each(|commit| apply(&mut state, commit));
        assert_eq!(state, present);
    }
}

#[test]
fn a_commit_survives_a_restart_and_a_rollback_does_not() {
    let fixture = Fixture::new();
    let model = fixture.table("t", TableKind::User);
    let alice = fixture.engine.scope_of("alice").unwrap();
    let bob = fixture.engine.scope_of("bob").unwrap();
    let mut transaction = fixture.begin();
    must_insert(&mut transaction, &model, alice, 1, "kept");
    let seq = commit(transaction);
    let mut transaction = fixture.begin();
    must_insert(&mut transaction, &model, alice, 2, "lost");
    transaction.rollback();
    let id = fixture.engine.snowflake();

    let fixture = fixture.reopen();
    assert_eq!(fixture.engine.scope_of("alice").unwrap(), alice);
    assert_eq!(fixture.engine.user_of(alice).as_deref(), Some("alice"));
    assert_eq!(fixture.engine.scope_of("carol").unwrap(), bob, "bob never wrote, so his number is free");
    assert_eq!(fixture.rows(&model, alice), "1=kept");
    assert!(fixture.engine.current() > seq, "positions that clients may remember are in the past");
    fixture.env.set_now(START - 1_000_000_000);
    assert!(fixture.engine.snowflake() > id);
    let table = fixture.engine.catalog().relation_by_name(Schema::PUBLIC, "t").unwrap().clone();
    assert_eq!(table.oid, model.relation().oid);
    let other = fixture.table("u", TableKind::User);
    assert!(other.relation().oid > table.oid && other.relation().storage > table.uniques[0].storage);
}

#[test]
fn statements_see_own_writes_of_earlier_commands_only() {
    let fixture = Fixture::new();
    let model = fixture.table("t", TableKind::Shared);
    let scope = ScopeId::SHARED;
    let mut transaction = fixture.begin();
    for id in [1, 3, 5, 7] {
        must_insert(&mut transaction, &model, scope, id, &id.to_string());
    }
    commit(transaction);

    let mut transaction = fixture.begin();
    let before = transaction.statement().unwrap();
    must_insert(&mut transaction, &model, scope, 4, "4");
    delete(&mut transaction, &model, scope, 7);
    let savepoint = transaction.savepoint();
    delete(&mut transaction, &model, scope, 1);
    must_insert(&mut transaction, &model, scope, 9, "9");
    let after = transaction.statement().unwrap();
    assert_eq!(rows_seen(&transaction, &before, &model, scope), "1=1 3=3 5=5 7=7");
    assert_eq!(rows_seen(&transaction, &after, &model, scope), "3=3 4=4 5=5 9=9");
    let backward = scan(&transaction, &after, model.key_prefix(scope), Direction::Backward);
    let mut forward = scan(&transaction, &after, model.key_prefix(scope), Direction::Forward);
    forward.reverse();
    assert_eq!(backward, forward);
    transaction.rollback_to(savepoint);
    let after = transaction.statement().unwrap();
    assert_eq!(rows_seen(&transaction, &after, &model, scope), "1=1 3=3 4=4 5=5");
    commit(transaction);
    assert_eq!(fixture.rows(&model, scope), "1=1 3=3 4=4 5=5");
}

#[test]
fn unique_keys_hold_within_a_scope_and_reveal_nothing_of_others() {
    let fixture = Fixture::new();
    let model = fixture.table("t", TableKind::User);
    let alice = fixture.engine.scope_of("alice").unwrap();
    let bob = fixture.engine.scope_of("bob").unwrap();
    let mut transaction = fixture.begin();
    must_insert(&mut transaction, &model, alice, 1, "x");
    must_insert(&mut transaction, &model, bob, 1, "x");
    let Written::Conflict(conflict) = insert(&mut transaction, &model, alice, 1, "y") else { panic!("same key") };
    let error = conflict.error(&model, "public", &values(1, "y"), &Zone::utc());
    assert_eq!(error.fields().message, "duplicate key value violates unique constraint \"t_pkey\"");
    assert_eq!(error.fields().detail.as_deref(), Some("Key (id)=(1) already exists."));
    let Written::Conflict(conflict) = insert(&mut transaction, &model, alice, 2, "x") else { panic!("same body") };
    assert_eq!(conflict.unique, Some(0));
    update(&mut transaction, &model, alice, 1, (1, "z"));
    must_insert(&mut transaction, &model, alice, 2, "x");
    delete(&mut transaction, &model, alice, 2);
    must_insert(&mut transaction, &model, alice, 3, "x");
    commit(transaction);
    assert_eq!(fixture.rows(&model, alice), "1=z 3=x");
    assert_eq!(fixture.rows(&model, bob), "1=x");
}

#[test]
fn an_inserter_of_the_same_key_waits_for_the_first() {
    let fixture = Fixture::new();
    let model = fixture.table("t", TableKind::Shared);
    let mut first = fixture.begin();
    let mut second = fixture.begin();
    must_insert(&mut first, &model, ScopeId::SHARED, 1, "a");
    let view = second.statement().unwrap();
    let Written::Wait(wait) = second.insert_row(&view, &model, ScopeId::SHARED, &values(1, "b")).unwrap() else {
        panic!("must wait")
    };
    assert!(!wait.is_done());
    commit(first);
    wait.block();
    let again = second.insert_row(&view, &model, ScopeId::SHARED, &values(1, "b")).unwrap();
    assert!(matches!(again, Written::Conflict(_)), "the view is old, but the newest row counts");
}

#[test]
fn repeatable_read_refuses_to_update_what_changed() {
    let fixture = Fixture::new();
    let model = fixture.table("t", TableKind::Shared);
    let mut transaction = fixture.begin();
    let key = must_insert(&mut transaction, &model, ScopeId::SHARED, 1, "a");
    commit(transaction);
    let options = TxnOptions { isolation: Isolation::RepeatableRead, ..TxnOptions::default() };
    let mut old = fixture.engine.begin(options).unwrap();
    let view = old.statement().unwrap();
    let mut transaction = fixture.begin();
    update(&mut transaction, &model, ScopeId::SHARED, 1, (1, "b"));
    commit(transaction);
    assert_eq!(rows_seen(&old, &view, &model, ScopeId::SHARED), "1=a");
    let view = old.statement().unwrap();
    assert_eq!(rows_seen(&old, &view, &model, ScopeId::SHARED), "1=a");
    let Err(error) = old.lock_row(&view, (Oid(1), &key), RowLock::Update, true, LockPolicy::Wait) else {
        panic!("must be refused")
    };
    assert_eq!(error.code(), SqlState::T_R_SERIALIZATION_FAILURE);
    assert_eq!(error.fields().message, "could not serialize access due to concurrent update");
}

#[test]
fn positions_strictly_increase_and_none_is_missed_under_concurrency() {
    let fixture = Fixture::new();
    let model = fixture.table("t", TableKind::User);
    let mut feed = fixture.engine.feed();
    let threads: Vec<_> = (0..8)
        .map(|thread: i64| {
            let (engine, model) = (fixture.engine.clone(), model.clone());
            std::thread::spawn(move || {
                let scope = engine.scope_of(&format!("user{}", thread % 3)).unwrap();
                let mut seqs = Vec::new();
                for n in 0..50 {
                    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
                    let view = transaction.statement().unwrap();
                    let id = thread * 1000 + n;
                    let written = transaction.insert_row(&view, &model, scope, &values(id, &id.to_string())).unwrap();
                    assert!(matches!(written, Written::Done(_)));
                    let seq = commit(transaction);
                    assert!(engine.current() >= seq, "acknowledged only once published");
                    seqs.push(seq);
                }
                assert!(seqs.is_sorted());
                seqs
            })
        })
        .collect();
    let mut acknowledged: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    acknowledged.sort();
    let mut commits = Vec::new();
    while feed.position() < *acknowledged.last().unwrap() {
        feed.wait().block();
        assert!(feed.next(64, &mut commits).unwrap());
    }
    let followed: Vec<_> = commits.iter().map(|commit| commit.seq).collect();
    assert!(followed.is_sorted_by(|a, b| a < b));
    assert_eq!(followed, acknowledged);
    assert!(commits.iter().all(|commit| commit.changes.len() == 1));
    let fixture = fixture.reopen();
    let rows: usize = ["user0", "user1", "user2"]
        .iter()
        .map(|user| fixture.rows(&model, fixture.engine.scope_of(user).unwrap()).split(' ').count())
        .sum();
    assert_eq!(rows, 400);
}

#[test]
fn stream_rows_vanish_without_a_change() {
    let fixture = Fixture::new();
    let model = fixture.table("s", TableKind::Stream { ttl_micros: 1_000_000 });
    let scope = fixture.engine.scope_of("alice").unwrap();
    let mut transaction = fixture.begin();
    fixture.env.advance(500_000);
    let key = must_insert(&mut transaction, &model, scope, 1, "x");
    fixture.env.advance(700_000);
    commit(transaction);
    let mut feed = fixture.engine.feed();

    fixture.env.advance(999_999);
    assert_eq!(fixture.engine.sweep_expired().unwrap(), 0, "its time runs from its commit");
    assert_eq!(fixture.rows(&model, scope), "1=x");
    fixture.env.advance(1);
    let mut transaction = fixture.begin();
    must_insert(&mut transaction, &model, scope, 1, "x");
    assert_eq!(fixture.engine.sweep_expired().unwrap(), 0, "whoever replaces it goes first");
    drop(transaction);
    assert_eq!(fixture.engine.sweep_expired().unwrap(), 1);
    assert_eq!(fixture.rows(&model, scope), "");
    let mut commits = Vec::new();
    assert!(feed.next(10, &mut commits).unwrap());
    assert!(commits.iter().all(|commit| commit.changes.is_empty()), "expiry emits no change");

    let mut transaction = fixture.begin();
    let view = transaction.statement().unwrap();
    assert_eq!(transaction.get(&view, &key).unwrap(), None);
    must_insert(&mut transaction, &model, scope, 2, "x");
    commit(transaction);
    assert!(fixture.engine.recent_commits_after(commits[0].seq).unwrap()[0].changes.len() == 1);
    drop(view);
    let fixture = fixture.reopen();
    assert_eq!(fixture.rows(&model, scope), "", "STREAM rows are gone after a restart");
}

/// A topic message with the offset in its only column.
struct Messages {
    topic: Oid,
    storage: StorageId,
    layout: RowLayout,
}

impl Derive for Messages {
    fn derive(&self, change: &Change, time: UnixMicros, out: &mut Vec<TopicAppend>) -> Result<()> {
        let row = row::encode(&self.layout, 0, None, &[Value::Int(0), Value::Timestamp(time)])?;
        let offset_at = row::fixed_i64_place(&row, &self.layout, 0) as u32;
        let (topic, storage) = (self.topic, self.storage);
        let partition = change.scope.0 as u32 % 2;
        out.push(TopicAppend { command: 0, topic, storage, partition, row: Bytes::from(row), offset_at });
        Ok(())
    }
}

#[test]
fn topic_messages_are_derived_from_net_changes_with_dense_offsets() {
    let fixture = Fixture::new();
    let model = fixture.table("t", TableKind::User);
    let storage = fixture.begin().alloc_storage();
    let layout = RowLayout::new(&[SqlType::INT8, SqlType::TIMESTAMPTZ]);
    let derive: Arc<dyn Derive> = Arc::new(Messages { topic: Oid(99), storage, layout: layout.clone() });
    let begin = fixture.engine.current();
    let write = |fixture: &Fixture, user: &str, ids: &[i64]| {
        let scope = fixture.engine.scope_of(user).unwrap();
        let mut transaction = fixture.begin();
        transaction.derive_with(model.relation().oid, vec![derive.clone()]);
        for id in ids {
            must_insert(&mut transaction, &model, scope, *id, &id.to_string());
        }
        if ids.len() > 2 {
            delete(&mut transaction, &model, scope, ids[0]);
        }
        commit(transaction)
    };
    write(&fixture, "alice", &[1]);
    write(&fixture, "bob", &[1, 2]);
    let mut rolled_back = fixture.begin();
    rolled_back.derive_with(model.relation().oid, vec![derive.clone()]);
    must_insert(&mut rolled_back, &model, fixture.engine.scope_of("alice").unwrap(), 7, "7");
    drop(rolled_back);
    write(&fixture, "alice", &[3, 4, 5]);
    let arrivals = |commits: Vec<Arc<Commit>>| -> Vec<String> {
        let arrivals = commits.iter().flat_map(|commit| &commit.arrivals);
        arrivals.map(|a| format!("{}:{}+{}", a.partition, a.first, a.count)).collect()
    };
    let expect = ["1:0+1", "0:0+2", "1:1+2"];
    assert_eq!(arrivals(fixture.engine.recent_commits_after(begin).unwrap()), expect);

    let fixture = fixture.reopen();
    let logged = fixture.engine.commits_after(begin).unwrap().map(Result::unwrap).collect();
    assert_eq!(arrivals(logged), expect);
    write(&fixture, "alice", &[6]);
    let mut transaction = fixture.begin();
    let view = transaction.statement().unwrap();
    let mut partition = prefix(Space::Topic, storage, ScopeId::SHARED);
    partition.extend(1u32.to_be_bytes());
    let messages = scan(&transaction, &view, partition, Direction::Forward);
    let offsets: Vec<_> = messages
        .iter()
        .map(|(key, row)| {
            let view = RowView::new(row.clone(), &layout).unwrap();
            assert!(view.seq() > begin);
            (u64::from_be_bytes(*key.last_chunk().unwrap()), view.column(0).unwrap().unwrap())
        })
        .collect();
    assert_eq!(offsets, (0..4).map(|n| (n, Value::Int(n as i64))).collect::<Vec<_>>());
}

/// Everything that was dropped, as the maintenance threads do it.
fn free_all(engine: &Arc<Engine>) {
    while engine.free_dropped().unwrap() || engine.fold().unwrap() {}
}

fn drop_table(fixture: &Fixture, model: &Model) {
    let mut transaction = fixture.begin();
    let relation = model.relation();
    let key = CatalogEntry::Relation(relation.clone()).key();
    transaction.lock(LockKey::Entry(key), LockMode::AccessExclusive, LockPolicy::Wait).unwrap();
    transaction.change_catalog(vec![(key, None)]).unwrap();
    transaction.drop_storage(model.space(), relation.storage).unwrap();
    transaction.drop_storage(Space::Index, relation.uniques[0].storage).unwrap();
    commit(transaction);
}

/// Rows, index entries and marks that are left of a table.
fn remains(fixture: &Fixture, model: &Model, scope: ScopeId) -> usize {
    let mut transaction = fixture.begin();
    let view = transaction.statement().unwrap();
    let relation = model.relation();
    let marks = [relation.storage, relation.uniques[0].storage]
        .map(|storage| [&[Space::Meta as u8][..], &storage.0.to_be_bytes()].concat());
    let prefixes = marks.into_iter().chain([model.key_prefix(scope), model.indexes()[0].key_prefix(scope)]);
    prefixes.map(|prefix| scan(&transaction, &view, prefix, Direction::Forward).len()).sum()
}

#[test]
fn the_storage_of_a_dropped_table_is_freed() {
    let fixture = Fixture::new();
    for kind in [TableKind::Shared, TableKind::Stream { ttl_micros: 1 << 40 }] {
        let model = fixture.table("t", kind);
        let scope = model.scope(fixture.engine.scope_of("alice").unwrap());
        let mut transaction = fixture.begin();
        for id in 0..1500 {
            must_insert(&mut transaction, &model, scope, id, &id.to_string());
        }
        commit(transaction);
        assert_eq!(remains(&fixture, &model, scope), 3000);
        drop_table(&fixture, &model);
        free_all(&fixture.engine);
        assert_eq!(remains(&fixture, &model, scope), 0);
    }
}

#[test]
fn a_large_dropped_table_is_freed_without_the_log_and_whoever_reads_it_goes_on() {
    const ROWS: i64 = 20_000;
    let fixture = Fixture::new();
    let (model, other) = (fixture.table("t", TableKind::Shared), fixture.table("other", TableKind::Shared));
    let scope = ScopeId::SHARED;
    let mut transaction = fixture.begin();
    for id in 0..ROWS {
        must_insert(&mut transaction, &model, scope, id, &id.to_string());
    }
    must_insert(&mut transaction, &other, scope, 1, "stays");
    commit(transaction);
    let old = fixture.engine.snapshot().unwrap();
    let count = || {
        let prefix = model.key_prefix(scope);
        let to = prefix_successor(&prefix).unwrap();
        let mut cursor = old.cursor(Bound::Included(prefix), Bound::Excluded(to), Direction::Forward);
        let mut rows = Vec::new();
        while cursor.next_batch(&old, &mut rows, 256).unwrap() {}
        rows.len() as i64
    };
    drop_table(&fixture, &model);
    let dropped = fixture.engine.current();
    free_all(&fixture.engine);
    assert_eq!(count(), ROWS);
    assert_eq!(remains(&fixture, &model, scope), 0);
    assert_eq!(fixture.rows(&other, scope), "1=stays");
    // each mark says what it waits for, and goes
    assert_eq!(fixture.engine.current().0 - dropped.0, 4);
}

#[test]
fn a_crash_while_a_large_table_is_freed_leaves_nothing_for_ever() {
    let mut fixture = Fixture::new();
    let model = fixture.table("t", TableKind::Shared);
    let scope = ScopeId::SHARED;
    let mut transaction = fixture.begin();
    for id in 0..10_000 {
        must_insert(&mut transaction, &model, scope, id, &id.to_string());
    }
    commit(transaction);
    drop_table(&fixture, &model);
    let mut crashes = 0;
    while remains(&fixture, &model, scope) > 0 {
        let _ = fixture.engine.free_dropped().unwrap() || fixture.engine.fold().unwrap();
        fixture = fixture.crash();
        crashes += 1;
    }
    assert!(crashes > 4, "{crashes}");
}

#[test]
fn a_store_without_its_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let env = Arc::new(ManualEnv::new(START, 1));
    let small = EngineOptions { generation_bytes: 64 << 10, ..options(&dir) };
    let (engine, _) = Engine::open(small, env.clone()).unwrap();
    let fixture = Fixture { engine, env, dir };
    let model = fixture.table("t", TableKind::Shared);
    let scope = model.scope(fixture.engine.scope_of("alice").unwrap());
    for id in 0..200 {
        let mut transaction = fixture.begin();
        must_insert(&mut transaction, &model, scope, id, &format!("{id:01000}"));
        commit(transaction);
    }
    while fixture.engine.fold().unwrap() {}
    let Fixture { engine, env, dir } = fixture;
    engine.shutdown().unwrap();
    drop((engine, model));
    let log = dir.path().join("data/log");
    std::fs::remove_dir_all(&log).unwrap();
    let Err(error) = Engine::open(options(&dir), env) else { panic!("must be refused") };
    assert_eq!(error.code(), SqlState::DATA_CORRUPTED);
}

#[test]
fn a_commit_that_fills_all_of_recent_memory_is_folded_and_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let env = Arc::new(ManualEnv::new(START, 1));
    let small = EngineOptions { generation_bytes: 64 << 10, recent_bytes_max: 256 << 10, ..options(&dir) };
    let (engine, _) = Engine::open(small, env.clone()).unwrap();
    let fixture = Fixture { engine, env, dir };
    let mut transaction = fixture.begin();
    put_large(&mut transaction, 1, 600_000);
    commit(transaction);
    assert!(fixture.engine.fold().unwrap(), "a full generation is frozen before somebody waits for its room");
    let mut transaction = fixture.begin();
    put_large(&mut transaction, 2, 10);
    commit(transaction);
}

/// A plain entry of about so many bytes.
fn put_large(transaction: &mut Transaction, key: u8, bytes: usize) {
    let key = [prefix(Space::Row, StorageId(1 << 30), ScopeId::SHARED), vec![key]].concat();
    transaction.put_plain(Bytes::from(key), Some(Bytes::from(vec![b'x'; bytes]))).unwrap();
}

#[test]
fn a_stream_row_that_takes_an_expired_one_s_place_takes_its_unique_entries_too() {
    let fixture = Fixture::new();
    let model = fixture.table("s", TableKind::Stream { ttl_micros: 1_000_000 });
    let scope = fixture.engine.scope_of("alice").unwrap();
    let mut transaction = fixture.begin();
    must_insert(&mut transaction, &model, scope, 1, "x");
    commit(transaction);
    fixture.env.advance(1_000_000);
    let mut transaction = fixture.begin();
    must_insert(&mut transaction, &model, scope, 1, "y");
    commit(transaction);
    assert_eq!(fixture.engine.sweep_expired().unwrap(), 1);
    let mut transaction = fixture.begin();
    must_insert(&mut transaction, &model, scope, 2, "x");
    assert!(matches!(insert(&mut transaction, &model, scope, 3, "y"), Written::Conflict(_)));
    commit(transaction);
    assert_eq!(fixture.rows(&model, scope), "1=y 2=x");
}

#[test]
fn an_inserter_waits_for_whoever_is_about_to_free_its_unique_value() {
    let fixture = Fixture::new();
    let model = fixture.table("t", TableKind::Shared);
    let mut transaction = fixture.begin();
    must_insert(&mut transaction, &model, ScopeId::SHARED, 1, "x");
    must_insert(&mut transaction, &model, ScopeId::SHARED, 2, "y");
    commit(transaction);
    type Free = fn(&mut Transaction, &Model);
    let deleted: Free = |transaction, model| delete(transaction, model, ScopeId::SHARED, 1);
    let changed: Free = |transaction, model| update(transaction, model, ScopeId::SHARED, 2, (2, "z"));
    for (free, body, commits) in [(deleted, "x", false), (deleted, "x", true), (changed, "y", true)] {
        let mut first = fixture.begin();
        free(&mut first, &model);
        let mut second = fixture.begin();
        let view = second.statement().unwrap();
        let row = values(body.as_bytes()[0].into(), body);
        let Written::Wait(wait) = second.insert_row(&view, &model, ScopeId::SHARED, &row).unwrap() else {
            panic!("whether {body} is taken is not decided yet")
        };
        assert!(!wait.is_done());
        if commits {
            commit(first);
        } else {
            first.rollback();
        }
        wait.block();
        let again = second.insert_row(&view, &model, ScopeId::SHARED, &row).unwrap();
        assert_eq!(matches!(again, Written::Done(_)), commits, "{body}");
        assert_eq!(matches!(again, Written::Conflict(_)), !commits, "{body}");
        if commits {
            commit(second);
        }
    }
    assert_eq!(fixture.rows(&model, ScopeId::SHARED), "2=z 120=x 121=y");
}

#[test]
fn ids_that_a_failed_record_was_to_reserve_are_reserved_by_the_next() {
    let fixture = Fixture::new();
    let mut transaction = fixture.begin();
    put_large(&mut transaction, 1, 40 << 20);
    commit(transaction);
    fixture.env.advance(3_600_000_000);
    let id = fixture.engine.snowflake();
    let (log, away) = (fixture.dir.path().join("data/log"), fixture.dir.path().join("data/index/away"));
    std::fs::rename(&log, &away).unwrap();
    let mut transaction = fixture.begin();
    put_large(&mut transaction, 2, 40 << 20);
    assert!(transaction.start_commit().unwrap().block().is_err(), "a new segment cannot be made");
    std::fs::rename(&away, &log).unwrap();
    let mut transaction = fixture.begin();
    put_large(&mut transaction, 3, 10);
    commit(transaction);
    let fixture = fixture.reopen();
    fixture.env.set_now(START);
    assert!(fixture.engine.snowflake() > id);
}

#[test]
fn positions_of_commits_that_the_log_hears_nothing_of_are_reserved_before_they_are_given() {
    let fixture = Fixture::new();
    let key = Bytes::from(prefix(Space::Stream, StorageId(900), ScopeId::SHARED));
    let unlogged = |fixture: &Fixture| {
        let mut transaction = fixture.begin();
        let key = key.clone();
        transaction.put(Write { command: 0, key, value: None, volatile: true, change: None }).unwrap();
        commit(transaction)
    };
    // more of them than one record reserves
    let begin = fixture.engine.current().0;
    let mut last = unlogged(&fixture);
    while last.0 < begin + SEQ_RESERVE + 100 {
        last = unlogged(&fixture);
    }
    let fixture = fixture.crash();
    assert!(fixture.engine.current() >= last);
    let first = unlogged(&fixture);
    assert!(first > last, "position {last} is given again: {first}");
    let fixture = fixture.crash();
    let mut transaction = fixture.begin();
    put_large(&mut transaction, 1, 10);
    assert!(commit(transaction) > first);
}

#[test]
fn stream_tables_take_no_more_than_they_may_until_rows_expire() {
    let dir = tempfile::tempdir().unwrap();
    let env = Arc::new(ManualEnv::new(START, 1));
    let (engine, _) = Engine::open(EngineOptions { stream_bytes_max: 10_000, ..options(&dir) }, env.clone()).unwrap();
    let fixture = Fixture { engine, env, dir };
    let model = fixture.table("s", TableKind::Stream { ttl_micros: 1_000_000 });
    let scope = fixture.engine.scope_of("alice").unwrap();
    let fill = |fixture: &Fixture| {
        (0..1_000).find_map(|id| {
            let mut transaction = fixture.begin();
            let view = transaction.statement().unwrap();
            let full = transaction.insert_row(&view, &model, scope, &values(id, &format!("{id:0100}"))).err();
            transaction.start_commit().unwrap().block().unwrap();
            full.map(|error| (id, error.code()))
        })
    };
    let (rows, code) = fill(&fixture).expect("it must be full some time");
    assert_eq!(code, SqlState::OUT_OF_MEMORY);
    assert!(rows > 10);
    // they may always be removed
    let mut transaction = fixture.begin();
    delete(&mut transaction, &model, scope, 1);
    commit(transaction);
    fixture.env.advance(1_000_000);
    fixture.engine.sweep_expired().unwrap();
    fixture.engine.prune_volatile();
    assert_eq!(fill(&fixture).expect("full again").0, rows);
}

/// One random change of a small table, waiting for others as a session does. False where it was rolled back.
fn change_something(engine: &Arc<Engine>, model: &Model, random: &mut u64) -> bool {
    let mut next = |below: u64| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 33) % below
    };
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    for _ in 0..1 + next(3) {
        let (what, id, body) = (next(3), next(6) as i64, format!("b{}", next(6)));
        let to = if next(2) == 0 { id } else { next(6) as i64 };
        let view = transaction.statement().unwrap();
        let key = model.row_key(ScopeId::SHARED, &values(id, ""), 0).unwrap();
        let mut locked = None;
        while what > 0 && locked.is_none() {
            match transaction.lock_row(&view, (model.relation().oid, &key), RowLock::Update, true, LockPolicy::Wait) {
                Ok(LockedRow::Granted(row)) => locked = Some(row),
                Ok(LockedRow::Wait(wait)) => wait.block(),
                Ok(LockedRow::NotAvailable) => panic!("it was to be waited for"),
                Err(_) => return false,
            }
        }
        loop {
            let written = match (what, locked.clone().flatten()) {
                (0, _) => transaction.insert_row(&view, model, ScopeId::SHARED, &values(id, &body)),
                (_, None) => break,
                (1, Some(old)) => {
                    transaction.update_row(&view, model, ScopeId::SHARED, (&key, &old), &values(to, &body))
                }
                (_, Some(old)) => {
                    transaction.delete_row(&view, model, ScopeId::SHARED, &key, &old).unwrap();
                    break;
                }
            };
            match written {
                Ok(Written::Wait(wait)) => wait.block(),
                Ok(Written::Done(_)) => break,
                Ok(Written::Conflict(_)) => return false,
                Err(error) => {
                    assert_eq!(error.code(), SqlState::T_R_DEADLOCK_DETECTED, "{error:?}");
                    return false;
                }
            }
        }
    }
    transaction.start_commit().unwrap().block().unwrap();
    true
}

#[test]
fn rows_and_unique_entries_agree_whoever_changes_them_at_once() {
    let fixture = Fixture::new();
    let model = fixture.table("t", TableKind::Shared);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (engine, model) = (fixture.engine.clone(), model.clone());
            std::thread::spawn(move || {
                let mut random = thread;
                (0..500).filter(|_| change_something(&engine, &model, &mut random)).count()
            })
        })
        .collect();
    let committed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(committed > 50, "{committed}");
    let mut transaction = fixture.begin();
    let view = transaction.statement().unwrap();
    let rows = scan(&transaction, &view, model.key_prefix(ScopeId::SHARED), Direction::Forward);
    let mut wanted: Vec<(Bytes, Bytes)> = rows
        .iter()
        .map(|(key, row)| {
            let values = model.decode(row).unwrap();
            (model.indexes()[0].unique_key(ScopeId::SHARED, &values).unwrap().unwrap(), key.clone())
        })
        .collect();
    wanted.sort();
    let entries = scan(&transaction, &view, model.indexes()[0].key_prefix(ScopeId::SHARED), Direction::Forward);
    assert_eq!(entries, wanted);
}

#[test]
fn a_restart_knows_how_far_back_the_log_reaches_in_time() {
    let world = Fixture::new();
    world.table("t", TableKind::Shared);
    assert_eq!(world.engine.log_times().unwrap(), [(START, CommitSeq::ZERO)]);
    // more than a segment of 64 MiB, an hour later
    let hour = 3_600_000_000;
    world.env.advance(hour);
    for name in *b"abcde" {
        let mut transaction = world.begin();
        let key = [prefix(Space::Group, StorageId(900), ScopeId::SHARED), vec![name]].concat();
        transaction.put_plain(Bytes::from(key), Some(Bytes::from(vec![name; 16 << 20]))).unwrap();
        commit(transaction);
    }
    let world = world.reopen();
    let times = world.engine.log_times().unwrap();
    assert!(times.len() > 1 && times.is_sorted(), "{times:?}");
    assert_eq!((times[0].0, times[times.len() - 1].0), (START, START + hour as i64));
}
