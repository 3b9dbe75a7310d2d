//! PostgreSQL's lexical rules (manual, 4.1).

use crate::error::{Error, SqlState};
use crate::limits::IDENTIFIER_BYTES_MAX;

/// Cuts an identifier at PostgreSQL's 63 bytes, on a character's boundary; the NOTICE says so.
pub fn cut_identifier(name: &mut String) -> Option<Error> {
    if name.len() <= IDENTIFIER_BYTES_MAX {
        return None;
    }
    let end = (0..=IDENTIFIER_BYTES_MAX).rev().find(|&end| name.is_char_boundary(end)).expect("0 is a boundary");
    let message = format!("identifier \"{name}\" will be truncated to \"{}\"", &name[..end]);
    name.truncate(end);
    Some(Error::notice_with_code(SqlState::NAME_TOO_LONG, message))
}
