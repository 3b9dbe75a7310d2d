//! Settings of a session: SET, SHOW, RESET, and what ends with a transaction.
//!
//! Every setting that is accepted has its effect; values that this version does not carry out are refused with 0A000
//! and a hint. A change inside a transaction is undone by ROLLBACK; SET LOCAL ends with the transaction either way.

mod definitions;

pub use definitions::{Definition, definition, joined};

use super::block::isolation_named;
use crate::error::{Error, Result, Severity, SqlState};
use crate::txn::Isolation;
use crate::types::Zone;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

/// The name of the setting that says for whom a session acts.
pub const USER_ID: &str = "tertulia.user_id";

/// Values by canonical name; only those that differ from the default.
type Values = BTreeMap<String, String>;

/// Values as they were at a savepoint.
pub struct SettingsMark {
    session: Values,
    local: Values,
}

/// The settings of one session.
pub struct Settings {
    /// What the session started with: RESET goes back to it.
    start: Values,
    /// In force for the session.
    session: Values,
    /// In force until the transaction ends.
    local: Values,
    /// `session` as it was when the open transaction first changed it.
    saved: Option<Values>,
    /// Parsed from TimeZone.
    zone: Zone,
    /// Reported settings that changed since the client was last told.
    changed: Vec<&'static Definition>,
    /// What the client was last told, where that is not the value of the start.
    told: Values,
    /// Grows with every change.
    version: u64,
    /// What every statement asks for, as of a version.
    frequent: Cell<Option<(u64, Frequent)>>,
}

/// Settings that every statement asks for.
#[derive(Clone, Copy)]
pub struct Frequent {
    /// statement_timeout
    pub statement_timeout: Option<Duration>,
    /// lock_timeout
    pub lock_timeout: Option<Duration>,
    /// idle_in_transaction_session_timeout
    pub idle_in_transaction_timeout: Option<Duration>,
    /// idle_session_timeout
    pub idle_session_timeout: Option<Duration>,
    /// default_transaction_isolation
    pub isolation: Isolation,
    /// default_transaction_read_only
    pub read_only: bool,
    /// default_transaction_deferrable
    pub deferrable: bool,
}

impl Settings {
    /// Settings from the start-up packet. Unknown names and bad values are refused as PostgreSQL refuses them.
    pub fn new(start: impl IntoIterator<Item = (String, String)>) -> Result<Settings> {
        let mut settings = Settings {
            start: Values::new(),
            session: Values::new(),
            local: Values::new(),
            saved: None,
            zone: Zone::utc(),
            changed: Vec::new(),
            told: Values::default(),
            version: 0,
            frequent: Cell::new(None),
        };
        for (name, value) in start {
            settings.set(&name, Some(&value), false, false)?;
        }
        settings.start = settings.session.clone();
        settings.changed.clear();
        Ok(settings)
    }

    /// The value in force, canonical; none for a name that nobody knows.
    pub fn get(&self, name: &str) -> Option<String> {
        let definition = definition(name);
        let key = definition.map_or_else(|| name.to_ascii_lowercase(), Definition::key);
        let set = self.local.get(&key).or_else(|| self.session.get(&key));
        set.cloned().or_else(|| definition.map(|definition| definition.default.to_owned()))
    }

    /// The value as SHOW prints it, with PostgreSQL's units; 42704 for an unknown name.
    pub fn show(&self, name: &str) -> Result<String> {
        let value = self.get(name).ok_or_else(|| unrecognized(name))?;
        Ok(definition(name).map_or_else(|| value.clone(), |definition| definition.display(&value)))
    }

    /// What a value, or without one the default, would be kept as.
    ///
    /// # Errors
    /// 42704 for an unknown name, 22023 and 0A000 for the value.
    pub fn canonical(&self, name: &str, value: Option<&str>) -> Result<String> {
        let definition = definition(name).ok_or_else(|| unrecognized(name))?;
        value.map_or_else(|| Ok(definition.default.to_owned()), |value| definition.canonical(value))
    }

