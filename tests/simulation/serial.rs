//! What serializable transactions have read and written, and whether they might have run one after the other.

use crate::graph::Graph;
use crate::model::{Key, Model, Table};
use crate::statement::Filter;
use std::collections::BTreeMap;

/// The rows that a statement looked for.
#[derive(Clone, Debug)]
pub struct Read {
    pub table: Table,
    pub user: String,
    pub filter: Filter,
}

/// A serializable transaction that was committed.
#[derive(Clone, Debug)]
pub struct Serial {
    pub tx: i64,
    /// The position that it read.
    pub snapshot: u64,
    pub reads: Vec<Read>,
}

impl Model {
    /// Those that committed have an order in which they might have run.
    pub fn check_serializable(&self) {
        let nodes: BTreeMap<i64, usize> = self.serials.iter().enumerate().map(|(at, one)| (one.tx, at)).collect();
        let node = |author: Option<i64>| author.and_then(|author| nodes.get(&author)).copied();
        let mut graph = Graph::default();
        for pair in self.versions.values().flat_map(|versions| versions.windows(2)) {
            if let (Some(writer), Some(next)) = (node(pair[0].author), node(pair[1].author)) {
                graph.replaced(writer, next);
            }
        }
        for (reader, Serial { snapshot, reads, .. }) in self.serials.iter().enumerate() {
            for read in reads {
                let from: Key = (read.table, read.user.clone(), i64::MIN);
                let to: Key = (read.table, read.user.clone(), i64::MAX);
                for (key, versions) in self.versions.range(from..=to) {
                    // whether a version changes what the statement finds
                    let matters = |at: &usize| {
                        let rows = [Some(*at), at.checked_sub(1)].into_iter().flatten();
                        rows.filter_map(|at| versions[at].row.as_ref()).any(|row| read.filter.takes(key.2, row))
                    };
                    let seen = versions.partition_point(|version| version.seq <= *snapshot);
                    let writer = (0..seen).rev().find(matters).and_then(|at| node(versions[at].author));
                    let next = (seen..versions.len()).find(matters).and_then(|at| node(versions[at].author));
                    graph.read(reader, writer, next);
                }
            }
        }
        let circle: Vec<&Serial> = graph.circle().into_iter().map(|at| &self.serials[at]).collect();
        assert!(circle.is_empty(), "serializable transactions depend on one another in a circle: {circle:#?}");
    }
}
