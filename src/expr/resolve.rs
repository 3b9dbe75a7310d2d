//! Which operator or function is meant (PostgreSQL manual, 10.2 and 10.3; the algorithm of parse_func.c).

use super::cast::{CastContext, CastMethod, find_cast};
use super::coerce::can_coerce;
use super::expression::{CallForm, Expr};
use super::function::{ANY, ANYELEMENT, Function, Operator};
use super::registry;
use crate::error::{Error, Result, SqlState};
use crate::types::{SqlType, TypeCategory};

/// What was found: the arguments must be coerced to `args`, then [`Resolved::call`] makes the expression.
#[derive(Clone, Debug)]
pub struct Resolved {
    target: Target,
    /// The type that each argument is to be coerced to, implicitly; `"any"` and `anyelement` take it as it is.
    pub args: Vec<SqlType>,
    /// The type of the result.
    pub ty: SqlType,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Function(&'static Function, CallForm),
    /// A function's notation for a cast; none when coercion of the literal does it all.
    Cast(Option<CastMethod>),
}

impl Resolved {
    /// The function; none for a cast in a function's notation.
    pub fn function(&self) -> Option<&'static Function> {
        match self.target {
            Target::Function(function, _) => Some(function),
            Target::Cast(_) => None,
        }
    }

    /// The call, with arguments that have been coerced to [`Resolved::args`].
    pub fn call(&self, mut args: Vec<Expr>) -> Expr {
        match self.target {
            Target::Function(function, form) => Expr::Call { function, args, ty: self.ty, form },
            Target::Cast(method) => {
                let input = args.swap_remove(0);
                match method {
                    None => input,
                    Some(method) => Expr::Cast { input: Box::new(input), method, ty: self.ty, explicit: true },
                }
            }
        }
    }
}

/// A function or operator that may be meant.
pub(super) struct Candidate<T> {
    pub(super) args: Vec<SqlType>,
    pub(super) item: T,
}

/// What choosing among candidates came to.
pub(super) enum Choice<T> {
    /// This one.
    One(Candidate<T>),
    /// None takes these arguments.
    Missing,
    /// Several, and none is better than all others.
    Ambiguous,
}

/// The operator for operands of these types, `left` none for a prefix operator; 42883 or 42725.
pub fn resolve_operator(name: &str, left: Option<SqlType>, right: SqlType) -> Result<Resolved> {
    let rows: Vec<_> =
        registry::operators_named(name).iter().filter(|row| row.left.is_some() == left.is_some()).copied().collect();
    let inputs: Vec<SqlType> = left.into_iter().chain([right]).map(SqlType::base).collect();
    let found = exact_operator(&rows, &inputs).or_else(|| exact_operator(&rows, &domains_removed(&inputs)));
    if let Some(operator) = found {
        return Ok(operator_resolved(operator));
    }
    let candidates = rows.iter().map(|row| Candidate { args: operand_types(row), item: *row }).collect();
    match choose(&inputs, candidates) {
        Choice::One(candidate) => Ok(operator_resolved(candidate.item)),
        Choice::Missing => Err(missing_operator(name, left, right)),
        Choice::Ambiguous => Err(Error::new(
            SqlState::AMBIGUOUS_FUNCTION,
            format!("operator is not unique: {}", operator_text(name, left, right)),
        )
        .hint("Could not choose a best candidate operator. You might need to add explicit type casts.")),
    }
}

fn operand_types(operator: &Operator) -> Vec<SqlType> {
    operator.left.into_iter().chain([operator.right]).collect()
}

fn domains_removed(types: &[SqlType]) -> Vec<SqlType> {
    types.iter().map(|ty| ty.wire().base()).collect()
}

