//! What the store of edge sides needs to know of the configuration.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a side waits for its other side, and a completed key is remembered.
    pub wait: Duration,
    /// Sides that wait and keys that are remembered, in all.
    pub max_items: usize,
    /// Whether copies of spans are recognised; without, they behave as in Tempo.
    pub remember_completed: bool,
    /// A calling side that would become a virtual edge waits so many times longer.
    pub hold_virtual: u16,
    /// Whether every called span below a calling one makes a request of its own.
    pub count_every_pair: bool,
    /// Name of the node that calls a root; empty = there is none.
    pub virtual_caller: String,
    /// Whether a calling side that names its peer becomes an edge when nobody answers.
    pub virtual_server: bool,
    pub budget: Budget,
}

/// What one batch may do to the sides of earlier ones: it holds the tenant's lock meanwhile. None of it is
/// for users to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Entries whose time is over that are looked after with a batch, besides as many as it has sides.
    pub expired: usize,
    /// Sides that end as virtual edges because their time is over; and so many because there is no room.
    /// Each may be a label set that is new, which costs some 3 microseconds; a batch's own sides, which give
    /// way from then on, have no more than 3,000 origins.
    pub virtual_edges: usize,
    /// Sides that end because one comes that meets several, besides the first of each; and that give way to
    /// text.
    pub others: usize,
    /// Edges that are new: others are counted in overflow sets, until they come again.
    pub new_edges: usize,
}

/// What a batch has done of what its budget bounds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    pub virtual_edges: usize,
    pub others: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { expired: 5_000, virtual_edges: 4_096, others: 5_000, new_edges: 4_096 }
    }
}

/// As the configuration has them by default; a test there holds it.
impl Default for Settings {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(10),
            max_items: 1_000_000,
            remember_completed: true,
            hold_virtual: 0,
            count_every_pair: false,
            virtual_caller: "user".to_owned(),
            virtual_server: true,
            budget: Budget::default(),
        }
    }
}
