//! What the clients do.

use crate::common::servers::Server;
use crate::data::{BODY_BYTES, key};
use crate::options::Options;
use crate::support::random::Random;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio_postgres::{Client, Statement};

/// One kind of work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// A row by its key.
    Select,
    /// The last 50 rows of a conversation.
    Last50,
    /// One row, durable before the answer.
    Insert,
    /// A new body for a row that is there.
    Update,
    /// BEGIN, two rows, COMMIT.
    Transaction,
}

const INSERT: &str = "INSERT INTO bench.messages (conversation_id, id, body) VALUES ($1, $2, $3)";
const SELECT: &str = "SELECT body FROM bench.messages WHERE conversation_id = $1 AND id = $2";
const UPDATE: &str = "UPDATE bench.messages SET body = $3 WHERE conversation_id = $1 AND id = $2";
const LAST50: &str = "SELECT id, body FROM bench.messages WHERE conversation_id = $1 ORDER BY id DESC LIMIT 50";

/// Ids of rows that clients add: above all that are loaded.
const FIRST_NEW_ID: i64 = 1 << 40;

impl Workload {
    /// Those that read come first, so that both servers hold the same rows for them.
    pub const ALL: [Workload; 5] =
        [Workload::Select, Workload::Last50, Workload::Insert, Workload::Update, Workload::Transaction];

    /// With how many clients it runs unless the command line says otherwise.
    pub fn clients(self) -> &'static [usize] {
        match self {
            Workload::Select | Workload::Last50 => &[1, 8],
            Workload::Insert => &[1, 8, 32],
            Workload::Update | Workload::Transaction => &[8],
        }
    }

    /// Its row's title.
    pub fn title(self, clients: usize) -> String {
        let what = match self {
            Workload::Select => "point SELECT by key",
            Workload::Last50 => "last 50 of a conversation",
            Workload::Insert => "durable INSERT of a row",
            Workload::Update => "UPDATE of a row by key",
            Workload::Transaction => "BEGIN, 2 INSERTs, COMMIT",
        };
        format!("{what}, {clients} client{}", if clients == 1 { "" } else { "s" })
    }
}

/// One client at work.
pub struct Worker {
    client: Client,
    statement: Statement,
    workload: Workload,
    random: Random,
    next_id: Arc<AtomicI64>,
    rows: i64,
    conversations: i64,
    body: String,
}

/// The clients of a workload on a server, connected and with their statements prepared.
pub async fn workers(server: &Server, workload: Workload, clients: usize, options: &Options) -> Vec<Worker> {
    let mut workers = Vec::new();
    let client = server.client().await;
    let last: Option<i64> = client.query_one("SELECT max(id) FROM bench.messages", &[]).await.expect("an id").get(0);
    let next_id = Arc::new(AtomicI64::new(last.unwrap_or(0).max(FIRST_NEW_ID) + 1));
    for index in 0..clients {
        let client = server.client().await;
        let sql = match workload {
            Workload::Select => SELECT,
            Workload::Last50 => LAST50,
            Workload::Insert | Workload::Transaction => INSERT,
            Workload::Update => UPDATE,
        };
        let statement = client.prepare(sql).await.expect("the statement is prepared");
        let mut random = Random::new(index as u64 + 1);
        workers.push(Worker {
            client,
            statement,
            workload,
            body: random.text(BODY_BYTES, BODY_BYTES),
            random,
            next_id: next_id.clone(),
            rows: options.rows.max(1),
            conversations: options.conversations,
        });
    }
    workers
}

impl Worker {
    /// Does it once. Both servers must answer, and rightly.
    pub async fn once(&mut self) {
        match self.workload {
            Workload::Select => {
                let (conversation, id) = self.loaded_key();
                let row = self.client.query_one(&self.statement, &[&conversation, &id]).await.expect("a row");
                assert_eq!(row.get::<_, &str>(0).len(), BODY_BYTES as usize);
            }
            Workload::Last50 => {
                let conversation = self.conversation();
                let rows = self.client.query(&self.statement, &[&conversation]).await.expect("rows");
                assert_eq!(rows.len() as i64, (self.rows / self.conversations).min(50));
            }
            Workload::Insert => self.insert().await,
            Workload::Update => {
                let (conversation, id) = self.loaded_key();
                let changed = self.client.execute(&self.statement, &[&conversation, &id, &self.body]).await;
                assert_eq!(changed.expect("the row is changed"), 1);
            }
            Workload::Transaction => {
                self.client.batch_execute("BEGIN").await.expect("BEGIN");
                self.insert().await;
                self.insert().await;
                self.client.batch_execute("COMMIT").await.expect("COMMIT");
            }
        }
    }

    fn loaded_key(&mut self) -> (i64, i64) {
        key(self.random.below(self.rows as u64) as i64, self.conversations)
    }

    fn conversation(&mut self) -> i64 {
        self.random.below(self.conversations as u64) as i64
    }

    async fn insert(&mut self) {
        let (conversation, id) = (self.conversation(), self.next_id.fetch_add(1, Ordering::Relaxed));
        let added = self.client.execute(&self.statement, &[&conversation, &id, &self.body]).await;
        assert_eq!(added.expect("the row is added"), 1);
    }
}
