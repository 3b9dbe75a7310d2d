//! What is printed: a line for each thing as it happens, and at the end what was shown and how long it took.

use super::target::Target;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A message, of a user or of the worker.
    Message,
    /// A typing event.
    Typing,
}

/// When what happened to one message or typing event.
struct Moments {
    kind: Kind,
    sent: Instant,
    committed: Option<Instant>,
    taken: Option<Instant>,
    heard: Option<Instant>,
    answered: Option<Instant>,
}

/// The lines and the moments of one run.
pub struct Report {
    start: Instant,
    moments: Mutex<HashMap<String, Moments>>,
    facts: Mutex<Vec<(&'static str, String)>>,
}

impl Report {
    /// Begins, with a title.
    pub fn start(target: &Target) -> Arc<Report> {
        print(format_args!("Tertulia demo: {}", target.describe()));
        print(format_args!(""));
        Arc::new(Report { start: Instant::now(), moments: Mutex::default(), facts: Mutex::default() })
    }

    /// A line: who does what, and how long it took where that says something.
    pub fn line(&self, who: &str, does: &str, what: &str, figure: &str) {
        let time = self.start.elapsed().as_secs_f64();
        let line = format!("{time:7.3} s  {who:<9}  {does:<8}  {what:<66}  {figure}");
        print(format_args!("{}", line.trim_end()));
    }

    /// A heading.
    pub fn heading(&self, title: &str) {
        print(format_args!("\n{title}"));
    }

    /// Something is about to be sent; `key` names it from now on.
    pub fn sent(&self, kind: Kind, key: &str) {
        self.sent_at(kind, key, Instant::now());
    }

    /// Something was sent at that moment, whose key came with the answer.
    pub fn sent_at(&self, kind: Kind, key: &str, sent: Instant) {
        let moments = Moments { kind, sent, committed: None, taken: None, heard: None, answered: None };
        self.moments.lock().insert(key.to_owned(), moments);
    }

    /// Its commit has just been acknowledged; how long it took.
    pub fn committed(&self, key: &str) -> Took {
        let now = Instant::now();
        self.note(key, |moments| &mut moments.committed, now)
    }

    /// The worker has just got it; how long after its sending.
    pub fn taken(&self, key: &str) -> Took {
        let now = Instant::now();
        self.note(key, |moments| &mut moments.taken, now)
    }

    /// It arrived live; how long after its sending.
    pub fn heard(&self, key: &str, at: Instant) -> Took {
        self.note(key, |moments| &mut moments.heard, at)
    }

    /// The reply to it arrived live; how long after its sending.
    pub fn answered(&self, key: &str, at: Instant) -> Took {
        self.note(key, |moments| &mut moments.answered, at)
    }

    /// Notes the moment that something happened for the first time; how long after the sending.
    fn note(&self, key: &str, slot: impl Fn(&mut Moments) -> &mut Option<Instant>, at: Instant) -> Took {
        let mut all = self.moments.lock();
        let Some(moments) = all.get_mut(key) else { return Took(Duration::ZERO) };
        let at = *slot(moments).get_or_insert(at);
        Took(at.saturating_duration_since(moments.sent))
    }

    /// Something for the summary that has been checked.
    pub fn fact(&self, about: &'static str, fact: String) {
        self.facts.lock().push((about, fact));
    }

    /// What was shown, and how long things took.
    pub fn summary(&self) {
        self.heading("summary");
        for (about, fact) in self.facts.lock().iter() {
            print(format_args!("  {about:<11}  {fact}"));
        }
        print(format_args!("\n  {:<30}  {:>5}  {:>10}  {:>10}", "latency", "count", "median", "longest"));
        let message = |moments: &&Moments| moments.kind == Kind::Message;
        let typing = |moments: &&Moments| moments.kind == Kind::Typing;
        let all = self.moments.lock();
        let row = |name: &str, mut took: Vec<Duration>| {
            took.sort_unstable();
            let Some(longest) = took.last() else { return };
            let (median, longest) = (Took(took[took.len() / 2]).to_string(), Took(*longest).to_string());
            print(format_args!("  {name:<30}  {:>5}  {median:>10}  {longest:>10}", took.len()));
        };
        row("INSERT -> commit", spans(all.values().filter(message), |m| Some((m.sent, m.committed?))));
        row("INSERT -> live event", spans(all.values().filter(message), |m| Some((m.sent, m.heard?))));
        row("commit -> live event", spans(all.values().filter(message), |m| Some((m.committed?, m.heard?))));
        row("commit -> worker", spans(all.values().filter(message), |m| Some((m.committed?, m.taken?))));
        row("question -> reply, live", spans(all.values().filter(message), |m| Some((m.sent, m.answered?))));
        row("typing -> live event", spans(all.values().filter(typing), |m| Some((m.sent, m.heard?))));
        print(format_args!("  (0.00 ms: on its own connection it overtook the acknowledgement of the commit)"));
        print(format_args!("\nEverything arrived."));
    }
}

/// From one moment to another; nothing where the second came first: an event may overtake the acknowledgement of its
/// commit, for they travel on two connections.
fn spans<'a>(
    moments: impl Iterator<Item = &'a Moments>,
    span: impl Fn(&Moments) -> Option<(Instant, Instant)>,
) -> Vec<Duration> {
    moments.filter_map(span).map(|(from, to)| to.saturating_duration_since(from)).collect()
}

/// A duration as people read it.
pub struct Took(pub Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ms", self.0.as_secs_f64() * 1e3)
    }
}

fn print(line: fmt::Arguments<'_>) {
    // the demonstration goes on without a reader: `| head` is no failure of the server
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
