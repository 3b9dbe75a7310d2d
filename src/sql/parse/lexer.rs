//! PostgreSQL's lexical rules (manual, 4.1; scan.l) over sqlparser's tokens.
//!
//! Words are folded, strings of every kind are unescaped to plain ones, white space and comments are gone. A token's
//! span stands on line 1 with the column counted in characters of the whole text from 1: a position as errors carry it.

use super::keywords;
use super::literal::{escaped, unicode};
use super::locking;
use crate::error::{Error, Result, SqlState};
use crate::limits::{IDENTIFIER_BYTES_MAX, TOKENS_MAX};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Word};
use std::ops::Range;

/// A text as tokens.
#[derive(Default)]
pub struct Lexed {
    /// The tokens.
    pub tokens: Vec<TokenWithSpan>,
    /// Each token's place in the text, in bytes.
    pub ranges: Vec<Range<usize>>,
    /// Each token's position.
    pub columns: Vec<u32>,
    /// Notices with the token that caused each.
    pub notices: Vec<(usize, Error)>,
}

impl Lexed {
    pub(super) fn push(&mut self, token: Token, from: u64, to: u64, range: Range<usize>) {
        let span = Span::new(Location::new(1, from), Location::new(1, to));
        self.tokens.push(TokenWithSpan { token, span });
        self.ranges.push(range);
        self.columns.push(from as u32);
    }

    pub(super) fn pop(&mut self) {
        self.tokens.pop();
        self.ranges.pop();
        self.columns.pop();
    }

    /// Whether a name must follow: after AS or a period.
    fn ends_a_label(&self) -> bool {
        match self.tokens.last().map(|token| &token.token) {
            Some(Token::Period) => true,
            Some(Token::Word(word)) => word.quote_style.is_none() && word.value == "as",
            _ => false,
        }
    }
}

fn is_isnull(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value == "isnull")
}

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

/// Splits a text into tokens.
pub fn lex(text: &str) -> Result<Lexed> {
    let mut lexer = Lexer { text, at: 0, counted: 0, column: 1 };
    let mut out = Lexed::default();
    let likely = (text.len() / 4 + 1).min(TOKENS_MAX);
    out.tokens.reserve(likely);
    out.ranges.reserve(likely);
    loop {
        lexer.skip_blanks()?;
        let start = lexer.at;
        let Some(first) = lexer.peek(0) else { return Ok(out) };
        let from = lexer.column_of(start);
        if out.tokens.len() >= TOKENS_MAX {
            let message = format!("a query string has {TOKENS_MAX} words, values and signs at most");
            let hint = "Send it in parts, or load the rows with COPY.";
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message).hint(hint).at(u32::try_from(from).ok()));
        }
        let mut token = lexer.token(first, &mut out)?;
        let to = lexer.column_of(lexer.at);
        if is_isnull(&token) && !out.ends_a_label() {
            // sqlparser does not know the word; it means the same as two that it knows.
            out.push(Token::make_keyword("IS"), from, to, start..lexer.at);
            token = Token::make_keyword("NULL");
        }
        if !locking::rewrite(&mut out, &token, from, to, start..lexer.at) {
            out.push(token, from, to, start..lexer.at);
        }
    }
}

/// The value that a quoted or plain word has whole, from its place in the text: what a channel is named by.
pub fn whole_identifier(raw: &str) -> String {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => raw.to_ascii_lowercase(),
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Where `column` has been counted to.
    counted: usize,
    column: u64,
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word_part(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0x0b)
}

fn is_operator(byte: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&byte)
}

