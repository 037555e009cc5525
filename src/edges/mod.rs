//! Edge sides between their arrival and their end: they meet, are remembered, wait in vain, give way.

mod change;
mod counts;
mod ends;
mod index;
mod origins;
mod pairing;
mod settings;
mod store;

pub use change::Change;
pub use counts::{Connection, Counts, End};
pub use ends::{close, expire, make_room};
pub use pairing::{Book, Edge, arrive, origin};
pub use settings::{Budget, Settings, Work};
#[cfg(test)]
pub(crate) use store::Sizes as StoreSizes;
pub use store::{CHUNK_BYTES, Phase, Store, WARM};
