//! Calls: functions, aggregates, and the forms that the standard writes with words.

use super::Binder;
use super::aggregate::Written;
use super::ident::name_parts;
use super::library::Operand;
use super::names::Names;
use super::sequence::takes_sequence;
use crate::error::{Error, Result, SqlState};
use crate::expr::{Expr, check_comparable, resolve_function};
use crate::types::{SqlType, Value};
use sqlparser::ast::{
    self, CeilFloorKind, DuplicateTreatment, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    Spanned, TrimWhereField,
};

impl Binder<'_> {
    /// An expression that is none of the plain forms.
    pub(crate) fn special_call(&mut self, ast: &ast::Expr, names: &mut Names) -> Result<Expr> {
        self.form(ast, names).map_err(|error| error.at(self.form_position(ast)))
    }

    /// Errors that have no place yet are the form's.
    fn form(&mut self, ast: &ast::Expr, names: &mut Names) -> Result<Expr> {
        let at = None;
        match ast {
            ast::Expr::Extract { field, expr, .. } => {
                let field = Expr::literal(Value::text(field.to_string().to_lowercase()), SqlType::UNKNOWN);
                let of = self.operand(expr, names)?;
                self.system_function("extract", vec![(field, at), of], at)
            }
            ast::Expr::Position { expr, r#in } => {
                let args = vec![self.operand(r#in, names)?, self.operand(expr, names)?];
                self.system_function("position", args, at)
            }
            ast::Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                let mut args = vec![self.operand(expr, names)?];
                match (substring_from, substring_for) {
                    (None, Some(_)) => args.push((Expr::literal(Value::Int(1), SqlType::INT4), at)),
                    (Some(from), _) => args.push(self.operand(from, names)?),
                    (None, None) => {}
                }
                if let Some(length) = substring_for {
                    args.push(self.operand(length, names)?);
                }
                self.system_function("substring", args, at)
            }
            ast::Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut args = Vec::with_capacity(4);
                for part in
                    [Some(expr), Some(overlay_what), Some(overlay_from), overlay_for.as_ref()].into_iter().flatten()
                {
                    args.push(self.operand(part, names)?);
                }
                self.system_function("overlay", args, at)
            }
            ast::Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                };
                let mut args = vec![self.operand(expr, names)?];
                for what in trim_what.iter().map(AsRef::as_ref).chain(trim_characters.iter().flatten()) {
                    args.push(self.operand(what, names)?);
                }
                self.system_function(name, args, at)
            }
            ast::Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) }
            | ast::Expr::Floor { expr, field: CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                let arg = self.operand(expr, names)?;
                self.function(&super::title::title(ast), vec![arg], at)
            }
            ast::Expr::AtTimeZone { timestamp, time_zone } => {
                let args = vec![self.operand(time_zone, names)?, self.operand(timestamp, names)?];
                self.system_function("timezone", args, at)
            }
            ast::Expr::Collate { expr, collation } => match name_parts(collation)?.pop().as_deref() {
                Some("C" | "POSIX" | "default" | "C.UTF-8" | "ucs_basic") => self.expr(expr, names),
                _ => Err(Error::unsupported("this collation").hint("Collations are C and default.").at(at)),
            },
            ast::Expr::Exists { .. } | ast::Expr::Subquery(_) | ast::Expr::In { .. } => {
                Err(Error::unsupported("a sub-select in an expression").at(at))
            }
            ast::Expr::AnyOp { .. } | ast::Expr::AllOp { .. } | ast::Expr::Array(_) => {
                Err(Error::unsupported("an array").hint("Use IN with a list of values.").at(at))
            }
            ast::Expr::Tuple(_) => Err(Error::unsupported("a row of values in an expression").at(at)),
            _ => Err(Error::unsupported("this kind of expression").at(at)),
        }
    }

    /// Where a form begins: sqlparser's place is that of its first operand.
    pub(crate) fn form_position(&self, ast: &ast::Expr) -> Option<u32> {
        let at = self.at(ast.span());
        if let ast::Expr::AtTimeZone { timestamp, .. } = ast {
            return super::position::between(self.cx.text, timestamp.span(), "at");
        }
        let word = match ast {
            ast::Expr::Trim { .. } => "trim".to_owned(),
            ast::Expr::Extract { .. }
            | ast::Expr::Position { .. }
            | ast::Expr::Substring { .. }
            | ast::Expr::Overlay { .. }
            | ast::Expr::Ceil { .. }
            | ast::Expr::Floor { .. } => super::title::title(ast),
            _ => return at,
        };
        super::position::word_before(self.cx.text, at, &word).or(at)
    }

    fn operand(&mut self, ast: &ast::Expr, names: &mut Names) -> Result<Operand> {
        let at = self.at(ast.span());
        Ok((self.expr(ast, names)?, at))
    }

    pub(crate) fn function_call(&mut self, call: &ast::Function, names: &mut Names) -> Result<Expr> {
        let at = self.at(call.name.span());
        let name = self.function_name(call, at)?;
        if call.over.is_some() {
            return Err(Error::unsupported("a window function").at(at));
        }
        if !call.within_group.is_empty() || call.null_treatment.is_some() || call.uses_odbc_syntax {
            return Err(Error::unsupported("this form of a function call").at(at));
        }
        if let Some(value) = self.keyword_value(&name, &call.args, at)? {
            return Ok(value);
        }
        let written = written(call, at)?;
        if written.star && written.distinct {
            return Err(Error::syntax_near("*").at(super::position::after(self.cx.text, at, "*")));
        }
        if name == "array_agg" {
            return Err(Error::unsupported("an array").hint("Use json_agg or string_agg.").at(at));
        }
        if name == "pg_export_snapshot" {
            let hint = "Read all that must fit together in one REPEATABLE READ transaction.";
            return Err(Error::unsupported("a snapshot shared by sessions").hint(hint).at(at));
        }
        if Self::is_aggregate(&name) {
            return self.aggregate(&name, written, names, at);
        }
        self.check_form(&name, &written, at)?;
        let sets_before = names.sets.len();
        let mut args = Vec::with_capacity(written.args.len());
        for (at, arg) in written.args.iter().enumerate() {
            args.push(match at == 0 && takes_sequence(&name) {
                true => self.sequence_argument(arg, names)?,
                false => self.operand(arg, names)?,
            });
        }
        if let Some(what) = aggregate_form(&written) {
            // A function that is not there at all is the greater surprise.
            let types: Vec<SqlType> = args.iter().map(|(expr, _)| expr.ty()).collect();
            resolve_function(&name, &types).map_err(|error| error.at(at))?;
            let what = if what == "*" { format!("{name}(*)") } else { what.to_owned() };
            let message = format!("{what} specified, but {name} is not an aggregate function");
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(at));
        }
        match (name.as_str(), args.len()) {
            ("coalesce", 1..) => {
                self.refuse_sets_since(sets_before, "COALESCE", names)?;
                let args = self.unify(args, "COALESCE")?;
                let ty = args[0].ty();
                Ok(Expr::Coalesce { args, ty })
            }
            ("greatest" | "least", 1..) => {
                let construct = if name == "greatest" { "GREATEST" } else { "LEAST" };
                let args = self.unify(args, construct)?;
                let ty = args[0].ty();
                check_comparable(ty)?;
                Ok(Expr::Extreme { greatest: name == "greatest", args, ty })
            }
            ("nullif", 2) => self.null_if(args, at),
            _ => {
                let qualified = call.name.0.len() > 1;
                let call =
                    if qualified { self.system_function(&name, args, at) } else { self.function(&name, args, at) }?;
                if call.is_set() {
                    self.note_set(names, at)?;
                }
                Ok(call)
            }
        }
    }

    /// Forms that are the grammar's in PostgreSQL have arguments or are no statements.
    fn check_form(&self, name: &str, written: &Written, at: Option<u32>) -> Result<()> {
        let wanted = match name {
            "coalesce" | "greatest" | "least" => 1,
            "nullif" => 2,
            _ => return Ok(()),
        };
        if written.args.len() >= wanted {
            return Ok(());
        }
        let last = written.args.last().map_or(at, |arg| self.at(arg.span()));
        Err(Error::syntax_near(")").at(super::position::after(self.cx.text, last, ")")))
    }

    /// A call of a function whose schema is named, by the statement or by a form of the standard's.
    fn system_function(&mut self, name: &str, args: Vec<Operand>, at: Option<u32>) -> Result<Expr> {
        self.function(name, args, at).map_err(|error| {
            if ![SqlState::UNDEFINED_FUNCTION, SqlState::AMBIGUOUS_FUNCTION].contains(&error.code()) {
                return error;
            }
            let fields = error.fields();
            let message = fields.message.replacen("function ", "function pg_catalog.", 1);
            let renamed = Error::new(error.code(), message).at(fields.position);
            match &fields.hint {
                Some(hint) => renamed.hint(hint.clone()),
                None => renamed,
            }
        })
    }

    /// What the standard writes as a key word without parentheses: CURRENT_USER, CURRENT_DATE and so on.
    pub(crate) fn keyword_value(
        &mut self,
        name: &str,
        args: &FunctionArguments,
        at: Option<u32>,
    ) -> Result<Option<Expr>> {
        let bare = matches!(args, FunctionArguments::None);
        match name {
            "current_time" | "localtime" => Err(Error::unsupported("type time").hint("Use a timestamp.").at(at)),
            "current_date" if !bare => Err(Error::syntax_near("(").at(super::position::after(self.cx.text, at, "("))),
            "current_timestamp" | "localtimestamp" if !bare => match args {
                FunctionArguments::List(list) if list.args.is_empty() => {
                    Err(Error::syntax_near(")").at(super::position::after(self.cx.text, at, ")")))
                }
                FunctionArguments::List(list) => {
                    let ty = if name == "localtimestamp" { SqlType::TIMESTAMP } else { SqlType::TIMESTAMPTZ };
                    let ty =
                        super::types::precise(ty, list.args.first().and_then(digits)).map_err(|error| error.at(at))?;
                    let now = self.function(name, Vec::new(), at)?;
                    self.cast_explicitly(now, ty, at).map(Some)
                }
                _ => Err(Error::unsupported("this form of a function call").at(at)),
            },
            _ if bare => self.function(name, Vec::new(), at).map(Some),
            _ => Ok(None),
        }
    }

    fn null_if(&mut self, mut args: Vec<Operand>, at: Option<u32>) -> Result<Expr> {
        let right = args.pop().expect("two arguments");
        let left = args.pop().expect("two arguments");
        let equal = self.operator("=", Some(left), right, at)?;
        let ty = match &equal {
            Expr::Call { args, .. } if !args.is_empty() => args[0].ty(),
            _ => return Err(Error::internal("an equality is no call")),
        };
        Ok(Expr::NullIf { equal: Box::new(equal), ty })
    }

    fn function_name(&self, call: &ast::Function, at: Option<u32>) -> Result<String> {
        let mut parts = name_parts(&call.name)?;
        let name = parts.pop().ok_or_else(|| Error::syntax_near("("))?;
        match parts.as_slice() {
            [] => Ok(name),
            [schema] if schema == "pg_catalog" => Ok(name),
            [schema] if self.cx.catalog.schema_by_name(schema).is_none() => {
                let message = format!("schema \"{schema}\" does not exist");
                Err(Error::new(SqlState::UNDEFINED_SCHEMA, message).at(at))
            }
            _ => {
                let message = format!("function {}.{name} does not exist", parts.join("."));
                Err(Error::new(SqlState::UNDEFINED_FUNCTION, message).at(at))
            }
        }
    }

    /// CASE
    pub(crate) fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
        names: &mut Names,
    ) -> Result<Expr> {
        let sets_before = names.sets.len();
        let operand = operand.map(|operand| self.operand(operand, names)).transpose()?;
        let operand = match operand {
            Some((expr, at)) if expr.ty().same(SqlType::UNKNOWN) => Some((self.coerce(expr, SqlType::TEXT, at)?, at)),
            other => other,
        };
        let mut tests = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for when in conditions {
            tests.push(match &operand {
                None => {
                    let bound = self.expr(&when.condition, names)?;
                    let bound = self.boolean(bound, "CASE/WHEN", None);
                    bound.map_err(|error| error.at(self.place_of(&when.condition)))?
                }
                Some((expr, at)) => {
                    let test = self.operand(&when.condition, names)?;
                    let subject = Expr::CaseOperand { ty: expr.ty() };
                    let test_at = test.1;
                    self.operator("=", Some((subject, *at)), test, None)
                        .map_err(|error| error.at(super::position::word_before(self.cx.text, test_at, "when")))?
                }
            });
            results.push(self.operand(&when.result, names)?);
        }
        let has_else = otherwise.is_some();
        // PostgreSQL looks at ELSE first when it chooses the type.
        match otherwise {
            Some(otherwise) => results.insert(0, self.operand(otherwise, names)?),
            None => results.insert(0, (Expr::literal(Value::Null, SqlType::UNKNOWN), None)),
        }
        self.refuse_sets_since(sets_before, "CASE", names)?;
        let mut results = self.unify(results, "CASE")?.into_iter();
        let otherwise = results.next().filter(|_| has_else).map(Box::new);
        let whens: Vec<(Expr, Expr)> = tests.into_iter().zip(results).collect();
        let ty = whens.first().map_or(SqlType::TEXT, |(_, result)| result.ty());
        Ok(Expr::Case { operand: operand.map(|(expr, _)| Box::new(expr)), whens, otherwise, ty })
    }

    /// `expr IN (list)`: one list where all have one type, else an OR of comparisons.
    pub(crate) fn in_list(
        &mut self,
        operand: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
        names: &mut Names,
    ) -> Result<Expr> {
        let input = self.operand(operand, names)?;
        let list = list.iter().map(|item| self.operand(item, names)).collect::<Result<Vec<_>>>()?;
        let types: Vec<SqlType> = std::iter::once(&input).chain(&list).map(|(expr, _)| expr.ty()).collect();
        let name = if negated { "<>" } else { "=" };
        let common = crate::expr::common_type(&types, "IN").ok().filter(|common| {
            // Only where `=` compares that type with itself, and the input need not be converted away from a key.
            crate::expr::resolve_operator("=", Some(*common), *common).is_ok_and(|found| found.args[0].same(*common))
        });
        if let Some(common) = common {
            let mut same = Vec::with_capacity(list.len());
            let input = self.coerce(input.0, common, input.1)?;
            for (item, at) in list {
                same.push(self.coerce(item, common, at)?);
            }
            return Ok(Expr::InList { input: Box::new(input), list: same, negated });
        }
        let mut parts = Vec::with_capacity(list.len());
        for item in list {
            let part = self.operator(name, Some(input.clone()), item, None);
            let word = if negated { "not" } else { "in" };
            parts.push(part.map_err(|error| error.at(super::position::between(self.cx.text, operand.span(), word)))?);
        }
        Ok(if negated { Expr::And(parts) } else { Expr::Or(parts) })
    }
}

