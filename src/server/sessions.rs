//! Where a connection meets its session.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::txn::Engine;
use crate::wire::Converse;
use std::sync::Arc;

/// Makes the sessions of those who log in.
pub(super) fn converse(engine: &Arc<Engine>, config: &Config) -> Result<Converse> {
    let _ = (engine, config);
    Ok(Box::new(|_newcomer| Err(Error::unsupported("a session"))))
}
