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
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::{Arc, LazyLock, Weak};

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

/// What is said of a row, and in which world. Live queries that differ in their conditions only share one: it is most of
/// what they hold.
struct Projection {
    model: Arc<Model>,
    columns: Vec<Selected>,
    world: World,
    /// Columns of the primary key, and whether the select list leaves each out.
    key: Vec<(usize, bool)>,
    /// Columns of the relation that are looked at for it.
    used: Vec<usize>,
    fingerprint: Fingerprint,
}

/// What a live query looks at and says.
#[derive(Clone)]
pub struct Shape {
    projection: Arc<Projection>,
    filter: Option<Expr>,
    /// Columns of the relation that the condition looks at.
    judged: Vec<usize>,
    batch_size: usize,
    fingerprint: Fingerprint,
}

/// Projections that live queries have, so that equal ones are one.
#[derive(Default)]
pub(super) struct Projections {
    known: HashMap<Fingerprint, Weak<Projection>>,
    /// How many there may be before those that nobody has any more are let go.
    enough: usize,
}

impl Projections {
    /// Lets a shape have the projection that others have.
    pub(super) fn share(&mut self, shape: &mut Shape) {
        let own = &shape.projection;
        if let Some(known) = self.known.get(&own.fingerprint).and_then(Weak::upgrade) {
            shape.projection = known;
            return;
        }
        if self.known.len() >= self.enough {
            self.known.retain(|_, known| known.strong_count() > 0);
            self.enough = 2 * self.known.len() + 16;
        }
        self.known.insert(own.fingerprint, Arc::downgrade(own));
    }
}

/// The columns below `width` that expressions look at.
fn columns_of<'e>(exprs: impl Iterator<Item = &'e Expr>, width: usize) -> BTreeSet<usize> {
    exprs.flat_map(Expr::columns_used).filter(|&at| at < width).collect()
}

/// Equal for equal shapes: 128 bits of keyed hashes of all that a shape is (SipHash, whose keys nobody outside knows), so
/// that unequal ones never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u64; 2]);

impl Fingerprint {
    fn of(text: std::fmt::Arguments) -> Fingerprint {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
        let mut hashes = Hashes(KEYS.each_ref().map(RandomState::build_hasher));
        hashes.write_fmt(text).expect("a hash takes everything");
        Fingerprint(hashes.0.map(|hash| hash.finish()))
    }
}

/// Text goes into both.
struct Hashes([DefaultHasher; 2]);

impl std::fmt::Write for Hashes {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.iter_mut().for_each(|hash| hash.write(text.as_bytes()));
        Ok(())
    }
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
        let judged = columns_of(filter.iter(), width);
        let mut used = columns_of(columns.iter().map(|column| &column.expr), width);
        used.extend(key.iter().map(|(at, _)| *at));
        let relation = model.relation();
        let zone = world.zone.name();
        let mut exprs = filter.iter().chain(columns.iter().map(|column| &column.expr));
        let is_timeless = exprs.all(|expr| expr.volatility() == Volatility::Immutable);
        let around = (!is_timeless).then_some((&world.identity, world.transaction_time, world.statement_time));
        let of_projection = Fingerprint::of(format_args!(
            "{} {} {} {zone} {columns:?} {around:?}",
            relation.oid.0, relation.storage.0, relation.row_version
        ));
        let fingerprint = Fingerprint::of(format_args!("{of_projection:?} {batch_size} {filter:?}"));
        let used = used.into_iter().collect();
        let projection = Projection { model, columns, world, key, used, fingerprint: of_projection };
        Shape {
            projection: Arc::new(projection),
            filter,
            judged: judged.into_iter().collect(),
            batch_size,
            fingerprint,
        }
    }

    /// The relation.
    pub fn model(&self) -> &Arc<Model> {
        &self.projection.model
    }

    /// Names and types of the columns, as the acknowledgement says them.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, String)> {
        let columns = self.projection.columns.iter();
        columns.map(|column| (column.name.as_str(), column.expr.ty().display_name()))
    }

    /// The condition.
    pub(super) fn filter(&self) -> Option<&Expr> {
        self.filter.as_ref()
    }

    /// Equal for live queries that are told the same.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What is said about a commit's changes to the relation.
    pub(super) fn events(&self, commit: &Commit, changes: &[&Change]) -> Result<Vec<Str>> {
        let nothing = Nothing(&self.projection.world);
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
        let World { identity, zone, transaction_time, statement_time, current_seq, engine } = &self.projection.world;
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
        let model = self.model();
        let relation = model.relation();
        let view = model.view(stored.clone())?;
        let mut row = vec![Value::Null; relation.columns.len()];
        for &at in &self.judged {
            row[at] = model.column(&view, at)?;
        }
        let seq = view.seq().0;
        row.push(Value::Int(seq as i64));
        row.push(Value::Int(i64::from(seq as u32)));
        row.push(Value::Int(i64::from(relation.oid.0)));
        if let Some(filter) = &self.filter
            && filter.eval_bool(&row, cx)? != Some(true)
        {
            return Ok(None);
        }
        for &at in &self.projection.used {
            row[at] = model.column(&view, at)?;
        }
        Ok(Some(row))
    }

    /// A row as JSON, with the primary key's columns that are not selected where `keyed`.
    fn write(&self, row: &Judged, keyed: bool, cx: &EvalContext) -> Result<Vec<u8>> {
        let mut out = vec![b'{'];
        for column in &self.projection.columns {
            let value = column.expr.eval_ref(row, cx)?;
            self.put(&mut out, &column.name, &value, column.expr.ty());
        }
        for &(at, _) in self.projection.key.iter().filter(|(_, left_out)| keyed && *left_out) {
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
        write_json_value(value, ty, &self.projection.world.zone, true, out);
    }

    fn put_key(&self, out: &mut Vec<u8>, at: usize, row: &Judged) {
        let column = &self.model().relation().columns[at];
        self.put(out, &column.name, &row[at], column.ty);
    }

    /// What is said instead of a row that is too large.
    fn oversize(&self, row: &Judged) -> Vec<u8> {
        let mut out = vec![b'{'];
        for &(at, _) in &self.projection.key {
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
        write_json_value(&value, SqlType::TIMESTAMPTZ, &self.projection.world.zone, true, &mut out);
        Some(out)
    }
}
