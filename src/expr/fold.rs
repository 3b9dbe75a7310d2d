//! Constant folding when a plan is made, as PostgreSQL's eval_const_expressions does it: what is immutable and constant
//! is computed once, and an error in doing so is the statement's, raised before its first row is described. What AND,
//! OR, CASE and COALESCE can be seen never to reach is dropped before it is looked at.

use super::function::{Body, Volatility};
use super::{EvalContext, Expr, IdSource, Identity, Notifier, Settings};
use crate::env::{Env, UnixMicros};
use crate::error::{Error, Result};
use crate::types::{CommitSeq, Oid, SqlType, Str, Value, Zone};
use std::sync::LazyLock;

/// Folds an expression. Literals are as the session's time zone reads them, but nothing that depends on it is folded.
pub fn fold(expr: Expr, zone: &Zone) -> Result<Expr> {
    let cx = EvalContext {
        params: &[],
        transaction_time: 0,
        statement_time: 0,
        zone,
        identity: &NOBODY,
        env: &Nowhere,
        ids: &Nowhere,
        current_seq: CommitSeq(0),
        settings: &Nowhere,
        notifier: &Nowhere,
        journal: None,
        operand: None,
    };
    Folder { cx, operand: None }.fold(expr)
}

/// The world of an immutable expression, which asks it for nothing.
struct Nowhere;

static NOBODY: LazyLock<Identity> = LazyLock::new(|| Identity {
    role: Oid::INVALID,
    role_name: Str::from_static(""),
    session_role_name: Str::from_static(""),
    user_id: Str::from_static(""),
    database: Str::from_static(""),
    schema: None,
    pid: 0,
});

impl Env for Nowhere {
    fn now(&self) -> UnixMicros {
        0
    }

    fn monotonic(&self) -> u64 {
        0
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

impl IdSource for Nowhere {
    fn snowflake(&self) -> i64 {
        0
    }
}

impl Settings for Nowhere {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }

    fn set(&self, _name: &str, _value: &str, _local: bool) -> Result<String> {
        Err(Error::internal("an immutable function sets a parameter"))
    }
}

impl Notifier for Nowhere {
    fn notify(&self, _channel: &str, _payload: &str) -> Result<()> {
        Err(Error::internal("an immutable function notifies"))
    }
}

struct Folder<'a> {
    cx: EvalContext<'a>,
    /// The operand of the CASE around, where it is a constant.
    operand: Option<Expr>,
}

