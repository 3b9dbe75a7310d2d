//! Follows the commits as they are published, and reads them back from the log after a restart.

use crate::check;
use crate::model::{Era, Key, Model, Outcome, Table, Tx};
use crate::world::USERS;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;
use tertulia::change::{Change, ChangeKind, Commit};
use tertulia::error::SqlState;
use tertulia::txn::{Engine, FeedReader};
use tertulia::types::{CommitSeq, Oid, ScopeId};

#[derive(Default)]
pub struct Observer {
    feed: Option<FeedReader>,
    /// One that reads little at a time and goes on after a restart from where it was.
    late: Option<FeedReader>,
    /// How far that has come.
    late_at: u64,
    /// Tables by their OID, dropped ones too.
    tables: BTreeMap<Oid, Table>,
    /// The durable changes of each commit that was observed, as text.
    seen: BTreeMap<u64, String>,
    /// Notifications by their commits.
    notified: Vec<(u64, String)>,
}

impl Observer {
    /// Begins to follow after a position; what is between there and now is applied.
    pub fn follow(&mut self, engine: &Arc<Engine>, model: &mut Model, after: u64) {
        self.learn(engine);
        let feed = engine.feed_after(CommitSeq(after.max(engine.current().0)));
        model.last = engine.current().0;
        self.late_at = model.last;
        self.late = Some(engine.feed_after(CommitSeq(self.late_at)));
        self.feed = Some(feed);
    }

    fn learn(&mut self, engine: &Arc<Engine>) {
        for relation in engine.catalog().relations() {
            self.tables.extend(Table::of_name(&relation.name).map(|table| (relation.oid, table)));
        }
    }

    /// Applies what was published. How many commits of clients that was.
    pub fn read(&mut self, engine: &Arc<Engine>, model: &mut Model) -> u64 {
        let mut commits = Vec::new();
        let feed = self.feed.as_mut().expect("it follows");
        let complete = feed.next(usize::MAX, &mut commits).expect("recent commits are in memory");
        assert!(complete, "the feed has forgotten commits");
        self.learn(engine);
        let mut count = 0;
        for commit in commits {
            count += u64::from(self.apply(engine, model, &commit, false));
            commit.catalog.iter().for_each(|catalog| check::catalog(model, catalog));
        }
        count
    }

    /// The late follower reads on: it hears of the commits that were published, in order, however late it comes.
    pub fn follow_late(&mut self, engine: &Arc<Engine>, model: &Model, count: usize) {
        let late = self.late.as_mut().expect("it follows");
        let mut commits = Vec::new();
        match late.next(count, &mut commits) {
            Ok(_) => {}
            Err(error) => {
                let gone = error.code() == SqlState::SNAPSHOT_TOO_OLD && self.late_at < model.released;
                assert!(gone, "commits after {} cannot be followed: {error:?}", self.late_at);
                self.late_at = model.last;
                self.late = Some(engine.feed_after(CommitSeq(self.late_at)));
                return;
            }
        }
        let reached = late.position().0;
        let mut wanted = self.seen.range((Excluded(self.late_at), Included(reached)));
        for commit in commits {
            let shown = self.show(model, &self.whole(engine, &commit));
            if !shown.is_empty() {
                let next = wanted.next().map(|(seq, shown)| (*seq, shown));
                assert_eq!(Some((commit.seq.0, &shown)), next, "a late follower hears of another commit");
            }
        }
        assert_eq!(wanted.next(), None, "a late follower has missed a commit");
        self.late_at = reached;
    }

    /// The late follower has come to the end.
    pub fn check_late(&self, model: &Model) {
        assert_eq!(self.late_at, model.last, "the late follower does not come to the end");
    }

    /// After a restart: everything that was published is there, and of the rest what the log has.
    pub fn recover(&mut self, engine: &Arc<Engine>, model: &mut Model) -> u64 {
        self.learn(engine);
        model.forget_streams();
        let mut count = 0;
        let current = engine.current().0;
        assert!(current >= model.last, "commit {} was published; after a restart {current} is the last", model.last);
        for commit in engine.commits_after(CommitSeq(model.last)).expect("the log has what is not folded") {
            let commit = commit.expect("the log can be read");
            count += u64::from(self.apply(engine, model, &commit, true));
        }
        model.pending.clear();
        model.committing.clear();
        model.last = current;
        self.feed = Some(engine.feed());
        self.late = Some(engine.feed_after(CommitSeq(self.late_at)));
        check::catalog(model, &engine.catalog());
        self.check_log(engine, model);
        count
    }

