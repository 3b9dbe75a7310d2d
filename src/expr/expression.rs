//! The tree of a bound expression.

use super::cast::CastMethod;
use super::function::{Body, CompareOp, Function, Operator, Volatility};
use crate::types::{SqlType, Value};
use std::collections::BTreeSet;

/// A bound expression: every name, type and function is known.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A constant.
    Literal {
        /// Its value; of type unknown it is text that has not found its type yet.
        value: Value,
        /// Its type.
        ty: SqlType,
    },
    /// A column of the row.
    Column {
        /// Place in the row.
        index: usize,
        /// Its type.
        ty: SqlType,
        /// Where it was written.
        at: Written,
    },
    /// A parameter.
    Param {
        /// Place among the parameters, from 0.
        index: usize,
        /// Its type.
        ty: SqlType,
    },
    /// The operand of the enclosing CASE.
    CaseOperand {
        /// Its type.
        ty: SqlType,
    },
    /// A call of a function.
    Call {
        /// What is called.
        function: &'static Function,
        /// Arguments, coerced to the function's types.
        args: Vec<Expr>,
        /// Type of the result.
        ty: SqlType,
        /// How it was written.
        form: CallForm,
    },
    /// A conversion.
    Cast {
        /// What is converted.
        input: Box<Expr>,
        /// How.
        method: CastMethod,
        /// To what, with its modifier.
        ty: SqlType,
        /// Written in the query, so that it is shown and cuts a varchar.
        explicit: bool,
    },
    /// True if all are.
    And(Vec<Expr>),
    /// True if one is.
    Or(Vec<Expr>),
    /// NOT.
    Not(Box<Expr>),
    /// IS NULL, IS NOT NULL.
    IsNull {
        /// What is tested.
        input: Box<Expr>,
        /// IS NOT NULL.
        negated: bool,
    },
    /// IS DISTINCT FROM, over two values of one type.
    Distinct {
        /// Left side.
        left: Box<Expr>,
        /// Right side.
        right: Box<Expr>,
        /// IS NOT DISTINCT FROM.
        negated: bool,
    },
    /// CASE.
    Case {
        /// The value that conditions see as [`Expr::CaseOperand`].
        operand: Option<Box<Expr>>,
        /// Conditions and results.
        whens: Vec<(Expr, Expr)>,
        /// ELSE.
        otherwise: Option<Box<Expr>>,
        /// Type of the result.
        ty: SqlType,
    },
    /// The first that is not NULL.
    Coalesce {
        /// The candidates, of one type.
        args: Vec<Expr>,
        /// Their type.
        ty: SqlType,
    },
    /// NULL if both are equal, else the left one.
    NullIf {
        /// `left = right`: a call of an equality function.
        equal: Box<Expr>,
        /// Type of the left side.
        ty: SqlType,
    },
    /// GREATEST, LEAST.
    Extreme {
        /// GREATEST.
        greatest: bool,
        /// The candidates, of one type.
        args: Vec<Expr>,
        /// Their type.
        ty: SqlType,
    },
    /// `input IN (list)`, all of one type.
    InList {
        /// What is looked for.
        input: Box<Expr>,
        /// Where.
        list: Vec<Expr>,
        /// NOT IN.
        negated: bool,
    },
}

/// The position in the statement, for errors found once all of it has been read. No part of what an expression is:
/// Debug, by whose output expressions are compared, leaves it out.
#[derive(Clone, Copy, Default)]
pub struct Written(pub Option<u32>);

impl std::fmt::Debug for Written {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

/// How a call was written, for showing it again.
#[derive(Clone, Copy, Debug)]
pub enum CallForm {
    /// `name(args)`
    Function,
    /// With an operator between or before its arguments.
    Operator(&'static Operator),
}

impl Expr {
    /// A constant.
    pub fn literal(value: Value, ty: SqlType) -> Expr {
        Expr::Literal { value, ty }
    }

    /// A column of the row that nobody wrote.
    pub fn column(index: usize, ty: SqlType) -> Expr {
        Expr::Column { index, ty, at: Written::default() }
    }

    /// `input IS NULL`, or IS NOT NULL.
    pub fn is_null(input: Expr, negated: bool) -> Expr {
        Expr::IsNull { input: Box::new(input), negated }
    }

    /// `left IS DISTINCT FROM right`, or IS NOT DISTINCT FROM.
    pub fn distinct(left: Expr, right: Expr, negated: bool) -> Expr {
        Expr::Distinct { left: Box::new(left), right: Box::new(right), negated }
    }

    /// The type of the value.
    pub fn ty(&self) -> SqlType {
        match self {
            Expr::Literal { ty, .. }
            | Expr::Column { ty, .. }
            | Expr::Param { ty, .. }
            | Expr::CaseOperand { ty }
            | Expr::Call { ty, .. }
            | Expr::Cast { ty, .. }
            | Expr::Case { ty, .. }
            | Expr::Coalesce { ty, .. }
            | Expr::NullIf { ty, .. }
            | Expr::Extreme { ty, .. } => *ty,
            Expr::And(_)
            | Expr::Or(_)
            | Expr::Not(_)
            | Expr::IsNull { .. }
            | Expr::Distinct { .. }
            | Expr::InList { .. } => SqlType::BOOL,
        }
    }

