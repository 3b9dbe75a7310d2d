//! Which settings there are, what they may hold and how they are shown.

use crate::error::{Error, Result, SqlState};
use crate::expr::quote_identifier;
use crate::types::Zone;

/// One setting.
pub struct Definition {
    /// Name in PostgreSQL's spelling.
    pub name: &'static str,
    /// Value where nobody set it, canonical.
    pub default: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Whether SET may change it.
    pub changeable: bool,
    /// Whether clients are told of it by ParameterStatus.
    pub report: bool,
    /// For SHOW ALL.
    pub description: &'static str,
}

/// What a setting may hold.
pub enum Kind {
    /// on, off
    Bool,
    /// Milliseconds, with units
    Millis,
    /// A whole number between two bounds
    Integer(i64, i64),
    /// Any text
    Text,
    /// A list of schema names
    Path,
    /// A time zone's name
    Zone,
    /// One of the values that are carried out; those that PostgreSQL knows beside them are refused with 0A000
    Choice {
        /// Carried out.
        values: &'static [&'static str],
        /// PostgreSQL's others.
        unsupported: &'static [&'static str],
    },
}

const fn choice(values: &'static [&'static str], unsupported: &'static [&'static str]) -> Kind {
    Kind::Choice { values, unsupported }
}

const fn row(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    (changeable, report): (bool, bool),
    description: &'static str,
) -> Definition {
    Definition { name, default, kind, changeable, report, description }
}

const SET: (bool, bool) = (true, false);
const SET_REPORT: (bool, bool) = (true, true);
const FIXED: (bool, bool) = (false, false);
const FIXED_REPORT: (bool, bool) = (false, true);
const ISOLATION: &[&str] = &["serializable", "repeatable read", "read committed", "read uncommitted"];
const LEVELS: &[&str] = &["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"];

/// The version that clients' parsers read: PostgreSQL's, then ours.
pub const SERVER_VERSION: &str = concat!("15.8 (Tertulia ", env!("CARGO_PKG_VERSION"), ")");

