//! The AI worker: takes messages from the topic and answers them, each reply in one transaction with its ACK.

use super::client::{Client, told, within};
use super::report::{Kind, Report};
use super::schema::Login;
use super::script::think;
use super::target::Target;
use crate::error::{Error, Result, SqlState};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{CancelToken, NoTls, Row};

const CONSUME: &str = "CONSUME FROM chat.ai_processing GROUP ai LIMIT 10 WAIT '10 seconds'";
const CONSUME_BRIEFLY: &str =
    "CONSUME FROM chat.ai_processing GROUP ai LIMIT 1 WAIT '10 seconds' VISIBILITY '1 second'";
const CONSUME_WHAT_IS_LEFT: &str = "CONSUME FROM chat.ai_processing GROUP ai";
const GROUP: &str = "SELECT lag, in_flight FROM system.topic_groups \
     WHERE topic = 'chat.ai_processing' AND group_name = 'ai' AND partition = 0";
const INSERT_TYPING: &str = "EXECUTE AS USER $1 ( INSERT INTO chat.typing_events (conversation_id, user_id, event_type) \
     VALUES ($2, 'ai_worker', 'typing') )";
const INSERT_REPLY: &str = "INSERT INTO chat.messages (conversation_id, role, content) VALUES ($1, 'assistant', $2)";
const ACK: &str = "ACK chat.ai_processing GROUP ai OFFSET $1";

/// What a worker has done.
#[derive(Clone, Default)]
pub struct Tally {
    /// Offsets that it acknowledged.
    pub acknowledged: BTreeSet<i64>,
    /// Questions that it answered.
    pub answered: usize,
    /// Replies, its own, that it let pass.
    pub passed: usize,
    /// Messages that had been taken before.
    pub again: usize,
}

/// A worker that runs.
pub struct Worker {
    task: JoinHandle<Result<()>>,
    tally: watch::Receiver<Tally>,
    stop: watch::Sender<bool>,
    cancel: CancelToken,
}

impl Worker {
    /// Connects, and begins to take messages.
    pub async fn start(target: &Target, login: &Login, report: &Arc<Report>) -> Result<Worker> {
        let client = target.connect(login.name, &login.password).await?;
        let cancel = client.cancel_token();
        let (stop, stopped) = watch::channel(false);
        let (sender, tally) = watch::channel(Tally::default());
        let running = Running { name: login.name, client, report: report.clone(), tally: sender };
        report.line(login.name, "starts", CONSUME, "");
        let task = tokio::spawn(running.run(stopped));
        Ok(Worker { task, tally, stop, cancel })
    }

    /// What it has done, as it goes on.
    pub fn watch(&self) -> TallyWatch {
        TallyWatch(self.tally.clone())
    }

    /// Waits until it fails, which it never should.
    pub async fn failure(&mut self) -> Error {
        match (&mut self.task).await {
            Ok(Err(error)) => error,
            _ => Error::new(SqlState::INTERNAL_ERROR, "the worker ended though nobody stopped it"),
        }
    }

    /// Cancels the CONSUME that waits, and lets the worker end.
    pub async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        let cancelled = within("cancelling the worker's CONSUME", self.cancel.cancel_query(NoTls)).await?;
        cancelled.map_err(told("cancelling the worker's CONSUME"))?;
        match within("the worker's end", self.task).await? {
            Ok(result) => result,
            Err(_) => Err(Error::new(SqlState::INTERNAL_ERROR, "the worker panicked")),
        }
    }
}

/// A view of what a worker has done.
pub struct TallyWatch(watch::Receiver<Tally>);

impl TallyWatch {
    /// Waits until it has done so much.
    pub async fn until(&mut self, awaited: &str, enough: impl Fn(&Tally) -> bool) -> Result<Tally> {
        let waiting = format!("the worker to have {awaited}");
        let reached = within(&waiting, self.0.wait_for(|tally| enough(tally))).await?;
        let ended = |_| Error::new(SqlState::INTERNAL_ERROR, format!("the worker ended; missing is {waiting}"));
        reached.map(|tally| tally.clone()).map_err(ended)
    }
}

/// A message of the topic, as far as the worker needs it.
struct Message {
    offset: i64,
    attempt: i32,
    user: String,
    conversation: i64,
    role: String,
    content: String,
}

impl Message {
    fn of(row: &Row) -> Result<Message> {
        let payload: Value = row.get("payload");
        let member = |name: &str| {
            payload.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
                Error::new(SqlState::DATA_EXCEPTION, format!("a message's payload has no \"{name}\": {payload}"))
            })
        };
        let conversation = member("conversation_id")?.parse().map_err(|_| {
            Error::new(SqlState::DATA_EXCEPTION, format!("a message's conversation is no number: {payload}"))
        })?;
        Ok(Message {
            offset: row.get("offset"),
            attempt: row.get("attempt"),
            user: row.get("user_id"),
            conversation,
            role: member("role")?,
            content: member("content")?,
        })
    }
}

/// The worker's own side.
struct Running {
    name: &'static str,
    client: Client,
    report: Arc<Report>,
    tally: watch::Sender<Tally>,
}

