//! What a simulated client makes of rows and errors: whether they are what the model says.

use crate::client::{Client, Common, Open, TTL_MICROS};
use crate::model::{Before, Deed, Effect, Key, Model, Row, Table};
use crate::serial::Read;
use crate::shape::{Definition, Shape, duplicate};
use crate::simulated::Answer;
use crate::statement::{Also, Filter, Kind, Statement};
use std::collections::BTreeMap;
use tertulia::error::SqlState;

impl Client {
    fn deeds(&self) -> &[Deed] {
        self.open.as_ref().map_or(&[], |open| &open.tx.deeds)
    }

    /// What a table looks like to it; none where it is not there.
    pub fn shape(&self, table: Table, model: &Model) -> Option<Shape> {
        let mut shape = model.shape(table).cloned();
        for deed in self.deeds().iter().filter(|deed| deed.table() == Some(table)) {
            match (deed, &mut shape) {
                (Deed::Define(_, Definition::Create), _) => shape = Some(Shape::new()),
                (Deed::Define(_, Definition::Drop), _) => shape = None,
                (Deed::Define(_, definition), Some(shape)) => shape.define(definition),
                _ => {}
            }
        }
        shape
    }

    /// Whether a statement may fail so.
    pub fn may_fail(&self, statement: &Statement, code: SqlState, common: &Common) -> bool {
        let kind = &statement.kind;
        let shape = || kind.table().and_then(|table| self.shape(table, common.model));
        let is_pinned = self.open.as_ref().is_some_and(|open| open.level.is_pinned());
        match code {
            SqlState::IO_ERROR | SqlState::DISK_FULL => {
                // what is spilled needs the disk
                common.spills
                    || matches!(kind, Kind::Commit | Kind::Auto | Kind::Snowflake | Kind::Nextval)
                    || matches!(kind, Kind::Consume | Kind::Subscribe(_) | Kind::Resume(_))
            }
            SqlState::UNIQUE_VIOLATION => {
                let table = kind.table().expect("it is about a table");
                statement.from != common.current || table == Table::Stream || self.violates(kind, table, common.model)
            }
            SqlState::T_R_SERIALIZATION_FAILURE => is_pinned,
            SqlState::T_R_DEADLOCK_DETECTED => true,
            SqlState::SNAPSHOT_TOO_OLD => {
                matches!(kind, Kind::Resume(live) if live.seq.is_some_and(|seq| seq < common.model.released))
            }
            SqlState::UNDEFINED_TABLE => shape().is_none(),
            SqlState::UNDEFINED_COLUMN => kind.names_extra() && shape().is_none_or(|shape| !shape.has_extra()),
            SqlState::DUPLICATE_COLUMN => {
                matches!(kind, Kind::Define(_, Definition::AddColumn(_)))
                    && shape().is_some_and(|shape| shape.has_extra())
            }
            SqlState::UNDEFINED_OBJECT => match kind {
                Kind::Define(_, Definition::DropIndex(number)) => {
                    shape().is_none_or(|shape| shape.indexes.iter().all(|index| index.number != *number))
                }
                _ => false,
            },
            // the changes before it are to become messages
            SqlState::OBJECT_IN_USE => matches!(kind, Kind::Define(Table::Shared, Definition::Retype { .. })),
            _ => false,
        }
    }

    /// Whether a statement meets a value that another row has, where nothing was committed since it began.
    fn violates(&self, kind: &Kind, table: Table, model: &Model) -> bool {
        let outcome = model.outcome(table, self.deeds(), |_, _| ());
        let Some(shape) = outcome.shape else { return false };
        let own: BTreeMap<i64, Row> = outcome
            .rows
            .iter()
            .filter(|(key, _)| key.1 == self.scope(table))
            .map(|(key, row)| (key.2, row.clone()))
            .collect();
        let new: BTreeMap<i64, Row> = match kind {
            Kind::Define(_, Definition::CreateIndex(index)) => {
                return index.unique
                    && (outcome.rows.keys().map(|key| &key.1)).any(|user| {
                        let rows = outcome.rows.iter().filter(|(key, _)| key.1 == *user).map(|(key, row)| (key.2, row));
                        duplicate(index.columns, rows).is_some()
                    });
            }
            Kind::Move(_, _, to) => return own.contains_key(to),
            Kind::Insert(_, _, rows) if rows.iter().any(|(id, _)| own.contains_key(id)) => return true,
            Kind::Insert(_, _, rows) => {
                rows.iter().map(|(id, row)| (*id, Row { extra: shape.default, ..row.clone() })).collect()
            }
            Kind::Bump(_, filter, also) => {
                let taken = own.iter().filter(|(id, row)| filter.takes(**id, row));
                taken.map(|(id, row)| (*id, bumped(row, also))).collect()
            }
            _ => return false,
        };
        new.iter().any(|(id, row)| {
            let others = own.iter().chain(&new).filter(|(other, _)| *other != id);
            others
                .into_iter()
                .any(|(other, beside)| shape.duplicate([(*id, row), (*other, beside)].into_iter()).is_some())
        })
    }

