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
        }
    }
}
