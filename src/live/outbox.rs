//! What waits for one session's socket.

use crate::change::Notification;
use crate::error::{Error, Result, SqlState};
use crate::limits::{LIVE_QUERY_BYTES_MAX, OUTBOX_BYTES_MAX};
use crate::types::Str;
use crate::wait::{self, Signal, Wait};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// What a waiting notification counts beside its texts, so that empty ones are bounded too.
const ENTRY_BYTES: usize = 64;

/// Bytes of notifications that are sent over a [`Line`] at once, at most: what is more the session itself sends, bit by
/// bit.
const LINE_BYTES: usize = 64 << 10;

/// Entries that an outbox has room for while it is empty.
const ENTRIES_KEPT: usize = 16;

/// The way to a client whose session rests: whoever has something for it sends it there and then, without waking the
/// session. It never waits for the client.
pub trait Line: Send + Sync {
    /// Sends notifications as far as the client takes them at once.
    fn send(&self, notifications: &mut dyn Iterator<Item = &Notification>) -> Sent;
}

/// How much was sent over a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    All,
    /// A part. The line has the rest: the session must send it before anything else.
    Part,
    /// Nothing: the client takes nothing now.
    Nothing,
}

/// One message, and which live channel it is of.
struct Entry {
    notification: Notification,
    live: Option<u64>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    /// Bytes of plain notifications that wait.
    bytes: usize,
    /// Bytes of live events that wait.
    live_bytes: usize,
    /// How often all that waited was taken.
    round: u64,
    /// The newest message of each topic's partition: one that was not sent yet is replaced by a newer one.
    arrivals: BTreeMap<(u64, u32), Notification>,
    /// Something was lost: nothing more is taken, and the session ends.
    lost: bool,
    signal: Option<Signal>,
    /// The way to the client.
    line: Option<Weak<dyn Line>>,
    /// The session says nothing itself just now: the line is free.
    rests: bool,
    /// The line has the rest of something, which the session must send first.
    owes: bool,
}

/// What waits of one live channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Bytes that wait.
    pub(super) bytes: usize,
    /// Events that wait.
    pub(super) events: u64,
    /// Events that were taken for sending.
    pub(super) sent: u64,
    /// The round that this is of: what waited in an earlier one has been taken.
    round: u64,
}

impl Waiting {
    /// As it is in a round: taking all that waits touches no queue.
    fn in_round(self, round: u64) -> Waiting {
        match self.round == round {
            true => self,
            false => Waiting { bytes: 0, events: 0, sent: self.sent + self.events, round },
        }
    }
}

/// The place of one live channel in its session's outbox. It lies with the channel, since whoever tells the channel
/// something has that at hand; read and written under the outbox's lock only, which orders what is said to it.
#[derive(Default)]
pub(super) struct Queue {
    id: u64,
    has_ended: AtomicBool,
    bytes: AtomicUsize,
    events: AtomicU64,
    sent: AtomicU64,
    round: AtomicU64,
}

impl Queue {
    /// That of a live channel with a number.
    pub(super) fn new(id: u64) -> Queue {
        Queue { id, ..Queue::default() }
    }

    fn get(&self) -> Waiting {
        Waiting {
            bytes: self.bytes.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            round: self.round.load(Ordering::Relaxed),
        }
    }

    fn set(&self, waiting: Waiting) {
        self.bytes.store(waiting.bytes, Ordering::Relaxed);
        self.events.store(waiting.events, Ordering::Relaxed);
        self.sent.store(waiting.sent, Ordering::Relaxed);
        self.round.store(waiting.round, Ordering::Relaxed);
    }
}

/// Notifications that a session has not sent yet, in commit order. Channel and payload share the commit's buffers, so
/// one that goes to many sessions is held once.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    /// The rounds that will post it, by their bits.
    due: AtomicU8,
}

/// What became of a live event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It waits for the session.
    Yes,
    /// There is no room for it.
    Full,
    /// The live channel has ended.
    Closed,
}

impl Outbox {
    /// Adds a notification. Beyond [`OUTBOX_BYTES_MAX`] everything is dropped and the session is marked to end. What was
    /// added here and in the other ways stays until it is [posted](Self::post) or drained.
    pub fn push(&self, notification: &Notification) {
        self.change(|state| {
            let bytes = weight(notification);
            if state.bytes + bytes > OUTBOX_BYTES_MAX {
                state.lose();
            } else {
                state.bytes += bytes;
                state.waiting.push_back(Entry { notification: notification.clone(), live: None });
            }
        });
    }

