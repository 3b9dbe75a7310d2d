//! Sessions in this process: a script run without sockets, so that what it tests is the session alone.

use super::client::Report;
use super::golden::{PATIENCE, Runner, login_name, show_columns, show_report, show_row};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use tertulia::activity::Sessions;
use tertulia::change::Notification;
use tertulia::env::SystemEnv;
use tertulia::error::Error;
use tertulia::interrupt::Interrupt;
use tertulia::live::{Hub, Reader};
use tertulia::maintenance::Maintenance;
use tertulia::session::{CopyInput, Flow, Format, Output, PlanCache, Request, Services, Session, TransactionStatus};
use tertulia::sql::plan::ResultColumn;
use tertulia::txn::{Engine, EngineOptions};
use tertulia::types::{SqlType, Value, Zone, text};

/// An engine with its sessions by name.
pub struct InProcess {
    services: Arc<Services>,
    maintenance: Option<Maintenance>,
    sessions: BTreeMap<String, Client>,
}

impl InProcess {
    /// A database of that name in an empty directory.
    pub fn start(data: &Path, database: &str) -> InProcess {
        InProcess::start_with(EngineOptions::new(data), database)
    }

    /// A database of that name in an engine that is opened so.
    pub fn start_with(options: EngineOptions, database: &str) -> InProcess {
        let (engine, _) = Engine::open(options, Arc::new(SystemEnv::new())).unwrap();
        let hub = Hub::start(&engine).unwrap();
        InProcess::over(engine, hub, database)
    }

    /// As [`start_with`](InProcess::start_with); the caller steps the reader of commits.
    pub fn start_stepped(options: EngineOptions, database: &str) -> (InProcess, Reader) {
        let (engine, _) = Engine::open(options, Arc::new(SystemEnv::new())).unwrap();
        let (hub, reader) = Hub::with_reader(&engine);
        (InProcess::over(engine, hub, database), reader)
    }

    fn over(engine: Arc<Engine>, hub: Hub, database: &str) -> InProcess {
        let hub = Arc::new(hub);
        let maintenance = Some(Maintenance::start(engine.clone()).unwrap());
        let services = Services {
            engine,
            hub,
            sessions: Sessions::default(),
            plans: PlanCache::default(),
            database: database.to_owned(),
            allow_session_user_id: false,
        };
        InProcess { services: Arc::new(services), maintenance, sessions: BTreeMap::new() }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.services.engine
    }

    /// How many notifications have come to all sessions since they were last asked for.
    pub fn count_notifications(&mut self) -> usize {
        let count = |client: &mut Client| {
            client.collect();
            client.waiting.drain(..).count()
        };
        self.sessions.values_mut().map(count).sum()
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let pid = self.sessions.len() as i32 + 1;
        let services = &self.services;
        self.sessions.entry(name.to_owned()).or_insert_with(|| {
            let role = login_name(name).unwrap_or("tertulia");
            let role = services.engine.catalog().role_by_name(role).unwrap_or_else(|| panic!("{name}")).clone();
            let interrupt = Arc::new(Interrupt::default());
            let session = Session::new(services.clone(), &role, pid, None, Vec::new(), interrupt).unwrap();
            Client { session, waiting: VecDeque::new() }
        })
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.sessions.clear();
        self.services.hub.stop();
        if let Some(maintenance) = self.maintenance.take() {
            maintenance.stop();
        }
        self.services.engine.shutdown().unwrap();
    }
}

/// A session, and the notifications that its client has not looked at.
struct Client {
    session: Session,
    waiting: VecDeque<String>,
}

impl Client {
    fn collect(&mut self) {
        let fresh = self.session.outbox().drain().unwrap();
        let show = |one: Notification| format!("NOTIFICATION {}: {}\n", one.channel, one.payload);
        self.waiting.extend(fresh.into_iter().map(show));
    }
}

impl Runner for InProcess {
    fn statement(&mut self, session: &str, sql: &str) -> String {
        let client = self.client(session);
        // as on a socket: nothing is told in a transaction
        if client.session.status() == TransactionStatus::Idle {
            client.collect();
        }
        let mut shown = Shown { text: client.waiting.drain(..).collect(), ..Shown::default() };
        client.session.start(Request::Query(sql.to_owned()));
        loop {
            match client.session.step(&mut shown) {
                Flow::Done | Flow::End => break,
                Flow::Wait(wait) => wait.block(),
                Flow::Yield | Flow::Full => {}
                Flow::Input(_) => client.session.put(CopyInput::Fail("a script has no rows to send".to_owned())),
            }
        }
        if shown.status == Some(TransactionStatus::Idle) {
            client.collect();
            shown.text.extend(client.waiting.drain(..));
        }
        shown.text
    }

    fn notification(&mut self, session: &str) -> String {
        let client = self.client(session);
        if client.waiting.is_empty() {
            let mut wait = client.session.outbox().wait();
            wait.limit = Some(PATIENCE);
            wait.block();
            client.collect();
        }
        client.waiting.pop_front().unwrap_or_else(|| "no notification\n".to_owned())
    }
}

/// A session's answers as scripts show them.
#[derive(Default)]
struct Shown {
    text: String,
    /// The description of rows of which none has come: notices are shown before it, as of a client.
    columns: String,
    status: Option<TransactionStatus>,
}

impl Shown {
    fn describe(&mut self) {
        self.text.push_str(&std::mem::take(&mut self.columns));
    }
}

fn report(error: &Error) -> Report {
    let fields = error.fields();
    Report {
        severity: fields.severity.as_str().to_owned(),
        code: error.code().to_string(),
        message: fields.message.clone(),
        detail: fields.detail.clone(),
        hint: fields.hint.clone(),
        position: fields.position.map(|position| position.to_string()),
        context: fields.context.clone(),
    }
}

impl Output for Shown {
    fn parse_complete(&mut self) {}

    fn bind_complete(&mut self) {}

    fn close_complete(&mut self) {}

    fn parameter_description(&mut self, _types: &[SqlType]) {}

    fn row_description(&mut self, columns: &[ResultColumn], _formats: &[Format]) {
        let columns: Vec<_> = columns.iter().map(|column| (column.name.clone(), column.ty.wire().oid.0)).collect();
        self.columns = show_columns(&columns);
    }

    fn no_data(&mut self) {}

    fn data_row(&mut self, row: &[Value], columns: &[ResultColumn], _formats: &[Format], zone: &Zone) {
        let show = |(value, column): (&Value, &ResultColumn)| {
            (!value.is_null()).then(|| text::to_string(value, column.ty, zone))
        };
        self.describe();
        self.text.push_str(&show_row(&row.iter().zip(columns).map(show).collect::<Vec<_>>()));
    }

    fn copy_in_response(&mut self, _columns: usize) {}

    fn command_complete(&mut self, tag: &str) {
        self.describe();
        writeln!(self.text, "{tag}").unwrap();
    }

    fn empty_query(&mut self) {
        self.text.push_str("(empty)\n");
    }

    fn portal_suspended(&mut self) {}

    fn notice(&mut self, notice: &Error) {
        self.text.push_str(&show_report(&report(notice)));
    }

    fn error(&mut self, error: &Error) {
        self.describe();
        self.text.push_str(&show_report(&report(error)));
    }

    fn parameter_status(&mut self, _name: &str, _value: &str) {}

    fn ready_for_query(&mut self, status: TransactionStatus) {
        self.status = Some(status);
    }

    fn is_full(&self) -> bool {
        false
    }
}
