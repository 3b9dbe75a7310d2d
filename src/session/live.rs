//! Live channels: LISTEN on the name of a table or topic or on a query, and the live query of a SUBSCRIBE.

use super::channels::Listening;
use super::conversation::Session;
use super::query::Acting;
use super::statement::{Outcome, done};
use crate::catalog::Relation;
use crate::error::{Error, Result, SqlState};
use crate::expr::quote_identifier;
use crate::limits::CHANNEL_NAME_BYTES_MAX;
use crate::live::{Subject, Subscription};
use crate::sql::bind::bind;
use crate::sql::exec::{Opening, open_live};
use crate::sql::parse::{Channel, LiveQueryNumber, Statement, Subscribe, parse};
use crate::types::{ScopeId, Str};
use std::sync::Arc;

impl Session {
    /// LISTEN on what a live channel's name stands for. False for the name of a plain channel.
    pub(super) fn listen_live(&mut self, channel: &Channel) -> Result<bool> {
        // a second LISTEN changes nothing, also where SUBSCRIBE began it: drivers LISTEN by themselves for a callback
        if self.is_live_here(&channel.name) {
            return Ok(true);
        }
        let catalog = self.transaction()?.catalog();
        let relation = catalog.relation_by_qualified_name(&channel.name).cloned();
        if relation.is_none() && !channel.is_query() {
            return Ok(false);
        }
        if channel.name.len() > CHANNEL_NAME_BYTES_MAX {
            let message = format!("channel name is longer than {CHANNEL_NAME_BYTES_MAX} bytes");
            return Err(Error::new(SqlState::NAME_TOO_LONG, message).at(channel.position));
        }
        let identity = self.identity()?;
        self.check_new_channel(&channel.name, &identity.user_id)?;
        let subscription = match relation {
            Some(relation) if relation.topic().is_some() => self.topic_channel(channel, relation)?,
            Some(relation) => {
                let schema = catalog.schema(relation.schema).map_or("", |schema| schema.name.as_str());
                let table = format!("{}.{}", quote_identifier(schema), quote_identifier(&relation.name));
                self.query_channel(channel, &format!("SELECT * FROM {table}"))?
            }
            None => self.query_channel(channel, &channel.name).map_err(|error| outward(error, channel))?,
        };
        self.listening.push(Listening::Live(Box::new(subscription), None));
        Ok(true)
    }

    fn topic_channel(&mut self, channel: &Channel, relation: Arc<Relation>) -> Result<Subscription> {
        let identity = self.identity()?;
        let catalog = self.transaction()?.catalog();
        let subscription = Subscription {
            channel: Str::from(channel.name.as_str()),
            subject: Subject::Topic { name: Str::from(catalog.qualified_name(&relation)), relation },
            scope: ScopeId::SHARED,
            user_id: identity.user_id.clone(),
            role: self.who.role,
            acts_for_other: false,
        };
        subscription.check(&catalog)?;
        Ok(subscription)
    }

    fn query_channel(&mut self, channel: &Channel, text: &str) -> Result<Subscription> {
        let mut statements = parse(text)?;
        let query = match (statements.pop().map(|parsed| parsed.statement), statements.is_empty()) {
            (Some(Statement::Query(query)), true) => query,
            _ => return Err(Error::new(SqlState::SYNTAX_ERROR, "a live channel's name must be one query")),
        };
        let channel = channel.clone();
        let subscribe = Subscribe { channel, query, last_rows: None, batch_size: None, from_seq: None };
        let identity = self.identity()?;
        let environment = self.environment();
        let catalog = self.transaction()?.catalog();
        let context = environment.bind_context(&catalog, text, &[], false);
        let plan = bind(&Statement::Subscribe(Box::new(subscribe)), &context)?.plan;
        let live = plan.live.as_ref().ok_or_else(|| Error::internal("a SUBSCRIBE without a live query"))?;
        let scope = self.services.engine.scope_of(&identity.user_id)?;
        let acting = Acting { identity: &identity, scope, statement_time: self.services.engine.env().now() };
        let mut opening = self.within(acting, |transaction, world| {
            let current = transaction.engine().current();
            open_live(live, transaction, world, &[], current)
        })?;
        opening.subscription.acts_for_other = identity.user_id != self.who.user_id;
        Ok(opening.subscription)
    }

    /// KILL LIVE QUERY: of the session's own role or user, of any for superusers.
    ///
    /// # Errors
    /// 42704 where there is none of that number, 42501 for another's.
    pub(super) fn kill_live_query(&mut self, number: &LiveQueryNumber) -> Result<Outcome> {
        let LiveQueryNumber { text, position } = number;
        let missing = || Error::new(SqlState::UNDEFINED_OBJECT, format!("live query \"{text}\" does not exist"));
        let id = text.parse().map_err(|_| missing().at(*position))?;
        let found = self.services.hub.live_query(id).ok_or_else(|| missing().at(*position))?;
        let identity = self.identity()?;
        let superuser = self.catalog().role(self.who.role).is_some_and(|role| role.superuser);
        if !superuser && (found.role, &found.user_id) != (identity.role, &identity.user_id) {
            let message = format!("permission denied to end live query \"{text}\"");
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        self.services.hub.kill(id);
        done("KILL LIVE QUERY")
    }

    /// A SUBSCRIBE begins: its channel must be free.
    pub(super) fn check_new_channel(&self, channel: &str, user_id: &Str) -> Result<()> {
        let said = self.listening.iter().rev().find_map(|said| said.decides(channel));
        match said {
            // what is ended by the same transaction is free
            Some(false) => Ok(()),
            Some(true) => Err(crate::live::channel_in_use(channel)),
            None => {
                let more = self.listening.iter().filter(|said| matches!(said, Listening::Live(..))).count();
                self.listener.check_new(channel, user_id, more)
            }
        }
    }

    /// Whether a live channel of that name is open, as this transaction will leave it.
    fn is_live_here(&self, channel: &str) -> bool {
        let said = self.listening.iter().rev().find_map(|said| match said {
            Listening::Live(subscription, _) if subscription.channel.as_str() == channel => Some(true),
            other => other.decides(channel).map(|_| false),
        });
        said.unwrap_or_else(|| self.listener.has_live(channel))
    }

    /// The rows of a SUBSCRIBE are out: its live query begins with the commit.
    pub(super) fn subscribed(&mut self, opening: Opening) {
        let Opening { mut subscription, since } = opening;
        subscription.acts_for_other = subscription.user_id != self.who.user_id;
        self.listening.push(Listening::Live(Box::new(subscription), Some(since)));
    }
}

/// An error in a channel's query, as one in the statement: the name stands there in quotes, with its own doubled.
fn outward(error: Error, channel: &Channel) -> Error {
    let start = channel.position.unwrap_or_default();
    let doubled = |inner: u32| channel.name.chars().take(inner as usize - 1).filter(|&c| c == '"').count() as u32;
    error.moved(|inner| start + inner + doubled(inner)).at(channel.position)
}