    /// Drops the plain notifications that wait of some channels.
    pub(super) fn forget(&self, is_ended: impl Fn(&Str) -> bool) {
        let mut state = self.state.lock();
        let State { waiting, bytes, .. } = &mut *state;
        waiting.retain(|entry| {
            let stays = entry.live.is_some() || !is_ended(&entry.notification.channel);
            if !stays {
                *bytes = bytes.saturating_sub(weight(&entry.notification));
            }
            stays
        });
    }

    /// Marks the session to end, because notifications were lost on their way here, and wakes it.
    pub fn lose(&self) {
        self.change(State::lose);
        self.post();
    }

    /// Changes the state unless the session ends anyway.
    fn change(&self, body: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        if !state.lost {
            body(&mut state);
        }
    }

    /// Sends what waits, where the session rests and its client takes it; else wakes the session, without the lock, since
    /// that may run the session's task.
    pub fn post(&self) {
        let signal = {
            let mut state = self.state.lock();
            if state.lost || state.is_due() && !state.send() { state.signal.take() } else { None }
        };
        drop(signal);
    }

    /// Marks that a round will post it; false where that is known.
    pub(super) fn mark(&self, round: u8) -> bool {
        self.due.fetch_or(round, Ordering::Relaxed) & round == 0
    }

    /// A round is about to post it.
    pub(super) fn unmark(&self, round: u8) {
        self.due.fetch_and(!round, Ordering::Relaxed);
    }

    /// Gives it the way to its client, for while the session rests.
    pub fn connect(&self, line: Weak<dyn Line>) {
        self.state.lock().line = Some(line);
    }

    /// The session rests: what comes is sent over the line. Over when there is something that the session itself must send
    /// or hear. It has one such wait at a time; a new one ends the one before.
    pub fn rest(&self) -> Wait {
        let wait = self.wait();
        self.state.lock().rests = !wait.is_done();
        wait
    }

    /// The session has the line to itself again.
    pub fn rise(&self) {
        self.state.lock().rests = false;
    }

    /// Whether a live channel is open.
    pub(super) fn is_open(&self, queue: &Queue) -> bool {
        self.state.lock().waiting_of(queue).is_some()
    }

    /// What waits of a live channel; none when it has ended.
    pub(super) fn waiting(&self, queue: &Queue) -> Option<Waiting> {
        self.state.lock().waiting_of(queue)
    }

    /// Whether a live channel that catches up may be given more; none when it has ended.
    pub(super) fn has_room(&self, queue: &Queue) -> Option<bool> {
        let state = self.state.lock();
        let bytes = state.waiting_of(queue)?.bytes;
        Some(bytes == 0 || (bytes < LIVE_QUERY_BYTES_MAX / 2 && state.live_bytes < OUTBOX_BYTES_MAX / 2))
    }

    /// Ends a live channel; what waits of it is dropped.
    pub(super) fn close(&self, queue: &Queue) {
        let mut state = self.state.lock();
        if state.end(queue) {
            state.waiting.retain(|entry| entry.live != Some(queue.id));
            state.arrivals.retain(|(of, _), _| *of != queue.id);
        }
    }

    /// Adds all of a commit's events of a live channel, or none of them where there is no room. `whatever_size` is for
    /// one that [`has_room`](Self::has_room): so the largest commit gets through in the end.
    pub(super) fn push_live(&self, queue: &Queue, channel: &Str, payloads: &[Str], whatever_size: bool) -> Taken {
        let mut state = self.state.lock();
        let Some(mut waiting) = state.waiting_of(queue) else { return Taken::Closed };
        let bytes: usize = payloads.iter().map(|payload| ENTRY_BYTES + channel.len() + payload.len()).sum();
        let full = waiting.bytes + bytes > LIVE_QUERY_BYTES_MAX || state.live_bytes + bytes > OUTBOX_BYTES_MAX;
        if full && !whatever_size {
            return Taken::Full;
        }
        waiting.bytes += bytes;
        waiting.events += payloads.len() as u64;
        queue.set(waiting);
        state.live_bytes += bytes;
        let live = Some(queue.id);
        state.waiting.extend(payloads.iter().map(|payload| Entry { notification: own(channel, payload), live }));
        Taken::Yes
    }

    /// Adds the last message of a live channel, which ends with it.
    pub(super) fn end_live(&self, queue: &Queue, channel: &Str, payload: &Str) {
        let mut state = self.state.lock();
        if state.end(queue) {
            state.waiting.push_back(Entry { notification: own(channel, payload), live: None });
        }
    }

