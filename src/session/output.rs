//! What a session answers: the backend messages, as calls, so that rows are encoded where the bytes go.

use super::Format;
use crate::error::Error;
use crate::sql::plan::ResultColumn;
use crate::types::{SqlType, Value, Zone};
use crate::wait::Wait;

/// ReadyForQuery's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`
    Idle,
    /// `T`
    InTransaction,
    /// `E`
    Failed,
}

/// How a step ended.
pub enum Flow {
    /// The request is answered.
    Done,
    /// Step again when the wait is over, or its limit has passed, or the session is interrupted.
    Wait(Wait),
    /// Step again soon: others may want the thread.
    Yield,
    /// Step again when the client has sent more to its COPY, or the limit has passed, or the session is interrupted.
    Input(Option<std::time::Duration>),
    /// Step again when the output has room.
    Full,
    /// The session has ended; what was output is the last the client reads.
    End,
}

/// Where a session's answers go.
pub trait Output {
    /// ParseComplete.
    fn parse_complete(&mut self);
    /// BindComplete.
    fn bind_complete(&mut self);
    /// CloseComplete.
    fn close_complete(&mut self);
    /// ParameterDescription.
    fn parameter_description(&mut self, types: &[SqlType]);
    /// RowDescription.
    fn row_description(&mut self, columns: &[ResultColumn], formats: &[Format]);
    /// NoData.
    fn no_data(&mut self);
    /// DataRow. `formats` as in a Bind's list.
    fn data_row(&mut self, row: &[Value], columns: &[ResultColumn], formats: &[Format], zone: &Zone);
    /// CopyInResponse, for text in so many columns.
    fn copy_in_response(&mut self, columns: usize);
    /// CommandComplete.
    fn command_complete(&mut self, tag: &str);
    /// EmptyQueryResponse.
    fn empty_query(&mut self);
    /// PortalSuspended.
    fn portal_suspended(&mut self);
    /// NoticeResponse.
    fn notice(&mut self, notice: &Error);
    /// ErrorResponse.
    fn error(&mut self, error: &Error);
    /// ParameterStatus.
    fn parameter_status(&mut self, name: &str, value: &str);
    /// ReadyForQuery. With [`TransactionStatus::Idle`], pending notifications go out before it.
    fn ready_for_query(&mut self, status: TransactionStatus);
    /// Whether no more rows should come before the output is written.
    fn is_full(&self) -> bool;
}
