//! Topic messages: before a statement writes a table that feeds topics, the transaction learns how its net changes
//! become messages. The change set of the commit is all that messages are made from.

use super::payload::{key_text, payload};
use super::{ExecContext, NoNotifier};
use crate::catalog::{Relation, Source};
use crate::change::{Change, ChangeKind, Derive, TopicAppend};
use crate::encoding::row::{self, RowLayout};
use crate::env::{Env, UnixMicros};
use crate::error::{Error, Result};
use crate::expr::{EvalContext, Expr, IdSource, Identity, Settings};
use crate::sql::bind::{StoredKind, bind_text};
use crate::sql::plan::{Node, Plan};
use crate::table::Model;
use crate::txn::{Engine, Transaction};
use crate::types::datetime::from_unix_micros;
use crate::types::{CommitSeq, Row, ScopeId, Value, Zone};
use std::sync::Arc;

/// The place of a message's offset among a topic's columns.
const OFFSET_COLUMN: usize = 1;

/// Prepares the transaction for the table that a plan writes.
pub(super) fn prepare(plan: &Plan, tx: &mut Transaction, cx: &ExecContext) -> Result<()> {
    let model = match &plan.root {
        Node::Insert(insert) => &insert.model,
        Node::Update(update) => &update.model,
        Node::Delete(delete) => &delete.model,
        Node::Copy(copy) => &copy.model,
        _ => return Ok(()),
    };
    let table = model.relation().oid;
    if tx.has_derivers(table) {
        return Ok(());
    }
    let catalog = tx.catalog();
    let mut feeds: Vec<Arc<dyn Derive>> = Vec::new();
    for topic in catalog.topics_of(table) {
        let sources = topic.topic().into_iter().flat_map(|topic| &topic.sources);
        for source in sources.filter(|source| source.table == table) {
            let bind = |text: &String| bind_text(&catalog, model.relation(), text, StoredKind::Condition);
            feeds.push(Arc::new(Feed {
                layout: RowLayout::new(&topic.columns.iter().map(|column| column.ty).collect::<Vec<_>>()),
                topic: topic.clone(),
                filter: source.filter.as_ref().map(bind).transpose()?,
                source: source.clone(),
                model: model.clone(),
                engine: tx.engine().clone(),
                identity: cx.identity.clone(),
                zone: Zone::utc(),
            }));
        }
    }
    tx.derive_with(table, feeds);
    Ok(())
}

/// One source of one topic.
struct Feed {
    topic: Arc<Relation>,
    layout: RowLayout,
    source: Source,
    filter: Option<Expr>,
    model: Arc<Model>,
    engine: Arc<Engine>,
    identity: Identity,
    zone: Zone,
}

/// No settings: what a source's condition may ask for does not depend on a session's.
struct NoSettings;

impl Settings for NoSettings {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }

    fn set(&self, name: &str, _value: &str, _local: bool) -> Result<String> {
        Err(Error::unsupported(format!("setting {name} in a source's condition")))
    }
}

impl IdSource for Feed {
    fn snowflake(&self) -> i64 {
        self.engine.snowflake()
    }
}

impl Feed {
    fn takes(&self, change: &Change, judged: &[Value], time: UnixMicros) -> Result<bool> {
        let ops = self.source.ops;
        let wanted = match change.kind {
            ChangeKind::Insert => ops.insert,
            ChangeKind::Update => ops.update,
            ChangeKind::Delete => ops.delete,
        };
        let (true, Some(filter)) = (wanted, &self.filter) else { return Ok(wanted) };
        let env: &dyn Env = &**self.engine.env();
        let time = from_unix_micros(time);
        let cx = EvalContext {
            params: &[],
            transaction_time: time,
            statement_time: time,
            zone: &self.zone,
            identity: &self.identity,
            env,
            ids: self,
            current_seq: CommitSeq::ZERO,
            settings: &NoSettings,
            notifier: &NoNotifier,
            journal: None,
            operand: None,
        };
        Ok(filter.eval_bool(judged, &cx)? == Some(true))
    }

    /// The partition: by PARTITION BY and the user, else by the key.
    fn partition(&self, row: &[Value], key: &str, user: &str) -> u32 {
        let partitions = self.topic.topic().map_or(1, |topic| topic.partitions.max(1));
        if partitions == 1 {
            return 0;
        }
        let mut hash = crc32fast::Hasher::new();
        hash.update(user.as_bytes());
        if self.source.partition_by.is_empty() {
            hash.update(key.as_bytes());
        }
        for &column in &self.source.partition_by {
            let ty = self.model.relation().columns[column].ty;
            hash.update(crate::types::text::to_string(&row[column], ty, &self.zone).as_bytes());
            hash.update(&[0]);
        }
        hash.finalize() % partitions
    }

    fn decode(&self, row: Option<&bytes::Bytes>) -> Result<Option<Row>> {
        row.map(|row| self.model.decode(row)).transpose()
    }
}

impl Derive for Feed {
    fn derive(&self, change: &Change, time: UnixMicros, out: &mut Vec<TopicAppend>) -> Result<()> {
        let old = self.decode(change.old.as_ref())?;
        let new = self.decode(change.new.as_ref())?;
        let Some(judged) = new.as_ref().or(old.as_ref()) else {
            return Err(Error::internal("a change has neither an old nor a new row"));
        };
        if !self.takes(change, judged, time)? {
            return Ok(());
        }
        let user = match change.scope {
            ScopeId::SHARED => None,
            // a message that does not say whose row it was would be wrong for ever
            scope => match self.engine.user_of(scope) {
                None => return Err(Error::internal(format!("user id number {scope:?} has no name"))),
                named => named,
            },
        };
        let key = key_text(&self.model, judged, &self.zone);
        let partition = self.partition(judged, key.as_deref().unwrap_or_default(), user.as_deref().unwrap_or_default());
        let op = match change.kind {
            ChangeKind::Insert => "insert",
            ChangeKind::Update => "update",
            ChangeKind::Delete => "delete",
        };
        let body = payload(self.source.payload, &self.model, old.as_deref(), new.as_deref(), &self.zone);
        let values = [
            Value::Int(i64::from(partition)),
            // The committer knows it.
            Value::Int(0),
            key.map_or(Value::Null, Value::text),
            Value::text(op),
            user.map_or(Value::Null, Value::Text),
            Value::text(body),
            Value::Timestamp(from_unix_micros(time)),
        ];
        let row = row::encode(&self.layout, self.topic.row_version, None, &values)?;
        let offset_at = row::fixed_i64_place(&row, &self.layout, OFFSET_COLUMN) as u32;
        out.push(TopicAppend {
            command: 0,
            topic: self.topic.oid,
            storage: self.topic.storage,
            partition,
            row: row.into(),
            offset_at,
        });
        Ok(())
    }
}