    /// Calls `see` for this expression and all within it, outer first.
    pub fn visit(&self, see: &mut dyn FnMut(&Expr)) {
        see(self);
        self.for_each_child(&mut |child| child.visit(see));
    }

    fn for_each_child<'a>(&'a self, see: &mut dyn FnMut(&'a Expr)) {
        match self {
            Expr::Literal { .. } | Expr::Column { .. } | Expr::Param { .. } | Expr::CaseOperand { .. } => {}
            Expr::Call { args, .. } | Expr::Coalesce { args, .. } | Expr::Extreme { args, .. } => {
                args.iter().for_each(see);
            }
            Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(see),
            Expr::Cast { input, .. } | Expr::Not(input) | Expr::IsNull { input, .. } => see(input),
            Expr::NullIf { equal, .. } => see(equal),
            Expr::Distinct { left, right, .. } => {
                see(left);
                see(right);
            }
            Expr::InList { input, list, .. } => {
                see(input);
                list.iter().for_each(see);
            }
            Expr::Case { operand, whens, otherwise, .. } => {
                operand.iter().for_each(|operand| see(operand));
                for (condition, result) in whens {
                    see(condition);
                    see(result);
                }
                otherwise.iter().for_each(|otherwise| see(otherwise));
            }
        }
    }

    /// Calls `change` for this expression and all within it, inner first.
    pub fn visit_mut(&mut self, change: &mut dyn FnMut(&mut Expr)) {
        match self {
            Expr::Literal { .. } | Expr::Column { .. } | Expr::Param { .. } | Expr::CaseOperand { .. } => {}
            Expr::Call { args, .. } | Expr::Coalesce { args, .. } | Expr::Extreme { args, .. } => {
                args.iter_mut().for_each(|arg| arg.visit_mut(change));
            }
            Expr::And(parts) | Expr::Or(parts) => parts.iter_mut().for_each(|part| part.visit_mut(change)),
            Expr::Cast { input, .. } | Expr::Not(input) | Expr::IsNull { input, .. } => input.visit_mut(change),
            Expr::NullIf { equal, .. } => equal.visit_mut(change),
            Expr::Distinct { left, right, .. } => {
                left.visit_mut(change);
                right.visit_mut(change);
            }
            Expr::InList { input, list, .. } => {
                input.visit_mut(change);
                list.iter_mut().for_each(|item| item.visit_mut(change));
            }
            Expr::Case { operand, whens, otherwise, .. } => {
                operand.iter_mut().for_each(|operand| operand.visit_mut(change));
                for (condition, result) in whens {
                    condition.visit_mut(change);
                    result.visit_mut(change);
                }
                otherwise.iter_mut().for_each(|otherwise| otherwise.visit_mut(change));
            }
        }
        change(self);
    }

    /// The worst volatility of all that is within.
    pub fn volatility(&self) -> Volatility {
        let mut worst = Volatility::Immutable;
        self.visit(&mut |expr| {
            let own = match expr {
                Expr::Call { function, .. } => function.volatility,
                Expr::Cast { input, method, ty, .. } => method.volatility(input.ty(), *ty),
                _ => Volatility::Immutable,
            };
            worst = worst.max(own);
        });
        worst
    }

    /// The places of all columns within.
    pub fn columns_used(&self) -> BTreeSet<usize> {
        let mut used = BTreeSet::new();
        self.visit(&mut |expr| {
            if let Expr::Column { index, .. } = expr {
                used.insert(*index);
            }
        });
        used
    }

    /// Whether neither columns nor parameters are within, so that the value does not depend on the row.
    pub fn is_constant(&self) -> bool {
        let mut constant = true;
        self.visit(&mut |expr| {
            constant &= !matches!(expr, Expr::Column { .. } | Expr::Param { .. } | Expr::CaseOperand { .. });
        });
        constant
    }

    /// When this is a comparison of two values of one type: the operator and both sides. For choosing key ranges.
    pub fn as_comparison(&self) -> Option<(CompareOp, &Expr, &Expr)> {
        match self {
            Expr::Call { function, args, .. } => match function.body {
                Body::Compare(op) => Some((op, &args[0], &args[1])),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether this is a call whose result is a set of rows.
    pub fn is_set(&self) -> bool {
        matches!(self, Expr::Call { function, .. } if matches!(function.body, Body::Series))
    }

    /// Whether a call whose result is a set of rows is within.
    pub fn has_set(&self) -> bool {
        let mut found = false;
        self.visit(&mut |expr| found |= expr.is_set());
        found
    }

    /// Whether a call that the executor carries out is within.
    pub fn has_effects(&self) -> bool {
        let mut found = false;
        self.visit(&mut |expr| {
            found |= matches!(expr, Expr::Call { function, .. } if matches!(function.body, Body::Effect(_)));
        });
        found
    }
}
