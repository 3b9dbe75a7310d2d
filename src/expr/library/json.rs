//! json and jsonb.

use super::{BOOL, INT4, JSON, JSONB, TEXT, row, variadic};
use crate::error::{Error, Result, SqlState};
use crate::expr::EvalContext;
use crate::expr::function::{
    ANY, ANYELEMENT, Args, Body, Function, Operator, Volatility::Immutable, Volatility::Stable,
};
use crate::types::json::{Json, from_value, write_json_value, write_string};
use crate::types::{Oid, SqlType, Value};

/// Their rows; those of operators without arrays stand with the operators.
pub(super) static FUNCTIONS: &[Function] = &[
    row(3176, "to_json", &[ANYELEMENT], JSON, Stable, Body::Plain(to_json)),
    row(3787, "to_jsonb", &[ANYELEMENT], JSONB, Stable, Body::Plain(to_jsonb)),
    variadic(row(3200, "json_build_object", &[ANY], JSON, Stable, Body::Plain(json_build_object))),
    row(3201, "json_build_object", &[], JSON, Stable, Body::Plain(json_build_object)),
    variadic(row(3198, "json_build_array", &[ANY], JSON, Stable, Body::Plain(json_build_array))),
    row(3199, "json_build_array", &[], JSON, Stable, Body::Plain(json_build_array)),
    variadic(row(3273, "jsonb_build_object", &[ANY], JSONB, Stable, Body::Plain(jsonb_build_object))),
    row(3274, "jsonb_build_object", &[], JSONB, Stable, Body::Plain(jsonb_build_object)),
    variadic(row(3271, "jsonb_build_array", &[ANY], JSONB, Stable, Body::Plain(jsonb_build_array))),
    row(3272, "jsonb_build_array", &[], JSONB, Stable, Body::Plain(jsonb_build_array)),
    row(3968, "json_typeof", &[JSON], TEXT, Immutable, Body::Plain(type_of)),
    row(3210, "jsonb_typeof", &[JSONB], TEXT, Immutable, Body::Plain(type_of)),
    row(3956, "json_array_length", &[JSON], INT4, Immutable, Body::Plain(array_length)),
    row(3207, "jsonb_array_length", &[JSONB], INT4, Immutable, Body::Plain(array_length)),
    row(3262, "jsonb_strip_nulls", &[JSONB], JSONB, Immutable, Body::Plain(strip_nulls)),
    row(3306, "jsonb_pretty", &[JSONB], TEXT, Immutable, Body::Plain(pretty)),
    row(3217, "jsonb_extract_path_op", &[JSONB, TEXT], JSONB, Immutable, Body::Plain(at_path)),
    row(3940, "jsonb_extract_path_text_op", &[JSONB, TEXT], TEXT, Immutable, Body::Plain(at_path_text)),
    row(3304, "jsonb_delete_path", &[JSONB, TEXT], JSONB, Immutable, Body::Plain(delete_path)),
    row(4048, "jsonb_exists_any", &[JSONB, TEXT], BOOL, Immutable, Body::Plain(exists_any)),
    row(4049, "jsonb_exists_all", &[JSONB, TEXT], BOOL, Immutable, Body::Plain(exists_all)),
    row(3305, "jsonb_set", &[JSONB, TEXT, JSONB, BOOL], JSONB, Immutable, Body::Plain(set)),
    row(9130, "jsonb_set", &[JSONB, TEXT, JSONB], JSONB, Immutable, Body::Plain(set)),
];

/// Operators whose right side is text[] in PostgreSQL. There are no arrays yet: the path is the text of one.
pub(super) static OPERATORS: &[Operator] = &[
    path_operator(3213, "#>", 3217),
    path_operator(3206, "#>>", 3940),
    path_operator(3287, "#-", 3304),
    path_operator(3248, "?|", 4048),
    path_operator(3249, "?&", 4049),
];

const fn path_operator(oid: u32, name: &'static str, function: u32) -> Operator {
    Operator { oid: Oid(oid), name, left: Some(JSONB), right: TEXT, function: Oid(function) }
}

