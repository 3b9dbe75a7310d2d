//! Journals as a faulty server would have made them, and the proof that the check sees each fault.

use crate::journal::{End, Journal, Piece, Start, Told};
use crate::support::random::Random;
use crate::table::Cells;
use serde_json::{Value as Json, json};

type Change = fn(&mut Vec<Told>, usize, &mut Random) -> bool;

/// Changes the rows of a beginning; none where there is nothing to change.
type Beginning = fn(&mut Vec<Cells>) -> Option<Cells>;

/// What a faulty server may do to the event at some place; false where it cannot be done there.
const CHANGES: [(&str, Change); 10] = [
    ("an event is missing", |told, at, _| {
        told.remove(at);
        true
    }),
    ("an event comes twice", |told, at, _| {
        told.insert(at, told[at].clone());
        true
    }),
    ("events come in another order", |told, at, _| {
        // those of one kind and commit have no order
        let is_other = told.get(at + 1).is_some_and(|next| next.event["seq"] != told[at].event["seq"]);
        if is_other {
            told.swap(at, at + 1);
        }
        is_other
    }),
    ("a row is missing", |told, at, _| {
        let event = &mut told[at].event;
        let mut removed = false;
        for member in ["rows", "old_values"] {
            if let Some(rows) = event[member].as_array_mut().filter(|rows| rows.len() > 1) {
                rows.pop();
                removed = true;
            }
        }
        removed
    }),
    ("a row comes twice", |told, at, _| {
        for member in ["rows", "old_values"] {
            if let Some(rows) = told[at].event[member].as_array_mut() {
                rows.extend(rows.last().cloned());
            }
        }
        true
    }),
    ("an old value is not that of the row before", |told, at, random| alter(&mut told[at].event["old_values"], random)),
    ("a new value is not the row's", |told, at, random| alter(&mut told[at].event["rows"], random)),
    ("it says that more follows where nothing does, or the reverse", |told, at, _| {
        let members = told[at].event.as_object_mut().unwrap();
        if members.remove("more").is_none() {
            members.insert("more".into(), json!(true));
        }
        true
    }),
    ("it comes at another position", |told, at, _| {
        let seq = told[at].event["seq"].as_u64().unwrap();
        told[at].event["seq"] = json!(seq + 1);
        true
    }),
    ("its rows vanish at another time", |told, at, _| {
        let has_rows = told[at].event.get("rows").is_some();
        let ends = told[at].event.get_mut("expires_at").filter(|_| has_rows);
        ends.map(|ends| *ends = json!("2099-01-01T00:00:00+00:00")).is_some()
    }),
];

/// What may be wrong with the rows that a subscription begins with.
const SNAPSHOTS: [&str; 2] = ["a row of its beginning is missing", "a row of its beginning comes twice"];

/// Another value in some row.
fn alter(rows: &mut Json, random: &mut Random) -> bool {
    let Some(rows) = rows.as_array_mut().filter(|rows| !rows.is_empty()) else { return false };
    let at = random.below(rows.len() as u64) as usize;
    let members = rows[at].as_object_mut().unwrap();
    let names: Vec<String> = members.keys().cloned().collect();
    let name = &names[random.below(names.len() as u64) as usize];
    members.insert(name.clone(), json!("another user's"));
    true
}

/// Mutants of a journal: of the subscription that goes on, each change at the first event from some on where it can be
/// done, and of its beginning a row too few or too many; of a STREAM table's nobody knows that for certain.
pub fn of(journal: &Journal, is_stream: bool, random: &mut Random) -> Vec<(&'static str, Journal)> {
    let mut mutants = Vec::new();
    let Some(piece) = journal.pieces.last().filter(|piece| piece.end == End::Open) else { return mutants };
    let count = piece.changes.len();
    for (what, change) in CHANGES {
        let first = random.below(count.max(1) as u64) as usize;
        for at in (first..count).chain(0..first) {
            let mut changes = piece.changes.clone();
            if change(&mut changes, at, random) {
                mutants.push((what, with(journal, Piece { changes, ..piece.clone() })));
                break;
            }
        }
    }
    let beginnings: [Beginning; 2] = [Vec::pop, |rows| rows.last().cloned().inspect(|row| rows.push(row.clone()))];
    for (what, change) in SNAPSHOTS.into_iter().zip(beginnings).filter(|_| !is_stream) {
        let mut changed = piece.clone();
        if let Start::Snapshot { rows, .. } | Start::Joined { rows, .. } = &mut changed.start
            && change(rows).is_some()
        {
            mutants.push((what, with(journal, changed)));
        }
    }
    mutants
}

