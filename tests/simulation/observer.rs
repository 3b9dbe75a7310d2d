//! Follows the commits as they are published, and reads them back from the log after a restart.

use crate::model::{Deed, Key, Model, Row, Table, Tx};
use crate::world::USERS;
use std::collections::BTreeMap;
use std::sync::Arc;
use tertulia::change::{Change, ChangeKind, Commit};
use tertulia::table::Model as TableModel;
use tertulia::txn::{Engine, FeedReader};
use tertulia::types::{CommitSeq, Oid, ScopeId, Value};

#[derive(Default)]
pub struct Observer {
    feed: Option<FeedReader>,
    /// Tables by their OID, dropped ones too.
    tables: BTreeMap<Oid, (Table, Arc<TableModel>)>,
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
        self.feed = Some(feed);
    }

    fn learn(&mut self, engine: &Arc<Engine>) {
        for relation in engine.catalog().relations() {
            if let Some(table) = Table::of_name(&relation.name)
                && !self.tables.contains_key(&relation.oid)
            {
                self.tables.insert(relation.oid, (table, TableModel::new(relation).expect("a model")));
            }
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
        }
        count
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
        self.check_log(engine);
        count
    }

    /// The log tells of each commit as it was published.
    pub fn check_log(&self, engine: &Arc<Engine>) {
        let times = engine.log_times().expect("the log can be read");
        let oldest = times.first().map_or(engine.current().0, |(_, seq)| seq.0);
        let mut wanted = self.seen.range(oldest + 1..);
        for commit in engine.logged_commits_after(CommitSeq(oldest)).expect("the log can be read") {
            let commit = commit.expect("the log can be read");
            let shown = self.show(&self.whole(engine, &commit));
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
        let shown = self.show(commit);
        if !shown.is_empty() {
            self.seen.insert(seq, shown);
        }
        let Some(id) = self.transaction(commit) else {
            assert!(commit.changes.is_empty(), "commit {seq} of nobody has changes: {:?}", commit.changes);
            return false;
        };
        let known = model.pending.remove(&id);
        let tx = known.unwrap_or_else(|| panic!("commit {seq} is of transaction {id}, which did not commit"));
        assert!(recovered || !tx.doubtful, "transaction {id} was refused and is published as {seq}");
        let before: BTreeMap<Key, Option<Row>> =
            tx.overlay().into_keys().map(|key| (key.clone(), model.row(&key).cloned())).collect();
        model.apply(seq, &tx, recovered);
        self.compare(commit, &tx, &before, recovered);
        self.tell(model, commit);
        true
    }

    /// Which transaction a commit is of: it notifies, and names itself in the ledger.
    fn transaction(&self, commit: &Commit) -> Option<i64> {
        let notified = commit.notifications.iter().find(|one| one.channel.as_str() == "tx");
        if let Some(notified) = notified {
            return notified.payload.as_str().parse().ok();
        }
        let ledger = |change: &&Change| matches!(self.tables.get(&change.relation), Some((Table::Ledger, _)));
        let row = commit.changes.iter().find(ledger)?.new.clone()?;
        let (_, table) = &self.tables[&commit.changes.iter().find(ledger)?.relation];
        match table.decode(&row).expect("a row").first() {
            Some(Value::Int(id)) => Some(*id),
            other => panic!("{other:?} is no id"),
        }
    }

    fn decode(&self, change: &Change, row: &bytes::Bytes) -> (i64, Row) {
        let (_, table) = &self.tables[&change.relation];
        let values = table.decode(row).expect("a row");
        let (Value::Int(id), Value::Int(n)) = (&values[0], &values[1]) else { panic!("{values:?}") };
        let body = match &values[2] {
            Value::Text(body) => Some(body.to_string()),
            _ => None,
        };
        (*id, Row { n: *n, body })
    }

    /// The commit's changes are the transaction's net effect.
    fn compare(&self, commit: &Commit, tx: &Tx, before: &BTreeMap<Key, Option<Row>>, recovered: bool) {
        let mut left: BTreeMap<Key, Option<Row>> = tx.overlay();
        left.retain(|key, _| !(recovered && key.0 == Table::Stream));
        let dropped = |key: &Key| matches!(key.0, Table::Extra(number) if tx.deeds.contains(&Deed::Drop(number)));
        for change in &commit.changes {
            let Some((table, _)) = self.tables.get(&change.relation) else { continue };
            let owner = |key: &Key| key.0 == *table;
            let old = change.old.as_ref().map(|row| self.decode(change, row));
            let new = change.new.as_ref().map(|row| self.decode(change, row));
            let (id, row) = new.clone().or(old.clone()).expect("a change has a row");
            let keys: Vec<Key> = left.keys().filter(|key| owner(key) && key.2 == id).cloned().collect();
            assert_eq!(keys.len(), 1, "commit {} changes {table:?} {id}: {tx:?}", commit.seq);
            let after = left.remove(&keys[0]).expect("it was just found");
            assert_eq!(after, new.as_ref().map(|_| row), "commit {} changes {:?}", commit.seq, keys[0]);
            if let Some((old_id, old)) = old
                && *table != Table::Stream
            {
                let key = (keys[0].0, keys[0].1.clone(), old_id);
                assert_eq!(before.get(&key).cloned().flatten(), Some(old), "the old row of {key:?}");
                if old_id != id {
                    let gone = left.remove(&key);
                    assert_eq!(gone, Some(None), "commit {} moves {key:?}", commit.seq);
                }
            }
        }
        // what is left was there before as it is now, or was never there
        for (key, row) in left {
            let same = before.get(&key).cloned().flatten() == row || key.0 == Table::Stream || dropped(&key);
            assert!(same, "commit {} of {tx:?} says nothing of {key:?}: {row:?}", commit.seq);
        }
    }

    /// What the topic must say of a commit.
    fn tell(&self, model: &mut Model, commit: &Commit) {
        if commit.bulk.is_some() {
            model.bulk.insert(commit.seq.0);
        }
        for change in &commit.changes {
            if !matches!(self.tables.get(&change.relation), Some((Table::Shared, _))) {
                continue;
            }
            let row = change.new.as_ref().or(change.old.as_ref()).expect("a change has a row");
            let op = match change.kind {
                ChangeKind::Insert => "insert",
                ChangeKind::Update => "update",
                ChangeKind::Delete => "delete",
            };
            let (id, _) = self.decode(change, row);
            model.messages.push((commit.seq.0, op.to_owned(), id));
        }
    }

    /// A commit's durable changes as text, without what a drop makes of them.
    fn show(&self, commit: &Commit) -> String {
        let mut shown = String::new();
        for change in &commit.changes {
            let Some((table, _)) = self.tables.get(&change.relation) else { continue };
            if *table == Table::Stream {
                continue;
            }
            let old = change.old.as_ref().map(|row| self.decode(change, row));
            let new = change.new.as_ref().map(|row| self.decode(change, row));
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
