//! Digests, and bytea as text.

use super::{BYTEA, TEXT, row};
use crate::error::{Error, Result, SqlState};
use crate::expr::EvalContext;
use crate::expr::function::{Args, Body, Function, Volatility::Immutable};
use crate::types::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use std::fmt::Write;

/// Characters of a line of base64 (RFC 2045), as PostgreSQL breaks them.
const BASE64_LINE: usize = 76;

/// Their rows.
pub(super) static FUNCTIONS: &[Function] = &[
    row(2311, "md5", &[TEXT], TEXT, Immutable, Body::Plain(md5_text)),
    row(2321, "md5", &[BYTEA], TEXT, Immutable, Body::Plain(md5_bytes)),
    row(3419, "sha224", &[BYTEA], BYTEA, Immutable, Body::Plain(sha::<Sha224>)),
    row(3420, "sha256", &[BYTEA], BYTEA, Immutable, Body::Plain(sha::<Sha256>)),
    row(3421, "sha384", &[BYTEA], BYTEA, Immutable, Body::Plain(sha::<Sha384>)),
    row(3422, "sha512", &[BYTEA], BYTEA, Immutable, Body::Plain(sha::<Sha512>)),
    row(1946, "encode", &[BYTEA, TEXT], TEXT, Immutable, Body::Plain(encode)),
    row(1947, "decode", &[TEXT, TEXT], BYTEA, Immutable, Body::Plain(decode)),
];

fn md5_text(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::text(format!("{:x}", md5::compute(args.text(0).as_bytes()))))
}

fn md5_bytes(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::text(format!("{:x}", md5::compute(args.bytes(0)))))
}

fn sha<D: Digest>(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Bytes(D::digest(args.bytes(0)).to_vec().into()))
}

fn unrecognized(encoding: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unrecognized encoding: \"{encoding}\""))
}

fn encode(args: &Args, _: &EvalContext) -> Result<Value> {
    let bytes = args.bytes(0);
    let text = match args.text(1).to_ascii_lowercase().as_str() {
        "hex" => bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            write!(out, "{byte:02x}").expect("a string takes all");
            out
        }),
        "base64" => {
            let line = STANDARD.encode(bytes);
            let lines: Vec<&str> =
                (0..line.len()).step_by(BASE64_LINE).map(|at| &line[at..line.len().min(at + BASE64_LINE)]).collect();
            lines.join("\n")
        }
        "escape" => bytes.iter().fold(String::with_capacity(bytes.len()), |mut out, &byte| {
            match byte {
                b'\\' => out.push_str("\\\\"),
                0 | 0x80.. => write!(out, "\\{byte:03o}").expect("a string takes all"),
                byte => out.push(byte.into()),
            }
            out
        }),
        _ => return Err(unrecognized(args.text(1))),
    };
    Ok(Value::text(text))
}

fn decode(args: &Args, _: &EvalContext) -> Result<Value> {
    let text = args.text(0);
    let invalid = |message: String| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let bytes = match args.text(1).to_ascii_lowercase().as_str() {
        "hex" => decode_hex(text)?,
        "base64" => {
            let dense: String = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\r')).collect();
            let foreign = |c: &char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '/' | '=');
            if let Some(symbol) = dense.chars().find(foreign) {
                return Err(invalid(format!("invalid symbol \"{symbol}\" found while decoding base64 sequence")));
            }
            // padding stands for the third symbol of four, or for the fourth
            if dense.find('=').is_some_and(|at| at % 4 < 2) {
                return Err(invalid("unexpected \"=\" while decoding base64 sequence".into()));
            }
            STANDARD.decode(dense).map_err(|_| {
                invalid("invalid base64 end sequence".into())
                    .hint("Input data is missing padding, is truncated, or is otherwise corrupted.")
            })?
        }
        "escape" => decode_escape(text)?,
        _ => return Err(unrecognized(args.text(1))),
    };
    Ok(Value::Bytes(bytes.into()))
}

fn decode_hex(text: &str) -> Result<Vec<u8>> {
    let invalid = |message: String| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let mut digits = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\r'));
    let digit = |c: char| c.to_digit(16).ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{c}\"")));
    let mut bytes = Vec::with_capacity(text.len() / 2);
    while let Some(high) = digits.next() {
        let high = digit(high)?;
        let low = digits.next().ok_or_else(|| invalid("invalid hexadecimal data: odd number of digits".into()))?;
        bytes.push((high * 16 + digit(low)?) as u8);
    }
    Ok(bytes)
}

fn decode_escape(text: &str) -> Result<Vec<u8>> {
    let invalid = || Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea");
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                after
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                after
            }
            (b'\\', _) => return Err(invalid()),
            (byte, after) => {
                bytes.push(byte);
                after
            }
        };
    }
    Ok(bytes)
}
