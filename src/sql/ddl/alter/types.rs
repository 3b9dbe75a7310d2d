//! ALTER COLUMN TYPE.

use super::{Altered, Definer, bump, column_of, constraint};
use crate::catalog::Relation;
use crate::error::{Error, Result, SqlState};
use crate::expr::Expr;
use crate::sql::ddl::ConditionOf;
use crate::sql::parse::AlterTable;
use crate::types::SqlType;
use std::sync::Arc;

/// A column's new type, and its value in a row that is there.
pub(super) struct Conversion {
    column: usize,
    ty: SqlType,
    value: Expr,
    has_using: bool,
}

impl Definer<'_, '_> {
    /// What ALTER COLUMN TYPE says, over the table as it is: as in PostgreSQL, mistakes in it are told before anything
    /// else of the statement is.
    pub(super) fn conversions(&self, table: &Arc<Relation>, actions: &[AlterTable]) -> Result<Vec<Conversion>> {
        let mut conversions = Vec::new();
        for action in actions {
            let AlterTable::Type { name, ty, using } = action else { continue };
            let column = column_of(table, name)?;
            if ty.same(SqlType::VOID) || ty.same(SqlType::UNKNOWN) {
                let message = format!("column \"{}\" has pseudo-type {}", name.name, ty.base_name());
                return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
            }
            let value = self.cx.expressions.converted(&self.catalog(), table, column, *ty, using.as_ref())?;
            conversions.push(Conversion { column, ty: *ty, value, has_using: using.is_some() });
        }
        Ok(conversions)
    }

    /// Changes the types. Defaults are cast to them, conditions and keys are held to them.
    pub(super) fn convert(&mut self, altered: &mut Altered, conversions: Vec<Conversion>) -> Result<()> {
        if conversions.is_empty() {
            return Ok(());
        }
        let catalog = self.catalog();
        let mut changed: Vec<usize> = Vec::new();
        for Conversion { column, ty, value, has_using } in conversions {
            let definition = &mut altered.after.columns[column];
            if definition.dropped {
                let name = &altered.before.columns[column].name;
                return Err(super::no_column(&altered.after, name));
            }
            if changed.contains(&column) {
                let message = format!("cannot alter type of column \"{}\" twice", definition.name);
                return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
            changed.push(column);
            let old = std::mem::replace(&mut definition.ty, ty);
            if let Some(default) = &definition.default {
                let default = self.cx.expressions.default_as(&catalog, default, &definition.name, ty)?;
                definition.default = Some(default);
            }
            if has_using || !is_wider(old, ty) {
                definition.missing = None;
                altered.computed.push((column, value));
                altered.retyped = true;
            }
        }
        let after = &altered.after;
        let keys = after.primary_key.iter().flat_map(|key| &key.columns);
        let uniques = after.uniques.iter().flat_map(|unique| &unique.columns);
        let indexes = after.indexes.iter().flat_map(|index| &index.columns).map(|indexed| &indexed.column);
        for &column in keys.chain(uniques).chain(indexes) {
            constraint::check_key_type(after.columns[column].ty, None)?;
        }
        bump(&mut altered.after)?;
        let over = altered.after.clone();
        self.respell(&over, &mut altered.after)?;
        self.judge_again(altered, &changed)
    }

    /// Checks over columns of other types are other conditions.
    fn judge_again(&mut self, altered: &mut Altered, changed: &[usize]) -> Result<()> {
        if !altered.retyped {
            return Ok(());
        }
        let catalog = self.catalog();
        let relation = &altered.after;
        for check in &relation.checks {
            let kept =
                self.cx.expressions.kept(&catalog, &check.condition, (relation, relation), ConditionOf::Check)?;
            if kept.columns.iter().any(|column| changed.contains(column)) {
                altered.checks.push((check.name.clone(), kept.expr));
            }
        }
        let not_null = changed.iter().copied().filter(|&column| relation.columns[column].not_null);
        altered.not_null.extend(not_null);
        Ok(())
    }
}

/// Whether every value of a type is one of the other, stored and ordered the same way.
fn is_wider(from: SqlType, to: SqlType) -> bool {
    let is_text = |ty: SqlType| ty.same(SqlType::TEXT) || ty.same(SqlType::VARCHAR);
    if is_text(from) && is_text(to) {
        return to.modifier < 0 || from.modifier >= 0 && to.modifier >= from.modifier;
    }
    if !from.same(to) {
        return false;
    }
    if from.modifier == to.modifier {
        return true;
    }
    if from.same(SqlType::NUMERIC) && from.modifier >= 0 && to.modifier >= 0 {
        // the same scale, more digits before it
        return (from.modifier - 4) & 0x7ff == (to.modifier - 4) & 0x7ff && to.modifier >= from.modifier;
    }
    to.modifier < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_types_hold_the_same_values() {
        let varchar = |length: i32| SqlType::VARCHAR.with_modifier(length + 4);
        assert!(is_wider(varchar(5), varchar(9)) && is_wider(varchar(5), SqlType::TEXT));
        assert!(is_wider(SqlType::TEXT, SqlType::VARCHAR) && !is_wider(SqlType::TEXT, varchar(9)));
        assert!(!is_wider(varchar(9), varchar(5)));
        let numeric = |precision: i32, scale: i32| SqlType::NUMERIC.with_modifier((precision << 16 | scale) + 4);
        assert!(is_wider(numeric(5, 2), numeric(9, 2)) && is_wider(numeric(5, 2), SqlType::NUMERIC));
        assert!(!is_wider(numeric(5, 2), numeric(9, 3)) && !is_wider(SqlType::NUMERIC, numeric(9, 2)));
        assert!(!is_wider(SqlType::INT4, SqlType::INT8));
    }
}
