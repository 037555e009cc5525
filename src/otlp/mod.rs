//! OTLP's protobuf, walked in place: borrowed views of resource, span, attribute and any-value.
//!
//! Fields may come in any order, repeated singular fields merge by protobuf's rules (scalars: the last
//! one wins; messages: as if their encodings were joined), unknown fields and groups are skipped.
//! Text is not checked here: what becomes a label is repaired by the stage. What is never read
//! (scope, events, links, values of attributes that nobody asks for) is stepped over as bytes.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

mod attribute;
mod request;
mod span;
mod wire;

pub use attribute::{AnyValue, KeyValue, MAX_VALUE_DEPTH, Value, longer_than};
pub use request::{Resource, each_resource_spans, each_span};
pub use span::{Span, each_link};
pub use wire::DecodeError;

#[cfg(test)]
#[path = "generate_tests.rs"]
pub(crate) mod generated;

#[cfg(test)]
#[path = "walk_tests.rs"]
pub(crate) mod tests;

#[cfg(test)]
#[path = "wire_tests.rs"]
mod wire_tree;
