//! Who waits for a topic's messages.
//!
//! Two things end such a wait: a commit that brought messages, and messages of a group that came back. Only those who
//! wait for that topic are woken, and nobody looks at a topic again and again.

use crate::types::{CommitSeq, Oid};
use crate::wait::{self, Signal, Wait};
use parking_lot::Mutex;
use std::collections::HashMap;

/// What has happened to a topic so far, to be compared with when a wait begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The commit up to which its messages were looked at.
    pub seq: CommitSeq,
    /// How often messages had come back when it was looked at.
    pub returns: u64,
}

struct Topic {
    /// The last commit that brought messages, or the newest one when somebody first looked.
    last: CommitSeq,
    returns: u64,
    waiting: Vec<Signal>,
    /// Waits at which those that were given up are let go.
    crowded: usize,
}

/// Fewer abandoned waits than this are not looked for.
const CROWDED_MIN: usize = 16;

/// Those who wait, by topic. Topics for which nobody ever waited are not in it.
#[derive(Default)]
pub struct Arrivals {
    topics: Mutex<HashMap<Oid, Topic>>,
}

impl Arrivals {
    /// How often messages of a topic have come back; to be asked before its groups are looked at. `current` is the
    /// newest published commit.
    pub fn returns(&self, topic: Oid, current: CommitSeq) -> u64 {
        let mut topics = self.topics.lock();
        let new = || Topic { last: current, returns: 0, waiting: Vec::new(), crowded: CROWDED_MIN };
        topics.entry(topic).or_insert_with(new).returns
    }

    /// Over when something happened to the topic that `seen` does not know, which may be at once.
    pub fn wait(&self, topic: Oid, seen: Seen) -> Wait {
        let mut topics = self.topics.lock();
        let Some(topic) = topics.get_mut(&topic) else { return Wait::ready() };
        if topic.last > seen.seq || topic.returns != seen.returns {
            return Wait::ready();
        }
        if topic.waiting.len() >= topic.crowded {
            topic.waiting.retain(|signal| !signal.is_abandoned());
            topic.crowded = CROWDED_MIN.max(topic.waiting.len() * 2);
        }
        let (signal, wait) = wait::pair(None);
        topic.waiting.push(signal);
        wait
    }

    /// A published commit brought messages.
    pub fn arrived(&self, topic: Oid, seq: CommitSeq) {
        self.happened(topic, |topic| topic.last = seq);
    }

    /// Messages of one of a topic's groups came back.
    pub fn returned(&self, topic: Oid) {
        self.happened(topic, |topic| topic.returns += 1);
    }

    fn happened(&self, topic: Oid, note: impl FnOnce(&mut Topic)) {
        let woken = {
            let mut topics = self.topics.lock();
            let Some(topic) = topics.get_mut(&topic) else { return };
            note(topic);
            std::mem::take(&mut topic.waiting)
        };
        // a signal ends its wait when it is let go
        drop(woken);
    }

    /// Whether nobody ever waited.
    pub fn is_empty(&self) -> bool {
        self.topics.lock().is_empty()
    }

    /// Lets go of the topics that are no more, and so ends the waits for them.
    pub fn keep(&self, is_there: impl Fn(Oid) -> bool) {
        let mut gone = Vec::new();
        self.topics.lock().retain(|oid, topic| {
            let keep = is_there(*oid);
            if !keep {
                gone.append(&mut topic.waiting);
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_for_what_was_not_seen() {
        let (arrivals, topic) = (Arrivals::default(), Oid(1));
        let returns = arrivals.returns(topic, CommitSeq(5));
        let seen = Seen { seq: CommitSeq(5), returns };
        let wait = arrivals.wait(topic, seen);
        assert!(!wait.is_done());
        arrivals.arrived(Oid(2), CommitSeq(6));
        assert!(!wait.is_done());
        arrivals.arrived(topic, CommitSeq(7));
        assert!(wait.is_done());
        assert!(arrivals.wait(topic, seen).is_done(), "the commit came between the look and the wait");
        let seen = Seen { seq: CommitSeq(7), returns };
        let wait = arrivals.wait(topic, seen);
        arrivals.returned(topic);
        assert!(wait.is_done() && arrivals.wait(topic, seen).is_done());
    }

    #[test]
    fn waits_that_were_given_up_do_not_pile_up() {
        let (arrivals, topic) = (Arrivals::default(), Oid(1));
        let returns = arrivals.returns(topic, CommitSeq(0));
        for _ in 0..1_000 {
            drop(arrivals.wait(topic, Seen { seq: CommitSeq(0), returns }));
        }
        assert!(arrivals.topics.lock()[&topic].waiting.len() <= CROWDED_MIN);
    }

    #[test]
    fn a_topic_that_is_dropped_ends_its_waits() {
        let (arrivals, topic) = (Arrivals::default(), Oid(1));
        let returns = arrivals.returns(topic, CommitSeq(0));
        let wait = arrivals.wait(topic, Seen { seq: CommitSeq(0), returns });
        arrivals.keep(|_| false);
        assert!(wait.is_done());
    }
}