/// The number that an argument is.
fn digits(arg: &FunctionArg) -> Option<u64> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Value(value))) => match &value.value {
            ast::Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// How a call is written.
fn written(call: &ast::Function, at: Option<u32>) -> Result<Written<'_>> {
    let filter = call.filter.as_deref();
    let mut written = Written { args: Vec::new(), star: false, distinct: false, order: &[], filter };
    let list = match &call.args {
        FunctionArguments::None => return Ok(written),
        FunctionArguments::Subquery(_) => return Err(Error::unsupported("a sub-select as an argument").at(at)),
        FunctionArguments::List(list) => list,
    };
    match list.clauses.as_slice() {
        [] => {}
        [FunctionArgumentClause::OrderBy(order)] => written.order = order,
        _ => return Err(Error::unsupported("this clause within a call").at(at)),
    }
    written.distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    for arg in &list.args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => written.args.push(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if list.args.len() == 1 => written.star = true,
            _ => return Err(Error::unsupported("a named argument").at(at)),
        }
    }
    Ok(written)
}

/// What of a call only an aggregate may have.
fn aggregate_form(written: &Written) -> Option<&'static str> {
    match written {
        Written { star: true, .. } => Some("*"),
        Written { distinct: true, .. } => Some("DISTINCT"),
        Written { order: [_, ..], .. } => Some("ORDER BY"),
        Written { filter: Some(_), .. } => Some("FILTER"),
        _ => None,
    }
}
