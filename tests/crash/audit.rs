//! Compares what a server has after a kill with the ledgers.

use crate::ledger::{Ledger, Message, Row, State};
use crate::support::client::Client;
use crate::support::process::PASSWORD;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Values that are looked for by each index.
const LOOK_UPS: usize = 20;

/// A message as it stands in the topic.
struct Found {
    offset: i64,
    message: Message,
}

/// What is known of the server as a whole over all its lives.
#[derive(Default)]
pub struct Audit {
    /// Keys that SNOWFLAKE_ID() has given.
    ids: BTreeSet<i64>,
    /// The highest of `current_seq()`.
    seq: i64,
    /// The next offset of the topic, and how many groups of each ledger's messages have been seen.
    offset: i64,
    groups: Vec<usize>,
}

type Cells = Vec<Option<String>>;

fn number(cells: &Cells, index: usize) -> i64 {
    cells[index].as_ref().unwrap_or_else(|| panic!("NULL in {cells:?}")).parse().unwrap()
}

fn row(cells: &Cells, index: usize) -> Row {
    Row { tx: number(cells, index) as u64, body: cells[index + 1].clone().unwrap() }
}

fn json_number(payload: &serde_json::Value, name: &str) -> i64 {
    payload[name].as_str().unwrap_or_else(|| panic!("{name} of {payload}")).parse().unwrap()
}

impl Audit {
    /// After a start: settles what was attempted and checks everything. Returns how many attempts were found committed.
    pub fn check(&mut self, address: SocketAddr, ledgers: &mut [Ledger]) -> usize {
        let mut admin = Client::connect(address, "tertulia", PASSWORD, "tertulia").unwrap();
        let now = number(&admin.rows("SELECT current_seq()")[0], 0);
        assert!(now >= self.seq, "current_seq() went back from {} to {now}", self.seq);
        // each transaction's one position, by writer and transaction
        let mut positions = BTreeMap::new();
        let mut found_committed = 0;
        for ledger in &mut *ledgers {
            let mut user = Client::connect(address, &ledger.user(), &ledger.user(), "tertulia").unwrap();
            let state = self.state(&mut admin, &mut user, ledger, &mut positions);
            let attempt = ledger.attempted.as_ref();
            if attempt.is_some_and(|attempt| attempt.after == state) {
                ledger.settle();
                found_committed += 1;
            } else {
                assert_same(&state, ledger);
                ledger.attempted = None;
            }
        }
        self.positions(&positions, now);
        let counted: i64 = ledgers.iter().map(|ledger| ledger.counted).sum();
        assert_eq!(number(&admin.rows("SELECT n FROM crash.counter")[0], 0), counted, "the counter that all share");
        self.messages(&mut admin, ledgers, &positions);
        self.identifiers(ledgers);
        look_up(&mut admin, address, ledgers);
        found_committed
    }

    /// A writer's rows as they are.
    fn state(
        &self,
        admin: &mut Client,
        user: &mut Client,
        ledger: &Ledger,
        positions: &mut BTreeMap<(usize, u64), i64>,
    ) -> State {
        let keys = ledger.keys();
        let mut place = |table: &str, row: &Row, seq: i64| {
            let known = *positions.entry((ledger.writer, row.tx)).or_insert(seq);
            assert_eq!(known, seq, "{table}: rows of one transaction have one position: {row:?}");
        };
        let sql = format!("SELECT tx FROM crash.progress WHERE writer = {}", keys.start);
        let mut state = State { progress: number(&admin.rows(&sql)[0], 0) as u64, ..State::default() };
        let sql = format!(
            "SELECT id, _seq, tx, body FROM crash.items WHERE id >= {} AND id < {} ORDER BY id",
            keys.start, keys.end
        );
        for cells in admin.rows(&sql) {
            place("items", &row(&cells, 2), number(&cells, 1));
            state.items.insert(number(&cells, 0), row(&cells, 2));
        }
        let mut kept = BTreeSet::new();
        for cells in user.rows("SELECT id, _seq, n, tx, body FROM crash.notes") {
            place("notes", &row(&cells, 3), number(&cells, 1));
            assert!(kept.insert(number(&cells, 0)), "a key twice: {cells:?}");
            let before = state.notes.insert(number(&cells, 2), row(&cells, 3));
            assert_eq!(before, None, "a row twice: {cells:?}");
        }
        state
    }

    /// Positions of transactions grow with each writer's commits and are never those of another transaction.
    fn positions(&mut self, positions: &BTreeMap<(usize, u64), i64>, now: i64) {
        let distinct: BTreeSet<i64> = positions.values().copied().collect();
        assert_eq!(distinct.len(), positions.len(), "two transactions at one position");
        assert!(distinct.iter().all(|&seq| seq <= now), "a row is newer than current_seq() {now}");
        let entries: Vec<_> = positions.iter().collect();
        for pair in entries.windows(2) {
            let [((writer, _), before), ((other, _), after)] = pair else { continue };
            assert!(writer != other || before < after, "positions against the order of commits: {pair:?}");
        }
        self.seq = now;
    }