impl Running {
    async fn run(self, stopped: watch::Receiver<bool>) -> Result<()> {
        while !*stopped.borrow() {
            let messages = match self.client.query(CONSUME, &[]).await {
                Ok(messages) => messages,
                Err(error) if error.code() == SqlState::QUERY_CANCELED && *stopped.borrow() => break,
                Err(error) => return Err(error),
            };
            for row in &messages {
                self.handle(&Message::of(row)?).await?;
            }
        }
        Ok(())
    }

    async fn handle(&self, message: &Message) -> Result<()> {
        let again = message.attempt > 1;
        if message.role == "user" {
            let what = format!("{} of {}: {}", message.offset, message.user, message.content);
            let figure = match again {
                false => format!("after {}", self.report.taken(&message.content)),
                // how long the lease lasted says nothing of how quick a worker is
                true => format!("attempt {}", message.attempt),
            };
            self.report.line(self.name, "takes", &what, &figure);
            self.answer(message).await?;
        } else {
            // the topic has every message: its own replies come back to it, and it must not talk to itself
            self.acknowledge(message).await?;
        }
        self.tally.send_modify(|tally| {
            tally.acknowledged.insert(message.offset);
            tally.answered += usize::from(message.role == "user");
            tally.passed += usize::from(message.role != "user");
            tally.again += usize::from(again);
        });
        Ok(())
    }

    async fn answer(&self, message: &Message) -> Result<()> {
        self.client.execute(INSERT_TYPING, &[&message.user, &message.conversation]).await?;
        let answer = think(&message.content);
        self.report.sent(Kind::Message, answer);
        self.begin_reply(message, answer).await?;
        self.client.run("COMMIT").await?;
        let took = self.report.committed(answer);
        let what = format!("as {}, ACK {}: {answer}", message.user, message.offset);
        self.report.line(self.name, "replies", &what, &format!("committed in {took}"));
        Ok(())
    }

    /// A transaction in the user's scope with the reply and the acknowledgement, open at its end.
    async fn begin_reply(&self, message: &Message, answer: &str) -> Result<()> {
        let user = message.user.replace('\'', "''");
        self.client.run(&format!("BEGIN; SET LOCAL tertulia.user_id = '{user}'")).await?;
        self.client.execute(INSERT_REPLY, &[&message.conversation, &answer]).await?;
        self.acknowledge(message).await
    }

    async fn acknowledge(&self, message: &Message) -> Result<()> {
        match self.client.execute(ACK, &[&message.offset]).await? {
            1 => Ok(()),
            count => {
                let what = format!("ACK of offset {} acknowledged {count} messages", message.offset);
                Err(Error::new(SqlState::DATA_EXCEPTION, what))
            }
        }
    }
}

/// A worker that takes one message, writes its reply, and is gone before it commits.
pub async fn die_in_the_middle(target: &Target, login: &Login, report: &Arc<Report>) -> Result<()> {
    let client = target.connect(login.name, &login.password).await?;
    let (tally, _) = watch::channel(Tally::default());
    let mut running = Running { name: login.name, client, report: report.clone(), tally };
    let taken = running.client.query(CONSUME_BRIEFLY, &[]).await?;
    let Some(row) = taken.first() else {
        return Err(Error::new(SqlState::NO_DATA_FOUND, "CONSUME returned no message though one was committed"));
    };
    let message = Message::of(row)?;
    running.begin_reply(&message, "A reply that nobody may ever see.").await?;
    running.client.break_off().await;
    let what = format!("holding offset {} of {}, its reply written", message.offset, message.user);
    report.line(login.name, "dies", &what, "before COMMIT");
    Ok(())
}

/// Checks that the group has settled every message of the topic, and that nobody gets any more.
pub async fn nothing_is_left(
    target: &Target,
    login: &Login,
    admin: &Client,
    tally: &Tally,
    report: &Report,
) -> Result<()> {
    let written = admin.query("SELECT \"offset\" FROM chat.ai_processing ORDER BY \"offset\"", &[]).await?;
    let written: BTreeSet<i64> = written.iter().map(|row| row.get(0)).collect();
    let client = target.connect(login.name, &login.password).await?;
    let left = client.query(CONSUME_WHAT_IS_LEFT, &[]).await?.len();
    let group = admin.query_one(GROUP, &[]).await?;
    let (lag, in_flight): (i64, i64) = (group.get("lag"), group.get("in_flight"));
    let (count, acknowledged) = (written.len(), tally.acknowledged.len());
    if left > 0 || lag > 0 || in_flight > 0 || written != tally.acknowledged {
        let message = format!(
            "of {count} messages {acknowledged} are acknowledged; the group lags {lag}, has {in_flight} in flight and \
             got {left} more"
        );
        return Err(Error::new(SqlState::DATA_EXCEPTION, message));
    }
    let Tally { answered, passed, again, .. } = tally;
    report.fact("topic", format!("{count} messages: {answered} answered, {passed} own replies passed; nothing left"));
    report.fact("redelivery", format!("{again} message came again after its worker died, and was answered once"));
    Ok(())
}
