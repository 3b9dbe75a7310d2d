//! Time zones.

use crate::error::{Error, Result};

/// A time zone: a name of the IANA database or a fixed offset. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Zone {
    zone: jiff::tz::TimeZone,
    name: std::sync::Arc<str>,
}

impl Zone {
    /// UTC.
    pub fn utc() -> Zone {
        Zone { zone: jiff::tz::TimeZone::UTC, name: "UTC".into() }
    }

    /// A zone by name, abbreviation or offset, as SET TIME ZONE takes it; 22023 when there is none.
    pub fn parse(_name: &str) -> Result<Zone> {
        Err(Error::unsupported("time zones"))
    }

    /// The name that SHOW TimeZone shows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// jiff's zone.
    pub(super) fn inner(&self) -> &jiff::tz::TimeZone {
        &self.zone
    }
}
