//! What a live query looks at and what it says about it: one relation, a condition, a list of columns.
//!
//! A shape is frozen: parameters and what stable functions gave at the start stand in it as constants. Live queries
//! whose shapes are equal share one, so that a change is judged and written once for all of them.

use super::event::{Events, Item, ROWS_BYTES_MAX};
use crate::change::{Change, Commit};
use crate::encoding::row;
use crate::error::{Error, Result};
use crate::expr::{EvalContext, Expr, IdSource, Identity, Notifier, Settings, Volatility};
use crate::table::Model;
use crate::txn::Engine;
use crate::types::datetime::from_unix_micros;
use crate::types::json::{write_json_value, write_string};
use crate::types::{CommitSeq, Row, SqlType, Str, Value, Zone};
use bytes::Bytes;
use std::sync::Arc;

/// A column of a live query.
#[derive(Clone, Debug)]
pub struct Selected {
    /// Its name.
    pub name: String,
    /// Its value, over the relation's columns, `_seq`, `xmin` and `tableoid`.
    pub expr: Expr,
}

/// The world of a live query's expressions, as it was when it began.
#[derive(Clone)]
pub struct World {
    /// Who asked.
    pub identity: Identity,
    /// The session's time zone: times are written in it.
    pub zone: Zone,
    /// now(), microseconds since 2000-01-01.
    pub transaction_time: i64,
    /// statement_timestamp(), likewise.
    pub statement_time: i64,
    /// current_seq()
    pub current_seq: CommitSeq,
    /// The engine, for its clock.
    pub engine: Arc<Engine>,
}

/// What expressions without volatile functions have no use for.
struct Nothing<'a>(&'a World);

impl IdSource for Nothing<'_> {
    fn snowflake(&self) -> i64 {
        self.0.engine.snowflake()
    }
}

impl Settings for Nothing<'_> {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }

    fn set(&self, name: &str, _value: &str, _local: bool) -> Result<String> {
        Err(Error::unsupported(format!("setting {name} in a live query")))
    }
}

impl Notifier for Nothing<'_> {
    fn notify(&self, _channel: &str, _payload: &str) -> Result<()> {
        Err(Error::unsupported("a notification in a live query"))
    }
}

/// What a live query looks at and says.
pub struct Shape {
    model: Arc<Model>,
    filter: Option<Expr>,
    columns: Vec<Selected>,
    batch_size: usize,
    world: World,
    /// Equal for equal shapes.
    fingerprint: Str,
    /// Columns of the relation that are looked at.
    used: Vec<usize>,
    /// Columns of the primary key, and whether the select list leaves each out.
    key: Vec<(usize, bool)>,
}

/// A row as it is judged: the relation's columns, then the system columns.
type Judged = Row;

impl Shape {
    /// A live query over a relation. Expressions have no parameters and no volatile functions any more.
    pub fn new(
        model: Arc<Model>,
        filter: Option<Expr>,
        columns: Vec<Selected>,
        batch_size: usize,
        world: World,
    ) -> Shape {
        let width = model.relation().columns.len();
        let key: Vec<(usize, bool)> = model
            .key_columns()
            .iter()
            .map(|&(at, _)| (at, columns.iter().all(|column| column.name != model.relation().columns[at].name)))
            .collect();
        let exprs = filter.iter().chain(columns.iter().map(|column| &column.expr));
        let mut used: Vec<usize> = exprs.flat_map(Expr::columns_used).filter(|&at| at < width).collect();
        used.extend(key.iter().map(|(at, _)| *at));
        used.sort_unstable();
        used.dedup();
        let fingerprint = fingerprint(&model, filter.as_ref(), &columns, batch_size, &world);
        Shape { model, filter, columns, batch_size, world, fingerprint, used, key }
    }

