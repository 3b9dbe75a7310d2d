//! Aggregate functions.

use super::library::float_sum_overflow;
use super::resolve::{Candidate, Choice, ambiguous_function, choose, missing_function};
use crate::error::{Error, Result, SqlState};
use crate::limits::WORK_MEMORY_BYTES;
use crate::types::datetime::{add_intervals, divide_interval};
use crate::types::json::{self, Json};
use crate::types::{Interval, Numeric, SqlType, Value, compare, numeric};
use std::cmp::Ordering;

/// An aggregate function for arguments of certain types.
#[derive(Clone, Copy, Debug)]
pub struct Aggregate {
    name: &'static str,
    args: &'static [SqlType],
    result: SqlType,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    CountRows,
    Count,
    Min,
    Max,
    SumInt,
    SumNumeric,
    SumFloat,
    SumInterval,
    AvgNumeric,
    AvgFloat,
    AvgInterval,
    BoolAnd,
    BoolOr,
    JoinText,
    JoinBytes,
    JsonArray,
    JsonbArray,
    JsonObject,
    JsonbObject,
    BitAnd,
    BitOr,
}

/// What [`resolve_aggregate`] found.
#[derive(Clone, Debug)]
pub struct ResolvedAggregate {
    /// The function.
    pub aggregate: Aggregate,
    /// The type that each argument is to be coerced to.
    pub args: Vec<SqlType>,
    /// The type of the result.
    pub ty: SqlType,
}

/// What one group's rows have come to so far.
pub trait Accumulator: Send {
    /// Takes one row's arguments.
    fn update(&mut self, args: &[Value]) -> Result<()>;
    /// The result. Called once.
    fn finish(&mut self) -> Result<Value>;
}

const fn aggregate(name: &'static str, args: &'static [SqlType], result: SqlType, kind: Kind) -> Aggregate {
    Aggregate { name, args, result, kind }
}

/// min or max of every type that has them.
macro_rules! extremes {
    ($name:literal, $kind:expr, [$($ty:ident),*]) => {
        [$(aggregate($name, &[SqlType::$ty], SqlType::$ty, $kind)),*]
    };
}

static MIN: [Aggregate; 11] =
    extremes!("min", Kind::Min, [INT2, INT4, INT8, OID, FLOAT8, NUMERIC, TEXT, DATE, TIMESTAMP, TIMESTAMPTZ, INTERVAL]);
static MAX: [Aggregate; 11] =
    extremes!("max", Kind::Max, [INT2, INT4, INT8, OID, FLOAT8, NUMERIC, TEXT, DATE, TIMESTAMP, TIMESTAMPTZ, INTERVAL]);
