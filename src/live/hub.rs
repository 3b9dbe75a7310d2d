//! Who listens where, and the thread that tells them.

use super::outbox::Outbox;
use crate::change::Commit;
use crate::error::Result;
use crate::limits::SCAN_BATCH;
use crate::txn::{Engine, FeedReader};
use crate::types::{CommitSeq, Str};
use crate::wait::{self, Signal, Wait};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the reader sleeps at most before it looks whether it should end.
const PAUSE: Duration = Duration::from_millis(250);

/// The listeners of each channel.
type Channels = HashMap<Str, BTreeMap<u64, Arc<Outbox>>>;

struct Progress {
    /// All notifications of commits up to here are in the outboxes.
    position: CommitSeq,
    waiting: Vec<(CommitSeq, Signal)>,
}

struct Shared {
    channels: RwLock<Channels>,
    progress: Mutex<Progress>,
    stopped: AtomicBool,
}

/// The registry of listeners and its reader. Dropping it ends the reader.
pub struct Hub {
    shared: Arc<Shared>,
    next_listener: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Hub {
    /// Starts to follow the commits after now.
    pub fn start(engine: &Engine) -> Result<Hub> {
        let reader = engine.feed();
        let shared = Arc::new(Shared {
            channels: RwLock::default(),
            progress: Mutex::new(Progress { position: reader.position(), waiting: Vec::new() }),
            stopped: AtomicBool::new(false),
        });
        let own = shared.clone();
        let thread = std::thread::Builder::new().name("live".to_owned()).spawn(move || run(&own, reader))?;
        Ok(Hub { shared, next_listener: AtomicU64::new(1), thread: Mutex::new(Some(thread)) })
    }

    /// The place of one session, which listens on nothing yet.
    pub fn listener(&self) -> Listener {
        Listener {
            shared: self.shared.clone(),
            id: self.next_listener.fetch_add(1, Ordering::Relaxed),
            outbox: Arc::default(),
            channels: HashSet::new(),
        }
    }

    /// Over when the notifications of a commit that had some are in the outboxes: a session waits for its own before
    /// it says that it is ready. `seq` is the position of a commit that notified; no other is sure to be reached.
    pub fn wait_for(&self, seq: CommitSeq) -> Wait {
        let mut progress = self.shared.progress.lock();
        if progress.position >= seq || self.shared.stopped.load(Ordering::Acquire) {
            return Wait::ready();
        }
        let (signal, wait) = wait::pair(None);
        progress.waiting.push((seq, signal));
        wait
    }

    /// Ends the reader.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that delivers notifications panicked");
        }
        let waiting = std::mem::take(&mut self.shared.progress.lock().waiting);
        drop(waiting);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One session's channels and what waits for it. Dropping it ends its listening.
pub struct Listener {
    shared: Arc<Shared>,
    id: u64,
    outbox: Arc<Outbox>,
    channels: HashSet<Str>,
}

impl Listener {
    /// LISTEN. Called just before the commit of the transaction that said so, as PostgreSQL does, so that no later
    /// commit is missed; taken back with [`unlisten`](Self::unlisten) when that commit fails. False when the session
    /// listened there already.
    pub fn listen(&mut self, channel: Str) -> bool {
        if !self.channels.insert(channel.clone()) {
            return false;
        }
        self.shared.channels.write().entry(channel).or_default().insert(self.id, self.outbox.clone());
        true
    }

    /// UNLISTEN; a channel that is not listened on changes nothing.
    pub fn unlisten(&mut self, channel: &str) {
        if self.channels.remove(channel.as_bytes()) {
            remove(&mut self.shared.channels.write(), channel.as_bytes(), self.id);
        }
    }

    /// UNLISTEN *
    pub fn unlisten_all(&mut self) {
        if self.channels.is_empty() {
            return;
        }
        let mut channels = self.shared.channels.write();
        for channel in self.channels.drain() {
            remove(&mut channels, channel.as_bytes(), self.id);
        }
    }

    /// The channels listened on, in no order: pg_listening_channels().
    pub fn channels(&self) -> impl Iterator<Item = &Str> {
        self.channels.iter()
    }

    /// What waits for the session.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.unlisten_all();
    }
}

fn remove(channels: &mut Channels, channel: &[u8], id: u64) {
    if let Some(listeners) = channels.get_mut(channel) {
        listeners.remove(&id);
        if listeners.is_empty() {
            channels.remove(channel);
        }
    }
}

fn run(shared: &Shared, mut reader: FeedReader) {
    let mut commits = Vec::new();
    while !shared.stopped.load(Ordering::Acquire) {
        commits.clear();
        match reader.next(SCAN_BATCH, &mut commits) {
            Ok(complete) => {
                if !complete {
                    tracing::warn!("the reader of notifications fell behind; listening sessions end");
                    shared.lose();
                }
                commits.iter().for_each(|commit| shared.deliver(commit));
                shared.reach(reader.position());
                if complete && commits.is_empty() {
                    let mut wait = reader.wait();
                    wait.limit = Some(PAUSE);
                    wait.block();
                }
            }
            Err(error) => {
                tracing::error!(%error, "notifications cannot be read; listening sessions end");
                shared.lose();
                let (_signal, wait) = wait::pair(Some(PAUSE));
                wait.block();
            }
        }
    }
}

impl Shared {
    fn deliver(&self, commit: &Commit) {
        if commit.notifications.is_empty() {
            return;
        }
        let channels = self.channels.read();
        for notification in &commit.notifications {
            for outbox in channels.get(&notification.channel).into_iter().flat_map(BTreeMap::values) {
                outbox.push(notification);
            }
        }
    }

    fn lose(&self) {
        for outbox in self.channels.read().values().flat_map(BTreeMap::values) {
            outbox.lose();
        }
    }

    fn reach(&self, position: CommitSeq) {
        let mut progress = self.progress.lock();
        progress.position = position;
        let reached: Vec<_> = progress.waiting.extract_if(.., |(seq, _)| *seq <= position).collect();
        drop(progress);
        drop(reached);
    }
}
