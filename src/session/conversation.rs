//! The session itself: one request after another, each in steps.

use super::block::{Block, Committing, refuse_in_failed};
use super::channels::{self, Begun, Listening};
use super::query::{Running, check_setting};
use super::statement::Outcome;
use super::{Flow, Output, Request, Services, Settings, TransactionStatus, Who};
use crate::catalog::Role;
use crate::error::{Error, Result, SqlState};
use crate::interrupt::Interrupt;
use crate::live::{Listener, Outbox};
use crate::sql::parse::{Parsed, Statement, parse};
use crate::types::CommitSeq;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long a session waits for its own notifications before it says that it is ready without them.
const OWN_NOTIFICATIONS_PATIENCE: Duration = Duration::from_secs(1);

/// What a session is doing.
enum Work {
    /// Nothing: the last request is answered.
    Nothing,
    /// A query string: what is left of its statements, and whether one of them has begun.
    Script { statements: VecDeque<Parsed>, empty: bool },
    /// Sync: the implicit transaction is ended.
    Sync,
}

/// One client's session.
pub struct Session {
    pub(super) services: Arc<Services>,
    pub(super) who: Who,
    pub(super) settings: Settings,
    pub(super) block: Block,
    committing: Option<Committing>,
    listener: Listener,
    /// The query string, for the positions in errors.
    pub(super) text: String,
    /// The query or write under way.
    pub(super) running: Option<Running>,
    /// What the open transaction said about channels.
    pub(super) listening: Vec<Listening>,
    /// What the commit under way takes back where it fails.
    begun: Begun,
    /// The session's own notifications go out before it says that it is ready: the commit to wait for.
    own: Option<CommitSeq>,
    interrupt: Arc<Interrupt>,
    work: Work,
    /// An error in the extended protocol: everything up to Sync is passed over.
    skipping: bool,
    /// An error that the next step reports.
    refused: Option<Error>,
    /// When the running statement has had its time, on the environment's monotonic clock.
    deadline: Option<u64>,
}

impl Session {
    /// A session for a role that has logged in, with the settings of its start-up packet.
    ///
    /// # Errors
    /// Those of [`Settings::set`]; 42501 for a user id that the role may not act for.
    pub fn new(
        services: Arc<Services>,
        role: &Role,
        pid: i32,
        settings: Vec<(String, String)>,
        interrupt: Arc<Interrupt>,
    ) -> Result<Session> {
        let mut session = Session {
            listener: services.hub.listener(),
            listening: Vec::new(),
            text: String::new(),
            running: None,
            begun: Begun::default(),
            own: None,
            services,
            who: Who::new(role, pid),
            settings: Settings::new([])?,
            block: Block::Idle,
            committing: None,
            interrupt,
            work: Work::Nothing,
            skipping: false,
            refused: None,
            deadline: None,
        };
        for (name, value) in &settings {
            check_setting(&session.services, &session.who, name, Some(value), false)?;
        }
        session.settings = Settings::new(settings)?;
        session.settings.set_internal("session_authorization", &role.name, false);
        session.settings.set_internal("is_superuser", if role.superuser { "on" } else { "off" }, false);
        session.settings.take_changed();
        Ok(session)
    }

    /// Tells a client what it is told at start-up.
    pub fn greet(&mut self, output: &mut dyn Output) {
        for (name, value) in self.settings.reported() {
            output.parameter_status(name, &value);
        }
    }

    /// How long the client may stay silent now.
    pub fn idle_limit(&self) -> Option<Duration> {
        let inside = self.block.is_explicit();
        inside.then(|| self.settings.duration("idle_in_transaction_session_timeout")).flatten()
    }

    /// Begins a request. The one before must be done.
    pub fn start(&mut self, request: Request) {
        self.interrupt.forget_cancel();
        match request {
            Request::Query(text) => {
                self.skipping = false;
                self.begin_script(&text);
            }
            Request::Sync => {
                self.skipping = false;
                self.work = Work::Sync;
            }
            Request::Malformed { error, extended } => self.refuse(error, extended),
            Request::Flush => {}
            _ if self.skipping => {}
            _ => {
                let error = Error::unsupported("the extended query protocol");
                self.refuse(error.hint("Use simple queries; prepared statements follow in a later version."), true);
            }
        }
    }

    fn refuse(&mut self, error: Error, extended: bool) {
        if extended && self.skipping {
            return;
        }
        self.skipping = extended;
        if !extended {
            self.work = Work::Script { statements: VecDeque::new(), empty: false };
        }
        self.refused = Some(error);
    }

    fn begin_script(&mut self, text: &str) {
        let limit = self.settings.duration("statement_timeout");
        let now = self.services.engine.env().monotonic();
        self.deadline = limit.map(|limit| now + limit.as_micros() as u64);
        text.clone_into(&mut self.text);
        match parse(text) {
            Ok(statements) => {
                let empty = statements.is_empty();
                self.work = Work::Script { statements: statements.into(), empty };
            }
            Err(error) => self.refuse(error, false),
        }
    }

    /// Goes on with the request.
    pub fn step(&mut self, output: &mut dyn Output) -> Flow {
        loop {
            let advanced = match self.refused.take() {
                Some(error) => Err(error),
                None => self.advance(output),
            };
            let flow = match advanced {
                Ok(flow) => flow,
                Err(error) => self.fail(&error, output),
            };
            for (name, value) in self.settings.take_changed() {
                output.parameter_status(name, &value);
            }
            if let Some(flow) = flow {
                return self.within_deadline(flow);
            }
        }
    }

