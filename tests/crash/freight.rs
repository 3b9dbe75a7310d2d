//! A hauler: one connection whose transactions are too large for memory, each with a small change beside them.

use crate::support::client::{Client, Event};
use crate::support::random::Random;
use std::collections::BTreeMap;
use std::path::Path;

/// Rows of a load, and the letters of each: together they are more than a transaction keeps in memory.
const ROWS: i64 = 300;
const LETTERS: usize = 60_000;
/// Transactions in one life of the server: they leave the disk to the others for some of the time.
const HAULS_A_LIFE: usize = 2;

/// Tables of the hauler, and the topic that hears of the large one.
pub const SCHEMA: &[&str] = &[
    "CREATE TABLE crash.freight (id bigint PRIMARY KEY, haul bigint NOT NULL, body text NOT NULL)",
    "CREATE INDEX freight_haul ON crash.freight (haul)",
    "CREATE TABLE crash.hauled (id int PRIMARY KEY, haul bigint NOT NULL)",
    "INSERT INTO crash.hauled VALUES (1, 0)",
    "CREATE TOPIC crash.hauls",
    "ALTER TOPIC crash.hauls ADD SOURCE crash.freight ON INSERT, UPDATE, DELETE WITH (payload = 'key')",
];

/// What is stored after a haul.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stock {
    /// The haul that the small table names.
    haul: i64,
    /// The haul of every row, and the first row; none where there is none.
    rows: Option<(i64, i64)>,
}

/// What a haul did to the rows, as the topic calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Insert,
    Update,
    Delete,
}

impl Deed {
    fn name(self) -> &'static str {
        match self {
            Deed::Insert => "insert",
            Deed::Update => "update",
            Deed::Delete => "delete",
        }
    }
}

/// What the hauler was told is committed, and what it last asked for.
#[derive(Default)]
pub struct Freight {
    committed: Stock,
    attempted: Option<(Stock, Deed)>,
    next: i64,
    /// Deeds whose messages have not been seen yet, and the next offset.
    unseen: Vec<Deed>,
    offset: i64,
    /// What has been acknowledged, for the report.
    pub acknowledged: u64,
}

impl Freight {
    /// Hauls until the server is gone, or enough.
    pub fn run(&mut self, mut client: Client, mut random: Random) {
        for _ in 0..HAULS_A_LIFE {
            let rolled_back = random.once_in(4);
            let deletes = random.once_in(3);
            if !self.haul(&mut client, deletes, rolled_back) {
                return;
            }
        }
    }

    /// One load, one change and one removal of all rows, with nobody who ends the server.
    pub fn all_deeds(&mut self, client: &mut Client) {
        for deletes in [true, true, false] {
            assert!(self.haul(client, deletes, false), "the server lives");
        }
    }

    /// One transaction; false once the server is gone.
    fn haul(&mut self, client: &mut Client, deletes: bool, rolled_back: bool) -> bool {
        self.next += 1;
        let haul = self.next;
        let letter = char::from(b'a' + (haul % 26) as u8);
        let body = format!("repeat('{letter}', {LETTERS})");
        let (sql, deed, rows) = match self.committed.rows {
            None => {
                let (first, last) = (haul * ROWS, haul * ROWS + ROWS - 1);
                let rows = format!("SELECT g, {haul}, {body} FROM generate_series({first}, {last}) AS s(g)");
                (format!("INSERT INTO crash.freight {rows}"), Deed::Insert, Some((haul, first)))
            }
            Some(_) if deletes => ("DELETE FROM crash.freight".to_owned(), Deed::Delete, None),
            Some((_, first)) => {
                (format!("UPDATE crash.freight SET haul = {haul}, body = {body}"), Deed::Update, Some((haul, first)))
            }
        };
        let small = format!("UPDATE crash.hauled SET haul = {haul} WHERE id = 1");
        if !["BEGIN", &sql, &small].iter().all(|sql| run(client, sql)) {
            return false;
        }
        if rolled_back {
            return run(client, "ROLLBACK");
        }
        self.attempted = Some((Stock { haul, rows }, deed));
        let (events, lives) = client.try_simple("COMMIT");
        match events.first() {
            Some(Event::Tag(tag)) if tag == "COMMIT" => {
                self.settle();
                self.acknowledged += 1;
            }
            Some(other) => panic!("COMMIT of haul {haul}: {other:?}"),
            None => {}
        }
        lives
    }

