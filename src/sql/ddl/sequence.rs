//! CREATE and ALTER SEQUENCE.

use super::Definer;
use crate::catalog::{Column, Relation, RelationKind, Sequence};
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::{AlterSequence, ObjectName, SequenceOption, SequenceSetting};
use crate::types::SqlType;
use std::sync::Arc;

/// What selecting from a sequence shows.
const COLUMNS: [(&str, SqlType); 3] =
    [("last_value", SqlType::INT8), ("log_cnt", SqlType::INT8), ("is_called", SqlType::BOOL)];

impl Definer<'_, '_> {
    pub(super) fn create_sequence(
        &mut self,
        name: &ObjectName,
        if_not_exists: bool,
        options: &[SequenceOption],
    ) -> Result<()> {
        let schema = self.target_schema(name).map_err(Error::nowhere)?;
        if self.passes_over(schema.oid, &name.name, if_not_exists)? {
            return Ok(());
        }
        let sequence = worked_out(options, None)?.0;
        let column = |(name, ty): (&str, SqlType)| Column {
            name: name.to_owned(),
            ty,
            not_null: true,
            default: None,
            dropped: false,
            missing: None,
        };
        let relation = Relation {
            oid: self.tx.alloc_oid(),
            schema: schema.oid,
            name: name.name.clone(),
            owner: self.cx.role,
            kind: RelationKind::Sequence(sequence),
            storage: self.tx.alloc_storage(),
            columns: COLUMNS.map(column).into(),
            row_version: 0,
            readable_from: 0,
            primary_key: None,
            uniques: Vec::new(),
            indexes: Vec::new(),
            checks: Vec::new(),
            acl: Vec::new(),
            options: Vec::new(),
        };
        self.begin_sequence(relation.storage);
        self.put_relation(relation)
    }

    pub(super) fn alter_sequence(&mut self, name: &ObjectName, if_exists: bool, action: &AlterSequence) -> Result<()> {
        if if_exists && self.find_relation(name)?.is_none() && self.find_indexed(name).is_none() {
            self.notice(format!("relation \"{}\" does not exist, skipping", name.name));
            return Ok(());
        }
        let relation = self.relation_of_kind(name, "sequence", |relation| relation.sequence().is_some())?;
        self.require_owner(&relation)?;
        self.lock_relation(relation.oid)?;
        let mut altered = Relation::clone(&relation);
        match action {
            AlterSequence::Options(options) => self.count_otherwise(&relation, &mut altered, options)?,
            AlterSequence::Owner(role) => altered.owner = self.new_owner(role)?,
            AlterSequence::Rename(to) => {
                self.refuse_taken(&altered, to)?;
                altered.name = to.clone();
            }
            AlterSequence::Schema(schema) => {
                self.move_to_schema(&mut altered, schema)?;
            }
        }
        self.put_relation(altered)
    }

    /// New options. RESTART makes it count anew in a storage of its own, so that a rollback takes it back; with the
    /// others counting goes on, for all sessions.
    fn count_otherwise(
        &mut self,
        relation: &Arc<Relation>,
        altered: &mut Relation,
        options: &[SequenceOption],
    ) -> Result<()> {
        let RelationKind::Sequence(before) = &relation.kind else { return Ok(()) };
        let last = self.tx.engine().counter(relation)?.state(before).last;
        let (sequence, restarts) = worked_out(options, Some((*before, last)))?;
        altered.kind = RelationKind::Sequence(sequence);
        if restarts {
            altered.storage = self.tx.alloc_storage();
            self.begin_sequence(altered.storage);
            self.end_sequence(relation.storage);
        }
        Ok(())
    }
}

fn bounds_of(ty: SqlType) -> Option<(i64, i64)> {
    if ty.same(SqlType::INT2) {
        Some((i16::MIN.into(), i16::MAX.into()))
    } else if ty.same(SqlType::INT4) {
        Some((i32::MIN.into(), i32::MAX.into()))
    } else {
        ty.same(SqlType::INT8).then_some((i64::MIN, i64::MAX))
    }
}

