//! Reading dates and timestamps in the forms that PostgreSQL takes with DateStyle `ISO, MDY`.
//!
//! As in PostgreSQL the text is split into fields by their look alone ([`split`](super::split)), and the fields are then read from
//! left to right, each by what is still missing.

use super::arithmetic::{DATE_MAX, DATE_MIN, TIMESTAMP_END, TIMESTAMP_MIN};
use super::calendar::{DAY, month_length, to_days};
use super::split::{Look, is_weekday, month_of, split};
use super::{PG_EPOCH_UNIX_MICROS, Zone, timestamptz_to_timestamp};
use crate::error::{Error, Result, SqlState};

/// Beyond every year of PostgreSQL's calendar, and small enough to reckon with.
const YEAR_MAX: i64 = 6_000_000;

/// Why a text is no date or timestamp.
#[derive(Debug)]
enum Refusal {
    Form,
    Range,
    /// Out of range as the order of day and month has it; another DateStyle might do.
    MonthOrDay,
    ZoneRange,
    UnknownZone(String),
    NeedsTime(String),
}

type Read<T> = std::result::Result<T, Refusal>;

/// What was read so far.
#[derive(Default)]
struct Fields {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    /// Whole days since 2000-01-01 from a Julian day or a day of a year.
    days: Option<i64>,
    short_year: bool,
    text_month: bool,
    before_christ: bool,
    /// Microseconds since midnight.
    time: Option<i64>,
    afternoon: Option<bool>,
    /// After a `T` the next number is a time.
    time_follows: bool,
    offset: Option<i32>,
    zone: Option<Zone>,
    special: Option<Special>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    Infinity,
    NegativeInfinity,
    Epoch,
    Now,
    /// Midnight so many days from today.
    Day(i64),
}

/// A moment as the text has it: local time and, when it has one, its offset in seconds.
enum Moment {
    Special(Special),
    Local { days: i64, micros: i64, offset: Option<i32> },
}

/// Reads a date. `now` is the transaction's time, for `today` and the like.
pub fn parse_date(text: &str, zone: &Zone, now: Option<i64>) -> Result<i32> {
    let moment = read(text).map_err(|refusal| report(refusal, text, "date"))?;
    Ok(match moment {
        Moment::Special(Special::Infinity) => i32::MAX,
        Moment::Special(Special::NegativeInfinity) => i32::MIN,
        Moment::Special(Special::Epoch) => (-PG_EPOCH_UNIX_MICROS / DAY) as i32,
        Moment::Special(special) => {
            let today = local_now(now, zone).map_err(|refusal| report(refusal, text, "date"))?.div_euclid(DAY);
            (today + if let Special::Day(shift) = special { shift } else { 0 }) as i32
        }
        Moment::Local { days, .. } if (DATE_MIN..=DATE_MAX).contains(&days) => days as i32,
        Moment::Local { .. } => {
            let message = format!("date out of range: \"{text}\"");
            return Err(Error::new(SqlState::DATETIME_VALUE_OUT_OF_RANGE, message));
        }
    })
}

/// Reads a timestamp; a zone in it is ignored.
pub fn parse_timestamp(text: &str, zone: &Zone, now: Option<i64>) -> Result<i64> {
    let refuse = |refusal| report(refusal, text, "timestamp");
    match read(text).map_err(refuse)? {
        Moment::Special(Special::Now) => local_now(now, zone).map_err(refuse),
        Moment::Special(Special::Day(shift)) => {
            Ok((local_now(now, zone).map_err(refuse)?.div_euclid(DAY) + shift) * DAY)
        }
        Moment::Special(special) => Ok(fixed(special)),
        Moment::Local { days, micros, .. } => checked(text, days.checked_mul(DAY), micros, 0),
    }
}

