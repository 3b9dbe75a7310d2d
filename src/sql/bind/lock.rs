//! FOR UPDATE and its kin: which rows a query locks, and what forbids it.

use super::Binder;
use super::ident::{fold, name_parts};
use super::relation::Found;
use super::scope::Scope;
use crate::catalog::Privilege;
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::{is_weaker_lock, without_mark};
use crate::sql::plan::{LockWait, Logical, RowLocking, Source};
use crate::txn::RowLock;
use crate::types::Oid;
use sqlparser::ast::{LockClause, LockType, NonBlock, Query, Spanned};

/// What a SELECT has that no row of a table stands behind.
#[derive(Clone, Copy, Default)]
pub(crate) struct Unlockable {
    pub(crate) distinct: bool,
    pub(crate) groups: bool,
    pub(crate) having: bool,
    pub(crate) aggregates: bool,
    pub(crate) sets: bool,
}

impl Unlockable {
    fn name(self) -> Option<&'static str> {
        match self {
            Unlockable { distinct: true, .. } => Some("DISTINCT clause"),
            Unlockable { groups: true, .. } => Some("GROUP BY clause"),
            Unlockable { having: true, .. } => Some("HAVING clause"),
            Unlockable { aggregates: true, .. } => Some("aggregate functions"),
            Unlockable { sets: true, .. } => Some("set-returning functions in the target list"),
            _ => None,
        }
    }
}

impl Binder<'_> {
    /// What a query locks of what it selects from. As in PostgreSQL several clauses are one: the strongest lock, and the
    /// most impatient wait.
    pub(crate) fn row_locking(
        &mut self,
        query: &Query,
        from: &Logical,
        scope: &Scope,
        unlockable: Unlockable,
    ) -> Result<Option<RowLocking>> {
        let mut locking: Option<RowLocking> = None;
        for clause in &query.locks {
            let lock = strength(clause);
            if let Some(what) = unlockable.name() {
                let message = format!("{} is not allowed with {what}", lock.name());
                return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
            let at = self.check_named(clause, lock, scope)?;
            let source = match from {
                Logical::Scan { source, .. } => source,
                Logical::Function { .. } if at.is_some() => {
                    let message = format!("{} cannot be applied to a function", lock.name());
                    return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(at));
                }
                // a sequence's row
                Logical::Values { .. } if !scope.tables.is_empty() => {
                    let oid = scope.tables[0].columns.first().map_or(Oid::INVALID, |column| column.table);
                    let name = self.cx.catalog.relation(oid).map_or("", |sequence| sequence.name.as_str());
                    return Err(not_lockable("sequence", name));
                }
                _ => continue,
            };
            let model = match source {
                Source::Stored(model) => model.clone(),
                Source::System(relation) => return Err(not_lockable("system relation", relation.name)),
            };
            if model.relation().topic().is_some() {
                return Err(not_lockable("topic", &model.relation().name));
            }
            self.require(&Found::Stored(model.relation().clone()), Privilege::Update)?;
            let wait = match clause.nonblock {
                None => LockWait::Wait,
                Some(NonBlock::SkipLocked) => LockWait::Skip,
                Some(NonBlock::Nowait) => LockWait::Fail,
            };
            let before = locking.take().unwrap_or(RowLocking { model, lock, wait });
            self.locks = self.locks.max(Some(lock));
            locking = Some(RowLocking { lock: before.lock.max(lock), wait: before.wait.max(wait), ..before });
        }
        Ok(locking)
    }

    /// The place of OF's name, which must be the table's.
    fn check_named(&self, clause: &LockClause, lock: RowLock, scope: &Scope) -> Result<Option<u32>> {
        let Some(of) = clause.of.as_ref().and_then(without_mark) else { return Ok(None) };
        let at = self.at(of.span());
        if name_parts(&of)?.len() > 1 {
            let message = format!("{} must specify unqualified relation names", lock.name());
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(at));
        }
        let name = of.0.first().and_then(|part| part.as_ident()).map(fold).unwrap_or_default();
        if !scope.tables.iter().any(|table| table.alias == name) {
            let message = format!("relation \"{name}\" in {} clause not found in FROM clause", lock.name());
            return Err(Error::new(SqlState::UNDEFINED_TABLE, message).at(at));
        }
        Ok(at)
    }
}

/// 0A000 for a locking clause over VALUES.
pub(crate) fn refuse_over_values(query: &Query) -> Result<()> {
    match query.locks.first() {
        None => Ok(()),
        Some(clause) => {
            let message = format!("{} cannot be applied to VALUES", strength(clause).name());
            Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message))
        }
    }
}

fn not_lockable(kind: &str, name: &str) -> Error {
    Error::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot lock rows in {kind} \"{name}\""))
}

fn strength(clause: &LockClause) -> RowLock {
    match (clause.lock_type, is_weaker_lock(clause)) {
        (LockType::Update, false) => RowLock::Update,
        (LockType::Update, true) => RowLock::NoKeyUpdate,
        (LockType::Share, false) => RowLock::Share,
        (LockType::Share, true) => RowLock::KeyShare,
    }
}
