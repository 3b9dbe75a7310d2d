//! Syntax to meaning: names, types, coercions, parameters, privileges.
