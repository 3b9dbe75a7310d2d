//! Topics: their settings and their sources.

use super::{ConditionOf, Definer, refuse_repeated};
use crate::catalog::{Column, Payload, Relation, RelationKind, Source, Topic};
use crate::encoding::key;
use crate::error::{Error, Result, SqlState};
use crate::limits::SCAN_BATCH;
use crate::sql::parse::{AlterTopic, ObjectName, Opt, TopicSource};
use crate::storage::Direction;
use crate::txn::{LockKey, LockMode, offset_mark};
use crate::types::{SqlType, Value, Zone, text};
use bytes::Bytes;
use std::sync::Arc;

/// Partitions of a topic at most: each has a counter in the committer.
const PARTITIONS_MAX: i64 = 1_024;
const RETENTION_DEFAULT_MICROS: i64 = 7 * 86_400 * 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * 1_000_000;
const DAYS_PER_MONTH: i64 = 30;

/// The stored columns of every topic, in order.
pub fn topic_columns() -> Vec<Column> {
    let column = |name: &str, ty, not_null| Column {
        name: name.to_owned(),
        ty,
        not_null,
        default: None,
        dropped: false,
        missing: None,
    };
    vec![
        column("partition", SqlType::INT4, true),
        column("offset", SqlType::INT8, true),
        column("key", SqlType::TEXT, false),
        column("op", SqlType::TEXT, false),
        column("user_id", SqlType::TEXT, false),
        column("payload", SqlType::JSONB, false),
        column("created_at", SqlType::TIMESTAMPTZ, true),
    ]
}

impl Definer<'_, '_> {
    pub(super) fn create_topic(
        &mut self,
        name: &ObjectName,
        if_not_exists: bool,
        partitions: Option<i64>,
        options: &[Opt],
    ) -> Result<()> {
        let schema = self.target_schema(name)?;
        if self.passes_over(schema.oid, &name.name, if_not_exists)? {
            return Ok(());
        }
        let partitions = partitions.unwrap_or(1);
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            let message = format!("a topic has between 1 and {PARTITIONS_MAX} partitions");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let mut topic = Topic {
            partitions: partitions as u32,
            retention_micros: RETENTION_DEFAULT_MICROS,
            retention_bytes: None,
            max_attempts: None,
            dead_letter: None,
            ordered: None,
            sources: Vec::new(),
        };
        self.topic_options(&mut topic, options)?;
        let relation = Relation {
            oid: self.tx.alloc_oid(),
            schema: schema.oid,
            name: name.name.clone(),
            owner: self.cx.role,
            kind: RelationKind::Topic(topic),
            storage: self.tx.alloc_storage(),
            columns: topic_columns(),
            row_version: 0,
            readable_from: 0,
            primary_key: None,
            uniques: Vec::new(),
            indexes: Vec::new(),
            checks: Vec::new(),
            acl: Vec::new(),
            options: Vec::new(),
        };
        self.put_relation(relation)
    }

    fn owned_topic(&self, name: &ObjectName) -> Result<Arc<Relation>> {
        let relation = self.relation(name).map_err(|error| error.at(name.position))?;
        match relation.topic() {
            Some(_) => self.require_owner(&relation).map(|()| relation),
            None => Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a topic", relation.name))),
        }
    }

