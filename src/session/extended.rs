//! The extended protocol: Parse, Bind, Describe, Execute, Close (PostgreSQL manual, 55.2.3).

use super::block::{Block, refuse_in_failed};
use super::conversation::Session;
use super::portal::{Portal, State};
use super::prepared::Prepared;
use super::{Format, Output, Request, Target};
use crate::error::{Error, Result, SqlState};
use crate::limits::PORTALS_MAX;
use crate::types::datetime::from_unix_micros;
use crate::types::{Oid, SqlType, Value, binary, text};
use bytes::Bytes;
use std::sync::Arc;

/// What Bind brings.
pub(super) struct Binding {
    portal: String,
    statement: String,
    parameter_formats: Vec<Format>,
    parameters: Vec<Option<Bytes>>,
    result_formats: Vec<Format>,
}

impl Session {
    /// Answers a message of the extended protocol other than Execute, Flush and Sync.
    pub(super) fn answer(&mut self, request: Request, output: &mut dyn Output) -> Result<()> {
        match request {
            Request::Parse { name, sql, types } => {
                self.parse_message(&name, &sql, &types, output)?;
                output.parse_complete();
            }
            Request::Bind { portal, statement, parameter_formats, parameters, result_formats } => {
                let binding = Binding { portal, statement, parameter_formats, parameters, result_formats };
                self.bind_message(binding)?;
                output.bind_complete();
            }
            Request::Describe(Target::Statement(name)) => self.describe_statement(&name, output)?,
            Request::Describe(Target::Portal(name)) => self.describe_portal(&name, output)?,
            Request::Close(target) => {
                match target {
                    Target::Statement(name) => drop(self.statements.remove(&name)),
                    Target::Portal(name) => drop(self.portals.remove(&name)),
                }
                output.close_complete();
            }
            Request::Unexpected(kind) => {
                let message = format!("invalid frontend message type {kind}");
                return Err(Error::fatal(SqlState::PROTOCOL_VIOLATION, message));
            }
            _ => return Err(Error::internal("a message that has its own path")),
        }
        Ok(())
    }

    fn parse_message(&mut self, name: &str, sql: &str, types: &[Oid], output: &mut dyn Output) -> Result<()> {
        let declared = types.iter().map(|&oid| declared_type(oid)).collect::<Result<Vec<SqlType>>>()?;
        if name.is_empty() {
            self.statements.remove("");
        }
        let prepared = self.prepare_one(sql, &declared);
        self.show_running(&self.text);
        let prepared = prepared?;
        self.lock_if_free(&prepared)?;
        for notice in prepared.parsed.iter().flat_map(|parsed| &parsed.notices) {
            self.tell(notice, output);
        }
        self.keep_statement(name, prepared)
    }

    fn bind_message(&mut self, binding: Binding) -> Result<()> {
        let prepared = self.statement_named(&binding.statement)?;
        self.show_running(&prepared.text);
        self.check_portal_name(&binding.portal)?;
        let (formats, values) = (&binding.parameter_formats, &binding.parameters);
        if formats.len() > 1 && formats.len() != values.len() {
            let (formats, values) = (formats.len(), values.len());
            return Err(violation(format!("bind message has {formats} parameter formats but {values} parameters")));
        }
        if values.len() != prepared.params.len() {
            let message = format!(
                "bind message supplies {} parameters, but prepared statement \"{}\" requires {}",
                values.len(),
                binding.statement,
                prepared.params.len()
            );
            return Err(violation(message));
        }
        if !values.is_empty() && matches!(self.block, Block::Failed(_)) {
            self.refuse_in_failed()?;
        }
        self.refuse_if_failed(&prepared)?;
        self.text = prepared.text.clone();
        let params = self.parameter_values(&prepared, &binding)?;
        let current = self.bound(prepared.clone())?;
        if !Arc::ptr_eq(&current, &prepared) {
            self.statements.insert(binding.statement, current.clone());
        }
        self.lock_if_free(&current)?;
        let (formats, columns) = (&binding.result_formats, current.columns().map_or(0, <[_]>::len));
        if formats.len() > 1 && formats.len() != columns {
            let formats = formats.len();
            return Err(violation(format!(
                "bind message has {formats} result formats but query has {columns} columns"
            )));
        }
        let mut portal = Portal::new(current, params, binding.result_formats);
        portal.depth = self.savepoints.len();
        self.portals.insert(binding.portal, portal);
        Ok(())
    }

