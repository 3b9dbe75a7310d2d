//! CONSUME, ACK and its kin, RESET CONSUMER GROUP, SHOW TOPICS.

use super::names::{Clause, Names};
use super::relation::Found;
use super::scope::ScopeColumn;
use super::{Binder, Meaning};
use crate::catalog::{Privilege, Relation};
use crate::error::{Error, Result, SqlState};
use crate::expr::Expr;
use crate::sql::parse::{self, From, ObjectName};
use crate::sql::plan::{
    Command, Consume, Logical, Place, ResetGroup, ResultColumn, Settle, SettleTarget, SettleVerb, TopicRef,
};
use crate::sql::system;
use crate::types::{Oid, SqlType};
use sqlparser::ast::{self, Spanned};
use std::sync::Arc;

/// The columns of CONSUME: name, type, position in the topic's row from 1, as SELECT has them.
const COLUMNS: [(&str, SqlType, i16); 10] = [
    ("topic", SqlType::TEXT, super::scope::TOPIC_ATTNUM),
    ("partition", SqlType::INT4, 1),
    ("offset", SqlType::INT8, 2),
    ("key", SqlType::TEXT, 3),
    ("op", SqlType::TEXT, 4),
    ("user_id", SqlType::TEXT, 5),
    ("payload", SqlType::JSONB, 6),
    ("created_at", SqlType::TIMESTAMPTZ, 7),
    ("attempt", SqlType::INT4, 0),
    ("lease", SqlType::TEXT, 0),
];

