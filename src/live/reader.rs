//! The thread that follows the commits and tells sessions what concerns them.
//!
//! Live channels are found by relation, scope and what their conditions say of single columns, so a commit costs what it
//! concerns and nothing more. Those that begin before the reader's position catch up first, in turns between the reader's
//! batches; then they join the others. Each remembers the last commit it was shown, so it is shown every commit once and
//! in order whichever way it comes.

use super::audience::Audiences;
use super::delivery::{Gone, Place, deliver};
use super::event;
use super::followers::Followers;
use super::hub::{Member, Shared};
use super::round::{Desk, Round};
use crate::catalog::Catalog;
use crate::change::Commit;
use crate::error::Error;
use crate::limits::SCAN_BATCH;
use crate::txn::{Engine, FeedReader};
use crate::types::CommitSeq;
use crate::wait::Wait;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long the reader sleeps at most before it looks whether it should end.
const PAUSE: Duration = Duration::from_millis(250);

/// What sessions tell the reader.
pub(super) enum Told {
    /// A live channel has begun.
    Begin(Arc<Member>),
    /// A live channel has ended; its outbox takes nothing more for it already.
    End(Arc<Member>),
}

/// Who reads the commits.
pub struct Reader {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    feed: FeedReader,
    audiences: Audiences,
    followers: Followers,
    /// Whose outboxes have got something that is not posted.
    round: Round,
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
    pub(super) fn new(shared: Arc<Shared>, engine: Arc<Engine>, feed: FeedReader, desk: Arc<Desk>) -> Reader {
        let followers = Followers::new(engine.clone(), desk.clone());
        let (audiences, round, commits) = (Audiences::default(), Round::front(desk), Vec::new());
        Reader { shared, engine, feed, audiences, followers, round, commits }
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
                    if self.round.is_full() {
                        self.round.post();
                    }
                }
                self.round.post();
                let pause = self.catch_up();
                self.shared.reach(self.feed.position());
                let idle = complete && commits.is_empty();
                self.commits = commits;
                Ok(if idle { Progress::None(pause) } else { Progress::Some })
            }
            Err(error) => {
                tracing::error!(%error, "commits cannot be read; listening sessions end");
                self.round.post();
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
        let alone = self.audiences.is_empty() && self.followers.is_empty();
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
                        self.join(member);
                    } else {
                        self.followers.add(member);
                    }
                }
                Told::End(member) => {
                    self.audiences.remove(&member);
                    self.followers.remove(&member);
                }
            }
        }
    }

    /// A live channel is where the reader is.
    fn join(&mut self, member: Arc<Member>) {
        member.join();
        self.audiences.add(member);
    }

    /// Ends a live channel with the reason.
    fn forget(&self, member: &Member, error: &Error) {
        if let Some(cause) = &error.fields().internal {
            tracing::error!(%cause, "a live query failed internally");
        }
        member.end(&event::failure(error));
        self.shared.leave(member.id);
    }

    /// Ends a live channel that missed something.
    fn lag(&self, member: &Member, position: CommitSeq) {
        member.end(&event::lagged(position));
        self.shared.leave(member.id);
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
        // thousands of live queries have a few roles and tables between them
        let mut known = HashMap::new();
        let refused = |member: &Member| {
            let subscription = &member.subscription;
            let is_refused = || subscription.check(catalog).is_err();
            seq.is_none_or(|seq| member.awaits(seq)) && *known.entry(subscription.checked()).or_insert_with(is_refused)
        };
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
        for (member, gone) in deliver(&mut self.audiences, commit, Place::Front, &mut self.round) {
            match gone {
                Gone::Failed(error) => self.forget(&member, &error),
                Gone::Missed | Gone::Full => self.lag(&member, CommitSeq(commit.seq.0 - 1)),
            }
        }
    }

    /// Plain notifications.
    fn notify(&mut self, commit: &Commit) {
        if commit.notifications.is_empty() {
            return;
        }
        let channels = self.shared.channels.read();
        for notification in &commit.notifications {
            let listeners = channels.get(&notification.channel).into_iter().flat_map(BTreeMap::values);
            for listening in listeners.filter(|listening| listening.since < commit.seq) {
                listening.outbox.push(notification);
                self.round.note(&listening.outbox);
            }
        }
    }

    /// Gives those that are behind their turn. How long to rest afterwards where there is nothing else to do; none as long
    /// as may be.
    fn catch_up(&mut self) -> Option<Duration> {
        let outcome = self.followers.turn(self.feed.position());
        for (member, error) in &outcome.failed {
            self.forget(member, error);
        }
        for member in outcome.level {
            self.join(member);
        }
        outcome.pause
    }
}
