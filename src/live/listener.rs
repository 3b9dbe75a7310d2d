//! One session's channels.

use super::hub::{Listening, Member, Shared};
use super::outbox::Outbox;
use super::reader::Told;
use super::subscription::{Subject, Subscription};
use crate::error::{Error, Result, SqlState};
use crate::limits::SUBSCRIPTIONS_PER_SESSION_MAX;
use crate::types::{CommitSeq, Str};
use std::collections::HashSet;
use std::sync::Arc;

/// One session's channels and what waits for it. Dropping it ends its listening.
pub struct Listener {
    shared: Arc<Shared>,
    id: u64,
    outbox: Arc<Outbox>,
    channels: HashSet<Str>,
    /// Live channels; some may have been ended by the other side.
    live: Vec<Arc<Member>>,
}

impl Listener {
    pub(super) fn new(shared: Arc<Shared>, id: u64) -> Listener {
        Listener { shared, id, outbox: Arc::default(), channels: HashSet::new(), live: Vec::new() }
    }

    /// LISTEN. Called just before the commit of the transaction that said so, as PostgreSQL does, so that no later
    /// commit is missed; taken back with [`unlisten`](Self::unlisten) when that commit fails. False when the session
    /// listened there already.
    pub fn listen(&mut self, channel: Str) -> bool {
        if !self.channels.insert(channel.clone()) {
            return false;
        }
        let listening = Listening { outbox: self.outbox.clone(), since: self.shared.visible() };
        self.shared.channels.write().entry(channel).or_default().insert(self.id, listening);
        true
    }

    /// UNLISTEN of a plain channel; one that is not listened on changes nothing. What waits of it is not heard any more,
    /// as in PostgreSQL.
    pub fn unlisten(&mut self, channel: &str) {
        if self.channels.remove(channel.as_bytes()) {
            self.shared.remove(channel.as_bytes(), self.id);
            self.outbox.forget(|of| of.as_str() == channel);
        }
    }

    /// UNLISTEN of a live channel.
    pub fn unlisten_live(&mut self, channel: &str) {
        for member in self.live.extract_if(.., |member| member.subscription.channel.as_str() == channel) {
            end(&self.shared, &self.outbox, member);
        }
    }

    /// UNLISTEN *
    pub fn unlisten_all(&mut self) {
        self.unlisten_all_but(&HashSet::new());
    }

    /// UNLISTEN *, but for plain channels that the same transaction listens on afterwards.
    pub fn unlisten_all_but(&mut self, kept: &HashSet<Str>) {
        let ended: HashSet<Str> = self.channels.extract_if(|channel| !kept.contains(channel.as_bytes())).collect();
        for channel in &ended {
            self.shared.remove(channel.as_bytes(), self.id);
        }
        self.outbox.forget(|of| ended.contains(of.as_bytes()));
        for member in self.live.drain(..) {
            end(&self.shared, &self.outbox, member);
        }
    }

    /// The channels listened on, in no order: pg_listening_channels().
    pub fn channels(&self) -> impl Iterator<Item = &Str> {
        let live = self.live.iter().filter(|member| self.outbox.is_open(&member.queue));
        self.channels.iter().chain(live.map(|member| &member.subscription.channel))
    }

    /// Whether a live channel of that name is open.
    pub fn has_live(&self, channel: &str) -> bool {
        let mut live = self.live.iter().filter(|member| self.outbox.is_open(&member.queue));
        live.any(|member| member.subscription.channel.as_str() == channel)
    }

    /// Whether any live channel is open.
    pub fn is_live(&self) -> bool {
        self.live.iter().any(|member| self.outbox.is_open(&member.queue))
    }

    /// Whether a user may have another live channel of that name, beside `more` that are on their way. Those that several
    /// sessions begin at once may pass the user's bound together.
    ///
    /// # Errors
    /// 42710 where the session uses the name, 53400 where it or the user has as many as may be.
    pub fn check_new(&self, channel: &str, user_id: &Str, more: usize) -> Result<()> {
        if self.channels.contains(channel.as_bytes()) || self.has_live(channel) {
            return Err(channel_in_use(channel));
        }
        let is_open = |member: &&Arc<Member>| self.outbox.is_open(&member.queue);
        if self.live.len() + more >= SUBSCRIPTIONS_PER_SESSION_MAX
            && self.live.iter().filter(is_open).count() + more >= SUBSCRIPTIONS_PER_SESSION_MAX
        {
            let message = format!("session has {SUBSCRIPTIONS_PER_SESSION_MAX} live queries already");
            return Err(
                Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message).hint("UNLISTEN some of them first.")
            );
        }
        self.shared.check_room(user_id, more + 1)
    }

    /// Begins a live channel: its acknowledgement waits for the session at once, all commits after `since` follow.
    /// Called when the transaction that asked for it is committed.
    pub fn subscribe(&mut self, mut subscription: Subscription, since: CommitSeq) {
        if let Subject::Rows(shape) = &mut subscription.subject {
            self.shared.projections.lock().share(Arc::make_mut(shape));
        }
        self.live.retain(|member| self.outbox.is_open(&member.queue));
        let acknowledgement = subscription.acknowledgement(since);
        let member = Arc::new(Member::new(self.shared.next_live(), subscription, self.outbox.clone(), since));
        self.outbox.push_live(&member.queue, &member.subscription.channel, &[acknowledgement], true);
        self.live.push(member.clone());
        self.shared.enter(&member);
        self.shared.tell(Told::Begin(member));
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

/// 42710 for a channel that the session uses already.
pub fn channel_in_use(channel: &str) -> Error {
    let message = format!("channel \"{channel}\" is already in use by this session");
    Error::new(SqlState::DUPLICATE_OBJECT, message).hint("UNLISTEN it first, or name another.")
}

fn end(shared: &Shared, outbox: &Outbox, member: Arc<Member>) {
    outbox.close(&member.queue);
    shared.leave(member.id);
    shared.tell(Told::End(member));
}
