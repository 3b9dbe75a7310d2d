//! LIKE and regular expressions.

use super::string::lower_text;
use super::{BOOL, TEXT, row};
use crate::error::{Error, Result, SqlState};
use crate::expr::EvalContext;
use crate::expr::function::{Args, Body, Function, Volatility::Immutable};
use crate::types::Value;
use regex::{Regex, RegexBuilder};
use std::cell::RefCell;
use std::collections::HashMap;

/// Compiled regular expressions that a thread keeps; full: all are dropped.
const COMPILED_MAX: usize = 64;

/// Bytes that one compiled regular expression may take; full: 2201B.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Their rows; the operators' functions stand with the operators.
pub(super) static FUNCTIONS: &[Function] = &[
    row(1637, "like_escape", &[TEXT, TEXT], TEXT, Immutable, Body::Plain(like_escape)),
    row(1569, "like", &[TEXT, TEXT], BOOL, Immutable, Body::Plain(like)),
    row(6263, "regexp_like", &[TEXT, TEXT], BOOL, Immutable, Body::Plain(matches)),
];

/// Whether `text` is like `pattern`: `%` is any text, `_` any character, `\` takes the next character as it is.
fn is_like(text: &str, pattern: &str) -> Result<bool> {
    let (mut text, mut pattern) = (text.chars(), pattern.chars());
    // Where to go on when a guess for the last % was too short.
    let mut retry: Option<(std::str::Chars, std::str::Chars)> = None;
    loop {
        let mut rest = pattern.clone();
        let fits = match rest.next() {
            Some('%') => {
                pattern = rest.clone();
                if pattern.as_str().is_empty() {
                    return Ok(true);
                }
                retry = Some((text.clone(), rest));
                continue;
            }
            None if text.as_str().is_empty() => return Ok(true),
            None => false,
            // Nothing but % is like the empty text, and what else the pattern has is not looked at.
            Some(_) if text.as_str().is_empty() => false,
            Some('_') => text.next().is_some(),
            Some('\\') => {
                let Some(literal) = rest.next() else {
                    let message = "LIKE pattern must not end with escape character";
                    return Err(Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, message));
                };
                text.next() == Some(literal)
            }
            Some(literal) => text.next() == Some(literal),
        };
        if fits {
            pattern = rest;
            continue;
        }
        let Some((from, after)) = &mut retry else { return Ok(false) };
        if from.next().is_none() {
            return Ok(false);
        }
        text = from.clone();
        pattern = after.clone();
    }
}

fn is_ilike(text: &str, pattern: &str) -> Result<bool> {
    is_like(&lower_text(text), &lower_text(pattern))
}

pub(super) fn like(args: &Args, _: &EvalContext) -> Result<Value> {
    is_like(args.text(0), args.text(1)).map(Value::Bool)
}

pub(super) fn not_like(args: &Args, _: &EvalContext) -> Result<Value> {
    is_like(args.text(0), args.text(1)).map(|is| Value::Bool(!is))
}

pub(super) fn ilike(args: &Args, _: &EvalContext) -> Result<Value> {
    is_ilike(args.text(0), args.text(1)).map(Value::Bool)
}

pub(super) fn not_ilike(args: &Args, _: &EvalContext) -> Result<Value> {
    is_ilike(args.text(0), args.text(1)).map(|is| Value::Bool(!is))
}

/// A pattern with another escape character, written with `\` instead.
fn like_escape(args: &Args, _: &EvalContext) -> Result<Value> {
    let (pattern, escape) = (args.text(0), args.text(1));
    let mut characters = escape.chars();
    let escape = characters.next();
    if characters.next().is_some() {
        return Err(Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
            .hint("Escape string must be empty or one character."));
    }
    if escape == Some('\\') {
        return Ok(Value::Text(pattern.clone()));
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut escaped = false;
    for c in pattern.chars() {
        if Some(c) == escape && !escaped {
            out.push('\\');
            escaped = true;
            continue;
        }
        if c == '\\' && !escaped {
            out.push('\\');
        }
        out.push(c);
        escaped = false;
    }
    Ok(Value::text(out))
}

thread_local! {
    static COMPILED: RefCell<HashMap<(String, bool), Regex>> = RefCell::new(HashMap::new());
}

fn is_match(text: &str, pattern: &str, ignore_case: bool) -> Result<bool> {
    COMPILED.with_borrow_mut(|compiled| {
        let key = (pattern.to_owned(), ignore_case);
        if let Some(regex) = compiled.get(&key) {
            return Ok(regex.is_match(text));
        }
        let regex = compile(pattern, ignore_case)?;
        let found = regex.is_match(text);
        if compiled.len() >= COMPILED_MAX {
            compiled.clear();
        }
        compiled.insert(key, regex);
        Ok(found)
    })
}

fn compile(pattern: &str, ignore_case: bool) -> Result<Regex> {
    let invalid =
        |why: &str| Error::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {why}"));
    let translated = translate(pattern)?;
    // Advanced regular expressions' dot matches a newline.
    RegexBuilder::new(&translated)
        .case_insensitive(ignore_case)
        .dot_matches_new_line(true)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => invalid("regular expression is too complex"),
            error => invalid(reason(&error.to_string())),
        })
}

/// The last line of the parser's report, in PostgreSQL's words where it has them.
fn reason(report: &str) -> &str {
    let last = report.lines().last().unwrap_or("syntax error");
    let last = last.strip_prefix("error: ").unwrap_or(last);
    match last {
        "unclosed group" | "unopened group" => "parentheses () not balanced",
        "unclosed character class" => "brackets [] not balanced",
        "repetition operator missing expression" => "quantifier operand invalid",
        _ if last.starts_with("invalid repetition count") => "invalid repetition count(s)",
        _ if last.starts_with("unclosed counted repetition") => "braces {} not balanced",
        _ => last,
    }
}

/// PostgreSQL's advanced regular expressions in this parser's spelling, where the two differ.
fn translate(pattern: &str) -> Result<String> {
    let pattern = pattern.strip_prefix("***:").unwrap_or(pattern);
    if let Some(literal) = pattern.strip_prefix("***=") {
        return Ok(regex::escape(literal));
    }
    let refused = |what: &str| Err(Error::unsupported(format!("regular expression with a {what}")));
    if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|constraint| pattern.contains(constraint)) {
        return refused("lookaround constraint");
    }
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match characters.next() {
            Some('m') => out.push_str(r"\b{start}"),
            Some('M') => out.push_str(r"\b{end}"),
            Some('y') => out.push_str(r"\b"),
            Some('Y') => out.push_str(r"\B"),
            Some('Z') => out.push_str(r"\z"),
            Some('1'..='9') => return refused("back reference"),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    Ok(out)
}

pub(super) fn matches(args: &Args, _: &EvalContext) -> Result<Value> {
    is_match(args.text(0), args.text(1), false).map(Value::Bool)
}

pub(super) fn not_matches(args: &Args, _: &EvalContext) -> Result<Value> {
    is_match(args.text(0), args.text(1), false).map(|found| Value::Bool(!found))
}

pub(super) fn imatches(args: &Args, _: &EvalContext) -> Result<Value> {
    is_match(args.text(0), args.text(1), true).map(Value::Bool)
}

pub(super) fn not_imatches(args: &Args, _: &EvalContext) -> Result<Value> {
    is_match(args.text(0), args.text(1), true).map(|found| Value::Bool(!found))
}
