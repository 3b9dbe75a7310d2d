//! A user with two devices: a desk to write from, and a screen that shows live rows.

use super::client::{Client, Heard};
use super::live::{Live, Object, text_of};
use super::report::{Kind, Report};
use super::schema::Login;
use super::script::{Line, Part};
use super::target::Target;
use crate::error::{Error, Result, SqlState};
use std::sync::Arc;
use std::time::Instant;

/// The channel of all of a user's messages: the table's name.
const MESSAGES: &str = "chat.messages";
/// The channel of one conversation's messages.
const CONVERSATION: &str = "conversation";
/// The channel of one conversation's typing events.
const TYPING: &str = "typing";
/// A plain channel whose notification comes after everything that was committed before it.
const END: &str = "end_of_demo";

const INSERT_CONVERSATION: &str = "INSERT INTO chat.conversations (title) VALUES ($1) RETURNING id";
const INSERT_MESSAGE: &str = "INSERT INTO chat.messages (conversation_id, role, content) VALUES ($1, 'user', $2)";
const INSERT_TYPING: &str = "INSERT INTO chat.typing_events (conversation_id, user_id, event_type) \
     VALUES ($1, current_user_id(), 'typing') RETURNING id";
const SELECT_MESSAGES: &str = "SELECT id::text, conversation_id::text, role, content, created_at::text \
     FROM chat.messages ORDER BY id";

/// A user.
pub struct User {
    /// Its name, role and user id.
    pub name: &'static str,
    /// What it says.
    pub part: &'static Part,
    password: String,
    report: Arc<Report>,
    desk: Client,
    screen: Client,
    /// The conversation that the screen shows.
    open: i64,
    /// The one that it does not show.
    aside: i64,
    messages: Live,
    conversation: Live,
    typing: Live,
    typed: usize,
    /// When the latest row came.
    latest: Instant,
    end_heard: bool,
}

impl User {
    /// Logs in twice, opens two conversations and subscribes to the live rows.
    pub async fn join(target: &Target, login: &Login, part: &'static Part, report: &Arc<Report>) -> Result<User> {
        let desk = target.connect(login.name, &login.password).await?;
        let screen = target.connect(login.name, &login.password).await?;
        let open = desk.query_one(INSERT_CONVERSATION, &[&part.title]).await?.get(0);
        let aside = desk.query_one(INSERT_CONVERSATION, &[&part.aside_title]).await?.get(0);
        report.line(login.name, "opens", &format!("\"{}\" and \"{}\"", part.title, part.aside_title), "");
        let mut user = User {
            name: login.name,
            part,
            password: login.password.clone(),
            report: report.clone(),
            desk,
            screen,
            open,
            aside,
            messages: Live::new(MESSAGES),
            conversation: Live::new(CONVERSATION),
            typing: Live::new(TYPING),
            typed: 0,
            latest: Instant::now(),
            end_heard: false,
        };
        user.screen.run("LISTEN \"chat.messages\"").await?;
        user.subscribe(CONVERSATION, "chat.messages", None).await?;
        user.subscribe(TYPING, "chat.typing_events", None).await?;
        user.hear_acknowledgements().await?;
        user.report.line(user.name, "listens", "LISTEN \"chat.messages\"", "acknowledged");
        for (channel, table) in [(CONVERSATION, "chat.messages"), (TYPING, "chat.typing_events")] {
            let what = format!("SUBSCRIBE {channel} TO {table} WHERE conversation_id = $1");
            user.report.line(user.name, "listens", &what, "acknowledged");
        }
        Ok(user)
    }

    /// SUBSCRIBE on the screen, to the open conversation's rows; nothing may be there yet that events would not tell.
    async fn subscribe(&mut self, channel: &str, table: &str, from_seq: Option<i64>) -> Result<()> {
        let from = from_seq.map_or(String::new(), |seq| format!(" OPTIONS (from_seq = {seq})"));
        let sql = format!("SUBSCRIBE {channel} TO {table} WHERE conversation_id = $1{from}");
        let rows = self.screen.query(&sql, &[&self.open]).await?;
        self.expect(rows.is_empty(), || format!("{sql} returned {} rows where there are none", rows.len()))
    }

    /// Asks in the open conversation, and sees on the screen what becomes of it.
    pub async fn converse(&mut self) -> Result<()> {
        for line in self.part.lines {
            self.type_something().await?;
            self.ask(line, true).await?;
            self.see_typing().await?;
            self.see_reply(line).await?;
        }
        Ok(())
    }

