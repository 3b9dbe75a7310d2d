//! CREATE TABLE.

use super::{Definer, refuse_repeated};
use crate::catalog::{Column, Relation, RelationKind, TableKind};
use crate::error::{Error, Result, SqlState};
use crate::limits::COLUMNS_MAX;
use crate::sql::parse::{ColumnDefinition, CreateTable, Opt};
use crate::types::SqlType;

/// Columns that every table has without saying so.
pub(super) const SYSTEM_COLUMNS: [&str; 7] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "_seq"];

/// PostgreSQL's storage parameters of tables: kept and shown, without effect.
const STORAGE_PARAMETERS: [&str; 4] = ["fillfactor", "parallel_workers", "toast_tuple_target", "user_catalog_table"];

/// 0A000 for a system column.
pub(super) fn refuse_system_column(verb: &str, name: &str) -> Result<()> {
    match SYSTEM_COLUMNS.contains(&name) {
        true => Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot {verb} system column \"{name}\""))),
        false => Ok(()),
    }
}

const MICROS_PER_SECOND: i64 = 1_000_000;

impl Definer<'_, '_> {
    pub(super) fn create_table(&mut self, create: &CreateTable) -> Result<()> {
        let schema = self.target_schema(&create.name)?;
        let name = &create.name.name;
        if self.passes_over(schema.oid, name, create.if_not_exists)? {
            return Ok(());
        }
        if create.columns.len() > COLUMNS_MAX {
            let message = format!("tables can have at most {COLUMNS_MAX} columns");
            return Err(Error::new(SqlState::TOO_MANY_COLUMNS, message));
        }
        let (kind, options) = self.table_options(&create.options)?;
        let mut relation = Relation {
            oid: self.tx.alloc_oid(),
            schema: schema.oid,
            name: name.clone(),
            owner: self.cx.role,
            kind: RelationKind::Table(kind),
            storage: self.tx.alloc_storage(),
            columns: Vec::new(),
            row_version: 0,
            readable_from: 0,
            primary_key: None,
            uniques: Vec::new(),
            indexes: Vec::new(),
            checks: Vec::new(),
            acl: Vec::new(),
            options,
        };
        for definition in &create.columns {
            if relation.column(&definition.name).is_some() {
                let message = format!("column \"{}\" specified more than once", definition.name);
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
            }
            let column = self.column(definition)?;
            relation.columns.push(column);
        }
        let own = create.columns.iter().flat_map(|column| &column.constraints);
        let mut constraints: Vec<_> = own.chain(&create.constraints).collect();
        constraints.sort_by_key(|constraint| constraint.position);
        self.add_constraints(&mut relation, &constraints)?;
        self.put_relation(relation)
    }

    /// A column without its own constraints.
    pub(super) fn column(&mut self, definition: &ColumnDefinition) -> Result<Column> {
        let name = definition.name.clone();
        if SYSTEM_COLUMNS.contains(&name.as_str()) {
            let message = format!("column name \"{name}\" conflicts with a system column name");
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
        if definition.ty.same(SqlType::VOID) || definition.ty.same(SqlType::UNKNOWN) {
            let message = format!("column \"{name}\" has pseudo-type {}", definition.ty.base_name());
            return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
        }
        let not_null = definition.not_null == Some(true);
        let mut column = Column { name, ty: definition.ty, not_null, default: None, dropped: false, missing: None };
        if let Some(default) = &definition.default {
            column.default = Some(self.cx.expressions.default(&self.catalog(), default, &column)?);
        }
        Ok(column)
    }

    /// WITH: the kind of table, and what is kept for display.
    fn table_options(&mut self, options: &[Opt]) -> Result<(TableKind, Vec<(String, String)>)> {
        let (mut kind, mut ttl, mut kept) = (None, None, Vec::new());
        refuse_repeated(options)?;
        for option in options {
            let value = option.value.as_deref().unwrap_or("true");
            match option.name.as_str() {
                "type" => kind = Some(value.to_ascii_uppercase()),
                "ttl_seconds" => ttl = Some(ttl_micros(value).ok_or_else(|| invalid(option))?),
                "flush_policy" => {
                    check_flush_policy(value).ok_or_else(|| invalid(option))?;
                    kept.push((option.name.clone(), value.to_owned()));
                }
                name if STORAGE_PARAMETERS.contains(&name)
                    || name.starts_with("autovacuum_")
                    || name.starts_with("toast.") =>
                {
                    self.notice(format!("storage parameter \"{name}\" is kept but has no effect"));
                    kept.push((option.name.clone(), value.to_owned()));
                }
                name => {
                    let message = format!("unrecognized parameter \"{name}\"");
                    return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                        .hint("Parameters are TYPE, TTL_SECONDS and FLUSH_POLICY.")
                        .at(option.position));
                }
            }
        }
        let wrong = |message: &str| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
        let kind = match (kind.as_deref(), ttl) {
            (Some("STREAM"), Some(ttl_micros)) => TableKind::Stream { ttl_micros },
            (Some("STREAM"), None) => return Err(wrong("a STREAM table requires TTL_SECONDS")),
            (Some("USER"), None) => TableKind::User,
            (Some("SHARED") | None, None) => TableKind::Shared,
            (Some("USER" | "SHARED") | None, Some(_)) => {
                return Err(wrong("TTL_SECONDS is for STREAM tables only"));
            }
            (Some(other), _) => {
                return Err(
                    wrong(&format!("invalid table type \"{other}\"")).hint("Types are USER, SHARED and STREAM.")
                );
            }
        };
        if kept.iter().any(|(name, _)| name == "flush_policy") {
            if let TableKind::Stream { .. } = kind {
                return Err(wrong("a STREAM table is never flushed and takes no FLUSH_POLICY"));
            }
            let warning = "FLUSH_POLICY has no effect: flushing is not supported yet";
            self.notices.push(
                Error::warning(SqlState::WARNING, warning).hint("All rows stay in the hot store; the policy is kept."),
            );
        }
        Ok((kind, kept))
    }
}

fn invalid(option: &Opt) -> Error {
    let value = option.value.as_deref().unwrap_or_default();
    let message = format!("invalid value for parameter \"{}\": \"{value}\"", option.name);
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message).at(option.position)
}

fn ttl_micros(value: &str) -> Option<i64> {
    let seconds: i64 = value.parse().ok().filter(|&seconds| seconds > 0)?;
    seconds.checked_mul(MICROS_PER_SECOND)
}

/// `rows:N`, `interval:S`, or both.
fn check_flush_policy(value: &str) -> Option<()> {
    let mut seen = Vec::new();
    for part in value.split(',') {
        let (name, number) = part.trim().split_once(':')?;
        number.trim().parse::<u64>().ok().filter(|&number| number > 0)?;
        if !["rows", "interval"].contains(&name) || seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    Some(())
}
