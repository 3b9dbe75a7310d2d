//! to_char of timestamps: a template's patterns filled in (formatting.c). Names are English, as in the C locale.

use super::calendar::{DAY, from_days, iso_week, to_days, weekday};
use crate::error::{Error, Result};

/// All patterns, a longer one before its beginnings. Those that print names are told apart by case in `print`.
const PATTERNS: [&str; 60] = [
    "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "DDD", "DD", "DY", "Day", "Dy", "D", "FF1", "FF2", "FF3",
    "FF4", "FF5", "FF6", "FX", "HH24", "HH12", "HH", "IDDD", "ID", "IW", "IYYY", "IYY", "IY", "I", "J", "MI", "MM",
    "MONTH", "MON", "MS", "Month", "Mon", "OF", "P.M.", "PM", "Q", "RM", "SSSSS", "SSSS", "SS", "TZH", "TZM", "TZ",
    "US", "WW", "W", "Y,YYY", "YYYY", "YYY", "YY", "Y", "SP", "TM",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// A local time, taken apart.
struct Fields {
    /// Years before 1 AD are 0 and below.
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    /// From Sunday, 0.
    weekday: i64,
    iso_year: i64,
    iso_week: i64,
    julian: i64,
    micros: i64,
    /// East of UTC, in seconds; none without a zone.
    offset: Option<i32>,
}

/// One pattern as the template has it.
struct Pattern<'t> {
    /// Its name in capitals.
    name: String,
    written: &'t str,
    /// FM: neither blanks nor zeros before it.
    bare: bool,
}

/// Fills a template in for a finite local time.
pub fn fill_template(template: &str, timestamp: i64, offset: Option<i32>) -> Result<String> {
    let fields = Fields::of(timestamp, offset);
    let mut out = String::with_capacity(template.len() + 16);
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            rest = quoted(&rest[1..], &mut out);
            continue;
        }
        let bare = rest.starts_with("FM") || rest.starts_with("fm");
        let after = if bare { &rest[2..] } else { rest };
        if let Some(written) = pattern_at(after) {
            let pattern = Pattern { name: written.to_ascii_uppercase(), written, bare };
            fields.print(&pattern, &mut out)?;
            rest = ordinal(&after[written.len()..], &mut out);
            continue;
        }
        if bare {
            rest = after;
            continue;
        }
        // A backslash counts only before a quotation mark.
        let plain = if rest.starts_with("\\\"") { '"' } else { c };
        let length = if rest.starts_with("\\\"") { 2 } else { c.len_utf8() };
        out.push(plain);
        rest = &rest[length..];
    }
    Ok(out)
}

/// Text between quotation marks; what follows it.
fn quoted<'t>(text: &'t str, out: &mut String) -> &'t str {
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return &text[at + 1..],
            '\\' => out.extend(characters.next().map(|(_, c)| c)),
            c => out.push(c),
        }
    }
    ""
}

fn pattern_at(text: &str) -> Option<&str> {
    let found = PATTERNS.iter().find(|pattern| {
        let lower = pattern.to_ascii_lowercase();
        text.starts_with(**pattern) || text.starts_with(&lower)
    })?;
    Some(&text[..found.len()])
}

/// TH or th after a number; what follows.
fn ordinal<'t>(text: &'t str, out: &mut String) -> &'t str {
    let upper = text.starts_with("TH");
    if !upper && !text.starts_with("th") {
        return text;
    }
    let digits: Vec<u8> = out.bytes().rev().take_while(u8::is_ascii_digit).take(2).collect();
    let ending = match digits.as_slice() {
        [] => return &text[2..],
        [_, b'1'] => "th",
        [b'1', ..] => "st",
        [b'2', ..] => "nd",
        [b'3', ..] => "rd",
        _ => "th",
    };
    out.push_str(&if upper { ending.to_ascii_uppercase() } else { ending.to_owned() });
    &text[2..]
}

/// A name in the case that its pattern has.
fn in_case(name: &str, pattern: &str) -> String {
    let mut letters = pattern.chars();
    match (letters.next(), letters.next()) {
        (Some(first), _) if first.is_ascii_lowercase() => name.to_ascii_lowercase(),
        (Some(_), Some(second)) if second.is_ascii_lowercase() => name.to_owned(),
        _ => name.to_ascii_uppercase(),
    }
}

impl Fields {
    fn of(timestamp: i64, offset: Option<i32>) -> Fields {
        let (days, micros) = (timestamp.div_euclid(DAY), timestamp.rem_euclid(DAY));
        let (year, month, day) = from_days(days);
        let (iso_year, iso_week) = iso_week(days);
        Fields {
            year,
            month,
            day,
            day_of_year: days - to_days(year, 1, 1) + 1,
            weekday: weekday(days),
            iso_year,
            iso_week,
            julian: days + 2_451_545,
            micros,
            offset,
        }
    }

