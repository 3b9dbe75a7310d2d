//! Definitions without sessions: parsed, executed on an engine, and read back from its catalog.

use std::sync::Arc;
use tertulia::catalog::{Catalog, Column, Privilege, Relation, Role, TableKind};
use tertulia::env::ManualEnv;
use tertulia::error::{Error, Result};
use tertulia::expr::{EvalContext, Expr};
use tertulia::sql::ddl::{self, Condition, ConditionOf, Constant, DefineContext, Defined, Expressions, Progress};
use tertulia::sql::parse::{Expression, Statement, parse};
use tertulia::txn::{Engine, EngineOptions, TxnOptions};
use tertulia::types::{Oid, SqlType, Value};

/// Stands in for the binder: keeps texts as written.
struct AsWritten;

fn nothing() -> Expr {
    Expr::Literal { value: Value::Null, ty: SqlType::BOOL }
}

impl Expressions for AsWritten {
    fn default(&self, _: &Arc<Catalog>, default: &Expression, _: &Column) -> Result<String> {
        Ok(default.text.clone())
    }

    fn condition(
        &self,
        _: &Arc<Catalog>,
        condition: &Expression,
        relation: &Relation,
        _: ConditionOf,
    ) -> Result<Condition> {
        let used = relation.live_columns().filter(|(_, column)| condition.text.contains(&column.name));
        let columns = used.map(|(position, _)| position).collect();
        Ok(Condition { text: condition.text.clone(), columns, expr: nothing() })
    }

    fn kept(&self, _: &Arc<Catalog>, text: &str, over: (&Relation, &Relation), _: ConditionOf) -> Result<Condition> {
        let used = over.0.live_columns().filter(|(_, column)| text.contains(&column.name));
        let columns = used.map(|(position, _)| position).collect();
        Ok(Condition { text: text.to_owned(), columns, expr: nothing() })
    }

    fn converted(&self, _: &Arc<Catalog>, _: &Relation, _: usize, _: SqlType, _: Option<&Expression>) -> Result<Expr> {
        Ok(nothing())
    }

    fn default_as(&self, _: &Arc<Catalog>, default: &str, _: &str, _: SqlType) -> Result<String> {
        Ok(default.to_owned())
    }

    fn world(&self) -> &EvalContext<'_> {
        panic!("no row is looked at here")
    }

    fn constant(&self, _: &Arc<Catalog>, default: &Expression, _: SqlType) -> Result<Constant> {
        Ok(Constant::Value(default.text.clone()))
    }
}

struct Server {
    engine: Arc<Engine>,
    _dir: tempfile::TempDir,
}