/// All settings, by name.
pub static ALL: &[Definition] = &[
    row("application_name", "", Kind::Text, SET_REPORT, "Sets the application name to be reported in statistics."),
    row("bytea_output", "hex", choice(&["hex"], &["escape"]), SET, "Sets the output format for bytea."),
    row("client_encoding", "UTF8", Kind::Text, SET_REPORT, "Sets the client's character set encoding."),
    row("client_min_messages", "notice", choice(LEVELS, &[]), SET, "Sets the message levels that are sent."),
    row("DateStyle", "ISO, MDY", Kind::Text, SET_REPORT, "Sets the display format for date and time values."),
    row(
        "default_transaction_deferrable",
        "off",
        Kind::Bool,
        SET,
        "Sets the default deferrable status of new transactions.",
    ),
    row(
        "default_transaction_isolation",
        "read committed",
        choice(ISOLATION, &[]),
        SET,
        "Sets the transaction isolation level of each new transaction.",
    ),
    row("default_transaction_read_only", "off", Kind::Bool, SET_REPORT, "Sets the default read-only status."),
    row("extra_float_digits", "1", Kind::Integer(1, 3), SET, "Sets the number of digits displayed for floats."),
    row(
        "idle_in_transaction_session_timeout",
        "0",
        Kind::Millis,
        SET,
        "Sets the maximum allowed idle time between queries, when in a transaction.",
    ),
    row(
        "idle_session_timeout",
        "0",
        Kind::Millis,
        SET,
        "Sets the maximum allowed idle time between queries, when not in a transaction.",
    ),
    row("in_hot_standby", "off", Kind::Bool, FIXED_REPORT, "Shows whether hot standby is currently active."),
    row("integer_datetimes", "on", Kind::Bool, FIXED_REPORT, "Shows whether datetimes are integer based."),
    row(
        "IntervalStyle",
        "postgres",
        choice(&["postgres"], &["postgres_verbose", "sql_standard", "iso_8601"]),
        SET_REPORT,
        "Sets the display format for interval values.",
    ),
    row("is_superuser", "off", Kind::Bool, FIXED_REPORT, "Shows whether the current user is a superuser."),
    row("jit", "off", choice(&["off"], &["on"]), SET, "Allow JIT compilation."),
    row("lc_collate", "C.UTF-8", Kind::Text, FIXED, "Shows the collation order locale."),
    row("lc_ctype", "C.UTF-8", Kind::Text, FIXED, "Shows the character classification and case conversion locale."),
    row("lock_timeout", "0", Kind::Millis, SET, "Sets the maximum allowed duration of any wait for a lock."),
    row("max_identifier_length", "63", Kind::Integer(63, 63), FIXED, "Shows the maximum identifier length."),
    row(
        "password_encryption",
        "scram-sha-256",
        choice(&["scram-sha-256"], &["md5"]),
        SET,
        "Chooses the algorithm for encrypting passwords.",
    ),
    row("role", "none", Kind::Text, FIXED, "Sets the current role."),
    row("search_path", "\"$user\", public", Kind::Path, SET, "Sets the schema search order for unqualified names."),
    row("server_encoding", "UTF8", Kind::Text, FIXED_REPORT, "Shows the server (database) character set encoding."),
    row("server_version", SERVER_VERSION, Kind::Text, FIXED_REPORT, "Shows the server version."),
    row("server_version_num", "150008", Kind::Text, FIXED, "Shows the server version as an integer."),
    row("session_authorization", "", Kind::Text, FIXED_REPORT, "Sets the session user name."),
    row(
        "standard_conforming_strings",
        "on",
        choice(&["on"], &["off"]),
        SET_REPORT,
        "Causes '...' strings to treat backslashes literally.",
    ),
    row("statement_timeout", "0", Kind::Millis, SET, "Sets the maximum allowed duration of any statement."),
    row("synchronous_commit", "on", choice(&["on", "local"], &["off"]), SET, "Sets the synchronization level."),
    row("tertulia.user_id", "", Kind::Text, SET, "The user whose rows the session sees and writes."),
    row("TimeZone", "UTC", Kind::Zone, SET_REPORT, "Sets the time zone for displaying and interpreting time stamps."),
    row(
        "transaction_deferrable",
        "off",
        Kind::Bool,
        SET,
        "Whether to defer a read-only serializable transaction until it can be executed with no possible serialization failures.",
    ),
    row(
        "transaction_isolation",
        "read committed",
        choice(ISOLATION, &[]),
        SET,
        "Sets the current transaction's isolation level.",
    ),
    row("transaction_read_only", "off", Kind::Bool, SET, "Sets the current transaction's read-only status."),
];

/// Whether a message level is the other one or above it.
pub(super) fn is_at_least(level: &str, least: &str) -> bool {
    let rank = |name| LEVELS.iter().position(|level| *level == name);
    rank(level) >= rank(least)
}

/// The setting of that name, in any case.
pub fn definition(name: &str) -> Option<&'static Definition> {
    ALL.iter().find(|definition| definition.name.eq_ignore_ascii_case(name))
}

impl Definition {
    /// The name under which values are kept.
    pub(super) fn key(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    fn invalid(&self, value: &str) -> Error {
        let message = format!("invalid value for parameter \"{}\": \"{value}\"", self.name);
        Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
    }

    fn unsupported(&self, value: &str, hint: &str) -> Error {
        let message = format!("value \"{value}\" of parameter \"{}\" is not supported", self.name);
        Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).hint(hint)
    }

