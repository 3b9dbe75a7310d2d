//! A row of the table: figures, what they are held against, and the goal.

use crate::common::round::Figures;
use std::fmt;

/// What a row should reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// None: it is there for comparison.
    None,
    /// So many times what it is held against, or more.
    Times(f64),
    /// So many times what it is held against, or less.
    Within(f64),
    /// A figure that is no more.
    AtMost(f64),
    /// A figure that is no less.
    AtLeast(f64),
}

/// What a row is held against.
pub struct Base {
    /// Whose figures: PostgreSQL's, or something else of Tertulia's.
    pub name: &'static str,
    /// Its rounds.
    pub figures: Figures,
}

/// A row of the table.
pub struct Row {
    /// What was measured.
    pub title: String,
    /// Of all its figures.
    pub unit: &'static str,
    /// What it is held against, where there is something.
    pub base: Option<Base>,
    /// Tertulia's rounds.
    pub figures: Figures,
    /// What they should be.
    pub goal: Goal,
    /// What a reader should know beside.
    pub note: String,
}

/// PostgreSQL's figures.
pub fn postgres(figures: Figures) -> Option<Base> {
    Some(Base { name: "PostgreSQL", figures })
}

impl Row {
    /// Tertulia's figures by those that they are held against, round by round.
    pub fn ratios(&self) -> Option<Figures> {
        self.base.as_ref().map(|base| self.figures.by(&base.figures))
    }

    /// Whether the goal is met; none without one.
    pub fn is_met(&self) -> Option<bool> {
        let ratio = || self.ratios().expect("there is something to hold it against").median();
        match self.goal {
            Goal::None => None,
            Goal::Times(least) => Some(ratio() >= least),
            Goal::Within(most) => Some(ratio() <= most),
            Goal::AtMost(most) => Some(self.figures.median() <= most),
            Goal::AtLeast(least) => Some(self.figures.median() >= least),
        }
    }

    /// Met, missed, or nothing.
    pub fn verdict(&self) -> &'static str {
        match self.is_met() {
            None => "",
            Some(true) => "met",
            Some(false) => "missed",
        }
    }

    /// Digits behind the point.
    pub fn digits(&self) -> usize {
        match self.figures.median() {
            figure if figure >= 100.0 => 0,
            figure if figure >= 10.0 => 1,
            _ => 2,
        }
    }

    /// Prints it.
    pub fn tell(&self) {
        let figures = self.figures.text(self.digits());
        let against = match (&self.base, self.ratios()) {
            (Some(base), Some(ratios)) => {
                format!(", {} {}, ratio {}", base.name, base.figures.text(self.digits()), ratios.text(2))
            }
            _ => String::new(),
        };
        let (title, unit, goal, verdict) = (&self.title, self.unit, self.goal, self.verdict());
        let goal = if verdict.is_empty() { String::new() } else { format!("; goal {goal}: {verdict}") };
        let note = if self.note.is_empty() { String::new() } else { format!("; {}", self.note) };
        println!("{title}: {figures} {unit}{against}{goal}{note}");
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::None => Ok(()),
            Goal::Times(times) => write!(out, ">= {times}x"),
            Goal::Within(times) => write!(out, "<= {times}x"),
            Goal::AtMost(most) => write!(out, "<= {most}"),
            Goal::AtLeast(least) => write!(out, ">= {least}"),
        }
    }
}