fn document(json: &Json) -> Value {
    Value::text(json.to_text())
}

fn parsed(args: &Args, index: usize) -> Result<Json> {
    Json::parse(args.text(index))
}

fn from_output(out: Vec<u8>) -> Result<Value> {
    String::from_utf8(out).map(Value::text).map_err(Error::internal)
}

fn to_json(args: &Args, cx: &EvalContext) -> Result<Value> {
    let mut out = Vec::new();
    write_json(args, 0, cx, &mut out);
    from_output(out)
}

fn to_jsonb(args: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(document(&json_of(args, 0, cx)))
}

fn json_of(args: &Args, index: usize, cx: &EvalContext) -> Json {
    if args.is_null(index) { Json::Null } else { from_value(args.value(index), args.ty(index), cx.zone) }
}

/// A key of json_build_object and jsonb_build_object.
fn key_of(args: &Args, index: usize, cx: &EvalContext) -> Result<String> {
    let invalid = |message: String| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
    if args.is_null(index) {
        return Err(invalid(format!("argument {}: key must not be null", index + 1)));
    }
    if [JSON, JSONB].iter().any(|ty| args.ty(index).wire().same(*ty)) {
        return Err(invalid("key value must be scalar, not array, composite, or json".to_owned()));
    }
    Ok(json_of(args, index, cx).as_text().unwrap_or_default())
}

fn check_pairs(args: &Args, name: &str) -> Result<()> {
    if args.len().is_multiple_of(2) {
        return Ok(());
    }
    Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "argument list must have even number of elements")
        .hint(format!("The arguments of {name}() must consist of alternating keys and values.")))
}

fn json_build_object(args: &Args, cx: &EvalContext) -> Result<Value> {
    check_pairs(args, "json_build_object")?;
    let mut out = vec![b'{'];
    for index in (0..args.len()).step_by(2) {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        if args.is_null(index) {
            let message = format!("argument {} cannot be null", index + 1);
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).hint("Object keys should be text."));
        }
        write_string(&key_of(args, index, cx)?, &mut out);
        out.extend_from_slice(b" : ");
        write_json(args, index + 1, cx, &mut out);
    }
    out.push(b'}');
    from_output(out)
}

fn write_json(args: &Args, index: usize, cx: &EvalContext, out: &mut Vec<u8>) {
    if args.is_null(index) {
        out.extend_from_slice(b"null");
    } else if [JSON, JSONB].iter().any(|ty| args.ty(index).wire().same(*ty)) {
        out.extend_from_slice(args.text(index).as_bytes());
    } else {
        write_json_value(args.value(index), args.ty(index), cx.zone, false, out);
    }
}

fn json_build_array(args: &Args, cx: &EvalContext) -> Result<Value> {
    let mut out = vec![b'['];
    for index in 0..args.len() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write_json(args, index, cx, &mut out);
    }
    out.push(b']');
    from_output(out)
}

fn jsonb_build_object(args: &Args, cx: &EvalContext) -> Result<Value> {
    check_pairs(args, "jsonb_build_object")?;
    let mut fields = Vec::with_capacity(args.len() / 2);
    for index in (0..args.len()).step_by(2) {
        fields.push((key_of(args, index, cx)?, json_of(args, index + 1, cx)));
    }
    Ok(document(&Json::object(fields)))
}

fn jsonb_build_array(args: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(document(&Json::Array((0..args.len()).map(|index| json_of(args, index, cx)).collect())))
}

fn type_of(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::text(parsed(args, 0)?.type_name()))
}

fn array_length(args: &Args, _: &EvalContext) -> Result<Value> {
    match parsed(args, 0)? {
        Json::Array(elements) => Ok(Value::Int(elements.len() as i64)),
        Json::Object(_) => Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "cannot get array length of a non-array")),
        _ => Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "cannot get array length of a scalar")),
    }
}

/// A part of a document as the type of the document: of json the text as it was written.
fn part(found: Option<&Json>) -> Value {
    found.map_or(Value::Null, document)
}

fn part_text(found: Option<&Json>) -> Value {
    found.and_then(Json::as_text).map_or(Value::Null, Value::text)
}

