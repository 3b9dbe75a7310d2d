//! The live channels that are where the reader is, found by what concerns them.

use super::hub::Member;
use super::shape::Shape;
use super::subscription::Subject;
use crate::types::{Oid, ScopeId, Str};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Live channels of one shape: what concerns one concerns all, in the same words.
struct Audience {
    shape: Arc<Shape>,
    members: Members,
}

/// Live channels by number.
pub(super) type Members = BTreeMap<u64, Arc<Member>>;

/// All of them.
#[derive(Default)]
pub(super) struct Audiences {
    tables: HashMap<(Oid, ScopeId), HashMap<Str, Audience>>,
    topics: HashMap<Oid, Members>,
}

impl Audiences {
    /// Adds a live channel.
    pub(super) fn add(&mut self, member: Arc<Member>) {
        let relation = member.subscription.relation().oid;
        match &member.subscription.subject {
            Subject::Rows(shape) => {
                let shapes = self.tables.entry((relation, member.subscription.scope)).or_default();
                let audience = shapes
                    .entry(shape.fingerprint().clone())
                    .or_insert_with(|| Audience { shape: shape.clone(), members: Members::new() });
                audience.members.insert(member.id, member);
            }
            Subject::Topic { .. } => {
                self.topics.entry(relation).or_default().insert(member.id, member);
            }
        }
    }

    /// Removes a live channel.
    pub(super) fn remove(&mut self, member: &Member) {
        let relation = member.subscription.relation().oid;
        match &member.subscription.subject {
            Subject::Rows(shape) => {
                let key = (relation, member.subscription.scope);
                let Some(shapes) = self.tables.get_mut(&key) else { return };
                if let Some(audience) = shapes.get_mut(shape.fingerprint()) {
                    audience.members.remove(&member.id);
                    if audience.members.is_empty() {
                        shapes.remove(shape.fingerprint());
                    }
                }
                if shapes.is_empty() {
                    self.tables.remove(&key);
                }
            }
            Subject::Topic { .. } => {
                if let Some(members) = self.topics.get_mut(&relation) {
                    members.remove(&member.id);
                }
            }
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.topics.is_empty()
    }

    /// Whether a change of a relation in a scope concerns any.
    pub(super) fn has(&self, relation: Oid, scope: ScopeId) -> bool {
        self.tables.contains_key(&(relation, scope))
    }

    /// The relations and scopes that concern any.
    pub(super) fn tables(&self) -> Vec<(Oid, ScopeId)> {
        self.tables.keys().copied().collect()
    }

    /// Calls `tell` for each shape over a relation and scope; members that it removes are gone.
    pub(super) fn each_shape(&mut self, relation: Oid, scope: ScopeId, mut tell: impl FnMut(&Shape, &mut Members)) {
        let Some(shapes) = self.tables.get_mut(&(relation, scope)) else { return };
        shapes.retain(|_, audience| {
            tell(&audience.shape, &mut audience.members);
            !audience.members.is_empty()
        });
        if shapes.is_empty() {
            self.tables.remove(&(relation, scope));
        }
    }

    /// Calls `keep` for each live channel of a topic; those for which it is false are gone.
    pub(super) fn of_topic(&mut self, topic: Oid, mut keep: impl FnMut(&Member) -> bool) {
        let Some(members) = self.topics.get_mut(&topic) else { return };
        members.retain(|_, member| keep(member));
        if members.is_empty() {
            self.topics.remove(&topic);
        }
    }

    /// Removes those for which `wanted` is true, and gives them.
    pub(super) fn extract(&mut self, wanted: impl Fn(&Member) -> bool) -> Vec<Arc<Member>> {
        let mut taken = Vec::new();
        let mut take = |members: &mut Members| {
            members.retain(|_, member| {
                let is_wanted = wanted(member);
                if is_wanted {
                    taken.push(member.clone());
                }
                !is_wanted
            });
        };
        self.tables.retain(|_, shapes| {
            shapes.retain(|_, audience| {
                take(&mut audience.members);
                !audience.members.is_empty()
            });
            !shapes.is_empty()
        });
        self.topics.retain(|_, members| {
            take(members);
            !members.is_empty()
        });
        taken
    }

    /// Removes all, and gives them.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Member>> {
        self.extract(|_| true)
    }
}
