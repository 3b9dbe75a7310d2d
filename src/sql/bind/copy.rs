//! COPY … FROM: its table, its columns, and what its options mean.

use super::Binder;
use super::names::{Clause, Names};
use super::scope::ColumnKind;
use super::stored::{checks, default_of};
use crate::catalog::{Privilege, Relation};
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::{ColumnName, Copy, CopyOption, CopySource, CopyValue};
use crate::sql::plan::{self, Command, CopyFormat, CopyHeader, Logical};
use std::sync::Arc;

impl Binder<'_> {
    /// COPY … FROM STDIN. What is wrong is found in PostgreSQL's order.
    pub(crate) fn copy(&mut self, copy: &Copy) -> Result<Logical> {
        self.refuse_server_files(copy.source)?;
        let name: Vec<String> = copy.table.schema.iter().chain([&copy.table.name]).cloned().collect();
        let found = match (&copy.table.schema, self.find_named(&name, None)) {
            (Some(schema), Err(error)) if error.code() == SqlState::UNDEFINED_TABLE => {
                return Err(match self.cx.catalog.schema_by_name(schema) {
                    Some(_) => error,
                    None => Error::new(SqlState::UNDEFINED_SCHEMA, format!("schema \"{schema}\" does not exist")),
                });
            }
            (_, found) => found?,
        };
        let (relation, source, mut scope) = self.target_of(&found, None, Command::Copy)?;
        // lines hold the table's own columns only
        for table in &mut scope.tables {
            table.columns.retain(|column| column.kind != ColumnKind::System);
        }
        let mut names = Names::new(&scope, Clause::CopyWhere);
        let filter = copy.filter.as_ref().map(|ast| self.condition(ast, &mut names)).transpose()?;
        let columns = copy_columns(&relation, &copy.columns)?;
        self.require(&found, Privilege::Insert)?;
        if names.reads {
            self.require(&found, Privilege::Select)?;
        }
        let format = format(&copy.options)?;
        let plan::Source::Stored(model) = source else { return Err(Error::internal("a COPY to a system relation")) };
        let mut defaults = Vec::new();
        for column in (0..relation.columns.len()).filter(|column| !columns.contains(column)) {
            defaults.push((column, default_of(self, &relation, column)?));
        }
        let checks = checks(self, &relation)?;
        let schema = self.cx.catalog.schema(relation.schema).map_or_else(String::new, |schema| schema.name.clone());
        Ok(Logical::Copy(Box::new(plan::Copy { model, schema, columns, defaults, filter, checks, format })))
    }

    fn refuse_server_files(&self, source: CopySource) -> Result<()> {
        let (role, what) = match source {
            CopySource::Client => return Ok(()),
            CopySource::File => ("pg_read_server_files", "COPY from a file"),
            CopySource::Program => ("pg_execute_server_program", "COPY to or from an external program"),
        };
        let superuser = self.cx.catalog.role(self.cx.role).is_some_and(|role| role.superuser);
        if !superuser {
            let message = format!("must be superuser or a member of the {role} role to {what}");
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                .hint("Anyone can COPY to stdout or from stdin. psql's \\copy command also works for anyone."));
        }
        Err(Error::unsupported(what).hint("Use COPY … FROM STDIN; psql's \\copy sends a file of the client's."))
    }
}

