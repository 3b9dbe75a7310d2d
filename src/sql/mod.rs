//! SQL: parse, bind, plan, execute.

pub mod bind;
pub mod ddl;
pub mod exec;
pub mod parse;
pub mod plan;
pub mod system;
