//! Topics: messages as rows, and consumer groups with their leases.
