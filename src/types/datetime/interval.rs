//! Reading intervals: PostgreSQL's units, SQL's `Y-M D H:M:S`, and ISO 8601's `P1DT2H`.

use super::Interval;
use super::calendar::DAY;
use crate::error::{Error, Result, SqlState};

/// Why a text is no interval.
enum Refusal {
    Form,
    Range,
}

type Read<T> = std::result::Result<T, Refusal>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Of this many microseconds, a day's fraction included.
    Micros(i64),
    /// Of this many days.
    Days(i32),
    /// One month.
    Month,
    /// Of this many years.
    Years(i32),
}

/// Reads an interval.
pub fn parse_interval(text: &str) -> Result<Interval> {
    let trimmed = text.trim();
    let read = match trimmed.strip_prefix('P') {
        Some(iso) => read_iso(iso),
        None => read_words(&trimmed.to_ascii_lowercase()),
    };
    read.map_err(|refusal| match refusal {
        Refusal::Form => {
            let message = format!("invalid input syntax for type interval: \"{text}\"");
            Error::new(SqlState::INVALID_DATETIME_FORMAT, message)
        }
        Refusal::Range => {
            let message = format!("interval field value out of range: \"{text}\"");
            Error::new(SqlState::INTERVAL_FIELD_OVERFLOW, message)
        }
    })
}

/// Unit and the bit that says it was given already.
fn unit(word: &str) -> Option<(Unit, u32)> {
    Some(match word {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" | "microsecon" => {
            (Unit::Micros(1), 1)
        }
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" | "millisecon" => {
            (Unit::Micros(1_000), 2)
        }
        "s" | "sec" | "secs" | "second" | "seconds" => (Unit::Micros(1_000_000), 4),
        "m" | "min" | "mins" | "minute" | "minutes" => (Unit::Micros(60_000_000), 8),
        "h" | "hr" | "hrs" | "hour" | "hours" => (Unit::Micros(3_600_000_000), 16),
        "d" | "day" | "days" => (Unit::Days(1), 32),
        "w" | "week" | "weeks" => (Unit::Days(7), 64),
        "mon" | "mons" | "month" | "months" => (Unit::Month, 128),
        "y" | "yr" | "yrs" | "year" | "years" => (Unit::Years(1), 256),
        "dec" | "decs" | "decade" | "decades" => (Unit::Years(10), 512),
        "c" | "cent" | "century" | "centuries" => (Unit::Years(100), 1024),
        "mil" | "mils" | "millennia" | "millennium" => (Unit::Years(1000), 2048),
        _ => return None,
    })
}

/// Adds a number of a unit; the fraction goes down to smaller fields.
fn add(interval: &mut Interval, unit: Unit, whole: i64, fraction: f64) -> Read<()> {
    let small = |value: i64| i32::try_from(value).map_err(|_| Refusal::Range);
    let grow = |field: &mut i32, by: i64| -> Read<()> {
        *field = small(i64::from(*field).checked_add(by).ok_or(Refusal::Range)?)?;
        Ok(())
    };
    let add_days = |interval: &mut Interval, days: f64| -> Read<()> {
        grow(&mut interval.days, days.trunc() as i64)?;
        add_micros(interval, 0, (days - days.trunc()) * DAY as f64)
    };
    match unit {
        Unit::Micros(size) => {
            add_micros(interval, whole.checked_mul(size).ok_or(Refusal::Range)?, fraction * size as f64)
        }
        Unit::Days(size) => {
            add_days(interval, fraction * f64::from(size))?;
            grow(&mut interval.days, i64::from(small(whole)?) * i64::from(size))
        }
        Unit::Month => {
            add_days(interval, fraction * 30.0)?;
            grow(&mut interval.months, whole)
        }
        Unit::Years(size) => {
            let months = (fraction * f64::from(size) * 12.0).round_ties_even() as i64;
            grow(&mut interval.months, whole.checked_mul(i64::from(size) * 12).ok_or(Refusal::Range)?)?;
            grow(&mut interval.months, months)
        }
    }
}

fn add_micros(interval: &mut Interval, whole: i64, fraction: f64) -> Read<()> {
    let cut = fraction.trunc();
    let rest = fraction - cut;
    let rounded = cut as i64 + i64::from(rest > 0.5) - i64::from(rest < -0.5);
    let sum = interval.micros.checked_add(whole).and_then(|sum| sum.checked_add(rounded));
    interval.micros = sum.ok_or(Refusal::Range)?;
    Ok(())
}

/// Splits `[sign]digits[.digits]` into whole and fraction, both with the sign.
fn number(text: &str) -> Read<(i64, f64)> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) {
        return Err(Refusal::Form);
    }
    let negative = text.starts_with('-');
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        format!("{}{whole}", if negative { "-" } else { "" }).parse().map_err(|_| Refusal::Range)?
    };
    let fraction: f64 = format!("0.{fraction}0").parse().map_err(|_| Refusal::Form)?;
    Ok((whole, if negative { -fraction } else { fraction }))
}

