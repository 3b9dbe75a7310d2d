//! Queries and writes on an engine, without sessions: what they return, and which errors they give.

use std::sync::Arc;
use tertulia::env::SystemEnv;
use tertulia::error::Result;
use tertulia::expr::{IdSource, Identity, Notifier, Settings};
use tertulia::sql::bind::{BindContext, Definitions, bind};
use tertulia::sql::ddl::{DefineContext, Defined, Progress, execute};
use tertulia::sql::exec::{ExecContext, Execution, Step};
use tertulia::sql::parse::{Statement, parse};
use tertulia::txn::{Engine, EngineOptions, Transaction, TxnOptions};
use tertulia::types::{Oid, Value, Zone, text};

struct Database {
    engine: Arc<Engine>,
    identity: Identity,
    zone: Zone,
    env: SystemEnv,
    _dir: tempfile::TempDir,
}

struct NoSettings;
impl Settings for NoSettings {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }
    fn set(&self, _name: &str, value: &str, _local: bool) -> Result<String> {
        Ok(value.to_owned())
    }
}

struct Quiet;
impl Notifier for Quiet {
    fn notify(&self, _channel: &str, _payload: &str) -> Result<()> {
        Ok(())
    }
}

struct Ids<'a>(&'a Engine);
impl IdSource for Ids<'_> {
    fn snowflake(&self) -> i64 {
        self.0.snowflake()
    }
}

impl Database {
    fn new() -> Database {
        let dir = tempfile::tempdir().unwrap();
        let env = Arc::new(SystemEnv::new());
        let (engine, _) = Engine::open(EngineOptions::new(dir.path()), env).unwrap();
        let identity = Identity {
            role: Oid(10),
            role_name: "tertulia".into(),
            session_role_name: "tertulia".into(),
            user_id: "tertulia".into(),
            database: "tertulia".into(),
            schema: Some("public".into()),
            pid: 1,
        };
        Database { engine, identity, zone: Zone::utc(), env: SystemEnv::new(), _dir: dir }
    }

    fn user(mut self, user: &str) -> Database {
        self.identity.user_id = user.into();
        self
    }

    /// Runs one statement in its own transaction and shows its rows and tag, or its error.
    fn run(&self, sql: &str, params: Vec<Value>) -> String {
        let mut tx = self.engine.begin(TxnOptions::default()).unwrap();
        match self.run_in(&mut tx, sql, params) {
            Ok(shown) => match tx.start_commit().and_then(|ticket| ticket.block()) {
                Ok(_) => shown,
                Err(error) => show_error(&error),
            },
            Err(error) => show_error(&error),
        }
    }

    fn run_in(&self, tx: &mut Transaction, sql: &str, params: Vec<Value>) -> Result<String> {
        let ids = Ids(&self.engine);
        let cx = ExecContext {
            hub: None,
            sessions: None,
            identity: &self.identity,
            scope: self.engine.scope_of(&self.identity.user_id)?,
            zone: &self.zone,
            env: &self.env,
            ids: &ids,
            settings: &NoSettings,
            statement_time: tx.time(),
        };
        let path = vec!["public".to_owned()];
        let mut shown = String::new();
        for parsed in parse(sql)? {
            if let Statement::Define(definition) = &parsed.statement {
                let eval = cx.eval(&[], tx.time(), self.engine.current(), &Quiet);
                let expressions = Definitions { text: sql, eval, role: Oid(10), search_path: &path };
                let define = DefineContext {
                    role: Oid(10),
                    session_role: Oid(10),
                    search_path: &path,
                    database: "tertulia",
                    expressions: &expressions,
                    in_use: &[],
                };
                match execute(tx, definition, define, &mut Progress::default())? {
                    Defined::Done => shown.push_str(definition.tag()),
                    Defined::Wait(_) | Defined::Yield => panic!("nobody else defines, and nothing takes long"),
                }
                continue;
            }
            let catalog = tx.catalog();
            let bound = bind(
                &parsed.statement,
                &BindContext {
                    catalog: &catalog,
                    role: Oid(10),
                    search_path: &path,
                    database: "tertulia",
                    text: sql,
                    params: &[],
                    open_params: true,
                    zone: &self.zone,
                },
            )?;
            let columns = bound.columns().map(<[_]>::to_vec).unwrap_or_default();
            let mut execution = Execution::new(bound.plan.clone(), params.clone());
            let mut rows: Vec<Vec<Value>> = Vec::new();
            let tag = loop {
                match execution.step(tx, &cx, &mut rows, 0, 7)? {
                    Step::Done(tag) => break tag,
                    Step::Yield => {}
                    Step::Wait(wait) => wait.block(),
                    Step::Suspended => panic!("no row limit was given"),
                    Step::Input => panic!("nothing is copied"),
                }
            };
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            if !names.is_empty() {
                shown.push_str(&format!("{}\n", names.join("|")));
            }
            for row in rows {
                let cells: Vec<String> = row
                    .iter()
                    .zip(&columns)
                    .map(|(value, column)| match value {
                        Value::Null => "NULL".to_owned(),
                        value => text::to_string(value, column.ty, &self.zone),
                    })
                    .collect();
                shown.push_str(&format!("{}\n", cells.join("|")));
            }
            shown.push_str(&tag.to_string());
        }
        Ok(shown)
    }

