//! Who listens where, and the thread that tells them.

use super::event;
use super::listener::Listener;
use super::outbox::{Outbox, Queue};
use super::reader::{Reader, Told};
use super::round::{Desk, Helpers};
use super::shape::Projections;
use super::subscription::{Subject, Subscription};
use crate::error::{Error, Result, SqlState};
use crate::limits::STACK_BYTES;
use crate::txn::Engine;
use crate::types::{CommitSeq, Oid, Str};
use crate::wait::{self, Signal, Wait};
use parking_lot::{Mutex, RwLock};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// The listeners of each plain channel.
type Channels = HashMap<Str, BTreeMap<u64, Listening>>;

/// A session on a plain channel.
pub(super) struct Listening {
    pub(super) outbox: Arc<Outbox>,
    /// The commit that was visible when it began: the reader may come to it later, but it is not to be heard.
    pub(super) since: CommitSeq,
}

#[derive(Default)]
struct Progress {
    /// All that concerns commits up to here is in the outboxes.
    position: CommitSeq,
    waiting: Vec<(CommitSeq, Signal)>,
}

/// All live channels, and how many each user id has.
#[derive(Default)]
struct Members {
    by_number: BTreeMap<u64, Arc<Member>>,
    per_user: HashMap<Str, usize>,
}

/// What sessions and the reader share.
pub(super) struct Shared {
    engine: Arc<Engine>,
    pub(super) channels: RwLock<Channels>,
    members: Mutex<Members>,
    pub(super) projections: Mutex<Projections>,
    /// What the reader was told and has not looked at.
    told: Mutex<Vec<Told>>,
    progress: Mutex<Progress>,
    next_listener: AtomicU64,
    next_live: AtomicU64,
    stopped: AtomicBool,
}

/// A live channel of a session, known to both sides.
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) subscription: Subscription,
    pub(super) outbox: Arc<Outbox>,
    /// Its place there.
    pub(super) queue: Queue,
    /// Where it began.
    pub(super) since: CommitSeq,
    /// It was shown all commits up to here before it joined the others.
    shown: AtomicU64,
    /// Whether it has joined the others: then it is shown what the reader has read.
    joined: AtomicBool,
    /// The last commit whose events are in the outbox.
    delivered: AtomicU64,
}

impl Member {
    pub(super) fn new(id: u64, subscription: Subscription, outbox: Arc<Outbox>, since: CommitSeq) -> Member {
        let from = || AtomicU64::new(since.0);
        let joined = AtomicBool::new(false);
        let queue = Queue::new(id);
        Member { id, subscription, outbox, queue, since, shown: from(), joined, delivered: from() }
    }

    /// It has been shown all commits up to a position, if not more.
    pub(super) fn show_up_to(&self, seq: CommitSeq) {
        self.shown.fetch_max(seq.0, Ordering::Relaxed);
    }

    /// The last commit that it was shown before it joined the others.
    pub(super) fn shown(&self) -> CommitSeq {
        CommitSeq(self.shown.load(Ordering::Relaxed))
    }

    /// Whether it tells of rows, not of a topic's messages.
    pub(super) fn is_of_rows(&self) -> bool {
        matches!(self.subscription.subject, Subject::Rows(_))
    }

    /// It is where the reader is.
    pub(super) fn join(&self) {
        self.joined.store(true, Ordering::Relaxed);
    }

    /// Whether a commit is still to be shown to it.
    pub(super) fn awaits(&self, seq: CommitSeq) -> bool {
        self.shown.load(Ordering::Relaxed) < seq.0
    }

    pub(super) fn reach(&self, seq: CommitSeq) {
        self.delivered.store(seq.0, Ordering::Relaxed);
    }

    /// Ends it with a last message.
    pub(super) fn end(&self, payload: &Str) {
        self.outbox.end_live(&self.queue, &self.subscription.channel, payload);
        self.outbox.post();
    }
}

