//! Settings of the server: defaults, then the file, then the environment (`TERTULIA_` and the name in capitals), then
//! flags, a later one winning. A name that nobody knows is refused, wherever it stands.
//!
//! A file holds one `name = value` a line, `#` begins a comment, and a value may stand in quotes. What may never
//! change is not a setting but a constant in [`limits`].

use crate::error::{Error, Result, SqlState};
use crate::limits;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The prefix of environment variables that are settings.
pub const ENVIRONMENT_PREFIX: &str = "TERTULIA_";

/// Variables with the prefix that are not settings: what a first start and the command line read.
const ENVIRONMENT_OTHERS: &[&str] = &["TERTULIA_PASSWORD", "TERTULIA_CONFIG", "TERTULIA_URL"];

/// Every setting of the server, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The database's name.
    pub database: String,
    /// Client connections at most; full: 53300.
    pub max_connections: usize,
    /// Time for a connection to log in; over: it is closed.
    pub authentication_timeout: Duration,
    /// Threads that serve connections.
    pub worker_threads: usize,
    /// Bytes of address space that LMDB reserves: the largest size of the folded store.
    pub map_size: usize,
    /// Bytes of the active generation of recent commits at which it is folded.
    pub generation_bytes: usize,
    /// Bytes of all generations at which writers wait.
    pub recent_bytes_max: usize,
    /// How long the commit log is kept after it is folded: how far back a live query can resume.
    pub change_retention: Duration,
    /// Bytes of the commit log at which it is not kept for that long.
    pub change_retention_bytes: u64,
    /// Live queries of one user id in all its sessions; full: 53400.
    pub live_queries_per_user_max: usize,
    /// How long a portal may keep its snapshot while its client is silent.
    pub snapshot_age_max: Duration,
    /// How long a REPEATABLE READ or SERIALIZABLE transaction may keep its snapshot; over: 72000.
    pub transaction_age_max: Duration,
    /// Whether `SET tertulia.user_id` for a whole session is allowed; poolers would leak it to the next client.
    pub allow_session_user_id: bool,
    /// What is logged, in `tracing`'s directives.
    pub log: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data: PathBuf::from("./tertulia-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7432)),
            database: "tertulia".to_owned(),
            max_connections: limits::CONNECTIONS_DEFAULT,
            authentication_timeout: Duration::from_secs(60),
            worker_threads: std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
            map_size: 256 << 30,
            generation_bytes: limits::GENERATION_BYTES,
            recent_bytes_max: limits::RECENT_BYTES_MAX,
            change_retention: limits::CHANGE_RETENTION,
            change_retention_bytes: limits::CHANGE_RETENTION_BYTES,
            live_queries_per_user_max: limits::SUBSCRIPTIONS_PER_USER_MAX,
            snapshot_age_max: limits::SNAPSHOT_AGE_MAX,
            transaction_age_max: limits::TRANSACTION_AGE_MAX,
            allow_session_user_id: false,
            log: "info".to_owned(),
        }
    }
}

/// One setting: its name, what it is, and how its text is taken.
pub struct Setting {
    /// Name in the file; capitals with the prefix in the environment; with dashes as a flag.
    pub name: &'static str,
    /// One line for the help.
    pub help: &'static str,
    apply: fn(&mut Config, &str) -> Option<()>,
}

/// All settings, in the order of the help.
pub const SETTINGS: &[Setting] = &[
    Setting { name: "data", help: "data directory [./tertulia-data]", apply: |c, v| set(&mut c.data, path(v)) },
    Setting {
        name: "listen",
        help: "address and port [127.0.0.1:7432]",
        apply: |c, v| set(&mut c.listen, v.parse().ok()),
    },
    Setting { name: "database", help: "name of the database [tertulia]", apply: |c, v| set(&mut c.database, name(v)) },
    Setting {
        name: "max_connections",
        help: "client connections at most [1000]",
        apply: |c, v| set(&mut c.max_connections, count(v, 1, 1 << 20)),
    },
    Setting {
        name: "authentication_timeout",
        help: "time to log in, for example 60s [60s]",
        apply: |c, v| set(&mut c.authentication_timeout, duration(v)),
    },
    Setting {
        name: "worker_threads",
        help: "threads that serve connections [the processors, 2 at least]",
        apply: |c, v| set(&mut c.worker_threads, count(v, 1, 1024)),
    },
    Setting {
        name: "map_size",
        help: "largest size of the folded store, for example 256GB [256GB]",
        apply: |c, v| set(&mut c.map_size, size(v).filter(|&bytes| bytes >= 64 << 20)),
    },
    Setting {
        name: "generation_bytes",
        help: "recent commits at which they are folded, for example 96MB [96MB]",
        apply: |c, v| set(&mut c.generation_bytes, size(v).filter(|&bytes| bytes >= 1 << 16)),
    },
    Setting {
        name: "recent_bytes_max",
        help: "recent commits in memory at which writers wait [384MB]",
        apply: |c, v| set(&mut c.recent_bytes_max, size(v).filter(|&bytes| bytes >= 1 << 17)),
    },
    Setting {
        name: "change_retention",
        help: "how far back live queries can resume, for example 24h [24h]",
        apply: |c, v| set(&mut c.change_retention, duration(v)),
    },
    Setting {
        name: "change_retention_bytes",
        help: "commit log at which it is not kept for that long, for example 16GB [16GB]",
        apply: |c, v| set(&mut c.change_retention_bytes, size(v).map(|bytes| bytes as u64)),
    },
    Setting {
        name: "live_queries_per_user_max",
        help: "live queries of one user id in all its sessions [10000]",
        apply: |c, v| set(&mut c.live_queries_per_user_max, count(v, 0, 1 << 30)),
    },
    Setting {
        name: "snapshot_age_max",
        help: "how long a suspended portal keeps its snapshot before its rows go to a file [60s]",
        apply: |c, v| set(&mut c.snapshot_age_max, duration(v)),
    },
    Setting {
        name: "transaction_age_max",
        help: "how long a REPEATABLE READ or SERIALIZABLE transaction keeps its snapshot [1h]",
        apply: |c, v| set(&mut c.transaction_age_max, duration(v)),
    },
    Setting {
        name: "allow_session_user_id",
        help: "allow SET tertulia.user_id for a whole session [off]",
        apply: |c, v| set(&mut c.allow_session_user_id, boolean(v)),
    },
    Setting {
        name: "log",
        help: "what is logged: error, warn, info, debug [info]",
        apply: |c, v| set(&mut c.log, name(v)),
    },
];

