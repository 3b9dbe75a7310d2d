//! The changefeed: published commits in order, for readers that follow them.
//!
//! A ring keeps the most recent commits, read or not: readers take from it, and subscriptions on STREAM tables, whose
//! changes are in no log, resume from it. A reader that falls behind the ring continues from the log.

use super::record;
use crate::change::Commit;
use crate::error::{Error, Result, SqlState};
use crate::limits::{FEED_BYTES_MAX, FEED_COMMITS_MAX};
use crate::storage::bulk::BulkDir;
use crate::storage::log::{CommitLog, LogReader};
use crate::types::CommitSeq;
use crate::wait::{self, Signal, Wait};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Default)]
struct Ring {
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
    /// The last commit that is not in the ring any more, or was before it.
    gone: CommitSeq,
    waiting: Vec<Waiting>,
    /// Commits and bytes since readers were last woken.
    unread: (usize, usize),
    /// Whether one of them notifies.
    notifies: bool,
}

/// Commits at the end of the ring among which a reader's place is looked for first: nearly all readers are there.
const NEAR: usize = 8;

impl Ring {
    /// The place of the first commit after `seq`.
    fn place_after(&self, seq: CommitSeq) -> usize {
        let near = self.commits.iter().rev().take(NEAR).take_while(|commit| commit.seq > seq).count();
        match near < NEAR {
            true => self.commits.len() - near,
            false => self.commits.partition_point(|commit| commit.seq <= seq),
        }
    }
}

/// A reader that waits.
struct Waiting {
    signal: Signal,
    /// Only a commit that notifies is of interest to it, as long as it does not fall too far behind.
    notifications_only: bool,
}

/// The share of the ring that commits take before a reader is woken that no single one of them concerns.
const LAZY_SHARE: usize = 8;

/// The recent commits.
#[derive(Default)]
pub(super) struct Feed {
    ring: Mutex<Ring>,
}

impl Feed {
    /// A feed that begins after `seq`.
    pub(super) fn new(seq: CommitSeq) -> Feed {
        Feed { ring: Mutex::new(Ring { gone: seq, ..Ring::default() }) }
    }

    /// Adds published commits, in order. Their readers are woken later, by [`wake`](Self::wake).
    pub(super) fn push(&self, commits: impl IntoIterator<Item = Arc<Commit>>) {
        let mut ring = self.ring.lock();
        for commit in commits {
            let bytes = weight(&commit);
            ring.bytes += bytes;
            ring.unread = (ring.unread.0 + 1, ring.unread.1 + bytes);
            ring.notifies |= !commit.notifications.is_empty();
            ring.commits.push_back(commit);
        }
        while ring.commits.len() > FEED_COMMITS_MAX || (ring.bytes > FEED_BYTES_MAX && ring.commits.len() > 1) {
            let commit = ring.commits.pop_front().expect("the ring was just found longer than that");
            ring.bytes -= weight(&commit);
            ring.gone = commit.seq;
        }
    }

    /// The commits after `seq` that are in the ring; none where some of them are not any more.
    pub(super) fn after(&self, seq: CommitSeq, max: usize) -> Option<Vec<Arc<Commit>>> {
        let ring = self.ring.lock();
        if seq < ring.gone {
            return None;
        }
        let first = ring.place_after(seq);
        Some(ring.commits.range(first..).take(max).cloned().collect())
    }

    fn wait_after(&self, seq: CommitSeq, notifications_only: bool) -> Wait {
        let mut ring = self.ring.lock();
        let first = ring.place_after(seq);
        let mut unread = ring.commits.range(first..);
        let concerned = unread.any(|commit| !notifications_only || !commit.notifications.is_empty());
        if seq < ring.gone || concerned {
            return Wait::ready();
        }
        // those whose time ran out
        ring.waiting.retain(|waiting| !waiting.signal.is_abandoned());
        let (signal, wait) = wait::pair(None);
        ring.waiting.push(Waiting { signal, notifications_only });
        wait
    }

    /// Wakes the readers that the commits since the last time concern.
    pub(super) fn wake(&self) {
        let woken = {
            let mut ring = self.ring.lock();
            let (commits, bytes) = ring.unread;
            let many = commits > FEED_COMMITS_MAX / LAZY_SHARE || bytes > FEED_BYTES_MAX / LAZY_SHARE;
            let all = ring.notifies || many;
            let woken: Vec<Waiting> =
                ring.waiting.extract_if(.., |waiting| all || !waiting.notifications_only).collect();
            if ring.waiting.is_empty() {
                (ring.unread, ring.notifies) = ((0, 0), false);
            }
            woken
        };
        woken.iter().for_each(|waiting| waiting.signal.fire());
    }

    /// Wakes all readers.
    pub(super) fn wake_all(&self) {
        let woken = std::mem::take(&mut self.ring.lock().waiting);
        woken.iter().for_each(|waiting| waiting.signal.fire());
    }
}

