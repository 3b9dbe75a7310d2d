//! One connection: a tokio-postgres client and what the server sends it unasked.

use crate::error::{Error, Result, SqlState};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, CancelToken, Connection, NoTls, Row, Statement};

/// How long anything may take before the demonstration says that it is missing.
pub const LIMIT: Duration = Duration::from_secs(15);

/// A connection with a name for messages.
pub struct Client {
    name: String,
    sql: tokio_postgres::Client,
    prepared: Mutex<HashMap<String, Statement>>,
    // unbounded: the demonstration reads it to the end, and what it can hold is what its few users write
    unasked: UnboundedReceiver<Unasked>,
    notices: VecDeque<String>,
    connection: JoinHandle<()>,
}

/// What the server sends without being asked, with the moment it came.
enum Unasked {
    Notification(Heard),
    Notice(String),
}

/// A notification.
pub struct Heard {
    /// When it came.
    pub at: Instant,
    /// The channel that it came on.
    pub channel: String,
    /// What it says.
    pub payload: String,
}

impl Client {
    /// Connects.
    pub async fn connect(name: &str, config: &tokio_postgres::Config) -> Result<Client> {
        let connecting = format!("{name} connecting");
        let (sql, connection) = within(&connecting, config.connect(NoTls)).await?.map_err(told(&connecting))?;
        let (sender, unasked) = unbounded_channel();
        let connection = tokio::spawn(serve(connection, sender));
        let (name, prepared) = (name.to_owned(), Mutex::default());
        Ok(Client { name, sql, prepared, unasked, notices: VecDeque::new(), connection })
    }

    /// What cancels the statement that runs, from another connection.
    pub fn cancel_token(&self) -> CancelToken {
        self.sql.cancel_token()
    }

    /// Runs a statement with rows.
    pub async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let doing = self.doing(sql);
        let run = async { self.sql.query(&self.prepared(sql).await?, parameters).await };
        within(&doing, run).await?.map_err(told(&doing))
    }

    /// Runs a statement with one row.
    pub async fn query_one(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row> {
        let doing = self.doing(sql);
        let run = async { self.sql.query_one(&self.prepared(sql).await?, parameters).await };
        within(&doing, run).await?.map_err(told(&doing))
    }

    /// Runs a statement without rows; returns the count of its tag.
    pub async fn execute(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let doing = self.doing(sql);
        let run = async { self.sql.execute(&self.prepared(sql).await?, parameters).await };
        within(&doing, run).await?.map_err(told(&doing))
    }

    /// A statement is prepared when it first runs, as drivers' pools do.
    async fn prepared(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.prepared.lock().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.sql.prepare(sql).await?;
        self.prepared.lock().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs statements of the simple protocol.
    pub async fn run(&self, sql: &str) -> Result<()> {
        let doing = self.doing(sql);
        within(&doing, self.sql.batch_execute(sql)).await?.map_err(told(&doing))
    }

    /// The next notification, in time or not at all; `awaited` says what for.
    pub async fn hear(&mut self, awaited: &str) -> Result<Heard> {
        loop {
            match within(&format!("{} waiting for {awaited}", self.name), self.unasked.recv()).await? {
                Some(Unasked::Notification(heard)) => return Ok(heard),
                Some(Unasked::Notice(text)) => self.notices.push_back(text),
                None => {
                    let message = format!("{} lost its connection waiting for {awaited}", self.name);
                    return Err(Error::new(SqlState::CONNECTION_FAILURE, message));
                }
            }
        }
    }

    /// The notices and warnings that came with the statements so far.
    pub fn notices(&mut self) -> Vec<String> {
        while let Ok(unasked) = self.unasked.try_recv() {
            if let Unasked::Notice(text) = unasked {
                self.notices.push_back(text);
            }
        }
        self.notices.drain(..).collect()
    }

    /// The socket goes away in the middle of everything, as a phone's does.
    pub async fn break_off(&mut self) {
        self.connection.abort();
        // waits for the socket's end; that the task was aborted is no news
        let _ = (&mut self.connection).await;
    }

    fn doing(&self, sql: &str) -> String {
        let words: Vec<_> = sql.split_whitespace().collect();
        format!("{} running {}", self.name, words.join(" "))
    }
}

/// Moves the connection's bytes and hands on what comes unasked, until the client is dropped or the server hangs up.
async fn serve<S, T>(mut connection: Connection<S, T>, sender: UnboundedSender<Unasked>)
where
    Connection<S, T>: Unpin,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // an error shows up at the statement that runs or at the next one
    while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
        let unasked = match message {
            AsyncMessage::Notification(note) => Unasked::Notification(Heard {
                at: Instant::now(),
                channel: note.channel().to_owned(),
                payload: note.payload().to_owned(),
            }),
            AsyncMessage::Notice(notice) => Unasked::Notice(format!("{}: {}", notice.severity(), notice.message())),
            _ => continue,
        };
        if sender.send(unasked).is_err() {
            break;
        }
    }
}

/// What comes of `future` within the time limit, else an error that says what was missing.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(LIMIT, future)
        .await
        .map_err(|_| Error::new(SqlState::QUERY_CANCELED, format!("nothing came within {} s: {what}", LIMIT.as_secs())))
}

/// Makes what a server told a client into an error that says what the client was doing.
pub fn told(doing: &str) -> impl FnOnce(tokio_postgres::Error) -> Error + '_ {
    move |error| {
        let Some(fields) = error.as_db_error() else {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            return Error::new(SqlState::CONNECTION_FAILURE, cause).context(doing);
        };
        let code = fields.code().code().as_bytes().try_into().map_or(SqlState::INTERNAL_ERROR, SqlState);
        let mut told = Error::new(code, format!("the server answered {code}: {}", fields.message())).context(doing);
        if let Some(detail) = fields.detail() {
            told = told.detail(detail);
        }
        if let Some(hint) = fields.hint() {
            told = told.hint(hint);
        }
        told
    }
}
