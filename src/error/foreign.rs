//! Conversions of other libraries' errors: the only file where a foreign error becomes ours.

use super::{Error, SqlState};

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                let mut full = Error::new(SqlState::DISK_FULL, "could not write: no space left on device");
                full.0.internal = Some(error.to_string());
                full
            }
            _ => {
                let mut io = Error::new(SqlState::IO_ERROR, "input/output error in the server's files");
                io.0.internal = Some(error.to_string());
                io
            }
        }
    }
}

impl From<postcard::Error> for Error {
    fn from(error: postcard::Error) -> Error {
        Error::new(SqlState::DATA_CORRUPTED, format!("stored catalog entry cannot be decoded: {error}"))
    }
}

impl From<std::collections::TryReserveError> for Error {
    fn from(error: std::collections::TryReserveError) -> Error {
        Error::new(SqlState::OUT_OF_MEMORY, "out of memory").detail(error.to_string())
    }
}
