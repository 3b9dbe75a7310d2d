//! Text to syntax: the PostgreSQL dialect of sqlparser, and the statements of our own from the same tokens.