fn is_json(args: &Args) -> bool {
    args.ty(0).same(SqlType::JSON)
}

pub(super) fn field(args: &Args, _: &EvalContext) -> Result<Value> {
    if is_json(args) {
        return Ok(raw_field(args.text(0), args.text(1)).map_or(Value::Null, Value::text));
    }
    Ok(part(parsed(args, 0)?.field(args.text(1))))
}

pub(super) fn field_text(args: &Args, _: &EvalContext) -> Result<Value> {
    if is_json(args) {
        return raw_text(raw_field(args.text(0), args.text(1)));
    }
    Ok(part_text(parsed(args, 0)?.field(args.text(1))))
}

/// `jsonb -> index`: PostgreSQL keeps a scalar as an array of one, and it shows here.
fn element_of(document: &Json, index: i64) -> Option<&Json> {
    match document {
        Json::Array(_) | Json::Object(_) => document.element(index),
        scalar => matches!(index, 0 | -1).then_some(scalar),
    }
}

pub(super) fn element(args: &Args, _: &EvalContext) -> Result<Value> {
    if is_json(args) {
        return Ok(raw_element(args.text(0), args.int(1)).map_or(Value::Null, Value::text));
    }
    Ok(part(element_of(&parsed(args, 0)?, args.int(1))))
}

pub(super) fn element_text(args: &Args, _: &EvalContext) -> Result<Value> {
    if is_json(args) {
        return raw_text(raw_element(args.text(0), args.int(1)));
    }
    Ok(part_text(element_of(&parsed(args, 0)?, args.int(1))))
}

/// `->>` of json: a string without quotes, null as NULL, all else as it was written.
fn raw_text(found: Option<&str>) -> Result<Value> {
    Ok(match found {
        None | Some("null") => Value::Null,
        Some(raw) if raw.starts_with('"') => part_text(Some(&Json::parse(raw)?)),
        Some(raw) => Value::text(raw),
    })
}

/// The members of a valid object, or the elements of a valid array (with empty keys), as they are written.
fn raw_members(text: &str) -> Vec<(&str, &str)> {
    let text = text.trim();
    let is_object = text.starts_with('{');
    if !is_object && !text.starts_with('[') {
        return Vec::new();
    }
    let mut members = Vec::new();
    let mut rest = text[1..text.len() - 1].trim_start();
    while !rest.is_empty() {
        let mut key = "";
        if is_object {
            let end = value_end(rest);
            key = &rest[..end];
            // Past the colon.
            rest = rest[end..].trim_start()[1..].trim_start();
        }
        let end = value_end(rest);
        members.push((key, rest[..end].trim_end()));
        rest = rest[end..].trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    members
}

/// Where the value at the beginning of valid JSON ends.
fn value_end(text: &str) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => {
                in_string = !in_string;
                if !in_string && depth == 0 {
                    return at + 1;
                }
            }
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b':' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// The last member of that name, as PostgreSQL takes it.
fn raw_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let named = |key: &str| matches!(Json::parse(key), Ok(Json::String(key)) if key == name);
    raw_members(text).into_iter().rev().find(|(key, _)| named(key)).map(|(_, value)| value)
}

fn raw_element(text: &str, index: i64) -> Option<&str> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let elements = raw_members(text);
    let place = if index < 0 { elements.len() as i64 + index } else { index };
    usize::try_from(place).ok().and_then(|place| elements.get(place)).map(|(_, value)| *value)
}

