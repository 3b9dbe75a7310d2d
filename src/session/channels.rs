//! LISTEN, UNLISTEN and NOTIFY: they take effect when their transaction commits.

use super::conversation::Session;
use super::statement::{Outcome, done};
use crate::error::{Error, Result, SqlState};
use crate::limits::NOTIFY_PAYLOAD_BYTES_MAX;
use crate::live::Listener;
use crate::sql::parse::Channel;
use crate::types::Str;

/// What a transaction said about channels.
pub(super) enum Listening {
    /// LISTEN
    Listen(Str),
    /// UNLISTEN; none for `*`.
    Unlisten(Option<Str>),
}

/// What must be taken back where the commit fails.
#[derive(Default)]
pub(super) struct Begun(Vec<Str>);

impl Begun {
    /// Begins to listen just before the commit, so that no later one is missed.
    pub(super) fn begin(said: &[Listening], listener: &mut Listener) -> Begun {
        let fresh = said.iter().filter_map(|said| match said {
            Listening::Listen(channel) => listener.listen(channel.clone()).then(|| channel.clone()),
            Listening::Unlisten(_) => None,
        });
        Begun(fresh.collect())
    }

    /// The commit has failed.
    pub(super) fn undo(self, listener: &mut Listener) {
        self.0.iter().for_each(|channel| listener.unlisten(channel));
    }
}

/// The commit is done: what was said, in order, is now so.
pub(super) fn settle(said: Vec<Listening>, listener: &mut Listener) {
    for said in said {
        match said {
            Listening::Listen(channel) => {
                listener.listen(channel);
            }
            Listening::Unlisten(Some(channel)) => listener.unlisten(&channel),
            Listening::Unlisten(None) => listener.unlisten_all(),
        }
    }
}

impl Session {
    pub(super) fn listen(&mut self, channel: &Channel) -> Result<Outcome> {
        self.refuse_live(channel, "LISTEN on a query, table or topic")?;
        self.ensure_transaction()?;
        self.listening.push(Listening::Listen(Str::from(channel.cut().0)));
        done("LISTEN")
    }

    pub(super) fn unlisten(&mut self, channel: Option<&Channel>) -> Result<Outcome> {
        self.ensure_transaction()?;
        self.listening.push(Listening::Unlisten(channel.map(|channel| Str::from(channel.cut().0))));
        done("UNLISTEN")
    }

    pub(super) fn notify(&mut self, channel: &Channel, payload: Option<&str>) -> Result<Outcome> {
        self.refuse_live(channel, "NOTIFY on the name of a table or topic")?;
        let payload = payload.unwrap_or_default();
        if payload.len() >= NOTIFY_PAYLOAD_BYTES_MAX {
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "payload string too long"));
        }
        self.ensure_transaction()?;
        if let Some(transaction) = self.block.transaction() {
            transaction.notify(Str::from(channel.cut().0), Str::from(payload));
        }
        done("NOTIFY")
    }

    /// Names that mean live rows are never plain channels.
    fn refuse_live(&self, channel: &Channel, what: &str) -> Result<()> {
        let catalog = self.services.engine.catalog();
        let names_relation = channel.name.split_once('.').is_some_and(|(schema, name)| {
            let schema = catalog.schema_by_name(schema);
            schema.is_some_and(|schema| catalog.relation_by_name(schema.oid, name).is_some())
        });
        if names_relation || channel.is_query() {
            return Err(Error::unsupported(what).hint("Live rows follow in a later version.").at(channel.position));
        }
        Ok(())
    }
}
