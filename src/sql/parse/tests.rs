//! What the parser reads and what it refuses.

use super::*;

fn one(text: &str) -> Statement {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).remove(0).statement
}

/// `SQLSTATE message @position`
fn refusal(text: &str) -> String {
    let error = parse(text).err().unwrap_or_else(|| panic!("{text} was accepted"));
    let fields = error.fields();
    format!("{} {} @{}", fields.code, fields.message, fields.position.unwrap_or(0))
}

#[test]
fn the_chat_schema_is_read() {
    let text = "
    CREATE NAMESPACE IF NOT EXISTS chat;
    CREATE TABLE chat.conversations (
      id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), title TEXT NOT NULL, created_at TIMESTAMP DEFAULT NOW()
    ) WITH (TYPE = 'USER', FLUSH_POLICY = 'rows:1000');
    CREATE TABLE chat.messages (
      id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), conversation_id BIGINT NOT NULL, role TEXT NOT NULL,
      content TEXT NOT NULL, file_data FILE, created_at TIMESTAMP DEFAULT NOW()
    ) WITH (TYPE = 'USER', FLUSH_POLICY = 'rows:1000');
    CREATE TABLE chat.typing_events (
      id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), conversation_id BIGINT NOT NULL, user_id TEXT NOT NULL,
      event_type TEXT NOT NULL, created_at TIMESTAMP DEFAULT NOW()
    ) WITH (TYPE = 'STREAM', TTL_SECONDS = 30);
    CREATE TOPIC chat.ai_processing;
    ALTER TOPIC chat.ai_processing ADD SOURCE chat.messages ON INSERT WITH (payload = 'full');";
    let parsed = parse(text).expect("the schema parses");
    assert_eq!(parsed.len(), 6);
    let Statement::Define(definition) = &parsed[2].statement else { panic!("{:?}", parsed[2]) };
    let Definition::CreateTable(table) = definition.as_ref() else { panic!("{definition:?}") };
    assert_eq!(table.columns.len(), 6);
    assert_eq!(table.columns[0].default.as_ref().map(|default| default.text.as_str()), Some("SNOWFLAKE_ID()"));
    assert_eq!(table.columns[4].ty, crate::types::SqlType::FILE);
    assert_eq!(table.options[1].value.as_deref(), Some("rows:1000"));
}

#[test]
fn every_own_statement_is_read() {
    let texts = [
        "CONSUME FROM t GROUP g PARTITION 1 FROM EARLIEST LIMIT 5 WAIT '1 s' VISIBILITY INTERVAL '30 s' AUTO ACK",
        "CONSUME FROM chat.t GROUP $1 FROM 5 LIMIT $2",
        "ACK t GROUP g OFFSET 1, 2",
        "ACK t GROUP 'g' PARTITION 0 UPTO OFFSET 7",
        "NACK t GROUP g LEASE 'a', $1 DELAY '1 s' REASON 'no'",
        "EXTEND t GROUP g LEASE 'a' BY '1 min'",
        "RELEASE t GROUP g OFFSET 1",
        "RESET CONSUMER GROUP g ON t TO TIMESTAMP '2026-01-01'",
        "SHOW TOPICS",
        "CLEAR TOPIC t",
        "DROP TOPIC IF EXISTS t CASCADE",
        "CREATE TOPIC IF NOT EXISTS t PARTITIONS 4 WITH (retention = '1 day', max_attempts = 3, dead_letter = x.d)",
        "ALTER TOPIC t ADD SOURCE m ON INSERT, DELETE WHERE role = 'user' PARTITION BY (c) WITH (payload = diff)",
        "KILL LIVE QUERY 'x'",
        "EXECUTE AS USER $1 ( SELECT * FROM m WHERE id = $2 )",
        "EXPLAIN (ANALYZE, COSTS OFF) SELECT 1",
        "PREPARE p (int, varchar(3)) AS SELECT $1, $2",
        "EXECUTE p(1, 'a')",
        "DEALLOCATE ALL",
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "ROLLBACK TO SAVEPOINT a",
        "RELEASE a",
        "SET LOCAL tertulia.user_id = 'alice'",
        "SET search_path TO a, \"B\"",
        "SET TIME ZONE 'UTC'",
        "RESET ALL",
        "SHOW TRANSACTION ISOLATION LEVEL",
        "DISCARD ALL",
        "CREATE USER bob WITH PASSWORD 'x' SERVICE NOLOGIN",
        "ALTER ROLE bob SUPERUSER",
        "DROP USER IF EXISTS bob",
        "GRANT SELECT, UPDATE ON TOPIC t TO bob WITH GRANT OPTION",
        "REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA chat FROM PUBLIC",
        "GRANT admins TO bob",
        "ALTER TABLE t ADD COLUMN a int DEFAULT 1 NOT NULL, DROP b",
        "ALTER TABLE t RENAME TO c",
    ];
    for text in texts {
        one(text);
    }
}