impl Folder<'_> {
    fn fold(&mut self, expr: Expr) -> Result<Expr> {
        match expr {
            Expr::Literal { .. } | Expr::Column { .. } | Expr::Param { .. } => Ok(expr),
            Expr::CaseOperand { .. } => Ok(self.operand.clone().unwrap_or(expr)),
            Expr::Call { function, args, ty, form } => {
                let args = self.all(args)?;
                if matches!(function.body, Body::Series) {
                    return Ok(Expr::Call { function, args, ty, form });
                }
                if function.strict && args.iter().any(is_null) {
                    return Ok(Expr::literal(Value::Null, ty));
                }
                let fixed = function.volatility == Volatility::Immutable && args.iter().all(is_literal);
                self.settle(Expr::Call { function, args, ty, form }, fixed)
            }
            Expr::Cast { input, method, ty, explicit } => {
                let input = self.boxed(input)?;
                if is_null(&input) {
                    return Ok(Expr::literal(Value::Null, ty));
                }
                let fixed = is_literal(&input) && method.volatility(input.ty(), ty) == Volatility::Immutable;
                self.settle(Expr::Cast { input, method, ty, explicit }, fixed)
            }
            Expr::And(parts) => self.junction(parts, false),
            Expr::Or(parts) => self.junction(parts, true),
            Expr::Not(input) => {
                let input = self.boxed(input)?;
                let fixed = is_literal(&input);
                self.settle(Expr::Not(input), fixed)
            }
            Expr::IsNull { input, negated } => {
                let input = self.boxed(input)?;
                let fixed = is_literal(&input);
                self.settle(Expr::IsNull { input, negated }, fixed)
            }
            Expr::Distinct { left, right, negated } => {
                let (left, right) = (self.boxed(left)?, self.boxed(right)?);
                let fixed = is_literal(&left) && is_literal(&right);
                self.settle(Expr::Distinct { left, right, negated }, fixed)
            }
            Expr::NullIf { equal, ty } => self.null_if(*equal, ty),
            Expr::Extreme { greatest, args, ty } => {
                let args = self.all(args)?;
                let fixed = args.iter().all(is_literal);
                self.settle(Expr::Extreme { greatest, args, ty }, fixed)
            }
            Expr::InList { input, list, negated } => {
                let (input, list) = (self.boxed(input)?, self.all(list)?);
                let fixed = is_literal(&input) && list.iter().all(is_literal);
                self.settle(Expr::InList { input, list, negated }, fixed)
            }
            Expr::Coalesce { args, ty } => self.coalesce(args, ty),
            Expr::Case { operand, whens, otherwise, ty } => self.case(operand, whens, otherwise, ty),
        }
    }

    fn all(&mut self, exprs: Vec<Expr>) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.fold(expr)).collect()
    }

    fn boxed(&mut self, mut expr: Box<Expr>) -> Result<Box<Expr>> {
        let taken = std::mem::replace(&mut *expr, Expr::literal(Value::Null, SqlType::UNKNOWN));
        *expr = self.fold(taken)?;
        Ok(expr)
    }

    /// The value of an expression whose parts are `fixed`.
    fn settle(&self, expr: Expr, fixed: bool) -> Result<Expr> {
        if !fixed {
            return Ok(expr);
        }
        let value = expr.eval(&[], &self.cx)?;
        Ok(Expr::Literal { value, ty: expr.ty() })
    }

    /// AND (`decisive` false) and OR (`decisive` true): what follows a constant that decides is not looked at.
    fn junction(&mut self, parts: Vec<Expr>, decisive: bool) -> Result<Expr> {
        let mut kept = Vec::with_capacity(parts.len());
        let mut unknown = false;
        for part in parts {
            match self.fold(part)? {
                Expr::Literal { value: Value::Bool(value), .. } if value == decisive => {
                    return Ok(Expr::literal(Value::Bool(decisive), SqlType::BOOL));
                }
                Expr::Literal { value, .. } => unknown |= value.is_null(),
                other => kept.push(other),
            }
        }
        if unknown {
            kept.push(Expr::literal(Value::Null, SqlType::BOOL));
        }
        Ok(match kept.len() {
            0 => Expr::literal(Value::Bool(!decisive), SqlType::BOOL),
            1 => kept.remove(0),
            _ if decisive => Expr::Or(kept),
            _ => Expr::And(kept),
        })
    }

    /// `equal` stays a call, since evaluation takes its sides apart.
    fn null_if(&mut self, equal: Expr, ty: SqlType) -> Result<Expr> {
        let Expr::Call { function, args, ty: bool_type, form } = equal else {
            return Err(Error::internal("NULLIF without an equality"));
        };
        let args = self.all(args)?;
        let fixed = args.iter().all(is_literal) && function.volatility == Volatility::Immutable;
        let equal = Box::new(Expr::Call { function, args, ty: bool_type, form });
        self.settle(Expr::NullIf { equal, ty }, fixed)
    }

    fn coalesce(&mut self, args: Vec<Expr>, ty: SqlType) -> Result<Expr> {
        let mut kept = Vec::with_capacity(args.len());
        for arg in args {
            let arg = self.fold(arg)?;
            if is_null(&arg) {
                continue;
            }
            let last = is_literal(&arg);
            kept.push(arg);
            if last {
                break;
            }
        }
        Ok(match kept.len() {
            0 => Expr::literal(Value::Null, ty),
            1 if is_literal(&kept[0]) => kept.remove(0),
            _ => Expr::Coalesce { args: kept, ty },
        })
    }

    fn case(
        &mut self,
        operand: Option<Box<Expr>>,
        whens: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
        ty: SqlType,
    ) -> Result<Expr> {
        let operand = operand.map(|operand| self.boxed(operand)).transpose()?;
        let mut kept = Vec::with_capacity(whens.len());
        for (condition, result) in whens {
            // The conditions see this CASE's operand, the results that of the one around it.
            let outer = self.operand.clone();
            if let Some(own) = &operand {
                self.operand = is_literal(own).then(|| (**own).clone());
            }
            let condition = self.fold(condition);
            self.operand = outer;
            match condition? {
                Expr::Literal { value: Value::Bool(true), .. } => {
                    let result = self.fold(result)?;
                    return Ok(whole_case(operand, kept, Some(Box::new(result)), ty));
                }
                Expr::Literal { .. } => {}
                condition => kept.push((condition, self.fold(result)?)),
            }
        }
        let otherwise = otherwise.map(|otherwise| self.boxed(otherwise)).transpose()?;
        Ok(whole_case(operand, kept, otherwise, ty))
    }
}

fn whole_case(operand: Option<Box<Expr>>, whens: Vec<(Expr, Expr)>, otherwise: Option<Box<Expr>>, ty: SqlType) -> Expr {
    if !whens.is_empty() {
        return Expr::Case { operand, whens, otherwise, ty };
    }
    otherwise.map_or_else(|| Expr::literal(Value::Null, ty), |otherwise| *otherwise)
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal { .. })
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal { value: Value::Null, .. })
}