    /// A value in the form it is kept in.
    pub(super) fn canonical(&self, value: &str) -> Result<String> {
        match (&self.kind, self.name) {
            (_, "client_encoding") => self.encoding(value),
            (_, "DateStyle") => self.date_style(value),
            (Kind::Text, _) => Ok(value.to_owned()),
            (Kind::Bool, _) => self.boolean(value),
            (Kind::Millis, _) => self.millis(value),
            (Kind::Integer(least, most), _) => self.integer(value, *least, *most),
            (Kind::Zone, _) => match Zone::parse(value) {
                Ok(zone) => Ok(zone.name().to_owned()),
                Err(_) => Err(self.invalid(value)),
            },
            (Kind::Path, _) => match split_identifiers(value) {
                Some(_) => Ok(value.to_owned()),
                None => Err(self.invalid(value).detail("List syntax is invalid.")),
            },
            (Kind::Choice { values, unsupported }, _) => {
                let lower = value.trim().to_ascii_lowercase();
                let knows = |word| values.contains(&word) || unsupported.contains(&word);
                let lower = match lower.as_str() {
                    "true" | "yes" | "1" if knows("on") => "on".to_owned(),
                    "false" | "no" | "0" if knows("off") => "off".to_owned(),
                    _ => lower,
                };
                if values.contains(&lower.as_str()) {
                    Ok(lower)
                } else if unsupported.contains(&lower.as_str()) {
                    Err(self.unsupported(value, &format!("Supported values: {}.", values.join(", "))))
                } else {
                    let all = [*values, *unsupported].concat();
                    if all == ["on", "off"] {
                        return Err(self.not_boolean());
                    }
                    let all = all.join(", ");
                    Err(self.invalid(value).hint(format!("Available values: {all}.")))
                }
            }
        }
    }

    fn boolean(&self, value: &str) -> Result<String> {
        let lower = value.trim().to_ascii_lowercase();
        let is_prefix = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
        if lower == "1" || is_prefix("true", 1) || is_prefix("yes", 1) || is_prefix("on", 2) {
            Ok("on".to_owned())
        } else if lower == "0" || is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) {
            Ok("off".to_owned())
        } else {
            Err(self.not_boolean())
        }
    }

    fn not_boolean(&self) -> Error {
        let message = format!("parameter \"{}\" requires a Boolean value", self.name);
        Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
    }

    /// The values of a SET as one text: names of a list are quoted where they need it, as in PostgreSQL. 22023 for
    /// several where there is no list.
    fn joined(&self, values: &[String], name: &str) -> Result<String> {
        match self.kind {
            Kind::Path => Ok(values.iter().map(|value| quote_identifier(value)).collect::<Vec<_>>().join(", ")),
            _ if values.len() > 1 && self.name != "DateStyle" => Err(one_argument(name)),
            _ => Ok(values.join(", ")),
        }
    }

    fn millis(&self, value: &str) -> Result<String> {
        let value = value.trim();
        let digits = value.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-').unwrap_or(value.len());
        let number: f64 = value[..digits].parse().map_err(|_| self.invalid(value))?;
        let factor = match value[digits..].trim() {
            "us" => 0.001,
            "" | "ms" => 1.0,
            "s" => 1e3,
            "min" => 60e3,
            "h" => 3600e3,
            "d" => 86400e3,
            _ => {
                let hint = "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".";
                return Err(self.invalid(value).hint(hint));
            }
        };
        let millis = (number * factor).round();
        if millis > f64::from(i32::MAX) {
            return Err(self.invalid(value).hint("Value exceeds integer range."));
        }
        if !(0.0..=f64::from(i32::MAX)).contains(&millis) {
            let range = format!("{millis} ms is outside the valid range for parameter \"{}\"", self.name);
            let message = format!("{range} (0 .. 2147483647)");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        Ok(format!("{millis}"))
    }

    fn integer(&self, value: &str, least: i64, most: i64) -> Result<String> {
        let number: i64 = value.trim().parse().map_err(|_| self.invalid(value))?;
        if self.name == "extra_float_digits" && (-15..least).contains(&number) {
            return Err(self.unsupported(value, "Floats are always shown with all the digits they need."));
        }
        if !(least..=most).contains(&number) {
            // those that are not supported are in PostgreSQL's range
            let least = if self.name == "extra_float_digits" { -15 } else { least };
            let message = format!("{number} is outside the valid range for parameter \"{}\"", self.name);
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("{message} ({least} .. {most})")));
        }
        Ok(number.to_string())
    }

    fn encoding(&self, value: &str) -> Result<String> {
        let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
        match plain.to_ascii_lowercase().as_str() {
            "utf8" | "unicode" => Ok("UTF8".to_owned()),
            "sqlascii" | "latin1" | "latin9" | "win1252" | "iso88591" | "iso885915" => {
                Err(self.unsupported(value, "Clients speak UTF8."))
            }
            _ => Err(self.invalid(value)),
        }
    }

    fn date_style(&self, value: &str) -> Result<String> {
        let mut order = "MDY";
        for word in value.split(',').map(|word| word.trim().to_ascii_lowercase()) {
            match word.as_str() {
                "iso" | "default" => {}
                "mdy" | "us" => order = "MDY",
                "dmy" | "ymd" | "european" | "sql" | "postgres" | "german" => {
                    return Err(self.unsupported(value, "Supported is \"ISO, MDY\"."));
                }
                other => return Err(self.invalid(value).detail(format!("Unrecognized key word: \"{other}\"."))),
            }
        }
        Ok(format!("ISO, {order}"))
    }

    /// A kept value as SHOW prints it.
    pub(super) fn display(&self, value: &str) -> String {
        let Kind::Millis = self.kind else { return value.to_owned() };
        let millis: u64 = value.parse().unwrap_or(0);
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
        match units.iter().find(|(size, _)| millis > 0 && millis.is_multiple_of(*size)) {
            Some((size, unit)) => format!("{}{unit}", millis / size),
            None => "0".to_owned(),
        }
    }
}

