//! From the first byte to the first ReadyForQuery: encryption requests, cancel requests, start-up, SCRAM.

use super::backend;
use super::frontend;
use super::output::Encoder;
use super::registry::Place;
use super::socket::Socket;
use super::startup::{Opening, Startup};
use super::{Context, Conversation, Newcomer};
use crate::auth::{Login, MECHANISM};
use crate::catalog::Role;
use crate::error::{Error, Result, SqlState};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// Who came in, ready for its first statement.
pub(super) struct Guest {
    pub(super) conversation: Box<dyn Conversation>,
    pub(super) place: Place,
}

/// Why nobody came in.
pub(super) enum Refusal {
    /// The client has gone, or asked only for a cancel: nothing more is said.
    Silent,
    /// The client is told why.
    Told(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Told(error.into_fatal())
    }
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Refusal {
        Refusal::Silent
    }
}

/// Leads a new connection through start-up and login; what greets it is left in `output`.
pub(super) async fn admit(context: &Arc<Context>, socket: &mut Socket, output: &mut Encoder) -> Result<Guest, Refusal> {
    let startup = open(context, socket).await?;
    let place = context.registry.enter()?;
    if startup.minor > 0 || !startup.protocol_options.is_empty() {
        let unknown: Vec<&str> = startup.protocol_options.iter().map(String::as_str).collect();
        backend::negotiate_protocol_version(&mut output.buffer, &unknown);
    }
    let role = authenticate(context, socket, output, &startup.user).await?;
    if startup.database != context.database {
        let message = format!("database \"{}\" does not exist", startup.database);
        return Err(Error::fatal(SqlState::INVALID_CATALOG_NAME, message).into());
    }
    place.log_in(&role)?;
    let newcomer = Newcomer {
        role,
        pid: place.pid,
        client: socket.peer(),
        settings: startup.settings,
        interrupt: place.interrupt.clone(),
    };
    let mut conversation = (context.converse)(newcomer)?;
    conversation.greet(output);
    backend::backend_key_data(&mut output.buffer, place.pid, place.secret);
    Ok(Guest { conversation, place })
}

/// Reads up to the start-up packet. Encryption is answered N; what came in the same breath as the request for it was
/// sent by somebody who could not know the answer, so it is refused (CVE-2021-23222).
async fn open(context: &Arc<Context>, socket: &mut Socket) -> Result<Startup, Refusal> {
    loop {
        match Opening::decode(&mut socket.input)? {
            Some(Opening::Encryption) if socket.input.is_empty() => socket.write(&mut vec![b'N']).await?,
            Some(Opening::Encryption) => {
                let error = Error::fatal(
                    SqlState::PROTOCOL_VIOLATION,
                    "received unencrypted data after SSL or GSSAPI encryption request",
                );
                return Err(error.into());
            }
            Some(Opening::Cancel { pid, secret }) => {
                context.registry.cancel(pid, secret);
                return Err(Refusal::Silent);
            }
            Some(Opening::Startup(startup)) => return Ok(startup),
            None => fill(socket).await?,
        }
    }
}

async fn authenticate(
    context: &Arc<Context>,
    socket: &mut Socket,
    output: &mut Encoder,
    user: &str,
) -> Result<Arc<Role>, Refusal> {
    let mut login = Login::new(user, &context.engine.catalog());
    backend::authentication_sasl(&mut output.buffer, MECHANISM);
    let (mechanism, first) = frontend::sasl_initial(answer(socket, output).await?)?;
    let challenge = login.first(&mechanism, &first)?;
    backend::authentication_sasl_continue(&mut output.buffer, &challenge);
    let (role, proof) = login.finish(&answer(socket, output).await?)?;
    backend::authentication_final(&mut output.buffer, &proof);
    Ok(role)
}

/// Writes what there is and waits for the client's next message of the exchange.
async fn answer(socket: &mut Socket, output: &mut Encoder) -> Result<Bytes, Refusal> {
    socket.write(&mut output.buffer).await?;
    loop {
        match frontend::decode_password(&mut socket.input)? {
            Some(body) => return Ok(body),
            None => fill(socket).await?,
        }
    }
}

async fn fill(socket: &mut Socket) -> Result<(), Refusal> {
    if socket.fill().await? { Ok(()) } else { Err(Refusal::Silent) }
}