    fn check_portal_name(&self, name: &str) -> Result<()> {
        if !name.is_empty() && self.portals.contains_key(name) {
            return Err(Error::new(SqlState::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists")));
        }
        if self.portals.len() >= PORTALS_MAX && !self.portals.contains_key(name) {
            let message = format!("a session has {PORTALS_MAX} open portals at most");
            return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message).hint("Close them."));
        }
        Ok(())
    }

    fn parameter_values(&self, prepared: &Prepared, binding: &Binding) -> Result<Vec<Value>> {
        let zone = self.settings.zone();
        let now = from_unix_micros(self.services.engine.env().now());
        let value = |(index, value): (usize, &Option<Bytes>)| {
            let Some(bytes) = value else { return Ok(Value::Null) };
            let ty = prepared.params[index];
            match Format::of(&binding.parameter_formats, index) {
                Format::Text => {
                    let value = binary::utf8(bytes.clone())?;
                    text::parse_at(&value, ty, zone, Some(now))
                }
                Format::Binary => binary::decode(bytes, ty).map_err(|error| at_parameter(error, index)),
            }
        };
        binding.parameters.iter().enumerate().map(value).collect()
    }

    fn describe_statement(&mut self, name: &str, output: &mut dyn Output) -> Result<()> {
        let prepared = self.statement_named(name)?;
        if prepared.columns().is_some() {
            self.refuse_failed_unless_end(&prepared)?;
        }
        // known whatever becomes of its rows
        output.parameter_description(&prepared.params);
        let current = self.bound(prepared.clone())?;
        if !Arc::ptr_eq(&current, &prepared) {
            self.statements.insert(name.to_owned(), current.clone());
        }
        match current.columns() {
            Some(columns) => output.row_description(columns, &[]),
            None => output.no_data(),
        }
        Ok(())
    }

    fn describe_portal(&mut self, name: &str, output: &mut dyn Output) -> Result<()> {
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        if portal.prepared.columns().is_some() && matches!(self.block, Block::Failed(_)) {
            self.refuse_in_failed()?;
        }
        match portal.prepared.columns() {
            Some(columns) => output.row_description(columns, &portal.formats),
            None => output.no_data(),
        }
        Ok(())
    }

    /// Takes a portal out to execute it.
    ///
    /// # Errors
    /// 34000 for a name without a portal, 55000 for a portal that is done, 25P02 in a failed block.
    pub(super) fn take_portal(&mut self, name: &str, rows_max: u32) -> Result<Portal> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        if let State::Done = portal.state
            && portal.prepared.columns().is_none()
        {
            let message = format!("portal \"{name}\" cannot be run");
            return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        self.refuse_failed_unless_end(&portal.prepared)?;
        portal.fetch(rows_max as usize);
        Ok(portal)
    }

    /// 25P02 for a statement that a failed block does not take.
    pub(super) fn refuse_if_failed(&self, prepared: &Prepared) -> Result<()> {
        if prepared.parsed.is_none() {
            return Ok(());
        }
        self.refuse_failed_unless_end(prepared)
    }

    /// The error of every statement in a failed block but those that end it.
    fn refuse_in_failed(&self) -> Result<()> {
        match &self.lost {
            Some(error) => Err(error.clone()),
            None => refuse_in_failed(),
        }
    }

    fn refuse_failed_unless_end(&self, prepared: &Prepared) -> Result<()> {
        match self.block {
            Block::Failed(_) if !prepared.ends_block() => self.refuse_in_failed(),
            _ => Ok(()),
        }
    }
}

/// The type that a client declares by its OID; 0 leaves it to inference.
fn declared_type(oid: Oid) -> Result<SqlType> {
    if oid == Oid::INVALID {
        return Ok(SqlType::UNKNOWN);
    }
    let known = SqlType::ALL.iter().find(|ty| ty.oid == oid).copied();
    known.ok_or_else(|| {
        let message = format!("type with OID {} does not exist", oid.0);
        Error::new(SqlState::UNDEFINED_OBJECT, message).hint("Arrays and other types follow in a later version.")
    })
}

fn at_parameter(error: Error, index: usize) -> Error {
    if error.fields().message == binary::TOO_LONG {
        let message = format!("{} in bind parameter {}", binary::TOO_LONG, index + 1);
        return Error::new(SqlState::INVALID_BINARY_REPRESENTATION, message);
    }
    error
}

fn no_portal(name: &str) -> Error {
    Error::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

fn violation(message: String) -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, message)
}