impl Config {
    /// Sets one setting from its text: 42704 for an unknown name, 22023 for a value it cannot take.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let setting = SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(|| unknown(name))?;
        (setting.apply)(self, value.trim()).ok_or_else(|| {
            Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"{name}\": \"{value}\""),
            )
            .hint(setting.help)
        })
    }

    /// Applies the lines of a settings file.
    pub fn apply_text(&mut self, text: &str, origin: &str) -> Result<()> {
        for (index, line) in text.lines().enumerate() {
            let place = |error: Error| error.context(format!("{origin}, line {}", index + 1));
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| place(Error::syntax_near(line)))?;
            let value = unquote(value).ok_or_else(|| place(Error::syntax_near(value.trim())))?;
            self.set(name.trim(), value).map_err(place)?;
        }
        Ok(())
    }

    /// Reads and applies a settings file.
    pub fn apply_file(&mut self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(SqlState::UNDEFINED_FILE, format!("could not read \"{}\": {error}", path.display()))
        })?;
        self.apply_text(&text, &path.display().to_string())
    }

    /// Applies the variables that carry the prefix.
    pub fn apply_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) -> Result<()> {
        for (variable, value) in variables {
            if let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX)
                && !ENVIRONMENT_OTHERS.contains(&variable.as_str())
            {
                self.set(&name.to_ascii_lowercase(), &value).map_err(|error| error.context("environment"))?;
            }
        }
        Ok(())
    }

    /// Refuses settings that contradict each other.
    pub fn check(&self) -> Result<()> {
        if self.recent_bytes_max < 2 * self.generation_bytes {
            return Err(Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "\"recent_bytes_max\" must be at least twice \"generation_bytes\"",
            )
            .hint("One generation is folded while the next one fills."));
        }
        Ok(())
    }
}

fn unknown(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
        .hint("See tertulia serve --help for the settings.")
}

fn set<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

fn name(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= limits::IDENTIFIER_BYTES_MAX).then(|| text.to_owned())
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn count(text: &str, min: usize, max: usize) -> Option<usize> {
    text.parse().ok().filter(|number| (min..=max).contains(number))
}

/// A number and a unit; PostgreSQL's units of 1024.
fn size(text: &str) -> Option<usize> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit {
        "" | "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return None,
    };
    usize::try_from(number).ok()?.checked_mul(1 << shift)
}

/// A number and a unit; PostgreSQL's units of time, seconds without one.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).filter(|&total| total > 0).map(Duration::from_millis)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

/// The value of a line without its quotes or its comment.
fn unquote(text: &str) -> Option<&str> {
    let text = text.trim();
    match text.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let (value, rest) = text[1..].split_once(quote)?;
            let rest = rest.trim();
            (rest.is_empty() || rest.starts_with('#')).then_some(value)
        }
        _ => Some(text.split_once('#').map_or(text, |(value, _)| value).trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Config> {
        let mut config = Config::default();
        config.apply_text(text, "test").map(|()| config)
    }

    #[test]
    fn file_lines_set_their_settings() {
        let config =
            parsed("# comment\n\ndata = '/srv/chat'  # here\nmax_connections=50\nauthentication_timeout = 5s\n")
                .expect("valid");
        assert_eq!(config.data, PathBuf::from("/srv/chat"));
        assert_eq!(config.max_connections, 50);
        assert_eq!(config.authentication_timeout, Duration::from_secs(5));
    }

    #[test]
    fn unknown_names_and_bad_values_are_refused_with_their_line() {
        let error = parsed("data = x\nfsync = off").expect_err("unknown");
        assert_eq!(error.code(), SqlState::UNDEFINED_OBJECT);
        assert_eq!(error.fields().context.as_deref(), Some("test, line 2"));
        for text in
            ["max_connections = many", "max_connections = 0", "listen = here", "map_size = 3PB", "log", "data = 'x"]
        {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let mut config = parsed("max_connections = 50").expect("valid");
        let variables = [("TERTULIA_MAX_CONNECTIONS", "60"), ("TERTULIA_PASSWORD", "secret"), ("HOME", "/root")];
        config.apply_environment(variables.map(|(name, value)| (name.to_owned(), value.to_owned()))).expect("valid");
        assert_eq!(config.max_connections, 60);
        let unknown = [("TERTULIA_FSYNC".to_owned(), "off".to_owned())];
        assert!(config.apply_environment(unknown).is_err());
    }

    #[test]
    fn generations_must_fit_the_recent_map() {
        let config = parsed("generation_bytes = 64MB\nrecent_bytes_max = 100MB").expect("valid alone");
        assert!(config.check().is_err());
    }
}
