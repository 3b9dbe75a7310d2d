//! A commit on its way to the live channels that it concerns.

use super::audience::{Audiences, Members};
use super::bulk;
use super::event;
use super::hub::Member;
use super::outbox::Taken;
use super::round::Round;
use super::subscription::{Subject, replaced};
use crate::change::{Change, Commit, TopicArrival};
use crate::error::{Error, Result};
use crate::types::{CommitSeq, Oid, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where the live channels are that are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the reader is: a session that has no room has missed something.
    Front,
    /// Behind it: a session that has no room can be told later.
    Behind,
}

/// Why a live channel is told nothing more.
pub(super) enum Gone {
    /// It missed this commit.
    Missed,
    /// Its session must read first. It has not been told of this commit.
    Full,
    /// It cannot go on.
    Failed(Error),
}

/// Those that are told nothing more.
pub(super) type Leaving = Vec<(Arc<Member>, Gone)>;

/// Tells live channels of a commit, and `round` whose outboxes have got something. Those that are told nothing more are
/// not in `audiences` afterwards.
pub(super) fn deliver(audiences: &mut Audiences, commit: &Commit, place: Place, round: &mut Round) -> Leaving {
    let mut leaving = Leaving::new();
    if audiences.is_empty() {
        return leaving;
    }
    if place == Place::Behind {
        end_replaced(audiences, commit, &mut leaving);
    }
    let mut told = Told { seq: commit.seq, place, leaving, round };
    let mut concerned: BTreeMap<_, Vec<&Change>> = BTreeMap::new();
    for change in &commit.changes {
        if audiences.has(change.relation, change.scope) {
            concerned.entry((change.relation, change.scope)).or_default().push(change);
        }
    }
    for ((relation, scope), changes) in concerned {
        audiences.each_concerned(relation, scope, &changes, |shape, changes, members| {
            told.tell(shape.events(commit, changes), members);
        });
    }
    if commit.bulk.is_some() {
        deliver_bulk(audiences, commit, &mut told);
    }
    for arrival in &commit.arrivals {
        audiences.of_topic(arrival.topic, |member| !member.awaits(commit.seq) || told.arrive(member, arrival));
    }
    told.leaving
}

/// Those of a bulk commit's changes that concern somebody.
fn deliver_bulk(audiences: &mut Audiences, commit: &Commit, told: &mut Told<'_>) {
    for (relation, scope) in audiences.tables() {
        match bulk::changes(commit, relation, scope) {
            Ok(Some(changes)) => {
                let changes: Vec<&Change> = changes.iter().collect();
                audiences.each_concerned(relation, scope, &changes, |shape, changes, members| {
                    told.tell(shape.events(commit, changes), members);
                });
            }
            Ok(None) => audiences.each_shape(relation, scope, |_, members| match told.place {
                Place::Front => told.miss(members),
                Place::Behind => told.tell(Err(bulk::too_many(commit.seq)), members),
            }),
            Err(error) => audiences.each_shape(relation, scope, |_, members| told.tell(Err(error.clone()), members)),
        }
    }
}

/// Ends those that resume from before a commit that replaced their table's rows as a whole: nobody can say which rows
/// went. Those at the front have been ended by the catalog that came with the commit.
fn end_replaced(audiences: &mut Audiences, commit: &Commit, leaving: &mut Leaving) {
    if commit.replaced.is_empty() && commit.bulk.is_none() {
        return;
    }
    let mut known: BTreeMap<Oid, Option<Error>> = BTreeMap::new();
    for member in audiences.members().filter(|member| member.is_of_rows() && member.awaits(commit.seq)) {
        let relation = member.subscription.relation();
        known.entry(relation.oid).or_insert_with(|| match commit.may_replace(relation.oid) {
            Ok(true) => Some(replaced(&relation.name)),
            Ok(false) => None,
            Err(error) => Some(error),
        });
    }
    let error_of = |member: &Member| known.get(&member.subscription.relation().oid).cloned().flatten();
    let ended =
        audiences.extract(|member| member.is_of_rows() && member.awaits(commit.seq) && error_of(member).is_some());
    leaving.extend(ended.into_iter().filter_map(|member| Some((member.clone(), Gone::Failed(error_of(&member)?)))));
}

/// The telling of one commit.
struct Told<'a> {
    seq: CommitSeq,
    place: Place,
    leaving: Leaving,
    round: &'a mut Round,
}

impl Told<'_> {
    /// Tells events to the live channels of one shape.
    fn tell(&mut self, events: Result<Vec<Str>>, members: &mut Members) {
        if matches!(&events, Ok(events) if events.is_empty()) {
            return;
        }
        members.retain(|member| {
            if !member.awaits(self.seq) {
                return true;
            }
            let gone = match &events {
                Err(error) => Gone::Failed(error.clone()),
                Ok(events) => match self.push(member, events) {
                    Taken::Yes => return true,
                    Taken::Closed => return false,
                    Taken::Full if self.place == Place::Front => Gone::Missed,
                    Taken::Full => Gone::Full,
                },
            };
            self.leaving.push((member.clone(), gone));
            false
        });
    }

    fn push(&mut self, member: &Member, events: &[Str]) -> Taken {
        let whatever_size = match self.place {
            Place::Front => false,
            // the largest commit gets through in the end
            Place::Behind => match member.outbox.has_room(&member.queue) {
                None => return Taken::Closed,
                Some(false) => return Taken::Full,
                Some(true) => true,
            },
        };
        let taken = member.outbox.push_live(&member.queue, &member.subscription.channel, events, whatever_size);
        if taken == Taken::Yes {
            member.reach(self.seq);
            self.round.note(&member.outbox);
        }
        taken
    }

    /// Tells one of a topic's messages; false where it has ended.
    fn arrive(&mut self, member: &Member, arrival: &TopicArrival) -> bool {
        let Subject::Topic { name, .. } = &member.subscription.subject else { return true };
        let last = (arrival.first + arrival.count).saturating_sub(1);
        let payload = event::arrival(name, arrival.partition, last);
        let taken = member.outbox.arrive(&member.queue, &member.subscription.channel, arrival.partition, &payload);
        self.round.note(&member.outbox);
        taken != Taken::Closed
    }

    /// All miss this commit.
    fn miss(&mut self, members: &mut Members) {
        let missed = members.extract_if(.., |member| member.awaits(self.seq));
        self.leaving.extend(missed.map(|member| (member, Gone::Missed)));
    }
}
