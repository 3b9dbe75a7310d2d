//! Functions of text and bytea.

use super::{BYTEA, INT4, INT8, TEXT, lax, row, variadic};
use crate::error::{Error, Result, SqlState};
use crate::expr::EvalContext;
use crate::expr::function::{
    ANY, ANYELEMENT, ANYNONARRAY, Args, Body, Function, Operator, Volatility::Immutable, Volatility::Stable,
};
use crate::types::{Oid, Value, text};

/// Bytes of a text that a function may make; full: 54000.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Their rows.
pub(super) static FUNCTIONS: &[Function] = &[
    row(870, "lower", &[TEXT], TEXT, Immutable, Body::Plain(lower)),
    row(871, "upper", &[TEXT], TEXT, Immutable, Body::Plain(upper)),
    row(872, "initcap", &[TEXT], TEXT, Immutable, Body::Plain(initcap)),
    row(1317, "length", &[TEXT], INT4, Immutable, Body::Plain(length)),
    row(2010, "length", &[BYTEA], INT4, Immutable, Body::Plain(byte_length)),
    row(1381, "char_length", &[TEXT], INT4, Immutable, Body::Plain(length)),
    row(1369, "character_length", &[TEXT], INT4, Immutable, Body::Plain(length)),
    row(1374, "octet_length", &[TEXT], INT4, Immutable, Body::Plain(octet_length)),
    row(720, "octet_length", &[BYTEA], INT4, Immutable, Body::Plain(byte_length)),
    row(1811, "bit_length", &[TEXT], INT4, Immutable, Body::Plain(bit_length)),
    row(1810, "bit_length", &[BYTEA], INT4, Immutable, Body::Plain(bit_length)),
    row(1405, "overlay", &[TEXT, TEXT, INT4], TEXT, Immutable, Body::Plain(overlay)),
    row(1404, "overlay", &[TEXT, TEXT, INT4, INT4], TEXT, Immutable, Body::Plain(overlay)),
    row(883, "substr", &[TEXT, INT4], TEXT, Immutable, Body::Plain(substring)),
    row(877, "substr", &[TEXT, INT4, INT4], TEXT, Immutable, Body::Plain(substring)),
    row(937, "substring", &[TEXT, INT4], TEXT, Immutable, Body::Plain(substring)),
    row(936, "substring", &[TEXT, INT4, INT4], TEXT, Immutable, Body::Plain(substring)),
    row(2086, "substr", &[BYTEA, INT4], BYTEA, Immutable, Body::Plain(byte_substring)),
    row(2085, "substr", &[BYTEA, INT4, INT4], BYTEA, Immutable, Body::Plain(byte_substring)),
    row(2013, "substring", &[BYTEA, INT4], BYTEA, Immutable, Body::Plain(byte_substring)),
    row(2012, "substring", &[BYTEA, INT4, INT4], BYTEA, Immutable, Body::Plain(byte_substring)),
    row(2003, "textanycat", &[TEXT, ANYNONARRAY], TEXT, Stable, Body::Plain(concatenate_any)),
    row(2004, "anytextcat", &[ANYNONARRAY, TEXT], TEXT, Stable, Body::Plain(concatenate_any)),
    row(885, "btrim", &[TEXT], TEXT, Immutable, Body::Plain(trim_both)),
    row(884, "btrim", &[TEXT, TEXT], TEXT, Immutable, Body::Plain(trim_both)),
    row(881, "ltrim", &[TEXT], TEXT, Immutable, Body::Plain(trim_left)),
    row(875, "ltrim", &[TEXT, TEXT], TEXT, Immutable, Body::Plain(trim_left)),
    row(882, "rtrim", &[TEXT], TEXT, Immutable, Body::Plain(trim_right)),
    row(876, "rtrim", &[TEXT, TEXT], TEXT, Immutable, Body::Plain(trim_right)),
    row(2087, "replace", &[TEXT, TEXT, TEXT], TEXT, Immutable, Body::Plain(replace)),
    row(878, "translate", &[TEXT, TEXT, TEXT], TEXT, Immutable, Body::Plain(translate)),
    row(849, "position", &[TEXT, TEXT], INT4, Immutable, Body::Plain(position)),
    row(868, "strpos", &[TEXT, TEXT], INT4, Immutable, Body::Plain(position)),
    row(3060, "left", &[TEXT, INT4], TEXT, Immutable, Body::Plain(left)),
    row(3061, "right", &[TEXT, INT4], TEXT, Immutable, Body::Plain(right)),
    row(879, "lpad", &[TEXT, INT4], TEXT, Immutable, Body::Plain(pad_left)),
    row(873, "lpad", &[TEXT, INT4, TEXT], TEXT, Immutable, Body::Plain(pad_left)),
    row(880, "rpad", &[TEXT, INT4], TEXT, Immutable, Body::Plain(pad_right)),
    row(874, "rpad", &[TEXT, INT4, TEXT], TEXT, Immutable, Body::Plain(pad_right)),
    row(1622, "repeat", &[TEXT, INT4], TEXT, Immutable, Body::Plain(repeat)),
    row(3062, "reverse", &[TEXT], TEXT, Immutable, Body::Plain(reverse)),
    row(2088, "split_part", &[TEXT, TEXT, INT4], TEXT, Immutable, Body::Plain(split_part)),
    row(1620, "ascii", &[TEXT], INT4, Immutable, Body::Plain(ascii)),
    row(1621, "chr", &[INT4], TEXT, Immutable, Body::Plain(chr)),
    row(2089, "to_hex", &[INT4], TEXT, Immutable, Body::Plain(to_hex_int4)),
    row(2090, "to_hex", &[INT8], TEXT, Immutable, Body::Plain(to_hex_int8)),
    row(1282, "quote_ident", &[TEXT], TEXT, Immutable, Body::Plain(quote_ident)),
    row(1283, "quote_literal", &[TEXT], TEXT, Immutable, Body::Plain(quote_literal)),
    row(1285, "quote_literal", &[ANYELEMENT], TEXT, Stable, Body::Plain(quote_literal)),
    lax(row(1290, "quote_nullable", &[ANYELEMENT], TEXT, Stable, Body::Plain(quote_nullable))),
    lax(row(1289, "quote_nullable", &[TEXT], TEXT, Immutable, Body::Plain(quote_nullable))),
    variadic(row(3058, "concat", &[ANY], TEXT, Stable, Body::Plain(concat))),
    variadic(row(3059, "concat_ws", &[TEXT, ANY], TEXT, Stable, Body::Plain(concat_ws))),
];

