//! Identifiers, which the parser has folded and cut already.

use crate::error::{Error, Result};
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

/// An identifier's name.
pub(crate) fn fold(ident: &Ident) -> String {
    ident.value.clone()
}

/// The parts of a dotted name.
pub(crate) fn name_parts(name: &ObjectName) -> Result<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
            ObjectNamePart::Function(_) => Err(Error::unsupported("a function in a name")),
        })
        .collect()
}