    pub(super) fn alter_topic(&mut self, name: &ObjectName, action: &AlterTopic) -> Result<()> {
        let mut relation = Relation::clone(&*self.owned_topic(name)?);
        let RelationKind::Topic(mut topic) = relation.kind.clone() else {
            return Err(Error::internal("a topic is not one"));
        };
        match action {
            AlterTopic::AddSource(source) => {
                let added = self.source(&topic, source)?;
                self.lock_source(added.table)?;
                topic.sources.push(added);
            }
            AlterTopic::DropSource(table) => {
                let table = self.relation(table).map_err(|error| error.at(table.position))?;
                self.lock_source(table.oid)?;
                let before = topic.sources.len();
                topic.sources.retain(|source| source.table != table.oid);
                if topic.sources.len() == before {
                    let message = format!("table \"{}\" is not a source of topic \"{}\"", table.name, relation.name);
                    return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
                }
            }
            AlterTopic::Set(options) => self.topic_options(&mut topic, options)?,
            AlterTopic::Owner(role) => relation.owner = self.new_owner(role)?,
            AlterTopic::Rename(to) => {
                if self.is_taken(relation.schema, to) {
                    return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{to}\" already exists")));
                }
                relation.name = to.clone();
            }
        }
        relation.kind = RelationKind::Topic(topic);
        self.put_relation(relation)
    }

    fn source(&mut self, topic: &Topic, source: &TopicSource) -> Result<Source> {
        if let (Some(column), None | Some(true)) = (source.partition_by.first(), topic.ordered) {
            return Err(Error::unsupported("PARTITION BY in an ordered topic")
                .hint("A topic WITH (ordered = false) takes it to choose partitions.")
                .at(column.position));
        }
        let table = self.relation(&source.table).map_err(|error| error.at(source.table.position))?;
        if !matches!(table.kind, RelationKind::Table(_)) {
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a table", table.name)));
        }
        // A topic shows its readers the table's rows, every user's too: only the table's owner gives them away.
        self.require_owner(&table)?;
        if topic.sources.iter().any(|other| other.table == table.oid) {
            let message = format!("table \"{}\" is a source of this topic already", table.name);
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, message).at(source.table.position));
        }
        let filter = match &source.filter {
            Some(filter) => {
                Some(self.cx.expressions.condition(&self.catalog(), filter, &table, ConditionOf::Source)?.text)
            }
            None => None,
        };
        let columns = source.partition_by.iter().map(|column| {
            table.column(&column.name).ok_or_else(|| {
                let message = format!("column \"{}\" does not exist", column.name);
                Error::new(SqlState::UNDEFINED_COLUMN, message).at(column.position)
            })
        });
        let payload = source.payload.unwrap_or(Payload::Full);
        Ok(Source { table: table.oid, ops: source.ops, filter, partition_by: columns.collect::<Result<_>>()?, payload })
    }

    /// Removes the messages that are there now, in this transaction; offsets go on.
    pub(super) fn clear_topic(&mut self, name: &ObjectName) -> Result<()> {
        let topic = self.owned_topic(name)?;
        let partitions = topic.topic().map_or(1, |settings| settings.partitions);
        for partition in 0..partitions {
            let mark = LockKey::Key(Bytes::from(offset_mark(topic.storage, partition)));
            self.lock(mark, LockMode::AccessExclusive)?;
        }
        self.settle()?;
        let view = self.tx.latest()?;
        for partition in 0..partitions {
            let end = self.tx.offset_end(&view, topic.storage, partition)?;
            if end == 0 {
                continue;
            }
            let (from, to) = key::prefixed(key::partition_prefix(topic.storage, partition));
            let mut cursor = self.tx.cursor(&view, from, to, Direction::Forward);
            let mut batch = Vec::new();
            let mut more = true;
            while more {
                more = cursor.next_batch(self.tx, &view, &mut batch, SCAN_BATCH)?;
                batch.drain(..).try_for_each(|(key, _)| self.tx.put_plain(key, None))?;
            }
            // the next message follows the ones that are gone
            let mark = Bytes::from(offset_mark(topic.storage, partition));
            self.tx.put_plain(mark, Some(Bytes::copy_from_slice(&end.to_be_bytes())))?;
        }
        Ok(())
    }

    fn topic_options(&mut self, topic: &mut Topic, options: &[Opt]) -> Result<()> {
        refuse_repeated(options)?;
        for option in options {
            let value = option.value.as_deref().unwrap_or_default();
            let invalid = || {
                let message = format!("invalid value for parameter \"{}\": \"{value}\"", option.name);
                Error::new(SqlState::INVALID_PARAMETER_VALUE, message).at(option.position)
            };
            match option.name.as_str() {
                "retention" => topic.retention_micros = interval_micros(value)?.ok_or_else(invalid)?,
                "ordered" => match value.to_ascii_lowercase().as_str() {
                    "false" | "off" => topic.ordered = Some(false),
                    "true" | "on" | "" => {
                        return Err(not_yet(
                            "an ordered topic",
                            "Several messages of one key may be in flight at once.",
                            option,
                        ));
                    }
                    _ => return Err(invalid()),
                },
                "retention_bytes" | "max_attempts" | "dead_letter" => {
                    let hint = "Messages are kept for the retention and come again until they are acknowledged.";
                    return Err(not_yet(&format!("parameter \"{}\" of a topic", option.name), hint, option));
                }
                name => {
                    let message = format!("unrecognized parameter \"{name}\"");
                    return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                        .hint("Parameters are retention and ordered.")
                        .at(option.position));
                }
            }
        }
        Ok(())
    }
}

fn not_yet(what: &str, hint: &str, option: &Opt) -> Error {
    Error::unsupported(what).hint(hint).at(option.position)
}

/// An interval's length; none unless it is positive.
fn interval_micros(value: &str) -> Result<Option<i64>> {
    let Value::Interval(interval) = text::parse(value, SqlType::INTERVAL, &Zone::utc())? else { return Ok(None) };
    let days = i64::from(interval.months) * DAYS_PER_MONTH + i64::from(interval.days);
    let micros = days.checked_mul(MICROS_PER_DAY).and_then(|days| days.checked_add(interval.micros));
    Ok(micros.filter(|&micros| micros > 0))
}
