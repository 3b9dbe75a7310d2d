//! The PostgreSQL protocol (version 3.0) on tokio: start-up, login, and the loop of one connection.
//!
//! The loop is our own, since it waits for four things at once (the client, notifications, cancellation, shutdown), and
//! so are the messages: rows are written straight into the output buffer, and a message body is read with checked
//! lengths, where pgwire 0.42's decoders panic on a short one. pgwire serves the SCRAM exchange (in
//! [`auth`](crate::auth)).
//!
//! Whom a connection talks to, it knows as a [`Conversation`]: what a session says and is told, without sockets.

mod backend;
mod connection;
mod frontend;
mod line;
mod login;
mod output;
mod registry;
mod socket;
mod startup;

use crate::catalog::Role;
use crate::config::Config;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::limits::HANDSHAKES_MAX;
use crate::session::{CopyInput, Flow, Output, Request};
use crate::txn::Engine;
use crate::wait::Wait;
pub use line::Line;
use registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

/// One session as its connection sees it.
pub trait Conversation: Send {
    /// Reports the settings that a client is told at start-up (ParameterStatus).
    fn greet(&mut self, output: &mut dyn Output);
    /// Begins a request; the one before is done.
    fn start(&mut self, request: Request);
    /// Goes on with it.
    fn step(&mut self, output: &mut dyn Output) -> Flow;
    /// Takes what the client has sent to a COPY, after [`Flow::Input`].
    fn put(&mut self, input: CopyInput);
    /// Hands over the notifications that wait: sender, channel, payload. Asked only outside a transaction.
    ///
    /// # Errors
    /// The session fell behind and ends.
    fn notifications(&mut self, each: &mut dyn FnMut(i32, &str, &str)) -> Result<()>;
    /// Takes the way to the client on which notifications may be sent while the connection rests.
    fn connect(&mut self, _line: &Arc<Line>) {}
    /// The connection rests. Over when there are notifications that it must send itself.
    fn rest(&mut self) -> Wait;
    /// It rests no more: nothing is sent on the line from now on.
    fn rise(&mut self) {}
    /// How long the client may take for the rows that wait for it before the running statement lets go of what it reads;
    /// none where it holds nothing.
    fn row_patience(&self) -> Option<Duration> {
        None
    }
    /// Lets go of it, a part of the work at once: [`Flow::Yield`] until that is done. Rows that were not sent are sent
    /// later all the same, or the statement fails, which is added to the output.
    fn let_go(&mut self, _output: &mut dyn Output) -> Flow {
        Flow::Done
    }
    /// The connection ends: the session ends its transaction. What to wait for until that is done, again and again; none
    /// when it is.
    fn leave(&mut self) -> Option<Wait> {
        None
    }
    /// How long the client may yet stay silent; longer, and the session is told so as of a request.
    fn idle_limit(&self) -> Option<Duration>;
}

/// Who has logged in.
pub struct Newcomer {
    /// The role.
    pub role: Arc<Role>,
    /// The process id that clients know the session by.
    pub pid: i32,
    /// Where the client is.
    pub client: Option<SocketAddr>,
    /// Settings from the start-up packet, in order.
    pub settings: Vec<(String, String)>,
    /// How the session is told to stop.
    pub interrupt: Arc<Interrupt>,
}

/// Begins the conversation of someone who has logged in.
pub type Converse = Box<dyn Fn(Newcomer) -> Result<Box<dyn Conversation>> + Send + Sync>;

/// What all connections share.
struct Context {
    engine: Arc<Engine>,
    database: String,
    authentication_timeout: Duration,
    registry: Arc<Registry>,
    converse: Converse,
    phase: watch::Receiver<Phase>,
}

/// How far a server is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Sessions end and say so.
    Stopping,
    /// What is still there is cut off.
    Cut,
}

impl Context {
    async fn until(&self, phase: Phase) {
        // an error says that the sender has gone, and with it the server
        let _ = self.phase.clone().wait_for(|&reached| reached >= phase).await;
    }
}

/// Accepts connections until it is stopped.
pub struct Acceptor {
    context: Arc<Context>,
    phase: watch::Sender<Phase>,
    /// Closed when the last connection has ended.
    ended: mpsc::Receiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Acceptor {
    /// Begins to accept. Must be called within a tokio runtime.
    pub fn start(listener: TcpListener, config: &Config, engine: Arc<Engine>, converse: Converse) -> Acceptor {
        let (sender, phase) = watch::channel(Phase::Running);
        let (alive, ended) = mpsc::channel(1);
        let context = Arc::new(Context {
            registry: Registry::new(config.max_connections, engine.env().clone()),
            engine,
            database: config.database.clone(),
            authentication_timeout: config.authentication_timeout,
            converse,
            phase,
        });
        let sockets = Arc::new(Semaphore::new(config.max_connections + HANDSHAKES_MAX));
        let task = tokio::spawn(accept(listener, context.clone(), sockets, alive));
        Acceptor { context, phase: sender, ended, task }
    }

    /// Stops accepting, ends every session with 57P01, and waits for them as long as `grace`.
    pub async fn stop(mut self, grace: Duration) {
        self.phase.send_replace(Phase::Stopping);
        self.context.registry.shut_down();
        self.task.abort();
        let _ = self.task.await;
        if tokio::time::timeout(grace, self.ended.recv()).await.is_err() {
            tracing::warn!("some clients did not take their last message and are cut off");
            self.phase.send_replace(Phase::Cut);
            self.ended.recv().await;
        }
    }
}

async fn accept(listener: TcpListener, context: Arc<Context>, sockets: Arc<Semaphore>, alive: mpsc::Sender<()>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // out of file descriptors, most likely: others must end before it can be better
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(socket) = sockets.clone().try_acquire_owned() else { continue };
        let (context, alive) = (context.clone(), alive.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = connection::serve(context.clone(), stream) => {}
                _ = context.until(Phase::Cut) => {}
            }
            drop((socket, alive));
        });
    }
}
