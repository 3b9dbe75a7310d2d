//! The one error type: what PostgreSQL's ErrorResponse and NoticeResponse carry.
//!
//! Messages are in PostgreSQL's manner (lower case, no full stop, the object named). Errors that a client may see are
//! made with [`Error::new`]; everything foreign becomes [`Error::internal`] (XX000), whose cause goes to the log and
//! never to a client.

mod foreign;
mod sqlstate;

use std::fmt;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A five-character SQLSTATE (PostgreSQL manual, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// The code as text, for example `42601`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("SQLSTATEs are ASCII by construction")
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad it is: PostgreSQL's severities that leave the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the session goes on.
    Error,
    /// The session ends.
    Fatal,
    /// The server ends.
    Panic,
    /// A warning beside a result.
    Warning,
    /// A notice beside a result.
    Notice,
}

impl Severity {
    /// The severity as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Panic => "PANIC",
            Severity::Warning => "WARNING",
            Severity::Notice => "NOTICE",
        }
    }
}

/// An error, warning or notice with the fields of an ErrorResponse. One pointer wide, so that `Result`s stay small.
#[derive(Clone, Debug)]
pub struct Error(Box<Fields>);

/// The fields of an [`Error`] (PostgreSQL manual, 55.8 Error and Notice Message Fields).
#[derive(Clone, Debug)]
pub struct Fields {
    /// `S`, `V`.
    pub severity: Severity,
    /// `C`.
    pub code: SqlState,
    /// `M`.
    pub message: String,
    /// `D`.
    pub detail: Option<String>,
    /// `H`.
    pub hint: Option<String>,
    /// `P`: 1-based, in characters of the statement's text.
    pub position: Option<u32>,
    /// `W`: context, for example the line of a COPY.
    pub context: Option<String>,
    /// `s`, `t`, `c`, `n`: the object that a constraint violation names.
    pub object: ObjectFields,
    /// What goes to the log and never to a client.
    pub internal: Option<String>,
}

/// The names that constraint violations carry beside their text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectFields {
    /// `s`.
    pub schema: Option<String>,
    /// `t`.
    pub table: Option<String>,
    /// `c`.
    pub column: Option<String>,
    /// `n`.
    pub constraint: Option<String>,
}

impl Error {
    /// An error that a client may read as it is.
    pub fn new(code: SqlState, message: impl Into<String>) -> Error {
        Error::with_severity(Severity::Error, code, message)
    }

    /// An error that ends its session.
    pub fn fatal(code: SqlState, message: impl Into<String>) -> Error {
        Error::with_severity(Severity::Fatal, code, message)
    }

    /// A warning beside a result.
    pub fn warning(code: SqlState, message: impl Into<String>) -> Error {
        Error::with_severity(Severity::Warning, code, message)
    }

    /// A notice beside a result.
    pub fn notice(message: impl Into<String>) -> Error {
        Error::with_severity(Severity::Notice, SqlState::SUCCESSFUL_COMPLETION, message)
    }

    /// A notice with a SQLSTATE of its own.
    pub fn notice_with_code(code: SqlState, message: impl Into<String>) -> Error {
        Error::with_severity(Severity::Notice, code, message)
    }

    /// XX000. Clients read only `internal error`; `cause` goes to the log.
    pub fn internal(cause: impl fmt::Display) -> Error {
        let mut error = Error::new(SqlState::INTERNAL_ERROR, "internal error");
        error.0.internal = Some(cause.to_string());
        error
    }

    /// 0A000 for something that PostgreSQL or the surface has and this version has not.
    pub fn unsupported(what: impl fmt::Display) -> Error {
        Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// 42601 near a token, as PostgreSQL words it.
    pub fn syntax_near(token: &str) -> Error {
        Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{token}\""))
    }

    fn with_severity(severity: Severity, code: SqlState, message: impl Into<String>) -> Error {
        Error(Box::new(Fields {
            severity,
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            object: ObjectFields::default(),
            internal: None,
        }))
    }

    /// Adds the detail line.
    pub fn detail(mut self, detail: impl Into<String>) -> Error {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds the hint line.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the context line.
    pub fn context(mut self, context: impl Into<String>) -> Error {
        self.0.context = Some(context.into());
        self
    }

    /// Points at a place of the statement's text: 1-based, in characters. An inner position stays.
    pub fn at(mut self, position: Option<u32>) -> Error {
        self.0.position = self.0.position.or(position);
        self
    }

    /// Points nowhere: where PostgreSQL does not say the place of what it has found.
    pub fn nowhere(mut self) -> Error {
        self.0.position = None;
        self
    }

    /// Moves its position, where the text it points into is part of another.
    pub fn moved(mut self, place: impl FnOnce(u32) -> u32) -> Error {
        self.0.position = self.0.position.map(place);
        self
    }

    /// Names the table, and the column or constraint, that was violated.
    pub fn object(mut self, object: ObjectFields) -> Error {
        self.0.object = object;
        self
    }

    /// The SQLSTATE.
    pub fn code(&self) -> SqlState {
        self.0.code
    }

    /// All fields.
    pub fn fields(&self) -> &Fields {
        &self.0
    }

    /// The same error, ending its session: what fails during start-up is FATAL.
    pub fn into_fatal(mut self) -> Error {
        if self.0.severity == Severity::Error {
            self.0.severity = Severity::Fatal;
        }
        self
    }

    /// Whether the session must end after this.
    pub fn is_fatal(&self) -> bool {
        matches!(self.0.severity, Severity::Fatal | Severity::Panic)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.0.severity.as_str(), self.0.message, self.0.code)?;
        match &self.0.internal {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