    /// The log tells of each commit as it was published.
    pub fn check_log(&self, engine: &Arc<Engine>, model: &Model) {
        let times = engine.log_times().expect("the log can be read");
        let oldest = times.first().map_or(engine.current().0, |(_, seq)| seq.0);
        let mut wanted = self.seen.range(oldest + 1..);
        for commit in engine.logged_commits_after(CommitSeq(oldest)).expect("the log can be read") {
            let commit = commit.expect("the log can be read");
            let shown = self.show(model, &self.whole(engine, &commit));
            if shown.is_empty() {
                continue;
            }
            let (seq, seen) = wanted.next().expect("the log has no commit that was not observed");
            assert_eq!((commit.seq.0, &shown), (*seq, seen), "the log tells of another commit");
        }
        assert_eq!(wanted.next(), None, "the log has lost a commit");
    }

    /// The commit with all its changes: those of a bulk commit are in a file.
    fn whole(&self, engine: &Arc<Engine>, commit: &Commit) -> Commit {
        let mut whole = commit.clone();
        if commit.bulk.is_none() {
            return whole;
        }
        for oid in self.tables.keys() {
            let users = USERS.iter().map(|user| engine.scope_of(user).expect("a user id"));
            for scope in users.chain([ScopeId::SHARED]) {
                let changes = commit.bulk_changes(*oid, scope);
                whole.changes.extend(changes.map(|change| change.expect("its file can be read")));
            }
        }
        whole
    }

    fn apply(&mut self, engine: &Arc<Engine>, model: &mut Model, commit: &Commit, recovered: bool) -> bool {
        let commit = &self.whole(engine, commit);
        let seq = commit.seq.0;
        assert!(seq > model.last, "commit {seq} comes after {}", model.last);
        model.last = seq;
        let notified = commit.notifications.iter().filter(|one| one.channel.as_str() == "tx");
        self.notified.extend(notified.map(|one| (seq, one.payload.to_string())));
        let Some(id) = self.transaction(model, commit) else {
            assert!(commit.changes.is_empty(), "commit {seq} of nobody has changes: {:?}", commit.changes);
            return false;
        };
        let known = model.pending.remove(&id);
        let tx = known.unwrap_or_else(|| panic!("commit {seq} is of transaction {id}, which did not commit"));
        assert!(recovered || !tx.doubtful, "transaction {id} was refused and is published as {seq}");
        let outcomes = model.apply(seq, &tx, recovered);
        self.compare(model, commit, &tx, &outcomes);
        let shown = self.show(model, commit);
        if !shown.is_empty() {
            self.seen.insert(seq, shown);
        }
        self.tell(model, commit);
        true
    }

    /// Which transaction a commit is of: it notifies, and names itself in the ledger.
    fn transaction(&self, model: &Model, commit: &Commit) -> Option<i64> {
        let notified = commit.notifications.iter().find(|one| one.channel.as_str() == "tx");
        if let Some(notified) = notified {
            return notified.payload.as_str().parse().ok();
        }
        let ledger = |change: &&Change| self.tables.get(&change.relation) == Some(&Table::Ledger);
        let row = commit.changes.iter().find(ledger)?.new.clone()?;
        Some(model.decode(Table::Ledger, &row).0)
    }