static OTHERS: [Aggregate; 29] = [
    aggregate("count", &[], SqlType::INT8, Kind::CountRows),
    aggregate("count", &[super::function::ANY], SqlType::INT8, Kind::Count),
    aggregate("sum", &[SqlType::INT2], SqlType::INT8, Kind::SumInt),
    aggregate("sum", &[SqlType::INT4], SqlType::INT8, Kind::SumInt),
    aggregate("sum", &[SqlType::INT8], SqlType::NUMERIC, Kind::SumNumeric),
    aggregate("sum", &[SqlType::NUMERIC], SqlType::NUMERIC, Kind::SumNumeric),
    aggregate("sum", &[SqlType::FLOAT8], SqlType::FLOAT8, Kind::SumFloat),
    aggregate("sum", &[SqlType::INTERVAL], SqlType::INTERVAL, Kind::SumInterval),
    aggregate("avg", &[SqlType::INT2], SqlType::NUMERIC, Kind::AvgNumeric),
    aggregate("avg", &[SqlType::INT4], SqlType::NUMERIC, Kind::AvgNumeric),
    aggregate("avg", &[SqlType::INT8], SqlType::NUMERIC, Kind::AvgNumeric),
    aggregate("avg", &[SqlType::NUMERIC], SqlType::NUMERIC, Kind::AvgNumeric),
    aggregate("avg", &[SqlType::FLOAT8], SqlType::FLOAT8, Kind::AvgFloat),
    aggregate("avg", &[SqlType::INTERVAL], SqlType::INTERVAL, Kind::AvgInterval),
    aggregate("bool_and", &[SqlType::BOOL], SqlType::BOOL, Kind::BoolAnd),
    aggregate("every", &[SqlType::BOOL], SqlType::BOOL, Kind::BoolAnd),
    aggregate("bool_or", &[SqlType::BOOL], SqlType::BOOL, Kind::BoolOr),
    aggregate("string_agg", &[SqlType::TEXT, SqlType::TEXT], SqlType::TEXT, Kind::JoinText),
    aggregate("string_agg", &[SqlType::BYTEA, SqlType::BYTEA], SqlType::BYTEA, Kind::JoinBytes),
    // The binder gives these JSON: see `json_arguments` there.
    aggregate("json_agg", &[SqlType::JSON], SqlType::JSON, Kind::JsonArray),
    aggregate("jsonb_agg", &[SqlType::JSONB], SqlType::JSONB, Kind::JsonbArray),
    aggregate("json_object_agg", &[SqlType::TEXT, SqlType::JSON], SqlType::JSON, Kind::JsonObject),
    aggregate("jsonb_object_agg", &[SqlType::TEXT, SqlType::JSONB], SqlType::JSONB, Kind::JsonbObject),
    aggregate("bit_and", &[SqlType::INT2], SqlType::INT2, Kind::BitAnd),
    aggregate("bit_and", &[SqlType::INT4], SqlType::INT4, Kind::BitAnd),
    aggregate("bit_and", &[SqlType::INT8], SqlType::INT8, Kind::BitAnd),
    aggregate("bit_or", &[SqlType::INT2], SqlType::INT2, Kind::BitOr),
    aggregate("bit_or", &[SqlType::INT4], SqlType::INT4, Kind::BitOr),
    aggregate("bit_or", &[SqlType::INT8], SqlType::INT8, Kind::BitOr),
];

/// The aggregate of that name for arguments of these types, none of them for `count(*)`; `None` when no aggregate has
/// the name, 42883 or 42725 when none takes these types.
pub fn resolve_aggregate(name: &str, inputs: &[SqlType]) -> Result<Option<ResolvedAggregate>> {
    let named: Vec<&Aggregate> =
        MIN.iter().chain(&MAX).chain(&OTHERS).filter(|aggregate| aggregate.name == name).collect();
    if named.is_empty() {
        return Ok(None);
    }
    let inputs: Vec<SqlType> = inputs.iter().map(|ty| ty.base()).collect();
    let found = match named.iter().find(|aggregate| aggregate.args == inputs) {
        Some(aggregate) => **aggregate,
        None => {
            let candidates =
                named.iter().map(|aggregate| Candidate { args: aggregate.args.to_vec(), item: **aggregate }).collect();
            match choose(&inputs, candidates) {
                Choice::One(candidate) => candidate.item,
                Choice::Missing => return Err(missing_function(name, &inputs)),
                Choice::Ambiguous => return Err(ambiguous_function(name, &inputs)),
            }
        }
    };
    Ok(Some(ResolvedAggregate { aggregate: found, args: found.args.to_vec(), ty: found.result }))
}

impl Aggregate {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The type of the result.
    pub fn ty(&self) -> SqlType {
        self.result
    }

    /// Whether the order in which it takes its rows shows in the result.
    pub fn keeps_order(&self) -> bool {
        use Kind::{JoinBytes, JoinText, JsonArray, JsonObject, JsonbArray, JsonbObject};
        matches!(self.kind, JoinBytes | JoinText | JsonArray | JsonObject | JsonbArray | JsonbObject)
    }