/// `||` with one side that is no text.
pub(super) static OPERATORS: &[Operator] = &[
    Operator { oid: Oid(2779), name: "||", left: Some(TEXT), right: ANYNONARRAY, function: Oid(2003) },
    Operator { oid: Oid(2780), name: "||", left: Some(ANYNONARRAY), right: TEXT, function: Oid(2004) },
];

fn made(text: String) -> Result<Value> {
    Ok(Value::text(text))
}

/// 54000 before a text is made that is too long.
fn check_length(bytes: usize) -> Result<()> {
    if bytes <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large"))
}

pub(super) fn concatenate(args: &Args, _: &EvalContext) -> Result<Value> {
    let (a, b) = (args.text(0), args.text(1));
    check_length(a.len() + b.len())?;
    made([a.as_str(), b.as_str()].concat())
}

pub(super) fn concatenate_bytes(args: &Args, _: &EvalContext) -> Result<Value> {
    let (a, b) = (args.bytes(0), args.bytes(1));
    check_length(a.len() + b.len())?;
    Ok(Value::Bytes([a.as_ref(), b.as_ref()].concat().into()))
}

fn concatenate_any(args: &Args, cx: &EvalContext) -> Result<Value> {
    let mut out = Vec::new();
    for index in 0..2 {
        write_cast(args, index, cx, &mut out);
    }
    from_output(out)
}

/// A value as its cast to text writes it: unlike output, that spells booleans out.
fn write_cast(args: &Args, index: usize, cx: &EvalContext, out: &mut Vec<u8>) {
    match args.value(index) {
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        value => text::write(value, args.ty(index), cx.zone, out),
    }
}

/// Text from what output functions wrote.
fn from_output(out: Vec<u8>) -> Result<Value> {
    check_length(out.len())?;
    made(String::from_utf8(out).map_err(Error::internal)?)
}

fn concat(args: &Args, cx: &EvalContext) -> Result<Value> {
    let mut out = Vec::new();
    for index in (0..args.len()).filter(|&index| !args.is_null(index)) {
        text::write(args.value(index), args.ty(index), cx.zone, &mut out);
    }
    from_output(out)
}

fn concat_ws(args: &Args, cx: &EvalContext) -> Result<Value> {
    if args.is_null(0) {
        return Ok(Value::Null);
    }
    let mut out = Vec::new();
    let mut first = true;
    for index in (1..args.len()).filter(|&index| !args.is_null(index)) {
        if !first {
            out.extend_from_slice(args.text(0).as_bytes());
        }
        first = false;
        text::write(args.value(index), args.ty(index), cx.zone, &mut out);
    }
    from_output(out)
}

