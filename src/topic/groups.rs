//! All consumer groups of a server that have been used since its start.
//!
//! The groups of a topic are read from the store when the first of them is asked for; from then on what is here is
//! newer than what is stored. A group is made by a commit of its own, and until that is published nobody uses it.

use super::arrivals::Arrivals;
use super::claims::Claims;
use super::group::{Group, Shared};
use super::stored::{self, Stored};
use crate::catalog::Relation;
use crate::change::AtEnd;
use crate::error::{Error, Result, SqlState};
use crate::limits::GROUP_NAME_BYTES_MAX;
use crate::types::{CommitSeq, StorageId, Str};
use crate::wait::{self, Signal, Wait};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

enum Entry {
    There(Arc<Group>),
    /// Its commit is under way; these wait for that.
    Making(Vec<Signal>),
}

type Topics = HashMap<StorageId, BTreeMap<Str, Entry>>;

/// The answer to a question for a group.
pub enum Lookup {
    /// Here it is.
    Found(Arc<Group>),
    /// There is none of that name.
    Missing,
    /// It is being made; ask again after this wait.
    Wait(Wait),
}

/// The registry.
#[derive(Default)]
pub struct Groups {
    topics: Arc<Mutex<Topics>>,
    shared: Arc<Shared>,
}

impl Groups {
    /// Who waits for messages.
    pub fn arrivals(&self) -> &Arrivals {
        &self.shared.arrivals
    }

    /// A topic's group by name. `load` reads the entries of all its groups from the store, in order.
    pub fn find(
        &self,
        topic: &Relation,
        name: &str,
        load: impl FnOnce() -> Result<Vec<(Bytes, Bytes)>>,
    ) -> Result<Lookup> {
        check_name(name)?;
        self.ensure(topic, load)?;
        let mut topics = self.topics.lock();
        let entry = topics.get_mut(&topic.storage).and_then(|groups| groups.get_mut(name.as_bytes()));
        Ok(match entry {
            None => Lookup::Missing,
            Some(Entry::There(group)) => Lookup::Found(group.clone()),
            Some(Entry::Making(waiting)) => {
                let (signal, wait) = wait::pair(None);
                waiting.push(signal);
                Lookup::Wait(wait)
            }
        })
    }

    /// All groups of a topic, by name.
    pub fn all(&self, topic: &Relation, load: impl FnOnce() -> Result<Vec<(Bytes, Bytes)>>) -> Result<Vec<Arc<Group>>> {
        self.ensure(topic, load)?;
        let topics = self.topics.lock();
        let entries = topics.get(&topic.storage).into_iter().flat_map(BTreeMap::values);
        let there = entries.filter_map(|entry| match entry {
            Entry::There(group) => Some(group.clone()),
            Entry::Making(_) => None,
        });
        Ok(there.collect())
    }

    /// Reads a topic's groups unless they are here.
    fn ensure(&self, topic: &Relation, load: impl FnOnce() -> Result<Vec<(Bytes, Bytes)>>) -> Result<()> {
        if self.topics.lock().contains_key(&topic.storage) {
            return Ok(());
        }
        let groups = self.loaded(topic, load()?)?;
        // whoever was quicker may have made or changed groups since
        self.topics.lock().entry(topic.storage).or_insert(groups);
        Ok(())
    }

