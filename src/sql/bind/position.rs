//! Positions in errors: from the parser's lines and columns to PostgreSQL's characters from 1.

use sqlparser::tokenizer::{Location, Span};

/// The position of a span's start in a text; none for a span that is nowhere.
pub(crate) fn position(text: &str, span: Span) -> Option<u32> {
    locate(text, span.start)
}

fn locate(text: &str, location: Location) -> Option<u32> {
    if location.line == 0 {
        return None;
    }
    let before: usize =
        text.split_inclusive('\n').take(location.line as usize - 1).map(|line| line.chars().count()).sum();
    u32::try_from(before + location.column as usize).ok()
}

/// The position of the first place after another position that holds a text.
pub(crate) fn after(text: &str, position: Option<u32>, what: &str) -> Option<u32> {
    let before = position? as usize;
    let rest: String = text.chars().skip(before).collect();
    let offset = rest.find(what)?;
    u32::try_from(before + rest[..offset].chars().count() + 1).ok()
}

/// The first position from another one on that is not blank.
pub(crate) fn not_blank(text: &str, position: Option<u32>) -> Option<u32> {
    let position = position?;
    let blanks = text.chars().skip(position as usize - 1).take_while(|c| c.is_whitespace()).count();
    u32::try_from(position as usize + blanks).ok()
}

/// The position of the type in CAST: what follows the first AS after the operand.
pub(crate) fn cast_type(text: &str, operand: Span) -> Option<u32> {
    let after = locate(text, operand.end)? as usize - 1;
    let rest: Vec<char> = text.chars().skip(after).map(|c| c.to_ascii_lowercase()).collect();
    let is_word = |at: usize| rest.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let mark = (0..rest.len()).find(|&at| match rest[at..] {
        ['a', 's', ..] => (at == 0 || !is_word(at - 1)) && !is_word(at + 2),
        _ => false,
    })?;
    let start = (mark + 2..rest.len()).find(|&at| !rest[at].is_whitespace())?;
    u32::try_from(after + start + 1).ok()
}

/// The position of the last place before another position that holds a word or sign, in any case.
pub(crate) fn word_before(text: &str, position: Option<u32>, word: &str) -> Option<u32> {
    let before: String = text.chars().take(position? as usize - 1).collect::<String>().to_ascii_lowercase();
    let offset = before.rfind(word)?;
    u32::try_from(before[..offset].chars().count() + 1).ok()
}

/// The position of the type's name before a literal's position.
pub(crate) fn type_before(text: &str, position: Option<u32>) -> Option<u32> {
    let before: Vec<char> = text.chars().take(position? as usize - 1).collect();
    let end = before.iter().rposition(|c| !c.is_whitespace())?;
    let start = before[..end].iter().rposition(|c| !(c.is_alphanumeric() || "_.\"".contains(*c)));
    u32::try_from(start.map_or(0, |at| at + 1) + 1).ok()
}

/// The position of the parenthesis before a place.
pub(crate) fn opening(text: &str, position: Option<u32>) -> Option<u32> {
    let before: Vec<char> = text.chars().take(position? as usize - 1).collect();
    let at = before.iter().rposition(|c| *c == '(')?;
    u32::try_from(at + 1).ok()
}

/// The position of an operator that stands between two operands: the first place after the left one that holds it.
pub(crate) fn between(text: &str, left: Span, operator: &str) -> Option<u32> {
    let after = locate(text, left.end)? as usize - 1;
    let rest: String = text.chars().skip(after).collect();
    // Parentheses and blanks may stand between an operand and its operator, a longer operator may not.
    let (rest_folded, operator) = (rest.to_ascii_lowercase(), operator.to_ascii_lowercase());
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    // A word is looked for as a whole: `in` is not in `bigint`.
    let whole = |at: usize| {
        let bytes = rest_folded.as_bytes();
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !is_word(operator.as_bytes().first()) || !is_word(before) && !is_word(bytes.get(at + operator.len()))
    };
    let offset = rest_folded.match_indices(&operator).map(|(at, _)| at).find(|&at| whole(at))?;
    u32::try_from(after + rest[..offset].chars().count() + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_over_lines() {
        let text = "SELECT 'ä',\n  x + y";
        let x = Span::new(Location::new(2, 3), Location::new(2, 4));
        assert_eq!(position(text, x), Some(15));
        assert_eq!(between(text, x, "+"), Some(17));
        assert_eq!(position(text, Span::empty()), None);
    }
}
