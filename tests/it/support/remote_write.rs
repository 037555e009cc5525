//! Remote write 1.0 by hand, so that the tests' messages are not the product's.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use super::oracle::Labels;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Label {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    /// Milliseconds since the epoch.
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub(crate) value: f64,
    #[prost(int64, tag = "3")]
    pub(crate) timestamp: i64,
}

pub(crate) const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// Snappy's block format around protobuf.
pub(crate) fn encode(request: &WriteRequest) -> Bytes {
    let compressed = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
    compressed.expect("a request fits into a block").into()
}

pub(crate) fn decode(body: &[u8]) -> Result<WriteRequest, String> {
    let bytes =
        snap::raw::Decoder::new().decompress_vec(body).map_err(|e| format!("snappy: {e}"))?;
    WriteRequest::decode(bytes.as_slice()).map_err(|error| format!("protobuf: {error}"))
}

/// A label set as the specification wants it: sorted, each name once, nothing empty.
pub(crate) fn labels_of(labels: &[Label]) -> Result<Labels, String> {
    let sorted = labels.windows(2).all(|pair| pair[0].name < pair[1].name);
    let filled = labels.iter().all(|label| !label.name.is_empty() && !label.value.is_empty());
    if !sorted || !filled {
        return Err(format!("labels are not sorted, not distinct or empty: {labels:?}"));
    }
    Ok(labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect())
}

pub(crate) fn to_labels(labels: &Labels) -> Vec<Label> {
    let pair =
        |(name, value): (&String, &String)| Label { name: name.clone(), value: value.clone() };
    labels.iter().map(pair).collect()
}

/// One sample a series, all at one time.
pub(crate) fn snapshot(series: &BTreeMap<Labels, f64>, timestamp: i64) -> WriteRequest {
    let one = |(labels, &value): (&Labels, &f64)| TimeSeries {
        labels: to_labels(labels),
        samples: vec![Sample { value, timestamp }],
        exemplars: Vec::new(),
    };
    WriteRequest { timeseries: series.iter().map(one).collect() }
}
