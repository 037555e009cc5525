//! What collection needs to know of the configuration.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// At least 1 s.
    pub collection_interval: Duration,
    pub stale_markers: StaleMarkers,
    pub trace_id_label_name: String,
}

// As the configuration has them by default; a test there holds it.
impl Default for Settings {
    fn default() -> Self {
        Self {
            collection_interval: Duration::from_secs(15),
            stale_markers: StaleMarkers::Expiry,
            trace_id_label_name: "traceID".to_owned(),
        }
    }
}

/// When the end of a series is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleMarkers {
    Expiry,
    /// At expiry and at shutdown.
    Shutdown,
    Off,
}
