//! Who is let in: limits on series, services, edges, label values and text, and what counts in place of
//! those that are not. Pure: it says what a limit means, the ledger asks it and keeps the totals.

mod limits;

pub use limits::Limits;
