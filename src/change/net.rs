//! Net effects: what a whole transaction did to each row, whatever the steps in between.
//!
//! Insert then update is an insert, insert then delete is nothing, delete then insert of one key is an update. A row
//! whose key changed is one update only if nothing holds the old key at the end and nothing held the new one before;
//! otherwise each key is judged for itself.

use super::{Change, ChangeKind, Moved, RowChange, Write, WriteSet};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};

/// The net change of every row that a write set touches, in the order of first writes. New rows are as written, still
/// without commit sequence.
pub fn net_changes(set: &WriteSet) -> Vec<Change> {
    let mut changes: Vec<Change> = set.net().filter_map(|(first, last)| key_change(first, last)).collect();
    if set.has_moves() {
        join_moves(set, &mut changes);
    }
    changes
}

/// What happened to one key.
fn key_change(first: &Write, last: &Write) -> Option<Change> {
    let change = first.change.as_ref()?;
    Some(Change {
        relation: change.relation,
        scope: change.scope,
        kind: ChangeKind::between(change.old.as_ref(), last.value.as_ref())?,
        key: first.key.clone(),
        old: change.old.clone(),
        new: last.value.clone(),
    })
}

/// Turns the delete of a row's first key and the insert of its last into one update.
fn join_moves(set: &WriteSet, changes: &mut Vec<Change>) {
    let origins = origins(set);
    let deleted: HashMap<Bytes, Bytes> = changes
        .iter()
        .filter(|change| change.kind == ChangeKind::Delete)
        .filter_map(|change| Some((change.key.clone(), change.old.clone()?)))
        .collect();
    let mut joined = HashSet::new();
    for change in changes.iter_mut().filter(|change| change.kind == ChangeKind::Insert) {
        let Some(origin) = origins.get(&change.key) else { continue };
        if let Some(old) = deleted.get(origin) {
            change.kind = ChangeKind::Update;
            change.old = Some(old.clone());
            joined.insert(origin.clone());
        }
    }
    changes.retain(|change| change.kind != ChangeKind::Delete || !joined.contains(&change.key));
}

/// For each key that a moved row ended at: the key it had when the transaction began, if it existed then.
fn origins(set: &WriteSet) -> HashMap<Bytes, Bytes> {
    // Where the row that is now under a key came from; none for a row that this transaction inserted. Keys that are
    // absent hold their row of before.
    let mut origin: HashMap<Bytes, Option<Bytes>> = HashMap::new();
    for write in set.writes() {
        let Some(change) = &write.change else { continue };
        match change {
            RowChange { moved: Moved::From(from), .. } => {
                let source = origin.insert(from.clone(), None).unwrap_or_else(|| Some(from.clone()));
                origin.insert(write.key.clone(), source);
            }
            // the write that says where it went follows, and takes the origin along
            RowChange { moved: Moved::To(_), .. } => {}
            RowChange { old: None, .. } => drop(origin.insert(write.key.clone(), None)),
            RowChange { .. } if write.value.is_none() => drop(origin.insert(write.key.clone(), None)),
            RowChange { .. } => {}
        }
    }
    origin.into_iter().filter_map(|(key, from)| Some((key, from?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Oid, ScopeId};

    struct Sketch(WriteSet);

    impl Sketch {
        fn write(&mut self, key: &'static str, value: Option<&'static str>, change: RowChange) {
            let write = Write {
                command: 1,
                key: Bytes::from(key),
                value: value.map(Bytes::from),
                volatile: false,
                change: Some(change),
            };
            self.0.push(write);
        }

        /// Writes a row of a table that is rewritten.
        fn rewrite(mut self, key: &'static str, value: &'static str) -> Sketch {
            let (key, value) = (Bytes::from(key), Some(Bytes::from(value)));
            self.0.push(Write { command: 1, key, value, volatile: false, change: None });
            self
        }

        fn change(old: Option<&'static str>, moved: Moved) -> RowChange {
            RowChange { relation: Oid(1), scope: ScopeId(1), old: old.map(Bytes::from), moved }
        }

        fn insert(mut self, key: &'static str, value: &'static str) -> Sketch {
            self.write(key, Some(value), Self::change(None, Moved::No));
            self
        }

        fn update(mut self, key: &'static str, old: &'static str, new: &'static str) -> Sketch {
            self.write(key, Some(new), Self::change(Some(old), Moved::No));
            self
        }

        fn delete(mut self, key: &'static str, old: &'static str) -> Sketch {
            self.write(key, None, Self::change(Some(old), Moved::No));
            self
        }

        fn rename(mut self, from: &'static str, to: &'static str, old: &'static str, new: &'static str) -> Sketch {
            self.write(from, None, Self::change(Some(old), Moved::To(to.into())));
            self.write(to, Some(new), Self::change(None, Moved::From(from.into())));
            self
        }

        fn check(self, expect: &str) {
            let text =
                |bytes: &Option<Bytes>| bytes.as_ref().map_or("-".into(), |b| String::from_utf8_lossy(b).into_owned());
            let got: Vec<String> = net_changes(&self.0)
                .iter()
                .map(|c| format!("{:?} {} {} {}", c.kind, String::from_utf8_lossy(&c.key), text(&c.old), text(&c.new)))
                .collect();
            assert_eq!(got.join("; "), expect);
        }
    }

    fn sketch() -> Sketch {
        Sketch(WriteSet::default())
    }

    #[test]
    fn steps_within_a_transaction_merge() {
        sketch().insert("a", "1").update("a", "1", "2").check("Insert a - 2");
        sketch().insert("a", "1").delete("a", "1").check("");
        sketch().delete("a", "1").insert("a", "2").check("Update a 1 2");
        sketch().update("a", "1", "2").delete("a", "2").check("Delete a 1 -");
        sketch().update("a", "1", "2").update("a", "2", "3").check("Update a 1 3");
    }

    #[test]
    fn what_happens_to_a_row_after_its_table_is_rewritten_is_told() {
        sketch().rewrite("a", "1").check("");
        sketch().rewrite("a", "1").update("a", "1", "2").check("Update a 1 2");
        sketch().rewrite("a", "1").update("a", "1", "2").update("a", "2", "3").check("Update a 1 3");
        sketch().rewrite("a", "1").delete("a", "1").check("Delete a 1 -");
        sketch().rewrite("a", "1").delete("a", "1").insert("a", "2").check("Update a 1 2");
        sketch().rewrite("a", "1").rename("a", "b", "1", "2").check("Update b 1 2");
    }

    #[test]
    fn a_moved_row_is_one_update() {
        sketch().rename("a", "b", "1", "2").check("Update b 1 2");
        sketch().rename("a", "b", "1", "2").rename("b", "c", "2", "3").check("Update c 1 3");
        sketch().rename("a", "b", "1", "2").rename("b", "a", "2", "3").check("Update a 1 3");
        sketch().insert("a", "1").rename("a", "b", "1", "2").check("Insert b - 2");
        sketch().rename("a", "b", "1", "2").delete("b", "2").check("Delete a 1 -");
    }

    #[test]
    fn a_moved_row_whose_old_key_is_held_at_the_end_is_judged_by_key() {
        sketch().rename("a", "b", "1", "2").insert("a", "9").check("Update a 1 9; Insert b - 2");
    }

    #[test]
    fn a_moved_row_whose_new_key_was_held_before_is_judged_by_key() {
        sketch().delete("b", "0").rename("a", "b", "1", "2").check("Update b 0 2; Delete a 1 -");
    }
}