/// The elements of a text[] in its text form.
fn path(args: &Args, index: usize) -> Result<Vec<String>> {
    let written = args.text(index).trim();
    let malformed = |detail: &str| {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{}\"", args.text(index)))
            .detail(detail)
    };
    let inner = written
        .strip_prefix('{')
        .ok_or_else(|| malformed("Array value must start with \"{\" or dimension information."))?;
    let inner = inner.strip_suffix('}').ok_or_else(|| malformed("Unexpected end of input."))?;
    let mut elements = Vec::new();
    if inner.trim().is_empty() {
        return Ok(elements);
    }
    let (mut element, mut quoted, mut in_quotes) = (String::new(), false, false);
    let mut characters = inner.chars();
    loop {
        match characters.next() {
            Some('\\') => element.extend(characters.next()),
            Some('"') => {
                in_quotes = !in_quotes;
                quoted = true;
            }
            Some('{' | '}') if !in_quotes => return Err(malformed("Unexpected \"{\" character.")),
            Some(',') if !in_quotes => elements.push(finish_element(&mut element, &mut quoted)),
            Some(c) => element.push(c),
            None if in_quotes => return Err(malformed("Unexpected end of input.")),
            None => {
                elements.push(finish_element(&mut element, &mut quoted));
                return Ok(elements);
            }
        }
    }
}

fn finish_element(element: &mut String, quoted: &mut bool) -> String {
    let whole = std::mem::take(element);
    if std::mem::take(quoted) { whole } else { whole.trim().to_owned() }
}

fn at_path(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(part(parsed(args, 0)?.path(&path(args, 1)?)))
}

fn at_path_text(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(part_text(parsed(args, 0)?.path(&path(args, 1)?)))
}

pub(super) fn concatenate(args: &Args, _: &EvalContext) -> Result<Value> {
    let joined = match (parsed(args, 0)?, parsed(args, 1)?) {
        (Json::Object(mut a), Json::Object(b)) => {
            a.extend(b);
            Json::object(a)
        }
        (Json::Array(mut a), Json::Array(b)) => {
            a.extend(b);
            Json::Array(a)
        }
        (Json::Array(mut a), b) => {
            a.push(b);
            Json::Array(a)
        }
        (a, Json::Array(mut b)) => {
            b.insert(0, a);
            Json::Array(b)
        }
        (a, b) => Json::Array(vec![a, b]),
    };
    Ok(document(&joined))
}

pub(super) fn exists(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Bool(parsed(args, 0)?.has_key(args.text(1))))
}

fn exists_any(args: &Args, _: &EvalContext) -> Result<Value> {
    let json = parsed(args, 0)?;
    Ok(Value::Bool(path(args, 1)?.iter().any(|key| json.has_key(key))))
}

fn exists_all(args: &Args, _: &EvalContext) -> Result<Value> {
    let json = parsed(args, 0)?;
    Ok(Value::Bool(path(args, 1)?.iter().all(|key| json.has_key(key))))
}

pub(super) fn contains(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Bool(parsed(args, 0)?.contains(&parsed(args, 1)?)))
}

pub(super) fn contained(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Bool(parsed(args, 1)?.contains(&parsed(args, 0)?)))
}

