//! The thread that follows the commits and tells sessions what concerns them.
//!
//! Live channels are found by relation and scope, so a commit costs what it concerns and nothing more. Those that begin
//! before the reader's position catch up first, each with a follower of its own, in turns between the reader's batches;
//! then they join the others. Each remembers the last commit it was shown, so it is shown every commit once and in
//! order whichever way it comes.

use super::audience::{Audiences, Members};
use super::bulk;
use super::event;
use super::hub::{Member, Shared};
use super::outbox::Taken;
use super::subscription::{Subject, replaced};
use crate::catalog::Catalog;
use crate::change::{Change, Commit, TopicArrival};
use crate::error::{Error, Result, SqlState};
use crate::limits::{CATCH_UP_COMMITS, SCAN_BATCH};
use crate::txn::{Engine, FeedReader};
use crate::types::{CommitSeq, Str};
use crate::wait::Wait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the reader sleeps at most before it looks whether it should end.
const PAUSE: Duration = Duration::from_millis(250);

/// How long it sleeps while a live channel that catches up waits for its session to read.
const SHORT_PAUSE: Duration = Duration::from_millis(5);

/// What sessions tell the reader.
pub(super) enum Told {
    /// A live channel has begun.
    Begin(Arc<Member>),
    /// A live channel has ended; its outbox takes nothing more for it already.
    End(Arc<Member>),
}

/// A live channel that has not been shown all commits that the reader has read.
struct Behind {
    member: Arc<Member>,
    feed: FeedReader,
}

/// How a turn of catching up ended.
enum Turn {
    /// It is where the reader is.
    Level,
    /// There is more to be shown.
    More,
    /// Its session must read first.
    Full,
    /// It has ended.
    Ended,
}

/// The follower of the commits.
pub struct Reader {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    feed: FeedReader,
    audiences: Audiences,
    behind: Vec<Behind>,
    /// Kept for its allocation.
    commits: Vec<Arc<Commit>>,
}

