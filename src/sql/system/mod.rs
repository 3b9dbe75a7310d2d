//! System relations: rows computed from the catalog and the session.
