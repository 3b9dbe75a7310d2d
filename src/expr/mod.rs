//! Bound scalar expressions and the function library: pure over a row and an environment.