/// The values of a SET as one text.
///
/// # Errors
/// 22023 for several values of a setting that is no list.
pub fn joined(name: &str, values: &[String]) -> Result<String> {
    match definition(name) {
        Some(definition) => definition.joined(values, name),
        None if values.len() > 1 => Err(one_argument(name)),
        None => Ok(values.join(", ")),
    }
}

fn one_argument(name: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("SET {name} takes only one argument"))
}

/// Splits a list of identifiers as PostgreSQL's SplitIdentifierString does; none where its syntax is wrong.
pub(super) fn split_identifiers(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = list.trim();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let (name, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next()? {
                    (at, '"') if !matches!(chars.peek(), Some((_, '"'))) => break at + 1,
                    (_, '"') => {
                        chars.next();
                        name.push('"');
                    }
                    (_, c) => name.push(c),
                }
            };
            (name, &quoted[end..])
        } else if rest.is_empty() || rest.starts_with(',') {
            return None;
        } else {
            let end = rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len());
            (rest[..end].to_lowercase(), &rest[end..])
        };
        names.push(name);
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifier_lists_are_split_as_postgresql_does() {
        assert_eq!(split_identifiers("\"$user\", Public"), Some(vec!["$user".to_owned(), "public".to_owned()]));
        assert_eq!(split_identifiers("\"a\"\"b\""), Some(vec!["a\"b".to_owned()]));
        assert_eq!(split_identifiers(""), Some(vec![]));
        assert_eq!(split_identifiers("a,"), None);
        assert_eq!(split_identifiers("\"a"), None);
    }

    #[test]
    fn time_limits_take_units_and_show_the_largest() {
        let timeout = definition("STATEMENT_TIMEOUT").expect("is defined");
        assert_eq!(timeout.canonical("1.5s").expect("is valid"), "1500");
        assert_eq!(timeout.display("1500"), "1500ms");
        assert_eq!(timeout.display("120000"), "2min");
        assert_eq!(timeout.display("0"), "0");
        assert!(timeout.canonical("5 parsecs").is_err());
    }
}
