//! What the receivers need to know of the configuration.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `host:port`; `None` = off.
    pub grpc: Option<String>,
    pub http: Option<String>,
    pub limits: BodyLimits,
    /// A connection whose request header takes longer is closed.
    pub header_timeout: Duration,
    /// A body that takes longer is answered 408.
    pub body_timeout: Duration,
    /// Off: every request belongs to the one tenant, and a tenant header is ignored.
    pub multitenancy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of a body as it arrives.
    pub max_wire_bytes: usize,
    /// Bytes of a body after inflating.
    pub max_inflated_bytes: usize,
}
