//! FOR NO KEY UPDATE and FOR KEY SHARE, which sqlparser does not know: the lexer hands them on as FOR UPDATE and FOR
//! SHARE of a table with a mark for a name that no text can have.

use super::lexer::Lexed;
use sqlparser::ast::{LockClause, ObjectName, ObjectNamePart};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Word};

/// The mark: an empty quoted name, which is an error in a text.
const MARK: &str = "";

/// Rewrites the locking clause that a word ends, or whose table follows: whether the word is taken care of.
pub(super) fn rewrite(lexed: &mut Lexed, token: &Token, from: u64, to: u64, range: std::ops::Range<usize>) -> bool {
    let back = |ahead: usize| lexed.tokens.len().checked_sub(ahead).map(|at| &lexed.tokens[at].token);
    let is = |ahead: usize, text: &str| back(ahead).and_then(plain_word) == Some(text);
    let extra = match plain_word(token) {
        Some("update") if is(1, "key") && is(2, "no") && is(3, "for") => 2,
        Some("share") if is(1, "key") && is(2, "for") => 1,
        // after the mark its tables go on as parts of one name
        Some("of") if back(1).is_some_and(is_mark) => {
            lexed.push(Token::Period, from, to, range);
            return true;
        }
        _ => return false,
    };
    for _ in 0..extra {
        lexed.pop();
    }
    let mark = Token::Word(Word { value: MARK.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword });
    for part in [token.clone(), Token::make_keyword("OF"), mark] {
        lexed.push(part, from, to, range.clone());
    }
    true
}

/// Whether a clause is the weaker of the two locks of its kind.
pub fn is_weaker_lock(clause: &LockClause) -> bool {
    clause.of.as_ref().is_some_and(|of| of.0.first().is_some_and(is_mark_part))
}

/// The name that was written after OF.
pub fn without_mark(of: &ObjectName) -> Option<ObjectName> {
    let parts: Vec<ObjectNamePart> = of.0.iter().filter(|part| !is_mark_part(part)).cloned().collect();
    (!parts.is_empty()).then_some(ObjectName(parts))
}

fn is_mark_part(part: &ObjectNamePart) -> bool {
    part.as_ident().is_some_and(|ident| ident.value.is_empty())
}

fn is_mark(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.value.is_empty() && word.quote_style.is_some())
}

fn plain_word(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}
