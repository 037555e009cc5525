//! The demo's shop: fourteen services that make calls by a script, and a ledger of what they made.
//!
//! ```text
//! topology (who offers what, who asks whom) + script (what goes wrong when)
//!   -> traces: calls that were made -> ledger: books
//!                                   -> spans: OTLP requests, for whoever sends them to a port
//! table: what came of it, on a terminal
//! ```
//! It knows nothing of the service that counts its spans.

mod attributes;
mod calls;
mod ledger;
mod script;
mod shop;
mod spans;
mod table;
mod topology;
mod traces;

pub use calls::Trace;
pub use ledger::{Books, Verdict};
pub use script::{Scene, into_loop, scene};
pub use shop::{RATE_MAX, STEP, Settings, Shop};
pub use spans::{Request, request};
pub use table::{EdgeRow, Figures, ServiceRow, Table};
