//! The command line: `tertulia serve` and `tertulia demo`.

fn main() {}