/// A journal with another last subscription.
fn with(journal: &Journal, last: Piece) -> Journal {
    let mut journal = journal.clone();
    journal.pieces.pop();
    journal.pieces.push(last);
    journal
}

/// What all mutants are of.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    CHANGES.iter().map(|(what, _)| *what).chain(SNAPSHOTS)
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::check::{Judge, Terms};
    use crate::journal::{Journal, Piece, Start};
    use crate::ledger::{Commit, Deed, Effects, Ledger, Shift, apply};
    use crate::query::Query;
    use crate::rows::fold_is;
    use crate::support::random::Random;
    use crate::table::{Cells, Table};
    use crate::truth::{Told, Truth};
    use serde_json::{Value as Json, json};

    const NOTHING: [&str; 0] = [];

    fn terms() -> Terms {
        Terms { retentions: vec![60_000_000], killed_queries: false, cancelled: false }
    }

    fn cells(id: i64, n: i64) -> Cells {
        let cell = |text: String| Some(text.into());
        vec![cell(id.to_string()), None, cell(n.to_string()), None, None, None, None, None, cell("1".into())]
    }

    fn row(id: i64, n: i64) -> Json {
        json!({"id": id.to_string(), "room": null, "n": n, "tag": null, "price": null, "at": null, "flag": null,
               "body": null, "tx": "1"})
    }

    /// All notes of alice.
    fn query() -> Query {
        let mut query = Query::of(Table::Notes, "alice", &mut Random::new(1));
        query.whole();
        query
    }

    /// Commits at 11 to 14 over nothing: two inserts, an update, another user's row, a move with a deletion.
    fn truth() -> Truth {
        let steps: [&[(&'static str, Deed, &[Cells])]; 4] = [
            &[("alice", Deed::Insert, &[cells(1, 1), cells(2, 2)])],
            &[("alice", Deed::Update(Shift::None), &[cells(1, 5)])],
            &[("bob", Deed::Insert, &[cells(1, 7)])],
            &[
                ("alice", Deed::Update(Shift::Id(10)), &[cells(11, 5)]),
                ("alice", Deed::Delete, &[cells(2, 2)]),
                ("alice", Deed::Insert, &[cells(3, 3), cells(4, 4)]),
                ("alice", Deed::Delete, &[cells(4, 4)]),
            ],
        ];
        let mut ledger = Ledger::default();
        for (at, step) in steps.into_iter().enumerate() {
            let mut effects = Effects::new();
            for (user, deed, rows) in step {
                apply(&mut effects, Table::Notes, user, *deed, rows).unwrap();
            }
            ledger.commit(11 + at as u64, Commit { writer: 0, epoch: 1, effects, sent: 1, acked: 2 });
        }
        let mut truth = Truth { to: 10, epoch: 1, ..Truth::default() };
        assert_eq!(truth.advance(&mut ledger, 14, 1, &Told::new()), NOTHING);
        truth
    }

    fn events() -> Vec<Json> {
        let event = |kind: &str, seq: u64| json!({"type": "change", "change_type": kind, "seq": seq});
        let with = |mut event: Json, members: Json| {
            event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            event
        };
        vec![
            with(event("insert", 11), json!({"rows": [row(1, 1), row(2, 2)]})),
            with(event("update", 12), json!({"rows": [row(1, 5)], "old_values": [row(1, 1)]})),
            with(event("delete", 14), json!({"old_values": [row(2, 2)], "more": true})),
            with(event("update", 14), json!({"rows": [row(11, 5)], "old_values": [row(1, 5)], "more": true})),
            with(event("insert", 14), json!({"rows": [row(3, 3)]})),
        ]
    }

    fn journal(events: &[Json]) -> Journal {
        let mut journal = Journal::default();
        let start = Start::Snapshot { rows: Vec::new(), asked: 1, answered: 2 };
        let (ack, changes, end, ended) = (None, Vec::new(), crate::journal::End::Open, i64::MAX);
        let channel = "s1".to_owned();
        journal.pieces.push(Piece { epoch: 1, channel, batch: 2, last_rows: None, start, ack, changes, end, ended });
        let columns: Vec<Json> =
            query().described().iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect();
        let ack = json!({"type": "subscription_ack", "channel": "s1", "seq": 10, "columns": columns});
        journal.take("s1", &ack.to_string());
        events.iter().for_each(|event| journal.take("s1", &event.to_string()));
        journal
    }

    fn violations(journal: &Journal) -> Vec<String> {
        let (truth, query) = (truth(), query());
        let judge = Judge { query: &query, truth: &truth, terms: terms() };
        judge.judge(journal).violations
    }

    #[test]
    fn what_was_committed_passes() {
        let (truth, query) = (truth(), query());
        let judge = Judge { query: &query, truth: &truth, terms: terms() };
        let verdict = judge.judge(&journal(&events()));
        assert_eq!(verdict.violations, NOTHING);
        assert_eq!((verdict.events, verdict.positions, judge.last_due(1)), (5, 3, Some(14)));
        let fold = verdict.fold.unwrap();
        assert_eq!(fold_is(&query, &truth, &fold, &[cells(3, 3), cells(11, 5)], 2), Ok(()));
        assert!(fold_is(&query, &truth, &fold, &[cells(3, 3), cells(11, 6)], 2).is_err());
        assert!(fold_is(&query, &truth, &fold, &[cells(3, 3)], 2).is_err());
    }

    #[test]
    fn an_event_that_is_dropped_is_missed() {
        for at in 0..events().len() {
            let mut events = events();
            events.remove(at);
            assert_ne!(violations(&journal(&events)), NOTHING, "event {at}");
        }
    }

    #[test]
    fn an_event_that_comes_twice_is_one_too_many() {
        for at in 0..events().len() {
            for to in at..=events().len() {
                let mut events = events();
                events.insert(to, events[at].clone());
                assert_ne!(violations(&journal(&events)), NOTHING, "event {at} again at {to}");
            }
        }
    }

    #[test]
    fn another_users_row_is_seen() {
        let mut events = events();
        let foreign = json!({"type": "change", "change_type": "insert", "seq": 13, "rows": [row(1, 7)]});
        events.insert(2, foreign);
        assert!(violations(&journal(&events))[0].contains("no commit says this at 13"));
    }

    #[test]
    fn whatever_else_is_changed_is_seen() {
        let mut random = Random::new(5);
        for _ in 0..200 {
            for (what, mutant) in of(&journal(&events()), false, &mut random) {
                assert_ne!(violations(&mutant), NOTHING, "{what}: {mutant:#?}");
            }
        }
    }

    #[test]
    fn who_lags_is_told_nothing_more_and_skips_nothing() {
        let lagged = |seq: u64| json!({"type": "lagged", "seq": seq});
        let told = |count: usize, seq: u64| {
            let mut events = events();
            events.truncate(count);
            events.push(lagged(seq));
            events
        };
        assert_eq!(violations(&journal(&told(2, 13))), NOTHING);
        assert_ne!(violations(&journal(&told(2, 14))), NOTHING, "it skips a commit");
        assert_ne!(violations(&journal(&told(2, 11))), NOTHING, "it goes back");
        let mut more = told(2, 12);
        more.extend_from_slice(&events()[2..]);
        assert_ne!(violations(&journal(&more)), NOTHING, "it is told more");
    }

    #[test]
    fn who_resumes_is_told_what_it_has_not() {
        let resumed = |from: u64, told: usize, first: usize| {
            let mut journal = journal(&events()[..told]);
            journal.close(crate::journal::End::Left);
            let mut piece = journal.pieces[0].clone();
            piece.start = Start::Resumed { from };
            piece.ack = Some((from, query().described()));
            piece.end = crate::journal::End::Open;
            piece.changes.clear();
            journal.pieces.push(piece);
            events()[first..].iter().for_each(|event| journal.take("s1", &event.to_string()));
            violations(&journal)
        };
        assert_eq!(resumed(12, 2, 2), NOTHING);
        // half of a commit was told before, and then all of it
        assert_eq!(resumed(12, 4, 2), NOTHING);
        assert_eq!(resumed(11, 2, 1), NOTHING);
        assert_ne!(resumed(12, 2, 3), NOTHING, "half of a commit");
        assert_ne!(resumed(12, 1, 2), NOTHING, "from where it never was");
        assert_ne!(resumed(11, 2, 2), NOTHING, "a commit is missing");
    }

    #[test]
    fn a_snapshot_of_other_rows_is_seen() {
        let mut journal = journal(&events());
        journal.pieces[0].start = Start::Snapshot { rows: vec![cells(9, 9)], asked: 1, answered: 2 };
        assert!(violations(&journal)[0].contains("snapshot"));
    }
}