    /// Notes what a statement of a serializable transaction has looked for.
    pub fn note_read(&mut self, kind: &Kind, model: &Model) {
        let (Some(table), Some(filter)) = (kind.table(), kind.filter()) else { return };
        let user = self.scope(table);
        let Some(Open { tx, pinned: Some(pinned), .. }) = &mut self.open else { return };
        // what expires is no write; and as in PostgreSQL, definitions look past the snapshot, and take rows away from
        // older ones
        let is_defined = tx.deeds.iter().any(|deed| matches!(deed, Deed::Define(of, _) if *of == table));
        if tx.snapshot.is_some() && table != Table::Stream && !is_defined && !model.is_replaced_since(table, *pinned) {
            tx.reads.push(Read { table, user, filter });
        }
    }

    /// What a statement must see as of a commit, own writes over it.
    pub fn view(&self, table: Table, filter: &Filter, seq: u64, model: &Model) -> BTreeMap<i64, Row> {
        let scope = self.scope(table);
        let mut rows = match self.open.as_ref().is_some_and(|open| open.level.is_pinned()) {
            true => model.rows_of_snapshot(table, &scope, seq),
            false => model.rows_at(table, &scope, seq),
        };
        let mut eras = 1;
        for (at, deed) in self.deeds().iter().enumerate().filter(|(_, deed)| deed.table() == Some(table)) {
            match deed {
                Deed::Write(Effect { key, after: Some(row), .. }) => drop(rows.insert(key.2, row.clone())),
                Deed::Write(Effect { key, after: None, .. }) => drop(rows.remove(&key.2)),
                Deed::Define(_, definition) => {
                    let outcome = model.outcome(table, &self.deeds()[..=at], |_, _| ());
                    if outcome.eras.len() > eras {
                        // a definition looks at what is there, whatever its transaction sees, and stores that anew
                        let own = outcome.rows.iter().filter(|(key, _)| key.1 == scope);
                        rows = own.map(|(key, row)| (key.2, row.clone())).collect();
                    } else {
                        let each = rows.into_iter();
                        rows = each.filter_map(|(id, row)| Some((id, definition.of_row(&row)?))).collect();
                    }
                    eras = outcome.eras.len();
                }
                Deed::Ack(_) => {}
            }
        }
        rows.retain(|id, row| filter.takes(*id, row));
        rows
    }

    pub fn selected(&mut self, statement: &Statement, table: Table, filter: &Filter, answer: &Answer, common: &Common) {
        let mut names = self.shape(table, common.model).expect("a table that is read is there").names();
        names.push("current_seq");
        assert_eq!(answer.columns, names, "{} shows other columns", statement.sql);
        let read: BTreeMap<i64, Row> = (0..answer.rows.len()).map(|at| Row::of(answer, at)).collect();
        assert_eq!(read.len(), answer.rows.len(), "{} gives a row twice", statement.sql);
        let said = (!answer.rows.is_empty()).then(|| answer.number(0, names.len() - 1) as u64);
        let pinned = self.open.as_ref().and_then(|open| open.pinned);
        if let Some(said) = said {
            let fresh = pinned.map_or(said >= statement.from, |pinned| said == pinned);
            assert!(fresh && said <= common.current, "{} reads at {said}, not {pinned:?}", statement.sql);
        }
        let mut seqs = match said.or(pinned) {
            Some(seq) => seq..=seq,
            // an empty answer does not tell its position
            None => statement.from..=common.current,
        };
        if table == Table::Stream {
            self.selected_stream(statement, filter, &read, said, common);
            return;
        }
        let fits = seqs.clone().any(|seq| self.view(table, filter, seq, common.model) == read);
        let wanted = seqs.next().map(|seq| self.view(table, filter, seq, common.model));
        assert!(fits, "{} at {said:?} gives {read:?}, not {wanted:?}", statement.sql);
        check_order(statement, answer);
    }

