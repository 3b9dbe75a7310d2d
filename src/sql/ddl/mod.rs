//! Definitions: schemas, tables, topics, roles, grants as catalog writes.
