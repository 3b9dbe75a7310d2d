//! What is set up first: the chat schema, the roles, and who may do what.

use super::client::Client;
use super::report::Report;
use super::target::Target;
use crate::error::{Error, Result, SqlState};

/// The chat schema as every application of Tertulia writes it.
const SCHEMA: &[&str] = &[
    "CREATE NAMESPACE IF NOT EXISTS chat",
    "CREATE TABLE chat.conversations (
       id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), title TEXT NOT NULL, created_at TIMESTAMP DEFAULT NOW()
     ) WITH (TYPE = 'USER', FLUSH_POLICY = 'rows:1000')",
    "CREATE TABLE chat.messages (
       id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), conversation_id BIGINT NOT NULL, role TEXT NOT NULL,
       content TEXT NOT NULL, file_data FILE, created_at TIMESTAMP DEFAULT NOW()
     ) WITH (TYPE = 'USER', FLUSH_POLICY = 'rows:1000')",
    "CREATE TABLE chat.typing_events (
       id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), conversation_id BIGINT NOT NULL, user_id TEXT NOT NULL,
       event_type TEXT NOT NULL, created_at TIMESTAMP DEFAULT NOW()
     ) WITH (TYPE = 'STREAM', TTL_SECONDS = 30)",
    "CREATE TOPIC chat.ai_processing",
    "ALTER TOPIC chat.ai_processing ADD SOURCE chat.messages ON INSERT WITH (payload = 'full')",
];

/// Users see and write their own rows; the worker writes for them and consumes the topic.
const GRANTS: &[&str] = &[
    "GRANT USAGE ON SCHEMA chat TO alice, bob, ai_worker",
    "GRANT SELECT, INSERT ON chat.conversations, chat.messages, chat.typing_events TO alice, bob",
    "GRANT INSERT ON chat.messages, chat.typing_events TO ai_worker",
    "GRANT UPDATE ON chat.ai_processing TO ai_worker",
];

/// Everything that the demonstration makes, in the order of its going.
const REMOVAL: &[&str] = &["DROP SCHEMA chat CASCADE", "DROP ROLE alice, bob, ai_worker"];

/// A role that logs in.
pub struct Login {
    /// Its name; for a user the user id too.
    pub name: &'static str,
    /// Made for this run.
    pub password: String,
}

/// Who takes part.
pub struct Cast {
    /// The first user.
    pub alice: Login,
    /// The second user.
    pub bob: Login,
    /// The worker, a SERVICE role.
    pub worker: Login,
}

/// Sets everything up, on a server that has none of it.
pub async fn create(admin: &mut Client, target: &Target, report: &Report) -> Result<Cast> {
    refuse_to_overwrite(admin).await?;
    for statement in SCHEMA {
        admin.run(statement).await?;
        report.line("admin", "runs", &first_words(statement), "");
        admin.notices().iter().for_each(|notice| report.line("admin", "is told", notice, ""));
    }
    let login = |name| Login { name, password: target.new_password() };
    let cast = Cast { alice: login("alice"), bob: login("bob"), worker: login("ai_worker") };
    for (Login { name, password }, attributes) in [(&cast.alice, ""), (&cast.bob, ""), (&cast.worker, " SERVICE")] {
        let statement = format!("CREATE USER {name} PASSWORD '{password}'{attributes}");
        admin.run(&statement).await?;
        report.line("admin", "runs", &format!("CREATE USER {name} PASSWORD '...'{attributes}"), "");
    }
    for statement in GRANTS {
        admin.run(statement).await?;
        report.line("admin", "runs", statement, "");
    }
    Ok(cast)
}

/// Removes it again from a server that lives on.
pub async fn remove(admin: &Client) -> Result<()> {
    for statement in REMOVAL {
        admin.run(statement).await?;
    }
    Ok(())
}

/// Somebody else's schema or roles are no stage: what the demonstration makes it also removes.
async fn refuse_to_overwrite(admin: &Client) -> Result<()> {
    let schemas = admin.query("SELECT nspname::text FROM pg_namespace WHERE nspname = 'chat'", &[]).await?;
    let roles = "SELECT rolname::text FROM pg_roles WHERE rolname IN ('alice', 'bob', 'ai_worker') ORDER BY rolname";
    let roles = admin.query(roles, &[]).await?;
    let names: Vec<String> = schemas.iter().chain(&roles).map(|row| row.get(0)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let message = format!("the server has a schema or role of the demo's already: {}", names.join(", "));
    Err(Error::new(SqlState::DUPLICATE_OBJECT, message)
        .hint("The demo makes schema chat and roles alice, bob and ai_worker, and removes them at its end."))
}

/// A statement in one short line.
fn first_words(statement: &str) -> String {
    statement.split_whitespace().take_while(|word| *word != "(").collect::<Vec<_>>().join(" ")
}
