//! Remote write 1.0: a `WriteRequest` written by hand from label blocks (remote-write.md 1.1).
//!
//! The bytes are those that prost would write: a value of 0.0 has no field.

use crate::collect::{push_label, put_varint, varint_len};

/// A value that ends a series: this very NaN (remote-write.md 1.5). It must be moved as bits.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A value, as bits, and its timestamp in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub bits: u64,
    pub at_ms: i64,
}

impl Sample {
    pub fn new(value: f64, at_ms: i64) -> Self {
        Self { bits: value.to_bits(), at_ms }
    }
}

/// An exemplar with its encoded labels.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedExemplar {
    pub labels: Vec<u8>,
    pub value: f64,
    pub at_ms: i64,
}

impl EncodedExemplar {
    /// `{TRACE_ID_LABEL="32 hex", span_id="16 hex"}`
    pub fn new(
        trace_id_label: &str,
        trace_id: &[u8; 16],
        span_id: &[u8; 8],
        value: f64,
        at_ms: i64,
    ) -> Self {
        let mut labels = Vec::with_capacity(72);
        push_label(&mut labels, trace_id_label, &hex(trace_id));
        push_label(&mut labels, "span_id", &hex(span_id));
        Self { labels, value, at_ms }
    }
}

/// Appends one time series: the labels in parts, in their order.
#[inline]
pub fn push_series(
    out: &mut Vec<u8>,
    labels: &[&[u8]],
    samples: &[Sample],
    exemplar: Option<&EncodedExemplar>,
) {
    let labels_len: usize = labels.iter().map(|part| part.len()).sum();
    let samples_len: usize = samples.iter().map(|s| field_len(sample_len(s))).sum();
    let exemplar_field = exemplar.map_or(0, |e| field_len(exemplar_len(e)));
    out.push(0x0a);
    put_varint(out, (labels_len + samples_len + exemplar_field) as u64);
    for part in labels {
        out.extend_from_slice(part);
    }
    for sample in samples {
        out.push(0x12);
        put_varint(out, sample_len(sample) as u64);
        put_double(out, 1, sample.bits);
        put_timestamp(out, 2, sample.at_ms);
    }
    if let Some(exemplar) = exemplar {
        out.push(0x1a);
        put_varint(out, exemplar_len(exemplar) as u64);
        out.extend_from_slice(&exemplar.labels);
        put_double(out, 2, exemplar.value.to_bits());
        put_timestamp(out, 3, exemplar.at_ms);
    }
}

/// A length-delimited field with a one-byte tag.
fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

fn sample_len(sample: &Sample) -> usize {
    double_len(sample.bits) + timestamp_len(sample.at_ms)
}

fn exemplar_len(exemplar: &EncodedExemplar) -> usize {
    exemplar.labels.len() + double_len(exemplar.value.to_bits()) + timestamp_len(exemplar.at_ms)
}

fn double_len(bits: u64) -> usize {
    if bits == 0 { 0 } else { 9 }
}

/// An int64 is a plain varint: a negative one takes ten bytes.
fn timestamp_len(ms: i64) -> usize {
    if ms == 0 { 0 } else { 1 + varint_len(ms.cast_unsigned()) }
}

fn put_double(out: &mut Vec<u8>, field: u8, bits: u64) {
    if bits != 0 {
        out.push(field << 3 | 1);
        out.extend_from_slice(&bits.to_le_bytes());
    }
}

fn put_timestamp(out: &mut Vec<u8>, field: u8, ms: i64) {
    if ms != 0 {
        out.push(field << 3);
        put_varint(out, ms.cast_unsigned());
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

#[cfg(test)]
#[path = "encode_v1_tests.rs"]
mod tests;