    fn settle(&mut self) {
        let (stock, deed) = self.attempted.take().expect("a commit was attempted");
        self.committed = stock;
        self.unseen.push(deed);
    }

    /// After a start: all of a haul is there or nothing, in the table, by its index, in the topic and beside it.
    pub fn check(&mut self, admin: &mut Client) {
        let haul = numbers(admin, "SELECT haul FROM crash.hauled")[0];
        if self.attempted.as_ref().is_some_and(|(stock, _)| stock.haul == haul) {
            self.settle();
        }
        self.attempted = None;
        assert_eq!(haul, self.committed.haul, "the last haul");
        let sums = "SELECT count(*), min(id), max(id), min(haul), max(haul), sum(length(body)), min(substr(body, 1, 1)), \
                    max(substr(body, length(body), 1)) FROM crash.freight";
        let found = admin.rows(sums).remove(0);
        let expected = match self.committed.rows {
            None => [Some("0".to_owned())].into_iter().chain([const { None }; 7]).collect::<Vec<_>>(),
            Some((haul, first)) => {
                let letter = char::from(b'a' + (haul % 26) as u8).to_string();
                let numbers = [ROWS, first, first + ROWS - 1, haul, haul, ROWS * LETTERS as i64];
                let letters = [letter.clone(), letter];
                numbers.map(|number| number.to_string()).into_iter().chain(letters).map(Some).collect()
            }
        };
        assert_eq!(found, expected, "rows of haul {:?}", self.committed.rows);
        let by_index = numbers(admin, &format!("SELECT count(*) FROM crash.freight WHERE haul = {haul}"))[0];
        assert_eq!(by_index, self.committed.rows.map_or(0, |_| ROWS), "rows by the index");
        self.messages(admin);
    }

    /// The topic has a message for every row of every committed haul, and no other.
    fn messages(&mut self, admin: &mut Client) {
        let query = format!(
            "SELECT op, count(*), min(\"offset\"), max(\"offset\") FROM crash.hauls WHERE \"offset\" >= {} \
             GROUP BY op, \"offset\" / {ROWS} ORDER BY min(\"offset\")",
            self.offset
        );
        let found = admin.rows(&query);
        let mut expected = Vec::new();
        for deed in std::mem::take(&mut self.unseen) {
            let numbers = [ROWS, self.offset, self.offset + ROWS - 1].map(|number| Some(number.to_string()));
            expected.push([Some(deed.name().to_owned())].into_iter().chain(numbers).collect::<Vec<_>>());
            self.offset += ROWS;
        }
        assert_eq!(found, expected, "messages of hauls: op, count, first and last offset");
    }
}

/// Bulk files and files of open transactions in a data directory, by how their names end.
pub fn files(data: &Path) -> BTreeMap<String, usize> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(data.join("bulk")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (_, kind) = name.rsplit_once('.').expect("a name has a kind");
        *files.entry(kind.to_owned()).or_default() += 1;
    }
    files
}

fn numbers(admin: &mut Client, sql: &str) -> Vec<i64> {
    admin.rows(sql)[0].iter().map(|cell| cell.as_ref().unwrap().parse().unwrap()).collect()
}

/// Runs a statement that must succeed; false once the server is gone.
fn run(client: &mut Client, sql: &str) -> bool {
    let (events, lives) = client.try_simple(sql);
    for event in &events {
        if let Event::Error(report) = event {
            panic!("{sql}: {report:?}");
        }
    }
    lives
}
