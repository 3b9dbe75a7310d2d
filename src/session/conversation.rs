//! The session itself: one request after another, each in steps.

use super::activity::SessionPlace;
use super::block::{Block, Committing, Place};
use super::channels::{self, Begun, Listening};
use super::identity::Followed;
use super::portal::{Portal, State};
use super::prepared::Prepared;
use super::query::{Known, check_setting};
use super::sequences::Remembered;
use super::statement::Outcome;
use super::timeouts::Deadlines;
use super::{CopyInput, Flow, Output, Request, Services, Settings, TransactionStatus, Who};
use crate::activity::{Activity, Awaited};
use crate::catalog::Role;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::live::{Listener, Outbox};
use crate::sql::exec::Tag;
use crate::sql::plan::Command;
use crate::txn::{CommitTicket, Transaction, TxnOptions};
use crate::types::CommitSeq;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a session waits for its own notifications before it says that it is ready without them.
const OWN_NOTIFICATIONS_PATIENCE: Duration = Duration::from_secs(1);

/// What a session is doing.
enum Work {
    /// Nothing: the last request is answered.
    Nothing,
    /// A query string: what is left of its statements, and how many it had.
    Script { statements: VecDeque<Arc<Prepared>>, given: usize },
    /// A message of the extended protocol that is answered at once.
    Message(Request),
    /// Execute: the portal's name, and how many rows at most.
    Execute(String, u32),
    /// Sync: the implicit transaction is ended.
    Sync,
    /// Letting go of snapshots that are too old.
    Ages,
    /// Flush: what is answered so far goes out.
    Flush,
}

