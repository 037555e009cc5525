//! The tables of a tenant: label sets that have the same numbers.

/// Which table of a tenant a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    // Kept stable: these numbers stand in logs, and are places in `ALL`.
    SpanMetrics = 0,
    TargetInfo = 1,
    HostInfo = 2,
    /// Edges of the service graph: how many requests, and how many of them failed. An edge has a row
    /// in each table only from the first number on that it has there.
    EdgeRequests = 3,
    EdgeFailed = 4,
    /// How long the requests of an edge took: as seen by the server, by the client, and on the way
    /// through a messaging system.
    EdgeServer = 5,
    EdgeClient = 6,
    EdgeMessaging = 7,
    EdgeInfo = 8,
}

/// What numbers the label sets of a table have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// None: they are there.
    Info,
    /// How many.
    Counter,
    /// How many, how large, and a histogram of how long.
    Histogram,
}

impl Table {
    pub const ALL: [Self; 9] = [
        Self::SpanMetrics,
        Self::TargetInfo,
        Self::HostInfo,
        Self::EdgeRequests,
        Self::EdgeFailed,
        Self::EdgeServer,
        Self::EdgeClient,
        Self::EdgeMessaging,
        Self::EdgeInfo,
    ];

    /// Those of the service graph: a label set of an edge may be in each of them.
    pub const EDGES: [Self; 6] = [
        Self::EdgeRequests,
        Self::EdgeFailed,
        Self::EdgeServer,
        Self::EdgeClient,
        Self::EdgeMessaging,
        Self::EdgeInfo,
    ];

    pub fn is_edge(self) -> bool {
        Self::EDGES.contains(&self)
    }

    pub fn shape(self) -> Shape {
        match self {
            Self::TargetInfo | Self::HostInfo | Self::EdgeInfo => Shape::Info,
            Self::EdgeRequests | Self::EdgeFailed => Shape::Counter,
            Self::SpanMetrics | Self::EdgeServer | Self::EdgeClient | Self::EdgeMessaging => {
                Shape::Histogram
            }
        }
    }
}
