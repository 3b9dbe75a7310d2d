//! Distinct: each different row once.

use super::operator::{Operator, Pull, Run, open, pull};
use super::sort::check_memory;
use crate::encoding::key::{KeyColumn, encode_column};
use crate::error::Result;
use crate::sql::plan::Distinct;
use crate::types::{Row, SqlType, Value};
use std::collections::HashSet;
use std::sync::Arc;

/// Remembers the rows that it has passed on.
pub(super) struct DistinctOp {
    node: Arc<Distinct>,
    input: Box<dyn Operator>,
    seen: HashSet<Vec<u8>>,
    bytes: usize,
}

impl DistinctOp {
    pub(super) fn new(node: Arc<Distinct>) -> DistinctOp {
        DistinctOp { input: open(&node.input), node, seen: HashSet::new(), bytes: 0 }
    }
}

impl Operator for DistinctOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        loop {
            if !pull!(self.input.next(run, out)) {
                return Ok(Pull::Done);
            }
            let mut key = Vec::new();
            for (value, ty) in out.iter().zip(&self.node.types) {
                identity(value, *ty, &mut key)?;
            }
            let size = key.len() + 64;
            if self.seen.insert(key) {
                self.bytes += size;
                check_memory(self.bytes)?;
                return Ok(Pull::Row);
            }
        }
    }
}

/// Appends bytes that are equal exactly for values that are not distinct.
pub(super) fn identity(value: &Value, ty: SqlType, out: &mut Vec<u8>) -> Result<()> {
    let key_less = [SqlType::JSON, SqlType::JSONB, SqlType::FILE].iter().any(|other| other.same(ty));
    // jsonb is stored in its canonical text.
    let ty = if key_less || ty.same(SqlType::UNKNOWN) { SqlType::TEXT } else { ty };
    encode_column(out, value, &KeyColumn::ascending(ty))
}