impl<'a> Lexer<'a> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn starts_with(&self, what: &str) -> bool {
        self.text.as_bytes()[self.at..].starts_with(what.as_bytes())
    }

    /// The column of a place at or after the last one asked for.
    fn column_of(&mut self, at: usize) -> u64 {
        let passed = &self.text.as_bytes()[self.counted..at];
        self.column += passed.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as u64;
        self.counted = at;
        self.column
    }

    /// An error that quotes the text from `start` to here, as flex's yytext would be.
    fn error(&mut self, start: usize, what: &str) -> Error {
        let message = format!("{what} at or near \"{}\"", &self.text[start..self.at]);
        self.error_at(start, SqlState::SYNTAX_ERROR, message)
    }

    fn error_at(&self, start: usize, code: SqlState, message: impl Into<String>) -> Error {
        let position = self.text[..start].chars().count() + 1;
        Error::new(code, message).at(u32::try_from(position).ok())
    }

    fn take_while(&mut self, test: fn(u8) -> bool) {
        while self.peek(0).is_some_and(test) {
            self.at += 1;
        }
    }

    fn skip_blanks(&mut self) -> Result<()> {
        loop {
            self.take_while(is_blank);
            if self.starts_with("--") {
                self.take_while(|byte| byte != b'\n' && byte != b'\r');
            } else if self.starts_with("/*") {
                self.skip_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    /// Comments nest.
    fn skip_comment(&mut self) -> Result<()> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            if self.starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if self.starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else if self.at < self.text.len() {
                self.at += 1;
            } else {
                return Err(self.error(start, "unterminated /* comment"));
            }
        }
    }

    fn token(&mut self, first: u8, out: &mut Lexed) -> Result<Token> {
        let quote_next = self.peek(1) == Some(b'\'');
        match first {
            b'\'' => self.string(false),
            b'"' => self.quoted_identifier(out),
            b'e' | b'E' if quote_next => {
                self.at += 1;
                self.string(true)
            }
            b'n' | b'N' if quote_next => {
                self.at += 1;
                self.string(false)
            }
            b'b' | b'B' | b'x' | b'X' if quote_next => {
                Err(self.error_at(self.at, SqlState::FEATURE_NOT_SUPPORTED, "bit string literals are not supported"))
            }
            b'u' | b'U' if self.peek(1) == Some(b'&') && matches!(self.peek(2), Some(b'\'' | b'"')) => {
                self.unicode_escaped(out)
            }
            _ if is_word_start(first) => Ok(self.word(out)),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) => self.number(),
            b'$' => self.dollar(),
            _ if is_operator(first) => self.operator(),
            _ => Ok(self.punctuation(first)),
        }
    }

    fn word(&mut self, out: &mut Lexed) -> Token {
        let start = self.at;
        self.take_while(is_word_part);
        let mut value = self.text[start..self.at].to_ascii_lowercase();
        let keyword = keywords::keyword(&value);
        out.notices.extend(cut_identifier(&mut value).map(|notice| (out.tokens.len(), notice)));
        Token::Word(Word { value, quote_style: None, keyword })
    }

    /// The inside of a quoted token whose opening quote is here, its doubled quotes made single.
    fn quoted(&mut self, what: &str) -> Result<String> {
        let start = self.at;
        let quote = self.text.as_bytes()[start];
        let mut value = String::new();
        self.at += 1;
        loop {
            let from = self.at;
            while self.peek(0).is_some_and(|byte| byte != quote) {
                self.at += 1;
            }
            value.push_str(&self.text[from..self.at]);
            match (self.peek(0), self.peek(1)) {
                (None, _) => return Err(self.error(start, what)),
                (_, Some(next)) if next == quote => {
                    value.push(quote as char);
                    self.at += 2;
                }
                _ => {
                    self.at += 1;
                    return Ok(value);
                }
            }
        }
    }

    fn quoted_identifier(&mut self, out: &mut Lexed) -> Result<Token> {
        let start = self.at;
        let value = self.quoted("unterminated quoted identifier")?;
        self.identifier(start, value, out)
    }

    fn identifier(&mut self, start: usize, mut value: String, out: &mut Lexed) -> Result<Token> {
        if value.is_empty() {
            return Err(self.error(start, "zero-length delimited identifier"));
        }
        out.notices.extend(cut_identifier(&mut value).map(|notice| (out.tokens.len(), notice)));
        Ok(Token::Word(Word { value, quote_style: Some('"'), keyword: sqlparser::keywords::Keyword::NoKeyword }))
    }

    /// A string and its continuations: strings that only white space with a line's end separates are one.
    fn string(&mut self, escapes: bool) -> Result<Token> {
        let mut value = self.string_part(escapes)?;
        while let Some(next) = self.continuation()? {
            self.at = next;
            value.push_str(&self.string_part(escapes)?);
        }
        Ok(Token::SingleQuotedString(value))
    }

    fn string_part(&mut self, escapes: bool) -> Result<String> {
        let start = self.at;
        if !escapes {
            return self.quoted("unterminated quoted string");
        }
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' => self.at += 2,
                b'\'' if self.peek(1) == Some(b'\'') => self.at += 2,
                b'\'' => {
                    let raw = &self.text[start + 1..self.at];
                    self.at += 1;
                    return escaped(raw).map_err(|(offset, error)| {
                        error.at(u32::try_from(self.text[..start + 1 + offset].chars().count() + 1).ok())
                    });
                }
                _ => self.at += 1,
            }
        }
        self.at = self.text.len();
        Err(self.error(start, "unterminated quoted string"))
    }

    /// Where the next part of a string begins, if there is one.
    fn continuation(&mut self) -> Result<Option<usize>> {
        let after = self.at;
        self.take_while(is_blank);
        let mut line_end = self.text[after..self.at].contains(['\n', '\r']);
        while line_end && self.starts_with("--") {
            self.take_while(|byte| byte != b'\n' && byte != b'\r');
            line_end = self.peek(0).is_some();
            self.take_while(is_blank);
        }
        let next = self.at;
        self.at = after;
        Ok((line_end && self.text.as_bytes().get(next) == Some(&b'\'')).then_some(next))
    }

    /// `U&'…'` or `U&"…"` and an optional UESCAPE.
    fn unicode_escaped(&mut self, out: &mut Lexed) -> Result<Token> {
        let start = self.at;
        self.at += 2;
        let is_string = self.peek(0) == Some(b'\'');
        let raw = match is_string {
            true => match self.string(false)? {
                Token::SingleQuotedString(raw) => raw,
                _ => String::new(),
            },
            false => self.quoted("unterminated quoted identifier")?,
        };
        let escape = self.uescape()?;
        let value = unicode(&raw, escape).map_err(|error| {
            let position = self.text[..start].chars().count() + 1;
            error.at(u32::try_from(position).ok())
        })?;
        if is_string { Ok(Token::SingleQuotedString(value)) } else { self.identifier(start, value, out) }
    }

    fn uescape(&mut self) -> Result<char> {
        let after = self.at;
        self.skip_blanks()?;
        let is_word =
            self.text.as_bytes()[self.at..].get(..7).is_some_and(|word| word.eq_ignore_ascii_case(b"uescape"));
        if !is_word || self.peek(7).is_some_and(is_word_part) {
            self.at = after;
            return Ok('\\');
        }
        self.at += 7;
        self.skip_blanks()?;
        let start = self.at;
        if self.peek(0) != Some(b'\'') {
            return Err(self.error_at(
                start,
                SqlState::SYNTAX_ERROR,
                "UESCAPE must be followed by a simple string literal",
            ));
        }
        let value = self.quoted("unterminated quoted string")?;
        let mut chars = value.chars();
        match (chars.next(), chars.next()) {
            (Some(escape), None)
                if !escape.is_ascii_hexdigit() && !"+'\"".contains(escape) && !escape.is_whitespace() =>
            {
                Ok(escape)
            }
            _ => Err(self.error(start, "invalid Unicode escape character")),
        }
    }

    fn number(&mut self) -> Result<Token> {
        let start = self.at;
        self.take_while(|byte| byte.is_ascii_digit());
        if self.peek(0) == Some(b'.') && self.peek(1) != Some(b'.') {
            self.at += 1;
            self.take_while(|byte| byte.is_ascii_digit());
        }
        let mut end = self.at;
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            if self.peek(1 + sign).is_some_and(|byte| byte.is_ascii_digit()) {
                self.at += 1 + sign;
                self.take_while(|byte| byte.is_ascii_digit());
                end = self.at;
            }
        }
        if self.peek(0).is_some_and(is_word_start) {
            self.take_while(is_word_part);
            return Err(self.error(start, "trailing junk after numeric literal"));
        }
        Ok(Token::Number(self.text[start..end].to_owned(), false))
    }

    /// A parameter, or a dollar-quoted string.
    fn dollar(&mut self) -> Result<Token> {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
            self.take_while(|byte| byte.is_ascii_digit());
            let end = self.at;
            if self.peek(0).is_some_and(is_word_start) {
                self.take_while(is_word_part);
                return Err(self.error(start, "trailing junk after parameter"));
            }
            return Ok(Token::Placeholder(self.text[start..end].to_owned()));
        }
        if self.peek(0).is_some_and(is_word_start) {
            self.take_while(|byte| is_word_part(byte) && byte != b'$');
        }
        if self.peek(0) != Some(b'$') {
            self.at = start + 1;
            return Err(self.error(start, "syntax error"));
        }
        self.at += 1;
        let tag = &self.text[start..self.at];
        match self.text[self.at..].find(tag) {
            Some(length) => {
                let value = self.text[self.at..self.at + length].to_owned();
                self.at += length + tag.len();
                Ok(Token::SingleQuotedString(value))
            }
            None => {
                self.at = self.text.len();
                Err(self.error(start, "unterminated dollar-quoted string"))
            }
        }
    }

    /// The longest run of operator characters that neither contains a comment's start nor ends in + or - without
    /// reason.
    ///
    /// Only as much of the run is looked at as a name may be long: looking at all of it for each of its tokens would
    /// take the square of its length.
    fn operator(&mut self) -> Result<Token> {
        let start = self.at;
        let bytes = &self.text.as_bytes()[start..];
        let bytes = &bytes[..bytes.len().min(IDENTIFIER_BYTES_MAX + 1)];
        let mut length = bytes.iter().position(|&byte| !is_operator(byte)).unwrap_or(bytes.len());
        for mark in [b"--", b"/*"] {
            if let Some(comment) = bytes[..length].windows(2).position(|pair| pair == mark) {
                length = comment.max(1);
            }
        }
        while length > 1
            && matches!(bytes[length - 1], b'+' | b'-')
            && !bytes[..length - 1].iter().any(|byte| b"~!@#^&|`?%".contains(byte))
        {
            length -= 1;
        }
        self.at += length;
        if length > IDENTIFIER_BYTES_MAX {
            return Err(self.error(start, "operator too long"));
        }
        Ok(operator_token(&self.text[start..self.at]))
    }

    fn punctuation(&mut self, first: u8) -> Token {
        let (token, length) = match (first, self.peek(1)) {
            (b':', Some(b':')) => (Token::DoubleColon, 2),
            (b':', Some(b'=')) => (Token::Assignment, 2),
            (b':', _) => (Token::Colon, 1),
            (b',', _) => (Token::Comma, 1),
            (b';', _) => (Token::SemiColon, 1),
            (b'(', _) => (Token::LParen, 1),
            (b')', _) => (Token::RParen, 1),
            (b'[', _) => (Token::LBracket, 1),
            (b']', _) => (Token::RBracket, 1),
            (b'.', _) => (Token::Period, 1),
            (other, _) => (Token::Char(other as char), 1),
        };
        self.at += length;
        token
    }
}

