//! Indexes: a table with indexes answers as its copy without any, whatever was done to both; and a kill in the middle of
//! a build leaves the index whole or not at all.
//!
//! `TERTULIA_INDEX_ROUNDS` says how long the comparison goes on, `TERTULIA_INDEX_SEED` repeats one.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::client::Client;
use support::process::{PASSWORD, Running};
use support::random::Random;

/// Rounds unless `TERTULIA_INDEX_ROUNDS` says how many: each is a restart, some transactions and their comparison.
const ROUNDS: u64 = 6;
const TRANSACTIONS: u64 = 25;
/// Rows that an index is built over when the server is killed.
const BUILT_ROWS: u64 = 30_000;
const KILLS: u64 = 3;

/// Generations so small that everything is folded many times.
const FLAGS: [&str; 2] = ["--generation-bytes", "64kB"];

const INDEXES: [&str; 6] = [
    "CREATE INDEX ix0 ON indexed (a)",
    "CREATE INDEX ix1 ON indexed (a DESC, b)",
    "CREATE INDEX ix2 ON indexed (b NULLS FIRST, a DESC NULLS LAST)",
    "CREATE UNIQUE INDEX ix3 ON indexed (u)",
    "CREATE INDEX ix4 ON indexed (c, id)",
    "CREATE UNIQUE INDEX ix5 ON indexed (b, u DESC)",
];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn connect(address: SocketAddr) -> Client {
    let mut client = Client::connect(address, "tertulia", PASSWORD, "tertulia").unwrap();
    client.set_patience(Duration::from_secs(300));
    client
}

