//! What simulations share: an engine that they step themselves, its sessions, and what those answer, as rows of text.

use std::sync::Arc;
use tertulia::env::ManualEnv;
use tertulia::error::{Error, Result, SqlState};
use tertulia::interrupt::Interrupt;
use tertulia::live::{Hub, Reader};
use tertulia::session::{Format, Output, PlanCache, Services, Session, TransactionStatus};
use tertulia::sql::plan::ResultColumn;
use tertulia::storage::fault::FaultDisk;
use tertulia::storage::{Index, MemoryIndex};
use tertulia::txn::{Engine, EngineOptions, Parts, RecoveryReport};
use tertulia::types::{SqlType, Value, Zone, text};

/// Opens an engine without threads on whatever is on the disk and in the index, and what its sessions share.
pub fn open(
    options: EngineOptions,
    env: &Arc<ManualEnv>,
    disk: &FaultDisk,
    index: &MemoryIndex,
) -> Result<(Arc<Services>, Reader, RecoveryReport)> {
    let (disk, index) = (Arc::new(disk.clone()), Index::memory(index.clone()));
    let (engine, report) =
        Engine::open_with(options, Parts { env: env.clone(), disk, index, threads: false, dir: None })?;
    let (hub, reader) = Hub::with_reader(&engine);
    let services = Services {
        engine,
        hub: Arc::new(hub),
        sessions: Default::default(),
        plans: PlanCache::default(),
        database: "tertulia".to_owned(),
        allow_session_user_id: false,
    };
    Ok((Arc::new(services), reader, report))
}

/// A session of a role.
pub fn session(services: &Arc<Services>, role: &str, pid: i32) -> Session {
    let role = services.engine.catalog().role_by_name(role).expect("the role was made").clone();
    Session::new(services.clone(), &role, pid, None, Vec::new(), Arc::new(Interrupt::default())).expect("a session")
}

/// What a client has of an answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The names of the rows' columns.
    pub columns: Vec<String>,
    /// The rows that have gone out.
    pub rows: Vec<Vec<Option<String>>>,
    pub tag: Option<String>,
    pub error: Option<(SqlState, String)>,
    pub status: Option<TransactionStatus>,
    /// Whether the server's buffer has room for one row only; otherwise rows go out at once.
    narrow: bool,
    /// Rows that are still in the buffer.
    buffered: Vec<Vec<Option<String>>>,
}

impl Answer {
    /// One whose rows go out one by one, each with [`flush`](Self::flush).
    pub fn narrow() -> Answer {
        Answer { narrow: true, ..Answer::default() }
    }

    /// Empties the buffer.
    pub fn flush(&mut self) {
        self.rows.append(&mut self.buffered);
    }

    pub fn number(&self, row: usize, column: usize) -> i64 {
        self.rows[row][column].as_ref().and_then(|text| text.parse().ok()).expect("a number")
    }

    /// The numbers of the first column.
    pub fn numbers(&self) -> Vec<i64> {
        (0..self.rows.len()).map(|row| self.number(row, 0)).collect()
    }
}

impl Output for Answer {
    fn parse_complete(&mut self) {}

    fn bind_complete(&mut self) {}

    fn close_complete(&mut self) {}

    fn parameter_description(&mut self, _types: &[SqlType]) {}

    fn row_description(&mut self, columns: &[ResultColumn], _formats: &[Format]) {
        self.columns = columns.iter().map(|column| column.name.to_string()).collect();
    }

    fn no_data(&mut self) {}

    fn data_row(&mut self, row: &[Value], columns: &[ResultColumn], _formats: &[Format], zone: &Zone) {
        let show = |(value, column): (&Value, &ResultColumn)| {
            (!value.is_null()).then(|| text::to_string(value, column.ty, zone))
        };
        let out = if self.narrow { &mut self.buffered } else { &mut self.rows };
        out.push(row.iter().zip(columns).map(show).collect());
    }

    fn copy_in_response(&mut self, _columns: usize) {}

    fn command_complete(&mut self, tag: &str) {
        self.tag = Some(tag.to_owned());
    }

    fn empty_query(&mut self) {}

    fn portal_suspended(&mut self) {}

    fn notice(&mut self, _notice: &Error) {}

    fn error(&mut self, error: &Error) {
        self.error = Some((error.code(), error.fields().message.clone()));
    }

    fn parameter_status(&mut self, _name: &str, _value: &str) {}

    fn ready_for_query(&mut self, status: TransactionStatus) {
        self.status = Some(status);
    }

    fn is_full(&self) -> bool {
        !self.buffered.is_empty()
    }
}