fn wrong(message: String) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// The options together with what was there before and where it stands, and whether it is to count anew: PostgreSQL's
/// init_params, checks and messages in its order.
fn worked_out(options: &[SequenceOption], before: Option<(Sequence, i64)>) -> Result<(Sequence, bool)> {
    let find = |wanted: fn(&SequenceSetting) -> bool| options.iter().map(|one| one.setting).find(&wanted);
    let old = before.map(|(old, _)| old);
    let ty = match find(|one| matches!(one, SequenceSetting::As(_))) {
        Some(SequenceSetting::As(ty)) => ty,
        _ => old.map_or(SqlType::INT8, |old| old.ty),
    };
    let (least, most) =
        bounds_of(ty).ok_or_else(|| wrong("sequence type must be smallint, integer, or bigint".to_owned()))?;
    // bounds that were those of the old type become those of the new one
    let old_bounds = old.filter(|old| !old.ty.same(ty)).and_then(|old| Some((old, bounds_of(old.ty)?)));
    let resets_min = old_bounds.is_some_and(|(old, bounds)| old.min == bounds.0);
    let resets_max = old_bounds.is_some_and(|(old, bounds)| old.max == bounds.1);
    let increment = match find(|one| matches!(one, SequenceSetting::Increment(_))) {
        Some(SequenceSetting::Increment(0)) => return Err(wrong("INCREMENT must not be zero".to_owned())),
        Some(SequenceSetting::Increment(increment)) => increment,
        _ => old.map_or(1, |old| old.increment),
    };
    let cycle = match find(|one| matches!(one, SequenceSetting::Cycle(_))) {
        Some(SequenceSetting::Cycle(cycle)) => cycle,
        _ => old.is_some_and(|old| old.cycle),
    };
    let counts = Counts { ty, increment, bounds: (least, most), resets: (resets_min, resets_max) };
    let (min, max) = counts.bounds(options, old)?;
    let start = match (find(|one| matches!(one, SequenceSetting::Start(_))), old) {
        (Some(SequenceSetting::Start(start)), _) => start,
        (_, Some(old)) => old.start,
        _ => {
            if increment > 0 {
                min
            } else {
                max
            }
        }
    };
    within("START", start, min, max)?;
    let restart = find(|one| matches!(one, SequenceSetting::Restart(_)));
    let last = match (restart, before) {
        (Some(SequenceSetting::Restart(value)), _) => value.unwrap_or(start),
        (_, Some((_, last))) => last,
        _ => start,
    };
    within("RESTART", last, min, max)?;
    let cache = match find(|one| matches!(one, SequenceSetting::Cache(_))) {
        Some(SequenceSetting::Cache(cache)) if cache < 1 => {
            return Err(wrong(format!("CACHE ({cache}) must be greater than zero")));
        }
        Some(SequenceSetting::Cache(cache)) => cache,
        _ => old.map_or(1, |old| old.cache),
    };
    let initial = if restart.is_some() || old.is_none() { last } else { old.map_or(last, |old| old.initial) };
    Ok((Sequence { ty, start, initial, increment, min, max, cache, cycle }, restart.is_some()))
}

/// How a sequence counts, as far as its bounds depend on it.
struct Counts {
    ty: SqlType,
    increment: i64,
    /// The type's bounds.
    bounds: (i64, i64),
    /// Whether the least and the greatest number become those of the type.
    resets: (bool, bool),
}

impl Counts {
    /// MINVALUE and MAXVALUE.
    fn bounds(&self, options: &[SequenceOption], old: Option<Sequence>) -> Result<(i64, i64)> {
        let find = |wanted: fn(&SequenceSetting) -> bool| options.iter().map(|one| one.setting).find(&wanted);
        let Counts { increment, bounds: (least, most), resets: (resets_min, resets_max), .. } = *self;
        let max = match (find(|one| matches!(one, SequenceSetting::Max(_))), old) {
            (Some(SequenceSetting::Max(Some(max))), _) => max,
            (None, Some(old)) if !resets_max => old.max,
            _ if increment > 0 || resets_max => most,
            _ => -1,
        };
        let name = self.ty.base_name();
        if !(least..=most).contains(&max) {
            return Err(wrong(format!("MAXVALUE ({max}) is out of range for sequence data type {name}")));
        }
        let min = match (find(|one| matches!(one, SequenceSetting::Min(_))), old) {
            (Some(SequenceSetting::Min(Some(min))), _) => min,
            (None, Some(old)) if !resets_min => old.min,
            _ if increment < 0 || resets_min => least,
            _ => 1,
        };
        if !(least..=most).contains(&min) {
            return Err(wrong(format!("MINVALUE ({min}) is out of range for sequence data type {name}")));
        }
        if min >= max {
            return Err(wrong(format!("MINVALUE ({min}) must be less than MAXVALUE ({max})")));
        }
        Ok((min, max))
    }
}

fn within(what: &str, value: i64, min: i64, max: i64) -> Result<()> {
    if value < min {
        return Err(wrong(format!("{what} value ({value}) cannot be less than MINVALUE ({min})")));
    }
    if value > max {
        return Err(wrong(format!("{what} value ({value}) cannot be greater than MAXVALUE ({max})")));
    }
    Ok(())
}