fn operator_token(text: &str) -> Token {
    match text {
        "+" => Token::Plus,
        "-" => Token::Minus,
        "*" => Token::Mul,
        "/" => Token::Div,
        "%" => Token::Mod,
        "^" => Token::Caret,
        "=" => Token::Eq,
        "<" => Token::Lt,
        ">" => Token::Gt,
        "<=" => Token::LtEq,
        ">=" => Token::GtEq,
        "<>" | "!=" => Token::Neq,
        "=>" => Token::RArrow,
        "||" => Token::StringConcat,
        "&" => Token::Ampersand,
        "|" => Token::Pipe,
        "#" => Token::Sharp,
        "~" => Token::Tilde,
        "~*" => Token::TildeAsterisk,
        "!~" => Token::ExclamationMarkTilde,
        "!~*" => Token::ExclamationMarkTildeAsterisk,
        "~~" => Token::DoubleTilde,
        "~~*" => Token::DoubleTildeAsterisk,
        "!~~" => Token::ExclamationMarkDoubleTilde,
        "!~~*" => Token::ExclamationMarkDoubleTildeAsterisk,
        "<<" => Token::ShiftLeft,
        ">>" => Token::ShiftRight,
        "&&" => Token::Overlap,
        "@" => Token::AtSign,
        "^@" => Token::CaretAt,
        "|/" => Token::PGSquareRoot,
        "||/" => Token::PGCubeRoot,
        "->" => Token::Arrow,
        "->>" => Token::LongArrow,
        "#>" => Token::HashArrow,
        "#>>" => Token::HashLongArrow,
        "@>" => Token::AtArrow,
        "<@" => Token::ArrowAt,
        "#-" => Token::HashMinus,
        "@?" => Token::AtQuestion,
        "@@" => Token::AtAt,
        "?" => Token::Question,
        "?&" => Token::QuestionAnd,
        "?|" => Token::QuestionPipe,
        _ => Token::CustomBinaryOperator(text.to_owned()),
    }
}