/// Whether a turn found something to do.
enum Progress {
    Some,
    /// Nothing, and how long to rest where that is known.
    None(Option<Duration>),
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, engine: Arc<Engine>, feed: FeedReader) -> Reader {
        Reader { shared, engine, feed, audiences: Audiences::default(), behind: Vec::new(), commits: Vec::new() }
    }

    /// Follows until it is stopped.
    pub(super) fn run(mut self) {
        while !self.shared.is_stopped() {
            match self.turn() {
                Ok(Progress::Some) => {}
                Ok(Progress::None(pause)) => self.rest(pause),
                Err(()) => Wait::for_time(PAUSE).block(),
            }
        }
    }

    /// Reads and delivers the next commits; false when there is nothing to do. For a reader without a thread.
    pub fn step(&mut self) -> bool {
        let told = self.shared.has_told();
        match self.turn() {
            Ok(Progress::None(pause)) => told || pause.is_some_and(|pause| pause.is_zero()),
            _ => true,
        }
    }

    /// Delivers the next commits. A failure to read them has been dealt with.
    fn turn(&mut self) -> std::result::Result<Progress, ()> {
        self.listen_to_sessions();
        let mut commits = std::mem::take(&mut self.commits);
        commits.clear();
        let before = self.feed.position();
        match self.feed.next(SCAN_BATCH, &mut commits) {
            Ok(complete) => {
                if !complete {
                    self.has_fallen_behind(before);
                }
                for commit in &commits {
                    self.deliver(commit);
                }
                let pause = self.catch_up();
                self.shared.reach(self.feed.position());
                let idle = complete && commits.is_empty();
                self.commits = commits;
                Ok(if idle { Progress::None(pause) } else { Progress::Some })
            }
            Err(error) => {
                tracing::error!(%error, "commits cannot be read; listening sessions end");
                self.shared.lose();
                for member in self.audiences.take_all() {
                    self.forget(&member, &error);
                }
                self.feed = self.engine.feed();
                Err(())
            }
        }
    }

    fn rest(&self, pause: Option<Duration>) {
        // without live channels no change concerns anybody
        let alone = self.audiences.is_empty() && self.behind.is_empty();
        let mut wait = if alone { self.feed.wait_for_notifications() } else { self.feed.wait() };
        // asked after the wait was made: whoever tells something from now on ends it
        if pause.is_some_and(|pause| pause.is_zero()) || self.shared.has_told() {
            return;
        }
        wait.limit = Some(pause.unwrap_or(PAUSE));
        wait.block();
    }

    fn listen_to_sessions(&mut self) {
        for told in self.shared.told() {
            match told {
                Told::Begin(member) => {
                    if let Err(error) = member.subscription.check(&self.engine.catalog()) {
                        self.forget(&member, &error);
                    } else if member.since >= self.feed.position() {
                        self.audiences.add(member);
                    } else {
                        let feed = self.engine.feed_after(member.since);
                        self.behind.push(Behind { member, feed });
                    }
                }
                Told::End(member) => {
                    self.audiences.remove(&member);
                    self.behind.retain(|behind| behind.member.id != member.id);
                }
            }
        }
    }

    /// Ends a live channel with the reason.
    fn forget(&self, member: &Member, error: &Error) {
        if let Some(cause) = &error.fields().internal {
            tracing::error!(%cause, "a live query failed internally");
        }
        member.end(&event::failure(error));
        self.shared.members.lock().remove(&member.id);
    }

    /// Ends a live channel that missed something.
    fn lag(&self, member: &Member, position: CommitSeq) {
        member.end(&event::lagged(position));
        self.shared.members.lock().remove(&member.id);
    }

    /// The reader went on from the log, which has no notifications and no changes of STREAM tables.
    fn has_fallen_behind(&mut self, position: CommitSeq) {
        tracing::warn!("the reader of commits fell behind; sessions that listen on plain channels end");
        self.shared.lose();
        for member in self.audiences.extract(|member| member.subscription.is_volatile()) {
            self.lag(&member, position);
        }
        self.check_rights(&self.engine.catalog(), None);
    }

    /// Ends those that may not go on under a catalog that came with a commit.
    fn check_rights(&mut self, catalog: &Catalog, seq: Option<CommitSeq>) {
        let concerned = |member: &Member| seq.is_none_or(|seq| member.awaits(seq));
        let refused = |member: &Member| concerned(member) && member.subscription.check(catalog).is_err();
        for member in self.audiences.extract(refused) {
            if let Err(error) = member.subscription.check(catalog) {
                self.forget(&member, &error);
            }
        }
    }

    fn deliver(&mut self, commit: &Commit) {
        self.notify(commit);
        if let Some(catalog) = &commit.catalog {
            self.check_rights(catalog, Some(commit.seq));
        }
        if self.audiences.is_empty() {
            return;
        }
        let mut concerned: BTreeMap<_, Vec<&Change>> = BTreeMap::new();
        for change in &commit.changes {
            if self.audiences.has(change.relation, change.scope) {
                concerned.entry((change.relation, change.scope)).or_default().push(change);
            }
        }
        let mut ended = Vec::new();
        for ((relation, scope), changes) in concerned {
            self.audiences.each_shape(relation, scope, |shape, members| {
                tell(shape.events(commit, &changes).map(Some), members, commit.seq, &mut ended);
            });
        }
        if commit.bulk.is_some() {
            self.deliver_bulk(commit, &mut ended);
        }
        for (member, error) in ended {
            match error {
                Some(error) => self.forget(&member, &error),
                None => self.lag(&member, CommitSeq(commit.seq.0 - 1)),
            }
        }
        for arrival in &commit.arrivals {
            self.audiences.of_topic(arrival.topic, |member| {
                !member.awaits(commit.seq) || arrive(member, arrival) != Taken::Closed
            });
        }
    }

    /// Those of a bulk commit's changes that concern somebody.
    fn deliver_bulk(&mut self, commit: &Commit, ended: &mut Vec<Ended>) {
        for (relation, scope) in self.audiences.tables() {
            let changes = bulk::changes(commit, relation, scope);
            if matches!(&changes, Ok(Some(changes)) if changes.is_empty()) {
                continue;
            }
            self.audiences.each_shape(relation, scope, |shape, members| {
                let events = match &changes {
                    Ok(Some(changes)) => shape.events(commit, &changes.iter().collect::<Vec<_>>()).map(Some),
                    Ok(None) => Ok(None),
                    Err(error) => Err(error.clone()),
                };
                tell(events, members, commit.seq, ended);
            });
        }
    }

    /// Plain notifications.
    fn notify(&self, commit: &Commit) {
        if commit.notifications.is_empty() {
            return;
        }
        let channels = self.shared.channels.read();
        for notification in &commit.notifications {
            let listeners = channels.get(&notification.channel).into_iter().flat_map(BTreeMap::values);
            for listening in listeners.filter(|listening| listening.since < commit.seq) {
                listening.outbox.push(notification);
            }
        }
    }

    /// Gives each live channel that is behind its turn. How long to rest afterwards where there is nothing else to do;
    /// none as long as may be.
    fn catch_up(&mut self) -> Option<Duration> {
        if self.behind.is_empty() {
            return None;
        }
        let mut pause = None;
        for mut behind in std::mem::take(&mut self.behind) {
            match self.show_behind(&mut behind) {
                Ok(Turn::Level) => {
                    behind.member.show_up_to(behind.feed.position());
                    self.audiences.add(behind.member);
                }
                Ok(Turn::More) => {
                    pause = Some(Duration::ZERO);
                    self.behind.push(behind);
                }
                Ok(Turn::Full) => {
                    pause = pause.or(Some(SHORT_PAUSE));
                    self.behind.push(behind);
                }
                Ok(Turn::Ended) => {}
                Err(error) => self.forget(&behind.member, &error),
            }
        }
        pause
    }

    fn show_behind(&self, behind: &mut Behind) -> Result<Turn> {
        behind.member.subscription.check(&self.engine.catalog())?;
        for _ in 0..CATCH_UP_COMMITS {
            match behind.member.outbox.has_room(behind.member.id) {
                None => return Ok(Turn::Ended),
                Some(false) => return Ok(Turn::Full),
                Some(true) => {}
            }
            if behind.feed.position() >= self.feed.position() {
                return Ok(Turn::Level);
            }
            let mut commits = Vec::with_capacity(1);
            let complete = behind.feed.next(1, &mut commits)?;
            if !complete && behind.member.subscription.is_volatile() {
                let message = format!("changes after position {} are not kept any more", behind.member.since);
                return Err(Error::new(SqlState::SNAPSHOT_TOO_OLD, message));
            }
            for commit in &commits {
                show(&behind.member, commit)?;
            }
        }
        Ok(Turn::More)
    }
}

