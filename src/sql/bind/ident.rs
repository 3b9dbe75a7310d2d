//! Identifiers as PostgreSQL reads them.

use crate::error::{Error, Result};
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

/// An identifier as PostgreSQL folds it: lower case unless quoted, cut at 63 bytes.
pub fn fold(ident: &Ident) -> String {
    let name = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() };
    let mut end = name.len().min(crate::limits::IDENTIFIER_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    match end == name.len() {
        true => name,
        false => name[..end].to_owned(),
    }
}

/// The parts of a dotted name, folded.
pub fn name_parts(name: &ObjectName) -> Result<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
            ObjectNamePart::Function(_) => Err(Error::unsupported("a function in a name")),
        })
        .collect()
}
