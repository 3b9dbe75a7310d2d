//! The driver that Rust programs use, against a server over TCP: typed parameters in binary, prepared statements,
//! portals, pipelines, notifications, cancellation, errors with their fields.

mod support;

use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt, future, stream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::server::{PASSWORD, Tertulia};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::error::{ErrorPosition, SqlState};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Notification};
use uuid::Uuid;

/// How long something that must come may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a client's runtime.
struct World {
    runtime: Runtime,
    server: Tertulia,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let server = Tertulia::start(directory.path(), "tertulia");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        World { runtime, server, _directory: directory }
    }

    fn config(&self, user: &str, password: &str) -> Config {
        let (address, mut config) = (self.server.address(), Config::new());
        config.host(address.ip().to_string()).port(address.port()).user(user).password(password).dbname("tertulia");
        config
    }

    /// A client, and the notifications that its connection receives.
    async fn connect_as(&self, user: &str, password: &str) -> (Client, UnboundedReceiver<Notification>) {
        let (client, mut connection) = self.config(user, password).connect(NoTls).await.unwrap();
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(notification) = message {
                    let _ = sender.send(notification);
                }
            }
        });
        (client, receiver)
    }

    async fn connect(&self) -> Client {
        self.connect_as("tertulia", PASSWORD).await.0
    }

    fn run<F: Future>(&self, body: F) -> F::Output {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, body).await.expect("in time") })
    }
}

fn code(error: &tokio_postgres::Error) -> &SqlState {
    error.code().unwrap_or_else(|| panic!("an error of the server: {error:?}"))
}

#[test]
fn typed_parameters_come_back_as_they_were() {
    let world = World::new();
    world.run(async {
        let client = world.connect().await;
        let columns = "b boolean, s smallint, i integer, l bigint, f double precision, t text, v varchar(20), y bytea, \
                       ts timestamp, tz timestamptz, u uuid, j json, k jsonb";
        client.batch_execute(&format!("CREATE TABLE every (id integer PRIMARY KEY, {columns})")).await.unwrap();
        let insert = "INSERT INTO every VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        let insert = client.prepare(insert).await.unwrap();
        let expected = [
            Type::INT4,
            Type::BOOL,
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::FLOAT8,
            Type::TEXT,
            Type::VARCHAR,
            Type::BYTEA,
            Type::TIMESTAMP,
            Type::TIMESTAMPTZ,
            Type::UUID,
            Type::JSON,
            Type::JSONB,
        ];
        assert_eq!(insert.params(), expected);
        let at = UNIX_EPOCH + Duration::from_micros(1_764_000_000_123_456);
        let (uuid, bytes) = (Uuid::from_u128(0x1234), vec![0_u8, 1, 254, 255]);
        let json = serde_json::json!({"a": [1, null, "ü"], "b": {"c": 1.5}});
        let (text, varchar) = ("text with 'quotes' and 你好", "short");
        let sent = client
            .execute(
                &insert,
                &[
                    &1_i32,
                    &true,
                    &-7_i16,
                    &i32::MIN,
                    &i64::MAX,
                    &-0.1_f64,
                    &text,
                    &varchar,
                    &bytes,
                    &at,
                    &at,
                    &uuid,
                    &json,
                    &json,
                ],
            )
            .await;
        assert_eq!(sent.unwrap(), 1);
        let none: Option<i64> = None;
        let nothing = "INSERT INTO every (id, l) VALUES ($1, $2)";
        assert_eq!(client.execute(nothing, &[&2_i32, &none]).await.unwrap(), 1);
        let row = client.query_one("SELECT * FROM every WHERE id = $1", &[&1_i32]).await.unwrap();
        assert!(row.get::<_, bool>("b"));
        assert_eq!((row.get::<_, i16>("s"), row.get::<_, i32>("i"), row.get::<_, i64>("l")), (-7, i32::MIN, i64::MAX));
        assert_eq!(row.get::<_, f64>("f"), -0.1);
        assert_eq!((row.get::<_, &str>("t"), row.get::<_, String>("v")), (text, varchar.to_owned()));
        assert_eq!(row.get::<_, Vec<u8>>("y"), bytes);
        assert_eq!((row.get::<_, SystemTime>("ts"), row.get::<_, SystemTime>("tz")), (at, at));
        assert_eq!(row.get::<_, Uuid>("u"), uuid);
        assert_eq!(row.get::<_, serde_json::Value>("j"), json);
        assert_eq!(row.get::<_, serde_json::Value>("k"), json);
        let row = client.query_one("SELECT * FROM every WHERE id = 2", &[]).await.unwrap();
        assert!(row.get::<_, Option<i64>>("l").is_none() && row.get::<_, Option<Uuid>>("u").is_none());
        assert!(row.get::<_, Option<String>>("t").is_none() && row.get::<_, Option<SystemTime>>("tz").is_none());
        let error = client.execute(nothing, &[&3_i32, &"no number"]).await.unwrap_err();
        assert!(error.code().is_none(), "the driver refuses what the described type does not take: {error}");
    });
}

