//! A client's connection that costs the client next to nothing: what a server says is read into the thread's buffer and
//! looked at where it lies. A driver makes texts of every notification, and to hundreds of sessions on one machine that
//! is much of what is measured.

use super::servers::Login;
use bytes::{Buf, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::ready;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

/// Bytes of a thread's buffer.
const READ_BYTES: usize = 64 << 10;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    /// The beginning of a message whose end has not come.
    rest: BytesMut,
}

impl Wire {
    /// Connects from one of the machine's loopback addresses and logs in.
    pub async fn connect(login: &Login, from: Ipv4Addr) -> io::Result<Wire> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(login.address).await?;
        stream.set_nodelay(true)?;
        let mut wire = Wire { stream, rest: BytesMut::new() };
        wire.log_in(login).await?;
        Ok(wire)
    }

    async fn log_in(&mut self, login: &Login) -> io::Result<()> {
        let mut out = BytesMut::new();
        frontend::startup_message([("user", &*login.user), ("database", &*login.database)], &mut out)?;
        let mut exchange = ScramSha256::new(login.password.as_bytes(), ChannelBinding::unsupported());
        let mut is_ready = false;
        while !is_ready {
            self.stream.write_all(&out.split()).await?;
            while out.is_empty() && !is_ready {
                let each = |tag, body: &[u8]| match tag {
                    b'R' => answer(body, &mut exchange, &mut out),
                    b'Z' => {
                        is_ready = true;
                        Ok(())
                    }
                    _ => Ok(()),
                };
                self.read(each).await?;
            }
        }
        Ok(())
    }

    /// A simple query that must succeed; its rows are passed over, notifications go to `heard`.
    pub async fn run(&mut self, sql: &str, mut heard: impl FnMut(&[u8])) -> io::Result<()> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)?;
        self.stream.write_all(&out).await?;
        let mut is_ready = false;
        while !is_ready {
            let each = |tag, body: &[u8]| {
                match tag {
                    b'A' => heard(payload(body)),
                    b'Z' => is_ready = true,
                    _ => {}
                }
                Ok(())
            };
            self.read(each).await?;
        }
        Ok(())
    }

    /// Waits for the server and gives the payload of each notification to `heard`.
    pub async fn hear(&mut self, mut heard: impl FnMut(&[u8])) -> io::Result<()> {
        let each = |tag, body: &[u8]| {
            if tag == b'A' {
                heard(payload(body));
            }
            Ok(())
        };
        self.read(each).await
    }

    /// Waits for the server and calls `each` with the tag and the body of every message that is whole.
    async fn read(&mut self, mut each: impl FnMut(u8, &[u8]) -> io::Result<()>) -> io::Result<()> {
        poll_fn(|context| {
            READ.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
                self.take(buffer.filled(), &mut each).into()
            })
        })
        .await
    }

    fn take(&mut self, read: &[u8], each: &mut impl FnMut(u8, &[u8]) -> io::Result<()>) -> io::Result<()> {
        if read.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.rest.is_empty() {
            let used = messages(read, each)?;
            self.rest.extend_from_slice(&read[used..]);
        } else {
            self.rest.extend_from_slice(read);
            let used = messages(&self.rest, each)?;
            self.rest.advance(used);
        }
        if self.rest.is_empty() {
            // ten thousand connections keep no room for what is rare
            self.rest = BytesMut::new();
        }
        Ok(())
    }
}

/// Goes through the messages that are whole: how many bytes they take. An error of the server ends it.
fn messages(buffer: &[u8], each: &mut impl FnMut(u8, &[u8]) -> io::Result<()>) -> io::Result<usize> {
    let mut at = 0;
    while let Some(&[tag, a, b, c, d]) = buffer.get(at..).and_then(<[u8]>::first_chunk::<5>) {
        let end = at + 1 + u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(body) = buffer.get(at + 5..end) else { break };
        if tag == b'E' {
            return Err(io::Error::other(String::from_utf8_lossy(body).replace('\0', " ")));
        }
        each(tag, body)?;
        at = end;
    }
    Ok(at)
}

/// The payload of a NotificationResponse: process id, channel and a zero, payload and a zero.
fn payload(body: &[u8]) -> &[u8] {
    let texts = body.get(4..body.len().saturating_sub(1)).unwrap_or_default();
    let channel = memchr::memchr(0, texts).expect("a channel ends with a zero");
    &texts[channel + 1..]
}

/// What a client says to a message about its authentication.
fn answer(body: &[u8], exchange: &mut ScramSha256, out: &mut BytesMut) -> io::Result<()> {
    let (kind, data) = body.split_first_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
    match u32::from_be_bytes(*kind) {
        0 => Ok(()),
        10 => frontend::sasl_initial_response("SCRAM-SHA-256", exchange.message(), out),
        11 => {
            exchange.update(data)?;
            frontend::sasl_response(exchange.message(), out)
        }
        12 => exchange.finish(data),
        other => Err(io::Error::other(format!("an authentication of kind {other}"))),
    }
}