/// A live channel as `system.live` lists it.
#[derive(Clone, Debug)]
pub struct LiveQuery {
    /// Its number, unique while the server runs.
    pub id: u64,
    /// The channel.
    pub channel: Str,
    /// The relation; its name is the catalog's to say.
    pub relation: Oid,
    /// Whose rows.
    pub user_id: Str,
    /// The role that made it.
    pub role: Oid,
    /// Whether it tells of rows, not of a topic's messages.
    pub is_query: bool,
    /// Where it began.
    pub since: CommitSeq,
    /// The last commit that had something for it.
    pub delivered: CommitSeq,
    /// How many positions the newest visible commit is ahead of what it was shown.
    pub lag: u64,
    /// Events that wait for the session's socket.
    pub queued: u64,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Events that were taken from there for sending.
    pub sent: u64,
}

/// The registry of listeners and its reader. Dropping it ends the reader.
pub struct Hub {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    desk: Arc<Desk>,
    helpers: Mutex<Option<Helpers>>,
}

impl Hub {
    /// Starts a thread that follows the commits after now.
    pub fn start(engine: &Arc<Engine>) -> Result<Hub> {
        let (hub, reader) = Hub::with_reader(engine);
        let thread =
            std::thread::Builder::new().name("live".to_owned()).stack_size(STACK_BYTES).spawn(move || reader.run())?;
        *hub.thread.lock() = Some(thread);
        *hub.helpers.lock() = Some(Helpers::start(hub.desk.clone())?);
        Ok(hub)
    }

