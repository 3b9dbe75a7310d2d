//! What all sessions of a server share.

use super::PlanCache;
use crate::activity::Sessions;
use crate::live::Hub;
use crate::txn::Engine;
use std::sync::Arc;

/// The parts of the server that sessions use.
pub struct Services {
    /// Storage and transactions.
    pub engine: Arc<Engine>,
    /// Who listens: plain channels and live queries.
    pub hub: Arc<Hub>,
    /// Who is connected, and what they do.
    pub sessions: Sessions,
    /// Statements that have been prepared.
    pub plans: PlanCache,
    /// The database's name.
    pub database: String,
    /// Whether SET tertulia.user_id may outlast a transaction.
    pub allow_session_user_id: bool,
}
