//! The play: what the users and the worker do, act by act, and what must have come of it.

use super::client::Client;
use super::report::Report;
use super::schema::Cast;
use super::script::{ALICE, BOB};
use super::target::Target;
use super::user::User;
use super::worker::{self, Worker};
use crate::error::{Error, Result, SqlState};
use std::sync::Arc;

/// Plays everything.
pub async fn play(target: &Target, admin: &Client, cast: &Cast, report: &Arc<Report>) -> Result<()> {
    report.heading("alice and bob open their screens");
    let mut alice = User::join(target, &cast.alice, &ALICE, report).await?;
    let mut bob = User::join(target, &cast.bob, &BOB, report).await?;

    report.heading("a worker dies in the middle of an answer; the next one gets the message again");
    bob.ask_aside().await?;
    worker::die_in_the_middle(target, &cast.worker, report).await?;
    let mut worker = Worker::start(target, &cast.worker, report).await?;
    // a worker that fails is the reason for whatever else is missing
    let mut tally = worker.watch();
    tokio::select! {
        played = converse(target, &mut alice, &mut bob, &mut tally, report) => played?,
        error = worker.failure() => return Err(error),
    }

    report.heading("the end: what was told is what is there");
    let messages = 2 * (ALICE.questions() + BOB.questions());
    let tally = tally.until("acknowledged everything", |tally| tally.acknowledged.len() >= messages).await?;
    worker.stop().await?;
    alice.compare().await?;
    bob.compare().await?;
    alice.is_refused_to_act_for("bob").await?;
    administrator_sees_nothing(admin, report).await?;
    worker::nothing_is_left(target, &cast.worker, admin, &tally, report).await
}

/// The acts in which the worker answers.
async fn converse(
    target: &Target,
    alice: &mut User,
    bob: &mut User,
    tally: &mut worker::TallyWatch,
    report: &Report,
) -> Result<()> {
    bob.see_reply_aside().await?;

    report.heading("alice and bob ask at the same time");
    tokio::try_join!(alice.converse(), bob.converse())?;

    report.heading("alice's screen loses its connection, and comes back");
    alice.lose_screen().await;
    let before = 1 + ALICE.lines.len() + BOB.lines.len();
    for (missed, line) in ALICE.while_away.iter().enumerate() {
        alice.write_unseen(line).await?;
        let awaited = format!("answered \"{}\"", line.question);
        tally.until(&awaited, |tally| tally.answered > before + missed).await?;
    }
    alice.come_back(target).await?;

    report.heading("alice asks in a conversation that she has not open");
    alice.ask_aside().await?;
    alice.see_reply_aside().await
}

/// Rows of users are no superuser's.
async fn administrator_sees_nothing(admin: &Client, report: &Report) -> Result<()> {
    let seen: i64 = admin.query_one("SELECT count(*) FROM chat.messages", &[]).await?.get(0);
    if seen > 0 {
        let message = format!("the superuser sees {seen} messages of users without acting for them");
        return Err(Error::new(SqlState::DATA_EXCEPTION, message));
    }
    report.fact("isolation", "the superuser sees none of their messages".to_owned());
    Ok(())
}
