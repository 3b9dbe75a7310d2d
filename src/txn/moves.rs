//! Rows that moved: where a row is now that a statement saw under another key.
//!
//! A row's key is its place. A statement of READ COMMITTED that finds the place empty must follow the row if another
//! transaction has changed its key meanwhile (PostgreSQL follows a chain of versions). The trace is in the commits after
//! the statement's snapshot, which know a moved row by both its versions; they are looked through only where some
//! commit since then moved a row at all. One beyond memory notes for each key that it emptied where the row went.

use super::transaction::{StatementView, Transaction};
use crate::change::{ChangeKind, Commit, Fate};
use crate::error::Result;
use crate::table::Model;
use bytes::Bytes;

impl Transaction {
    /// Where the row is now that the statement saw under a key where none is any more; none if it was deleted. Asked for
    /// the key that the statement saw: what was under the keys that the row came by is another row's story.
    pub fn moved_to(&self, view: &StatementView, model: &Model, seen: &Bytes) -> Result<Option<Bytes>> {
        let engine = self.engine();
        if model.has_row_id() || engine.last_move() <= view.seq() {
            return Ok(None);
        }
        let mut key = seen.clone();
        for commit in engine.commits_after(view.seq())? {
            let commit = commit?;
            match fate(&commit, model, &key)? {
                Fate::Stays => {}
                Fate::Moved(to) => key = to,
                Fate::Gone => return Ok(None),
            }
        }
        Ok((key != *seen).then_some(key))
    }
}

/// What a commit did to the row under a key. It moves a row once.
fn fate(commit: &Commit, model: &Model, key: &Bytes) -> Result<Fate> {
    if commit.bulk.is_some() {
        let mut fate = commit.bulk_fate(key)?;
        // from key to key, each of which the row left later than the one before
        while let Fate::Moved(to) = &fate {
            match commit.bulk_fate(to)? {
                Fate::Stays => break,
                further => fate = further,
            }
        }
        return Ok(fate);
    }
    for change in commit.changes.iter().filter(|change| change.relation == model.relation().oid) {
        match (change.kind, &change.old) {
            (ChangeKind::Delete, _) if change.key == *key => return Ok(Fate::Gone),
            (ChangeKind::Update, Some(old))
                if change.key != *key && model.row_key(change.scope, &model.decode(old)?, 0)? == *key =>
            {
                return Ok(Fate::Moved(change.key.clone()));
            }
            _ => {}
        }
    }
    Ok(Fate::Stays)
}