#[test]
fn prepared_statements_outlive_changes_of_their_table() {
    let world = World::new();
    world.run(async {
        let client = world.connect().await;
        let other = world.connect().await;
        client.batch_execute("CREATE TABLE p (id bigint PRIMARY KEY, v text)").await.unwrap();
        let insert = client.prepare("INSERT INTO p (id, v) VALUES ($1, $2)").await.unwrap();
        let all = client.prepare("SELECT * FROM p WHERE id = $1").await.unwrap();
        let some = client.prepare("SELECT v FROM p WHERE id = $1").await.unwrap();
        client.execute(&insert, &[&1_i64, &"one"]).await.unwrap();
        assert_eq!(client.query_one(&all, &[&1_i64]).await.unwrap().len(), 2);
        other.batch_execute("ALTER TABLE p ADD COLUMN extra integer DEFAULT 7").await.unwrap();
        client.execute(&insert, &[&2_i64, &"two"]).await.unwrap();
        assert_eq!(client.query_one(&some, &[&2_i64]).await.unwrap().get::<_, &str>(0), "two");
        let error = client.query(&all, &[&1_i64]).await.unwrap_err();
        assert_eq!(code(&error), &SqlState::FEATURE_NOT_SUPPORTED);
        assert_eq!(error.as_db_error().unwrap().message(), "cached plan must not change result type");
        other.batch_execute("DROP TABLE p").await.unwrap();
        let error = client.execute(&insert, &[&3_i64, &"three"]).await.unwrap_err();
        assert_eq!(code(&error), &SqlState::UNDEFINED_TABLE);
        other.batch_execute("CREATE TABLE p (id bigint PRIMARY KEY, v text)").await.unwrap();
        client.execute(&insert, &[&3_i64, &"three"]).await.unwrap();
        assert_eq!(client.query_one(&some, &[&3_i64]).await.unwrap().get::<_, &str>(0), "three");
    });
}

#[test]
fn portals_are_fetched_in_pieces_beside_each_other() {
    let world = World::new();
    world.run(async {
        let mut client = world.connect().await;
        client.batch_execute("CREATE TABLE n (i integer PRIMARY KEY)").await.unwrap();
        let rows: Vec<String> = (1..=10).map(|i| format!("({i})")).collect();
        client.batch_execute(&format!("INSERT INTO n VALUES {}", rows.join(", "))).await.unwrap();
        let transaction = client.transaction().await.unwrap();
        let up = transaction.bind("SELECT i FROM n ORDER BY i", &[]).await.unwrap();
        let down = transaction.bind("SELECT i FROM n WHERE i > $1 ORDER BY i DESC", &[&3_i32]).await.unwrap();
        let mut seen = (Vec::new(), Vec::new());
        for pieces in [4, 4, 4] {
            for (portal, into) in [(&up, &mut seen.0), (&down, &mut seen.1)] {
                let rows = transaction.query_portal(portal, pieces).await.unwrap();
                into.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
            }
            // what the transaction writes in between is not seen by portals that are open
            transaction.execute("UPDATE n SET i = i + 100 WHERE i = 10", &[]).await.unwrap();
        }
        assert_eq!(seen.0, (1..=10).collect::<Vec<i32>>());
        assert_eq!(seen.1, (4..=10).rev().collect::<Vec<i32>>());
        transaction.rollback().await.unwrap();
        assert_eq!(client.query("SELECT i FROM n WHERE i > 10", &[]).await.unwrap().len(), 0);
    });
}

#[test]
fn pipelined_statements_are_answered_in_order_and_fail_alone() {
    let world = World::new();
    world.run(async {
        let client = world.connect().await;
        client.batch_execute("CREATE TABLE q (id integer PRIMARY KEY)").await.unwrap();
        let insert = client.prepare("INSERT INTO q VALUES ($1)").await.unwrap();
        let ids = [1_i32, 2, 2, 3];
        let sent = ids.iter().map(|id| client.execute_raw(&insert, std::slice::from_ref(id)));
        let outcomes: Vec<_> = future::join_all(sent).await;
        let good: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, true, false, true]);
        assert_eq!(code(outcomes[2].as_ref().unwrap_err()), &SqlState::UNIQUE_VIOLATION);
        let (one, two) = future::join(
            client.query_one("SELECT count(*) FROM q", &[]),
            client.query_one("SELECT max(id) FROM q WHERE id < $1", &[&3_i32]),
        )
        .await;
        assert_eq!((one.unwrap().get::<_, i64>(0), two.unwrap().get::<_, i32>(0)), (3, 2));
    });
}