    /// A fresh accumulator for a group.
    pub fn accumulator(&self) -> Box<dyn Accumulator> {
        let ty = self.result;
        match self.kind {
            Kind::CountRows => Box::new(Count { count: 0, rows: true }),
            Kind::Count => Box::new(Count { count: 0, rows: false }),
            Kind::Min => Box::new(Extreme { best: Value::Null, wanted: Ordering::Less, ty }),
            Kind::Max => Box::new(Extreme { best: Value::Null, wanted: Ordering::Greater, ty }),
            Kind::SumInt => Box::new(SumInt { sum: None }),
            Kind::SumNumeric => Box::new(SumNumeric { sum: None, integers: 0, count: 0, average: false }),
            Kind::AvgNumeric => Box::new(SumNumeric { sum: None, integers: 0, count: 0, average: true }),
            Kind::SumFloat => Box::new(SumFloat { sum: 0.0, count: 0, average: false }),
            Kind::AvgFloat => Box::new(SumFloat { sum: 0.0, count: 0, average: true }),
            Kind::SumInterval => Box::new(SumInterval { sum: Interval::default(), count: 0, average: false }),
            Kind::AvgInterval => Box::new(SumInterval { sum: Interval::default(), count: 0, average: true }),
            Kind::BoolAnd => Box::new(Bools { result: None, decisive: false }),
            Kind::BoolOr => Box::new(Bools { result: None, decisive: true }),
            Kind::JoinText => Box::new(Join { joined: None, text: true }),
            Kind::JoinBytes => Box::new(Join { joined: None, text: false }),
            Kind::JsonArray => Box::new(JsonJoin::new(JsonForm { object: false, canonical: false })),
            Kind::JsonbArray => Box::new(JsonJoin::new(JsonForm { object: false, canonical: true })),
            Kind::JsonObject => Box::new(JsonJoin::new(JsonForm { object: true, canonical: false })),
            Kind::JsonbObject => Box::new(JsonJoin::new(JsonForm { object: true, canonical: true })),
            Kind::BitAnd => Box::new(Bits { result: None, and: true }),
            Kind::BitOr => Box::new(Bits { result: None, and: false }),
        }
    }
}

struct Count {
    count: i64,
    rows: bool,
}

