//! A place in a statement's tokens, and the ways to go on from it.

use super::depth::too_deep;
use super::keywords::{Category, category};
use super::lexer::Lexed;
use super::{ColumnName, Expression, ObjectName};
use crate::error::{Error, Result, SqlState};
use crate::limits::NESTING_MAX;
use sqlparser::ast::Expr;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// sqlparser counts two or three recursions for each level that [`depth`](super::depth) counts.
const RECURSION_MAX: usize = 3 * NESTING_MAX;

static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// A reader of one statement's tokens. What sqlparser is to read is moved out of the list, never copied.
pub struct Cursor<'a> {
    /// The whole query string.
    pub text: &'a str,
    /// All its tokens.
    pub lexed: &'a mut Lexed,
    /// The next token.
    pub at: usize,
    /// Where the statement ends: the index of a semicolon, of a closing parenthesis, or the number of tokens.
    pub end: usize,
}

impl Cursor<'_> {
    /// Whether the statement is at its end.
    pub fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// The token `ahead` of the next one.
    pub fn peek(&self, ahead: usize) -> Option<&Token> {
        (self.at + ahead < self.end).then(|| &self.lexed.tokens[self.at + ahead].token)
    }

    fn word(&self, ahead: usize) -> Option<&Word> {
        match self.peek(ahead) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Whether an unquoted word stands `ahead`.
    pub fn is_word_at(&self, ahead: usize, expected: &str) -> bool {
        self.word(ahead).is_some_and(|word| word.quote_style.is_none() && word.value == expected)
    }

    /// Whether these unquoted words are next.
    pub fn is_next(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(ahead, word)| self.is_word_at(ahead, word))
    }

    /// Takes these words if they are next.
    pub fn accept(&mut self, words: &[&str]) -> bool {
        let found = self.is_next(words);
        if found {
            self.at += words.len();
        }
        found
    }

    /// Takes these words, or it is a syntax error at the first that is another.
    pub fn expect(&mut self, words: &[&str]) -> Result<()> {
        words.iter().try_for_each(|word| if self.accept(&[word]) { Ok(()) } else { Err(self.unexpected()) })
    }

    /// Takes a token if it is next.
    pub fn accept_token(&mut self, token: &Token) -> bool {
        let found = self.peek(0) == Some(token);
        self.at += usize::from(found);
        found
    }

    /// Takes a token, or it is a syntax error.
    pub fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.accept_token(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The statement must be at its end.
    pub fn expect_end(&self) -> Result<()> {
        if self.is_done() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The value of the word with an index.
    pub fn word_at(&self, index: usize) -> Option<String> {
        match &self.lexed.tokens.get(index)?.token {
            Token::Word(word) => Some(word.value.clone()),
            _ => None,
        }
    }

    /// A syntax error at the next token, as PostgreSQL words it.
    pub fn unexpected(&self) -> Error {
        self.unexpected_at(self.at.min(self.end))
    }

    fn unexpected_at(&self, index: usize) -> Error {
        match self.lexed.ranges.get(index) {
            Some(range) => Error::syntax_near(&self.text[range.clone()]).at(self.position_of(index)),
            None => Error::new(SqlState::SYNTAX_ERROR, "syntax error at end of input")
                .at(u32::try_from(self.text.chars().count() + 1).ok()),
        }
    }

    /// The position of the next token.
    pub fn position(&self) -> Option<u32> {
        self.position_of(self.at)
    }

    fn position_of(&self, index: usize) -> Option<u32> {
        self.lexed.columns.get(index).copied()
    }

    /// 0A000 for a form that PostgreSQL has and we have not.
    pub fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        Error::unsupported(what).at(self.position())
    }

    /// A name where any may stand that is not reserved (PostgreSQL's ColId).
    pub fn name(&mut self) -> Result<String> {
        self.name_of(&[None, Some(Category::Unreserved), Some(Category::ColumnName)])
    }

    /// A name where type and function names may stand too: settings, roles, options.
    pub fn loose_name(&mut self) -> Result<String> {
        self.name_of(&[None, Some(Category::Unreserved), Some(Category::ColumnName), Some(Category::TypeOrFunction)])
    }

    /// Any word (PostgreSQL's ColLabel).
    pub fn label(&mut self) -> Result<String> {
        let value = self.word(0).map(|word| word.value.clone()).ok_or_else(|| self.unexpected())?;
        self.at += 1;
        Ok(value)
    }

    fn name_of(&mut self, allowed: &[Option<Category>]) -> Result<String> {
        match self.word(0) {
            Some(word) if word.quote_style.is_some() || allowed.contains(&category(&word.value)) => self.label(),
            _ => Err(self.unexpected()),
        }
    }

    /// A column's name with its position.
    pub fn column(&mut self) -> Result<ColumnName> {
        let position = self.position();
        Ok(ColumnName { name: self.name()?, position })
    }

    /// `(a, b, …)`
    pub fn columns(&mut self) -> Result<Vec<ColumnName>> {
        self.expect_token(&Token::LParen)?;
        let columns = self.list(Cursor::column)?;
        self.expect_token(&Token::RParen)?;
        Ok(columns)
    }

    /// One or more of something, with commas between.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.accept_token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// A relation's name. A third part is a database's, which can only be this one.
    pub fn object_name(&mut self) -> Result<ObjectName> {
        let position = self.position();
        let mut parts = vec![self.name()?];
        while self.accept_token(&Token::Period) {
            parts.push(self.label()?);
        }
        if parts.len() > 3 {
            let message = format!("improper qualified name (too many dotted names): {}", parts.join("."));
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(position));
        }
        let name = parts.pop().expect("there is one part");
        let schema = parts.pop();
        match parts.pop() {
            None => Ok(ObjectName { schema, name, position }),
            Some(database) => {
                let schema = schema.unwrap_or_default();
                let message = format!("cross-database references are not implemented: \"{database}.{schema}.{name}\"");
                Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(position))
            }
        }
    }

    /// A string literal.
    pub fn string(&mut self) -> Result<String> {
        match self.peek(0) {
            Some(Token::SingleQuotedString(value)) => {
                let value = value.clone();
                self.at += 1;
                Ok(value)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// A number with its sign, as text; none if none is next.
    pub fn accept_number(&mut self) -> Option<String> {
        let (sign, ahead) = match self.peek(0) {
            Some(Token::Minus) => ("-", 1),
            Some(Token::Plus) => ("", 1),
            _ => ("", 0),
        };
        let Some(Token::Number(digits, _)) = self.peek(ahead) else { return None };
        let number = format!("{sign}{digits}");
        self.at += ahead + 1;
        Some(number)
    }

    /// An integer with its sign.
    pub fn integer(&mut self) -> Result<i64> {
        let start = self.at;
        let number = self.accept_number().and_then(|number| number.parse().ok());
        number.ok_or_else(|| self.unexpected_at(start))
    }

    /// A value that may be a parameter: a number, a string, INTERVAL '…' or `$n`.
    pub fn argument(&mut self) -> Result<Expr> {
        let tokens = match (self.peek(0), self.peek(1)) {
            (Some(Token::Minus | Token::Plus), Some(Token::Number(..))) => 2,
            (Some(Token::Word(word)), Some(Token::SingleQuotedString(_)))
                if word.quote_style.is_none() && word.value == "interval" =>
            {
                2
            }
            (Some(Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_)), _) => 1,
            _ => return Err(self.unexpected()),
        };
        let end = self.at + tokens;
        self.read(end, Parser::parse_expr)
    }

    /// The bytes of the text from one token to before another.
    pub fn text_between(&self, from: usize, to: usize) -> &str {
        let end = self.lexed.ranges[to - 1].end;
        &self.text[self.lexed.ranges[from].start..end]
    }

    /// The end of what stands at the same depth of parentheses: the first token for which `is_end`, or one that closes
    /// more than was opened, or the statement's end.
    pub fn find_end(&self, is_end: impl Fn(&Self, usize) -> bool) -> usize {
        let mut depth = 0_usize;
        for index in self.at..self.end {
            match &self.lexed.tokens[index].token {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket if depth == 0 => return index,
                Token::RParen | Token::RBracket => depth -= 1,
                _ if depth == 0 && is_end(self, index - self.at) => return index,
                _ => {}
            }
        }
        self.end
    }

    /// An expression that ends where `end` says, to be kept as text too.
    pub fn expression_until(&mut self, end: usize) -> Result<Expression> {
        if self.at >= end {
            return Err(self.unexpected());
        }
        let text = self.text_between(self.at, end).to_owned();
        let expr = self.read(end, Parser::parse_expr)?;
        if self.at < end { Err(self.unexpected()) } else { Ok(Expression { expr, text }) }
    }

    /// `( expression )`
    pub fn expression_in_parentheses(&mut self) -> Result<Expression> {
        self.expect_token(&Token::LParen)?;
        let expression = self.expression_until(self.find_end(|_, _| false))?;
        self.expect_token(&Token::RParen)?;
        Ok(expression)
    }

    /// Lets sqlparser read from here up to a token's index, and goes on after what it took.
    pub fn read<T>(
        &mut self,
        end: usize,
        read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T> {
        self.read_with(Vec::new(), end, read)
    }

    /// As [`read`](Cursor::read), with tokens of our own before those of the text.
    pub fn read_with<T>(
        &mut self,
        before: Vec<TokenWithSpan>,
        end: usize,
        read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T> {
        let extra = before.len();
        let mut tokens = before;
        let moved = self.lexed.tokens[self.at..end].iter_mut();
        tokens.extend(moved.map(|token| std::mem::replace(token, TokenWithSpan::wrap(Token::EOF))));
        let mut parser = Parser::new(&DIALECT).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens);
        let result = read(&mut parser);
        let taken = parser.index().saturating_sub(extra);
        // What is left over is still to be read here.
        let rest = parser.into_tokens().into_iter().skip(extra);
        match result {
            Ok(value) => {
                for (slot, token) in self.lexed.tokens[self.at..end].iter_mut().zip(rest).skip(taken) {
                    *slot = token;
                }
                self.at = end.min(self.at + taken);
                Ok(value)
            }
            Err(error) => Err(self.refused(&error, taken, end)),
        }
    }

    /// sqlparser's error as PostgreSQL words it: only the place is taken from it.
    fn refused(&self, error: &ParserError, taken: usize, end: usize) -> Error {
        let message = match error {
            ParserError::RecursionLimitExceeded => return too_deep(),
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
        };
        let column = message.rsplit_once("Column: ").and_then(|(_, column)| column.parse::<u32>().ok());
        let index = match column {
            Some(column) => self.lexed.columns.binary_search(&column).unwrap_or_else(|index| index),
            None if message.contains("found: EOF") => end,
            None => end.min(self.at + taken.saturating_sub(1)),
        };
        self.unexpected_at(index)
    }
}
