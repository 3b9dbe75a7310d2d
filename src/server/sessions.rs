//! Where a connection meets its session.

use crate::activity::Sessions;
use crate::change::Notification;
use crate::config::Config;
use crate::error::Result;
use crate::live::{self, Hub, Sent};
use crate::session::{CopyInput, Flow, Output, PlanCache, Request, Services, Session};
use crate::txn::Engine;
use crate::wait::Wait;
use crate::wire::{Conversation, Converse, Line, Newcomer};
use std::sync::{Arc, Weak};
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

    fn connect(&mut self, line: &Arc<Line>) {
        let line: Weak<Line> = Arc::downgrade(line);
        self.session.outbox().connect(line);
    }

    fn rest(&mut self) -> Wait {
        self.session.outbox().rest()
    }

    fn rise(&mut self) {
        self.session.outbox().rise();
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

impl live::Line for Line {
    fn send(&self, notifications: &mut dyn Iterator<Item = &Notification>) -> Sent {
        match self
            .try_notify(notifications.map(|Notification { pid, channel, payload }| (*pid, &**channel, &**payload)))
        {
            (false, _) => Sent::Nothing,
            (true, false) => Sent::Part,
            (true, true) => Sent::All,
        }
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
