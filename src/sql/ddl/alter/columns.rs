//! Columns that come, go and change their names. Columns keep their places.

use super::{Altered, Definer, bump, column_of, no_column};
use crate::catalog::{Relation, RelationKind};
use crate::error::{Error, Result, SqlState};
use crate::limits::COLUMNS_MAX;
use crate::sql::ddl::table::{SYSTEM_COLUMNS, refuse_system_column};
use crate::sql::ddl::{ConditionOf, Constant};
use crate::sql::parse::{ColumnDefinition, ColumnName, Expression};
use std::sync::Arc;

impl Definer<'_, '_> {
    pub(super) fn add_column(
        &mut self,
        altered: &mut Altered,
        definition: &ColumnDefinition,
        if_not_exists: bool,
    ) -> Result<()> {
        let relation = &mut altered.after;
        if relation.column(&definition.name).is_some() {
            let message = format!("column \"{}\" of relation \"{}\" already exists", definition.name, relation.name);
            if !if_not_exists {
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
            }
            self.notice_with_code(SqlState::DUPLICATE_COLUMN, format!("{message}, skipping"));
            return Ok(());
        }
        if relation.columns.len() >= COLUMNS_MAX {
            let message = format!("tables can have at most {COLUMNS_MAX} columns");
            return Err(Error::new(SqlState::TOO_MANY_COLUMNS, message));
        }
        let mut column = self.column(definition).map_err(Error::nowhere)?;
        let constant = match &definition.default {
            Some(default) => {
                self.cx.expressions.constant(&self.catalog(), default, column.ty).map_err(Error::nowhere)?
            }
            None => Constant::Null,
        };
        let position = relation.columns.len();
        match constant {
            Constant::Value(value) => column.missing = Some(value),
            Constant::Null if column.not_null => altered.not_null.push(position),
            Constant::Null => {}
            Constant::Each(default) => {
                altered.computed.push((position, default));
                if column.not_null {
                    altered.not_null.push(position);
                }
            }
        }
        relation.columns.push(column);
        bump(relation)?;
        self.constrain(altered, &definition.constraints.iter().collect::<Vec<_>>())
    }

    /// A dropped column keeps its place. The table's constraints and indexes that use it go with it.
    pub(super) fn drop_column(
        &mut self,
        altered: &mut Altered,
        name: &ColumnName,
        if_exists: bool,
        cascade: bool,
    ) -> Result<()> {
        let Some(position) = altered.after.column(&name.name) else {
            refuse_system_column("drop", &name.name)?;
            let error = no_column(&altered.after, &name.name);
            if !if_exists {
                return Err(error);
            }
            self.notice(format!("{}, skipping", error.fields().message));
            return Ok(());
        };
        self.drop_sources_of(&altered.after, position, cascade)?;
        let relation = &altered.after;
        let catalog = self.catalog();
        let mut kept = Vec::new();
        for check in &relation.checks {
            let names = (relation, relation);
            let condition = self.cx.expressions.kept(&catalog, &check.condition, names, ConditionOf::Check)?;
            if !condition.columns.contains(&position) {
                kept.push(check.clone());
            }
        }
        altered.after.checks = kept;
        altered.after.uniques.retain(|unique| !unique.columns.contains(&position));
        altered.after.indexes.retain(|index| index.columns.iter().all(|indexed| indexed.column != position));
        if altered.after.primary_key.as_ref().is_some_and(|key| key.columns.contains(&position)) {
            altered.after.primary_key = None;
            altered.reclustered = true;
        }
        let column = &mut altered.after.columns[position];
        column.name = format!("........pg.dropped.{}........", position + 1);
        (column.dropped, column.not_null, column.default) = (true, false, None);
        bump(&mut altered.after)
    }

