//! Reads tables at known positions while they are written: what ties the ledger to what SELECT says.

use crate::ledger::{Ledger, Observation};
use crate::place::{Phase, Place, wall};
use crate::query::Query;
use crate::session::{Gone, Session};
use crate::support::random::Random;
use crate::table::{Cells, LIVELY};
use std::sync::Mutex;
use std::time::Duration;

/// Reads in REPEATABLE READ transactions until the end.
pub fn observe(place: &Place, number: usize, user: &'static str, ledger: &Mutex<Ledger>, mut random: Random) {
    let mut session = None;
    while place.phase() != Phase::End {
        let Some(open) = session.take().or_else(|| Session::connect(place, number, user)) else { return };
        let mut query = Query::of(random.pick(&LIVELY), user, &mut random);
        query.project(&mut random);
        let mut open = open;
        match look(&mut open, &query) {
            Ok(Some(observation)) => ledger.lock().unwrap().observations.push(observation),
            // cancelled
            Ok(None) => {}
            Err(Gone) => continue,
        }
        session = Some(open);
        place.pause(Duration::from_millis(20 + random.below(80)));
    }
}

/// The position and the rows; none where it was cancelled.
fn look(session: &mut Session, query: &Query) -> Result<Option<Observation>, Gone> {
    let select = query.select(false);
    let asked = wall();
    let found = at_position(session, &select, None)?;
    let Some((seq, rows)) = found else { return Ok(None) };
    Ok(Some(Observation { seq, epoch: session.epoch, query: query.clone(), rows, asked, answered: wall() }))
}

/// A SELECT and the position that it reads, for some user where one is named; none where it was cancelled.
pub fn at_position(session: &mut Session, select: &str, user: Option<&str>) -> Result<Option<(u64, Vec<Cells>)>, Gone> {
    let select = user.map_or_else(|| select.to_owned(), |user| format!("EXECUTE AS USER '{user}' ( {select} )"));
    let block = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT current_seq(); {select}; COMMIT");
    let answer = session.ask(&block)?;
    if let Some(report) = answer.error {
        // reading conflicts with nothing: nothing but a cancel may stop it
        assert_eq!(report.code, "57014", "{block}: {report:?}");
        session.ask("ROLLBACK")?;
        return Ok(None);
    }
    let mut results = answer.outcomes.into_iter().filter(|outcome| outcome.tag.starts_with("SELECT"));
    let position = results.next().expect("current_seq()").rows;
    let seq = position[0][0].as_ref().and_then(|text| text.parse().ok()).expect("a position");
    Ok(Some((seq, results.next().expect("the query's rows").rows)))
}