/// Reads a timestamptz; without a zone in it, it is in `zone`.
pub fn parse_timestamptz(text: &str, zone: &Zone, now: Option<i64>) -> Result<i64> {
    let refuse = |refusal| report(refusal, text, "timestamp with time zone");
    let local = |days: i64, micros: i64, offset: Option<i32>| {
        let midnight = days.checked_mul(DAY);
        let offset = offset.unwrap_or_else(|| zone.offset_of_local(local_seconds(days, micros)));
        checked(text, midnight, micros, i64::from(offset))
    };
    match read(text).map_err(refuse)? {
        Moment::Special(Special::Now) => now.ok_or_else(|| refuse(Refusal::NeedsTime(text.to_owned()))),
        Moment::Special(Special::Day(shift)) => {
            local(local_now(now, zone).map_err(refuse)?.div_euclid(DAY) + shift, 0, None)
        }
        Moment::Special(special) => Ok(fixed(special)),
        Moment::Local { days, micros, offset } => local(days, micros, offset),
    }
}

/// Seconds since the Unix epoch as if in UTC; days beyond every calendar end at its end.
fn local_seconds(days: i64, micros: i64) -> i64 {
    days.clamp(2 * DATE_MIN, 2 * DATE_MAX) * 86_400 + micros / 1_000_000 + PG_EPOCH_UNIX_MICROS / 1_000_000
}

fn fixed(special: Special) -> i64 {
    match special {
        Special::Infinity => i64::MAX,
        Special::NegativeInfinity => i64::MIN,
        Special::Epoch | Special::Now | Special::Day(_) => -PG_EPOCH_UNIX_MICROS,
    }
}

fn local_now(now: Option<i64>, zone: &Zone) -> Read<i64> {
    let now = now.ok_or_else(|| Refusal::NeedsTime("now".to_owned()))?;
    timestamptz_to_timestamp(now, zone).map_err(|_| Refusal::Range)
}

fn checked(text: &str, midnight: Option<i64>, micros: i64, offset: i64) -> Result<i64> {
    let at = midnight.and_then(|at| at.checked_add(micros)).and_then(|at| at.checked_sub(offset * 1_000_000));
    at.filter(|at| (TIMESTAMP_MIN..TIMESTAMP_END).contains(at))
        .ok_or_else(|| Error::new(SqlState::DATETIME_VALUE_OUT_OF_RANGE, format!("timestamp out of range: \"{text}\"")))
}

fn report(refusal: Refusal, text: &str, ty: &str) -> Error {
    let out_of_range = || {
        let message = format!("date/time field value out of range: \"{text}\"");
        Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
    };
    match refusal {
        Refusal::Form => {
            let message = format!("invalid input syntax for type {ty}: \"{text}\"");
            Error::new(SqlState::INVALID_DATETIME_FORMAT, message)
        }
        Refusal::Range => out_of_range(),
        Refusal::MonthOrDay => out_of_range().hint("Perhaps you need a different \"datestyle\" setting."),
        Refusal::ZoneRange => {
            let message = format!("time zone displacement out of range: \"{text}\"");
            Error::new(SqlState::INVALID_TIME_ZONE_DISPLACEMENT_VALUE, message)
        }
        Refusal::UnknownZone(name) => {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
        }
        Refusal::NeedsTime(word) => Error::unsupported(format!("the word \"{word}\" in a {ty} at this place"))
            .hint("Use now() or current_date in an expression."),
    }
}

fn read(text: &str) -> Read<Moment> {
    let mut fields = Fields::default();
    let parts = split(text).ok_or(Refusal::Form)?;
    if parts.is_empty() {
        return Err(Refusal::Form);
    }
    let mut parts = parts.into_iter().peekable();
    while let Some((look, part)) = parts.next() {
        match look {
            Look::Time => fields.set_time(read_time(&part)?)?,
            Look::Offset => fields.set_offset(read_offset(&part)?)?,
            Look::Word if matches!(part.as_str(), "j" | "jd" | "julian") => match parts.next() {
                Some((Look::Number, number)) => fields.set_julian(&number)?,
                _ => return Err(Refusal::Form),
            },
            Look::Word => fields.word(&part)?,
            Look::Number => fields.number(&part)?,
            Look::Date => fields.date(&part)?,
        }
    }
    fields.finish()
}