    /// Cuts a wait to the time that the statement has left.
    fn within_deadline(&self, flow: Flow) -> Flow {
        match (flow, self.deadline) {
            (Flow::Wait(mut wait), Some(deadline)) if self.committing.is_none() => {
                let left = Duration::from_micros(deadline.saturating_sub(self.services.engine.env().monotonic()));
                wait.limit = Some(wait.limit.map_or(left, |limit| limit.min(left)));
                Flow::Wait(wait)
            }
            (flow, _) => flow,
        }
    }

    fn check_interrupts(&self) -> Result<()> {
        self.interrupt.check()?;
        if self.deadline.is_some_and(|deadline| self.services.engine.env().monotonic() >= deadline) {
            let message = "canceling statement due to statement timeout";
            return Err(Error::new(SqlState::QUERY_CANCELED, message));
        }
        Ok(())
    }

    /// One move; none to go on at once.
    fn advance(&mut self, output: &mut dyn Output) -> Result<Option<Flow>> {
        if let Some(committing) = &self.committing {
            // A commit that has begun is not interrupted: its outcome is what the client must learn.
            let Some(outcome) = committing.ticket.poll() else { return Ok(Some(Flow::Wait(committing.ticket.wait()))) };
            let tag = self.committing.take().and_then(|committing| committing.tag);
            self.end_commit(outcome)?;
            if let Some(tag) = tag {
                output.command_complete(&tag);
            }
            return Ok(None);
        }
        match &mut self.work {
            Work::Nothing => Ok(Some(Flow::Done)),
            Work::Script { statements, empty } => match statements.pop_front() {
                Some(parsed) => self.run(parsed, output),
                None => {
                    if std::mem::take(empty) {
                        output.empty_query();
                    }
                    Ok(self.finish(output))
                }
            },
            Work::Sync => {
                if let Block::Implicit(_) = self.block {
                    self.commit(None)?;
                    return Ok(None);
                }
                Ok(self.finish(output))
            }
        }
    }

    fn finish(&mut self, output: &mut dyn Output) -> Option<Flow> {
        if let Some(seq) = self.own.take() {
            let mut wait = self.services.hub.wait_for(seq);
            wait.limit = Some(OWN_NOTIFICATIONS_PATIENCE);
            return Some(Flow::Wait(wait));
        }
        self.work = Work::Nothing;
        self.deadline = None;
        output.ready_for_query(self.block.status());
        Some(Flow::Done)
    }

    /// Runs one statement of a query string.
    fn run(&mut self, parsed: Parsed, output: &mut dyn Output) -> Result<Option<Flow>> {
        self.check_interrupts()?;
        let ends_block = matches!(parsed.statement, Statement::Commit { .. } | Statement::Rollback { .. });
        if matches!(self.block, Block::Failed) && !ends_block {
            refuse_in_failed()?;
        }
        for notice in &parsed.notices {
            output.notice(notice);
        }
        let Work::Script { statements, .. } = &self.work else { return Ok(None) };
        let is_last = statements.is_empty();
        match self.execute(&parsed.statement, output)? {
            Outcome::Pause(flow) => {
                if let Work::Script { statements, .. } = &mut self.work {
                    statements.push_front(parsed);
                }
                return Ok(Some(flow));
            }
            Outcome::Committing => {}
            Outcome::Done(tag) if is_last && matches!(self.block, Block::Implicit(_)) => self.commit(Some(tag))?,
            Outcome::Done(tag) => output.command_complete(&tag),
        }
        Ok(None)
    }

    fn end_commit(&mut self, outcome: Result<CommitSeq>) -> Result<()> {
        self.settings.end_transaction(outcome.is_ok());
        let begun = std::mem::take(&mut self.begun);
        match outcome {
            Ok(seq) => {
                channels::settle(std::mem::take(&mut self.listening), &mut self.listener);
                self.own = self.own.take().map(|_| seq);
                Ok(())
            }
            Err(error) => {
                self.own = None;
                begun.undo(&mut self.listener);
                Err(error)
            }
        }
    }

    /// What waits for the client.
    pub fn outbox(&self) -> &Outbox {
        self.listener.outbox()
    }

    /// Begins to commit the open transaction; the tag is sent when it is durable.
    pub(super) fn commit(&mut self, tag: Option<String>) -> Result<()> {
        let Some(transaction) = self.block.take() else { return Ok(()) };
        self.begun = Begun::begin(&self.listening, &mut self.listener);
        let hears_itself = transaction.notifies() && self.listener.channels().next().is_some();
        self.own = hears_itself.then_some(CommitSeq::ZERO);
        match transaction.start_commit() {
            Ok(ticket) => {
                self.committing = Some(Committing { ticket, tag });
                Ok(())
            }
            Err(error) => self.end_commit(Err(error)),
        }
    }

    /// Rolls the open transaction back.
    pub(super) fn rollback(&mut self) {
        self.running = None;
        if let Some(transaction) = self.block.take() {
            transaction.rollback();
        }
        self.listening.clear();
        self.settings.end_transaction(false);
    }

    /// Reports an error: the transaction fails, the rest of the query string is not run.
    fn fail(&mut self, error: &Error, output: &mut dyn Output) -> Option<Flow> {
        if let Some(cause) = &error.fields().internal {
            tracing::error!(pid = self.who.pid, %cause, "statement failed internally");
        }
        output.error(error);
        let explicit = self.block.is_explicit();
        self.rollback();
        if explicit {
            self.block = Block::Failed;
        }
        if error.is_fatal() {
            return Some(Flow::End);
        }
        match &mut self.work {
            Work::Script { statements, .. } => {
                statements.clear();
                None
            }
            Work::Sync => None,
            Work::Nothing => Some(Flow::Done),
        }
    }

    /// What ReadyForQuery would say now.
    pub fn status(&self) -> TransactionStatus {
        self.block.status()
    }
}