#[test]
fn a_subscription_without_a_name_takes_its_text() {
    let channel = |text| match one(text) {
        Statement::Subscribe(subscribe) => subscribe.channel.name,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        channel("SUBSCRIBE TO  chat.messages WHERE id > $1  OPTIONS (last_rows = 5);"),
        "chat.messages WHERE id > $1"
    );
    assert_eq!(channel("subscribe to SELECT id FROM \"M\" ; "), "SELECT id FROM \"M\"");
    assert_eq!(channel("SUBSCRIBE Mine TO chat.messages"), "mine");
}

#[test]
fn channels_stay_whole() {
    let name = format!("SELECT * FROM chat.messages WHERE content <> '{}'", "x".repeat(80));
    match one(&format!("LISTEN \"{name}\"")) {
        Statement::Listen(channel) => {
            assert!(channel.is_query());
            assert_eq!(channel.name, name);
            assert_eq!(channel.cut().0.len(), 63);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn syntax_errors_read_as_postgresqls() {
    assert_eq!(refusal("SELEC 1"), "42601 syntax error at or near \"SELEC\" @1");
    assert_eq!(refusal("SELECT 1 +"), "42601 syntax error at end of input @11");
    assert_eq!(refusal("SELECT 1 +; SELECT 2"), "42601 syntax error at or near \";\" @11");
    assert_eq!(refusal("SELECT 'ä', 'abc"), "42601 unterminated quoted string at or near \"'abc\" @13");
    assert_eq!(refusal("SELECT 1a"), "42601 trailing junk after numeric literal at or near \"1a\" @8");
    assert_eq!(refusal("CREATE TABLE t (a foo)"), "42704 type \"foo\" does not exist @19");
    assert_eq!(refusal("CREATE VIEW v AS SELECT 1"), "0A000 CREATE VIEW is not supported @1");
    assert_eq!(refusal("DELETE t"), "42601 syntax error at or near \"t\" @8");
    assert_eq!(refusal("ALTER TABLE t FOO"), "42601 syntax error at or near \"FOO\" @15");
    one("SELECT 1 WHERE a ISNULL");
    assert_eq!(refusal("VACUUM t"), "0A000 VACUUM is not supported @1");
    assert_eq!(refusal("SELECT \"\""), "42601 zero-length delimited identifier at or near \"\"\"\" @8");
}

#[test]
fn deep_and_long_statements_are_refused_without_harm() {
    for text in [
        format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT 1{}", "+1".repeat(10_000)),
        format!("SELECT {}true", "NOT ".repeat(10_000)),
        format!("SELECT {}1", "- ".repeat(10_000)),
        format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(10_000), " END".repeat(10_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(10_000)),
        format!("SELECT {}1", "EXPLAIN ".repeat(10_000)),
    ] {
        let refused = refusal(&text);
        assert!(refused.starts_with("54001") || refused.starts_with("42601"), "{refused}");
    }
    // Long lists are flat.
    let list = vec!["1"; 20_000].join(",");
    one(&format!("SELECT 1 WHERE 1 IN ({list})"));
}

#[test]
fn nesting_below_the_bound_fits_a_small_stack() {
    let text = format!("SELECT {}1{}", "(".repeat(200), ")".repeat(200));
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || parse(&text).map(|_| ()));
    thread.expect("a thread starts").join().expect("the stack suffices").expect("it parses");
}

#[test]
fn several_statements_keep_their_places() {
    let parsed = parse(" SELECT 1 ; -- nothing\n; INSERT INTO t VALUES ('a;b') ;").expect("it parses");
    let text = " SELECT 1 ; -- nothing\n; INSERT INTO t VALUES ('a;b') ;";
    assert_eq!(&text[parsed[0].range.clone()], "SELECT 1");
    assert_eq!(&text[parsed[1].range.clone()], "INSERT INTO t VALUES ('a;b')");
    assert!(parse(" /* nothing */ ;; ").expect("it parses").is_empty());
}
