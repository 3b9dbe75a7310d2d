//! A connection's socket with its input buffer: reads that can be given up, writes that wait for the client.

use crate::limits::READ_AHEAD_BYTES;
use bytes::BytesMut;
use std::io;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Bytes that a read asks for at least.
const READ_BYTES: usize = 8 << 10;

/// An output buffer keeps this much between statements; a larger one was an exception and is given back.
const OUTPUT_KEPT_BYTES: usize = 128 << 10;

/// The client's end of a connection.
pub(super) struct Socket {
    stream: TcpStream,
    /// What the client has sent and nobody has taken.
    pub(super) input: BytesMut,
}

impl Socket {
    /// Takes an accepted connection.
    pub(super) fn new(stream: TcpStream) -> Socket {
        // Without it, an answer shorter than a packet waits for the client's acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        Socket { stream, input: BytesMut::new() }
    }

    /// Waits for input and takes it; false when the client has gone. Nothing is lost when the future is dropped.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        loop {
            self.stream.readable().await?;
            match self.try_fill() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map(|count| count > 0),
            }
        }
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

    /// Writes all of `output` and empties it.
    pub(super) async fn write(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        self.stream.write_all(output).await?;
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
        self.input.reserve(READ_BYTES);
        self.stream.try_read_buf(&mut self.input)
    }
}