    /// STREAM rows vanish with time: what is read was there, and what cannot have vanished is read.
    fn selected_stream(
        &self,
        statement: &Statement,
        filter: &Filter,
        read: &BTreeMap<i64, Row>,
        said: Option<u64>,
        common: &Common,
    ) {
        let seqs = said.map_or(statement.from..=common.current, |seq| seq..=seq);
        if self.open.as_ref().is_some_and(|open| open.level.is_pinned()) {
            return;
        }
        let fits = |seq: u64| {
            let seen = self.view(Table::Stream, filter, seq, common.model);
            let must_stay = |id: &i64| {
                let key = (Table::Stream, self.user.to_owned(), *id);
                let is_own = self.open.as_ref().is_some_and(|open| open.tx.has_written(&key));
                !is_own && common.model.expires.get(&key).is_some_and(|at| *at > common.latest)
            };
            read.iter().all(|(id, row)| seen.get(id) == Some(row))
                && seen.keys().all(|id| read.contains_key(id) || !must_stay(id))
        };
        let (mut tried, last) = (seqs.clone(), *seqs.end());
        let seen = self.view(Table::Stream, filter, last, common.model);
        assert!(tried.any(fits), "{} at {said:?} gives {read:?} of {seen:?}", statement.sql);
    }

    /// Where nothing was committed meanwhile a write finds exactly the rows that a SELECT would.
    pub fn check_complete(&self, statement: &Statement, answer: &Answer, common: &Common) {
        let (Kind::Bump(table, filter, _) | Kind::Delete(table, filter)) = &statement.kind else { return };
        if statement.from != common.current
            || *table == Table::Stream
            || self.open.as_ref().is_some_and(|open| open.level.is_pinned())
        {
            return;
        }
        let seen = self.view(*table, filter, common.current, common.model);
        let mut found: Vec<i64> = (0..answer.rows.len()).map(|at| Row::of(answer, at).0).collect();
        found.sort_unstable();
        assert_eq!(found, seen.keys().copied().collect::<Vec<_>>(), "{}", statement.sql);
    }

    /// Notes what a write has done, as its answer tells.
    pub fn wrote(&mut self, statement: &Statement, answer: &Answer, common: &mut Common) {
        let table = statement.kind.table().expect("a write is of a table");
        let shape = self.shape(table, common.model).expect("a table that is written is there");
        assert_eq!(answer.columns, shape.names(), "{} returns other columns", statement.sql);
        for at in 0..answer.rows.len() {
            let (id, row) = Row::of(answer, at);
            let key: Key = (table, self.scope(table), id);
            let volatile = table == Table::Stream;
            let was = |before: Before| if volatile { Before::Unknown } else { before };
            if volatile {
                let open = self.open.as_mut().expect("it is open");
                let expires = open.began.min(statement.time).min(common.now) + TTL_MICROS;
                open.expires.insert(key.clone(), expires);
            }
            match &statement.kind {
                Kind::Insert(..) => {
                    assert_eq!(row.extra, shape.default, "{} sets another default", statement.sql);
                    self.effect(key, was(Before::Absent), Some(row));
                }
                Kind::Bump(_, _, also) => {
                    let body = (!matches!(also, Also::Body(_))).then(|| row.body.clone());
                    let extra = (!matches!(also, Also::Extra(_))).then_some(row.extra);
                    self.effect(key, was(Before::Was { n: row.n - 1, body, extra }), Some(row));
                }
                Kind::Move(_, from, to) if from == to => self.effect(key, was(Before::row(&row)), Some(row)),
                Kind::Move(_, from, _) => {
                    let old = (key.0, key.1.clone(), *from);
                    self.effect(old, was(Before::row(&row)), None);
                    let (before, after, from) = (was(Before::Absent), Some(row), Some(*from));
                    self.deed(Deed::Write(Effect { key, before, after, from }));
                }
                Kind::Delete(..) => self.effect(key, was(Before::row(&row)), None),
                other => unreachable!("{other:?} returns no rows"),
            }
        }
    }

    fn effect(&mut self, key: Key, before: Before, after: Option<Row>) {
        self.deed(Deed::Write(Effect { key, before, after, from: None }));
    }
}

/// A row after an UPDATE of it.
fn bumped(row: &Row, also: &Also) -> Row {
    let mut row = Row { n: row.n + 1, ..row.clone() };
    match also {
        Also::Nothing => {}
        Also::Body(body) => row.body.clone_from(body),
        Also::Extra(extra) => row.extra = *extra,
    }
    row
}

fn check_order(statement: &Statement, answer: &Answer) {
    let rows: Vec<(i64, Row)> = (0..answer.rows.len()).map(|at| Row::of(answer, at)).collect();
    let sorted = match statement.sql.rsplit_once(" ORDER BY ") {
        Some((_, "id")) => rows.is_sorted_by_key(|(id, _)| *id),
        Some((_, "id DESC")) => rows.iter().rev().is_sorted_by_key(|(id, _)| *id),
        Some((_, "n")) => rows.is_sorted_by_key(|(_, row)| row.n),
        _ => true,
    };
    assert!(sorted, "{} gives {rows:?}", statement.sql);
}