fn invalid_delete(message: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

pub(super) fn delete_field(args: &Args, _: &EvalContext) -> Result<Value> {
    let name = args.text(1).as_str();
    let left = match parsed(args, 0)? {
        Json::Object(mut fields) => {
            fields.retain(|(key, _)| key != name);
            Json::Object(fields)
        }
        Json::Array(mut elements) => {
            elements.retain(|element| !matches!(element, Json::String(text) if text == name));
            Json::Array(elements)
        }
        _ => return Err(invalid_delete("cannot delete from scalar")),
    };
    Ok(document(&left))
}

pub(super) fn delete_element(args: &Args, _: &EvalContext) -> Result<Value> {
    match parsed(args, 0)? {
        Json::Array(mut elements) => {
            if let Some(place) = place_of(elements.len(), args.int(1)) {
                elements.remove(place);
            }
            Ok(document(&Json::Array(elements)))
        }
        Json::Object(_) => Err(invalid_delete("cannot delete from object using integer index")),
        _ => Err(invalid_delete("cannot delete from scalar")),
    }
}

/// An index from either end; none outside.
fn place_of(length: usize, index: i64) -> Option<usize> {
    let place = if index < 0 { length as i64 + index } else { index };
    usize::try_from(place).ok().filter(|&place| place < length)
}

/// A path's step into an array.
fn step_of(step: &str, position: usize) -> Result<i64> {
    step.parse().map_err(|_| {
        let message = format!("path element at position {position} is not an integer: \"{step}\"");
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
    })
}

fn delete_path(args: &Args, _: &EvalContext) -> Result<Value> {
    let mut json = parsed(args, 0)?;
    if !matches!(json, Json::Array(_) | Json::Object(_)) {
        return Err(invalid_delete("cannot delete path in scalar"));
    }
    remove_at(&mut json, &path(args, 1)?, 1)?;
    Ok(document(&json))
}

fn remove_at(json: &mut Json, path: &[String], position: usize) -> Result<()> {
    let Some((step, rest)) = path.split_first() else { return Ok(()) };
    match json {
        Json::Object(fields) if rest.is_empty() => fields.retain(|(key, _)| key != step),
        Json::Object(fields) => {
            if let Some((_, inner)) = fields.iter_mut().find(|(key, _)| key == step) {
                remove_at(inner, rest, position + 1)?;
            }
        }
        Json::Array(elements) => {
            if let Some(place) = place_of(elements.len(), step_of(step, position)?) {
                if rest.is_empty() {
                    elements.remove(place);
                } else {
                    remove_at(&mut elements[place], rest, position + 1)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn set(args: &Args, _: &EvalContext) -> Result<Value> {
    let mut json = parsed(args, 0)?;
    if !matches!(json, Json::Array(_) | Json::Object(_)) {
        return Err(invalid_delete("cannot set path in scalar"));
    }
    let create = args.len() < 4 || args.bool(3);
    let replacement = parsed(args, 2)?;
    set_at(&mut json, &path(args, 1)?, replacement, create, 1)?;
    Ok(document(&json))
}

fn set_at(json: &mut Json, path: &[String], new: Json, create: bool, position: usize) -> Result<()> {
    let Some((step, rest)) = path.split_first() else { return Ok(()) };
    match json {
        Json::Object(fields) => {
            let found = fields.iter_mut().find(|(key, _)| key == step);
            match found {
                Some((_, inner)) if rest.is_empty() => *inner = new,
                Some((_, inner)) => set_at(inner, rest, new, create, position + 1)?,
                None if rest.is_empty() && create => {
                    let mut all = std::mem::take(fields);
                    all.push((step.clone(), new));
                    *json = Json::object(all);
                }
                None => {}
            }
        }
        Json::Array(elements) => {
            let index = step_of(step, position)?;
            match place_of(elements.len(), index) {
                Some(place) if rest.is_empty() => elements[place] = new,
                Some(place) => set_at(&mut elements[place], rest, new, create, position + 1)?,
                None if rest.is_empty() && create && index < 0 => elements.insert(0, new),
                None if rest.is_empty() && create => elements.push(new),
                None => {}
            }
        }
        _ => {}
    }
    Ok(())
}

fn strip_nulls(args: &Args, _: &EvalContext) -> Result<Value> {
    fn stripped(json: Json) -> Json {
        match json {
            Json::Object(fields) => Json::Object(
                fields.into_iter().filter(|(_, v)| *v != Json::Null).map(|(k, v)| (k, stripped(v))).collect(),
            ),
            Json::Array(elements) => Json::Array(elements.into_iter().map(stripped).collect()),
            other => other,
        }
    }
    Ok(document(&stripped(parsed(args, 0)?)))
}

fn pretty(args: &Args, _: &EvalContext) -> Result<Value> {
    let mut out = Vec::new();
    write_pretty(&parsed(args, 0)?, 0, &mut out);
    from_output(out)
}

fn write_pretty(json: &Json, depth: usize, out: &mut Vec<u8>) {
    let indent = |depth: usize, out: &mut Vec<u8>| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 4));
    };
    match json {
        Json::Array(elements) => {
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                indent(depth + 1, out);
                write_pretty(element, depth + 1, out);
            }
            indent(depth, out);
            out.push(b']');
        }
        Json::Object(fields) => {
            out.push(b'{');
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                indent(depth + 1, out);
                write_string(key, out);
                out.extend_from_slice(b": ");
                write_pretty(value, depth + 1, out);
            }
            indent(depth, out);
            out.push(b'}');
        }
        scalar => scalar.write(out),
    }
}