    /// Asks in the conversation that the screen does not show.
    pub async fn ask_aside(&mut self) -> Result<()> {
        self.ask(&self.part.aside, false).await
    }

    async fn type_something(&mut self) -> Result<()> {
        let sent = Instant::now();
        let id: i64 = self.desk.query_one(INSERT_TYPING, &[&self.open]).await?.get(0);
        self.typed += 1;
        let key = id.to_string();
        self.report.sent_at(Kind::Typing, &key, sent);
        self.hear_until("a typing event of one's own", |user| user.typing.has("id", &key)).await?;
        let took = self.report.heard(&key, self.latest);
        self.report.line(self.name, "sees", &format!("{} is typing ...", self.name), &format!("live after {took}"));
        Ok(())
    }

    async fn ask(&mut self, line: &Line, in_open: bool) -> Result<()> {
        self.write(line, if in_open { self.open } else { self.aside }).await?;
        let awaited = format!("the live event of \"{}\"", line.question);
        self.hear_until(&awaited, |user| user.shows(line.question, in_open)).await?;
        let took = self.report.heard(line.question, self.latest);
        self.report.line(self.name, "sees", &quoted("user", line.question), &format!("live after {took}"));
        Ok(())
    }

    /// Asks from the desk while there is no screen to look at.
    pub async fn write_unseen(&mut self, line: &Line) -> Result<()> {
        self.write(line, self.open).await
    }

    async fn write(&mut self, line: &Line, conversation: i64) -> Result<()> {
        self.report.sent(Kind::Message, line.question);
        self.desk.execute(INSERT_MESSAGE, &[&conversation, &line.question]).await?;
        let took = self.report.committed(line.question);
        self.report.line(self.name, "asks", &quoted("user", line.question), &format!("committed in {took}"));
        Ok(())
    }

    /// The worker says in the user's scope that it is busy: one more event than the user made itself.
    async fn see_typing(&mut self) -> Result<()> {
        let expected = 2 * self.typed;
        self.hear_until("the worker's typing event", |user| user.typing.rows().count() >= expected).await?;
        self.report.line(self.name, "sees", "ai_worker is typing ...", "live");
        Ok(())
    }

    async fn see_reply(&mut self, line: &Line) -> Result<()> {
        self.hear_reply(line, true).await?;
        self.report.heard(line.answer, self.latest);
        let took = self.report.answered(line.question, self.latest);
        self.report.line(self.name, "sees", &quoted("assistant", line.answer), &format!("{took} after asking"));
        Ok(())
    }

    /// Sees the reply in the conversation that the screen does not show.
    pub async fn see_reply_aside(&mut self) -> Result<()> {
        self.hear_reply(&self.part.aside, false).await?;
        self.report.heard(self.part.aside.answer, self.latest);
        self.report.line(self.name, "sees", &quoted("assistant", self.part.aside.answer), "live");
        Ok(())
    }

    async fn hear_reply(&mut self, line: &Line, in_open: bool) -> Result<()> {
        self.hear_until(&format!("the reply to \"{}\"", line.question), |user| user.shows(line.answer, in_open)).await
    }

    fn shows(&self, content: &str, in_open: bool) -> bool {
        self.messages.has("content", content) && (!in_open || self.conversation.has("content", content))
    }

    /// The screen's connection breaks; the desk's lives on.
    pub async fn lose_screen(&mut self) {
        self.screen.break_off().await;
        self.report.line(self.name, "loses", "the screen's connection", "");
    }

    /// The screen comes back and resumes each channel where it was.
    pub async fn come_back(&mut self, target: &Target) -> Result<()> {
        let before = self.messages.rows().count();
        self.screen = target.connect(self.name, &self.password).await?;
        let position = self.messages.resume()?;
        let again = format!("SUBSCRIBE \"{MESSAGES}\" TO chat.messages OPTIONS (from_seq = {position})");
        self.screen.query(&again, &[]).await?;
        let (conversation, typing) = (self.conversation.resume()?, self.typing.resume()?);
        self.subscribe(CONVERSATION, "chat.messages", Some(conversation)).await?;
        self.subscribe(TYPING, "chat.typing_events", Some(typing)).await?;
        self.report.line(self.name, "resumes", &again, "");
        self.hear_acknowledgements().await?;
        for line in self.part.while_away {
            for (role, text) in [("user", line.question), ("assistant", line.answer)] {
                self.hear_until(&format!("\"{text}\", missed while away"), |user| user.shows(text, true)).await?;
                self.report.line(self.name, "sees", &quoted(role, text), "caught up");
            }
        }
        let missed = self.messages.rows().count() - before;
        let expected = 2 * self.part.while_away.len();
        self.expect(missed == expected, || format!("{missed} messages came with the resume, not {expected}"))?;
        self.report
            .fact("resume", format!("{} missed {missed} messages; from_seq brought each of them once", self.name));
        Ok(())
    }

