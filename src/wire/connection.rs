//! The loop of one connection: it waits at once for the client, for notifications, for cancellation and for shutdown,
//! and writes once per ReadyForQuery, Flush or full buffer.

use super::frontend::{self, CopyPiece, Frontend};
use super::login::{self, Guest, Refusal};
use super::output::Encoder;
use super::socket::Socket;
use super::{Context, Conversation, Phase, backend};
use crate::error::{Error, SqlState};
use crate::interrupt::Interrupt;
use crate::limits::COPY_FEED_BYTES;
use crate::session::{CopyInput, Flow, Output, Request, TransactionStatus};
use crate::wait::Wait;
use bytes::Buf;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a client has to take the last that it is told.
const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(5);

/// Serves a connection to its end.
pub(super) async fn serve(context: Arc<Context>, stream: TcpStream) {
    let mut socket = Socket::new(stream);
    let mut output = Encoder::default();
    let admitted = tokio::select! {
        admitted = login::admit(&context, &mut socket, &mut output) => admitted,
        // PostgreSQL too closes without a word, so that a scanner learns nothing
        _ = tokio::time::sleep(context.authentication_timeout) => Err(Refusal::Silent),
        _ = context.until(Phase::Stopping) => Err(Refusal::Told(Error::fatal(
            SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down",
        ))),
    };
    match admitted {
        Ok(Guest { conversation, place }) => {
            let mut connection = Connection {
                socket,
                output,
                conversation,
                interrupt: place.interrupt.clone(),
                status: TransactionStatus::Idle,
                copy_left: 0,
                held_back: false,
                out_of_step: false,
            };
            connection.conversation.connect(&connection.socket.line);
            let end = connection.run().await;
            connection.say_goodbye(end).await;
            // a commit under way goes on when its client has gone
            while let Some(wait) = connection.conversation.leave() {
                wait.await;
            }
        }
        Err(Refusal::Silent) => {}
        Err(Refusal::Told(error)) => {
            output.error(&error);
            say_last(&mut socket, &mut output).await;
        }
    }
}

/// Writes the last that a client is told. It may have gone already, or read nothing: nobody is left to tell then.
async fn say_last(socket: &mut Socket, output: &mut Encoder) {
    let _ = tokio::time::timeout(LAST_WORDS_PATIENCE, socket.write(&mut output.buffer)).await;
}

/// Why a connection ends.
enum End {
    /// The client has gone or said so, or it has been told.
    Quiet,
    /// The client is told.
    Told(Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        tracing::debug!(%error, "connection lost");
        End::Quiet
    }
}

impl From<Error> for End {
    fn from(error: Error) -> End {
        End::Told(error.into_fatal())
    }
}

/// What came of waiting for the client.
enum Heard {
    Bytes,
    /// It has been silent for longer than it may.
    Nothing,
}

struct Connection {
    socket: Socket,
    output: Encoder,
    conversation: Box<dyn Conversation>,
    interrupt: Arc<Interrupt>,
    /// As of the last ReadyForQuery.
    status: TransactionStatus,
    /// Bytes of a CopyData message that are still to come.
    copy_left: usize,
    /// The last answer was not sent, since the next request was there already.
    held_back: bool,
    /// The client has sent something else in the middle of a COPY: where its next message begins is not known.
    out_of_step: bool,
}