    /// The relation.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Names and types of the columns, as the acknowledgement says them.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, String)> {
        self.columns.iter().map(|column| (column.name.as_str(), column.expr.ty().display_name()))
    }

    /// Equal for live queries that are told the same.
    pub(super) fn fingerprint(&self) -> &Str {
        &self.fingerprint
    }

    /// What is said about a commit's changes to the relation.
    pub(super) fn events(&self, commit: &Commit, changes: &[&Change]) -> Result<Vec<Str>> {
        let nothing = Nothing(&self.world);
        let cx = self.context(&nothing);
        let (mut deletes, mut updates, mut inserts) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            let old = self.visible(change.old.as_ref(), &cx)?;
            let new = self.visible(change.new.as_ref(), &cx)?;
            let write = |row: &Judged, keyed| self.write(row, keyed, &cx);
            match (&old, &new) {
                (None, None) => {}
                (None, Some(new)) => inserts.push(self.fitted(Some((new, write(new, false)?)), None)),
                (Some(old), None) => deletes.push(self.fitted(None, Some((old, write(old, true)?)))),
                (Some(old), Some(new)) => {
                    updates.push(self.fitted(Some((new, write(new, true)?)), Some((old, write(old, true)?))));
                }
            }
        }
        if deletes.is_empty() && updates.is_empty() && inserts.is_empty() {
            return Ok(Vec::new());
        }
        let mut events = Events::new(commit.seq, self.batch_size, self.expires(changes));
        events.add("delete", &deletes);
        events.add("update", &updates);
        events.add("insert", &inserts);
        Ok(events.finish())
    }

    fn context<'a>(&'a self, nothing: &'a Nothing<'a>) -> EvalContext<'a> {
        let World { identity, zone, transaction_time, statement_time, current_seq, engine } = &self.world;
        EvalContext {
            params: &[],
            transaction_time: *transaction_time,
            statement_time: *statement_time,
            zone,
            identity,
            env: &**engine.env(),
            ids: nothing,
            current_seq: *current_seq,
            settings: nothing,
            notifier: nothing,
            journal: None,
            operand: None,
        }
    }

    /// The row, if there is one and the condition holds for it.
    fn visible(&self, stored: Option<&Bytes>, cx: &EvalContext) -> Result<Option<Judged>> {
        let Some(stored) = stored else { return Ok(None) };
        let relation = self.model.relation();
        let view = self.model.view(stored.clone())?;
        let mut row = vec![Value::Null; relation.columns.len()];
        for &at in &self.used {
            row[at] = self.model.column(&view, at)?;
        }
        let seq = view.seq().0;
        row.push(Value::Int(seq as i64));
        row.push(Value::Int(i64::from(seq as u32)));
        row.push(Value::Int(i64::from(relation.oid.0)));
        let holds = match &self.filter {
            Some(filter) => filter.eval_bool(&row, cx)? == Some(true),
            None => true,
        };
        Ok(holds.then_some(row))
    }

    /// A row as JSON, with the primary key's columns that are not selected where `keyed`.
    fn write(&self, row: &Judged, keyed: bool, cx: &EvalContext) -> Result<Vec<u8>> {
        let mut out = vec![b'{'];
        for column in &self.columns {
            let value = column.expr.eval_ref(row, cx)?;
            self.put(&mut out, &column.name, &value, column.expr.ty());
        }
        for &(at, _) in self.key.iter().filter(|(_, left_out)| keyed && *left_out) {
            self.put_key(&mut out, at, row);
        }
        out.push(b'}');
        Ok(out)
    }

    fn put(&self, out: &mut Vec<u8>, name: &str, value: &Value, ty: SqlType) {
        if out.len() > 1 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write_json_value(value, ty, &self.world.zone, true, out);
    }

    fn put_key(&self, out: &mut Vec<u8>, at: usize, row: &Judged) {
        let column = &self.model.relation().columns[at];
        self.put(out, &column.name, &row[at], column.ty);
    }

    /// What is said instead of a row that is too large.
    fn oversize(&self, row: &Judged) -> Vec<u8> {
        let mut out = vec![b'{'];
        for &(at, _) in &self.key {
            self.put_key(&mut out, at, row);
        }
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(b"\"oversize\":true}");
        out
    }

    /// An item that fits one event: rows that are too large become their keys.
    fn fitted(&self, new: Option<(&Judged, Vec<u8>)>, old: Option<(&Judged, Vec<u8>)>) -> Item {
        let rows = usize::from(new.is_some()) + usize::from(old.is_some());
        let bytes = [&new, &old].into_iter().flatten().map(|(_, json)| json.len()).sum::<usize>();
        let fit = |(row, json): (&Judged, Vec<u8>)| {
            let fits = bytes < ROWS_BYTES_MAX || json.len() < ROWS_BYTES_MAX / rows;
            if fits { json } else { self.oversize(row) }
        };
        Item { new: new.map(fit), old: old.map(fit) }
    }

    /// When the new rows of a commit vanish: all at once, since their time runs from the commit.
    fn expires(&self, changes: &[&Change]) -> Option<Vec<u8>> {
        let micros = changes.iter().filter_map(|change| change.new.as_ref()).find_map(|new| row::expires(new))?;
        let mut out = Vec::new();
        let value = Value::Timestamp(from_unix_micros(micros));
        write_json_value(&value, SqlType::TIMESTAMPTZ, &self.world.zone, true, &mut out);
        Some(out)
    }
}

fn fingerprint(model: &Model, filter: Option<&Expr>, columns: &[Selected], batch_size: usize, world: &World) -> Str {
    let relation = model.relation();
    let zone = world.zone.name();
    let mut text = format!("{} {} {zone} {batch_size} {filter:?} {columns:?}", relation.oid.0, relation.row_version);
    let mut exprs = filter.into_iter().chain(columns.iter().map(|column| &column.expr));
    if exprs.any(|expr| expr.volatility() != Volatility::Immutable) {
        text.push_str(&format!(" {:?} {} {}", world.identity, world.transaction_time, world.statement_time));
    }
    Str::from(text)
}
