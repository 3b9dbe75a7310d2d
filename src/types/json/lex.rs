//! Reading JSON with PostgreSQL's errors: the message, the detail that names the token, the context that shows where.

use super::Json;
use crate::error::{Error, Result, SqlState};
use crate::limits::JSON_NESTING_MAX;
use crate::types::numeric;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    String,
    Number,
    True,
    False,
    Null,
    /// One of `{}[],:`.
    Mark(u8),
    End,
}

/// What to do with what is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// json: check the form alone; escapes are not resolved.
    Check,
    /// jsonb: make a document.
    Build,
}

struct Reader<'a> {
    text: &'a str,
    token: Token,
    start: usize,
    end: usize,
    line: usize,
    line_start: usize,
    string: String,
    purpose: Purpose,
    depth: usize,
}

/// Checks json as the input function of json does and leaves it as it is.
pub fn validate(text: &str) -> Result<()> {
    read(text, Purpose::Check).map(drop)
}

/// Reads a jsonb document.
pub(super) fn parse(text: &str) -> Result<Json> {
    read(text, Purpose::Build)
}

fn read(text: &str, purpose: Purpose) -> Result<Json> {
    let mut reader = Reader {
        text,
        token: Token::End,
        start: 0,
        end: 0,
        line: 1,
        line_start: 0,
        string: String::new(),
        purpose,
        depth: 0,
    };
    reader.advance()?;
    let json = reader.value()?;
    match reader.token {
        Token::End => Ok(json),
        _ => Err(reader.expected("end of input")),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl Reader<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// Moves to the next token.
    fn advance(&mut self) -> Result<()> {
        let mut at = self.end;
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.byte(at) {
            at += 1;
            if byte == b'\n' {
                self.line += 1;
                self.line_start = at;
            }
        }
        self.start = at;
        self.end = at + 1;
        self.token = match self.byte(at) {
            None => {
                self.end = at;
                Token::End
            }
            Some(mark @ (b'{' | b'}' | b'[' | b']' | b',' | b':')) => Token::Mark(mark),
            Some(b'"') => self.lex_string()?,
            Some(b'-' | b'0'..=b'9') => self.lex_number()?,
            Some(_) => self.lex_word()?,
        };
        Ok(())
    }

    fn lex_word(&mut self) -> Result<Token> {
        let rest = &self.text.as_bytes()[self.start..];
        let length = rest.iter().take_while(|&&byte| is_word(byte)).count();
        self.end = self.start + length.max(1);
        match &rest[..length] {
            b"true" => Ok(Token::True),
            b"false" => Ok(Token::False),
            b"null" => Ok(Token::Null),
            _ => Err(self.invalid_token()),
        }
    }

    fn lex_number(&mut self) -> Result<Token> {
        let mut at = self.start + usize::from(self.byte(self.start) == Some(b'-'));
        let digits = |reader: &Self, from: usize| {
            reader.text.as_bytes()[from..].iter().take_while(|byte| byte.is_ascii_digit()).count()
        };
        let mut valid = true;
        match self.byte(at) {
            Some(b'0') => at += 1,
            Some(b'1'..=b'9') => at += digits(self, at),
            _ => valid = false,
        }
        if self.byte(at) == Some(b'.') {
            let count = digits(self, at + 1);
            valid &= count > 0;
            at += 1 + count;
        }
        if let Some(b'e' | b'E') = self.byte(at) {
            at += 1 + usize::from(matches!(self.byte(at + 1), Some(b'+' | b'-')));
            let count = digits(self, at);
            valid &= count > 0;
            at += count;
        }
        while self.byte(at).is_some_and(is_word) {
            at += 1;
            valid = false;
        }
        self.end = at;
        if valid { Ok(Token::Number) } else { Err(self.invalid_token()) }
    }

    fn lex_string(&mut self) -> Result<Token> {
        self.string.clear();
        let mut at = self.start + 1;
        loop {
            let piece = self.text.as_bytes()[at..]
                .iter()
                .take_while(|&&byte| byte != b'"' && byte != b'\\' && byte >= b' ')
                .count();
            if self.purpose == Purpose::Build {
                self.string.push_str(&self.text[at..at + piece]);
            }
            at += piece;
            match self.byte(at) {
                None => {
                    self.end = at;
                    return Err(self.failed(format!("Token \"{}\" is invalid.", &self.text[self.start..])));
                }
                Some(b'"') => {
                    self.end = at + 1;
                    return Ok(Token::String);
                }
                Some(b'\\') => at = self.lex_escape(at + 1)?,
                Some(control) => {
                    self.end = at;
                    return Err(self.failed(format!("Character with value 0x{control:02x} must be escaped.")));
                }
            }
        }
    }

    /// Reads an escape whose letter is at `at`; gives the place after it.
    fn lex_escape(&mut self, at: usize) -> Result<usize> {
        let plain = match self.byte(at) {
            Some(b'u') => return self.lex_unicode(at + 1),
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            None => {
                self.end = at;
                return Err(self.failed(format!("Token \"{}\" is invalid.", &self.text[self.start..])));
            }
            Some(_) => {
                let letter = self.text[at..].chars().next().unwrap_or_default();
                self.end = at + letter.len_utf8();
                return Err(self.failed(format!("Escape sequence \"\\{letter}\" is invalid.")));
            }
        };
        self.string.push(plain);
        Ok(at + 1)
    }

    /// Reads the four digits of `\u`, and a second escape when they are the first half of a pair.
    fn lex_unicode(&mut self, at: usize) -> Result<usize> {
        let unit = self.hex4(at)?;
        let after = at + 4;
        if self.purpose == Purpose::Check {
            return Ok(after);
        }
        self.end = after;
        match unit {
            0 => Err(Error::new(SqlState::UNTRANSLATABLE_CHARACTER, "unsupported Unicode escape sequence")
                .detail("\\u0000 cannot be converted to text.")
                .context(self.context())),
            0xd800..=0xdbff => {
                let low = match (self.byte(after), self.byte(after + 1)) {
                    (Some(b'\\'), Some(b'u')) => self.hex4(after + 2)?,
                    _ => {
                        self.end = (after + 1).min(self.text.len());
                        return Err(self.failed("Unicode low surrogate must follow a high surrogate.".to_owned()));
                    }
                };
                self.end = after + 6;
                match low {
                    0xdc00..=0xdfff => {
                        let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        self.string.push(char::from_u32(code).expect("a surrogate pair is a character"));
                        Ok(after + 6)
                    }
                    0xd800..=0xdbff => {
                        Err(self.failed("Unicode high surrogate must not follow a high surrogate.".to_owned()))
                    }
                    _ => Err(self.failed("Unicode low surrogate must follow a high surrogate.".to_owned())),
                }
            }
            0xdc00..=0xdfff => Err(self.failed("Unicode low surrogate must follow a high surrogate.".to_owned())),
            _ => {
                self.string.push(char::from_u32(unit).expect("not a surrogate"));
                Ok(after)
            }
        }
    }

    fn hex4(&mut self, at: usize) -> Result<u32> {
        let mut unit = 0;
        for place in at..at + 4 {
            match self.byte(place).and_then(|byte| char::from(byte).to_digit(16)) {
                Some(digit) => unit = unit * 16 + digit,
                None => {
                    self.end = place + self.text[place..].chars().next().map_or(0, char::len_utf8);
                    return Err(self.failed("\"\\u\" must be followed by four hexadecimal digits.".to_owned()));
                }
            }
        }
        Ok(unit)
    }

    fn value(&mut self) -> Result<Json> {
        let json = match self.token {
            Token::Mark(b'{') => return self.nested(Self::fields),
            Token::Mark(b'[') => return self.nested(Self::elements),
            Token::Null => Json::Null,
            Token::True => Json::Bool(true),
            Token::False => Json::Bool(false),
            Token::String => Json::String(std::mem::take(&mut self.string)),
            Token::Number if self.purpose == Purpose::Check => Json::Null,
            Token::Number => self.number()?,
            Token::Mark(_) | Token::End => return Err(self.expected("JSON value")),
        };
        self.advance()?;
        Ok(json)
    }

    fn number(&self) -> Result<Json> {
        let text = &self.text[self.start..self.end];
        let canonical = text.len() <= 18 && !text.starts_with('-') && !text.contains(['e', 'E']);
        Ok(Json::Number(if canonical { text.to_owned() } else { numeric::to_text(&numeric::parse(text)?) }))
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json>) -> Result<Json> {
        self.depth += 1;
        if self.depth > JSON_NESTING_MAX {
            return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
                .hint(format!("JSON may be nested {JSON_NESTING_MAX} levels deep.")));
        }
        self.advance()?;
        let json = read(self)?;
        self.depth -= 1;
        self.advance()?;
        Ok(json)
    }

    /// The inside of an object, up to its closing brace.
    fn fields(&mut self) -> Result<Json> {
        let mut fields = Vec::new();
        if self.token == Token::Mark(b'}') {
            return Ok(Json::Object(fields));
        }
        if self.token != Token::String {
            return Err(self.expected("string or \"}\""));
        }
        loop {
            if self.token != Token::String {
                return Err(self.expected("string"));
            }
            let key = std::mem::take(&mut self.string);
            self.advance()?;
            if self.token != Token::Mark(b':') {
                return Err(self.expected("\":\""));
            }
            self.advance()?;
            let value = self.value()?;
            if self.purpose == Purpose::Build {
                fields.push((key, value));
            }
            match self.token {
                Token::Mark(b',') => self.advance()?,
                Token::Mark(b'}') => return Ok(Json::object(fields)),
                _ => return Err(self.expected("\",\" or \"}\"")),
            }
        }
    }

    /// The inside of an array, up to its closing bracket.
    fn elements(&mut self) -> Result<Json> {
        let mut elements = Vec::new();
        if self.token == Token::Mark(b']') {
            return Ok(Json::Array(elements));
        }
        loop {
            let element = self.value()?;
            if self.purpose == Purpose::Build {
                elements.push(element);
            }
            match self.token {
                Token::Mark(b',') => self.advance()?,
                Token::Mark(b']') => return Ok(Json::Array(elements)),
                _ => return Err(self.expected("\",\" or \"]\"")),
            }
        }
    }

    fn invalid_token(&self) -> Error {
        self.failed(format!("Token \"{}\" is invalid.", self.token_text()))
    }

    fn expected(&self, what: &str) -> Error {
        match self.token {
            Token::End => self.failed("The input string ended unexpectedly.".to_owned()),
            _ if what == "end of input" => {
                self.failed(format!("Expected end of input, but found \"{}\".", self.token_text()))
            }
            _ => self.failed(format!("Expected {what}, but found \"{}\".", self.token_text())),
        }
    }

    /// The token; a byte that is no character boundary takes its whole character.
    fn token_text(&self) -> &str {
        &self.text[self.start..self.text.ceil_char_boundary(self.end)]
    }

    fn failed(&self, detail: String) -> Error {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
            .detail(detail)
            .context(self.context())
    }

    /// `JSON data, line 1: ...excerpt...`, cut as PostgreSQL's report_json_context cuts it.
    fn context(&self) -> String {
        let end = self.text.ceil_char_boundary(self.end);
        let mut start = self.line_start;
        while end - start >= 50 {
            start = self.text.ceil_char_boundary(start + 1);
        }
        if start - self.line_start <= 3 {
            start = self.line_start;
        }
        let before = if start > self.line_start { "..." } else { "" };
        let at_end = self.token == Token::End && self.start == self.text.len();
        let more = !at_end && end < self.text.len() && !matches!(self.byte(end), Some(b'\n' | b'\r'));
        let after = if more { "..." } else { "" };
        format!("JSON data, line {}: {before}{}{after}", self.line, &self.text[start..end])
    }
}