/// The operator that takes exactly these types; an unknown operand counts as of the other's type.
fn exact_operator(rows: &[&'static Operator], inputs: &[SqlType]) -> Option<&'static Operator> {
    let known = inputs.iter().find(|ty| !ty.same(SqlType::UNKNOWN))?;
    let wanted: Vec<SqlType> = inputs.iter().map(|ty| if ty.same(SqlType::UNKNOWN) { *known } else { *ty }).collect();
    rows.iter().find(|row| operand_types(row) == wanted).copied()
}

fn operator_resolved(operator: &'static Operator) -> Resolved {
    let function = registry::function(operator.function);
    Resolved {
        target: Target::Function(function, CallForm::Operator(operator)),
        args: operand_types(operator),
        ty: function.result,
    }
}

fn operator_text(name: &str, left: Option<SqlType>, right: SqlType) -> String {
    match left {
        Some(left) => format!("{} {name} {}", left.base_name(), right.base_name()),
        None => format!("{name} {}", right.base_name()),
    }
}

fn missing_operator(name: &str, left: Option<SqlType>, right: SqlType) -> Error {
    let message = format!("operator does not exist: {}", operator_text(name, left, right));
    Error::new(SqlState::UNDEFINED_FUNCTION, message).hint(if left.is_some() {
        "No operator matches the given name and argument types. You might need to add explicit type casts."
    } else {
        "No operator matches the given name and argument type. You might need to add an explicit type cast."
    })
}

/// The function of that name for arguments of these types; 42883 or 42725. Aggregates are not found here.
pub fn resolve_function(name: &str, inputs: &[SqlType]) -> Result<Resolved> {
    let inputs: Vec<SqlType> = inputs.iter().map(|ty| ty.base()).collect();
    let rows = registry::functions_named(name);
    if let Some(function) = rows.iter().find(|row| row.args == inputs && !row.variadic) {
        return function_resolved(function, inputs.clone(), &inputs);
    }
    if let ([input], Some(found)) = (inputs.as_slice(), cast_named(name, &inputs)) {
        let args = vec![if input.same(SqlType::UNKNOWN) { found.1 } else { *input }];
        return Ok(Resolved { target: Target::Cast(found.0), args, ty: found.1 });
    }
    let candidates = rows.iter().filter_map(|row| Some(Candidate { args: arguments(row, inputs.len())?, item: *row }));
    match choose(&inputs, candidates.collect()) {
        Choice::One(candidate) => function_resolved(candidate.item, candidate.args, &inputs),
        Choice::Missing => Err(missing_function(name, &inputs)),
        Choice::Ambiguous => Err(ambiguous_function(name, &inputs)),
    }
}

/// 42883 for a function.
pub(super) fn missing_function(name: &str, inputs: &[SqlType]) -> Error {
    let message = format!("function {} does not exist", signature(name, inputs));
    Error::new(SqlState::UNDEFINED_FUNCTION, message)
        .hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

/// 42725 for a function.
pub(super) fn ambiguous_function(name: &str, inputs: &[SqlType]) -> Error {
    Error::new(SqlState::AMBIGUOUS_FUNCTION, format!("function {} is not unique", signature(name, inputs)))
        .hint("Could not choose a best candidate function. You might need to add explicit type casts.")
}

fn signature(name: &str, inputs: &[SqlType]) -> String {
    let types: Vec<&str> = inputs.iter().map(|ty| ty.base_name()).collect();
    format!("{name}({})", types.join(", "))
}

/// The types of a call's `count` arguments; none when the function does not take so many.
fn arguments(function: &Function, count: usize) -> Option<Vec<SqlType>> {
    let mut args = function.args.to_vec();
    if function.variadic && count > args.len() {
        let last = *args.last().expect("a variadic function has an argument");
        args.resize(count, last);
    }
    (args.len() == count).then_some(args)
}

/// `typename(value)` as a notation for a cast.
fn cast_named(name: &str, inputs: &[SqlType]) -> Option<(Option<CastMethod>, SqlType)> {
    let input = *inputs.first()?;
    let is_value = |ty: &&SqlType| !matches!(ty.category(), TypeCategory::Unknown | TypeCategory::Pseudo);
    let target = *SqlType::ALL.iter().filter(is_value).find(|ty| ty.internal_name() == Some(name))?;
    if input.same(SqlType::UNKNOWN) {
        return Some((None, target));
    }
    find_cast(input, target, CastContext::Explicit).map(|cast| (Some(cast.method), target))
}

fn function_resolved(function: &'static Function, args: Vec<SqlType>, inputs: &[SqlType]) -> Result<Resolved> {
    let mut ty = function.result;
    for (declared, input) in args.iter().zip(inputs) {
        if !declared.same(ANYELEMENT) {
            continue;
        }
        if input.same(SqlType::UNKNOWN) {
            return Err(Error::new(
                SqlState::DATATYPE_MISMATCH,
                "could not determine polymorphic type because input has type unknown",
            ));
        }
        if ty.same(ANYELEMENT) {
            ty = *input;
        }
    }
    // An argument of unknown type for "any" is text.
    let args = args
        .into_iter()
        .zip(inputs)
        .map(
            |(declared, input)| {
                if declared.same(ANY) && input.same(SqlType::UNKNOWN) { SqlType::TEXT } else { declared }
            },
        )
        .collect();
    Ok(Resolved { target: Target::Function(function, CallForm::Function), args, ty })
}

/// Chooses among candidates (func_select_candidate).
pub(super) fn choose<T>(inputs: &[SqlType], mut candidates: Vec<Candidate<T>>) -> Choice<T> {
    let fits = |args: &[SqlType]| {
        args.len() == inputs.len() && inputs.iter().zip(args).all(|(&from, &to)| can_coerce(from, to))
    };
    candidates.retain(|candidate| fits(&candidate.args));
    if candidates.len() < 2 {
        return candidates.pop().map_or(Choice::Missing, Choice::One);
    }
    let inputs = domains_removed(inputs);
    let known = |&(input, _): &(&SqlType, &SqlType)| !input.same(SqlType::UNKNOWN);
    let exact = |args: &[SqlType]| inputs.iter().zip(args).filter(known).filter(|(a, b)| a.same(**b)).count();
    candidates = keep_best(candidates, exact);
    if candidates.len() > 1 {
        let preferred = |args: &[SqlType]| {
            let good = |input: &SqlType, arg: &SqlType| {
                input.same(*arg) || arg.is_preferred() && arg.category() == input.category()
            };
            inputs.iter().zip(args).filter(known).filter(|(input, arg)| good(input, arg)).count()
        };
        candidates = keep_best(candidates, preferred);
    }
    if candidates.len() > 1 && inputs.iter().any(|ty| ty.same(SqlType::UNKNOWN)) {
        candidates = by_categories(&inputs, candidates);
    }
    if candidates.len() > 1 {
        candidates = by_known_type(&inputs, candidates);
    }
    if candidates.len() == 1 { candidates.pop().map_or(Choice::Ambiguous, Choice::One) } else { Choice::Ambiguous }
}

fn keep_best<T>(candidates: Vec<Candidate<T>>, score: impl Fn(&[SqlType]) -> usize) -> Vec<Candidate<T>> {
    let best = candidates.iter().map(|candidate| score(&candidate.args)).max().unwrap_or(0);
    candidates.into_iter().filter(|candidate| score(&candidate.args) == best).collect()
}

/// For arguments of unknown type: the category that all candidates take there, string if any takes that.
fn by_categories<T>(inputs: &[SqlType], candidates: Vec<Candidate<T>>) -> Vec<Candidate<T>> {
    let mut wanted = Vec::with_capacity(inputs.len());
    for (slot, input) in inputs.iter().enumerate() {
        if !input.same(SqlType::UNKNOWN) {
            wanted.push(None);
            continue;
        }
        let types = || candidates.iter().map(|candidate| candidate.args[slot]);
        let first = candidates[0].args[slot].category();
        let category = if types().any(|ty| ty.category() == TypeCategory::String) {
            TypeCategory::String
        } else if types().all(|ty| ty.category() == first) {
            first
        } else {
            return candidates;
        };
        let preferred = types().any(|ty| ty.category() == category && ty.is_preferred());
        wanted.push(Some((category, preferred)));
    }
    let good = |candidate: &Candidate<T>| {
        wanted.iter().zip(&candidate.args).all(|(wanted, ty)| match wanted {
            None => true,
            Some((category, preferred)) => ty.category() == *category && (!preferred || ty.is_preferred()),
        })
    };
    if candidates.iter().any(good) { candidates.into_iter().filter(good).collect() } else { candidates }
}

/// When all known arguments are of one type, unknown ones may be of it too.
fn by_known_type<T>(inputs: &[SqlType], candidates: Vec<Candidate<T>>) -> Vec<Candidate<T>> {
    let mut known = inputs.iter().filter(|ty| !ty.same(SqlType::UNKNOWN));
    let Some(first) = known.next() else { return candidates };
    let unknown = inputs.iter().any(|ty| ty.same(SqlType::UNKNOWN));
    if !unknown || known.any(|ty| !ty.same(*first)) {
        return candidates;
    }
    let takes = |candidate: &Candidate<T>| candidate.args.iter().all(|&to| can_coerce(*first, to));
    if candidates.iter().filter(|candidate| takes(candidate)).count() == 1 {
        candidates.into_iter().filter(takes).collect()
    } else {
        candidates
    }
}