#[test]
fn a_script_is_one_transaction_and_a_dropped_transaction_is_none() {
    let world = World::new();
    world.run(async {
        let mut client = world.connect().await;
        client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY)").await.unwrap();
        let error = client.batch_execute("INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)").await.unwrap_err();
        assert_eq!(code(&error), &SqlState::UNIQUE_VIOLATION);
        assert_eq!(client.query("SELECT * FROM t", &[]).await.unwrap().len(), 0);
        {
            let transaction = client.transaction().await.unwrap();
            transaction.execute("INSERT INTO t VALUES (2)", &[]).await.unwrap();
        }
        assert_eq!(client.query("SELECT * FROM t", &[]).await.unwrap().len(), 0);
        let mut transaction = client.transaction().await.unwrap();
        transaction.execute("INSERT INTO t VALUES (3)", &[]).await.unwrap();
        let savepoint = transaction.savepoint("nested").await.unwrap();
        savepoint.execute("INSERT INTO t VALUES (4)", &[]).await.unwrap();
        let error = savepoint.execute("INSERT INTO t VALUES (3)", &[]).await.unwrap_err();
        assert_eq!(code(&error), &SqlState::UNIQUE_VIOLATION);
        savepoint.rollback().await.unwrap();
        transaction.execute("INSERT INTO t VALUES (5)", &[]).await.unwrap();
        transaction.commit().await.unwrap();
        let rows = client.query("SELECT id FROM t ORDER BY id", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [3, 5]);
    });
}

#[test]
fn notifications_arrive_while_the_client_is_idle() {
    let world = World::new();
    world.run(async {
        let (listener, mut heard) = world.connect_as("tertulia", PASSWORD).await;
        let sender = world.connect().await;
        listener.batch_execute("LISTEN news").await.unwrap();
        sender.execute("SELECT pg_notify($1, $2)", &[&"news", &"hello"]).await.unwrap();
        let first = heard.recv().await.unwrap();
        assert_eq!((first.channel(), first.payload()), ("news", "hello"));
        listener.execute("NOTIFY news, 'to myself'", &[]).await.unwrap();
        assert_eq!(heard.recv().await.unwrap().payload(), "to myself");
    });
}

