//! FROM: tables to scans, and the names that they give to expressions.

use super::Binder;
use super::ident::fold;
use super::relation::Found;
use super::scope::{Scope, ScopeTable};
use super::sets::FunctionFactor;
use crate::catalog::Privilege;
use crate::error::{Error, Result, SqlState};
use crate::sql::plan::{Logical, Source};
use sqlparser::ast::{ObjectName, Spanned, TableAlias, TableFactor, TableWithJoins};

impl Binder<'_> {
    /// What FROM gives: its rows and its names. Nothing gives one row without columns.
    pub(crate) fn from(&mut self, from: &[TableWithJoins]) -> Result<(Logical, Scope)> {
        let (tree, mut scope) = match from {
            [] => (Logical::Values { rows: vec![Vec::new()], types: Vec::new() }, Scope::default()),
            [one] if one.joins.is_empty() => self.table_factor(&one.relation)?,
            _ => return Err(Error::unsupported("a join").hint("Select from one table at a time.")),
        };
        scope.unreachable = self.unreachable.clone();
        Ok((tree, scope))
    }

    fn table_factor(&mut self, factor: &TableFactor) -> Result<(Logical, Scope)> {
        if let Some(function) = function_of(factor) {
            return self.function_factor(&function);
        }
        let (name, alias) = self.plain_table(factor)?;
        let found = self.find_relation(name)?;
        self.require(&found, Privilege::Select)?;
        if let Found::Stored(relation) = &found
            && relation.sequence().is_some()
        {
            return self.sequence_row(&found, relation, alias);
        }
        let (source, scope) = self.named(&found, alias)?;
        let alias = scope.tables[0].alias.clone();
        let qualified = match &found {
            Found::Stored(relation) => self.cx.catalog.qualified_name(relation),
            Found::System(relation) => relation.name.to_owned(),
        };
        Ok((Logical::Scan { source, alias, qualified }, scope))
    }

    /// The name and alias of a table without further clauses.
    pub(crate) fn plain_table<'t>(&self, factor: &'t TableFactor) -> Result<(&'t ObjectName, Option<&'t TableAlias>)> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version: None,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample: None,
                index_directives,
                ..
            } if with_hints.is_empty() && partitions.is_empty() && index_directives.is_empty() => {
                Ok((name, alias.as_ref()))
            }
            TableFactor::Derived { .. } => Err(Error::unsupported("a sub-select in FROM").at(self.at(factor.span()))),
            _ => Err(Error::unsupported("this clause in FROM").at(self.at(factor.span()))),
        }
    }

    /// A relation under its alias.
    pub(crate) fn named(&mut self, found: &Found, alias: Option<&TableAlias>) -> Result<(Source, Scope)> {
        let source = self.source(found)?;
        let own = found.name().to_owned();
        let mut table = match alias {
            None => ScopeTable::of(&source, own, self.schema_of(found), 0),
            Some(alias) => {
                let mut table = ScopeTable::of(&source, fold(&alias.name), None, 0);
                table.hidden_name = (table.alias != own).then_some(own);
                table
            }
        };
        for (column, renamed) in alias.iter().flat_map(|alias| &alias.columns).enumerate() {
            let plain = table.columns.iter_mut().filter(|column| column.kind == super::scope::ColumnKind::Plain);
            let Some(target) = plain.into_iter().nth(column) else {
                let message = format!(
                    "table \"{}\" has {column} columns available but {} columns specified",
                    table.alias,
                    alias.map_or(0, |alias| alias.columns.len())
                );
                return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message));
            };
            target.name = fold(&renamed.name);
        }
        Ok((source, Scope::of(table)))
    }

    fn schema_of(&self, found: &Found) -> Option<String> {
        match found {
            Found::Stored(relation) => self.cx.catalog.schema(relation.schema).map(|schema| schema.name.clone()),
            Found::System(relation) => Some(relation.schema.to_owned()),
        }
    }
}

/// A call of a function without further clauses.
fn function_of(factor: &TableFactor) -> Option<FunctionFactor<'_>> {
    match factor {
        TableFactor::Table {
            name,
            alias,
            args: Some(args),
            with_hints,
            version: None,
            with_ordinality,
            partitions,
            json_path: None,
            sample: None,
            index_directives,
            inheritance: None,
        } if args.settings.is_none()
            && with_hints.is_empty()
            && partitions.is_empty()
            && index_directives.is_empty() =>
        {
            let (args, ordinality) = (args.args.as_slice(), *with_ordinality);
            Some(FunctionFactor { name, args, ordinality, alias: alias.as_ref() })
        }
        // LATERAL changes nothing where there is nothing before it
        TableFactor::Function { lateral: _, name, args, with_ordinality, alias } => {
            Some(FunctionFactor { name, args, ordinality: *with_ordinality, alias: alias.as_ref() })
        }
        _ => None,
    }
}
