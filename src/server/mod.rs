//! Sockets, threads and shutdown.
