//! How deep a statement goes, judged from its tokens before anything recurses into it.
//!
//! Parsers and binders recurse with the nesting of parentheses, brackets, CASE and prefix operators, and along chains
//! of operators, whose trees lean to the left: `1 + 1 + …` is as deep as it is long. Both are bounded here, so that no
//! statement, however made, takes a thread's stack.

use crate::error::{Error, Result, SqlState};
use crate::limits::{NESTING_MAX, OPERATOR_CHAIN_MAX};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// One open parenthesis, bracket or CASE.
struct Level {
    case: bool,
    /// Operators since the last comma or clause.
    operators: usize,
    /// Set operations, which SELECT does not end.
    set_operations: usize,
}

/// What a token does to the depth.
enum Effect {
    Open { case: bool },
    Close { case: bool },
    Operator,
    SetOperation,
    Separator,
    Nothing,
}

fn effect(token: &Token) -> Effect {
    match token {
        Token::LParen | Token::LBracket => Effect::Open { case: false },
        Token::RParen | Token::RBracket => Effect::Close { case: false },
        Token::Comma | Token::SemiColon => Effect::Separator,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) | Token::Colon => Effect::Nothing,
        Token::Word(word) => match word.keyword {
            Keyword::CASE => Effect::Open { case: true },
            Keyword::END => Effect::Close { case: true },
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => Effect::SetOperation,
            Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::NOTNULL
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::BETWEEN
            | Keyword::AT
            | Keyword::COLLATE
            | Keyword::OPERATOR
            | Keyword::INTERVAL => Effect::Operator,
            Keyword::SELECT
            | Keyword::FROM
            | Keyword::WHERE
            | Keyword::HAVING
            | Keyword::ON
            | Keyword::JOIN
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::VALUES
            | Keyword::SET
            | Keyword::RETURNING
            | Keyword::LIMIT => Effect::Separator,
            _ => Effect::Nothing,
        },
        _ => Effect::Operator,
    }
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword && word.quote_style.is_none())
}

/// 54001 for tokens that nest deeper than [`NESTING_MAX`] or chain more operators than [`OPERATOR_CHAIN_MAX`].
pub fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    if tokens.len() < NESTING_MAX {
        return Ok(());
    }
    let bottom = || Level { case: false, operators: 0, set_operations: 0 };
    let mut levels = vec![bottom()];
    let mut total = 0_usize;
    let mut after_distinct = false;
    for token in tokens {
        let top = levels.last_mut().expect("the bottom stays");
        // the FROM of IS DISTINCT FROM begins no clause: the chain goes on
        let goes_on = std::mem::replace(&mut after_distinct, is_keyword(&token.token, Keyword::DISTINCT));
        match effect(&token.token) {
            Effect::Separator if goes_on && is_keyword(&token.token, Keyword::FROM) => {}
            Effect::Open { case } => {
                // A bracket or a call after an operand makes the tree deeper to the left, as an operator does.
                top.operators += 1;
                total += 1;
                levels.push(Level { case, ..bottom() });
            }
            Effect::Close { case } => {
                if levels.len() > 1 && levels.last().is_some_and(|level| level.case == case) {
                    let level = levels.pop().expect("there are two");
                    total -= level.operators + level.set_operations;
                }
            }
            Effect::Operator => {
                top.operators += 1;
                total += 1;
            }
            Effect::SetOperation => {
                total = total + 1 - top.operators;
                top.set_operations += 1;
                top.operators = 0;
            }
            Effect::Separator => {
                total -= top.operators;
                top.operators = 0;
            }
            Effect::Nothing => {}
        }
        if levels.len() > NESTING_MAX || total > OPERATOR_CHAIN_MAX {
            return Err(too_deep());
        }
    }
    Ok(())
}

/// PostgreSQL's words for a statement that is too deep.
pub fn too_deep() -> Error {
    Error::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .hint(format!("Statements may nest {NESTING_MAX} deep and chain {OPERATOR_CHAIN_MAX} operators."))
}
