//! A session's answers as bytes in one buffer: rows go from values into DataRow messages without anything between.

use super::backend::{self, begin, end, message, put_cstr};
use super::socket;
use crate::error::Error;
use crate::limits::OUTPUT_BYTES;
use crate::session::{Format, Output, TransactionStatus};
use crate::sql::plan::ResultColumn;
use crate::types::{SqlType, Value, Zone, binary, text};
use bytes::BufMut;

/// The output buffer of a connection.
#[derive(Default)]
pub(super) struct Encoder {
    /// What is to be written.
    pub(super) buffer: Vec<u8>,
    /// ReadyForQuery that the connection has yet to put, after the notifications that must come before it.
    pub(super) ready: Option<TransactionStatus>,
    /// Whether something is in the buffer that the client should see even while the statement waits.
    pub(super) urgent: bool,
}

impl Encoder {
    /// Puts the ReadyForQuery that was held back.
    pub(super) fn put_ready(&mut self, status: TransactionStatus) {
        let status = match status {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
            TransactionStatus::Failed => b'E',
        };
        message(&mut self.buffer, b'Z', |out| out.push(status));
    }

    /// Takes a buffer of the thread, since something will be said.
    pub(super) fn acquire(&mut self) {
        if self.buffer.capacity() == 0 {
            self.buffer = socket::take_output();
        }
    }

    /// Gives the buffer back while nothing is to be said.
    pub(super) fn release(&mut self) {
        if self.buffer.is_empty() {
            socket::give_output(std::mem::take(&mut self.buffer));
        }
    }

    fn empty(&mut self, kind: u8) {
        message(&mut self.buffer, kind, |_| ());
    }
}

impl Output for Encoder {
    fn parse_complete(&mut self) {
        self.empty(b'1');
    }

    fn bind_complete(&mut self) {
        self.empty(b'2');
    }

    fn close_complete(&mut self) {
        self.empty(b'3');
    }

    fn parameter_description(&mut self, types: &[SqlType]) {
        message(&mut self.buffer, b't', |out| {
            out.put_u16(types.len() as u16);
            for ty in types {
                out.put_u32(ty.wire().oid.0);
            }
        });
    }

    fn row_description(&mut self, columns: &[ResultColumn], formats: &[Format]) {
        message(&mut self.buffer, b'T', |out| {
            out.put_u16(columns.len() as u16);
            for (index, column) in columns.iter().enumerate() {
                let ty = column.ty.wire();
                put_cstr(out, &column.name);
                out.put_u32(column.table.0);
                out.put_i16(column.attnum);
                out.put_u32(ty.oid.0);
                out.put_i16(ty.typlen());
                out.put_i32(ty.modifier);
                out.put_i16(Format::of(formats, index) as i16);
            }
        });
    }

    fn no_data(&mut self) {
        self.empty(b'n');
    }

    fn data_row(&mut self, row: &[Value], columns: &[ResultColumn], formats: &[Format], zone: &Zone) {
        let out = &mut self.buffer;
        let frame = begin(out, b'D');
        out.put_u16(row.len() as u16);
        for (index, (value, column)) in row.iter().zip(columns).enumerate() {
            if value.is_null() {
                out.put_i32(-1);
                continue;
            }
            let at = out.len();
            out.put_i32(0);
            match Format::of(formats, index) {
                Format::Text => text::write(value, column.ty, zone, out),
                Format::Binary => binary::encode(value, column.ty, out),
            }
            let length = (out.len() - at - 4) as i32;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        end(out, frame);
    }

    fn copy_in_response(&mut self, columns: usize) {
        message(&mut self.buffer, b'G', |out| {
            out.put_u8(Format::Text as u8);
            out.put_u16(columns as u16);
            (0..columns).for_each(|_| out.put_i16(Format::Text as i16));
        });
    }

    fn command_complete(&mut self, tag: &str) {
        message(&mut self.buffer, b'C', |out| put_cstr(out, tag));
    }

    fn empty_query(&mut self) {
        self.empty(b'I');
    }

    fn portal_suspended(&mut self) {
        self.empty(b's');
    }

    fn notice(&mut self, notice: &Error) {
        backend::notice_response(&mut self.buffer, notice);
        self.urgent = true;
    }

    fn error(&mut self, error: &Error) {
        if let Some(cause) = &error.fields().internal {
            tracing::error!(code = %error.code(), %cause, "{}", error.fields().message);
        }
        backend::error_response(&mut self.buffer, error);
        self.urgent = true;
    }

    fn parameter_status(&mut self, name: &str, value: &str) {
        backend::parameter_status(&mut self.buffer, name, value);
    }

    fn ready_for_query(&mut self, status: TransactionStatus) {
        self.ready = Some(status);
    }

    fn is_full(&self) -> bool {
        self.buffer.len() >= OUTPUT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Oid;

    fn column(name: &str, ty: SqlType) -> ResultColumn {
        ResultColumn { name: name.to_owned(), ty, table: Oid(0), attnum: 0 }
    }

    #[test]
    fn a_row_is_one_message_with_each_column_in_its_format() {
        let mut encoder = Encoder::default();
        let columns = [column("a", SqlType::INT4), column("b", SqlType::INT4), column("c", SqlType::TEXT)];
        let formats = [Format::Text, Format::Binary, Format::Text];
        let row = [Value::Int(7), Value::Int(7), Value::Null];
        encoder.data_row(&row, &columns, &formats, &Zone::utc());
        assert_eq!(encoder.buffer, b"D\0\0\0\x17\0\x03\0\0\0\x017\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff");
    }

    #[test]
    fn file_is_described_as_jsonb() {
        let mut encoder = Encoder::default();
        encoder.row_description(&[column("f", SqlType::FILE)], &[]);
        assert_eq!(&encoder.buffer[5..], b"\0\x01f\0\0\0\0\0\0\0\0\0\x0e\xda\xff\xff\xff\xff\xff\xff\0\0");
    }

    #[test]
    fn ready_is_held_back_for_notifications() {
        let mut encoder = Encoder::default();
        encoder.command_complete("NOTIFY");
        encoder.ready_for_query(TransactionStatus::Idle);
        let status = encoder.ready.take().expect("held back");
        backend::notification(&mut encoder.buffer, 1, "c", "p");
        encoder.put_ready(status);
        assert_eq!(encoder.buffer, b"C\0\0\0\x0bNOTIFY\0A\0\0\0\x0c\0\0\0\x01c\0p\0Z\0\0\0\x05I");
    }
}
