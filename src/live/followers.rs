//! Live channels that are not yet where the reader is: those that resume, and those whose snapshot is older than what the
//! reader has read.
//!
//! Those that have about the same way to go go it together: a thousand clients that come back after a restart read the log
//! once, and who comes while others read what it needs waits until they are through, with all that come meanwhile. Only
//! one with a much shorter way goes beside them at once. One whose session has no room steps aside and waits until it has.

use super::audience::Audiences;
use super::delivery::{Gone, Place, deliver};
use super::hub::Member;
use super::round::{Desk, Round};
use crate::change::Commit;
use crate::error::{Error, SqlState};
use crate::limits::{CATCH_UP_COMMITS, FOLLOWER_DETOUR_MAX, FOLLOWER_SHARE};
use crate::txn::{Engine, FeedReader};
use crate::types::CommitSeq;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long the reader sleeps while there are only live channels whose sessions must read first.
const SHORT_PAUSE: Duration = Duration::from_millis(5);

/// Turns after which those that wait are looked at again though nobody has come or arrived: their sessions may have room.
const TURNS_A_LOOK: usize = 16;

/// Turns whose events are posted together, so that one to whom the commits bring an event now and then gets some at a
/// time. A turn takes about a millisecond.
const TURNS_A_POST: usize = 32;

/// Live channels that are shown the same commits together. Some begin only at a later one than the next.
struct Follower {
    feed: FeedReader,
    audiences: Audiences,
    /// The catalog that their rights were last looked at in.
    catalog_version: u64,
    /// The first position after which one is to be told of a STREAM table, whose changes are not in the log.
    volatile_from: Option<CommitSeq>,
}

impl Follower {
    fn new(feed: FeedReader, catalog_version: u64) -> Follower {
        Follower { feed, audiences: Audiences::default(), catalog_version, volatile_from: None }
    }

    /// Commits until the front.
    fn way(&self, front: CommitSeq) -> u64 {
        front.0.saturating_sub(self.feed.position().0)
    }

    fn add(&mut self, member: Arc<Member>) {
        if member.subscription.is_volatile() {
            self.volatile_from = self.volatile_from.into_iter().chain([member.shown()]).min();
        }
        self.audiences.add(member);
    }

    /// Takes out those of STREAM tables that have missed something, since commits up to here came from the log. Who goes
    /// along and begins only later has missed nothing.
    fn extract_volatile(&mut self) -> Vec<Arc<Member>> {
        let position = self.feed.position();
        if self.volatile_from.is_none_or(|from| from >= position) {
            return Vec::new();
        }
        let mut left = None;
        let missed = self.audiences.extract(|member| {
            let from = Some(member.shown()).filter(|_| member.subscription.is_volatile());
            let has_missed = from.is_some_and(|from| from < position);
            if !has_missed {
                left = left.into_iter().chain(from).min();
            }
            has_missed
        });
        self.volatile_from = left;
        missed
    }
}

/// All that are behind.
pub(super) struct Followers {
    engine: Arc<Engine>,
    /// They take turns.
    active: VecDeque<Follower>,
    /// Those whose session has no room, or whose way others go just now.
    waiting: Vec<Arc<Member>>,
    /// Turns since those were looked at; none where it must be done anew.
    looked: Option<usize>,
    round: Round,
    /// Turns since it was posted.
    unposted: usize,
    /// Kept for its allocation.
    commits: Vec<Arc<Commit>>,
}

/// What a turn came to.
#[derive(Default)]
pub(super) struct Outcome {
    /// Those that are where the reader is now.
    pub(super) level: Vec<Arc<Member>>,
    /// Those that cannot go on.
    pub(super) failed: Vec<(Arc<Member>, Error)>,
    /// How long the reader may sleep; none for as long as it likes.
    pub(super) pause: Option<Duration>,
}

impl Followers {
    pub(super) fn new(engine: Arc<Engine>, desk: Arc<Desk>) -> Followers {
        let (active, waiting, commits) = (VecDeque::new(), Vec::new(), Vec::new());
        Followers { engine, active, waiting, looked: None, round: Round::behind(desk), unposted: 0, commits }
    }

    /// Takes one that is behind.
    pub(super) fn add(&mut self, member: Arc<Member>) {
        self.waiting.push(member);
        self.looked = None;
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, member: &Member) {
        self.waiting.retain(|waiting| waiting.id != member.id);
        for follower in &mut self.active {
            follower.audiences.remove(member);
        }
        self.active.retain(|follower| !follower.audiences.is_empty());
    }

