//! The rows of a table that is altered: judged, and stored anew where they must be.

use super::Altered;
use crate::catalog::Relation;
use crate::change::Write;
use crate::encoding::{key, row};
use crate::error::{Error, Result};
use crate::expr::{EvalContext, Expr};
use crate::limits::DEFINITION_STEP_ROWS;
use crate::sql::ddl::work::Job;
use crate::storage::Direction;
use crate::table::{Model, contains_nulls, duplicate_violation, violated_by_some_row};
use crate::txn::{StatementView, Transaction};
use crate::types::{CommitSeq, Value};
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

/// One pass over the rows of a table, whose lock is held.
pub(super) struct Rows {
    old: Arc<Model>,
    new: Arc<Model>,
    schema: String,
    /// New values of columns, over a row as it is stored.
    computed: Vec<(usize, Expr)>,
    not_null: Vec<usize>,
    checks: Vec<(String, Expr)>,
    /// Indexes among the new model's whose entries are made.
    built: Vec<usize>,
    /// Whether the rows are stored anew.
    moves: bool,
    /// Whether conditions come before keys where a table violates both: PostgreSQL builds the indexes of a table that it
    /// writes anew at the end.
    keys_last: bool,
    /// The last key that was looked at.
    last: Option<Bytes>,
    /// The first condition that does not hold.
    violation: Option<Error>,
    /// The first key that is there twice.
    duplicate: Option<Error>,
}

impl Rows {
    pub(super) fn new(altered: &Altered, schema: String) -> Result<Rows> {
        let after = Arc::new(altered.after.clone());
        let new = Model::new(&after)?;
        let indexes = new.indexes().iter().enumerate();
        let built = indexes.filter(|(_, index)| altered.built.contains(&index.storage)).map(|(at, _)| at).collect();
        Ok(Rows {
            old: Model::new(&altered.before)?,
            new,
            schema,
            computed: altered.computed.clone(),
            not_null: altered.not_null.clone(),
            checks: altered.checks.clone(),
            built,
            moves: altered.moves(),
            keys_last: altered.rewrites(),
            last: None,
            violation: None,
            duplicate: None,
        })
    }

    fn relation(&self) -> &Arc<Relation> {
        self.new.relation()
    }

    /// A row's values as they will be.
    fn values(&self, stored: &Bytes, world: &EvalContext) -> Result<Vec<Value>> {
        let old = self.old.decode(stored)?;
        let mut values = old.clone();
        let columns = &self.relation().columns;
        for column in values.len()..columns.len() {
            values.push(self.new.missing(column).clone());
        }
        for (column, value) in &self.computed {
            values[*column] = value.eval(&old, world)?;
        }
        for (value, _) in values.iter_mut().zip(columns).filter(|(_, column)| column.dropped) {
            *value = Value::Null;
        }
        Ok(values)
    }

    fn judge(&self, values: &[Value], world: &EvalContext) -> Result<Option<Error>> {
        if let Some(&null) = self.not_null.iter().find(|&&column| values[column].is_null()) {
            return Ok(Some(contains_nulls(self.relation(), &self.schema, null)));
        }
        for (name, condition) in &self.checks {
            if condition.eval_bool(values, world)? == Some(false) {
                return Ok(Some(violated_by_some_row(self.relation(), &self.schema, name)));
            }
        }
        Ok(None)
    }

    fn put(&self, tx: &mut Transaction, key: Bytes, value: Bytes) -> Result<()> {
        tx.put(Write { command: 0, key, value: Some(value), volatile: self.new.is_volatile(), change: None })
    }

    /// Stores a row and its entries as they will be.
    fn store(
        &mut self,
        tx: &mut Transaction,
        view: &StatementView,
        (old_key, stored): (&Bytes, &Bytes),
        values: &[Value],
    ) -> Result<()> {
        let scope = key::scope_of(old_key);
        let mut row_key = old_key.clone();
        if self.moves {
            if let Some(primary) = &self.relation().primary_key
                && primary.columns.iter().any(|&column| values[column].is_null())
            {
                return Ok(());
            }
            let row_id = match self.old.row_id(old_key) {
                Some(row_id) => row_id,
                None if self.new.has_row_id() => tx.engine().snowflake(),
                None => 0,
            };
            row_key = self.new.row_key(scope, values, row_id)?;
            if let Some(primary) = &self.relation().primary_key
                && tx.newest(view, &row_key)?.is_some()
            {
                self.duplicate =
                    Some(duplicate_violation(self.relation(), &self.schema, &primary.name, &primary.columns, values));
                return Ok(());
            }
            let mut encoded = self.new.encode_row(values, tx.engine().env().now())?.to_vec();
            // it is the same version of the row; one of this transaction's own has no position yet
            let seq = self.old.view(stored.clone())?.seq();
            row::set_seq(&mut encoded, if seq == CommitSeq::ZERO { view.seq() } else { seq });
            self.put(tx, row_key.clone(), Bytes::from(encoded))?;
        }
        for &at in &self.built {
            let index = &self.new.indexes()[at];
            if let Some(unique) = index.unique_key(scope, values)?
                && tx.newest(view, &unique)?.is_some()
            {
                let (name, columns) = (&index.name, &index.columns);
                self.duplicate = Some(duplicate_violation(self.relation(), &self.schema, name, columns, values));
                return Ok(());
            }
            self.put(tx, index.entry_key(scope, values, &row_key)?, row_key.clone())?;
        }
        Ok(())
    }

    /// Whether it need not go on: what would be told is known.
    fn is_decided(&self) -> bool {
        match self.keys_last {
            true => self.violation.is_some(),
            false => self.duplicate.is_some(),
        }
    }

    fn outcome(&mut self) -> Result<()> {
        let (violation, duplicate) = (self.violation.take(), self.duplicate.take());
        let first = if self.keys_last { violation.or(duplicate) } else { duplicate.or(violation) };
        first.map_or(Ok(()), Err)
    }
}

impl Job for Rows {
    fn step(&mut self, tx: &mut Transaction, world: &EvalContext) -> Result<bool> {
        let (first, to) = key::storage_range(self.old.space(), self.old.relation().storage);
        let from = match &self.last {
            Some(last) => Bound::Excluded(last.to_vec()),
            None => Bound::Included(first),
        };
        // nothing changes under the lock, so each piece may look anew and no snapshot is held between them
        let view = tx.latest()?;
        let mut cursor = tx.cursor(&view, from, Bound::Excluded(to), Direction::Forward);
        let mut batch = Vec::new();
        let more = cursor.next_batch(tx, &view, &mut batch, DEFINITION_STEP_ROWS)?;
        let now = tx.engine().env().now();
        for (key, stored) in batch {
            if self.old.is_live(&stored, now)? {
                let values = self.values(&stored, world)?;
                if self.violation.is_none() {
                    self.violation = self.judge(&values, world)?;
                }
                if self.duplicate.is_none() {
                    self.store(tx, &view, (&key, &stored), &values)?;
                }
                if self.is_decided() {
                    return self.outcome().map(|()| true);
                }
            }
            self.last = Some(key);
        }
        if more {
            return Ok(false);
        }
        self.outcome().map(|()| true)
    }
}
