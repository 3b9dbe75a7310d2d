//! Keys and rows as bytes: the formats that the store, the log and the changefeed share.

pub mod key;
pub mod row;