    /// Whether nobody is behind.
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.waiting.is_empty()
    }

    /// Shows some commits up to `front`, where the reader is, to those whose turn it is.
    pub(super) fn turn(&mut self, front: CommitSeq) -> Outcome {
        let mut outcome = Outcome::default();
        if self.is_empty() {
            self.round.post();
            return outcome;
        }
        self.looked =
            self.looked.map(|turns| turns + 1).filter(|&turns| turns < TURNS_A_LOOK && !self.active.is_empty());
        if self.looked.is_none() {
            self.looked = Some(0);
            self.set_off(front, &mut outcome);
        }
        if let Some(mut follower) = self.active.pop_front() {
            self.check_rights(&mut follower, &mut outcome);
            if self.lead(&mut follower, front, &mut outcome) {
                for member in follower.audiences.take_all() {
                    member.show_up_to(follower.feed.position());
                    outcome.level.push(member);
                }
                self.round.post();
                self.looked = None;
            } else if !follower.audiences.is_empty() {
                self.active.push_back(follower);
            }
        }
        self.unposted += 1;
        if self.unposted == TURNS_A_POST || self.round.is_full() || self.active.is_empty() {
            self.unposted = 0;
            self.round.post();
        }
        outcome.pause = match (self.active.is_empty(), self.waiting.is_empty()) {
            (false, _) => Some(Duration::ZERO),
            (true, false) => Some(SHORT_PAUSE),
            (true, true) => None,
        };
        outcome
    }

    /// Those that wait set off where they have room: with others whose way is theirs, or by themselves where that is short
    /// beside the way of all others.
    fn set_off(&mut self, front: CommitSeq, outcome: &mut Outcome) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|member| member.shown());
        let catalog = self.engine.catalog();
        for member in waiting {
            let from = member.shown();
            let way = front.0.saturating_sub(from.0);
            let alone = self.active.iter().all(|follower| way.saturating_mul(FOLLOWER_SHARE) <= follower.way(front));
            let on_the_way = self.active.iter_mut().filter(|follower| follower.feed.position() <= from);
            let nearest = on_the_way.max_by_key(|follower| follower.feed.position());
            let joined =
                nearest.filter(|follower| !alone || from.0 - follower.feed.position().0 <= FOLLOWER_DETOUR_MAX);
            if joined.is_none() && !alone {
                self.waiting.push(member);
                continue;
            }
            match member.outbox.has_room(&member.queue) {
                None => continue,
                Some(false) => {
                    self.waiting.push(member);
                    continue;
                }
                Some(true) => {}
            }
            if let Err(error) = member.subscription.check(&catalog) {
                outcome.failed.push((member, error));
                continue;
            }
            match joined {
                Some(follower) => follower.add(member),
                None => {
                    let mut follower = Follower::new(self.engine.feed_after(from), catalog.version);
                    follower.add(member);
                    self.active.push_back(follower);
                }
            }
        }
    }

    fn check_rights(&self, follower: &mut Follower, outcome: &mut Outcome) {
        let catalog = self.engine.catalog();
        if follower.catalog_version == catalog.version {
            return;
        }
        follower.catalog_version = catalog.version;
        for member in follower.audiences.extract(|member| member.subscription.check(&catalog).is_err()) {
            if let Err(error) = member.subscription.check(&catalog) {
                outcome.failed.push((member, error));
            }
        }
    }

    /// Shows the next commits; true where that has brought them to the front.
    fn lead(&mut self, follower: &mut Follower, front: CommitSeq, outcome: &mut Outcome) -> bool {
        for _ in 0..CATCH_UP_COMMITS {
            if follower.audiences.is_empty() || follower.feed.position() >= front {
                break;
            }
            self.commits.clear();
            match follower.feed.next(1, &mut self.commits) {
                Ok(true) => {}
                Ok(false) => {
                    for member in follower.extract_volatile() {
                        let error = not_kept(member.since);
                        outcome.failed.push((member, error));
                    }
                }
                Err(error) => {
                    let position = follower.feed.position();
                    for member in follower.audiences.take_all() {
                        match member.shown() > position {
                            // what cannot be read is not on its way
                            true => self.waiting.push(member),
                            false => outcome.failed.push((member, error.clone())),
                        }
                    }
                    return false;
                }
            }
            for commit in &self.commits {
                for (member, gone) in deliver(&mut follower.audiences, commit, Place::Behind, &mut self.round) {
                    match gone {
                        Gone::Failed(error) => outcome.failed.push((member, error)),
                        Gone::Full | Gone::Missed => {
                            member.show_up_to(CommitSeq(commit.seq.0 - 1));
                            self.waiting.push(member);
                        }
                    }
                }
            }
        }
        follower.feed.position() >= front
    }
}

fn not_kept(since: CommitSeq) -> Error {
    Error::new(SqlState::SNAPSHOT_TOO_OLD, format!("changes after position {since} are not kept any more"))
}
