//! The durable side of consumer groups: where they are read from, the commit that makes one, and the step that folds
//! acknowledgements into positions.

use super::engine::Engine;
use super::lock::{LockKey, LockMode, LockPolicy, Locked};
use super::recovery::for_each;
use super::ticket::CommitTicket;
use super::transaction::TxnOptions;
use crate::catalog::Relation;
use crate::error::Result;
use crate::topic::{Group, Groups, Lookup, groups_prefix};
use bytes::Bytes;
use std::sync::Arc;

/// Partitions of groups that are folded in one commit.
const FOLDED_TOGETHER: usize = 64;

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
        self.entries(groups_prefix(topic.storage))
    }

    /// The published entries whose keys begin with a prefix. Between two acknowledged ranges of a group there is always
    /// a message that is in flight, which bounds them.
    fn entries(&self, prefix: Vec<u8>) -> Result<Vec<(Bytes, Bytes)>> {
        let mut entries = Vec::new();
        for_each(&self.store.snapshot()?, prefix, |key, value| {
            entries.push((key, value));
            Ok(())
        })?;
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
    /// number of them a commit. Beside resets this is the only writer of positions, and it holds the same locks.
    pub fn fold_groups(self: &Arc<Engine>) -> Result<()> {
        let mut dirty = self.groups.take_dirty();
        while !dirty.is_empty() {
            let rest = dirty.split_off(dirty.len().min(FOLDED_TOGETHER));
            let folded = self.fold_some(&dirty);
            if folded.is_err() {
                dirty.iter().chain(&rest).for_each(|(group, partition)| group.mark(*partition));
                return folded;
            }
            dirty = rest;
        }
        Ok(())
    }

    fn fold_some(self: &Arc<Engine>, dirty: &[(Arc<Group>, u32)]) -> Result<()> {
        let mut transaction = self.begin(TxnOptions::default())?;
        let mut unfinished = Vec::new();
        for (group, partition) in dirty {
            let key = group.key(*partition);
            let lock = LockKey::Key(key.clone());
            let locked = transaction.lock(lock, LockMode::AccessExclusive, LockPolicy::NoWait)?;
            if !matches!(locked, Locked::Granted) {
                // a reset is under way
                unfinished.push((group, *partition));
                continue;
            }
            for (key, value) in group.fold(*partition, &self.entries(key.to_vec())?)? {
                transaction.put_plain(key, value)?;
            }
        }
        self.finish(&transaction.start_commit()?)?;
        for (group, partition) in unfinished {
            group.mark(partition);
        }
        Ok(())
    }
}