    /// Whether a notice of this severity is sent to the client (client_min_messages).
    pub fn tells(&self, severity: Severity) -> bool {
        let rank = match severity {
            Severity::Notice => "notice",
            _ => "warning",
        };
        definitions::is_at_least(rank, &self.get("client_min_messages").unwrap_or_default())
    }

    /// SET or, without a value, RESET / SET TO DEFAULT.
    ///
    /// # Errors
    /// 42704 unknown, 55P02 not changeable, 22023 bad value, 0A000 a value that this version does not carry out.
    pub fn set(&mut self, name: &str, value: Option<&str>, local: bool, in_transaction: bool) -> Result<()> {
        let definition = definition(name);
        let key = match definition {
            Some(definition) if !definition.changeable => {
                let message = format!("parameter \"{}\" cannot be changed", definition.name);
                return Err(Error::new(SqlState::CANT_CHANGE_RUNTIME_PARAM, message));
            }
            Some(definition) => definition.key(),
            None if name.contains('.') => name.to_ascii_lowercase(),
            None => return Err(unrecognized(name)),
        };
        let canonical = match (value, definition) {
            (Some(value), Some(definition)) => Some(definition.canonical(value)?),
            (Some(value), None) => Some(value.to_owned()),
            (None, _) => self.start.get(&key).cloned(),
        };
        self.save(in_transaction);
        self.version += 1;
        if local {
            let default = definition.map_or("", |definition| definition.default);
            self.local.insert(key, canonical.unwrap_or_else(|| default.to_owned()));
        } else {
            self.local.remove(&key);
            match canonical {
                Some(value) => self.session.insert(key, value),
                None => self.session.remove(&key),
            };
        }
        if let Some(definition) = definition {
            self.note_change(definition);
        }
        Ok(())
    }

    /// Sets what only the server itself may set (`is_superuser`, `session_authorization`, `role`).
    pub fn set_internal(&mut self, name: &'static str, value: &str, local: bool, in_transaction: bool) {
        let definition = definition(name).expect("internal settings are defined");
        self.save(in_transaction);
        self.version += 1;
        if local {
            self.local.insert(definition.key(), value.to_owned());
        } else {
            self.local.remove(&definition.key());
            self.session.insert(definition.key(), value.to_owned());
        }
        self.note_change(definition);
    }

    /// The values now, for ROLLBACK TO.
    pub fn mark(&self) -> SettingsMark {
        SettingsMark { session: self.session.clone(), local: self.local.clone() }
    }

    /// ROLLBACK TO: the values as they were.
    pub fn rollback_to(&mut self, mark: &SettingsMark) {
        if self.session == mark.session && self.local == mark.local {
            return;
        }
        let local = std::mem::replace(&mut self.local, mark.local.clone());
        for name in local.keys().chain(mark.local.keys()) {
            if let Some(definition) = definition(name) {
                self.note_change(definition);
            }
        }
        self.replace(mark.session.clone());
    }

    /// RESET ALL: everything that may be changed, back to the start.
    pub fn reset_all(&mut self, in_transaction: bool) {
        self.save(in_transaction);
        let fixed = |name: &String| definition(name).is_some_and(|definition| !definition.changeable);
        let mut values = self.start.clone();
        values.extend(self.session.iter().filter(|(name, _)| fixed(name)).map(|(n, v)| (n.clone(), v.clone())));
        self.local.clear();
        self.version += 1;
        self.replace(values);
    }

    /// The open transaction ends: SET LOCAL goes, and so does SET where it is rolled back.
    pub fn end_transaction(&mut self, committed: bool) {
        self.version += u64::from(!self.local.is_empty());
        for name in std::mem::take(&mut self.local).into_keys() {
            if let Some(definition) = definition(&name) {
                self.note_change(definition);
            }
        }
        if let Some(saved) = self.saved.take()
            && !committed
        {
            self.replace(saved);
        }
    }

