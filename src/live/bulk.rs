//! What live queries are shown of a bulk commit: all that concerns them, or that it is too much.

use crate::change::{Change, Commit};
use crate::error::{Error, Result, SqlState};
use crate::limits::{BULK_BYTES_SHOWN_MAX, BULK_CHANGES_SHOWN_MAX};
use crate::types::{CommitSeq, Oid, ScopeId};

/// The changes of a bulk commit to a table's rows of one scope; none where there are too many to be shown.
pub(super) fn changes(commit: &Commit, table: Oid, scope: ScopeId) -> Result<Option<Vec<Change>>> {
    let (mut changes, mut bytes) = (Vec::new(), 0);
    for change in commit.bulk_changes(table, scope) {
        let change = change?;
        let rows = [&change.old, &change.new];
        bytes += change.key.len() + rows.into_iter().flatten().map(|row| row.len()).sum::<usize>();
        if changes.len() == BULK_CHANGES_SHOWN_MAX || bytes > BULK_BYTES_SHOWN_MAX {
            return Ok(None);
        }
        changes.push(change);
    }
    Ok(Some(changes))
}

/// Why a live query that resumes before such a commit ends.
pub(super) fn too_many(seq: CommitSeq) -> Error {
    Error::new(SqlState::SNAPSHOT_TOO_OLD, format!("commit {seq} has too many changes to be shown"))
        .hint("Read the rows again, and subscribe from the present position.")
}
