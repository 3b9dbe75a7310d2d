//! Pull-based execution in steps.
