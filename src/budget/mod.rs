//! Memory as one number: what the process may hold, what it is made of, and pools of bytes that
//! everything that input can grow is charged to.

mod machine;
mod pool;
mod split;

pub use machine::Machine;
pub use pool::{Charge, Pool, Rank};
pub use split::{Claims, Part, Split, TooSmall};