impl Server {
    fn new() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let env = Arc::new(ManualEnv::new(1_700_000_000_000_000, 1));
        let (engine, _) = Engine::open(EngineOptions::new(dir.path()), env).unwrap();
        Server { engine, _dir: dir }
    }

    /// Runs definitions as a role and commits; the notices' texts.
    fn run_as(&self, role: Oid, text: &str) -> Result<Vec<String>> {
        let mut tx = self.engine.begin(TxnOptions::default())?;
        let mut notices = Vec::new();
        for parsed in parse(text)? {
            let Statement::Define(definition) = parsed.statement else { panic!("{text}: not a definition") };
            let path = ["public".to_owned()];
            let cx = DefineContext {
                role,
                session_role: role,
                search_path: &path,
                database: "tertulia",
                expressions: &AsWritten,
                in_use: &[],
            };
            let mut progress = Progress::default();
            match ddl::execute(&mut tx, &definition, cx, &mut progress)? {
                Defined::Done => notices.extend(progress.notices.iter().map(|notice| notice.fields().message.clone())),
                Defined::Wait(_) | Defined::Yield => panic!("{text}: nothing else runs, and nothing takes long"),
            }
        }
        tx.start_commit()?.block()?;
        Ok(notices)
    }

    fn run(&self, text: &str) -> Vec<String> {
        self.run_as(Role::BOOTSTRAP, text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// `SQLSTATE message` and the detail's lines.
    fn refusal_as(&self, role: Oid, text: &str) -> String {
        let error: Error = self.run_as(role, text).expect_err(text);
        let fields = error.fields();
        let detail = fields.detail.iter().flat_map(|detail| detail.lines()).map(|line| format!("\n{line}"));
        format!("{} {}{}", fields.code, fields.message, detail.collect::<String>())
    }

    fn refusal(&self, text: &str) -> String {
        self.refusal_as(Role::BOOTSTRAP, text)
    }

    fn relation(&self, schema: &str, name: &str) -> Arc<Relation> {
        let catalog = self.engine.catalog();
        let schema = catalog.schema_by_name(schema).unwrap().oid;
        catalog.relation_by_name(schema, name).unwrap().clone()
    }

    fn role(&self, name: &str) -> Arc<Role> {
        self.engine.catalog().role_by_name(name).unwrap().clone()
    }
}

#[test]
fn tables_get_kinds_keys_and_constraint_names() {
    let server = Server::new();
    server.run("CREATE SCHEMA chat");
    let notices = server.run(
        "CREATE TABLE chat.m (id bigint PRIMARY KEY DEFAULT 1, a text UNIQUE NOT NULL, b int CHECK (b > 0),
         UNIQUE (a, b), CHECK (id > b)) WITH (TYPE = 'USER', FLUSH_POLICY = 'rows:1000')",
    );
    assert_eq!(notices, ["FLUSH_POLICY has no effect: flushing is not supported yet"]);
    let table = server.relation("chat", "m");
    assert!(table.is_scoped() && table.columns[0].not_null);
    assert_eq!(table.primary_key.as_ref().unwrap().name, "m_pkey");
    let uniques: Vec<_> = table.uniques.iter().map(|unique| unique.name.as_str()).collect();
    assert_eq!(uniques, ["m_a_key", "m_a_b_key"]);
    let checks: Vec<_> = table.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(checks, ["m_b_check", "m_check"]);
    server.run("CREATE TABLE chat.e (id int PRIMARY KEY) WITH (TYPE = 'STREAM', TTL_SECONDS = 30)");
    let kind = TableKind::Stream { ttl_micros: 30_000_000 };
    assert!(matches!(server.relation("chat", "e").kind, tertulia::catalog::RelationKind::Table(k) if k == kind));
}

#[test]
fn what_is_there_already_is_skipped_or_refused() {
    let server = Server::new();
    server.run("CREATE TABLE t (a int)");
    assert_eq!(server.refusal("CREATE TABLE t (a int)"), "42P07 relation \"t\" already exists");
    let notices = server.run("CREATE TABLE IF NOT EXISTS t (a int); CREATE SCHEMA IF NOT EXISTS public");
    assert_eq!(notices, ["relation \"t\" already exists, skipping", "schema \"public\" already exists, skipping"]);
    assert_eq!(server.run("DROP TABLE IF EXISTS u"), ["table \"u\" does not exist, skipping"]);
    assert_eq!(server.refusal("DROP TABLE u"), "42P01 table \"u\" does not exist");
    assert_eq!(server.refusal("CREATE TABLE x.t (a int)"), "3F000 schema \"x\" does not exist");
    assert_eq!(server.refusal("CREATE TABLE u (a int, a int)"), "42701 column \"a\" specified more than once");
    assert_eq!(
        server.refusal("CREATE TABLE u (a int) WITH (TTL_SECONDS = 1)"),
        "22023 TTL_SECONDS is for STREAM tables only"
    );
    assert_eq!(server.refusal("CREATE TABLE u (a int) WITH (colour = 1)"), "22023 unrecognized parameter \"colour\"");
}

