//! Finding rows of the function and operator tables.

use super::function::{Function, Operator};
use super::library;
use crate::types::Oid;
use std::collections::HashMap;
use std::sync::LazyLock;

struct Index {
    functions: HashMap<&'static str, Vec<&'static Function>>,
    by_oid: HashMap<Oid, &'static Function>,
    operators: HashMap<&'static str, Vec<&'static Operator>>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index { functions: HashMap::new(), by_oid: HashMap::new(), operators: HashMap::new() };
    for function in functions() {
        index.functions.entry(function.name).or_default().push(function);
        index.by_oid.insert(function.oid, function);
    }
    for operator in operators() {
        index.operators.entry(operator.name).or_default().push(operator);
    }
    index
});

/// All functions, for pg_proc.
pub fn functions() -> impl Iterator<Item = &'static Function> {
    library::FUNCTIONS.iter().copied().flatten()
}

/// All operators, for pg_operator.
pub fn operators() -> impl Iterator<Item = &'static Operator> {
    library::OPERATORS.iter().copied().flatten()
}

pub(super) fn functions_named(name: &str) -> &'static [&'static Function] {
    INDEX.functions.get(name).map_or(&[], Vec::as_slice)
}

pub(super) fn operators_named(name: &str) -> &'static [&'static Operator] {
    INDEX.operators.get(name).map_or(&[], Vec::as_slice)
}

pub(super) fn function(oid: Oid) -> &'static Function {
    INDEX.by_oid.get(&oid).expect("every operator's function is in the table: a test checks it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_operator_has_its_function() {
        for operator in operators() {
            let function = function(operator.function);
            let operands: Vec<_> = operator.left.into_iter().chain([operator.right]).collect();
            assert_eq!(function.args, operands, "{}", function.name);
        }
    }

    #[test]
    fn oids_and_signatures_are_unique() {
        let mut oids = HashSet::new();
        let mut signatures = HashSet::new();
        for function in functions() {
            assert!(oids.insert(function.oid), "{} {}", function.oid, function.name);
            let args: Vec<_> = function.args.iter().map(|ty| ty.oid).collect();
            assert!(signatures.insert((function.name, args)), "{}", function.name);
        }
    }
}
