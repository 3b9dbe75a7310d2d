//! Stretches of an order, found by a point that lies in them.
//!
//! An interval tree (Cormen, Leiserson, Rivest, Stein, Introduction to Algorithms, 14.3) kept level by random priorities
//! (Seidel and Aragon, Randomized Search Trees, 1996): n stretches are searched for the k that hold a point in about
//! k log n steps, and one is added or removed in log n.

use super::probe::Point;

/// No node.
const NONE: u32 = u32::MAX;

struct Node {
    lower: Point,
    /// Not within; none for a stretch without an end.
    upper: Option<Point>,
    item: u64,
    priority: u32,
    left: u32,
    right: u32,
    /// The node from here on downwards that ends last.
    last: u32,
}

/// Numbered stretches.
pub(super) struct Stretches {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    seed: u64,
}

impl Default for Stretches {
    fn default() -> Stretches {
        Stretches { nodes: Vec::new(), free: Vec::new(), root: NONE, seed: 0 }
    }
}

impl Stretches {
    /// Adds one.
    pub(super) fn add(&mut self, lower: Point, upper: Option<Point>, item: u64) {
        let priority = self.priority();
        let node = Node { lower, upper, item, priority, left: NONE, right: NONE, last: NONE };
        let new = match self.free.pop() {
            Some(free) => {
                self.nodes[free as usize] = node;
                free
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        self.settle(new);
        let lower = self.nodes[new as usize].lower.clone();
        let (before, behind) = self.split(self.root, &lower, item);
        let before = self.join(before, new);
        self.root = self.join(before, behind);
    }

    /// Removes one that was added.
    pub(super) fn remove(&mut self, lower: &Point, item: u64) {
        let (before, rest) = self.split(self.root, lower, item);
        let (found, behind) = self.split(rest, lower, item + 1);
        self.root = self.join(before, behind);
        if found != NONE {
            let node = &mut self.nodes[found as usize];
            (node.lower, node.upper) = (Point::default(), None);
            self.free.push(found);
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.root == NONE
    }

    /// Calls `visit` with the number of each stretch that holds the point.
    pub(super) fn holding(&self, point: &[u8], visit: &mut impl FnMut(u64)) {
        self.search(self.root, point, visit);
    }

    fn search(&self, at: u32, point: &[u8], visit: &mut impl FnMut(u64)) {
        let Some(node) = self.nodes.get(at as usize) else { return };
        if !self.nodes[node.last as usize].ends_after(point) {
            return;
        }
        self.search(node.left, point, visit);
        if *node.lower <= *point {
            if node.ends_after(point) {
                visit(node.item);
            }
            self.search(node.right, point, visit);
        }
    }

    /// Takes a tree apart: what comes before a stretch that begins at `lower` with that number, and the rest.
    fn split(&mut self, at: u32, lower: &Point, item: u64) -> (u32, u32) {
        let Some(node) = self.nodes.get(at as usize) else { return (NONE, NONE) };
        let (left, right) = (node.left, node.right);
        if (&node.lower, node.item) < (lower, item) {
            let (before, rest) = self.split(right, lower, item);
            self.nodes[at as usize].right = before;
            self.settle(at);
            (at, rest)
        } else {
            let (before, rest) = self.split(left, lower, item);
            self.nodes[at as usize].left = rest;
            self.settle(at);
            (before, at)
        }
    }

    /// Puts two trees together, all of the first before all of the second.
    fn join(&mut self, first: u32, second: u32) -> u32 {
        if first == NONE || second == NONE {
            return if first == NONE { second } else { first };
        }
        if self.nodes[first as usize].priority >= self.nodes[second as usize].priority {
            let right = self.nodes[first as usize].right;
            let right = self.join(right, second);
            self.nodes[first as usize].right = right;
            self.settle(first);
            first
        } else {
            let left = self.nodes[second as usize].left;
            let left = self.join(first, left);
            self.nodes[second as usize].left = left;
            self.settle(second);
            second
        }
    }

    /// Finds the last end from a node on downwards.
    fn settle(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let mut last = at;
        for child in [node.left, node.right] {
            if let Some(child) = self.nodes.get(child as usize)
                && self.nodes[child.last as usize].ends_after_end_of(&self.nodes[last as usize])
            {
                last = child.last;
            }
        }
        self.nodes[at as usize].last = last;
    }

    /// Numbers without a pattern (splitmix64); who subscribes cannot choose them.
    fn priority(&mut self) -> u32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }
}

impl Node {
    fn ends_after(&self, point: &[u8]) -> bool {
        self.upper.as_deref().is_none_or(|upper| upper > point)
    }

    fn ends_after_end_of(&self, other: &Node) -> bool {
        match (&self.upper, &other.upper) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(upper), Some(other)) => upper > other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(number: u32) -> Point {
        Box::new(number.to_be_bytes())
    }

    #[test]
    fn a_point_finds_what_a_search_of_all_finds() {
        let mut tree = Stretches::default();
        let mut all: Vec<(Point, Option<Point>, u64)> = Vec::new();
        let mut number = 7_u32;
        let mut next = |below: u32| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 8) % below
        };
        for step in 0..4_000 {
            if !all.is_empty() && next(3) == 0 {
                let (lower, _, item) = all.swap_remove(next(all.len() as u32) as usize);
                tree.remove(&lower, item);
            } else {
                let lower = next(200);
                let upper = (next(4) > 0).then(|| point(lower + next(30)));
                tree.add(point(lower), upper.clone(), step);
                all.push((point(lower), upper, step));
            }
            let at = point(next(240));
            let mut found = Vec::new();
            tree.holding(&at, &mut |item| found.push(item));
            found.sort_unstable();
            let holds = |(lower, upper, _): &&(Point, Option<Point>, u64)| {
                *lower <= at && upper.as_ref().is_none_or(|upper| *upper > at)
            };
            let mut expected: Vec<u64> = all.iter().filter(holds).map(|(.., item)| *item).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "step {step}");
        }
        for (lower, _, item) in all {
            tree.remove(&lower, item);
        }
        assert!(tree.is_empty());
    }

    #[test]
    fn many_in_order_stay_level() {
        let mut tree = Stretches::default();
        for number in 0..100_000 {
            tree.add(point(number), Some(point(number + 1)), u64::from(number));
        }
        let mut found = Vec::new();
        tree.holding(&point(77_777), &mut |item| found.push(item));
        assert_eq!(found, [77_777]);
    }
}
