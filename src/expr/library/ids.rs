//! Identifiers.

use super::{INT8, TEXT, UUID, row};
use crate::error::Result;
use crate::expr::EvalContext;
use crate::expr::function::{Args, Body, Function, Volatility::Volatile};
use crate::types::Value;

/// Crockford's base 32, in which ULIDs are written.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Their rows.
pub(super) static FUNCTIONS: &[Function] = &[
    row(3432, "gen_random_uuid", &[], UUID, Volatile, Body::Plain(gen_random_uuid)),
    row(9110, "snowflake_id", &[], INT8, Volatile, Body::Plain(snowflake_id)),
    row(9111, "ulid", &[], TEXT, Volatile, Body::Plain(ulid)),
    row(9112, "uuid_v7", &[], UUID, Volatile, Body::Plain(uuid_v7)),
];

/// Sets version and variant (RFC 9562, 4.1 and 4.2).
fn as_uuid(mut bytes: [u8; 16], version: u8) -> Value {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Value::Uuid(bytes)
}

/// 48 bits of milliseconds since the Unix epoch, then 80 random bits.
fn timed(cx: &EvalContext) -> [u8; 16] {
    let mut bytes = [0; 16];
    cx.env.fill_random(&mut bytes);
    let millis = cx.env.now().max(0) / 1_000;
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes
}

fn gen_random_uuid(_: &Args, cx: &EvalContext) -> Result<Value> {
    let mut bytes = [0; 16];
    cx.env.fill_random(&mut bytes);
    Ok(as_uuid(bytes, 4))
}

fn uuid_v7(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(as_uuid(timed(cx), 7))
}

fn snowflake_id(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Int(cx.ids.snowflake()))
}

fn ulid(_: &Args, cx: &EvalContext) -> Result<Value> {
    let number = u128::from_be_bytes(timed(cx));
    let digits = (0..26).rev().map(|place| char::from(CROCKFORD[(number >> (place * 5) & 31) as usize]));
    Ok(Value::text(digits.collect::<String>()))
}