    /// The topic's messages are those of the committed transactions, once each.
    fn messages(&mut self, admin: &mut Client, ledgers: &[Ledger], positions: &BTreeMap<(usize, u64), i64>) {
        self.groups.resize(ledgers.len(), 0);
        let found = self.read(admin);
        let mut at = 0;
        let mut last_position = 0;
        while at < found.len() {
            // whose it is; the group's first message may be a deletion, whose payload is an older row
            let writer = writer_of(&found[at].message, ledgers);
            let expected = ledgers[writer].messages.get(self.groups[writer]);
            let Some((tx, expected)) = expected else {
                panic!("a message that nobody committed: {:?}", found[at].message);
            };
            let end = found.len().min(at + expected.len());
            let mut group: Vec<Message> = found[at..end].iter().map(|found| found.message.clone()).collect();
            group.sort();
            assert_eq!(
                &group, expected,
                "messages of writer {writer}'s transaction {tx} from offset {}",
                found[at].offset
            );
            if let Some(&position) = positions.get(&(writer, *tx)) {
                assert!(position > last_position, "messages are not in the order of commits at {}", found[at].offset);
                last_position = position;
            }
            self.groups[writer] += 1;
            at = end;
        }
        for (writer, ledger) in ledgers.iter().enumerate() {
            assert_eq!(self.groups[writer], ledger.messages.len(), "writer {writer}: messages are missing");
        }
    }

    /// The topic from where the last check ended, with offsets dense.
    fn read(&mut self, admin: &mut Client) -> Vec<Found> {
        let sql = format!(
            "SELECT \"offset\", partition, key, op, user_id, payload FROM crash.events WHERE \"offset\" >= {} \
             ORDER BY \"offset\"",
            self.offset
        );
        let mut all = Vec::new();
        for cells in admin.rows(&sql) {
            let offset = number(&cells, 0);
            assert_eq!(offset, self.offset, "offsets are dense");
            self.offset += 1;
            let payload: serde_json::Value = serde_json::from_str(cells[5].as_ref().unwrap()).unwrap();
            let user = cells[4].clone();
            assert_eq!(json_number(&payload, "id"), number(&cells, 2), "the key is the row's");
            let key = json_number(&payload, if user.is_some() { "n" } else { "id" });
            let (op, body) = (cells[3].clone().unwrap(), payload["body"].as_str().unwrap().to_owned());
            let message = Message { op, user, key, tx: json_number(&payload, "tx") as u64, body };
            all.push(Found { offset, message });
        }
        all
    }

    /// How many messages the topic has.
    pub fn messages_seen(&self) -> i64 {
        self.offset
    }

    /// Reads the whole topic once more, to see that old messages stay.
    pub fn count_messages(&self, address: SocketAddr) {
        let mut admin = Client::connect(address, "tertulia", PASSWORD, "tertulia").unwrap();
        let found = admin.rows("SELECT count(*), min(\"offset\"), max(\"offset\") FROM crash.events");
        let expected = [self.offset, 0, self.offset - 1].map(|n| Some(n.to_string()));
        assert_eq!(found, [expected], "count, first and last offset");
    }

    /// Keys that the server chose never repeat, and a later life's are above an earlier one's.
    fn identifiers(&mut self, ledgers: &mut [Ledger]) {
        let highest = self.ids.last().copied().unwrap_or_default();
        for id in ledgers.iter_mut().flat_map(|ledger| std::mem::take(&mut ledger.new_ids)) {
            assert!(id > highest, "SNOWFLAKE_ID() went back over a restart: {id} after {highest}");
            assert!(self.ids.insert(id), "SNOWFLAKE_ID() gave {id} twice");
        }
    }
}

/// What the indexes find is what the tables have: items by the transaction that wrote them last, notes by their number.
fn look_up(admin: &mut Client, address: SocketAddr, ledgers: &[Ledger]) {
    let mut items: BTreeMap<u64, BTreeSet<i64>> = BTreeMap::new();
    for (id, row) in ledgers.iter().flat_map(|ledger| &ledger.committed.items) {
        items.entry(row.tx).or_default().insert(*id);
    }
    for (tx, ids) in items.iter().rev().take(LOOK_UPS) {
        let found = admin.rows(&format!("SELECT id FROM crash.items WHERE tx = {tx}"));
        let found: BTreeSet<i64> = found.iter().map(|cells| number(cells, 0)).collect();
        assert_eq!(found, *ids, "items of transaction {tx} by the index");
    }
    for ledger in ledgers {
        let mut user = Client::connect(address, &ledger.user(), &ledger.user(), "tertulia").unwrap();
        for (n, row) in ledger.committed.notes.iter().rev().take(LOOK_UPS) {
            let found = user.rows(&format!("SELECT tx, body FROM crash.notes WHERE n = {n}"));
            let expected = [Some(row.tx.to_string()), Some(row.body.clone())];
            assert_eq!(found, [expected], "note {n} of {} by the index", ledger.user());
        }
    }
}

fn writer_of(message: &Message, ledgers: &[Ledger]) -> usize {
    let owns = |ledger: &&Ledger| match &message.user {
        Some(user) => *user == ledger.user(),
        None => ledger.keys().contains(&message.key),
    };
    ledgers.iter().find(owns).unwrap_or_else(|| panic!("nobody's message: {message:?}")).writer
}

/// The state must be the committed one; says where it is not.
fn assert_same(found: &State, ledger: &Ledger) {
    let attempted = ledger.attempted.as_ref().map(|attempt| attempt.tx);
    let expected = &ledger.committed;
    let context = format!("writer {}, {} acknowledged, attempted {attempted:?}", ledger.writer, ledger.acknowledged);
    assert_eq!(found.progress, expected.progress, "{context}");
    for (what, found, expected) in [("items", &found.items, &expected.items), ("notes", &found.notes, &expected.notes)]
    {
        let keys: BTreeSet<i64> = found.keys().chain(expected.keys()).copied().collect();
        for key in keys {
            let (found, expected) = (found.get(&key), expected.get(&key));
            assert_eq!(found, expected, "{context}: {what} {key} (found, expected)");
        }
    }
}