    /// Hears whatever comes until something is the case.
    async fn hear_until(&mut self, awaited: &str, done: impl Fn(&User) -> bool) -> Result<()> {
        while !done(self) {
            let heard = self.screen.hear(awaited).await?;
            self.take(&heard)?;
        }
        Ok(())
    }

    async fn hear_acknowledgements(&mut self) -> Result<()> {
        let all =
            |user: &User| [&user.messages, &user.conversation, &user.typing].into_iter().all(Live::is_acknowledged);
        self.hear_until("the acknowledgement of its subscriptions", all).await
    }

    fn take(&mut self, heard: &Heard) -> Result<()> {
        if heard.channel == END {
            self.end_heard = true;
            return Ok(());
        }
        let lives = [&mut self.messages, &mut self.conversation, &mut self.typing];
        let Some(live) = lives.into_iter().find(|live| live.channel() == heard.channel) else {
            return self.expect(false, || format!("a notification on \"{}\", which nobody listens to", heard.channel));
        };
        if !live.take(&heard.payload)?.is_empty() {
            self.latest = heard.at;
        }
        Ok(())
    }

    /// Tries to reach another's rows, which must be refused.
    pub async fn is_refused_to_act_for(&self, other: &str) -> Result<()> {
        let attempt = self.desk.run(&format!("BEGIN; SET LOCAL tertulia.user_id = '{other}'")).await;
        self.desk.run("ROLLBACK").await?;
        let code = SqlState::INSUFFICIENT_PRIVILEGE;
        match attempt {
            Err(refusal) if refusal.code() == code => {
                let what = format!("SET LOCAL tertulia.user_id = '{other}'");
                self.report.line(self.name, "tries", &what, &format!("refused, {code}"));
                self.report.fact("isolation", format!("{} may not act for {other} ({code})", self.name));
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => self.expect(false, || format!("is allowed to act for {other}")),
        }
    }

    /// Waits until everything that was committed has been told, and compares what was told with what SELECT says.
    pub async fn compare(&mut self) -> Result<()> {
        self.screen.run(&format!("LISTEN {END}")).await?;
        self.desk.execute("SELECT pg_notify($1, '')", &[&END]).await?;
        self.hear_until("the last notification", |user| user.end_heard).await?;
        let asked = self.part.questions();
        let selected: Vec<Vec<String>> = self.desk.query(SELECT_MESSAGES, &[]).await?.iter().map(columns).collect();
        let open = self.open.to_string();
        let in_open: Vec<Vec<String>> = selected.iter().filter(|row| row[1] == open).cloned().collect();
        let told = |live: &Live| live.rows().map(members).collect::<Vec<_>>();
        self.expect(selected.len() == 2 * asked, || {
            format!("SELECT says {} messages after {asked} questions and as many replies", selected.len())
        })?;
        self.expect(told(&self.messages) == selected, || {
            format!("live rows {:?} are not those of SELECT: {selected:?}", told(&self.messages))
        })?;
        self.expect(told(&self.conversation) == in_open, || {
            format!("live rows {:?} of a conversation are not those of SELECT: {in_open:?}", told(&self.conversation))
        })?;
        let (count, shown, typing) = (selected.len(), in_open.len(), self.typing.rows().count());
        self.expect(typing == self.typed + asked - 1, || format!("{typing} typing events arrived"))?;
        self.report.fact(
            self.name,
            format!(
                "{count} messages arrived live as SELECT has them, {shown} in the open conversation; {typing} typing events"
            ),
        );
        Ok(())
    }

    fn expect(&self, holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(Error::new(SqlState::DATA_EXCEPTION, format!("{}: {}", self.name, otherwise())))
    }
}

fn quoted(role: &str, text: &str) -> String {
    format!("{role}: {text}")
}

fn columns(row: &tokio_postgres::Row) -> Vec<String> {
    (0..row.len()).map(|at| row.get(at)).collect()
}

/// A live row's members in the order of SELECT's columns, the time in SELECT's notation.
fn members(row: &Object) -> Vec<String> {
    let member = |name| text_of(row, name).unwrap_or_default().to_owned();
    let created_at = member("created_at").replace('T', " ");
    vec![member("id"), member("conversation_id"), member("role"), member("content"), created_at]
}
