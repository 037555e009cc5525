//! Ticks, label blocks and samples: from a tenant's snapshot to what can be sent.

mod block;
mod catalog;
mod collections;
mod families;
mod reload;
mod schedule;
mod settings;

/// The words of a snapshot, for those behind the collection.
pub use crate::ledger::{Last, ShownExemplar, Snapshot, Table};
pub use crate::series::Values;
pub use block::{Block, push_label, put_varint, varint_len};
pub use catalog::{
    Catalog, Change, Collected, Entry, LastTotals, SET_BYTES, SLOT_BYTES, Specs, View,
};
pub use collections::{Collections, lock};
pub use families::{Quantity, SeriesSpec, le_text, series_per_set, values_of};
pub use reload::Renewal;
pub use schedule::first_tick_after;
pub use settings::{Settings, StaleMarkers};