    /// Takes a column's table out of the topics whose source needs the column. 2BP01 without CASCADE.
    fn drop_sources_of(&mut self, relation: &Relation, position: usize, cascade: bool) -> Result<()> {
        let catalog = self.catalog();
        let mut dependent = Vec::new();
        for topic in catalog.topics_of(relation.oid) {
            for source in topic.topic().into_iter().flat_map(|topic| &topic.sources) {
                let mut needs = source.partition_by.contains(&position);
                if let Some(filter) = source.filter.as_ref().filter(|_| source.table == relation.oid) {
                    let names = (relation, relation);
                    let condition = self.cx.expressions.kept(&catalog, filter, names, ConditionOf::Source)?;
                    needs |= condition.columns.contains(&position);
                }
                if needs && source.table == relation.oid {
                    dependent.push(topic.clone());
                }
            }
        }
        let sources: Vec<_> =
            dependent.iter().map(|topic| format!("source of topic {}", catalog.qualified_name(topic))).collect();
        let column = format!("column {} of table {}", relation.columns[position].name, relation.name);
        if !cascade && !sources.is_empty() {
            let lines: Vec<_> = sources.iter().map(|source| format!("{source} depends on {column}")).collect();
            let message = format!("cannot drop {column} because other objects depend on it");
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .detail(lines.join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        self.cascade_notice(&sources);
        for topic in dependent {
            let mut topic = Relation::clone(&topic);
            if let RelationKind::Topic(settings) = &mut topic.kind {
                settings.sources.retain(|source| source.table != relation.oid);
            }
            self.put_relation(topic)?;
        }
        Ok(())
    }

    pub(super) fn set_default(
        &mut self,
        relation: &mut Relation,
        name: &ColumnName,
        default: Option<&Expression>,
    ) -> Result<()> {
        let position = column_of(relation, name)?;
        let column = &relation.columns[position];
        let default = default.map(|default| self.cx.expressions.default(&self.catalog(), default, column));
        relation.columns[position].default = default.transpose().map_err(Error::nowhere)?;
        Ok(())
    }

    /// Checks and topic sources are kept as text with the columns' names: they are spelled anew.
    pub(super) fn rename_column(&mut self, relation: &mut Relation, name: &ColumnName, to: &str) -> Result<()> {
        refuse_system_column("rename", &name.name)?;
        let position = relation.column(&name.name).ok_or_else(|| {
            let message = format!("column \"{}\" does not exist", name.name);
            Error::new(SqlState::UNDEFINED_COLUMN, message)
        })?;
        if SYSTEM_COLUMNS.contains(&to) {
            let message = format!("column name \"{to}\" conflicts with a system column name");
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
        if relation.column(to).is_some() {
            let message = format!("column \"{to}\" of relation \"{}\" already exists", relation.name);
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
        let before = relation.clone();
        relation.columns[position].name = to.to_owned();
        bump(relation)?;
        self.respell(&before, relation)
    }

    /// Spells the conditions over a relation as they are over another version of it: bound over the one whose types
    /// hold, and with the other's names.
    pub(super) fn respell(&mut self, over: &Relation, relation: &mut Relation) -> Result<()> {
        let catalog = self.catalog();
        let named = relation.clone();
        for check in &mut relation.checks {
            let kept = self.cx.expressions.kept(&catalog, &check.condition, (over, &named), ConditionOf::Check)?;
            check.condition = kept.text;
        }
        let topics: Vec<Arc<Relation>> = catalog.topics_of(relation.oid).cloned().collect();
        for topic in topics {
            let mut topic = Relation::clone(&topic);
            let mut changed = false;
            let RelationKind::Topic(settings) = &mut topic.kind else { continue };
            for source in settings.sources.iter_mut().filter(|source| source.table == relation.oid) {
                let Some(filter) = &mut source.filter else { continue };
                let kept = self.cx.expressions.kept(&catalog, filter, (over, &named), ConditionOf::Source)?;
                changed |= *filter != kept.text;
                *filter = kept.text;
            }
            if changed {
                self.put_relation(topic)?;
            }
        }
        Ok(())
    }
}
