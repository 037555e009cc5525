//! The process-wide memory budget: arrives with the limits.
