//! What a write to a table means: row, key, index entries, constraints, messages.