    fn check(&self, sql: &str, expected: &str) {
        assert_eq!(self.run(sql, Vec::new()), expected, "{sql}");
    }
}

fn show_error(error: &tertulia::error::Error) -> String {
    let fields = error.fields();
    let mut shown = format!("{} {}", fields.code, fields.message);
    if let Some(position) = fields.position {
        shown.push_str(&format!(" @{position}"));
    }
    if let Some(internal) = &fields.internal {
        shown.push_str(&format!(" [{internal}]"));
    }
    shown
}

#[test]
fn rows_written_are_read_in_order() {
    let db = Database::new();
    db.check("CREATE TABLE t (a bigint, b text NOT NULL, c int DEFAULT 7, PRIMARY KEY (a))", "CREATE TABLE");
    db.check(
        "INSERT INTO t VALUES (3, 'three'), (1, 'one'), (2, 'two', DEFAULT)",
        "42601 VALUES lists must all be the same length @49",
    );
    db.check(
        "INSERT INTO t (a, b) VALUES (3, 'three'), (1, 'one'), (2, 'two') RETURNING a, c",
        "a|c\n3|7\n1|7\n2|7\nINSERT 0 3",
    );
    db.check("SELECT * FROM t ORDER BY a", "a|b|c\n1|one|7\n2|two|7\n3|three|7\nSELECT 3");
    db.check("SELECT b FROM t ORDER BY a DESC LIMIT 2", "b\nthree\ntwo\nSELECT 2");
    db.check("SELECT a FROM t WHERE a > 1 AND a <= 3 ORDER BY 1", "a\n2\n3\nSELECT 2");
    db.check("SELECT a FROM t WHERE a IN (3, 1, 9)", "a\n1\n3\nSELECT 2");
    db.check("SELECT a FROM t ORDER BY b", "a\n1\n3\n2\nSELECT 3");
    db.check("SELECT a FROM t ORDER BY b OFFSET 1 LIMIT 1", "a\n3\nSELECT 1");
    db.check("SELECT count(*) FROM t WHERE b <> 'one'", "count\n2\nSELECT 1");
    db.check("SELECT c, count(*) FROM t GROUP BY c", "c|count\n7|3\nSELECT 1");
    db.check("INSERT INTO t (a, b) VALUES (1, 'x')", "23505 duplicate key value violates unique constraint \"t_pkey\"");
    db.check("INSERT INTO t (a, b) VALUES (1, 'x'), (4, 'four') ON CONFLICT DO NOTHING", "INSERT 0 1");
    db.check(
        "INSERT INTO t (a) VALUES (9)",
        "23502 null value in column \"b\" of relation \"t\" violates not-null constraint",
    );
    db.check("UPDATE t SET a = a + 10, c = 0 WHERE a < 3 RETURNING a, b", "a|b\n11|one\n12|two\nUPDATE 2");
    db.check("DELETE FROM t WHERE a = 3 RETURNING *", "a|b|c\n3|three|7\nDELETE 1");
    db.check("SELECT a, c FROM t", "a|c\n4|7\n11|0\n12|0\nSELECT 3");
    assert_eq!(db.run("SELECT a FROM t WHERE a = $1", vec![Value::Int(11)]), "a\n11\nSELECT 1");
    assert_eq!(db.run("SELECT a FROM t ORDER BY a LIMIT $1", vec![Value::Int(1)]), "a\n4\nSELECT 1");
}

