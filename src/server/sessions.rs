//! Where a connection meets its session.

use crate::config::Config;
use crate::error::Result;
use crate::session::{Flow, Output, Request, Services, Session};
use crate::txn::Engine;
use crate::wait::{self, Signal, Wait};
use crate::wire::{Conversation, Converse, Newcomer};
use std::sync::Arc;
use std::time::Duration;

/// A session on a connection.
struct Served {
    session: Session,
    /// Keeps the wait for notifications open; there is nothing yet that notifies.
    quiet: Option<Signal>,
}

impl Conversation for Served {
    fn greet(&mut self, output: &mut dyn Output) {
        self.session.greet(output);
    }

    fn start(&mut self, request: Request) {
        self.session.start(request);
    }

    fn step(&mut self, output: &mut dyn Output) -> Flow {
        self.session.step(output)
    }

    fn notifications(&mut self, _each: &mut dyn FnMut(i32, &str, &str)) -> Result<()> {
        Ok(())
    }

    fn notified(&mut self) -> Wait {
        let (signal, wait) = wait::pair(None);
        self.quiet = Some(signal);
        wait
    }

    fn idle_limit(&self) -> Option<Duration> {
        self.session.idle_limit()
    }
}

/// Makes the sessions of those who log in.
pub(super) fn converse(engine: &Arc<Engine>, config: &Config) -> Result<Converse> {
    let services = Arc::new(Services {
        engine: engine.clone(),
        database: config.database.clone(),
        allow_session_user_id: config.allow_session_user_id,
    });
    Ok(Box::new(move |newcomer: Newcomer| {
        let Newcomer { role, pid, settings, interrupt } = newcomer;
        let session = Session::new(services.clone(), &role, pid, settings, interrupt)?;
        Ok(Box::new(Served { session, quiet: None }))
    }))
}