impl Binder<'_> {
    pub(super) fn consume(&mut self, consume: &parse::Consume) -> Result<Meaning> {
        let privilege = if consume.group.is_some() { Privilege::Update } else { Privilege::Select };
        let topic = self.topic(&consume.topic, privilege)?;
        let oid = topic.relation.oid;
        let group = consume.group.as_ref().map(|group| self.argument(group, SqlType::TEXT, "GROUP")).transpose()?;
        let partition = self.optional(consume.partition.as_ref(), SqlType::INT4, "PARTITION")?;
        let from = consume.from.as_ref().map_or(Ok(Place::Earliest), |from| self.place(from))?;
        if matches!(from, Place::Offset(_)) && partition.is_none() {
            require_partition(&topic.relation, "FROM with an offset", &consume.topic)?;
        }
        let node = Consume {
            topic,
            partition,
            from,
            limit: self.optional(consume.limit.as_ref(), SqlType::INT8, "LIMIT")?,
            wait: self.optional(consume.wait.as_ref(), SqlType::INTERVAL, "WAIT")?,
            visibility: self.optional(consume.visibility.as_ref(), SqlType::INTERVAL, "VISIBILITY")?,
            auto_ack: consume.auto_ack,
            group,
        };
        let columns = COLUMNS.iter().map(|&(name, ty, attnum)| {
            let table = if attnum == 0 { Oid::INVALID } else { oid };
            ResultColumn { name: name.to_owned(), ty, table, attnum }
        });
        let command = if node.group.is_some() { Command::Consume } else { Command::Select };
        Ok((Logical::Consume(Arc::new(node)), command, Some(columns.collect())))
    }

    pub(super) fn settle(&mut self, settle: &parse::Settle) -> Result<Meaning> {
        let topic = self.topic(&settle.topic, Privilege::Update)?;
        let group = self.argument(&settle.group, SqlType::TEXT, "GROUP")?;
        let partition = self.optional(settle.partition.as_ref(), SqlType::INT4, "PARTITION")?;
        let target = match &settle.target {
            parse::SettleTarget::Offsets(offsets) => {
                SettleTarget::Offsets(self.each(offsets, SqlType::INT8, "OFFSET")?)
            }
            parse::SettleTarget::UpTo(offset) => SettleTarget::UpTo(self.argument(offset, SqlType::INT8, "OFFSET")?),
            parse::SettleTarget::Leases(leases) => SettleTarget::Leases(self.each(leases, SqlType::TEXT, "LEASE")?),
        };
        if !matches!(target, SettleTarget::Leases(_)) && partition.is_none() {
            require_partition(&topic.relation, "settling by offset", &settle.topic)?;
        }
        let (verb, name) = match &settle.verb {
            parse::SettleVerb::Ack => (SettleVerb::Ack, "ACK"),
            parse::SettleVerb::Nack { reason: Some(reason), .. } => {
                return Err(Error::unsupported("NACK with a REASON")
                    .hint("A reason is for the dead-letter topic, which this version does not have yet.")
                    .at(self.at(reason.span())));
            }
            parse::SettleVerb::Nack { delay, reason: None } => {
                (SettleVerb::Nack(self.optional(delay.as_ref(), SqlType::INTERVAL, "DELAY")?), "NACK")
            }
            parse::SettleVerb::Extend { by } => {
                (SettleVerb::Extend(self.argument(by, SqlType::INTERVAL, "BY")?), "EXTEND")
            }
            parse::SettleVerb::Release => (SettleVerb::Release, "RELEASE"),
        };
        let node = Settle { topic, group, partition, target, verb };
        Ok((Logical::Settle(Arc::new(node)), Command::Settle(name), None))
    }

    pub(super) fn reset_group(&mut self, reset: &parse::ResetGroup) -> Result<Meaning> {
        let topic = self.topic(&reset.topic, Privilege::Update)?;
        let group = self.argument(&reset.group, SqlType::TEXT, "GROUP")?;
        let to = self.place(&reset.to)?;
        let partitions = topic.relation.topic().map_or(1, |settings| settings.partitions);
        if matches!(to, Place::Offset(_)) && partitions > 1 {
            return Err(Error::unsupported("RESET CONSUMER GROUP to an offset where there are several partitions")
                .hint("Reset to EARLIEST, LATEST or a TIMESTAMP."));
        }
        Ok((Logical::ResetGroup(Arc::new(ResetGroup { topic, group, to })), Command::ResetGroup, None))
    }

    /// SHOW TOPICS: all of `system.topics`.
    pub(super) fn show_topics(&mut self) -> Result<Meaning> {
        let topics = system::find("system", "topics").ok_or_else(|| Error::internal("system.topics is missing"))?;
        let (source, scope) = self.named(&Found::System(topics), None)?;
        let columns = scope.tables.iter().flat_map(|table| &table.columns).map(ScopeColumn::result).collect();
        let name = topics.name.to_owned();
        Ok((Logical::Scan { source, alias: name.clone(), qualified: name }, Command::ShowTopics, Some(columns)))
    }

    /// The topic of a name. 42809 for another relation, 42501 without the privilege.
    fn topic(&mut self, name: &ObjectName, privilege: Privilege) -> Result<TopicRef> {
        let parts: Vec<String> = name.schema.iter().chain([&name.name]).cloned().collect();
        let found = self.find_named(&parts, name.position)?;
        let relation = match &found {
            Found::Stored(relation) if relation.topic().is_some() => relation.clone(),
            other => {
                let message = format!("\"{}\" is not a topic", other.name());
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(name.position));
            }
        };
        self.require(&found, privilege)?;
        let qualified = self.cx.catalog.qualified_name(&relation).as_str().into();
        Ok(TopicRef { relation, qualified })
    }

    fn place(&mut self, from: &From) -> Result<Place> {
        Ok(match from {
            From::Earliest => Place::Earliest,
            From::Latest => Place::Latest,
            From::Offset(offset) => Place::Offset(self.argument(offset, SqlType::INT8, "FROM")?),
            From::Timestamp(time) => Place::Time(self.argument(time, SqlType::TIMESTAMPTZ, "TIMESTAMP")?),
        })
    }

    fn optional(&mut self, ast: Option<&ast::Expr>, ty: SqlType, clause: &str) -> Result<Option<Expr>> {
        ast.map(|ast| self.argument(ast, ty, clause)).transpose()
    }

    fn each(&mut self, list: &[ast::Expr], ty: SqlType, clause: &str) -> Result<Vec<Expr>> {
        list.iter().map(|ast| self.argument(ast, ty, clause)).collect()
    }

    /// A clause's value, a constant or a parameter.
    fn argument(&mut self, ast: &ast::Expr, ty: SqlType, clause: &str) -> Result<Expr> {
        let at = self.at(ast.span());
        let scope = self.outer_scope.clone();
        let bound = self.expr(ast, &mut Names::new(&scope, Clause::Values))?;
        let from = bound.ty();
        let message = || format!("argument of {clause} must be type {}, not type {}", ty.base_name(), from.base_name());
        self.assign(bound, ty, at, message)
    }
}

/// 42601 where a topic has several partitions.
fn require_partition(topic: &Relation, what: &str, name: &ObjectName) -> Result<()> {
    match topic.topic().map_or(1, |settings| settings.partitions) {
        0 | 1 => Ok(()),
        several => {
            let message =
                format!("{what} requires PARTITION, because topic \"{}\" has {several} partitions", topic.name);
            Err(Error::new(SqlState::SYNTAX_ERROR, message).at(name.position))
        }
    }
}
