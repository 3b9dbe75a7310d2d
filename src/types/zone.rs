//! Time zones: names of the IANA database and fixed offsets, over jiff.

use crate::error::{Error, Result, SqlState};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use std::sync::Arc;

/// Abbreviations that PostgreSQL's default set knows and that name one offset, in minutes east of Greenwich.
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("acdt", 630),
    ("acst", 570),
    ("adt", -180),
    ("aedt", 660),
    ("aest", 600),
    ("akdt", -480),
    ("akst", -540),
    ("ast", -240),
    ("awst", 480),
    ("bst", 60),
    ("cdt", -300),
    ("cest", 120),
    ("cet", 60),
    ("cst", -360),
    ("edt", -240),
    ("eest", 180),
    ("eet", 120),
    ("est", -300),
    ("gmt", 0),
    ("hst", -600),
    ("idt", 180),
    ("ist", 120),
    ("jst", 540),
    ("kst", 540),
    ("mdt", -360),
    ("mest", 120),
    ("met", 60),
    ("mst", -420),
    ("ndt", -150),
    ("nzdt", 780),
    ("nzst", 720),
    ("pdt", -420),
    ("pst", -480),
    ("sast", 120),
    ("utc", 0),
    ("ut", 0),
    ("west", 60),
    ("wet", 0),
    ("z", 0),
    ("zulu", 0),
];

/// Seconds of 400 years, after which the calendar repeats, weekdays too.
const CYCLE_SECONDS: i64 = 146_097 * 86_400;

/// A time zone: a name of the IANA database or a fixed offset. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Zone {
    zone: TimeZone,
    name: Arc<str>,
    utc: bool,
}

impl Zone {
    /// UTC.
    pub fn utc() -> Zone {
        Zone { zone: TimeZone::UTC, name: "UTC".into(), utc: true }
    }

    /// A zone by name, abbreviation or offset, as SET TIME ZONE takes it; 22023 when there is none.
    pub fn parse(name: &str) -> Result<Zone> {
        let trimmed = name.trim();
        if let Ok(hours) = trimmed.parse::<f64>() {
            return Zone::fixed_hours(hours).ok_or_else(|| unknown(name));
        }
        Zone::named(trimmed).ok_or_else(|| unknown(name))
    }

    /// A zone by its name in the IANA database, or `UTC` and the like.
    pub(super) fn named(name: &str) -> Option<Zone> {
        if name.eq_ignore_ascii_case("utc") {
            return Some(Zone::utc());
        }
        let zone = TimeZone::get(name).ok().or_else(|| TimeZone::posix(name).ok())?;
        let shown = zone.iana_name().unwrap_or(name).to_owned();
        Some(Zone { utc: zone == TimeZone::UTC, name: shown.into(), zone })
    }

    fn fixed_hours(hours: f64) -> Option<Zone> {
        let seconds = hours.is_finite().then(|| (hours * 3600.0).round() as i32)?;
        let offset = Offset::from_seconds(seconds).ok()?;
        let shown = |seconds: i32| {
            let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
            match minutes % 60 {
                0 => format!("{sign}{:02}", minutes / 60),
                rest => format!("{sign}{:02}:{rest:02}", minutes / 60),
            }
        };
        // POSIX counts westwards, so the offset stands with both signs, as in PostgreSQL.
        let name = format!("<{}>{}", shown(seconds), shown(-seconds));
        Some(Zone { zone: TimeZone::fixed(offset), name: name.into(), utc: seconds == 0 })
    }

    /// The offset of an abbreviation, in seconds east of Greenwich.
    pub(super) fn abbreviation(name: &str) -> Option<i32> {
        let found = ABBREVIATIONS.iter().find(|(abbreviation, _)| abbreviation.eq_ignore_ascii_case(name));
        found.map(|(_, minutes)| minutes * 60)
    }

    /// The name that SHOW TimeZone shows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seconds east of Greenwich at a moment in seconds since the Unix epoch.
    pub(super) fn offset_at(&self, unix_seconds: i64) -> i32 {
        if self.utc {
            return 0;
        }
        let timestamp = Timestamp::from_second(within_jiff(unix_seconds)).unwrap_or_default();
        self.zone.to_offset(timestamp).seconds()
    }

    /// Seconds east of Greenwich when clocks show a local time, in seconds since the Unix epoch as if in UTC. In a gap
    /// the offset before it counts, in a fold the one after, as in PostgreSQL.
    pub(super) fn offset_of_local(&self, local_seconds: i64) -> i32 {
        if self.utc {
            return 0;
        }
        let as_utc = Timestamp::from_second(within_jiff(local_seconds)).unwrap_or_default();
        let local: DateTime = Offset::UTC.to_datetime(as_utc);
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
            AmbiguousOffset::Gap { before, .. } => before.seconds(),
            AmbiguousOffset::Fold { after, .. } => after.seconds(),
        }
    }
}

/// A time with the same place in the calendar's cycle that jiff can hold (years -9999 to 9999).
fn within_jiff(seconds: i64) -> i64 {
    const FIRST: i64 = -370_000_000_000;
    const LAST: i64 = 250_000_000_000;
    if seconds < FIRST {
        seconds + ((FIRST - seconds) / CYCLE_SECONDS + 1) * CYCLE_SECONDS
    } else if seconds > LAST {
        seconds - ((seconds - LAST) / CYCLE_SECONDS + 1) * CYCLE_SECONDS
    } else {
        seconds
    }
}

fn unknown(name: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"TimeZone\": \"{name}\""))
}