#[test]
fn a_statement_is_cancelled_and_the_session_goes_on() {
    let world = World::new();
    world.run(async {
        let client = world.connect().await;
        let cancel = client.cancel_token();
        let sleeping = client.query("SELECT pg_sleep(60)", &[]);
        let cancelling = async {
            // sent again until it hits: a request that comes before its statement is forgotten, as by PostgreSQL
            loop {
                cancel.cancel_query(NoTls).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let error = tokio::select! {
            outcome = sleeping => outcome.unwrap_err(),
            never = cancelling => never,
        };
        assert_eq!(code(&error), &SqlState::QUERY_CANCELED);
    });
}

#[test]
fn errors_carry_their_fields() {
    let world = World::new();
    world.run(async {
        let client = world.connect().await;
        client
            .batch_execute("CREATE SCHEMA s; CREATE TABLE s.e (id integer PRIMARY KEY, v text NOT NULL)")
            .await
            .unwrap();
        client.batch_execute("ALTER TABLE s.e ADD CONSTRAINT short CHECK (length(v) < 5)").await.unwrap();
        client.batch_execute("INSERT INTO s.e VALUES (1, 'one')").await.unwrap();
        let error = client.execute("INSERT INTO s.e VALUES ($1, $2)", &[&1_i32, &"two"]).await.unwrap_err();
        let fields = error.as_db_error().unwrap();
        assert_eq!(fields.severity(), "ERROR");
        assert_eq!(fields.detail(), Some("Key (id)=(1) already exists."));
        assert_eq!((fields.schema(), fields.table(), fields.constraint()), (Some("s"), Some("e"), Some("e_pkey")));
        let error = client.execute("INSERT INTO s.e (id) VALUES (2)", &[]).await.unwrap_err();
        let fields = error.as_db_error().unwrap();
        assert_eq!((fields.table(), fields.column()), (Some("e"), Some("v")));
        let error = client.execute("INSERT INTO s.e VALUES (2, 'too long')", &[]).await.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().constraint(), Some("short"));
        let error = client.prepare("SELECT nothing FROM s.e").await.unwrap_err();
        let fields = error.as_db_error().unwrap();
        assert_eq!(fields.code(), &SqlState::UNDEFINED_COLUMN);
        assert_eq!(fields.position(), Some(&ErrorPosition::Original(8)));
        let error = client.query("SELECT 1 / $1::integer", &[&0_i32]).await.unwrap_err();
        assert_eq!(code(&error), &SqlState::DIVISION_BY_ZERO);
        assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    });
}

#[test]
fn rows_are_streamed_and_a_stream_may_be_left() {
    let world = World::new();
    world.run(async {
        let client = world.connect().await;
        client.batch_execute("CREATE TABLE big (id integer PRIMARY KEY, pad text)").await.unwrap();
        let rows: Vec<String> = (0..2_000).map(|id| format!("({id}, repeat('x', 1000))")).collect();
        client.batch_execute(&format!("INSERT INTO big VALUES {}", rows.join(","))).await.unwrap();
        let all = client.query_raw::<_, i32, _>("SELECT * FROM big", []).await.unwrap();
        let ids: Vec<i32> = all.map_ok(|row| row.get::<_, i32>(0)).try_collect().await.unwrap();
        assert_eq!(ids, (0..2_000).collect::<Vec<i32>>());
        let left = client.query_raw::<_, i32, _>("SELECT * FROM big", []).await.unwrap();
        drop(left);
        assert_eq!(client.query_one("SELECT count(*) FROM big", &[]).await.unwrap().get::<_, i64>(0), 2_000);
    });
}

#[test]
fn a_worker_acts_for_the_user_that_a_parameter_names() {
    let world = World::new();
    world.run(async {
        let admin = world.connect().await;
        let schema = "CREATE SCHEMA chat; \
                      CREATE TABLE chat.notes (id bigint PRIMARY KEY, body text) WITH (TYPE = 'USER'); \
                      CREATE USER alice PASSWORD 'a'; CREATE USER worker PASSWORD 'w' SERVICE; \
                      GRANT USAGE ON SCHEMA chat TO alice, worker; \
                      GRANT SELECT, INSERT ON chat.notes TO alice, worker";
        admin.batch_execute(schema).await.unwrap();
        let (alice, _) = world.connect_as("alice", "a").await;
        let (mut worker, _) = world.connect_as("worker", "w").await;
        let reply = "EXECUTE AS USER $1 ( INSERT INTO chat.notes VALUES ($2, $3) RETURNING current_user_id() )";
        let reply = worker.prepare(reply).await.unwrap();
        assert_eq!(reply.params(), [Type::TEXT, Type::INT8, Type::TEXT]);
        let row = worker.query_one(&reply, &[&"alice", &1_i64, &"from the worker"]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "alice");
        assert_eq!(worker.query("SELECT * FROM chat.notes", &[]).await.unwrap().len(), 0);
        let transaction = worker.transaction().await.unwrap();
        transaction.batch_execute("SET LOCAL tertulia.user_id = 'alice'").await.unwrap();
        transaction.execute("INSERT INTO chat.notes VALUES ($1, $2)", &[&2_i64, &"again"]).await.unwrap();
        transaction.commit().await.unwrap();
        let rows = alice.query("SELECT body FROM chat.notes ORDER BY id", &[]).await.unwrap();
        let bodies: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(bodies, ["from the worker", "again"]);
        let refused = "EXECUTE AS USER $1 ( SELECT body FROM chat.notes WHERE id = $2 )";
        let error = alice.query(refused, &[&"bob", &1_i64]).await.unwrap_err();
        assert_eq!(code(&error), &SqlState::INSUFFICIENT_PRIVILEGE);
    });
}

#[test]
fn rows_are_copied_in_and_a_copy_may_be_left() {
    let world = World::new();
    world.run(async {
        let client = world.connect().await;
        client.batch_execute("CREATE TABLE big (id integer PRIMARY KEY, pad text)").await.unwrap();
        let copy = "COPY big FROM STDIN";
        let mut sink = Box::pin(client.copy_in::<_, Bytes>(copy).await.unwrap());
        for from in (0..20_000).step_by(1_000) {
            let rows: String = (from..from + 1_000).map(|id| format!("{id}\tpad\\t{id}\n")).collect();
            sink.send(Bytes::from(rows)).await.unwrap();
        }
        assert_eq!(sink.as_mut().finish().await.unwrap(), 20_000);
        let row = client.query_one("SELECT count(*), max(pad) FROM big", &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (20_000, "pad\t9999"));
        // a sink that is dropped says CopyFail
        let mut sink = Box::pin(client.copy_in::<_, Bytes>(copy).await.unwrap());
        sink.send(Bytes::from_static(b"-1\tx\n")).await.unwrap();
        drop(sink);
        let mut sink = Box::pin(client.copy_in::<_, Bytes>(copy).await.unwrap());
        sink.send(Bytes::from_static(b"-2\tx\nno number\tx\n")).await.unwrap();
        assert_eq!(code(&sink.as_mut().finish().await.unwrap_err()), &SqlState::INVALID_TEXT_REPRESENTATION);
        assert_eq!(client.query_one("SELECT count(*) FROM big", &[]).await.unwrap().get::<_, i64>(0), 20_000);
    });
}
