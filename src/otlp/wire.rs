//! The protobuf wire format, read in place from a slice.

/// Why a request is malformed: what was being read, and what was wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem}")]
pub struct DecodeError {
    pub what: &'static str,
    pub problem: &'static str,
}