    /// A registry whose reader the caller steps.
    pub fn with_reader(engine: &Arc<Engine>) -> (Hub, Reader) {
        let feed = engine.feed();
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            channels: RwLock::default(),
            members: Mutex::default(),
            projections: Mutex::default(),
            told: Mutex::default(),
            progress: Mutex::new(Progress { position: feed.position(), waiting: Vec::new() }),
            next_listener: AtomicU64::new(1),
            next_live: AtomicU64::new(1),
            stopped: AtomicBool::new(false),
        });
        let desk = Arc::new(Desk::default());
        let reader = Reader::new(shared.clone(), engine.clone(), feed, desk.clone());
        (Hub { shared, thread: Mutex::default(), desk, helpers: Mutex::default() }, reader)
    }

    /// The place of one session, which listens on nothing yet.
    pub fn listener(&self) -> Listener {
        let id = self.shared.next_listener.fetch_add(1, Ordering::Relaxed);
        Listener::new(self.shared.clone(), id)
    }

    /// Over when what concerns a commit is in the outboxes: a session waits for its own before it says that it is
    /// ready. `seq` is the position of a commit that wrote or notified; no other is sure to be reached.
    pub fn wait_for(&self, seq: CommitSeq) -> Wait {
        let mut progress = self.shared.progress.lock();
        if progress.position >= seq || self.shared.is_stopped() {
            return Wait::ready();
        }
        let (signal, wait) = wait::pair(None);
        progress.waiting.push((seq, signal));
        wait
    }

    /// All live channels, by number.
    pub fn live_queries(&self) -> Vec<LiveQuery> {
        let members: Vec<Arc<Member>> = self.shared.members.lock().by_number.values().cloned().collect();
        members.iter().map(|member| self.shared.describe(member)).collect()
    }

    /// A live channel by its number.
    pub fn live_query(&self, id: u64) -> Option<LiveQuery> {
        let member = self.shared.members.lock().by_number.get(&id).cloned()?;
        Some(self.shared.describe(&member))
    }

    /// KILL LIVE QUERY: ends one, which learns that it was ended. False where there is none of that number.
    pub fn kill(&self, id: u64) -> bool {
        let Some(member) = self.shared.leave(id) else { return false };
        let error = Error::new(SqlState::QUERY_CANCELED, "live query ended by administrator command");
        member.end(&event::failure(&error));
        self.shared.tell(Told::End(member));
        true
    }

    /// Ends the reader and those who help it.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.engine.wake_followers();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that delivers notifications panicked");
        }
        *self.helpers.lock() = None;
        let waiting = std::mem::take(&mut self.shared.progress.lock().waiting);
        drop(waiting);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn describe(&self, member: &Member) -> LiveQuery {
        let Subscription { channel, user_id, role, .. } = &member.subscription;
        let waiting = member.outbox.waiting(&member.queue).unwrap_or_default();
        let mut shown = member.shown();
        if member.joined.load(Ordering::Relaxed) {
            shown = shown.max(self.progress.lock().position);
        }
        LiveQuery {
            id: member.id,
            channel: channel.clone(),
            relation: member.subscription.relation().oid,
            user_id: user_id.clone(),
            role: *role,
            is_query: member.is_of_rows(),
            since: member.since,
            delivered: CommitSeq(member.delivered.load(Ordering::Relaxed)),
            lag: self.engine.current().0.saturating_sub(shown.0),
            queued: waiting.events,
            queued_bytes: waiting.bytes,
            sent: waiting.sent,
        }
    }

    /// Whether a user id may have so many live queries more.
    ///
    /// # Errors
    /// 53400
    pub(super) fn check_room(&self, user_id: &Str, more: usize) -> Result<()> {
        let most = self.engine.options().live_queries_per_user_max;
        let there = self.members.lock().per_user.get(user_id).copied().unwrap_or_default();
        if there + more <= most {
            return Ok(());
        }
        let message = format!("user \"{user_id}\" has {there} live queries already");
        Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
            .hint("UNLISTEN some of them first, or raise live_queries_per_user_max."))
    }

    /// A live channel begins.
    pub(super) fn enter(&self, member: &Arc<Member>) {
        let mut members = self.members.lock();
        *members.per_user.entry(member.subscription.user_id.clone()).or_default() += 1;
        members.by_number.insert(member.id, member.clone());
    }

    /// A live channel ends; none where it has ended before.
    pub(super) fn leave(&self, id: u64) -> Option<Arc<Member>> {
        let mut members = self.members.lock();
        let member = members.by_number.remove(&id)?;
        if let Entry::Occupied(mut there) = members.per_user.entry(member.subscription.user_id.clone()) {
            *there.get_mut() -= 1;
            if *there.get() == 0 {
                there.remove();
            }
        }
        Some(member)
    }

    /// The number of a new live channel.
    pub(super) fn next_live(&self) -> u64 {
        self.next_live.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Tells the reader something and wakes it.
    pub(super) fn tell(&self, told: Told) {
        self.told.lock().push(told);
        self.engine.wake_followers();
    }

    /// The last commit that is visible.
    pub(super) fn visible(&self) -> CommitSeq {
        self.engine.current()
    }

    /// What the reader was told since it last asked.
    pub(super) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock())
    }

    /// Whether the reader was told something.
    pub(super) fn has_told(&self) -> bool {
        !self.told.lock().is_empty()
    }

    /// Takes a session off a plain channel.
    pub(super) fn remove(&self, channel: &[u8], id: u64) {
        let mut channels = self.channels.write();
        if let Some(listeners) = channels.get_mut(channel) {
            listeners.remove(&id);
            if listeners.is_empty() {
                channels.remove(channel);
            }
        }
    }

    /// Ends the sessions that listen on plain channels, since they have missed something.
    pub(super) fn lose(&self) {
        for listening in self.channels.read().values().flat_map(BTreeMap::values) {
            listening.outbox.lose();
        }
    }

    /// What concerns commits up to `position` is in the outboxes.
    pub(super) fn reach(&self, position: CommitSeq) {
        let mut progress = self.progress.lock();
        progress.position = position;
        let reached: Vec<_> = progress.waiting.extract_if(.., |(seq, _)| *seq <= position).collect();
        drop(progress);
        drop(reached);
    }
}
