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
    let mut wire = Vec::with_capacity(wire_bytes_max(text));
    let mut json = serde_json::Deserializer::from_slice(text);
    Fields { schema: &schema::REQUEST, wire: &mut wire }.deserialize(&mut json)?;
    json.end()?;
    Ok(wire)
}

/// The wire form is shorter than its JSON, a third is typical; but `"kind":-1,` becomes eleven bytes.
fn wire_bytes_max(text: &[u8]) -> usize {
    text.len() + text.len() / 8 + 16
}

/// All that [`to_wire`] takes: the wire form, and the longest string, which is copied if it has escapes
/// or is base64.
pub(super) fn bytes_max(text: &[u8]) -> usize {
    /// Up to here it does not matter.
    const SHORT: usize = 1 << 20;
    let longest = if text.len() <= SHORT || text.contains(&b'\\') {
        text.len()
    } else {
        text.split(|&b| b == b'"').map(<[u8]>::len).max().unwrap_or_default()
    };
    wire_bytes_max(text) + longest
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