/// The columns that each line has.
fn copy_columns(relation: &Arc<Relation>, list: &[ColumnName]) -> Result<Vec<usize>> {
    if list.is_empty() {
        return Ok(relation.live_columns().map(|(at, _)| at).collect());
    }
    let mut columns = Vec::with_capacity(list.len());
    for ColumnName { name, .. } in list {
        let Some((column, _)) = relation.live_columns().find(|(_, column)| column.name == *name) else {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", relation.name);
            return Err(Error::new(SqlState::UNDEFINED_COLUMN, message));
        };
        if columns.contains(&column) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// Options that only mean something in the format CSV.
const CSV_OPTIONS: [(&str, &str); 5] = [
    ("quote", "quote"),
    ("escape", "escape"),
    ("force_quote", "force quote"),
    ("force_not_null", "force not null"),
    ("force_null", "force null"),
];

/// What the options mean together (PostgreSQL's ProcessCopyOptions).
fn format(options: &[CopyOption]) -> Result<CopyFormat> {
    let mut delimiter = "\t".to_owned();
    let mut null = "\\N".to_owned();
    let (mut header, mut freeze) = (CopyHeader::None, false);
    for (place, option) in options.iter().enumerate() {
        let known = ["format", "freeze", "delimiter", "null", "header", "encoding"].contains(&option.name.as_str())
            || CSV_OPTIONS.iter().any(|(name, _)| *name == option.name);
        if !known {
            let message = format!("option \"{}\" not recognized", option.name);
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(option.position));
        }
        if options[..place].iter().any(|other| other.name == option.name) {
            let message = "conflicting or redundant options";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(option.position));
        }
        match option.name.as_str() {
            "format" => check_format(option)?,
            "freeze" => freeze = boolean(option).ok_or_else(|| wants(option, "a Boolean value"))?,
            "delimiter" => delimiter = text(option)?,
            "null" => null = text(option)?,
            "header" => header = header_of(option)?,
            "encoding" => check_encoding(option)?,
            _ => {}
        }
    }
    check_marks(&delimiter, &null)?;
    if let Some((_, what)) = CSV_OPTIONS.iter().find(|(name, _)| options.iter().any(|option| option.name == *name)) {
        let message = format!("COPY {what} available only in CSV mode");
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    if delimiter.bytes().any(|byte| null.as_bytes().contains(&byte)) {
        let message = "COPY delimiter must not appear in the NULL specification";
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    if freeze {
        return Err(Error::unsupported("COPY with FREEZE").hint("Leave it out: rows need no freezing here."));
    }
    Ok(CopyFormat { delimiter: delimiter.as_bytes()[0], null: null.into_bytes(), header })
}

fn check_format(option: &CopyOption) -> Result<()> {
    match text(option)?.as_str() {
        "text" => Ok(()),
        format @ ("csv" | "binary") => Err(Error::unsupported(format!("COPY in the format {format}"))
            .hint("Use the format text.")
            .at(option.position)),
        other => {
            let message = format!("COPY format \"{other}\" not recognized");
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).at(option.position))
        }
    }
}

fn check_encoding(option: &CopyOption) -> Result<()> {
    let name: String = text(option)?.chars().filter(char::is_ascii_alphanumeric).collect();
    match name.to_ascii_lowercase().as_str() {
        "utf8" | "unicode" => Ok(()),
        "sqlascii" | "latin1" | "latin9" | "win1252" | "win1251" | "win1250" | "eucjp" | "sjis" | "big5" | "gbk" => {
            Err(Error::unsupported("an encoding other than UTF8").hint("Send the rows in UTF8.").at(option.position))
        }
        _ => {
            let message = "argument to option \"encoding\" must be a valid encoding name";
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).at(option.position))
        }
    }
}

/// What DELIMITER and NULL may be.
fn check_marks(delimiter: &str, null: &str) -> Result<()> {
    let invalid = |message: String| Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    if delimiter.len() != 1 {
        let message = "COPY delimiter must be a single one-byte character";
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    if delimiter.contains(['\n', '\r']) {
        return invalid("COPY delimiter cannot be newline or carriage return".to_owned());
    }
    if null.contains(['\n', '\r']) {
        return invalid("COPY null representation cannot use newline or carriage return".to_owned());
    }
    let taken = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '\\' || c == '.';
    if delimiter.contains(taken) {
        return invalid(format!("COPY delimiter cannot be \"{delimiter}\""));
    }
    Ok(())
}

fn text(option: &CopyOption) -> Result<String> {
    match &option.value {
        Some(CopyValue::Text(text) | CopyValue::Number(text)) => Ok(text.clone()),
        Some(CopyValue::Star) => Ok("*".to_owned()),
        Some(CopyValue::List) => Ok("()".to_owned()),
        None => Err(Error::new(SqlState::SYNTAX_ERROR, format!("{} requires a parameter", option.name))),
    }
}

/// The value of an option that is on or off; none for any other.
fn boolean(option: &CopyOption) -> Option<bool> {
    match &option.value {
        None => Some(true),
        Some(CopyValue::Number(number)) => match number.as_str() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        },
        Some(CopyValue::Text(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "on" => Some(true),
            "false" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn header_of(option: &CopyOption) -> Result<CopyHeader> {
    match boolean(option) {
        Some(true) => Ok(CopyHeader::Skipped),
        Some(false) => Ok(CopyHeader::None),
        None => match &option.value {
            Some(CopyValue::Text(text)) if text.eq_ignore_ascii_case("match") => Ok(CopyHeader::Match),
            _ => Err(wants(option, "a Boolean value or \"match\"")),
        },
    }
}

fn wants(option: &CopyOption, what: &str) -> Error {
    Error::new(SqlState::SYNTAX_ERROR, format!("{} requires {what}", option.name))
}
