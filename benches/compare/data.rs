//! The data that both servers get.

use crate::common::servers::Server;
use crate::options::Options;
use crate::support::random::Random;
use std::time::Instant;

/// Bytes of a message.
pub const BODY_BYTES: u64 = 200;

/// Rows of one INSERT while loading.
const LOAD_ROWS: i64 = 500;

/// Makes the table on both.
pub async fn make_table(servers: &[Server; 2]) {
    for server in servers {
        let own = if server.name == "Tertulia" { " WITH (TYPE = 'SHARED')" } else { "" };
        let table = format!(
            "CREATE SCHEMA bench; CREATE TABLE bench.messages (conversation_id bigint NOT NULL, id bigint NOT NULL, \
             body text NOT NULL, PRIMARY KEY (conversation_id, id)){own}"
        );
        server.client().await.batch_execute(&table).await.expect("the table is made");
    }
}

/// Loads the same rows into both.
pub async fn load(servers: &[Server; 2], options: &Options) {
    for server in servers {
        let start = Instant::now();
        let client = server.client().await;
        let mut random = Random::new(1);
        let mut row = 0;
        while row < options.rows {
            let end = (row + LOAD_ROWS).min(options.rows);
            let values: Vec<String> = (row..end)
                .map(|row| {
                    let (conversation, id) = key(row, options.conversations);
                    format!("({conversation}, {id}, '{}')", random.text(BODY_BYTES, BODY_BYTES))
                })
                .collect();
            let insert = format!("INSERT INTO bench.messages VALUES {}", values.join(", "));
            client.batch_execute(&insert).await.expect("the rows are loaded");
            row = end;
        }
        if server.name == "PostgreSQL" {
            client.batch_execute("VACUUM ANALYZE bench.messages").await.expect("the table is analysed");
            client.batch_execute("CHECKPOINT").await.expect("a checkpoint");
        }
        println!("{}: {} rows loaded in {:.1} s", server.name, options.rows, start.elapsed().as_secs_f64());
    }
}

/// Conversation and id of a loaded row: conversations grow side by side.
pub fn key(row: i64, conversations: i64) -> (i64, i64) {
    (row % conversations, row / conversations)
}