    fn print(&self, pattern: &Pattern, out: &mut String) -> Result<()> {
        let number = |value: i64, width: usize| {
            let width = if pattern.bare { 0 } else { width };
            format!("{value:0width$}")
        };
        let named = |name: &str, width: usize| {
            let width = if pattern.bare { 0 } else { width };
            format!("{:width$}", in_case(name, pattern.written))
        };
        let seconds = self.micros / 1_000_000;
        let hour = seconds / 3_600;
        let fraction = self.micros % 1_000_000;
        let text = match pattern.name.as_str() {
            "HH" | "HH12" => number(if hour % 12 == 0 { 12 } else { hour % 12 }, 2),
            "HH24" => number(hour, 2),
            "MI" => number(seconds / 60 % 60, 2),
            "SS" => number(seconds % 60, 2),
            "MS" | "FF3" => format!("{:03}", fraction / 1_000),
            "US" | "FF6" => format!("{fraction:06}"),
            "FF1" => format!("{}", fraction / 100_000),
            "FF2" => format!("{:02}", fraction / 10_000),
            "FF4" => format!("{:04}", fraction / 100),
            "FF5" => format!("{:05}", fraction / 10),
            "SSSS" | "SSSSS" => seconds.to_string(),
            "AM" | "PM" => in_case(if hour < 12 { "AM" } else { "PM" }, pattern.written),
            "A.M." | "P.M." => in_case(if hour < 12 { "A.M." } else { "P.M." }, pattern.written),
            "AD" | "BC" => in_case(if self.year > 0 { "AD" } else { "BC" }, pattern.written),
            "A.D." | "B.C." => in_case(if self.year > 0 { "A.D." } else { "B.C." }, pattern.written),
            "MONTH" => named(MONTHS[self.month as usize - 1], 9),
            "MON" => in_case(&MONTHS[self.month as usize - 1][..3], pattern.written),
            "MM" => number(self.month, 2),
            "DAY" => named(DAYS[self.weekday as usize], 9),
            "DY" => in_case(&DAYS[self.weekday as usize][..3], pattern.written),
            "RM" => named(ROMAN[self.month as usize - 1], 4),
            "TZ" if self.offset.is_some() => return Err(Error::unsupported("to_char with TZ").hint("Use OF.")),
            "OF" | "TZH" | "TZM" | "TZ" => self.zone(pattern),
            "FX" | "SP" | "TM" => String::new(),
            _ => self.date(pattern, number),
        };
        out.push_str(&text);
        Ok(())
    }

    fn zone(&self, pattern: &Pattern) -> String {
        // Without a zone these print as in UTC, but for TZ.
        let offset = self.offset.unwrap_or(0);
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / 3_600, offset.abs() / 60 % 60);
        match pattern.name.as_str() {
            "TZ" => String::new(),
            "TZM" => format!("{minutes:02}"),
            "TZH" => format!("{sign}{hours:02}"),
            _ if minutes == 0 => format!("{sign}{hours:0width$}", width = if pattern.bare { 0 } else { 2 }),
            _ => format!("{sign}{hours:0width$}:{minutes:02}", width = if pattern.bare { 0 } else { 2 }),
        }
    }

    fn date(&self, pattern: &Pattern, number: impl Fn(i64, usize) -> String) -> String {
        // Before 1 AD years are counted backwards, and BC says so.
        let counted = |year: i64| if year > 0 { year } else { 1 - year };
        let (year, iso_year) = (counted(self.year), counted(self.iso_year));
        let iso_weekday = if self.weekday == 0 { 7 } else { self.weekday };
        match pattern.name.as_str() {
            "DDD" => number(self.day_of_year, 3),
            "IDDD" => number((self.iso_week - 1) * 7 + iso_weekday, 3),
            "DD" => number(self.day, 2),
            "D" => (self.weekday + 1).to_string(),
            "ID" => iso_weekday.to_string(),
            "WW" => number((self.day_of_year - 1) / 7 + 1, 2),
            "IW" => number(self.iso_week, 2),
            "W" => ((self.day - 1) / 7 + 1).to_string(),
            "Q" => ((self.month - 1) / 3 + 1).to_string(),
            "J" => self.julian.to_string(),
            "CC" if self.year > 0 => number((self.year - 1) / 100 + 1, 2),
            "CC" => number(self.year / 100 - 1, 2),
            "Y,YYY" => format!("{},{:03}", year / 1_000, year % 1_000),
            "YYYY" => number(year, 4),
            "YYY" => number(year % 1_000, 3),
            "YY" => number(year % 100, 2),
            "Y" => (year % 10).to_string(),
            "IYYY" => number(iso_year, 4),
            "IYY" => number(iso_year % 1_000, 3),
            "IY" => number(iso_year % 100, 2),
            _ => (iso_year % 10).to_string(),
        }
    }
}
