//! OTLP's protobuf, walked in place: borrowed views of resource, span and attribute.

mod wire;

pub use wire::DecodeError;
