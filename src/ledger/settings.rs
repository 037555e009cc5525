//! What a tenant's ledger needs to know of the configuration.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// A label set without an update for that long ends at the next tick.
    pub stale_duration: Duration,
    /// Exemplars that one tick may carry, over all series of a tenant.
    pub max_exemplars_per_tick: usize,
}
