//! Ticks, label blocks and samples.

mod settings;

pub use settings::{Settings, StaleMarkers};
