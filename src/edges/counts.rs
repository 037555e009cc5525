//! What became of sides and edges, counted in plain integers and published by others.

/// What kind of edge: label value `connection_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Connection {
    Plain,
    Messaging,
    Database,
    VirtualNode,
}

/// How a side ends, each exactly once: label value `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It met its other side.
    Paired,
    /// Its other side did not come, and it became an edge to a virtual node.
    Virtual,
    /// Its other side did not come, or was filtered.
    Expired,
    /// It gave way when the store was full.
    Evicted,
    /// The same span was there before.
    Duplicate,
    /// Another span under the same parent has made the edge.
    Surplus,
    /// Another span took its place (`remember_completed: false`).
    Overwritten,
    /// It called a database.
    Database,
}

impl Connection {
    pub const ALL: [Self; 4] = [Self::Plain, Self::Messaging, Self::Database, Self::VirtualNode];

    /// Empty for a call between two services.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Messaging => "messaging_system",
            Self::Database => "database",
            Self::VirtualNode => "virtual_node",
        }
    }
}

impl End {
    pub const ALL: [Self; 8] = [
        Self::Paired,
        Self::Virtual,
        Self::Expired,
        Self::Evicted,
        Self::Duplicate,
        Self::Surplus,
        Self::Overwritten,
        Self::Database,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::Virtual => "virtual",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Duplicate => "duplicate",
            Self::Surplus => "surplus",
            Self::Overwritten => "overwritten",
            Self::Database => "database",
        }
    }
}

/// Unweighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    completed: [u64; Connection::ALL.len()],
    ended: [u64; End::ALL.len()],
}

impl Counts {
    pub(crate) fn complete(&mut self, connection: Connection) {
        self.completed[connection as usize] += 1;
    }

    pub(crate) fn end(&mut self, end: End) {
        self.ended[end as usize] += 1;
    }

    /// Edges.
    pub fn completed(&self, connection: Connection) -> u64 {
        self.completed[connection as usize]
    }

    /// Sides.
    pub fn ended(&self, end: End) -> u64 {
        self.ended[end as usize]
    }
}