    /// Says that a topic's partition has messages.
    pub(super) fn arrive(&self, queue: &Queue, channel: &Str, partition: u32, payload: &Str) -> Taken {
        let mut state = self.state.lock();
        let Some(mut waiting) = state.waiting_of(queue) else { return Taken::Closed };
        if state.arrivals.insert((queue.id, partition), own(channel, payload)).is_none() {
            waiting.events += 1;
        }
        queue.set(waiting);
        Taken::Yes
    }

    /// Takes all that waits. 53400, ending the session, when something was lost.
    pub fn drain(&self) -> Result<VecDeque<Notification>> {
        let mut state = self.state.lock();
        if state.lost {
            return Err(Error::fatal(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                "terminating connection because it did not receive its notifications fast enough",
            )
            .hint("Read from the connection continually, and LISTEN again after reconnecting."));
        }
        state.count_as_taken();
        state.owes = false;
        let waiting = std::mem::take(&mut state.waiting);
        let arrivals = std::mem::take(&mut state.arrivals);
        drop(state);
        Ok(waiting.into_iter().map(|entry| entry.notification).chain(arrivals.into_values()).collect())
    }

    /// Over when there is something to drain. A session has one such wait at a time; a new one ends the one before.
    pub fn wait(&self) -> Wait {
        let mut state = self.state.lock();
        if state.lost || state.is_due() {
            return Wait::ready();
        }
        let (signal, wait) = wait::pair(None);
        let before = state.signal.replace(signal);
        drop(state);
        drop(before);
        wait
    }
}

impl State {
    /// What waits of a live channel; none when it has ended.
    fn waiting_of(&self, queue: &Queue) -> Option<Waiting> {
        let has_ended = self.lost || queue.has_ended.load(Ordering::Relaxed);
        (!has_ended).then(|| queue.get().in_round(self.round))
    }

    /// Ends a live channel; false when it has ended before.
    fn end(&mut self, queue: &Queue) -> bool {
        let Some(waiting) = self.waiting_of(queue) else { return false };
        self.live_bytes -= waiting.bytes;
        queue.has_ended.store(true, Ordering::Relaxed);
        true
    }

    /// Sends what waits over the line; false where the session must.
    fn send(&mut self) -> bool {
        if !self.rests || self.owes || self.bytes + self.live_bytes > LINE_BYTES {
            return false;
        }
        let Some(line) = self.line.as_ref().and_then(Weak::upgrade) else { return false };
        let waiting = self.waiting.iter().map(|entry| &entry.notification);
        let sent = line.send(&mut waiting.chain(self.arrivals.values()));
        if sent != Sent::Nothing {
            self.count_as_taken();
            self.waiting.clear();
            self.waiting.shrink_to(ENTRIES_KEPT);
            self.arrivals.clear();
        }
        self.owes = sent == Sent::Part;
        self.rests = sent == Sent::All;
        self.rests
    }

    /// All that waits is on its way.
    fn count_as_taken(&mut self) {
        self.bytes = 0;
        self.live_bytes = 0;
        self.round += 1;
    }

    /// Whether there is something that the client has not got.
    fn is_due(&self) -> bool {
        self.owes || !self.waiting.is_empty() || !self.arrivals.is_empty()
    }

    fn lose(&mut self) {
        *self = State { lost: true, signal: self.signal.take(), ..State::default() };
    }
}

/// A message of the server itself: no session's process id.
fn own(channel: &Str, payload: &Str) -> Notification {
    Notification { channel: channel.clone(), payload: payload.clone(), pid: 0 }
}

