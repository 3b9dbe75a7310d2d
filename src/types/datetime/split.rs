//! Splitting a date or timestamp into fields by their look, as PostgreSQL's ParseDateTime does.

/// What a field looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Digits, with a point perhaps.
    Number,
    /// Something with separators: a date, or a zone's name.
    Date,
    /// Something with colons.
    Time,
    /// A sign and digits.
    Offset,
    /// Letters, with a sign perhaps.
    Word,
}

/// Splits into fields, lower case; none when a character belongs to no field.
pub(super) fn split(text: &str) -> Option<Vec<(Look, String)>> {
    let lower = text.to_ascii_lowercase();
    let bytes = lower.as_bytes();
    let mut fields = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (look, end) = match bytes[at] {
            b'0'..=b'9' => from_digit(bytes, at),
            b'a'..=b'z' => from_letter(&lower, at),
            b'-' | b'+' => from_sign(bytes, at)?,
            byte if is_space(byte) || byte.is_ascii_punctuation() && byte != b'.' => {
                at += 1;
                continue;
            }
            _ => return None,
        };
        fields.push((look, lower[at..end].chars().filter(|c| !c.is_ascii_whitespace()).collect()));
        at = end;
    }
    Some(fields)
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// Where a run of bytes ends.
fn run(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    from + bytes[from..].iter().take_while(|&&byte| belongs(byte)).count()
}

fn from_digit(bytes: &[u8], start: usize) -> (Look, usize) {
    let at = run(bytes, start, is_digit);
    match bytes.get(at) {
        Some(b':') => (Look::Time, run(bytes, at, |byte| is_digit(byte) || byte == b':' || byte == b'.')),
        Some(&mark @ (b'-' | b'/' | b'.')) if bytes.get(at + 1).is_some_and(|&byte| is_digit(byte)) => {
            let at = run(bytes, at + 1, is_digit);
            if bytes.get(at) == Some(&mark) {
                (Look::Date, run(bytes, at, |byte| is_digit(byte) || byte == mark))
            } else {
                (if mark == b'.' { Look::Number } else { Look::Date }, at)
            }
        }
        Some(&mark @ (b'-' | b'/' | b'.')) => {
            (Look::Date, run(bytes, at, |byte| byte.is_ascii_alphanumeric() || byte == mark))
        }
        _ => (Look::Number, at),
    }
}

fn from_letter(text: &str, start: usize) -> (Look, usize) {
    let bytes = text.as_bytes();
    let at = run(bytes, start, |byte| byte.is_ascii_alphabetic());
    let joined = match bytes.get(at) {
        Some(b'-' | b'/' | b'.' | b'_') => true,
        Some(&byte) if byte == b'+' || is_digit(byte) => !is_keyword(&text[start..at]),
        _ => false,
    };
    if joined {
        (Look::Date, run(bytes, at, |byte| byte.is_ascii_alphanumeric() || b"+-/_.:".contains(&byte)))
    } else {
        (Look::Word, at)
    }
}

fn from_sign(bytes: &[u8], start: usize) -> Option<(Look, usize)> {
    let at = run(bytes, start + 1, is_space);
    match bytes.get(at)? {
        b'0'..=b'9' => Some((Look::Offset, run(bytes, at, |byte| is_digit(byte) || b":.-".contains(&byte)))),
        b'a'..=b'z' => Some((Look::Word, run(bytes, at, |byte| byte.is_ascii_alphabetic()))),
        _ => None,
    }
}

/// The month that a word names.
pub(super) fn month_of(word: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let found =
        MONTHS.iter().position(|name| word == *name || word == &name[..3] || word == "sept" && *name == "september");
    found.map(|index| index as i64 + 1)
}

/// Whether a word names a day of the week.
pub(super) fn is_weekday(word: &str) -> bool {
    [
        "sun",
        "sunday",
        "mon",
        "monday",
        "tue",
        "tues",
        "tuesday",
        "wed",
        "weds",
        "wednesday",
        "thu",
        "thur",
        "thurs",
        "thursday",
        "fri",
        "friday",
        "sat",
        "saturday",
    ]
    .contains(&word)
}

/// A word that may stand right before a number or a plus sign.
fn is_keyword(word: &str) -> bool {
    month_of(word).is_some()
        || is_weekday(word)
        || ["t", "j", "jd", "y", "m", "d", "h", "s", "am", "pm", "ad", "bc", "on", "at"].contains(&word)
}