/// A number of seconds as microseconds.
fn read_seconds(text: &str) -> Read<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().map_err(|_| Refusal::Form)?;
    let fraction: f64 = format!("0.{fraction}0").parse().map_err(|_| Refusal::Form)?;
    if whole > 60 {
        return Err(Refusal::Range);
    }
    Ok(whole * 1_000_000 + (fraction * 1e6).round_ties_even() as i64)
}

/// `hh:mm[:ss[.f]]`; with a fraction and one colon `mm:ss.f`.
fn read_time(text: &str) -> Read<i64> {
    let parts: Vec<&str> = text.split(':').collect();
    let (hours, minutes, seconds) = match parts[..] {
        [hours, ""] => (hours, "0", "0"),
        [minutes, seconds] if seconds.contains('.') => ("0", minutes, seconds),
        [hours, minutes] => (hours, minutes, "0"),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return Err(Refusal::Form),
    };
    let whole = |part: &str| part.parse::<i64>().map_err(|_| Refusal::Form);
    clock(whole(hours)?, whole(minutes)?, read_seconds(seconds)?)
}

fn clock(hours: i64, minutes: i64, second_micros: i64) -> Read<i64> {
    if minutes > 59 || second_micros > 61_000_000 || hours > 24 || hours == 24 && minutes * 60 + second_micros > 0 {
        return Err(Refusal::Range);
    }
    Ok((hours * 60 + minutes) * 60_000_000 + second_micros)
}

/// `±hh[:mm[:ss]]` or `±hhmm`, in seconds.
fn read_offset(text: &str) -> Read<i32> {
    let unsigned = &text[1..];
    let parse = |part: &str| part.parse::<i32>().map_err(|_| Refusal::Form);
    let parts: Vec<&str> = unsigned.split(':').collect();
    let (hours, minutes, seconds) = match parts[..] {
        [run] if run.len() > 4 => {
            let run = parse(run)?;
            (run / 10_000, run / 100 % 100, run % 100)
        }
        [run] if run.len() > 2 => (parse(run)? / 100, parse(run)? % 100, 0),
        [hours] => (parse(hours)?, 0, 0),
        [hours, minutes] => (parse(hours)?, parse(minutes)?, 0),
        [hours, minutes, seconds] => (parse(hours)?, parse(minutes)?, parse(seconds)?),
        _ => return Err(Refusal::Form),
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(Refusal::ZoneRange);
    }
    let offset = hours * 3_600 + minutes * 60 + seconds;
    Ok(if text.starts_with('-') { -offset } else { offset })
}

impl Fields {
    fn has_date(&self) -> bool {
        self.days.is_some() || self.year.is_some() && self.month.is_some() && self.day.is_some()
    }

    fn set_time(&mut self, micros: i64) -> Read<()> {
        self.time_follows = false;
        match self.time.replace(micros) {
            None => Ok(()),
            Some(_) => Err(Refusal::Form),
        }
    }

    fn set_offset(&mut self, seconds: i32) -> Read<()> {
        if self.offset.is_some() || self.zone.is_some() || self.time.is_none() && !self.has_date() {
            return Err(Refusal::Form);
        }
        self.offset = Some(seconds);
        Ok(())
    }

    /// A Julian day, whose fraction is a time.
    fn set_julian(&mut self, text: &str) -> Read<()> {
        let number: f64 = text.parse().map_err(|_| Refusal::Form)?;
        if self.has_date() {
            return Err(Refusal::Form);
        }
        self.days = Some(number.trunc() as i64 - 2_451_545);
        if number.fract() > 0.0 {
            self.set_time((number.fract() * DAY as f64).round() as i64)?;
        }
        Ok(())
    }

    fn set_special(&mut self, special: Special) -> Read<()> {
        match self.special.replace(special) {
            None => Ok(()),
            Some(_) => Err(Refusal::Form),
        }
    }

