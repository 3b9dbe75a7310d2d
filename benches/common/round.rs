//! What a round on a server gives, and the same figure of several rounds.

use super::process::Watch;
use std::time::Duration;

/// What one round on one server gave.
#[derive(Clone, Debug)]
pub struct Round {
    /// Operations a second.
    pub rate: f64,
    /// Half of the operations took no longer, in microseconds.
    pub p50: f64,
    /// 99 of 100 took no longer, in microseconds.
    pub p99: f64,
    /// Microseconds of processor time that the server spent on each.
    pub processor: f64,
    /// Microseconds of processor time that the client spent on each.
    pub client: f64,
}

impl Round {
    /// From each operation's time in microseconds.
    pub fn of(mut times: Vec<u32>, elapsed: Duration, watch: &Watch) -> Round {
        let (server, client) = watch.read();
        times.sort_unstable();
        let count = times.len() as f64;
        Round {
            rate: count / elapsed.as_secs_f64(),
            p50: quantile(&times, 0.5),
            p99: quantile(&times, 0.99),
            processor: server.as_secs_f64() * 1e6 / count,
            client: client.as_secs_f64() * 1e6 / count,
        }
    }

    /// Processors that the client kept busy, all of its threads together.
    pub fn client_load(&self) -> f64 {
        self.rate * self.client / 1e6
    }
}

/// How long each round is and whether it counts: a short one comes first and does not.
pub fn lengths(rounds: usize, length: Duration) -> impl Iterator<Item = (Duration, bool)> {
    std::iter::once((length / 4, false)).chain(std::iter::repeat_n((length, true), rounds))
}

/// So many of the sorted times are no longer.
pub fn quantile(sorted: &[u32], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).map_or(0.0, |&time| f64::from(time))
}

/// The same figure of several rounds.
#[derive(Clone, Debug)]
pub struct Figures(pub Vec<f64>);

impl Figures {
    /// One figure of each round.
    pub fn of(rounds: &[Round], figure: fn(&Round) -> f64) -> Figures {
        Figures(rounds.iter().map(figure).collect())
    }

    /// These by others, round by round.
    pub fn by(&self, others: &Figures) -> Figures {
        Figures(self.0.iter().zip(&others.0).map(|(a, b)| a / b).collect())
    }

    /// The same in a unit that is so many times as large.
    pub fn in_units_of(&self, unit: f64) -> Figures {
        Figures(self.0.iter().map(|figure| figure / unit).collect())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
    }

    /// The least and the greatest.
    pub fn spread(&self) -> (f64, f64) {
        let sorted = self.sorted();
        (sorted[0], sorted[sorted.len() - 1])
    }

    /// The median, and the spread where there are several.
    pub fn text(&self, digits: usize) -> String {
        let (median, (least, most)) = (self.median(), self.spread());
        if self.0.len() == 1 {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
    }
}
