//! Where a connection meets its session.

use crate::activity::Sessions;
use crate::config::Config;
use crate::error::Result;
use crate::live::Hub;
use crate::session::{CopyInput, Flow, Output, PlanCache, Request, Services, Session};
use crate::txn::Engine;
use crate::wait::Wait;
use crate::wire::{Conversation, Converse, Newcomer};
use std::sync::Arc;
use std::time::Duration;

/// A session on a connection.
struct Served {
    session: Session,
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

    fn put(&mut self, input: CopyInput) {
        self.session.put(input);
    }

    fn notifications(&mut self, each: &mut dyn FnMut(i32, &str, &str)) -> Result<()> {
        for notification in self.session.outbox().drain()? {
            each(notification.pid, &notification.channel, &notification.payload);
        }
        Ok(())
    }

    fn notified(&mut self) -> Wait {
        self.session.outbox().wait()
    }

    fn row_patience(&self) -> Option<Duration> {
        self.session.row_patience()
    }

    fn let_go(&mut self, output: &mut dyn Output) -> Flow {
        self.session.let_go_running(output)
    }

    fn leave(&mut self) -> Option<Wait> {
        self.session.leave()
    }

    fn idle_limit(&self) -> Option<Duration> {
        self.session.idle_limit()
    }
}

/// Makes the sessions of those who log in.
pub(super) fn converse(engine: &Arc<Engine>, hub: &Arc<Hub>, config: &Config) -> Result<Converse> {
    let services = Arc::new(Services {
        engine: engine.clone(),
        hub: hub.clone(),
        sessions: Sessions::default(),
        plans: PlanCache::default(),
        database: config.database.clone(),
        allow_session_user_id: config.allow_session_user_id,
    });
    Ok(Box::new(move |newcomer: Newcomer| {
        let Newcomer { role, pid, client, settings, interrupt } = newcomer;
        let session = Session::new(services.clone(), &role, pid, client, settings, interrupt)?;
        Ok(Box::new(Served { session }))
    }))
}
