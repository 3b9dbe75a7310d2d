//! What several benchmarks share: the machine, the two servers, clients that cost little, rounds and their figures.

pub mod arguments;
pub mod fanout;
pub mod listening;
pub mod machine;
pub mod process;
pub mod round;
pub mod servers;
pub mod tally;
pub mod wire;
