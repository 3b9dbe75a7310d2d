//! Numbers of sequences: those that clients were given, which never come again.

use crate::support::client::{Client, Event};
use crate::support::random::Random;
use std::collections::BTreeSet;

/// Sequences, and a table whose rows take their keys from one.
pub const SCHEMA: &[&str] = &[
    "CREATE SEQUENCE crash.single",
    "CREATE SEQUENCE crash.cached CACHE 7",
    "CREATE SEQUENCE crash.downward INCREMENT -3",
    "CREATE SEQUENCE crash.moved",
    "CREATE TABLE crash.tickets (id bigint PRIMARY KEY DEFAULT nextval('crash.single'), drawer int)",
];

/// Sequences that many sessions count with.
const SHARED: [&str; 3] = ["single", "cached", "downward"];

/// What one session was given since the last check.
#[derive(Default)]
pub struct Drawer {
    given: [Vec<i64>; SHARED.len()],
    /// Keys of tickets whose commits were acknowledged.
    tickets: Vec<i64>,
}

impl Drawer {
    /// Draws numbers until the server is gone.
    pub fn run(&mut self, mut client: Client, mut random: Random) {
        while self.step(&mut client, &mut random) {}
    }

    fn step(&mut self, client: &mut Client, random: &mut Random) -> bool {
        match random.below(32) {
            0 => self.ticket(client),
            1..=4 => run(client, "BEGIN").is_some() && self.draw(client, random) && run(client, "ROLLBACK").is_some(),
            _ => self.draw(client, random),
        }
    }

    fn draw(&mut self, client: &mut Client, random: &mut Random) -> bool {
        let of = random.below(SHARED.len() as u64) as usize;
        let many = if random.once_in(4) { 1 + random.below(100) } else { 1 };
        let sql = format!("SELECT nextval('crash.{}') FROM generate_series(1, {many})", SHARED[of]);
        let (events, lives) = client.try_simple(&sql);
        self.given[of].extend(numbers(&sql, &events));
        lives
    }

    fn ticket(&mut self, client: &mut Client) -> bool {
        let sql = "INSERT INTO crash.tickets (drawer) VALUES (1) RETURNING id";
        let (events, lives) = client.try_simple(sql);
        let given = numbers(sql, &events);
        self.given[0].extend(&given);
        if events.iter().any(|event| matches!(event, Event::Tag(_))) {
            self.tickets.extend(given);
        }
        lives
    }
}

/// One session that alone moves a sequence on.
#[derive(Default)]
pub struct Mover {
    /// The least number that may come next.
    floor: i64,
}

impl Mover {
    /// Moves and draws until the server is gone.
    pub fn run(&mut self, mut client: Client, mut random: Random) {
        while self.step(&mut client, &mut random) {}
    }

    fn step(&mut self, client: &mut Client, random: &mut Random) -> bool {
        if random.once_in(3) {
            let to = self.floor + 1 + random.below(500) as i64;
            let (is_called, next) = random.pick(&[(true, to + 1), (false, to)]);
            // in a transaction that is rolled back, half of the time: that does not take it back
            let rolled_back = random.once_in(2);
            if rolled_back && run(client, "BEGIN").is_none() {
                return false;
            }
            match run(client, &format!("SELECT setval('crash.moved', {to}, {is_called})")) {
                Some(_) => self.floor = next,
                None => return false,
            }
            return !rolled_back || run(client, "ROLLBACK").is_some();
        }
        let sql = "SELECT nextval('crash.moved')";
        let (events, lives) = client.try_simple(sql);
        if let Some(&number) = numbers(sql, &events).first() {
            assert!(number >= self.floor, "nextval gives {number}, not {} or more", self.floor);
            self.floor = number + 1;
        }
        lives
    }

    /// After a start: counting goes on above all that came before.
    pub fn check(&mut self, admin: &mut Client) {
        let number: i64 = admin.rows("SELECT nextval('crash.moved')")[0][0].as_ref().unwrap().parse().unwrap();
        assert!(number >= self.floor, "after a start nextval gives {number}, not {} or more", self.floor);
        self.floor = number + 1;
    }
}

/// What was given in all lives of the server.
#[derive(Default)]
pub struct Given {
    /// The lowest and the highest number of each sequence.
    spans: [Option<(i64, i64)>; SHARED.len()],
    tickets: BTreeSet<i64>,
}

impl Given {
    /// After a start: no number of the last life had come before it, and all tickets that were acknowledged are there.
    pub fn check(&mut self, admin: &mut Client, drawers: &mut [Drawer]) {
        for (of, name) in SHARED.iter().enumerate() {
            let mut fresh = BTreeSet::new();
            for number in drawers.iter_mut().flat_map(|drawer| std::mem::take(&mut drawer.given[of])) {
                assert!(fresh.insert(number), "{name} gave {number} twice");
            }
            let (Some(&low), Some(&high)) = (fresh.first(), fresh.last()) else { continue };
            let span = &mut self.spans[of];
            if let Some((lowest, highest)) = *span {
                let goes_on = if *name == "downward" { high < lowest } else { low > highest };
                assert!(goes_on, "{name} gave {low} to {high} after an earlier life's {lowest} to {highest}");
            }
            *span = Some(span.map_or((low, high), |(lowest, highest)| (lowest.min(low), highest.max(high))));
        }
        let acknowledged = drawers.iter_mut().flat_map(|drawer| std::mem::take(&mut drawer.tickets));
        self.tickets.extend(acknowledged);
        let rows = admin.rows("SELECT id FROM crash.tickets");
        let found: BTreeSet<i64> = rows.iter().map(|cells| cells[0].as_ref().unwrap().parse().unwrap()).collect();
        let missing: Vec<_> = self.tickets.difference(&found).collect();
        assert!(missing.is_empty(), "tickets are missing: {missing:?}");
        self.tickets = found;
    }
}

/// The numbers of a statement's rows.
fn numbers(sql: &str, events: &[Event]) -> Vec<i64> {
    let number = |event: &Event| match event {
        Event::Row(cells) => Some(std::str::from_utf8(cells[0].as_ref().unwrap()).unwrap().parse().unwrap()),
        Event::Error(report) => panic!("{sql}: {report:?}"),
        _ => None,
    };
    events.iter().filter_map(number).collect()
}

/// Runs a statement that must succeed: its numbers, where it has some; none once the server is gone.
fn run(client: &mut Client, sql: &str) -> Option<Vec<i64>> {
    let (events, lives) = client.try_simple(sql);
    let found = numbers(sql, &events);
    lives.then_some(found)
}
