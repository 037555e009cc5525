//! A tenant's world under its lock: batches are decided into effects, and effects folded into state.
//!
//! Nothing else changes state: a request, a tick and the end of a series are all effects, in the order
//! of the lock. They are plain data, so that a log of them, folded alone, gives the same state.

mod admit;
mod charges;
mod decide;
mod edge_rows;
mod effects;
mod lifecycle;
mod memory;
mod reload;
mod settings;
mod sides;
mod snapshot;
mod state;
mod tenant;
mod tenants;

pub use crate::admission::Demanded;
/// Who wanted what: the words of admission, for those behind the ledger.
pub use crate::admission::{
    OVERFLOW, RefusedLabel, RefusedService, Wanted, counts_spans, service_label,
};
/// The words of a batch that a snapshot speaks in, for those behind the ledger.
pub use crate::batch::{
    Bounds, Discarded, Exemplar, Labels, Limited, Processor, Repaired, Table, Total,
};
pub use crate::edges::{Connection, End};
pub use crate::series::Parts;
pub use effects::Effect;
pub use lifecycle::NotApplied;
pub use memory::{Costs, Memory};
pub use settings::{EdgeSeries, Families, Naming, Rules, Settings};
pub use snapshot::{Event, Last, ShownExemplar, Snapshot};
pub use state::State;
pub use tenant::{Counts, SeriesCounts, Tenant};
pub use tenants::{Tenants, TooManyTenants};

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod lifecycle_tests;
