//! Tables of label sets with their running totals, and the exemplars that wait for the next tick.

mod exemplars;
mod layout;
mod quantile;
mod slab;
mod table;

pub use exemplars::{Pending, Picked};
pub use layout::{Layout, Parts};
pub use quantile::histogram_quantile;
pub use slab::{CHUNK_ROWS, Slab};
pub use table::{Addition, SeriesTable, Slot, Values};
