//! Sockets, threads and shutdown.

use crate::config::Config;
use crate::error::{Error, Result};

/// Serves until SIGTERM or SIGINT. `password` is the superuser's at the first start.
pub fn run(config: Config, password: Option<String>) -> Result<()> {
    let _ = (config, password);
    Err(Error::unsupported("serving"))
}