#[test]
fn what_others_depend_on_falls_only_with_cascade() {
    let server = Server::new();
    server.run("CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY); CREATE TOPIC p");
    server.run("ALTER TOPIC p ADD SOURCE s.t ON INSERT WHERE id > 1 WITH (payload = 'diff')");
    assert_eq!(
        server.refusal("DROP TABLE s.t"),
        "2BP01 cannot drop table t because other objects depend on it\nsource of topic public.p depends on table s.t"
    );
    assert_eq!(
        server.refusal("DROP SCHEMA s"),
        "2BP01 cannot drop schema s because other objects depend on it\ntable s.t depends on schema s"
    );
    server.run("DROP SCHEMA s CASCADE");
    assert!(server.relation("public", "p").topic().unwrap().sources.is_empty());
    assert!(server.engine.catalog().schema_by_name("s").is_none());
}

#[test]
fn tables_are_altered() {
    let server = Server::new();
    server.run("CREATE TABLE t (id int PRIMARY KEY, a text)");
    server.run("ALTER TABLE t ADD COLUMN b int NOT NULL DEFAULT 5, DROP COLUMN a, ALTER b SET DEFAULT 6");
    server.run("ALTER TABLE t RENAME b TO c");
    server.run("ALTER TABLE t RENAME TO u");
    let table = server.relation("public", "u");
    assert_eq!(table.live_columns().map(|(_, column)| column.name.as_str()).collect::<Vec<_>>(), ["id", "c"]);
    assert_eq!(table.row_version, 3);
    assert_eq!(server.refusal("ALTER TABLE u DROP x"), "42703 column \"x\" of relation \"u\" does not exist");
}

#[test]
fn topics_take_only_options_that_make_sense() {
    let server = Server::new();
    server.run("CREATE TOPIC t PARTITIONS 4 WITH (retention = '1 day', ordered = false)");
    let topic = server.relation("public", "t");
    let settings = topic.topic().unwrap();
    assert_eq!((settings.partitions, settings.retention_micros), (4, 86_400_000_000));
    let refused = "0A000 parameter \"max_attempts\" of a topic is not supported";
    assert_eq!(server.refusal("CREATE TOPIC u WITH (max_attempts = 3)"), refused);
    assert_eq!(server.refusal("CREATE TOPIC u WITH (ordered = true)"), "0A000 an ordered topic is not supported");
    assert_eq!(server.refusal("DROP TABLE t"), "42809 \"t\" is not a table");
}

#[test]
fn roles_and_rights() {
    let server = Server::new();
    server.run(
        "CREATE USER bob PASSWORD 'secret' SERVICE; CREATE ROLE staff; GRANT staff TO bob; CREATE TABLE t (a int)",
    );
    let bob = server.role("bob");
    assert!(bob.login && bob.service && !bob.superuser);
    assert!(bob.verifier.as_ref().unwrap().starts_with("SCRAM-SHA-256$"));
    assert_eq!(server.refusal_as(bob.oid, "DROP TABLE t"), "42501 must be owner of table t");
    assert_eq!(server.refusal_as(bob.oid, "CREATE TABLE u (a int)"), "42501 permission denied for schema public");
    assert_eq!(server.refusal_as(bob.oid, "GRANT SELECT ON t TO staff"), "42501 permission denied for table t");
    assert_eq!(server.refusal_as(bob.oid, "CREATE ROLE x"), "42501 permission denied to create role");
    let may_read = || {
        let catalog = server.engine.catalog();
        let table = server.relation("public", "t");
        ddl::require_relation(&catalog, bob.oid, &table, Privilege::Select)
            .map_err(|error| error.fields().message.clone())
    };
    assert_eq!(may_read(), Err("permission denied for table t".to_owned()));
    server.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO staff");
    assert_eq!(may_read(), Ok(()));
    assert_eq!(
        server.refusal("DROP ROLE staff"),
        "2BP01 role \"staff\" cannot be dropped because some objects depend on it\nprivileges for table public.t"
    );
    server.run("REVOKE ALL ON t FROM staff; DROP ROLE staff");
    assert_eq!(may_read(), Err("permission denied for table t".to_owned()));
    assert!(server.role("bob").memberships.is_empty());
    assert_eq!(server.refusal("DROP ROLE nobody"), "42704 role \"nobody\" does not exist");
}