    fn loaded(&self, topic: &Relation, entries: Vec<(Bytes, Bytes)>) -> Result<BTreeMap<Str, Entry>> {
        let partitions = topic.topic().map_or(1, |settings| settings.partitions) as usize;
        let mut read: BTreeMap<String, Vec<(u32, Claims)>> = BTreeMap::new();
        let mut entries = entries.into_iter().peekable();
        while let Some((key, value)) = entries.next() {
            let (name, partition, Stored::Position { generation, position }) = stored::decode(&key, &value)? else {
                return Err(Error::new(
                    SqlState::DATA_CORRUPTED,
                    "a consumer group has acknowledgements but no position",
                ));
            };
            let mut acked = Vec::new();
            while let Some((key, value)) = entries.next_if(|(next, _)| next.starts_with(&key)) {
                match stored::decode(&key, &value)?.2 {
                    Stored::Acked { generation: of, start, end } if of == generation => acked.push((start, end)),
                    _ => {}
                }
            }
            let group = read.entry(name).or_insert_with(|| vec![(0, Claims::new(0, [])); partitions]);
            let slot = group.get_mut(partition as usize);
            *slot.ok_or_else(|| Error::new(SqlState::DATA_CORRUPTED, "a consumer group has too many partitions"))? =
                (generation, Claims::new(position, acked));
        }
        Ok(read
            .into_iter()
            .map(|(name, partitions)| {
                let name = Str::from(name.as_str());
                let group = Group::new(topic.oid, topic.storage, name.clone(), partitions, self.shared.clone());
                (name, Entry::There(Arc::new(group)))
            })
            .collect())
    }

    /// Begins to make a group that starts at a position in each partition. It is there once the transaction that
    /// writes [`Group::stored_positions`] and ends with the hook is committed. None when somebody else makes it.
    pub fn begin_making(&self, topic: &Relation, name: &str, starts: Vec<u64>) -> Option<(Arc<Group>, Box<dyn AtEnd>)> {
        let name = Str::from(name);
        let partitions = starts.into_iter().map(|start| (0, Claims::new(start, []))).collect();
        let group = Arc::new(Group::new(topic.oid, topic.storage, name.clone(), partitions, self.shared.clone()));
        let mut topics = self.topics.lock();
        let groups = topics.entry(topic.storage).or_default();
        if groups.contains_key(&name) {
            return None;
        }
        groups.insert(name, Entry::Making(Vec::new()));
        let making = Making { topics: self.topics.clone(), group: group.clone() };
        Some((group, Box::new(making)))
    }

    /// The partitions of groups whose entries are to be folded. The caller folds each or marks it again.
    pub fn take_dirty(&self) -> Vec<(Arc<Group>, u32)> {
        let dirty = std::mem::take(&mut *self.shared.dirty.lock());
        let there = dirty.into_iter().filter_map(|(group, partition)| Some((group.upgrade()?, partition)));
        there.inspect(|(group, partition)| group.unmark(*partition)).collect()
    }

    /// Lets go of the groups of topics that are no more. Waits for their messages end.
    pub fn keep<'c>(&self, relations: impl Iterator<Item = &'c Arc<Relation>>) {
        if self.topics.lock().is_empty() && self.shared.arrivals.is_empty() {
            return;
        }
        let there: HashMap<_, _> = relations.map(|relation| (relation.oid, relation.storage)).collect();
        self.shared.arrivals.keep(|topic| there.contains_key(&topic));
        let storages: std::collections::HashSet<_> = there.into_values().collect();
        self.topics.lock().retain(|storage, _| storages.contains(storage));
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "the name of a consumer group must not be empty"));
    }
    if name.len() > GROUP_NAME_BYTES_MAX {
        let message = format!("the name of a consumer group is longer than {GROUP_NAME_BYTES_MAX} bytes");
        return Err(Error::new(SqlState::NAME_TOO_LONG, message));
    }
    Ok(())
}

/// A group under way.
struct Making {
    topics: Arc<Mutex<Topics>>,
    group: Arc<Group>,
}

impl AtEnd for Making {
    fn end(self: Box<Self>, committed: Option<CommitSeq>) {
        let mut topics = self.topics.lock();
        let Some(groups) = topics.get_mut(&self.group.storage()) else { return };
        // what was there held the signals of those who wait
        match committed {
            Some(_) => drop(groups.insert(self.group.name().clone(), Entry::There(self.group.clone()))),
            None => drop(groups.remove(self.group.name())),
        }
    }
}