/// What `tertulia check` says of a directory: every row has its entries, and no entry is without its row.
#[track_caller]
fn check(data: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tertulia"));
    let output = command.arg("check").arg(data).args(["--map-size", "4GB"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

/// Statements that are run on both tables, `T` standing for the table's name.
struct Twins {
    random: Random,
    /// The next value that no row has had.
    fresh: u64,
    seed: u64,
}

impl Twins {
    fn fresh(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh
    }

    fn number(&mut self) -> String {
        if self.random.once_in(6) { "NULL".to_owned() } else { self.random.below(9).to_string() }
    }

    fn word(&mut self) -> String {
        let words = ["NULL", "''", "'a'", "'ab'", "'b'", "'zz'", "'é'"];
        self.random.pick(&words).to_owned()
    }

    fn change(&mut self) -> String {
        let (a, b, number) = (self.number(), self.word(), self.random.below(9));
        let some = self.random.below(self.fresh + 1);
        match self.random.below(9) {
            0..=3 => {
                let rows: Vec<String> = (0..1 + self.random.below(6))
                    .map(|_| {
                        let (id, a, b, c) = (self.fresh(), self.number(), self.word(), self.random.below(5));
                        format!("({id}, {a}, {b}, {c}.{}, {id})", c * 5)
                    })
                    .collect();
                format!("INSERT INTO T VALUES {}", rows.join(", "))
            }
            4 => format!("UPDATE T SET a = {a} WHERE id = {some}"),
            5 => format!("UPDATE T SET a = a + 1, b = {b} WHERE a = {number}"),
            6 => format!("UPDATE T SET id = {}, c = c + 0.50 WHERE id = {some}", self.fresh()),
            7 => format!("UPDATE T SET u = {}, b = {b} WHERE u = {some}", self.fresh()),
            _ => format!("DELETE FROM T WHERE a = {number} AND (b = {b} OR id > {some})"),
        }
    }

    fn query(&mut self) -> String {
        let (a, b, number) = (self.random.below(9), self.word(), self.number());
        let order = |random: &mut Random| {
            let direction = random.pick(&["", " DESC"]);
            format!("{direction}{}", random.pick(&["", " NULLS FIRST", " NULLS LAST"]))
        };
        let (first, second) = (order(&mut self.random), order(&mut self.random));
        let limit = self.random.below(8);
        match self.random.below(14) {
            9.. => self.search(),
            0 => format!("SELECT * FROM T WHERE a = {number} ORDER BY id"),
            1 => format!("SELECT id, b FROM T WHERE a = {a} AND b > {b} ORDER BY b, id"),
            2 => format!("SELECT id, a, b FROM T ORDER BY a{first}, b{second}, id LIMIT {limit}"),
            3 => format!("SELECT id, a, b FROM T ORDER BY b{first}, a{second}, id LIMIT {limit}"),
            4 => format!("SELECT id FROM T WHERE a IN ({a}, {number}, 3) AND b = {b} ORDER BY id DESC"),
            5 => format!("SELECT count(*), min(id), max(u) FROM T WHERE a >= {a} AND a < {number}"),
            6 => format!("SELECT u, b FROM T WHERE b = {b} ORDER BY u{first} LIMIT {limit}"),
            7 => format!("SELECT id, c FROM T WHERE c = {}.50 AND id > {limit} ORDER BY id", a % 3),
            _ => format!("SELECT * FROM T WHERE u = {} OR u IS NULL", self.random.below(self.fresh + 1)),
        }
    }

    /// Any condition in any order.
    fn search(&mut self) -> String {
        let mut predicate = self.condition();
        for _ in 0..self.random.below(4) {
            let connective = self.random.pick(&["AND", "AND", "AND", "OR"]);
            predicate = match self.random.once_in(5) {
                true => format!("({predicate}) {connective} {}", self.condition()),
                false => format!("{predicate} {connective} {}", self.condition()),
            };
        }
        let mut order = Vec::new();
        for _ in 0..self.random.below(4) {
            let column = self.random.pick(&["a", "b", "c", "u"]);
            let direction = self.random.pick(&["", " DESC"]);
            let nulls = self.random.pick(&["", "", " NULLS FIRST", " NULLS LAST"]);
            order.push(format!("{column}{direction}{nulls}"));
        }
        // what is cut off is the same only in an order that leaves nothing open
        order.push(self.random.pick(&["id", "id DESC"]).to_owned());
        let limit = match self.random.below(3) {
            0 => String::new(),
            1 => format!(" LIMIT {}", self.random.below(9)),
            _ => format!(" LIMIT {} OFFSET {}", self.random.below(9), self.random.below(4)),
        };
        format!("SELECT * FROM T WHERE {predicate} ORDER BY {}{limit}", order.join(", "))
    }

    fn condition(&mut self) -> String {
        let compared = self.random.pick(&["=", "=", "<", "<=", ">", ">=", "<>"]);
        let (number, word, some) = (self.number(), self.word(), self.random.below(self.fresh + 1));
        match self.random.below(12) {
            0 | 1 => format!("a {compared} {number}"),
            2 | 3 => format!("b {compared} {word}"),
            4 => format!("u {compared} {some}"),
            5 => format!("id {compared} {some}"),
            6 => format!("c {compared} {}.{}", self.random.below(5), self.random.pick(&["0", "50", "7"])),
            7 => format!("a IN ({number}, {}, {})", self.number(), self.random.below(9)),
            8 => format!("b IN ({word}, {})", self.word()),
            9 => format!("a BETWEEN {} AND {}", self.random.below(5), self.random.below(9)),
            10 => format!("{} IS {}NULL", self.random.pick(&["a", "b"]), self.random.pick(&["", "NOT "])),
            _ => format!("NOT ({} {compared} {number})", self.random.pick(&["a", "u"])),
        }
    }

    /// Runs a statement on both and compares what it says.
    #[track_caller]
    fn both(&self, client: &mut Client, sql: &str) {
        let [plain, indexed] =
            ["plain", "indexed"].map(|table| client.rows(&sql.replace(" T ", &format!(" {table} "))));
        assert_eq!(plain, indexed, "seed {}: {sql}", self.seed);
    }

    /// Makes an index, or drops one that is there.
    fn define(&mut self, client: &mut Client) {
        let at = self.random.below(INDEXES.len() as u64);
        let there = client.rows(&format!("SELECT 1 FROM pg_indexes WHERE indexname = 'ix{at}'"));
        match there.is_empty() {
            true => client.run(INDEXES[at as usize]),
            false => client.run(&format!("DROP INDEX ix{at}")),
        }
    }

    /// A transaction with savepoints, definitions among them, that ends either way.
    fn transaction(&mut self, client: &mut Client) {
        client.run("BEGIN");
        let mut depth = 0;
        for _ in 0..1 + self.random.below(12) {
            match self.random.below(12) {
                0 => {
                    depth += 1;
                    client.run(&format!("SAVEPOINT s{depth}"));
                }
                1 if depth > 0 => client.run(&format!("ROLLBACK TO s{depth}")),
                2 if depth > 0 => {
                    client.run(&format!("RELEASE s{depth}"));
                    depth -= 1;
                }
                3 => self.define(client),
                4..=6 => {
                    let sql = self.query();
                    self.both(client, &sql);
                }
                _ => {
                    let sql = self.change();
                    self.both(client, &sql);
                }
            }
        }
        client.run(if self.random.once_in(4) { "ROLLBACK" } else { "COMMIT" });
    }
}

fn compare(kind: &str) {
    let rounds = setting("TERTULIA_INDEX_ROUNDS", ROUNDS);
    let (random, seed) = Random::seeded("TERTULIA_INDEX_SEED");
    let mut twins = Twins { random, fresh: 0, seed };
    let directory = tempfile::tempdir().unwrap();
    for round in 0..rounds {
        let server = Running::start(directory.path(), &FLAGS);
        let mut client = connect(server.address);
        if round == 0 {
            for table in ["plain", "indexed"] {
                client.run(&format!(
                    "CREATE TABLE {table} (id int PRIMARY KEY, a int, b text, c numeric, u int) WITH (TYPE = '{kind}')"
                ));
            }
            client.run(INDEXES[1]);
        }
        for _ in 0..TRANSACTIONS {
            twins.transaction(&mut client);
            let sql = twins.query();
            twins.both(&mut client, &sql);
        }
        twins.both(&mut client, "SELECT * FROM T ORDER BY id");
        drop(client);
        if twins.random.once_in(2) {
            assert!(server.terminate().0.success());
        } else {
            server.kill();
        }
        check(directory.path());
    }
}

#[test]
fn a_shared_table_answers_with_indexes_as_without() {
    compare("SHARED");
}

#[test]
fn a_user_table_answers_with_indexes_as_without() {
    compare("USER");
}

#[test]
fn a_kill_in_the_middle_of_a_build_leaves_the_index_whole_or_not_at_all() {
    let (mut random, seed) = Random::seeded("TERTULIA_INDEX_SEED");
    let directory = tempfile::tempdir().unwrap();
    let mut server = Running::start(directory.path(), &FLAGS);
    let mut client = connect(server.address);
    client.run("CREATE TABLE t (id int PRIMARY KEY, n int, body text)");
    client.run(&format!(
        "INSERT INTO t SELECT i, i % 100, repeat('x', 20) || i FROM generate_series(1, {BUILT_ROWS}) AS g(i)"
    ));
    let start = Instant::now();
    client.run("CREATE INDEX t_n ON t (n, body)");
    let span = start.elapsed() * 3 / 2;
    for kill in 0..KILLS {
        client.run("DROP INDEX IF EXISTS t_n");
        let delay = Duration::from_micros(random.below(span.as_micros() as u64));
        let acknowledged = std::thread::scope(|scope| {
            let build = scope.spawn(|| client.try_simple("CREATE INDEX t_n ON t (n, body)").1);
            std::thread::sleep(delay);
            server.kill();
            build.join().unwrap()
        });
        check(directory.path());
        server = Running::start(directory.path(), &FLAGS);
        client = connect(server.address);
        let there = !client.rows("SELECT 1 FROM pg_indexes WHERE indexname = 't_n'").is_empty();
        println!("kill {kill} after {delay:?}: the index is there: {there}, acknowledged: {acknowledged}");
        assert!(there || !acknowledged, "seed {seed}: an acknowledged index is gone");
        let count = client.rows("SELECT count(*) FROM t WHERE n = 7");
        assert_eq!(count, [[Some((BUILT_ROWS / 100).to_string())]], "seed {seed}");
    }
}
