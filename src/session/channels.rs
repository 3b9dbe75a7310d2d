//! LISTEN, UNLISTEN and NOTIFY: they take effect when their transaction commits.

use super::conversation::Session;
use super::statement::{Outcome, done};
use crate::error::{Error, Result, SqlState};
use crate::limits::NOTIFY_PAYLOAD_BYTES_MAX;
use crate::live::{Listener, Subscription};
use crate::sql::exec::check_notify;
use crate::sql::parse::Channel;
use crate::types::{CommitSeq, Str};
use std::collections::HashSet;

/// What a transaction said about channels.
pub(super) enum Listening {
    /// LISTEN on a plain channel.
    Listen(Str),
    /// A live channel, and the position that it begins after: none for that of the commit.
    Live(Box<Subscription>, Option<CommitSeq>),
    /// UNLISTEN; none for `*`.
    Unlisten(Option<Str>),
}

impl Listening {
    /// Whether this leaves a channel of that name in use or free; none if it says nothing of it.
    pub(super) fn decides(&self, name: &str) -> Option<bool> {
        match self {
            Listening::Listen(channel) => (channel.as_str() == name).then_some(true),
            Listening::Live(subscription, _) => (subscription.channel.as_str() == name).then_some(true),
            Listening::Unlisten(None) => Some(false),
            Listening::Unlisten(Some(channel)) => (channel.as_str() == name).then_some(false),
        }
    }
}

/// What must be taken back where the commit fails.
#[derive(Default)]
pub(super) struct Begun(Vec<Str>);

impl Begun {
    /// Begins to listen just before the commit, so that no later one is missed.
    pub(super) fn begin(said: &[Listening], listener: &mut Listener) -> Begun {
        Begun(kept(said).into_iter().filter(|channel| listener.listen(channel.clone())).collect())
    }

    /// The commit has failed.
    pub(super) fn undo(self, listener: &mut Listener) {
        self.0.iter().for_each(|channel| listener.unlisten(channel));
    }
}

/// The plain channels that the transaction listens on by its last word. As in PostgreSQL only that counts: what was said
/// between has no effect on what is heard of this commit.
fn kept(said: &[Listening]) -> HashSet<Str> {
    let mut kept = HashSet::new();
    for said in said {
        match said {
            Listening::Listen(channel) => {
                kept.insert(channel.clone());
            }
            Listening::Unlisten(Some(channel)) => {
                kept.remove(channel.as_bytes());
            }
            Listening::Unlisten(None) => kept.clear(),
            Listening::Live(..) => {}
        }
    }
    kept
}

/// The commit at `seq` is done: what was said is now so.
pub(super) fn settle(said: Vec<Listening>, listener: &mut Listener, seq: CommitSeq) {
    let kept = kept(&said);
    for said in said {
        match said {
            // those that are kept have begun before the commit
            Listening::Listen(_) => {}
            Listening::Live(subscription, since) => listener.subscribe(*subscription, since.unwrap_or(seq)),
            Listening::Unlisten(Some(channel)) => {
                if !kept.contains(channel.as_bytes()) {
                    listener.unlisten(&channel);
                }
                listener.unlisten_live(&channel);
            }
            Listening::Unlisten(None) => listener.unlisten_all_but(&kept),
        }
    }
}

impl Session {
    pub(super) fn listen(&mut self, channel: &Channel) -> Result<Outcome> {
        self.ensure_transaction()?;
        if !self.listen_live(channel)? {
            self.listening.push(Listening::Listen(Str::from(channel.cut().0)));
        }
        done("LISTEN")
    }

    pub(super) fn unlisten(&mut self, channel: Option<&Channel>) -> Result<Outcome> {
        self.ensure_transaction()?;
        match channel {
            None => self.listening.push(Listening::Unlisten(None)),
            Some(channel) => {
                // a live channel's name is not cut
                let cut = channel.cut().0;
                if cut != channel.name {
                    self.listening.push(Listening::Unlisten(Some(Str::from(channel.name.as_str()))));
                }
                self.listening.push(Listening::Unlisten(Some(Str::from(cut))));
            }
        }
        done("UNLISTEN")
    }

    pub(super) fn notify(&mut self, channel: &Channel, payload: Option<&str>) -> Result<Outcome> {
        self.ensure_transaction()?;
        let payload = payload.unwrap_or_default();
        if payload.len() >= NOTIFY_PAYLOAD_BYTES_MAX {
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "payload string too long"));
        }
        let transaction = self.transaction()?;
        check_notify(&channel.name, &transaction.catalog()).map_err(|error| error.at(channel.position))?;
        transaction.notify(Str::from(channel.cut().0), Str::from(payload))?;
        done("NOTIFY")
    }
}
