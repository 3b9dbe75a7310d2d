//! The durable side of consumer groups: where they are read from, the commit that makes one, and the step that folds
//! acknowledgements into positions.

use super::engine::Engine;
use super::lock::{LockKey, LockMode, LockPolicy, Locked};
use super::ticket::CommitTicket;
use super::transaction::TxnOptions;
use crate::catalog::Relation;
use crate::encoding::key::prefix_successor;
use crate::error::Result;
use crate::limits::{SCAN_BATCH, SWEEP_ROWS_MAX};
use crate::storage::Direction;
use crate::topic::{Group, Groups, Lookup, topic_prefix};
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

impl Engine {
    /// Consumer groups, and who waits for messages.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// A topic's group by name.
    pub fn find_group(&self, topic: &Relation, name: &str) -> Result<Lookup> {
        self.groups.find(topic, name, || self.group_entries(topic))
    }

    /// All groups of a topic.
    pub fn groups_of(&self, topic: &Relation) -> Result<Vec<Arc<Group>>> {
        self.groups.all(topic, || self.group_entries(topic))
    }

    fn group_entries(&self, topic: &Relation) -> Result<Vec<(Bytes, Bytes)>> {
        self.entries(topic_prefix(topic.storage), usize::MAX)
    }

    /// The published entries whose keys begin with a prefix: `max` at least, if there are so many.
    fn entries(&self, prefix: Vec<u8>, max: usize) -> Result<Vec<(Bytes, Bytes)>> {
        let snapshot = self.store.snapshot()?;
        let to = prefix_successor(&prefix).expect("a space's number is not ff");
        let mut cursor = snapshot.cursor(Bound::Included(prefix), Bound::Excluded(to), Direction::Forward);
        let mut entries = Vec::new();
        while entries.len() < max && cursor.next_batch(&snapshot, &mut entries, SCAN_BATCH)? {}
        Ok(entries)
    }

    /// Makes a group that starts at a position in each partition, by a commit of its own: so a group exists from its
    /// first use on, whatever becomes of the transaction that used it, as its claims do. Ask for the group again when
    /// the ticket has an outcome; none when another session makes it. The topic must be committed.
    pub fn make_group(
        self: &Arc<Engine>,
        topic: &Relation,
        name: &str,
        starts: Vec<u64>,
    ) -> Result<Option<CommitTicket>> {
        let mut transaction = self.begin(TxnOptions::default())?;
        let Some((group, hook)) = self.groups.begin_making(topic, name, starts) else { return Ok(None) };
        transaction.at_end(hook);
        for (key, value) in group.stored_positions() {
            transaction.put_plain(key, value)?;
        }
        transaction.start_commit().map(Some)
    }

    /// Folds acknowledgements into the positions of groups that have new ones, and joins neighbouring ones: a bounded
    /// piece of work for each. Beside resets this is the only writer of positions, and it holds the same lock.
    pub fn fold_groups(self: &Arc<Engine>) -> Result<()> {
        let mut result = Ok(());
        for (group, partition) in self.groups.take_dirty() {
            if let Err(error) = self.fold_group(&group, partition) {
                group.mark(partition);
                result = Err(error);
            }
        }
        result
    }

    fn fold_group(self: &Arc<Engine>, group: &Arc<Group>, partition: u32) -> Result<()> {
        let key = group.key(partition);
        let mut transaction = self.begin(TxnOptions::default())?;
        let locked = transaction.lock(LockKey::Key(key.clone()), LockMode::AccessExclusive, LockPolicy::NoWait)?;
        let Locked::Granted = locked else {
            // a reset is under way, which marks it again only if it commits
            group.mark(partition);
            return Ok(());
        };
        let entries = self.entries(key.to_vec(), SWEEP_ROWS_MAX)?;
        let writes = group.fold(partition, &entries)?;
        for (key, value) in writes {
            transaction.put_plain(key, value)?;
        }
        transaction.start_commit()?.block()?;
        if entries.len() >= SWEEP_ROWS_MAX {
            group.mark(partition);
        }
        Ok(())
    }
}