/// One client's session.
pub struct Session {
    pub(super) services: Arc<Services>,
    pub(super) who: Who,
    /// The settings that the roles of `who` were last taken from.
    pub(super) followed: Followed,
    pub(super) settings: Settings,
    pub(super) block: Block,
    /// How the failed block was begun.
    pub(super) failed_options: Option<TxnOptions>,
    /// Why the failed block, or the transaction that the server opened itself, is lost: its snapshot was too old.
    pub(super) lost: Option<Error>,
    /// The block's savepoints, the innermost last.
    pub(super) savepoints: Vec<Place>,
    pub(super) committing: Option<Committing>,
    /// Large transactions that were rolled back and are still giving back what they held.
    pub(super) ending: Vec<CommitTicket>,
    /// The commit that reserves ids which the client has seen.
    pub(super) reserving: Option<CommitTicket>,
    pub(super) listener: Listener,
    /// The text of the statement under way, for the positions in errors.
    pub(super) text: Arc<str>,
    /// Prepared statements by name.
    pub(super) statements: HashMap<String, Arc<Prepared>>,
    /// Portals by name. They end with their transaction.
    pub(super) portals: HashMap<String, Portal>,
    /// The portal under way.
    pub(super) current: Option<Portal>,
    /// What the open transaction said about channels.
    pub(super) listening: Vec<Listening>,
    /// What the commit under way takes back where it fails.
    begun: Begun,
    /// Who the session is, as of the last look.
    pub(super) known: Option<Known>,
    /// The session's own notifications go out before it says that it is ready: the commit to wait for.
    own: Option<CommitSeq>,
    pub(super) interrupt: Arc<Interrupt>,
    work: Work,
    /// It is ready for a query: nothing has come since.
    rests: bool,
    /// An error in the extended protocol: everything up to Sync is passed over.
    pub(super) skipping: bool,
    /// An error that the next step reports.
    refused: Option<Error>,
    pub(super) deadlines: Deadlines,
    pub(super) sequences: Remembered,
    pub(super) activity: Arc<Activity>,
    _place: SessionPlace,
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
        client: Option<SocketAddr>,
        settings: Vec<(String, String)>,
        interrupt: Arc<Interrupt>,
    ) -> Result<Session> {
        let begun = services.engine.env().now();
        let activity = services.sessions.enter(pid, role.oid, client, begun, interrupt.clone());
        let place = SessionPlace::new(services.clone(), pid);
        let mut session = Session {
            listener: services.hub.listener(),
            listening: Vec::new(),
            text: Arc::from(""),
            statements: HashMap::new(),
            portals: HashMap::new(),
            current: None,
            begun: Begun::default(),
            known: None,
            own: None,
            services,
            who: Who::new(role, pid),
            followed: Followed::default(),
            settings: Settings::new([])?,
            block: Block::Idle,
            failed_options: None,
            lost: None,
            savepoints: Vec::new(),
            committing: None,
            ending: Vec::new(),
            reserving: None,
            interrupt,
            work: Work::Nothing,
            rests: true,
            skipping: false,
            refused: None,
            deadlines: Deadlines::default(),
            sequences: Remembered::default(),
            activity,
            _place: place,
        };
        for (name, value) in &settings {
            check_setting(&session.services, &session.who, name, Some(value), false)?;
        }
        session.settings = Settings::new(settings)?;
        session.settings.set_internal("session_authorization", &role.name, false, false);
        session.settings.set_internal("is_superuser", if role.superuser { "on" } else { "off" }, false, false);
        session.settings.take_changed();
        session.followed = Followed::of(&session.settings);
        session.name_application();
        session.begin_silence();
        Ok(session)
    }

    /// Tells a client what it is told at start-up.
    pub fn greet(&mut self, output: &mut dyn Output) {
        for (name, value) in self.settings.reported() {
            output.parameter_status(name, &value);
        }
    }

    /// Begins a request. The one before must be done.
    pub fn start(&mut self, request: Request) {
        if !matches!(request, Request::Overdue) {
            self.deadlines.silence = None;
            if std::mem::take(&mut self.rests) {
                // it came when nothing was running
                self.interrupt.forget_cancel();
            }
        }
        self.activity.wait_for(Awaited::Nothing);
        let lost = if matches!(request, Request::Overdue | Request::Flush) { None } else { self.take_lost() };
        match request {
            Request::Sync => {
                self.skipping = false;
                self.work = Work::Sync;
                self.refused = lost;
            }
            Request::Malformed { error, extended } => self.refuse(error, extended),
            // CopyData, CopyDone and CopyFail after a COPY that failed: their sender has not read the error yet
            Request::Unexpected(b'd' | b'c' | b'f') => {}
            Request::Flush => self.work = Work::Flush,
            Request::Overdue => {
                self.refused = self.overdue();
                self.work = Work::Ages;
            }
            // a simple query too, as in PostgreSQL: its sender has not read the error yet
            _ if self.skipping => {}
            request if lost.is_some() => {
                let extended = !matches!(request, Request::Query(_));
                lost.into_iter().for_each(|error| self.refuse(error, extended));
            }
            Request::Query(text) => self.begin_script(&text),
            request => {
                if !matches!(request, Request::Close(_)) {
                    self.start_clock();
                }
                self.work = match request {
                    Request::Execute { portal, max_rows } => Work::Execute(portal, max_rows),
                    request => Work::Message(request),
                };
            }
        }
    }

    fn refuse(&mut self, error: Error, extended: bool) {
        if self.skipping {
            return;
        }
        self.skipping = extended;
        if !extended {
            self.work = Work::Script { statements: VecDeque::new(), given: 1 };
        }
        self.refused = Some(error);
    }

    fn begin_script(&mut self, text: &str) {
        self.start_clock();
        self.statements.remove("");
        self.portals.remove("");
        let prepared = self.prepare_script(text);
        let shown = match &prepared {
            Ok(statements) if !statements.is_empty() => &statements[0].text,
            _ => &self.text,
        };
        self.show_running(shown);
        match prepared {
            Ok(statements) => {
                let given = statements.len();
                self.work = Work::Script { statements: statements.into(), given };
            }
            Err(error) => self.refuse(error, false),
        }
    }

    /// Goes on with the request.
    pub fn step(&mut self, output: &mut dyn Output) -> Flow {
        loop {
            if !self.is_back() {
                return Flow::Yield;
            }
            let advanced = match self.refused.take() {
                Some(error) => Err(error),
                None => self.advance(output),
            };
            let flow = match advanced {
                Ok(flow) => flow,
                Err(error) => self.fail(&error, output),
            };
            if let Some(flow) = flow {
                let wait = if let Flow::Full = flow { self.wait_for_ids() } else { None };
                let flow = wait.unwrap_or(flow);
                let awaited = self.awaited(&flow);
                self.activity.wait_for(awaited);
                return self.within_deadline(flow);
            }
        }
    }

    /// Takes what the client has sent after [`Flow::Input`]. Nothing happens before the next step.
    pub fn put(&mut self, input: CopyInput) {
        if let Some(Portal { state: State::Running(running), .. }) = &mut self.current {
            running.execution.put(input);
        }
    }

    /// Where the COPY under way is, for an error from outside of it.
    fn within_copy(&self, error: Error) -> Error {
        let place = match &self.current {
            Some(Portal { state: State::Running(running), .. }) => running.execution.place(),
            _ => None,
        };
        match place {
            Some(place) => error.context(place),
            None => error,
        }
    }

    /// One move; none to go on at once.
    fn advance(&mut self, output: &mut dyn Output) -> Result<Option<Flow>> {
        if let Some(committing) = &self.committing {
            // A commit that has begun is not interrupted: its outcome is what the client must learn.
            let Some(outcome) = committing.ticket.poll() else {
                return Ok(Some(Flow::Wait(committing.ticket.wait().firmly())));
            };
            let Some(Committing { tag, chain, extended, .. }) = self.committing.take() else { return Ok(None) };
            self.skipping |= extended && outcome.is_err();
            self.end_commit(outcome)?;
            if let Some(options) = chain {
                self.open_block(options)?;
            }
            if let Some(tag) = tag {
                output.command_complete(&tag);
            }
            return Ok(None);
        }
        if self.current.is_some() {
            return self.run(output);
        }
        match &mut self.work {
            Work::Nothing => Ok(Some(Flow::Done)),
            Work::Ages => Ok(Some(self.let_go())),
            Work::Flush => {
                self.work = Work::Nothing;
                Ok(self.wait_for_ids())
            }
            Work::Script { statements, given } => match statements.pop_front() {
                Some(prepared) => self.begin_statement(prepared, output),
                None => {
                    if *given == 0 {
                        *given = 1; // said once, however often it comes here
                        output.empty_query();
                    }
                    Ok(self.finish(output))
                }
            },
            Work::Message(_) => {
                let Work::Message(request) = std::mem::replace(&mut self.work, Work::Nothing) else { return Ok(None) };
                self.check_interrupts().inspect_err(|_| self.skipping = true)?;
                self.answer(request, output).inspect_err(|_| self.skipping = true)?;
                Ok(Some(Flow::Done))
            }
            Work::Execute(name, rows_max) => {
                let (name, rows_max) = (std::mem::take(name), *rows_max);
                let portal = self.take_portal(&name, rows_max)?;
                self.show_running(&portal.prepared.text);
                self.work = Work::Execute(name, rows_max);
                self.current = Some(portal);
                Ok(None)
            }
            Work::Sync => {
                // a cancel came too late for what is answered already, as in PostgreSQL: a COMMIT above all
                self.interrupt.forget_cancel();
                self.check_interrupts()?;
                if !self.block.is_explicit() {
                    self.portals.clear();
                }
                if let Block::Implicit(_) = self.block {
                    self.commit(None, None)?;
                    return Ok(None);
                }
                Ok(self.finish(output))
            }
        }
    }

    fn finish(&mut self, output: &mut dyn Output) -> Option<Flow> {
        if let Some(flow) = self.wait_for_ids().or_else(|| self.wait_for_endings()) {
            return Some(flow);
        }
        if let Some(seq) = self.own.take() {
            let mut wait = self.services.hub.wait_for(seq);
            wait.limit = Some(OWN_NOTIFICATIONS_PATIENCE);
            return Some(Flow::Wait(wait));
        }
        self.work = Work::Nothing;
        self.deadlines.statement = None;
        self.show_rest();
        if let Block::Idle = self.block {
            // up to here an error would have taken back what SET did, transaction or not
            self.settings.end_transaction(true);
        }
        for (name, value) in self.settings.take_changed() {
            output.parameter_status(name, &value);
            if name == "application_name" {
                self.name_application();
            }
        }
        self.rests = true;
        output.ready_for_query(self.block.status());
        self.begin_silence();
        Some(Flow::Done)
    }

    /// Begins one statement of a query string.
    fn begin_statement(&mut self, prepared: Arc<Prepared>, output: &mut dyn Output) -> Result<Option<Flow>> {
        // each statement of a query string has its time
        self.start_clock();
        self.refuse_if_failed(&prepared)?;
        self.text = prepared.text.clone();
        for notice in prepared.parsed.iter().flat_map(|parsed| &parsed.notices) {
            self.tell(notice, output);
        }
        let prepared = self.bound(prepared)?;
        let mut portal = Portal::new(prepared, Vec::new(), Vec::new());
        portal.undescribed = true;
        self.current = Some(portal);
        Ok(None)
    }

    /// Goes on with the portal under way.
    fn run(&mut self, output: &mut dyn Output) -> Result<Option<Flow>> {
        self.check_interrupts().map_err(|error| self.within_copy(error))?;
        let Some(mut portal) = self.current.take() else { return Ok(None) };
        if portal.prepared.parsed.is_none() {
            output.empty_query();
            self.deadlines.statement = None;
            return Ok(self.end_execute(portal));
        }
        self.text = portal.prepared.text.clone();
        match self.step_portal(&mut portal, output)? {
            Outcome::Pause(flow) => {
                self.current = Some(portal);
                self.note_lock_wait();
                return Ok(Some(flow));
            }
            Outcome::Committing => self.deadlines.statement = None,
            // its time goes on until Sync, as in PostgreSQL
            Outcome::Suspended => output.portal_suspended(),
            Outcome::Done(tag) => {
                // one that came while it ran, from itself perhaps
                self.interrupt.check()?;
                self.deadlines.statement = None;
                match &self.work {
                    Work::Script { statements, .. }
                        if statements.is_empty() && matches!(self.block, Block::Implicit(_)) =>
                    {
                        self.commit(Some(tag), None)?;
                    }
                    _ => output.command_complete(&tag),
                }
            }
        }
        Ok(self.end_execute(portal))
    }

    /// A portal has done what this request wanted of it.
    fn end_execute(&mut self, portal: Portal) -> Option<Flow> {
        self.deadlines.lock = None;
        if let Work::Execute(name, _) = &mut self.work {
            let name = std::mem::take(name);
            // a block's end has ended all its portals, this one too
            if !matches!(self.block, Block::Idle) || !portal.prepared.ends_block() {
                self.portals.insert(name, portal);
            }
            self.work = Work::Nothing;
        }
        None
    }

    /// One step of a portal, whatever it is.
    fn step_portal(&mut self, portal: &mut Portal, output: &mut dyn Output) -> Result<Outcome> {
        loop {
            match portal.state {
                State::Done => {
                    let command = portal.prepared.plan.as_ref().map_or(Command::Select, |plan| plan.command);
                    return Ok(Outcome::Done(Tag::of(command, 0).to_string()));
                }
                State::Rows(..) => return Ok(self.give_rows(portal, output)),
                State::Lost(ref error) => return Err(error.clone()),
                State::Running(_) => {
                    if portal.is_query() {
                        portal.describe_once(output);
                    }
                    return self.step_plan(portal, output);
                }
                State::Ready if portal.prepared.plan.is_some() => {
                    if let Some(wait) = self.begin_plan(portal)? {
                        return Ok(Outcome::Pause(Flow::Wait(wait)));
                    }
                }
                State::Ready => {
                    if let Some(outcome) = self.execute(portal, output)? {
                        if let Outcome::Done(_) | Outcome::Committing = outcome {
                            portal.state = State::Done;
                        }
                        return Ok(outcome);
                    }
                }
            }
        }
    }

    /// Gives out rows that are there already.
    fn give_rows(&mut self, portal: &mut Portal, output: &mut dyn Output) -> Outcome {
        portal.describe_once(output);
        let columns = portal.prepared.columns().unwrap_or_default();
        let State::Rows(rows, tag) = &mut portal.state else { return Outcome::Done(String::new()) };
        while let Some(row) = rows.pop_front() {
            output.data_row(&row, columns, &portal.formats, self.settings.zone());
            portal.rows_given += 1;
            if portal.rows_given == portal.rows_max {
                return Outcome::Suspended;
            }
        }
        // executed again, it gives no rows and the same tag
        Outcome::Done(tag.clone())
    }

    fn end_commit(&mut self, outcome: Result<CommitSeq>) -> Result<()> {
        self.activity.end_transaction();
        self.settings.end_transaction(outcome.is_ok());
        self.follow_settings();
        let begun = std::mem::take(&mut self.begun);
        match outcome {
            Ok(seq) => {
                channels::settle(std::mem::take(&mut self.listening), &mut self.listener, seq);
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

    /// Sends a notice, if the client wants such.
    pub(super) fn tell(&self, notice: &Error, output: &mut dyn Output) {
        if self.settings.tells(notice.fields().severity) {
            output.notice(notice);
        }
    }

    /// The open transaction.
    pub(super) fn transaction(&mut self) -> Result<&mut Transaction> {
        self.block.transaction().ok_or_else(|| Error::internal("no transaction is open"))
    }

    /// What waits for the client.
    pub fn outbox(&self) -> &Outbox {
        self.listener.outbox()
    }

    /// Begins to commit the open transaction; the tag is sent when it is durable.
    pub(super) fn commit(&mut self, tag: Option<String>, chain: Option<TxnOptions>) -> Result<()> {
        self.portals.clear();
        self.savepoints.clear();
        let Some(transaction) = self.block.take() else { return Ok(()) };
        self.begun = Begun::begin(&self.listening, &mut self.listener);
        let hears_itself = transaction.notifies() && self.listener.channels().next().is_some()
            || transaction.has_written() && self.listener.is_live();
        self.own = hears_itself.then_some(CommitSeq::ZERO);
        match transaction.start_commit() {
            Ok(ticket) => {
                let extended = matches!(self.work, Work::Execute(..));
                self.committing = Some(Committing { ticket, tag, chain, extended });
                Ok(())
            }
            Err(error) => self.end_commit(Err(error)),
        }
    }

    /// Rolls the open transaction back.
    pub(super) fn rollback(&mut self) {
        self.current = None;
        self.lost = None;
        self.portals.clear();
        self.savepoints.clear();
        if let Some(transaction) = self.block.take() {
            self.ending.extend(transaction.rollback());
        }
        self.activity.end_transaction();
        self.listening.clear();
        self.settings.end_transaction(false);
        self.follow_settings();
    }

    /// Reports an error: the transaction fails, and what belongs to the request is passed over.
    pub(super) fn fail(&mut self, error: &Error, output: &mut dyn Output) -> Option<Flow> {
        if let Some(cause) = &error.fields().internal {
            tracing::error!(pid = self.who.pid, %cause, "statement failed internally");
        }
        output.error(error);
        self.fail_block();
        if error.is_fatal() {
            self.rollback();
            return Some(Flow::End);
        }
        match &mut self.work {
            Work::Script { statements, .. } => {
                statements.clear();
                None
            }
            Work::Sync => None,
            Work::Execute(..) => {
                self.skipping = true;
                self.work = Work::Nothing;
                Some(Flow::Done)
            }
            Work::Nothing | Work::Message(_) | Work::Ages | Work::Flush => Some(Flow::Done),
        }
    }

    /// Whether statements that need a transaction block may stand here: in BEGIN's, and in a query string of several.
    pub(super) fn is_in_block(&self) -> bool {
        self.block.is_explicit() || matches!(self.work, Work::Script { given: 2.., .. })
    }

    /// What ReadyForQuery would say now.
    pub fn status(&self) -> TransactionStatus {
        self.block.status()
    }
}
