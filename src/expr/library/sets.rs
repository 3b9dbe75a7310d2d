//! Functions whose result is a set of rows.

use super::super::function::{Body, Function, Volatility::*};
use super::{INT4, INT8, INTERVAL, NUMERIC, TIMESTAMP, TIMESTAMPTZ, row};

pub(super) static FUNCTIONS: &[Function] = &[
    row(1067, "generate_series", &[INT4, INT4], INT4, Immutable, Body::Series),
    row(1066, "generate_series", &[INT4, INT4, INT4], INT4, Immutable, Body::Series),
    row(1069, "generate_series", &[INT8, INT8], INT8, Immutable, Body::Series),
    row(1068, "generate_series", &[INT8, INT8, INT8], INT8, Immutable, Body::Series),
    row(3260, "generate_series", &[NUMERIC, NUMERIC], NUMERIC, Immutable, Body::Series),
    row(3259, "generate_series", &[NUMERIC, NUMERIC, NUMERIC], NUMERIC, Immutable, Body::Series),
    row(938, "generate_series", &[TIMESTAMP, TIMESTAMP, INTERVAL], TIMESTAMP, Immutable, Body::Series),
    row(939, "generate_series", &[TIMESTAMPTZ, TIMESTAMPTZ, INTERVAL], TIMESTAMPTZ, Stable, Body::Series),
];
