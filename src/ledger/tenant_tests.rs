//! Determinism: what is decided twice is the same, and effects folded alone give the same state.