/// About the memory that a commit keeps.
fn weight(commit: &Commit) -> usize {
    let changes: usize = commit
        .changes
        .iter()
        .map(|change| {
            128 + change.key.len()
                + change.old.as_ref().map_or(0, |row| row.len())
                + change.new.as_ref().map_or(0, |row| row.len())
        })
        .sum();
    let notifications: usize = commit
        .notifications
        .iter()
        .map(|notification| 64 + notification.payload.len() + notification.channel.len())
        .sum();
    let bulk = commit.bulk.as_ref().map_or(0, |bulk| bulk.memory());
    let catalog = commit.catalog.as_ref().map_or(0, |catalog| catalog.weight());
    128 + changes + notifications + bulk + catalog
}

/// One follower of the commit sequence.
pub struct FeedReader {
    feed: Arc<Feed>,
    log: Arc<dyn CommitLog>,
    bulks: Arc<BulkDir>,
    position: CommitSeq,
    /// What is being read from the log.
    logged: Option<LoggedCommits>,
}

impl FeedReader {
    pub(super) fn new(
        feed: Arc<Feed>,
        log: Arc<dyn CommitLog>,
        bulks: Arc<BulkDir>,
        position: CommitSeq,
    ) -> FeedReader {
        FeedReader { feed, log, bulks, position, logged: None }
    }

    /// Adds the next commits, `max` at most, in order. False when the reader had fallen so far behind that it continued
    /// from the log: the notifications and the changes of STREAM tables in between are lost to it.
    pub fn next(&mut self, max: usize, out: &mut Vec<Arc<Commit>>) -> Result<bool> {
        if let Some(commits) = self.feed.after(self.position, max) {
            self.logged = None;
            if let Some(last) = commits.last() {
                self.position = last.seq;
            }
            out.extend(commits);
            return Ok(true);
        }
        let logged = match &mut self.logged {
            Some(logged) => logged,
            None => {
                let gone = self.feed.ring.lock().gone;
                self.logged.insert(LoggedCommits::new(&*self.log, &self.bulks, self.position, gone)?)
            }
        };
        for _ in 0..max {
            match logged.next() {
                Some(Ok(commit)) => {
                    self.position = commit.seq;
                    out.push(commit);
                }
                Some(Err(error)) => {
                    self.logged = None;
                    return Err(error);
                }
                None => {
                    self.position = logged.upto;
                    self.logged = None;
                    break;
                }
            }
        }
        Ok(false)
    }

    /// Over when there is something to read.
    pub fn wait(&self) -> Wait {
        self.feed.wait_after(self.position, false)
    }

    /// Over when there is a commit that notifies, or so much to read that the reader should not wait any longer: a
    /// reader that no other commit concerns is not woken by each.
    pub fn wait_for_notifications(&self) -> Wait {
        self.feed.wait_after(self.position, true)
    }

    /// The last commit that was read.
    pub fn position(&self) -> CommitSeq {
        self.position
    }
}

/// Commits read back from the log, up to a position.
pub(super) struct LoggedCommits {
    reader: LogReader,
    bulks: Arc<BulkDir>,
    ready: VecDeque<Arc<Commit>>,
    after: CommitSeq,
    upto: CommitSeq,
    failed: bool,
}

impl LoggedCommits {
    /// Those after `after`, up to and with `upto`. 72000 where the log does not reach back so far.
    pub(super) fn new(
        log: &dyn CommitLog,
        bulks: &Arc<BulkDir>,
        after: CommitSeq,
        upto: CommitSeq,
    ) -> Result<LoggedCommits> {
        if after < log.oldest() {
            return Err(not_kept(after));
        }
        let (reader, bulks) = (log.read_from(after)?, bulks.clone());
        Ok(LoggedCommits { reader, bulks, ready: VecDeque::new(), after, upto, failed: false })
    }

    fn fill(&mut self) -> Result<bool> {
        let Some(record) = self.reader.next().transpose()? else { return Ok(false) };
        for fragment in record::fragments(record.payload)? {
            if fragment.seq > self.after && fragment.seq <= self.upto {
                let commit = fragment.commit(&self.bulks).map_err(|error| match error.code() {
                    // a bulk file goes with the segment that names it, which this reader still has open
                    SqlState::UNDEFINED_FILE => not_kept(self.after),
                    _ => error,
                })?;
                self.ready.push_back(Arc::new(commit));
            }
        }
        Ok(record.first <= self.upto)
    }
}

fn not_kept(after: CommitSeq) -> Error {
    Error::new(SqlState::SNAPSHOT_TOO_OLD, format!("changes after position {after} are not kept any more"))
        .hint("Read the rows again, and keep changes longer with change_retention.")
}

impl Iterator for LoggedCommits {
    type Item = Result<Arc<Commit>>;

    fn next(&mut self) -> Option<Result<Arc<Commit>>> {
        while self.ready.is_empty() && !self.failed {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
