//! Plans: what to read in which order, generic in the parameters.