/// `[sign]h:m[:s[.f]]`; without seconds, `m:s.f` when there is a fraction.
fn time(text: &str) -> Read<i64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let parts: Vec<&str> = unsigned.split(':').collect();
    let (hours, minutes, seconds) = match parts[..] {
        [hours, ""] => (hours, "0", "0"),
        [minutes, seconds] if seconds.contains('.') => ("0", minutes, seconds),
        [hours, minutes] => (hours, minutes, "0"),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return Err(Refusal::Form),
    };
    let ((hours, _), (minutes, _), (seconds, fraction)) = (number(hours)?, number(minutes)?, number(seconds)?);
    if !(0..60).contains(&minutes) || !(0..=60).contains(&seconds) {
        return Err(Refusal::Range);
    }
    let micros = hours
        .checked_mul(3_600_000_000)
        .and_then(|sum| sum.checked_add(minutes * 60_000_000 + seconds * 1_000_000))
        .and_then(|sum| sum.checked_add((fraction * 1e6).round_ties_even() as i64))
        .ok_or(Refusal::Range)?;
    Ok(if text.starts_with('-') { -micros } else { micros })
}

/// Splits into signed numbers with their punctuation, and words.
fn split(text: &str) -> Read<Vec<&str>> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let belongs: fn(u8) -> bool = match bytes[at] {
            byte if byte.is_ascii_whitespace() || byte == b'@' || byte == b',' => {
                at += 1;
                continue;
            }
            b'a'..=b'z' => |byte| byte.is_ascii_alphabetic(),
            b'-' | b'+' | b'0'..=b'9' | b'.' => |byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'-'),
            _ => return Err(Refusal::Form),
        };
        at += 1;
        while at < bytes.len() && belongs(bytes[at]) {
            at += 1;
        }
        tokens.push(&text[start..at]);
    }
    Ok(tokens)
}

fn read_words(text: &str) -> Read<Interval> {
    let mut tokens = split(text)?;
    let ago = tokens.pop_if(|last| *last == "ago").is_some();
    let mut interval = Interval::default();
    let mut seen = 0;
    let mut mark = |bits: u32| {
        let fresh = seen & bits == 0;
        seen |= bits;
        if fresh { Ok(()) } else { Err(Refusal::Form) }
    };
    let mut rest = tokens.as_slice();
    if rest.is_empty() {
        return Err(Refusal::Form);
    }
    while let Some((&token, after)) = rest.split_first() {
        rest = after;
        if token.contains(':') {
            mark(4 | 8 | 16)?;
            add_micros(&mut interval, time(token)?, 0.0)?;
        } else if token[1..].contains('-') {
            let (years, months) = token.rsplit_once('-').ok_or(Refusal::Form)?;
            mark(128 | 256)?;
            let ((years, _), (months, _)) = (number(years)?, number(months)?);
            if months >= 12 {
                return Err(Refusal::Range);
            }
            add(&mut interval, Unit::Years(1), years, 0.0)?;
            add(&mut interval, Unit::Month, if token.starts_with('-') { -months } else { months }, 0.0)?;
        } else {
            let (whole, fraction) = number(token)?;
            let (unit, bit) = match rest.split_first() {
                Some((word, after)) if unit(word).is_some() => {
                    rest = after;
                    unit(word).ok_or(Refusal::Form)?
                }
                Some((next, _)) if next.contains(':') => (Unit::Days(1), 32),
                None if !ago => (Unit::Micros(1_000_000), 4),
                _ => return Err(Refusal::Form),
            };
            mark(bit)?;
            add(&mut interval, unit, whole, fraction)?;
        }
    }
    if ago { super::negate_interval(interval).map_err(|_| Refusal::Range) } else { Ok(interval) }
}

/// After the P: numbers with designators, in the time part after a T.
fn read_iso(text: &str) -> Read<Interval> {
    let mut interval = Interval::default();
    let (date, time_part) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    if date.is_empty() && time_part.is_none_or(str::is_empty) {
        return Err(Refusal::Form);
    }
    read_designated(date, &mut interval, |designator| {
        Some(match designator {
            'Y' => Unit::Years(1),
            'M' => Unit::Month,
            'W' => Unit::Days(7),
            'D' => Unit::Days(1),
            _ => return None,
        })
    })?;
    match time_part {
        Some(clock) if clock.contains(':') => add_micros(&mut interval, time(clock)?, 0.0)?,
        Some(fields) => read_designated(fields, &mut interval, |designator| {
            Some(match designator {
                'H' => Unit::Micros(3_600_000_000),
                'M' => Unit::Micros(60_000_000),
                'S' => Unit::Micros(1_000_000),
                _ => return None,
            })
        })?,
        None => {}
    }
    Ok(interval)
}

fn read_designated(text: &str, interval: &mut Interval, unit: impl Fn(char) -> Option<Unit>) -> Read<()> {
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(Refusal::Form)?;
        let designator = rest[end..].chars().next().ok_or(Refusal::Form)?;
        let (whole, fraction) = number(&rest[..end])?;
        add(interval, unit(designator).ok_or(Refusal::Form)?, whole, fraction)?;
        rest = &rest[end + 1..];
    }
    Ok(())
}
