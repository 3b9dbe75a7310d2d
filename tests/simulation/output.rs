//! What a session answers, as rows of text.

use tertulia::error::{Error, SqlState};
use tertulia::session::{Format, Output, TransactionStatus};
use tertulia::sql::plan::ResultColumn;
use tertulia::types::{SqlType, Value, Zone, text};

/// The answer to one statement.
#[derive(Default)]
pub struct Answer {
    pub rows: Vec<Vec<Option<String>>>,
    pub tag: Option<String>,
    pub error: Option<(SqlState, String)>,
    pub status: Option<TransactionStatus>,
}

impl Answer {
    pub fn number(&self, row: usize, column: usize) -> i64 {
        self.rows[row][column].as_ref().and_then(|text| text.parse().ok()).expect("a number")
    }
}

impl Output for Answer {
    fn parse_complete(&mut self) {}

    fn bind_complete(&mut self) {}

    fn close_complete(&mut self) {}

    fn parameter_description(&mut self, _types: &[SqlType]) {}

    fn row_description(&mut self, _columns: &[ResultColumn], _formats: &[Format]) {}

    fn no_data(&mut self) {}

    fn data_row(&mut self, row: &[Value], columns: &[ResultColumn], _formats: &[Format], zone: &Zone) {
        let show = |(value, column): (&Value, &ResultColumn)| {
            (!value.is_null()).then(|| text::to_string(value, column.ty, zone))
        };
        self.rows.push(row.iter().zip(columns).map(show).collect());
    }

    fn command_complete(&mut self, tag: &str) {
        self.tag = Some(tag.to_owned());
    }

    fn empty_query(&mut self) {}

    fn copy_in_response(&mut self, _columns: usize) {}

    fn portal_suspended(&mut self) {}

    fn notice(&mut self, _notice: &Error) {}

    fn error(&mut self, error: &Error) {
        self.error = Some((error.code(), error.fields().message.clone()));
    }

    fn parameter_status(&mut self, _name: &str, _value: &str) {}

    fn ready_for_query(&mut self, status: TransactionStatus) {
        self.status = Some(status);
    }

    fn is_full(&self) -> bool {
        false
    }
}
