//! Dependencies between committed transactions (Adya): what none may have that could have run one after the other is a
//! circle.

use std::collections::{BTreeMap, BTreeSet};

/// Who comes after whom in any serial order.
#[derive(Default)]
pub struct Graph {
    after: BTreeMap<usize, BTreeSet<usize>>,
}

impl Graph {
    fn edge(&mut self, from: usize, to: usize) {
        if from != to {
            self.after.entry(from).or_default().insert(to);
            self.after.entry(to).or_default();
        }
    }

    /// Somebody wrote the version of an object that another replaced.
    pub fn replaced(&mut self, writer: usize, next: usize) {
        self.edge(writer, next);
    }

    /// Somebody read the version of an object that `writer` wrote, if it was one of these, and that `next` replaced, if
    /// somebody did.
    pub fn read(&mut self, reader: usize, writer: Option<usize>, next: Option<usize>) {
        writer.into_iter().for_each(|writer| self.edge(writer, reader));
        next.into_iter().for_each(|next| self.edge(reader, next));
    }

    /// Those that depend on one another in a circle, with who stands between two circles.
    pub fn circle(&self) -> BTreeSet<usize> {
        // who has nobody before it goes first, who has nobody after it last; what cannot go is in a circle
        let mut left: BTreeSet<usize> = self.after.keys().copied().collect();
        loop {
            let is_first = |at: &usize| !left.iter().any(|other| self.after[other].contains(at));
            let is_last = |at: &usize| self.after[at].is_disjoint(&left);
            let Some(end) = left.iter().copied().find(|at| is_last(at) || is_first(at)) else { return left };
            left.remove(&end);
        }
    }
}
