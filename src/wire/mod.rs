//! The PostgreSQL protocol on tokio and pgwire.