fn weight(notification: &Notification) -> usize {
    ENTRY_BYTES + notification.channel.len() + notification.payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Str;
    use std::sync::Arc;

    fn notification(payload: &str) -> Notification {
        Notification { channel: Str::from_static("c"), payload: Str::from(payload), pid: 1 }
    }

    #[test]
    fn what_is_pushed_comes_out_once_and_in_order() {
        let outbox = Outbox::default();
        let wait = outbox.wait();
        assert!(!wait.is_done());
        outbox.push(&notification("1"));
        outbox.push(&notification("2"));
        assert!(!wait.is_done());
        outbox.post();
        assert!(wait.is_done() && outbox.wait().is_done());
        assert_eq!(outbox.drain().unwrap(), [notification("1"), notification("2")]);
        assert!(outbox.drain().unwrap().is_empty());
        assert!(!outbox.wait().is_done());
    }

    #[test]
    fn an_outbox_that_overflows_ends_its_session_and_holds_nothing() {
        let outbox = Outbox::default();
        let large = notification(&"x".repeat(1 << 20));
        for _ in 0..OUTBOX_BYTES_MAX >> 20 {
            outbox.push(&large);
        }
        assert!(outbox.wait().is_done());
        let error = outbox.drain().unwrap_err();
        assert!(error.is_fatal());
        assert_eq!(error.code(), SqlState::CONFIGURATION_LIMIT_EXCEEDED);
        assert!(outbox.state.lock().waiting.is_empty());
    }

    /// A client that takes so many notifications, and then a part of one.
    struct Client {
        takes: usize,
        taken: Mutex<Vec<String>>,
    }

    impl Line for Client {
        fn send(&self, notifications: &mut dyn Iterator<Item = &Notification>) -> Sent {
            let mut taken = self.taken.lock();
            if taken.len() >= self.takes {
                return Sent::Nothing;
            }
            taken.extend(notifications.map(|notification| notification.payload.to_string()));
            if taken.len() <= self.takes { Sent::All } else { Sent::Part }
        }
    }

    #[test]
    fn a_session_that_rests_is_not_woken_while_its_client_takes_all() {
        let client = Arc::new(Client { takes: 2, taken: Mutex::default() });
        let line: Arc<dyn Line> = client.clone();
        let outbox = Outbox::default();
        outbox.connect(Arc::downgrade(&line));
        let post = |payload: &str| {
            outbox.push(&notification(payload));
            outbox.post();
        };
        post("before it rests");
        assert!(outbox.rest().is_done());
        assert_eq!(outbox.drain().unwrap().len(), 1);
        let wait = outbox.rest();
        post("1");
        assert!(!wait.is_done());
        outbox.push(&notification("2"));
        post("3, in part");
        assert!(wait.is_done());
        assert_eq!(*client.taken.lock(), ["1", "2", "3, in part"]);
        // a session that looked elsewhere first is told again
        assert!(outbox.rest().is_done());
        post("while the rest is to be sent");
        assert_eq!(client.taken.lock().len(), 3);
        assert_eq!(outbox.drain().unwrap().len(), 1);
        let wait = outbox.rest();
        post("nothing is taken");
        assert!(wait.is_done());
        assert_eq!(outbox.drain().unwrap(), [notification("nothing is taken")]);
        let wait = outbox.rest();
        outbox.rise();
        drop((line, client));
        post("while it speaks");
        assert!(wait.is_done());
        assert_eq!(outbox.state.lock().bytes, weight(&notification("while it speaks")));
    }

    #[test]
    fn a_live_channel_that_overflows_takes_whole_commits_only() {
        let (outbox, channel) = (Outbox::default(), Str::from_static("c"));
        let half = Str::from("x".repeat(LIVE_QUERY_BYTES_MAX / 2));
        let queue = Queue::new(1);
        assert_eq!(outbox.push_live(&queue, &channel, std::slice::from_ref(&half), false), Taken::Yes);
        assert_eq!(outbox.push_live(&queue, &channel, &[Str::from("y"), half.clone()], false), Taken::Full);
        assert_eq!(outbox.has_room(&queue), Some(false));
        assert_eq!(outbox.drain().unwrap().len(), 1);
        assert_eq!(outbox.push_live(&queue, &channel, &[half.clone(), half.clone()], true), Taken::Yes);
        outbox.end_live(&queue, &channel, &Str::from("over"));
        assert_eq!(outbox.push_live(&queue, &channel, &[half], true), Taken::Closed);
        assert_eq!(outbox.drain().unwrap().len(), 3);
        assert_eq!(outbox.state.lock().live_bytes, 0);
    }

    #[test]
    fn wake_ups_of_a_partition_are_one_until_they_are_sent() {
        let (outbox, channel) = (Outbox::default(), Str::from_static("c"));
        let queue = Queue::new(1);
        let wait = outbox.wait();
        for offset in ["0", "1", "2"] {
            outbox.arrive(&queue, &channel, 0, &Str::from(offset));
        }
        outbox.arrive(&queue, &channel, 1, &Str::from("7"));
        outbox.post();
        assert!(wait.is_done());
        let sent: Vec<String> = outbox.drain().unwrap().iter().map(|sent| sent.payload.to_string()).collect();
        assert_eq!(sent, ["2", "7"]);
        outbox.close(&queue);
        assert_eq!(outbox.arrive(&queue, &channel, 0, &Str::from("3")), Taken::Closed);
        assert!(outbox.drain().unwrap().is_empty());
    }
}