    fn word(&mut self, word: &str) -> Read<()> {
        match word {
            "now" => self.set_special(Special::Now),
            "today" => self.set_special(Special::Day(0)),
            "tomorrow" => self.set_special(Special::Day(1)),
            "yesterday" => self.set_special(Special::Day(-1)),
            "epoch" => self.set_special(Special::Epoch),
            "infinity" => self.set_special(Special::Infinity),
            "-infinity" => self.set_special(Special::NegativeInfinity),
            "allballs" => {
                self.offset = Some(0);
                self.set_time(0)
            }
            "am" | "pm" => {
                self.afternoon = Some(word == "pm");
                Ok(())
            }
            "bc" | "ad" => {
                self.before_christ = word == "bc";
                Ok(())
            }
            "t" => {
                self.time_follows = true;
                if self.has_date() { Ok(()) } else { Err(Refusal::Form) }
            }
            "at" | "on" => Ok(()),
            _ if is_weekday(word) => Ok(()),
            _ => match month_of(word) {
                Some(month) => self.set_text_month(month),
                None => self.set_zone(word, Refusal::Form),
            },
        }
    }

    fn set_text_month(&mut self, month: i64) -> Read<()> {
        // A number before it was taken for the month and was the day.
        if !self.text_month && self.month.is_some() && self.day.is_none() {
            self.day = self.month.take();
        }
        if self.month.replace(month).is_some() {
            return Err(Refusal::Form);
        }
        self.text_month = true;
        Ok(())
    }

    fn set_zone(&mut self, name: &str, refusal: Refusal) -> Read<()> {
        if self.offset.is_some() || self.zone.is_some() {
            return Err(Refusal::Form);
        }
        match Zone::abbreviation(name) {
            Some(offset) => self.offset = Some(offset),
            None => self.zone = Some(Zone::named(name).ok_or(refusal)?),
        }
        Ok(())
    }