impl Accumulator for Count {
    fn update(&mut self, args: &[Value]) -> Result<()> {
        if self.rows || !args[0].is_null() {
            self.count += 1;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Value> {
        Ok(Value::Int(self.count))
    }
}

struct Extreme {
    best: Value,
    wanted: Ordering,
    ty: SqlType,
}

impl Accumulator for Extreme {
    fn update(&mut self, args: &[Value]) -> Result<()> {
        let value = &args[0];
        if !value.is_null() && (self.best.is_null() || compare(value, &self.best, self.ty) == self.wanted) {
            self.best = value.clone();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Value> {
        Ok(std::mem::replace(&mut self.best, Value::Null))
    }
}

struct SumInt {
    sum: Option<i64>,
}

impl Accumulator for SumInt {
    fn update(&mut self, args: &[Value]) -> Result<()> {
        if let Value::Int(value) = args[0] {
            let sum = self.sum.unwrap_or(0).checked_add(value);
            self.sum = Some(sum.ok_or_else(|| super::cast::out_of_range(SqlType::INT8))?);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Value> {
        Ok(self.sum.map_or(Value::Null, Value::Int))
    }
}

/// Sums of bigints are kept as a 128-bit integer: 2^64 rows fit.
struct SumNumeric {
    sum: Option<Numeric>,
    integers: i128,
    count: i64,
    average: bool,
}

impl Accumulator for SumNumeric {
    fn update(&mut self, args: &[Value]) -> Result<()> {
        match &args[0] {
            Value::Int(value) => self.integers += i128::from(*value),
            Value::Numeric(value) => {
                self.sum = Some(match &self.sum {
                    None => value.clone(),
                    Some(sum) => numeric::add(sum, value)?,
                });
            }
            _ => return Ok(()),
        }
        self.count += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<Value> {
        if self.count == 0 {
            return Ok(Value::Null);
        }
        let sum = match self.sum.take() {
            Some(sum) => sum,
            None => numeric::parse(&self.integers.to_string())?,
        };
        if self.average {
            numeric::div(&sum, &numeric::from_i64(self.count)).map(Value::Numeric)
        } else {
            Ok(Value::Numeric(sum))
        }
    }
}

struct SumFloat {
    sum: f64,
    count: i64,
    average: bool,
}

impl Accumulator for SumFloat {
    fn update(&mut self, args: &[Value]) -> Result<()> {
        if let Value::Float(value) = args[0] {
            let before = self.sum;
            self.sum += value;
            self.count += 1;
            if self.sum.is_infinite() && before.is_finite() && value.is_finite() {
                return Err(float_sum_overflow());
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Value> {
        Ok(match (self.count, self.average) {
            (0, _) => Value::Null,
            (_, false) => Value::Float(self.sum),
            (count, true) => Value::Float(self.sum / count as f64),
        })
    }
}

struct SumInterval {
    sum: Interval,
    count: i64,
    average: bool,
}

impl Accumulator for SumInterval {
    fn update(&mut self, args: &[Value]) -> Result<()> {
        if let Value::Interval(value) = args[0] {
            self.sum = add_intervals(self.sum, value)?;
            self.count += 1;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Value> {
        match (self.count, self.average) {
            (0, _) => Ok(Value::Null),
            (_, false) => Ok(Value::Interval(self.sum)),
            (count, true) => divide_interval(self.sum, count as f64).map(Value::Interval),
        }
    }
}

struct Bools {
    result: Option<bool>,
    decisive: bool,
}

impl Accumulator for Bools {
    fn update(&mut self, args: &[Value]) -> Result<()> {
        if let Value::Bool(value) = args[0]
            && self.result != Some(self.decisive)
        {
            self.result = Some(value);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Value> {
        Ok(self.result.map_or(Value::Null, Value::Bool))
    }
}

/// string_agg: values with each one's delimiter before it, but the first's.
struct Join {
    joined: Option<Vec<u8>>,
    text: bool,
}

impl Join {
    fn bytes(value: &Value) -> &[u8] {
        match value {
            Value::Text(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
            _ => &[],
        }
    }
}

impl Accumulator for Join {
    fn update(&mut self, args: &[Value]) -> Result<()> {
        if args[0].is_null() {
            return Ok(());
        }
        match &mut self.joined {
            None => self.joined = Some(Join::bytes(&args[0]).to_vec()),
            Some(joined) => {
                joined.extend_from_slice(Join::bytes(&args[1]));
                joined.extend_from_slice(Join::bytes(&args[0]));
                if joined.len() > WORK_MEMORY_BYTES {
                    return Err(Error::new(SqlState::OUT_OF_MEMORY, "out of memory"));
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Value> {
        Ok(match self.joined.take() {
            None => Value::Null,
            Some(joined) if self.text => Value::text(String::from_utf8(joined).map_err(Error::internal)?),
            Some(joined) => Value::Bytes(joined.into()),
        })
    }
}

/// bit_and and bit_or.
struct Bits {
    result: Option<i64>,
    and: bool,
}

impl Accumulator for Bits {
    fn update(&mut self, args: &[Value]) -> Result<()> {
        if let Value::Int(value) = args[0] {
            self.result = Some(match self.result {
                None => value,
                Some(result) if self.and => result & value,
                Some(result) => result | value,
            });
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Value> {
        Ok(self.result.map_or(Value::Null, Value::Int))
    }
}

#[derive(Clone, Copy)]
struct JsonForm {
    object: bool,
    /// jsonb: the last of equal keys counts, and the text is the canonical one.
    canonical: bool,
}

/// json_agg, json_object_agg and their jsonb kin, of values that are JSON already.
struct JsonJoin {
    form: JsonForm,
    joined: Vec<u8>,
    any: bool,
}

impl JsonJoin {
    fn new(form: JsonForm) -> JsonJoin {
        JsonJoin { form, joined: Vec::new(), any: false }
    }
}

impl Accumulator for JsonJoin {
    fn update(&mut self, args: &[Value]) -> Result<()> {
        if self.any {
            self.joined.extend_from_slice(b", ");
        }
        self.any = true;
        let (key, value) = if self.form.object { (Some(&args[0]), &args[1]) } else { (None, &args[0]) };
        match key {
            None => {}
            Some(Value::Text(key)) => {
                json::write_string(key, &mut self.joined);
                self.joined.extend_from_slice(b" : ");
            }
            Some(_) => return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "field name must not be null")),
        }
        self.joined.extend_from_slice(match value {
            Value::Text(value) => value.as_bytes(),
            _ => b"null",
        });
        if self.joined.len() > WORK_MEMORY_BYTES {
            return Err(Error::new(SqlState::OUT_OF_MEMORY, "out of memory"));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Value> {
        if !self.any {
            return Ok(Value::Null);
        }
        let inner = String::from_utf8(std::mem::take(&mut self.joined)).map_err(Error::internal)?;
        let text = if self.form.object { format!("{{ {inner} }}") } else { format!("[{inner}]") };
        Ok(Value::text(if self.form.canonical { Json::parse(&text)?.to_text() } else { text }))
    }
}
