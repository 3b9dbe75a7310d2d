//! Login: SCRAM-SHA-256 with stored verifiers.