/// One character for one, as C's towlower and towupper do it.
fn each_char(text: &str, map: impl Fn(char) -> Option<char>) -> String {
    text.chars().map(|c| map(c).unwrap_or(c)).collect()
}

fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next();
    if mapped.next().is_some() { None } else { first }
}

pub(super) fn lower_text(text: &str) -> String {
    each_char(text, |c| single(c.to_lowercase()))
}

fn lower(args: &Args, _: &EvalContext) -> Result<Value> {
    made(lower_text(args.text(0)))
}

fn upper(args: &Args, _: &EvalContext) -> Result<Value> {
    made(each_char(args.text(0), |c| single(c.to_uppercase())))
}

fn initcap(args: &Args, _: &EvalContext) -> Result<Value> {
    let mut within = false;
    let text = args.text(0).chars().map(|c| {
        let mapped = if within { single(c.to_lowercase()) } else { single(c.to_uppercase()) };
        within = c.is_alphanumeric();
        mapped.unwrap_or(c)
    });
    made(text.collect())
}

fn length(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Int(args.text(0).chars().count() as i64))
}

fn octet_length(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Int(args.text(0).len() as i64))
}

fn byte_length(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Int(args.bytes(0).len() as i64))
}

/// Start and length of a substring, in elements from 0. Places before the first count, as the standard has it.
fn range(args: &Args) -> Result<(usize, usize)> {
    let start = args.int(1) - 1;
    let end = match args.len() {
        2 => i64::MAX,
        _ if args.int(2) < 0 => {
            return Err(Error::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        _ => start + args.int(2),
    };
    let start = start.max(0);
    Ok((start as usize, (end - start).max(0) as usize))
}

fn substring(args: &Args, _: &EvalContext) -> Result<Value> {
    let (start, count) = range(args)?;
    made(args.text(0).chars().skip(start).take(count).collect())
}

fn bit_length(args: &Args, _: &EvalContext) -> Result<Value> {
    let bytes = match args.value(0) {
        Value::Bytes(bytes) => bytes.len(),
        _ => args.text(0).len(),
    };
    Ok(Value::Int(bytes as i64 * 8))
}

/// overlay(text, placed, start [, length]): as much is replaced as is placed, unless a length is given.
fn overlay(args: &Args, _: &EvalContext) -> Result<Value> {
    let (text, placed, start) = (args.text(0), args.text(1), args.int(2));
    let length = if args.len() > 3 { args.int(3) } else { placed.chars().count() as i64 };
    if start <= 0 {
        return Err(Error::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let end = start + length;
    if i32::try_from(end).is_err() {
        return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range"));
    }
    let before = text.chars().take((start - 1) as usize);
    let after = text.chars().skip((end - 1).max(0) as usize);
    made(before.chain(placed.chars()).chain(after).collect())
}

fn byte_substring(args: &Args, _: &EvalContext) -> Result<Value> {
    let (start, count) = range(args)?;
    let bytes = args.bytes(0);
    let start = start.min(bytes.len());
    let end = start.saturating_add(count).min(bytes.len());
    Ok(Value::Bytes(bytes.slice(start..end)))
}

fn trimmed(args: &Args, at_start: bool, at_end: bool) -> Result<Value> {
    let set = if args.len() > 1 { args.text(1).as_str() } else { " " };
    let mut text = args.text(0).as_str();
    if at_start {
        text = text.trim_start_matches(|c| set.contains(c));
    }
    if at_end {
        text = text.trim_end_matches(|c| set.contains(c));
    }
    Ok(Value::text(text))
}

fn trim_both(args: &Args, _: &EvalContext) -> Result<Value> {
    trimmed(args, true, true)
}

fn trim_left(args: &Args, _: &EvalContext) -> Result<Value> {
    trimmed(args, true, false)
}

fn trim_right(args: &Args, _: &EvalContext) -> Result<Value> {
    trimmed(args, false, true)
}

fn replace(args: &Args, _: &EvalContext) -> Result<Value> {
    let (text, from, to) = (args.text(0), args.text(1), args.text(2));
    if from.is_empty() {
        return Ok(Value::Text(text.clone()));
    }
    let found = text.matches(from.as_str()).count();
    check_length(text.len().saturating_add(found.saturating_mul(to.len())))?;
    made(text.replace(from.as_str(), to))
}

fn translate(args: &Args, _: &EvalContext) -> Result<Value> {
    let (from, to) = (args.text(1), args.text(2));
    let mapped = args.text(0).chars().filter_map(|c| match from.chars().position(|candidate| candidate == c) {
        Some(place) => to.chars().nth(place),
        None => Some(c),
    });
    made(mapped.collect())
}

fn position(args: &Args, _: &EvalContext) -> Result<Value> {
    // position(part IN text) arrives as position(text, part), like strpos.
    let (text, part) = (args.text(0), args.text(1));
    Ok(Value::Int(text.find(part.as_str()).map_or(0, |at| text[..at].chars().count() as i64 + 1)))
}

/// The first `count` characters, or all but the last `-count`.
fn left(args: &Args, _: &EvalContext) -> Result<Value> {
    let (text, count) = (args.text(0), args.int(1));
    let keep = if count >= 0 { count } else { (text.chars().count() as i64 + count).max(0) };
    made(text.chars().take(keep as usize).collect())
}

fn right(args: &Args, _: &EvalContext) -> Result<Value> {
    let (text, count) = (args.text(0), args.int(1));
    let skip = if count >= 0 { (text.chars().count() as i64 - count).max(0) } else { -count };
    made(text.chars().skip(skip as usize).collect())
}

/// The text cut to a length, and the filling that it lacks.
fn padding(args: &Args) -> Result<(String, String)> {
    let length = args.int(1).max(0) as usize;
    check_length(length)?;
    let fill = if args.len() > 2 { args.text(2).as_str() } else { " " };
    let kept: String = args.text(0).chars().take(length).collect();
    let missing = length - kept.chars().count();
    let filling: String = fill.chars().cycle().take(missing).collect();
    check_length(kept.len() + filling.len())?;
    Ok((kept, filling))
}

fn pad_left(args: &Args, _: &EvalContext) -> Result<Value> {
    let (kept, filling) = padding(args)?;
    made(filling + &kept)
}

fn pad_right(args: &Args, _: &EvalContext) -> Result<Value> {
    let (kept, filling) = padding(args)?;
    made(kept + &filling)
}

fn repeat(args: &Args, _: &EvalContext) -> Result<Value> {
    let (text, count) = (args.text(0), args.int(1).max(0) as usize);
    check_length(text.len().saturating_mul(count))?;
    made(text.repeat(count))
}

fn reverse(args: &Args, _: &EvalContext) -> Result<Value> {
    made(args.text(0).chars().rev().collect())
}

fn split_part(args: &Args, _: &EvalContext) -> Result<Value> {
    let (text, separator, field) = (args.text(0), args.text(1), args.int(2));
    if field == 0 {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "field position must not be zero"));
    }
    if text.is_empty() || separator.is_empty() {
        let whole = !text.is_empty() && (field == 1 || field == -1);
        return Ok(Value::text(if whole { text.as_str() } else { "" }));
    }
    let place = field.unsigned_abs() as usize - 1;
    let part = match field > 0 {
        true => text.split(separator.as_str()).nth(place),
        false => text.rsplit(separator.as_str()).nth(place),
    };
    Ok(Value::text(part.unwrap_or("")))
}

fn ascii(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Int(args.text(0).chars().next().map_or(0, |c| i64::from(u32::from(c)))))
}

fn chr(args: &Args, _: &EvalContext) -> Result<Value> {
    let refused = |message: String| Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    match args.int(0) {
        0 => refused("null character not permitted".into()),
        code if code < 0 => Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "character number must be positive")),
        code => match u32::try_from(code).ok().and_then(char::from_u32) {
            Some(c) => made(c.to_string()),
            None if code > 0x10_FFFF => refused(format!("requested character too large for encoding: {code}")),
            None => refused(format!("requested character not valid for encoding: {code}")),
        },
    }
}

fn to_hex_int4(args: &Args, _: &EvalContext) -> Result<Value> {
    made(format!("{:x}", args.int(0) as i32))
}

fn to_hex_int8(args: &Args, _: &EvalContext) -> Result<Value> {
    made(format!("{:x}", args.int(0)))
}

pub(super) fn starts_with(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Bool(args.text(0).starts_with(args.text(1).as_str())))
}

fn quote_ident(args: &Args, _: &EvalContext) -> Result<Value> {
    made(crate::expr::display::quote_identifier(args.text(0)))
}

fn quote_literal(args: &Args, cx: &EvalContext) -> Result<Value> {
    let mut out = Vec::new();
    write_cast(args, 0, cx, &mut out);
    made(crate::expr::display::quote_literal(&String::from_utf8(out).map_err(Error::internal)?))
}

fn quote_nullable(args: &Args, cx: &EvalContext) -> Result<Value> {
    if args.is_null(0) { Ok(Value::text("NULL")) } else { quote_literal(args, cx) }
}
