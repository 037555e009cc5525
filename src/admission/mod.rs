//! Who is let in: limits on series, services, edges, label values and text, and what counts in place of
//! those that are not, and who wanted how much more. Pure: it says what a limit means, the ledger asks
//! it and keeps the totals.
//!
//! The order is: limit on label values, probation, slot. What is counted here (`Census`) follows from
//! the label sets that live; what only guides (`Probation`) or informs (`Wanted`, `DemandEstimate`) may
//! be lost.

mod census;
mod demand_estimate;
mod heavy;
mod label_values;
mod limits;
mod overflow;
mod probation;
mod refused_label;
mod verdict;
mod wanted;

pub use census::{Census, Resident};
pub use demand_estimate::{DemandEstimate, Demanded};
pub use label_values::{LabelValues, label_value_bytes};
pub use limits::Limits;
pub use overflow::{OVERFLOW, push_edge_overflow, push_span_overflow};
pub use probation::{BYTES as PROBATION_BYTES, Probation};
pub use refused_label::RefusedLabel;
pub use verdict::{Standing, has_place, is_pressed, standing};
pub use wanted::{BYTES_MAX as WANTED_BYTES, RefusedService, Wanted, counts_spans, service_label};
