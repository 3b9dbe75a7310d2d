//! A connection's socket with its input buffer: reads that can be given up, writes that wait for the client.
//!
//! Large buffers belong to the threads, not to the connections: a read goes into the thread's buffer and what came is
//! kept in one of just its size. So an idle connection holds none, and a busy one does not ask the allocator for
//! kilobytes with every statement.

use super::line::Line;
use crate::limits::READ_AHEAD_BYTES;
use bytes::BytesMut;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

/// Bytes that a read asks for at least.
const READ_BYTES: usize = 16 << 10;

/// An output buffer keeps this much between statements; a larger one was an exception and is given back.
const OUTPUT_KEPT_BYTES: usize = 128 << 10;

/// Output buffers that a thread keeps: one at work, and those of statements that wait.
const OUTPUTS_KEPT: usize = 8;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer for a connection that has something to say.
pub(super) fn take_output() -> Vec<u8> {
    OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Takes a buffer back when nothing is to be said.
pub(super) fn give_output(mut buffer: Vec<u8>) {
    buffer.clear();
    OUTPUTS.with_borrow_mut(|kept| {
        if kept.len() < OUTPUTS_KEPT && (1..=OUTPUT_KEPT_BYTES).contains(&buffer.capacity()) {
            kept.push(buffer);
        }
    });
}

/// The client's end of a connection.
pub(super) struct Socket {
    half: OwnedReadHalf,
    /// The other half.
    pub(super) line: Arc<Line>,
    /// What the client has sent and nobody has taken.
    pub(super) input: BytesMut,
    /// Bytes of the output that are written, while it is not all of it.
    written: usize,
}

impl Socket {
    /// Where the client is; none when it has gone.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.half.peer_addr().ok()
    }

    /// Takes an accepted connection.
    pub(super) fn new(stream: TcpStream) -> Socket {
        // Without it, an answer shorter than a packet waits for the client's acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let (half, line) = stream.into_split();
        Socket { half, line: Arc::new(Line::new(line)), input: BytesMut::new(), written: 0 }
    }

    /// Waits for input and takes it; false when the client has gone. Nothing is lost when the future is dropped.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        READ.with_borrow_mut(|buffer| {
            // tokio's own read knows from a short one that nothing is left: the next waits without asking the kernel
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.half).poll_read(context, &mut buffer))?;
            self.input.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(!buffer.filled().is_empty()))
        })
    }

    /// As [`fill`](Socket::fill) while a statement runs: what comes is kept for later, up to a bound. Ends only when
    /// the client has gone, or never once the bound is reached.
    pub(super) async fn until_gone(&mut self) {
        while self.input.len() < READ_AHEAD_BYTES {
            if !matches!(self.fill().await, Ok(true)) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Looks, without waiting, whether the client has gone.
    pub(super) fn is_gone(&mut self) -> bool {
        while self.input.len() < READ_AHEAD_BYTES {
            match self.try_fill() {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        false
    }

    /// Writes all of `output` and empties it. Given up meanwhile, it goes on where it was with the next call, to which more
    /// may have been added.
    pub(super) async fn write(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        while self.written < output.len() {
            match self.line.write(&output[self.written..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.written += count,
            }
        }
        self.written = 0;
        output.clear();
        if output.capacity() > OUTPUT_KEPT_BYTES {
            *output = Vec::new();
        }
        Ok(())
    }

    /// Gives the input buffer back while the client is silent: an idle connection costs its state alone.
    pub(super) fn release(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    fn try_fill(&mut self) -> io::Result<usize> {
        READ.with_borrow_mut(|buffer| {
            let count = self.half.try_read(buffer)?;
            self.input.extend_from_slice(&buffer[..count]);
            Ok(count)
        })
    }
}