    fn save(&mut self, in_transaction: bool) {
        if in_transaction && self.saved.is_none() {
            self.saved = Some(self.session.clone());
        }
    }

    fn replace(&mut self, values: Values) {
        self.version += 1;
        let old = std::mem::replace(&mut self.session, values);
        let names: Vec<String> = old.keys().chain(self.session.keys()).cloned().collect();
        for name in names {
            if old.get(&name) != self.session.get(&name)
                && let Some(definition) = definition(&name)
            {
                self.note_change(definition);
            }
        }
    }

    fn note_change(&mut self, definition: &'static Definition) {
        if definition.name == "TimeZone" {
            let name = self.get("TimeZone").unwrap_or_default();
            self.zone = Zone::parse(&name).unwrap_or_else(|_| Zone::utc());
        }
        if definition.report && !self.changed.iter().any(|known| known.name == definition.name) {
            self.changed.push(definition);
        }
    }

    /// Takes the reported settings whose values are not those that the client was last told: ParameterStatus messages
    /// to send.
    pub fn take_changed(&mut self) -> Vec<(&'static str, String)> {
        let mut news = Vec::new();
        for definition in std::mem::take(&mut self.changed) {
            let (key, value) = (definition.key(), self.get(definition.name).unwrap_or_default());
            let known = self.told.get(&key).or_else(|| self.start.get(&key)).map_or(definition.default, String::as_str);
            if known != value {
                self.told.insert(key, value.clone());
                news.push((definition.name, value));
            }
        }
        news
    }

    /// All reported settings: what a client is told at start-up.
    pub fn reported(&self) -> Vec<(&'static str, String)> {
        let reported = definitions::ALL.iter().filter(|definition| definition.report);
        reported.map(|definition| (definition.name, self.get(definition.name).unwrap_or_default())).collect()
    }

    /// All settings with their shown values, for SHOW ALL.
    pub fn all(&self) -> Vec<(&'static Definition, String)> {
        let shown = |definition: &Definition| definition.display(&self.get(definition.name).unwrap_or_default());
        definitions::ALL.iter().map(|definition| (definition, shown(definition))).collect()
    }

    /// A number that is another one whenever a value may be.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What every statement asks for: looked up once after a change.
    pub fn frequent(&self) -> Frequent {
        if let Some((version, frequent)) = self.frequent.get()
            && version == self.version
        {
            return frequent;
        }
        let frequent = Frequent {
            statement_timeout: self.duration("statement_timeout"),
            lock_timeout: self.duration("lock_timeout"),
            idle_in_transaction_timeout: self.duration("idle_in_transaction_session_timeout"),
            idle_session_timeout: self.duration("idle_session_timeout"),
            isolation: isolation_named(&self.get("default_transaction_isolation").unwrap_or_default()),
            read_only: self.is_on("default_transaction_read_only"),
            deferrable: self.is_on("default_transaction_deferrable"),
        };
        self.frequent.set(Some((self.version, frequent)));
        frequent
    }

    /// The time zone in force.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// A setting in milliseconds; none where it is 0, which means no limit.
    fn duration(&self, name: &str) -> Option<Duration> {
        let millis: u64 = self.get(name)?.parse().ok()?;
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// A Boolean setting.
    fn is_on(&self, name: &str) -> bool {
        self.get(name).as_deref() == Some("on")
    }

    /// The schemas to search, in order, `$user` replaced by `role`.
    pub fn search_path(&self, role: &str) -> Vec<String> {
        let path = self.get("search_path").unwrap_or_default();
        let entries = definitions::split_identifiers(&path).unwrap_or_default();
        entries.into_iter().map(|entry| if entry == "$user" { role.to_owned() } else { entry }).collect()
    }
}

fn unrecognized(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}