impl Connection {
    async fn run(&mut self) -> End {
        match self.converse().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn converse(&mut self) -> Result<std::convert::Infallible, End> {
        self.output.put_ready(TransactionStatus::Idle);
        self.flush().await?;
        loop {
            while let Some(message) = frontend::decode(&mut self.socket.input, &mut self.copy_left)? {
                match message {
                    Frontend::Request(request) => self.answer(request).await?,
                    Frontend::Malformed { error, extended } => {
                        self.answer(Request::Malformed { error, extended }).await?;
                    }
                    Frontend::Terminate => {
                        self.send_held_back().await?;
                        return Err(End::Quiet);
                    }
                }
            }
            self.send_held_back().await?;
            if let Heard::Nothing = self.idle().await? {
                self.answer(Request::Overdue).await?;
            }
        }
    }

    /// Steps a request to its end.
    async fn answer(&mut self, request: Request) -> Result<(), End> {
        let flush = matches!(request, Request::Flush);
        self.output.acquire();
        self.conversation.start(request);
        loop {
            match self.conversation.step(&mut self.output) {
                Flow::Done => break,
                Flow::Wait(wait) => self.wait(wait).await?,
                Flow::Full => self.flush_rows().await?,
                Flow::Input(limit) => self.bring(limit).await?,
                Flow::Yield => {
                    if self.socket.is_gone() {
                        return Err(End::Quiet);
                    }
                    self.send_held_back().await?;
                    tokio::task::yield_now().await;
                }
                Flow::End => {
                    self.flush().await?;
                    return Err(End::Quiet);
                }
            }
        }
        if self.out_of_step {
            let message = "terminating connection because protocol synchronization was lost";
            return Err(Error::fatal(SqlState::PROTOCOL_VIOLATION, message).into());
        }
        if let Some(status) = self.output.ready.take() {
            self.status = status;
            if status == TransactionStatus::Idle {
                self.deliver()?;
            }
            self.output.put_ready(status);
            // a cancel that came too late for its statement must not hit the next one
            self.interrupt.forget_cancel();
            self.held_back = frontend::is_complete(&self.socket.input) && !self.output.is_full();
            if !self.held_back {
                self.flush().await?;
            }
        } else if flush || self.output.is_full() {
            self.flush().await?;
        }
        Ok(())
    }

    /// Waits for the engine, for the limit, for an interrupt unless it is firm, or for the client's going away.
    async fn wait(&mut self, wait: Wait) -> Result<(), End> {
        if self.output.urgent || self.held_back {
            self.flush().await?;
        }
        let (limit, firm) = (wait.limit, wait.firm);
        tokio::select! {
            _ = wait => Ok(()),
            _ = interrupted(&self.interrupt), if !firm => Ok(()),
            _ = sleep(limit) => Ok(()),
            _ = self.socket.until_gone() => Err(End::Quiet),
        }
    }

    /// Brings a COPY what the client has sent, and waits for it where there is nothing: what comes faster than it becomes
    /// rows stays in the socket.
    async fn bring(&mut self, limit: Option<Duration>) -> Result<(), End> {
        self.flush().await?;
        loop {
            let mut brought = false;
            let mut bytes = 0;
            while bytes < COPY_FEED_BYTES {
                let Some(piece) = frontend::copy_piece(&mut self.socket.input, &mut self.copy_left)? else { break };
                brought = true;
                let input = match piece {
                    CopyPiece::Data(length) => {
                        bytes += length;
                        self.conversation.put(CopyInput::Data(&self.socket.input[..length]));
                        self.socket.input.advance(length);
                        continue;
                    }
                    CopyPiece::Done => CopyInput::Done,
                    CopyPiece::Fail(message) => CopyInput::Fail(message),
                    CopyPiece::Unexpected(kind) => {
                        self.out_of_step = true;
                        CopyInput::Unexpected(kind)
                    }
                };
                self.conversation.put(input);
                break;
            }
            if brought {
                return Ok(());
            }
            tokio::select! {
                filled = self.socket.fill() => {
                    if !filled? {
                        return Err(End::Quiet);
                    }
                }
                _ = interrupted(&self.interrupt) => return Ok(()),
                _ = sleep(limit) => return Ok(()),
            }
        }
    }

    /// Waits for the client's next bytes; meanwhile notifications go out, and a shutdown ends the session.
    async fn idle(&mut self) -> Result<Heard, End> {
        self.socket.release();
        self.output.release();
        let heard = self.listen().await;
        self.conversation.rise();
        // what somebody else began to send comes first
        self.socket.line.take_rest(&mut self.output.buffer);
        heard
    }

    async fn listen(&mut self) -> Result<Heard, End> {
        let limit = self.conversation.idle_limit();
        let deadline = sleep(limit);
        tokio::pin!(deadline);
        loop {
            let rests = self.status == TransactionStatus::Idle;
            let notified = if rests { self.conversation.rest() } else { Wait::ready() };
            tokio::select! {
                filled = self.socket.fill() => {
                    return if filled? { Ok(Heard::Bytes) } else { Err(End::Quiet) };
                }
                _ = notified, if rests => {
                    self.conversation.rise();
                    self.deliver()?;
                    self.flush().await?;
                    self.output.release();
                }
                _ = interrupted(&self.interrupt) => {
                    // a cancel with nothing to cancel is forgotten
                    self.interrupt.forget_cancel();
                    self.interrupt.check()?;
                }
                _ = &mut deadline => return Ok(Heard::Nothing),
            }
        }
    }

    /// Puts the pending notifications into the output.
    fn deliver(&mut self) -> Result<(), End> {
        self.output.acquire();
        let buffer = &mut self.output.buffer;
        self.socket.line.take_rest(buffer);
        self.conversation.notifications(&mut |pid, channel, payload| {
            backend::notification(buffer, pid, channel, payload);
        })?;
        Ok(())
    }

    /// Sends answers that were not sent with the next ones, where these take time.
    async fn send_held_back(&mut self) -> Result<(), End> {
        if self.held_back { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), End> {
        self.output.urgent = false;
        self.held_back = false;
        if !self.output.buffer.is_empty() {
            self.write().await?;
        }
        Ok(())
    }

    /// Writes the output. A session that is to end does not wait for a client that does not read.
    async fn write(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            written = self.socket.write(&mut self.output.buffer) => Ok(written?),
            _ = told_to_end(&self.interrupt) => Err(End::Quiet),
        }
    }

    /// Writes rows while their statement waits. A client that does not take them keeps the statement, but not what it
    /// reads.
    async fn flush_rows(&mut self) -> Result<(), End> {
        self.output.urgent = false;
        self.held_back = false;
        loop {
            let patience = self.conversation.row_patience();
            tokio::select! {
                written = self.write() => return written,
                _ = sleep(patience) => {}
            }
            while let Flow::Yield = self.conversation.let_go(&mut self.output) {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn say_goodbye(&mut self, end: End) {
        if let End::Told(error) = end {
            self.output.error(&error);
            say_last(&mut self.socket, &mut self.output).await;
        }
    }
}

/// Over when the session is interrupted, at once if it is already.
async fn interrupted(interrupt: &Interrupt) {
    until(interrupt, Interrupt::is_set).await;
}

/// Over when the session is to end, at once if it is already.
async fn told_to_end(interrupt: &Interrupt) {
    until(interrupt, Interrupt::is_final).await;
}

async fn until(interrupt: &Interrupt, holds: impl Fn(&Interrupt) -> bool) {
    poll_fn(|context| {
        // registered first, or a reason set between the two would wake nobody
        interrupt.register(context.waker());
        if holds(interrupt) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The timer is apart: connections without one need no room for it.
async fn sleep(limit: Option<Duration>) {
    match limit {
        Some(limit) => Box::pin(tokio::time::sleep(limit)).await,
        None => std::future::pending().await,
    }
}
