//! What a session lets others see of itself.

use super::block::Block;
use super::conversation::Session;
use super::portal::State as Progress;
use super::{Flow, Services};
use crate::activity::{Awaited, State, cut};
use crate::sql::plan::Command;
use std::sync::Arc;

/// Gives back, at the session's end, the locks that it holds beyond its transactions, and its place.
pub(super) struct SessionPlace {
    services: Arc<Services>,
    pid: i32,
}

impl SessionPlace {
    pub(super) fn new(services: Arc<Services>, pid: i32) -> SessionPlace {
        SessionPlace { services, pid }
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        self.services.engine.unlock_session(self.pid);
        self.services.sessions.leave(self.pid);
    }
}

impl Session {
    /// A statement runs.
    pub(super) fn show_running(&self, text: &Arc<str>) {
        self.activity.run(text, || self.services.engine.env().now());
    }

    /// The client is to speak. Of a long statement nothing but its start is kept for that time.
    pub(super) fn show_rest(&mut self) {
        let state = match self.block {
            Block::Idle | Block::Implicit(_) => State::Idle,
            Block::Explicit(_) => State::IdleInTransaction,
            Block::Failed(_) => State::IdleInFailedTransaction,
        };
        self.activity.rest(state, self.services.engine.env().now());
        if let Some(cut) = cut(&self.text) {
            self.text = cut;
        }
    }

    pub(super) fn name_application(&self) {
        self.activity.name_application(&self.settings.get("application_name").unwrap_or_default());
    }

    /// What is waited for until the next step.
    pub(super) fn awaited(&mut self, flow: &Flow) -> Awaited {
        match flow {
            Flow::Done | Flow::Input(_) | Flow::End => Awaited::ClientRead,
            Flow::Full => Awaited::ClientWrite,
            Flow::Yield => Awaited::Nothing,
            Flow::Wait(_) if self.committing.is_some() || self.reserving.is_some() => Awaited::LogSync,
            Flow::Wait(_) => match self.block.transaction() {
                Some(transaction) if transaction.lock_wait().is_some() => Awaited::Lock,
                Some(transaction) if transaction.awaits_snapshot() => Awaited::SafeSnapshot,
                _ => self.awaited_by_plan(),
            },
        }
    }

    /// What the plan under way waits for, if it is no lock.
    fn awaited_by_plan(&self) -> Awaited {
        let Some(portal) = &self.current else { return Awaited::Other };
        match (&portal.state, &portal.prepared.plan) {
            (Progress::Running(running), Some(plan)) if plan.command == Command::Select => running.execution.awaited(),
            _ => Awaited::Other,
        }
    }
}
