//! The demonstration: the chat workload with real clients.

use crate::error::{Error, Result};

/// Runs the chat workload against `url`, or against an embedded server.
pub fn run(url: Option<&str>) -> Result<()> {
    let _ = url;
    Err(Error::unsupported("the demo"))
}
