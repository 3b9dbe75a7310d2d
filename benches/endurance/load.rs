//! The data, and the clients that change it.

use crate::options::Options;
use crate::support::process::{PASSWORD, Running};
use crate::support::random::Random;
use bytes::Bytes;
use futures::SinkExt;
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

/// Bytes of a message.
const BODY_BYTES: u64 = 200;
/// Rows of one COPY message while loading.
const COPY_ROWS: i64 = 1_000;
/// Rows of one COPY.
const LOAD_ROWS: i64 = 500_000;
/// Of a hundred operations so many are inserts, and so many updates; the others are deletes.
const INSERTS: u64 = 45;
const UPDATES: u64 = 30;

const TABLE: &str = "CREATE TABLE messages (id bigint PRIMARY KEY, author int NOT NULL, body text NOT NULL)";
const INDEX: &str = "CREATE INDEX messages_author ON messages (author)";
const AUTHORS: u64 = 10_000;

/// Latencies in microseconds that are still to be looked at.
pub type Latencies = Rc<RefCell<Vec<u32>>>;

/// The clients at work.
pub struct Clients {
    pub tasks: Vec<JoinHandle<()>>,
    pub latencies: Latencies,
}

async fn connect(server: &Running) -> Client {
    let mut config = Config::new();
    let address = server.address;
    config.host(address.ip().to_string()).port(address.port()).user("tertulia").password(PASSWORD).dbname("tertulia");
    let (client, connection) = config.connect(NoTls).await.expect("the server takes a connection");
    tokio::spawn(connection);
    client
}

/// Makes and loads the table.
pub async fn fill(server: &Running, options: &Options) {
    let start = Instant::now();
    let client = connect(server).await;
    client.batch_execute(TABLE).await.expect("the table is made");
    let mut random = Random::new(1);
    let mut row = 0;
    while row < options.rows {
        let sink = client.copy_in("COPY messages FROM STDIN").await.expect("COPY begins");
        let mut sink = pin!(sink);
        let end = (row + LOAD_ROWS).min(options.rows);
        while row < end {
            let next = (row + COPY_ROWS).min(end);
            let lines: String = (row..next)
                .map(|id| format!("{id}\t{}\t{}\n", random.below(AUTHORS), random.text(BODY_BYTES, BODY_BYTES)))
                .collect();
            sink.send(Bytes::from(lines)).await.expect("rows are taken");
            row = next;
        }
        sink.as_mut().finish().await.expect("COPY ends");
    }
    client.batch_execute(INDEX).await.expect("the index is made");
    println!("{} rows loaded and indexed in {:.1} s", options.rows, start.elapsed().as_secs_f64());
}

/// Sets the clients to work until a moment.
pub async fn clients(server: &Running, options: &Options, end: Instant) -> Clients {
    let latencies = Latencies::default();
    let next = Arc::new(AtomicI64::new(options.rows));
    let mut tasks = Vec::new();
    for index in 0..options.clients {
        let client = connect(server).await;
        let worker = work(client, next.clone(), Random::new(index as u64 + 7), latencies.clone(), end);
        tasks.push(tokio::task::spawn_local(worker));
    }
    Clients { tasks, latencies }
}

async fn work(client: Client, next: Arc<AtomicI64>, mut random: Random, latencies: Latencies, end: Instant) {
    let insert = client.prepare("INSERT INTO messages VALUES ($1, $2, $3)").await.expect("a statement");
    let update = client.prepare("UPDATE messages SET body = $2, author = $3 WHERE id = $1").await.expect("a statement");
    let delete = client.prepare("DELETE FROM messages WHERE id = $1").await.expect("a statement");
    let body = random.text(BODY_BYTES, BODY_BYTES);
    while Instant::now() < end {
        let author = random.below(AUTHORS) as i32;
        let any = random.below(next.load(Ordering::Relaxed) as u64) as i64;
        let start = Instant::now();
        match random.below(100) {
            dice if dice < INSERTS => {
                let id = next.fetch_add(1, Ordering::Relaxed);
                assert_eq!(client.execute(&insert, &[&id, &author, &body]).await.expect("a row is added"), 1);
            }
            dice if dice < INSERTS + UPDATES => {
                client.execute(&update, &[&any, &body, &author]).await.expect("a row is changed, if it is there");
            }
            _ => {
                client.execute(&delete, &[&any]).await.expect("a row is removed, if it is there");
            }
        }
        latencies.borrow_mut().push(start.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
    }
}
