//! The PostgreSQL protocol (version 3.0) on tokio: start-up, login, and the loop of one connection.
//!
//! The loop is our own, since it waits for four things at once (the client, notifications, cancellation, shutdown), and
//! so are the messages: rows are written straight into the output buffer, and a message body is read with checked
//! lengths, where pgwire 0.42's decoders panic on a short one. pgwire serves the SCRAM exchange (in
//! [`auth`](crate::auth)).

mod backend;
mod socket;
mod startup;
