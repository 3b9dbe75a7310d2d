//! Writing dates, timestamps and intervals.

use super::calendar::{DAY, from_days};
use super::{Interval, Zone, to_unix_micros};
use std::io::Write;

/// Appends a number with at least `width` digits.
fn pad(mut value: i64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

/// Appends the date and says whether it is before Christ.
fn write_days(days: i64, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = from_days(days);
    let before_christ = year <= 0;
    pad(if before_christ { 1 - year } else { year }, 4, out);
    out.push(b'-');
    pad(month, 2, out);
    out.push(b'-');
    pad(day, 2, out);
    before_christ
}

/// Appends `hh:mm:ss[.ffffff]` without trailing zeros; micros are not negative.
fn write_time(micros: i64, out: &mut Vec<u8>) {
    pad(micros / 3_600_000_000, 2, out);
    out.push(b':');
    pad(micros / 60_000_000 % 60, 2, out);
    out.push(b':');
    pad(micros / 1_000_000 % 60, 2, out);
    let fraction = micros % 1_000_000;
    if fraction > 0 {
        out.push(b'.');
        pad(fraction, 6, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Writes the infinities; false when it is none.
fn write_infinite(lowest: bool, highest: bool, out: &mut Vec<u8>) -> bool {
    if lowest {
        out.extend_from_slice(b"-infinity");
    } else if highest {
        out.extend_from_slice(b"infinity");
    }
    lowest || highest
}

/// Appends a date, `2024-01-31`.
pub fn write_date(date: i32, out: &mut Vec<u8>) {
    if !write_infinite(date == i32::MIN, date == i32::MAX, out) && write_days(date.into(), out) {
        out.extend_from_slice(b" BC");
    }
}

/// Appends a timestamp, `2024-01-31 12:00:00.5`; with `T` between date and time as JSON has it.
pub fn write_timestamp(timestamp: i64, separator: u8, out: &mut Vec<u8>) {
    if write_infinite(timestamp == i64::MIN, timestamp == i64::MAX, out) {
        return;
    }
    let before_christ = write_days(timestamp.div_euclid(DAY), out);
    out.push(separator);
    write_time(timestamp.rem_euclid(DAY), out);
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// Appends a timestamptz, `2024-01-31 12:00:00.5+00`; `iso` writes it as JSON has it, `2024-01-31T12:00:00.5+00:00`.
pub fn write_timestamptz(timestamp: i64, zone: &Zone, iso: bool, out: &mut Vec<u8>) {
    if write_infinite(timestamp == i64::MIN, timestamp == i64::MAX, out) {
        return;
    }
    let offset = i64::from(zone.offset_at(to_unix_micros(timestamp).div_euclid(1_000_000)));
    let local = timestamp.saturating_add(offset * 1_000_000);
    let before_christ = write_days(local.div_euclid(DAY), out);
    out.push(if iso { b'T' } else { b' ' });
    write_time(local.rem_euclid(DAY), out);
    out.push(if offset < 0 { b'-' } else { b'+' });
    let seconds = offset.abs();
    pad(seconds / 3_600, 2, out);
    if iso || seconds % 3_600 != 0 {
        out.push(b':');
        pad(seconds / 60 % 60, 2, out);
    }
    if seconds % 60 != 0 {
        out.push(b':');
        pad(seconds % 60, 2, out);
    }
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// Appends an interval in the style `postgres`, `1 day 02:03:04`.
pub fn write_interval(interval: Interval, out: &mut Vec<u8>) {
    let (mut empty, mut negative) = (true, false);
    for (value, unit) in [(interval.months / 12, "year"), (interval.months % 12, "mon"), (interval.days, "day")] {
        if value == 0 {
            continue;
        }
        let space = if empty { "" } else { " " };
        // A positive field after a negative one has its sign.
        let sign = if negative && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        write!(out, "{space}{sign}{value} {unit}{plural}").expect("writing to memory");
        (empty, negative) = (false, value < 0);
    }
    if !empty && interval.micros == 0 {
        return;
    }
    if !empty {
        out.push(b' ');
    }
    if interval.micros < 0 {
        out.push(b'-');
    } else if negative {
        out.push(b'+');
    }
    let micros = interval.micros.unsigned_abs();
    pad((micros / 3_600_000_000) as i64, 2, out);
    let minutes = out.len();
    write_time((micros % 3_600_000_000) as i64, out);
    // The time of one hour begins with hours of its own, which are always 00.
    out.drain(minutes..minutes + 2);
}
