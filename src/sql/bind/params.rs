//! Parameters and the types they turn out to have (PostgreSQL's variable parameter hooks).
//!
//! A parameter without a declared type is unknown until the first place that wants a type of it; from then on it has
//! that type. One that no place wants is an error at the end.

use crate::error::{Error, Result, SqlState};
use crate::limits::PARAMETERS_MAX;
use crate::types::SqlType;

/// The statement's parameters so far.
pub(crate) struct Params {
    types: Vec<SqlType>,
    /// Whether parameters may appear that nobody declared: not in a simple query.
    open: bool,
}

impl Params {
    pub(crate) fn new(declared: &[SqlType], open: bool) -> Params {
        Params { types: declared.to_vec(), open }
    }

    /// The index and present type of the parameter that `$n` names.
    pub(crate) fn reference(&mut self, placeholder: &str, position: Option<u32>) -> Result<(usize, SqlType)> {
        let number = placeholder.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        let missing =
            || Error::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {placeholder}")).at(position);
        let number = number.filter(|&number| (1..=PARAMETERS_MAX).contains(&number)).ok_or_else(missing)?;
        if number > self.types.len() {
            if !self.open {
                return Err(missing());
            }
            self.types.resize(number, SqlType::UNKNOWN);
        }
        Ok((number - 1, self.types[number - 1]))
    }

    /// Gives an unknown parameter its type.
    pub(crate) fn resolve(&mut self, index: usize, ty: SqlType, position: Option<u32>) -> Result<()> {
        let known = &mut self.types[index];
        if known.same(SqlType::UNKNOWN) {
            *known = ty.base();
            return Ok(());
        }
        if known.same(ty) {
            return Ok(());
        }
        let message = format!("inconsistent types deduced for parameter ${}", index + 1);
        Err(Error::new(SqlState::AMBIGUOUS_PARAMETER, message)
            .detail(format!("{} versus {}", known.base_name(), ty.base_name()))
            .at(position))
    }

    /// The types of all, now that the statement has been read.
    pub(crate) fn finish(self) -> Result<Vec<SqlType>> {
        match self.types.iter().position(|ty| ty.same(SqlType::UNKNOWN)) {
            None => Ok(self.types),
            Some(index) => Err(Error::new(
                SqlState::INDETERMINATE_DATATYPE,
                format!("could not determine data type of parameter ${}", index + 1),
            )),
        }
    }
}
