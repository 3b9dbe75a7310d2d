//! Sessions: what a client says and what it is answered, without sockets.
//!
//! A [`Session`] is sans-IO: the wire hands it one [`Request`] after another with [`Session::start`] and calls
//! [`Session::step`] with an [`Output`] until it is done. A step that must wait (a lock, a commit's sync, a message)
//! returns the wait as a value; a step whose output is full returns so that the socket can be written. The same
//! session runs in process in tests.

mod activity;
mod ages;
mod block;
mod channels;
mod conversation;
mod extended;
mod identity;
mod live;
mod lock;
mod output;
mod plans;
mod portal;
mod prepared;
mod query;
mod request;
mod sequences;
mod services;
mod settings;
mod statement;
mod timeouts;
mod transaction;

pub use crate::sql::exec::CopyInput;
pub use conversation::Session;
pub use identity::Who;
pub use output::{Flow, Output, TransactionStatus};
pub use plans::PlanCache;
pub use request::{Format, Request, Target};
pub use services::Services;
pub use settings::{Definition, Settings, USER_ID, definition};
