//! OTLP/JSON becomes the wire form of the very same request: everything in it, so that sizes are right.
//!
//! The text is walked once and written as it is read. No message is built in between, since an empty
//! object of three bytes would then cost a hundred times as much memory. Fields stand in the order of
//! the text, which protobuf allows.

mod reader;
mod schema;

use serde::de::DeserializeSeed;

use reader::Fields;

/// What is wrong with a JSON body: the way to the field, what was found and expected, line and column.
#[derive(Debug, thiserror::Error)]
#[error("malformed OTLP/JSON: {0}")]
pub struct JsonError(#[from] serde_json::Error);

/// An `ExportTraceServiceRequest` from one JSON text.
pub fn to_wire(text: &[u8]) -> Result<Vec<u8>, JsonError> {
    // The wire form is shorter than its JSON; a third is typical.
    let mut wire = Vec::with_capacity(text.len() / 3);
    let mut json = serde_json::Deserializer::from_slice(text);
    Fields { schema: &schema::REQUEST, wire: &mut wire }.deserialize(&mut json)?;
    json.end()?;
    Ok(wire)
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
