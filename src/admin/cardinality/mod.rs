//! Who is guilty: which label of which service has, and wanted, how many values.
//!
//! Counted when somebody asks, from the newest tick and a copy of what was refused, one tenant at a time
//! and off the reactor; the labels with the most values are published as own metrics.

mod count;
mod history;
mod own_metrics;
mod reader;
mod report;

pub use own_metrics::CardinalityMetrics;
pub use reader::Cardinality;
