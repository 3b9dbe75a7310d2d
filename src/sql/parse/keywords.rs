//! PostgreSQL 15's key words with their categories (`pg_get_keywords()`), and which of sqlparser's they are.
//!
//! sqlparser knows the words of a dozen dialects; only PostgreSQL's reach it as keywords here, so that `top`, `div` or
//! `sample` are plain names and foreign syntax does not parse.

use sqlparser::keywords::{ALL_KEYWORDS, ALL_KEYWORDS_INDEX, Keyword};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Where a key word may stand as a name (manual, appendix C).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Anywhere.
    Unreserved,
    /// As a column or table, not as a function or type.
    ColumnName,
    /// As a function or type only.
    TypeOrFunction,
    /// Nowhere, except as a label after AS.
    Reserved,
}

/// The category of a folded word; none for a word that is no key word.
pub fn category(word: &str) -> Option<Category> {
    WORDS.get(word).and_then(|(category, _)| *category)
}

/// What sqlparser takes a folded word for.
pub fn keyword(word: &str) -> Keyword {
    WORDS.get(word).map_or(Keyword::NoKeyword, |(_, keyword)| *keyword)
}

static WORDS: LazyLock<HashMap<&'static str, (Option<Category>, Keyword)>> = LazyLock::new(|| {
    let groups = [
        (Some(Category::Unreserved), UNRESERVED),
        (Some(Category::ColumnName), COLUMN_NAME),
        (Some(Category::TypeOrFunction), TYPE_OR_FUNCTION),
        (Some(Category::Reserved), RESERVED),
        (None, TYPES),
    ];
    let words =
        groups.into_iter().flat_map(|(category, words)| words.split_whitespace().map(move |word| (category, word)));
    words.map(|(category, word)| (word, (category, sqlparser_keyword(word)))).collect()
});

fn sqlparser_keyword(word: &str) -> Keyword {
    match ALL_KEYWORDS.binary_search(&word.to_ascii_uppercase().as_str()) {
        Ok(index) => ALL_KEYWORDS_INDEX[index],
        Err(_) => Keyword::NoKeyword,
    }
}

/// Type names that are no key words of PostgreSQL's, but by which sqlparser knows a typed literal: `uuid '…'`.
const TYPES: &str = "bool bytea date float4 float8 int2 int4 int8 json jsonb timestamptz uuid";

const UNRESERVED: &str = "\
    abort absolute access action add admin after aggregate also alter always asensitive assertion assignment at \
    atomic attach attribute backward before begin breadth by cache call called cascade cascaded catalog chain \
    characteristics checkpoint class close cluster columns comment comments commit committed compression \
    configuration conflict connection constraints content continue conversion copy cost csv cube current cursor \
    cycle data database day deallocate declare defaults deferred definer delete delimiter delimiters depends depth \
    detach dictionary disable discard document domain double drop each enable encoding encrypted enum escape event \
    exclude excluding exclusive execute explain expression extension external family filter finalize first \
    following force forward function functions generated global granted groups handler header hold hour identity \
    if immediate immutable implicit import include including increment index indexes inherit inherits inline input \
    insensitive insert instead invoker isolation key label language large last leakproof level listen load local \
    location lock locked logged mapping match matched materialized maxvalue merge method minute minvalue mode \
    month move name names new next nfc nfd nfkc nfkd no normalized nothing notify nowait nulls object of off oids \
    old operator option options ordinality others over overriding owned owner parallel parameter parser partial \
    partition passing password plans policy preceding prepare prepared preserve prior privileges procedural \
    procedure procedures program publication quote range read reassign recheck recursive ref referencing refresh \
    reindex relative release rename repeatable replace replica reset restart restrict return returns revoke role \
    rollback rollup routine routines rows rule savepoint schema schemas scroll search second security sequence \
    sequences serializable server session set sets share show simple skip snapshot sql stable standalone start \
    statement statistics stdin stdout storage stored strict strip subscription support sysid system tables \
    tablespace temp template temporary text ties transaction transform trigger truncate trusted type types uescape \
    unbounded uncommitted unencrypted unknown unlisten unlogged until update vacuum valid validate validator value \
    varying version view views volatile whitespace within without work wrapper write xml year yes zone";

const COLUMN_NAME: &str = "\
    between bigint bit boolean char character coalesce dec decimal exists extract float greatest grouping inout \
    int integer interval least national nchar none normalize nullif numeric out overlay position precision real \
    row setof smallint substring time timestamp treat trim values varchar xmlattributes xmlconcat xmlelement \
    xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";

const TYPE_OR_FUNCTION: &str = "\
    authorization binary collation concurrently cross current_schema freeze full ilike inner is isnull join left \
    like natural notnull outer overlaps right similar tablesample verbose";

const RESERVED: &str = "\
    all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create \
    current_catalog current_date current_role current_time current_timestamp current_user default deferrable desc \
    distinct do else end except false fetch for foreign from grant group having in initially intersect into \
    lateral leading limit localtime localtimestamp not null offset on only or order placing primary references \
    returning select session_user some symmetric table then to trailing true union unique user using variadic when \
    where window with";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_dialects_are_names() {
        assert_eq!(keyword("select"), Keyword::SELECT);
        assert_eq!(keyword("uuid"), Keyword::UUID);
        assert_eq!(keyword("qualify"), Keyword::NoKeyword);
        assert_eq!(category("select"), Some(Category::Reserved));
        assert_eq!(category("uuid"), None);
    }
}