/// A live channel that ends: with an error, or because it missed something.
type Ended = (Arc<Member>, Option<Error>);

/// Tells events to the live channels of one shape, or that there are too many of them.
fn tell(events: Result<Option<Vec<Str>>>, members: &mut Members, seq: CommitSeq, ended: &mut Vec<Ended>) {
    members.retain(|_, member| {
        if !member.awaits(seq) {
            return true;
        }
        match &events {
            Ok(Some(events)) => match push(member, events, seq, false) {
                Taken::Yes => return true,
                Taken::Full => ended.push((member.clone(), None)),
                Taken::Closed => {}
            },
            Ok(None) => ended.push((member.clone(), None)),
            Err(error) => ended.push((member.clone(), Some(error.clone()))),
        }
        false
    });
}

fn push(member: &Member, events: &[Str], seq: CommitSeq, whatever_size: bool) -> Taken {
    if events.is_empty() {
        return Taken::Yes;
    }
    let taken = member.outbox.push_live(member.id, &member.subscription.channel, events, whatever_size);
    if taken == Taken::Yes {
        member.reach(seq);
    }
    taken
}

fn arrive(member: &Member, arrival: &TopicArrival) -> Taken {
    let Subject::Topic { name, .. } = &member.subscription.subject else { return Taken::Yes };
    let last = (arrival.first + arrival.count).saturating_sub(1);
    let payload = event::arrival(name, arrival.partition, last);
    member.outbox.arrive(member.id, &member.subscription.channel, arrival.partition, &payload)
}

/// Shows one commit to one live channel.
fn show(member: &Member, commit: &Commit) -> Result<()> {
    let subscription = &member.subscription;
    let relation = subscription.relation().oid;
    match &subscription.subject {
        Subject::Rows(shape) => {
            // the live query began after it, but resumes from before it, and nobody can say which rows went
            if commit.may_replace(relation)? {
                return Err(replaced(&subscription.relation().name));
            }
            let concerns = |change: &&Change| change.relation == relation && change.scope == subscription.scope;
            let bulk =
                bulk::changes(commit, relation, subscription.scope)?.ok_or_else(|| bulk::too_many(commit.seq))?;
            let changes: Vec<&Change> = commit.changes.iter().chain(&bulk).filter(concerns).collect();
            if !changes.is_empty() {
                push(member, &shape.events(commit, &changes)?, commit.seq, true);
            }
        }
        Subject::Topic { .. } => {
            for arrival in commit.arrivals.iter().filter(|arrival| arrival.topic == relation) {
                arrive(member, arrival);
            }
        }
    }
    Ok(())
}
