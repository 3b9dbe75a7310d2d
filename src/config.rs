//! Settings: read from the file, the environment and flags, a later one winning.
