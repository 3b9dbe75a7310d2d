//! The live channels that are where the reader is, found by what concerns them.

use super::finder::Finder;
use super::hub::Member;
use super::probe::probes;
use super::shape::{Fingerprint, Shape};
use super::subscription::Subject;
use crate::change::Change;
use crate::table::Model;
use crate::types::{Oid, ScopeId};
use std::collections::HashMap;
use std::sync::Arc;

/// Live channels in the order of their numbers.
pub(super) type Members = Vec<Arc<Member>>;

/// Live channels of one shape: what concerns one concerns all, in the same words.
struct Audience {
    shape: Arc<Shape>,
    members: Members,
    /// The probe that finds it.
    by: Option<usize>,
}

/// Live queries over one table and scope, in one form of its rows.
struct Watch {
    model: Arc<Model>,
    audiences: HashMap<u64, Audience>,
    by_fingerprint: HashMap<Fingerprint, u64>,
    finder: Finder,
    next: u64,
}

/// All of them.
#[derive(Default)]
pub(super) struct Audiences {
    /// Mostly one each: a second one while live queries from before and after an ALTER TABLE stand beside each other.
    tables: HashMap<(Oid, ScopeId), Vec<Watch>>,
    topics: HashMap<Oid, Members>,
}

impl Watch {
    fn new(model: Arc<Model>) -> Watch {
        Watch { model, audiences: HashMap::new(), by_fingerprint: HashMap::new(), finder: Finder::default(), next: 0 }
    }

    fn add(&mut self, shape: &Arc<Shape>, member: Arc<Member>) {
        let id = *self.by_fingerprint.entry(shape.fingerprint()).or_insert_with(|| {
            let id = self.next;
            self.next += 1;
            let by = self.finder.add(id, probes(&self.model, shape.filter()));
            self.audiences.insert(id, Audience { shape: shape.clone(), members: Members::new(), by });
            id
        });
        if let Some(audience) = self.audiences.get_mut(&id) {
            insert(&mut audience.members, member);
        }
    }

    fn remove(&mut self, shape: &Shape, member: u64) {
        let Some(&id) = self.by_fingerprint.get(&shape.fingerprint()) else { return };
        if let Some(audience) = self.audiences.get_mut(&id) {
            remove(&mut audience.members, member);
            self.drop_if_empty(id);
        }
    }

    fn drop_if_empty(&mut self, id: u64) {
        if let Some(audience) = self.audiences.get(&id)
            && audience.members.is_empty()
        {
            self.finder.remove(id, &probes(&self.model, audience.shape.filter()), audience.by);
            self.by_fingerprint.remove(&audience.shape.fingerprint());
            self.audiences.remove(&id);
        }
    }

    fn each_concerned(&mut self, changes: &[&Change], tell: &mut impl FnMut(&Shape, &[&Change], &mut Members)) {
        let Ok(found) = self.finder.find(&self.model, changes) else {
            // a row that cannot be read: everybody is to learn of it
            return self.each(&mut |shape, members| tell(shape, changes, members));
        };
        let mut concerning: Vec<&Change> = Vec::new();
        for of_one in found.chunk_by(|(one, _), (other, _)| one == other) {
            let id = of_one[0].0;
            if let Some(audience) = self.audiences.get_mut(&id) {
                concerning.clear();
                concerning.extend(of_one.iter().map(|&(_, at)| changes[at]));
                tell(&audience.shape, &concerning, &mut audience.members);
                self.drop_if_empty(id);
            }
        }
    }

    fn each(&mut self, tell: &mut impl FnMut(&Shape, &mut Members)) {
        let mut ids: Vec<u64> = self.audiences.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(audience) = self.audiences.get_mut(&id) {
                tell(&audience.shape, &mut audience.members);
                self.drop_if_empty(id);
            }
        }
    }
}

impl Audiences {
    /// Adds a live channel.
    pub(super) fn add(&mut self, member: Arc<Member>) {
        let relation = member.subscription.relation().oid;
        match &member.subscription.subject {
            Subject::Rows(shape) => {
                let shape = shape.clone();
                let watches = self.tables.entry((relation, member.subscription.scope)).or_default();
                let at = watches.iter().position(|watch| watch.reads_as(&shape)).unwrap_or_else(|| {
                    watches.push(Watch::new(shape.model().clone()));
                    watches.len() - 1
                });
                watches[at].add(&shape, member);
            }
            Subject::Topic { .. } => insert(self.topics.entry(relation).or_default(), member),
        }
    }