    /// A number that stands alone.
    fn number(&mut self, text: &str) -> Read<()> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if self.time_follows || self.has_date() && (whole.len() == 6 || whole.len() == 4) && self.time.is_none() {
            let part = |from: usize, to: usize| whole.get(from..to).unwrap_or("0").parse::<i64>();
            let (hours, minutes) = (part(0, 2).map_err(|_| Refusal::Form)?, part(2, 4).map_err(|_| Refusal::Form)?);
            let seconds = format!("{}.{fraction}", whole.get(4..6).unwrap_or("0"));
            if !matches!(whole.len(), 2 | 4 | 6) {
                return Err(Refusal::Form);
            }
            return self.set_time(clock(hours, minutes, read_seconds(&seconds)?)?);
        }
        if self.year.is_none() && self.month.is_none() && self.day.is_none() && !self.has_date() {
            if !fraction.is_empty() && whole.len() >= 4 && fraction.len() == 3 {
                self.year = whole.parse().ok();
                return self.day_of_year(fraction);
            }
            if whole.len() >= 6 && fraction.is_empty() {
                let (year, rest) = whole.split_at(whole.len() - 4);
                self.date_number(year, Some(Part::Year))?;
                self.month = rest[..2].parse().ok();
                self.day = rest[2..].parse().ok();
                return Ok(());
            }
        }
        if text.contains('.') { Err(Refusal::Form) } else { self.date_number(whole, None) }
    }

    fn day_of_year(&mut self, text: &str) -> Read<()> {
        let year = self.year.ok_or(Refusal::Form)?;
        let day: i64 = text.parse().map_err(|_| Refusal::Form)?;
        if !(1..=366).contains(&day) || year > YEAR_MAX {
            return Err(Refusal::Range);
        }
        self.days = Some(to_days(year, 1, 1) + day - 1);
        Ok(())
    }

    /// A number of a date, by what is missing (PostgreSQL's DecodeNumber, order month, day, year).
    fn date_number(&mut self, text: &str, part: Option<Part>) -> Read<()> {
        let value: i64 = text.parse().map_err(|_| Refusal::Range)?;
        let long = text.len() >= 3;
        if text.len() == 3 && self.year.is_some() && self.month.is_none() && self.day.is_none() {
            return self.day_of_year(text);
        }
        let part = part.unwrap_or(match (self.year, self.month, self.day) {
            (None, None, None) if long => Part::Year,
            (None, None, None) => Part::Month,
            (Some(_), None, None) => Part::Month,
            (None, Some(_), None) if self.text_month && long => Part::Year,
            (None, Some(_), None) => Part::Day,
            (Some(_), Some(_), None) => Part::Day,
            (None, None, Some(_)) => Part::Month,
            (Some(_), None, Some(_)) => Part::Month,
            (None, Some(_), Some(_)) => Part::Year,
            (Some(_), Some(_), Some(_)) => return Err(Refusal::Form),
        });
        match part {
            Part::Year => {
                self.year = Some(value);
                self.short_year = text.len() <= 2;
            }
            Part::Month => self.month = Some(value),
            Part::Day => self.day = Some(value),
        }
        Ok(())
    }

    /// A field with separators: a date, a zone's name after the date, or a compact time with its offset.
    fn date(&mut self, text: &str) -> Read<()> {
        if self.has_date() || self.time_follows {
            if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return self.set_zone(text, Refusal::UnknownZone(text.to_owned()));
            }
            let (clock, offset) = text.split_at(text.rfind(['-', '+']).ok_or(Refusal::Form)?);
            self.time_follows = true;
            self.number(clock)?;
            return self.set_offset(read_offset(offset)?);
        }
        if self.time.is_some() && text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Refusal::Form);
        }
        let pieces: Vec<&str> =
            text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|piece| !piece.is_empty()).collect();
        // A month's name first, so that the numbers around it find their places.
        for piece in &pieces {
            if piece.starts_with(|c: char| c.is_ascii_alphabetic()) {
                self.set_text_month(month_of(piece).ok_or(Refusal::Form)?)?;
            }
        }
        for piece in pieces.iter().filter(|piece| piece.starts_with(|c: char| c.is_ascii_digit())) {
            if piece.contains(|c: char| !c.is_ascii_digit()) {
                return Err(Refusal::Form);
            }
            self.date_number(piece, None)?;
        }
        if self.has_date() { Ok(()) } else { Err(Refusal::Form) }
    }

    /// Checks the date and puts it together.
    fn finish_date(&self) -> Read<i64> {
        if let Some(days) = self.days {
            return Ok(days);
        }
        let (Some(year), Some(month), Some(day)) = (self.year, self.month, self.day) else { return Err(Refusal::Form) };
        let year = match (self.before_christ, self.short_year) {
            (true, _) if year > 0 => 1 - year,
            (false, true) if year < 70 => year + 2000,
            (false, true) if year < 100 => year + 1900,
            (false, false) if year > 0 => year,
            _ => return Err(Refusal::Range),
        };
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(Refusal::MonthOrDay);
        }
        if day > month_length(year, month) || year > YEAR_MAX {
            return Err(Refusal::Range);
        }
        Ok(to_days(year, month, day))
    }

    fn finish(self) -> Read<Moment> {
        if let Some(special) = self.special {
            let alone = self.year.is_none() && self.month.is_none() && self.days.is_none();
            return match (special, self.time) {
                _ if !alone => Err(Refusal::Form),
                (special, None) => Ok(Moment::Special(special)),
                (Special::Epoch, Some(_)) => Ok(Moment::Special(special)),
                (_, Some(_)) => Err(Refusal::Form),
            };
        }
        if self.time_follows {
            return Err(Refusal::Form);
        }
        let days = self.finish_date()?;
        let mut micros = self.time.unwrap_or(0);
        let (hour, noon) = (3_600_000_000, 12 * 3_600_000_000);
        match self.afternoon {
            Some(_) if micros >= noon + hour => return Err(Refusal::Range),
            Some(true) if micros < noon => micros += noon,
            Some(false) if micros >= noon => micros -= noon,
            _ => {}
        }
        let offset = self.offset.or_else(|| {
            let zone = self.zone.as_ref()?;
            Some(zone.offset_of_local(local_seconds(days, micros)))
        });
        Ok(Moment::Local { days, micros, offset })
    }
}

/// A part of a date.
#[derive(Clone, Copy)]
enum Part {
    Year,
    Month,
    Day,
}