#[test]
fn names_and_types_are_judged_as_in_postgresql() {
    let db = Database::new();
    db.check("CREATE TABLE t (id int PRIMARY KEY, name text)", "CREATE TABLE");
    db.check("SELECT foo FROM t", "42703 column \"foo\" does not exist @8");
    db.check("SELECT t.nam FROM t", "42703 column t.nam does not exist @8");
    db.check("SELECT x.id FROM t", "42P01 missing FROM-clause entry for table \"x\" @8");
    db.check("SELECT t.id FROM t a", "42P01 invalid reference to FROM-clause entry for table \"t\" @8");
    db.check("SELECT * FROM nosuch.t", "42P01 relation \"nosuch.t\" does not exist @15");
    db.check("SELECT id FROM t ORDER BY 3", "42P10 ORDER BY position 3 is not in select list @27");
    db.check("SELECT id FROM t WHERE id", "42804 argument of WHERE must be type boolean, not type integer @24");
    db.check("SELECT id FROM t WHERE id = 'x'", "22P02 invalid input syntax for type integer: \"x\" @29");
    db.check("SELECT id + name FROM t", "42883 operator does not exist: integer + text @11");
    db.check("SELECT id FROM t LIMIT -1", "2201W LIMIT must not be negative");
    db.check(
        "SELECT id FROM t GROUP BY name",
        "42803 column \"t.id\" must appear in the GROUP BY clause or be used in an aggregate function @8",
    );
    db.check("SELECT 1 WHERE $2 = 1", "42P18 could not determine data type of parameter $1");
    db.check("INSERT INTO t (id, foo) VALUES (1, 2)", "42703 column \"foo\" of relation \"t\" does not exist @20");
    db.check("INSERT INTO t (id) VALUES (1, 2)", "42601 INSERT has more expressions than target columns @31");
    db.check("UPDATE t SET id = 1, id = 2", "42601 multiple assignments to same column \"id\"");
    db.check("SELECT *", "42601 SELECT * with no tables specified is not valid @8");
    db.check("SELECT 1 AS one, 'x', true", "one|?column?|?column?\n1|x|t\nSELECT 1");
    db.check("VALUES (1, 'a'), (2, 'b') ORDER BY 1 DESC", "column1|column2\n2|b\n1|a\nSELECT 2");
}

#[test]
fn users_see_their_own_rows_only() {
    let db = Database::new().user("alice");
    db.check("CREATE TABLE m (id bigint PRIMARY KEY, x text) WITH (TYPE = 'USER')", "CREATE TABLE");
    db.check("INSERT INTO m VALUES (1, 'hers')", "INSERT 0 1");
    let db = db.user("bob");
    db.check("SELECT * FROM m", "id|x\nSELECT 0");
    db.check("INSERT INTO m VALUES (1, 'his')", "INSERT 0 1");
    db.check("UPDATE m SET x = 'his own'", "UPDATE 1");
    db.check("SELECT count(*), 1 FROM m", "count|?column?\n1|1\nSELECT 1");
    let db = db.user("alice");
    db.check("DELETE FROM m RETURNING x", "x\nhers\nDELETE 1");
}

#[test]
fn plans_use_keys() {
    let db = Database::new();
    db.check("CREATE TABLE t (a int, b int, c text, PRIMARY KEY (a, b))", "CREATE TABLE");
    let plan = |sql: &str| db.run(&format!("EXPLAIN {sql}"), Vec::new());
    assert!(
        plan("SELECT * FROM t WHERE a = 1 ORDER BY b DESC LIMIT 50").contains("Index Scan Backward using t_pkey on t")
    );
    assert!(!plan("SELECT * FROM t WHERE a = 1 ORDER BY b DESC LIMIT 50").contains("Sort"));
    assert!(plan("SELECT * FROM t WHERE b = 1").contains("Seq Scan on t"));
    assert!(plan("SELECT * FROM t ORDER BY b").contains("Sort"));
    assert!(!plan("SELECT * FROM t ORDER BY a, b").contains("Sort"));
}

#[test]
fn a_source_makes_messages_of_net_changes() {
    let db = Database::new().user("alice");
    db.check("CREATE TABLE m (id bigint PRIMARY KEY, x text) WITH (TYPE = 'USER')", "CREATE TABLE");
    db.check("CREATE TOPIC q", "CREATE TOPIC");
    db.check("ALTER TOPIC q ADD SOURCE m ON INSERT, DELETE WHERE x <> 'no' WITH (payload = 'full')", "ALTER TOPIC");
    db.check("INSERT INTO m VALUES (1, 'yes'), (2, 'no')", "INSERT 0 2");
    db.check("DELETE FROM m", "DELETE 2");
    db.check(
        "SELECT topic, partition, \"offset\", key, op, user_id, payload FROM q ORDER BY \"offset\"",
        "topic|partition|offset|key|op|user_id|payload\n\
         public.q|0|0|1|insert|alice|{\"x\": \"yes\", \"id\": \"1\"}\n\
         public.q|0|1|1|delete|alice|{\"x\": \"yes\", \"id\": \"1\"}\nSELECT 2",
    );
}
