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
    pub connections: ConnectionLimits,
    /// Of each tenant.
    pub ingest: IngestLimits,
    pub memory: Memory,
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

/// 0 = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
    /// HTTP/2 requests of one connection at once; at least 1.
    pub max_streams_per_connection: u32,
}

/// What a tenant may send; 0 = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngestLimits {
    /// Inflated.
    pub bytes_per_second: usize,
    /// 0 = as much as in a second.
    pub burst_bytes: usize,
    pub spans_per_second: usize,
}

/// As the configuration has them by default; a test there holds it.
impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max_connections: 1024, max_connections_per_ip: 512, max_streams_per_connection: 64 }
    }
}

/// The parts of `limits.memory` that requests share, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bodies in flight: what has arrived, and what became of it by inflating and converting.
    pub bodies: usize,
    /// What staging all requests at once may take.
    pub staging: usize,
    /// What all connections may hold in buffers and windows.
    pub connections: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { bodies: 64 << 20, staging: 64 << 20, connections: 96 << 20 }
    }
}