    /// The commit's changes are the transaction's net effect.
    fn compare(&self, model: &Model, commit: &Commit, tx: &Tx, outcomes: &BTreeMap<Table, Outcome>) {
        let eras = outcomes.iter().flat_map(|(table, outcome)| outcome.eras.iter().map(|era| (*table, era.clone())));
        // a bulk commit tells of each key
        let moves = |era: &Era| if commit.bulk.is_some() { BTreeMap::new() } else { era.moves() };
        let mut left: Vec<(Table, Era, BTreeMap<Key, Key>)> =
            eras.map(|(table, era)| (table, era.clone(), moves(&era))).collect();
        for change in &commit.changes {
            let Some(&table) = self.tables.get(&change.relation) else { continue };
            if !left.iter_mut().any(|(of, era, moves)| *of == table && take(era, moves, (table, model), change)) {
                let [old, new] = [&change.old, &change.new].map(|row| row.as_ref().map(|row| model.decode(table, row)));
                panic!("commit {} changes {old:?} of {table:?} to {new:?}, not as {tx:?}", commit.seq);
            }
        }
        // what is left was there before as it is now, or was never there
        for (table, era, _) in left {
            for (key, (before, after)) in era.written {
                let same = before == after || table == Table::Stream || outcomes[&table].is_nothing();
                assert!(same, "commit {} of {tx:?} says nothing of {key:?}: {before:?} to {after:?}", commit.seq);
            }
        }
    }

    /// What the topic must say of a commit.
    fn tell(&self, model: &mut Model, commit: &Commit) {
        if commit.bulk.is_some() {
            model.bulk.insert(commit.seq.0);
        }
        for change in &commit.changes {
            if self.tables.get(&change.relation) != Some(&Table::Shared) {
                continue;
            }
            let row = change.new.as_ref().or(change.old.as_ref()).expect("a change has a row");
            let op = match change.kind {
                ChangeKind::Insert => "insert",
                ChangeKind::Update => "update",
                ChangeKind::Delete => "delete",
            };
            let (id, _) = model.decode(Table::Shared, row);
            model.messages.push((commit.seq.0, op.to_owned(), id));
        }
    }

    /// A commit's durable changes as text, without what a drop makes of them.
    fn show(&self, model: &Model, commit: &Commit) -> String {
        let mut shown = String::new();
        for change in &commit.changes {
            let Some(&table) = self.tables.get(&change.relation) else { continue };
            if table == Table::Stream {
                continue;
            }
            let old = change.old.as_ref().map(|row| model.decode(table, row));
            let new = change.new.as_ref().map(|row| model.decode(table, row));
            shown.push_str(&format!("{table:?} {:?} {:?} {old:?} {new:?}\n", change.scope, change.kind));
        }
        shown
    }

    /// Who listened since some position between two has heard of each commit after it, in order.
    pub fn check_heard(&self, from: u64, to: u64, heard: &[String]) {
        let since = |seq: u64| -> Vec<&String> {
            self.notified.iter().filter(|(at, _)| *at > seq).map(|(_, payload)| payload).collect()
        };
        let fits = (from..=to).any(|seq| since(seq) == heard.iter().collect::<Vec<_>>());
        assert!(fits, "heard {heard:?}, not {:?} from {from}..{to}", since(from));
    }
}

/// Takes a change out of what is to be told. False where it is not the one that was to be told of that row, or tells of
/// half a move.
fn take(era: &mut Era, moves: &BTreeMap<Key, Key>, (table, model): (Table, &Model), change: &Change) -> bool {
    let decode = |row: &Option<Bytes>| match row {
        Some(row) => model.decode_as(table, row, era.version).map(Some),
        None => Some(None),
    };
    let (Some(old), Some(new)) = (decode(&change.old), decode(&change.new)) else { return false };
    let wanted = match (old, new) {
        (Some((from, old)), Some((to, new))) if from != to => vec![(to, None, Some(new)), (from, Some(old), None)],
        (old, new) => {
            let id = old.as_ref().or(new.as_ref()).expect("a change has a row").0;
            vec![(id, old.map(|(_, row)| row), new.map(|(_, row)| row))]
        }
    };
    let mut keys = Vec::new();
    for (id, old, new) in wanted {
        let Some(key) = era.written.keys().find(|key| key.2 == id).cloned() else { return false };
        let (before, after) = &era.written[&key];
        // a STREAM row may have expired meanwhile
        if *after != new || *before != old && table != Table::Stream {
            return false;
        }
        keys.push(key);
    }
    let is_whole = match keys.as_slice() {
        [to, from] => moves.get(to) == Some(from),
        [key] => moves.iter().all(|(to, from)| key != to && key != from),
        _ => false,
    };
    keys.iter().filter(|_| is_whole).for_each(|key| drop(era.written.remove(key)));
    is_whole
}