    /// Removes a live channel.
    pub(super) fn remove(&mut self, member: &Member) {
        let relation = member.subscription.relation().oid;
        match &member.subscription.subject {
            Subject::Rows(shape) => self.visit(relation, member.subscription.scope, |watch| {
                if watch.reads_as(shape) {
                    watch.remove(shape, member.id);
                }
            }),
            Subject::Topic { .. } => {
                if let Some(members) = self.topics.get_mut(&relation) {
                    remove(members, member.id);
                    if members.is_empty() {
                        self.topics.remove(&relation);
                    }
                }
            }
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.topics.is_empty()
    }

    /// Whether a change of a relation in a scope may concern any.
    pub(super) fn has(&self, relation: Oid, scope: ScopeId) -> bool {
        self.tables.contains_key(&(relation, scope))
    }

    /// The relations and scopes that concern any.
    pub(super) fn tables(&self) -> Vec<(Oid, ScopeId)> {
        self.tables.keys().copied().collect()
    }

    /// Calls `tell` for each shape over a relation and scope that some of the changes may concern, with those; members
    /// that it removes are gone.
    pub(super) fn each_concerned(
        &mut self,
        relation: Oid,
        scope: ScopeId,
        changes: &[&Change],
        mut tell: impl FnMut(&Shape, &[&Change], &mut Members),
    ) {
        self.visit(relation, scope, |watch| watch.each_concerned(changes, &mut tell));
    }

    /// Calls `tell` for each shape over a relation and scope; members that it removes are gone.
    pub(super) fn each_shape(&mut self, relation: Oid, scope: ScopeId, mut tell: impl FnMut(&Shape, &mut Members)) {
        self.visit(relation, scope, |watch| watch.each(&mut tell));
    }

    fn visit(&mut self, relation: Oid, scope: ScopeId, mut visit: impl FnMut(&mut Watch)) {
        let key = (relation, scope);
        let Some(watches) = self.tables.get_mut(&key) else { return };
        watches.iter_mut().for_each(&mut visit);
        watches.retain(|watch| !watch.audiences.is_empty());
        if watches.is_empty() {
            self.tables.remove(&key);
        }
    }

    /// Calls `keep` for each live channel of a topic; those for which it is false are gone.
    pub(super) fn of_topic(&mut self, topic: Oid, mut keep: impl FnMut(&Member) -> bool) {
        let Some(members) = self.topics.get_mut(&topic) else { return };
        members.retain(|member| keep(member));
        if members.is_empty() {
            self.topics.remove(&topic);
        }
    }

    /// All of them.
    pub(super) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        let audiences = self.tables.values().flatten().flat_map(|watch| watch.audiences.values());
        audiences.flat_map(|audience| &audience.members).chain(self.topics.values().flatten())
    }

    /// Removes those for which `wanted` is true, and gives them.
    pub(super) fn extract(&mut self, mut wanted: impl FnMut(&Member) -> bool) -> Vec<Arc<Member>> {
        let mut taken = Vec::new();
        for (relation, scope) in self.tables() {
            self.each_shape(relation, scope, |_, members| {
                taken.extend(members.extract_if(.., |member| wanted(member)))
            });
        }
        self.topics.retain(|_, members| {
            taken.extend(members.extract_if(.., |member| wanted(member)));
            !members.is_empty()
        });
        taken
    }

    /// Removes all, and gives them.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Member>> {
        self.extract(|_| true)
    }
}

impl Watch {
    /// Whether a shape reads the table's rows in this form.
    fn reads_as(&self, shape: &Shape) -> bool {
        self.model.relation().row_version == shape.model().relation().row_version
    }
}

fn insert(members: &mut Members, member: Arc<Member>) {
    let at = members.partition_point(|other| other.id < member.id);
    members.insert(at, member);
}

fn remove(members: &mut Members, id: u64) {
    if let Ok(at) = members.binary_search_by_key(&id, |member| member.id) {
        members.remove(at);
    }
}
