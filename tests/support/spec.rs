//! Concurrent scripts in the form of PostgreSQL's isolationtester: sessions, their steps, and the orders to run them in.
//!
//! ```text
//! levels "read committed" "serializable"     # ours: everything is run at each of these isolation levels
//! setup { SQL }                              # before each permutation; several are sent one after the other
//! teardown { SQL }
//! session s1
//! setup { SQL }
//! step r1 { SQL }
//! teardown { SQL }
//! permutation r1 w2 c2 c1                    # none: every interleaving of the sessions' steps
//! permutation w1 w2(*) c1 c2(w2)
//! ```
//!
//! `w2(*)` is said to wait whether it does or not, and told to be complete later; `c2(w2)` is not told to be complete
//! before w2 is.

use std::path::{Path, PathBuf};

/// A script.
#[derive(Default)]
pub struct Spec {
    pub path: PathBuf,
    /// Isolation levels to run at; none for the sessions' own.
    pub levels: Vec<String>,
    pub setup: Vec<String>,
    pub teardown: Vec<String>,
    pub sessions: Vec<SpecSession>,
    pub permutations: Vec<Vec<Turn>>,
}

/// One session of a script.
#[derive(Default)]
pub struct SpecSession {
    pub name: String,
    pub setup: Vec<String>,
    pub teardown: Vec<String>,
    pub steps: Vec<SpecStep>,
}

/// What a session says at once.
#[derive(Clone)]
pub struct SpecStep {
    pub name: String,
    pub sql: String,
}

/// A step's turn in a permutation.
#[derive(Clone)]
pub struct Turn {
    /// Its session and its place there.
    pub session: usize,
    pub step: usize,
    /// Told to wait at once, whatever it does.
    pub told_to_wait: bool,
    /// Steps that must be complete before this one is told to be.
    pub after: Vec<String>,
}

/// A word, a block of SQL, or a sign.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Sql(String),
    Sign(char),
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '{' => {
                let end = rest.find('}').expect("a block of SQL ends with }");
                let lines = rest[1..end].trim().lines().map(str::trim).collect::<Vec<_>>();
                tokens.push(Token::Sql(lines.join("\n")));
                end + 1
            }
            '"' => {
                let end = rest[1..].find('"').expect("a quoted name ends") + 1;
                tokens.push(Token::Word(rest[1..end].to_owned()));
                end + 1
            }
            c if word(c) => {
                let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token::Sign(c));
                }
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

const KEYWORDS: &[&str] = &["levels", "setup", "teardown", "session", "step", "permutation"];

impl Spec {
    pub fn read(path: &Path) -> Spec {
        let mut spec = Spec { path: path.to_owned(), ..Spec::default() };
        let tokens = tokens(&std::fs::read_to_string(path).unwrap());
        let mut at = 0;
        let mut orders = Vec::new();
        while at < tokens.len() {
            let Token::Word(keyword) = &tokens[at] else { panic!("{}: {:?}", path.display(), tokens[at]) };
            let end = tokens[at + 1..].iter().position(is_keyword).map_or(tokens.len(), |next| at + 1 + next);
            let mut words = &tokens[at + 1..end];
            if keyword == "permutation" {
                orders.push(words);
                words = &[];
            }
            spec.part(keyword, words);
            at = end;
        }
        spec.permutations = orders.into_iter().map(|words| spec.permutation(words)).collect();
        if spec.permutations.is_empty() {
            let mut all = Vec::new();
            spec.interleave(&mut vec![0; spec.sessions.len()], &mut Vec::new(), &mut all);
            spec.permutations = all;
        }
        spec
    }

    fn part(&mut self, keyword: &str, words: &[Token]) {
        match (keyword, words, self.sessions.last_mut()) {
            ("levels", words, _) => {
                let level = |token: &Token| match token {
                    Token::Word(word) => word.clone(),
                    other => panic!("{other:?} is no isolation level"),
                };
                self.levels = words.iter().map(level).collect();
            }
            ("session", [Token::Word(name)], _) => {
                self.sessions.push(SpecSession { name: name.clone(), ..SpecSession::default() });
            }
            ("setup", [Token::Sql(sql)], None) => self.setup.push(sql.clone()),
            ("setup", [Token::Sql(sql)], Some(session)) => session.setup.push(sql.clone()),
            ("teardown", [Token::Sql(sql)], None) => self.teardown.push(sql.clone()),
            ("teardown", [Token::Sql(sql)], Some(session)) => session.teardown.push(sql.clone()),
            ("step", [Token::Word(name), Token::Sql(sql)], Some(session)) => {
                session.steps.push(SpecStep { name: name.clone(), sql: sql.clone() });
            }
            ("permutation", _, _) => {}
            other => panic!("{}: {:?} {:?}", self.path.display(), other.0, other.1),
        }
    }

    fn find(&self, name: &str) -> (usize, usize) {
        let places = self.sessions.iter().enumerate().filter_map(|(at, session)| {
            let step = session.steps.iter().position(|step| step.name == name)?;
            Some((at, step))
        });
        places.into_iter().next().unwrap_or_else(|| panic!("{}: no step {name}", self.path.display()))
    }

    fn permutation(&self, words: &[Token]) -> Vec<Turn> {
        let mut turns: Vec<Turn> = Vec::new();
        let mut inside = false;
        for token in words {
            match (token, turns.last_mut()) {
                (Token::Sign('('), Some(_)) => inside = true,
                (Token::Sign(')'), _) => inside = false,
                (Token::Sign(','), _) => {}
                (Token::Sign('*'), Some(turn)) => turn.told_to_wait = true,
                (Token::Word(name), Some(turn)) if inside => turn.after.push(name.clone()),
                (Token::Word(name), _) => {
                    let (session, step) = self.find(name);
                    turns.push(Turn { session, step, told_to_wait: false, after: Vec::new() });
                }
                (other, _) => panic!("{}: {other:?} in a permutation", self.path.display()),
            }
        }
        turns
    }

    /// Every order that keeps that of each session.
    fn interleave(&self, next: &mut Vec<usize>, turns: &mut Vec<Turn>, all: &mut Vec<Vec<Turn>>) {
        let mut complete = true;
        for session in 0..self.sessions.len() {
            let step = next[session];
            if step < self.sessions[session].steps.len() {
                complete = false;
                turns.push(Turn { session, step, told_to_wait: false, after: Vec::new() });
                next[session] += 1;
                self.interleave(next, turns, all);
                next[session] -= 1;
                turns.pop();
            }
        }
        if complete {
            all.push(turns.clone());
        }
    }

    /// The step of a turn.
    pub fn step(&self, turn: &Turn) -> &SpecStep {
        &self.sessions[turn.session].steps[turn.step]
    }

    /// A permutation as its file writes it.
    pub fn name(&self, turns: &[Turn]) -> String {
        let name = |turn: &Turn| {
            let mut marks = turn.after.clone();
            if turn.told_to_wait {
                marks.insert(0, "*".to_owned());
            }
            let marks = if marks.is_empty() { String::new() } else { format!("({})", marks.join(", ")) };
            format!("{}{marks}", self.step(turn).name)
        };
        turns.iter().map(name).collect::<Vec<_>>().join(" ")
    }
}

fn is_keyword(token: &Token) -> bool {
    matches!(token, Token::Word(word) if KEYWORDS.contains(&word.as_str()))
}
