//! Sessions: statements, portals, settings, transactions.
