//! The demonstration: the chat workload with real clients.
