//! Sends the newest snapshot of each tenant to each endpoint.

pub mod backoff;
mod births;
mod bisect;
pub mod client;
mod connection;
pub mod encode_v1;
mod inbox;
mod offline;
pub mod relabel;
mod requests;
mod sender;
mod settings;

pub use offline::{Offline, Sent};
pub use sender::{Endpoint, Outlet};
pub use settings::{Auth, EndpointSettings, Pem, Secret, Settings, TlsSettings, TlsVersion};

/// Bytes that one endpoint holds of a label set: for its slot, taken or not;
pub const SLOT_BYTES: usize = births::SLOT_BYTES + 2 * size_of::<requests::Item>();
/// and for each of its series where there are relabelling rules, besides the labels.
pub const RELABELLED_BYTES: usize = 128;

/// The messages of remote write 1.0, for tests and tools; the service writes the bytes itself.
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/prometheus.rs"));
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::proto::{BucketSpan, Exemplar, Histogram, Label, Sample, TimeSeries, WriteRequest};
    use super::proto::{histogram::Count, histogram::ZeroCount};

    const AT: i64 = 1_700_000_000_000;

    /// Bytes that Prometheus was seen to take, made by hand.
    fn check(hex: &str, expected: TimeSeries) {
        let nibble = |c: u8| (c as char).to_digit(16).expect("hex");
        let byte = |pair: &[u8]| u8::try_from(nibble(pair[0]) * 16 + nibble(pair[1]));
        let bytes: Vec<u8> =
            hex.as_bytes().chunks(2).map(|pair| byte(pair).expect("two digits")).collect();
        let expected = WriteRequest { timeseries: vec![expected], metadata: Vec::new() };
        assert_eq!(WriteRequest::decode(&*bytes), Ok(expected.clone()));
        // What is zero may be written or left out.
        if !hex.contains("2000299d") {
            assert_eq!(expected.encode_to_vec(), bytes);
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
        let label =
            |pair: &(&str, &str)| Label { name: pair.0.to_owned(), value: pair.1.to_owned() };
        pairs.iter().map(label).collect()
    }

    #[test]
    fn samples_and_exemplars_have_their_places() {
        check(
            "0a4b0a0d0a085f5f6e616d655f5f12016d0a060a0161120162121009000000000000f83f1080d095ffbc31\
             1a200a0e0a0874726163655f69641202616211000000000000f03f1880d095ffbc31",
            TimeSeries {
                labels: labels(&[("__name__", "m"), ("a", "b")]),
                samples: vec![Sample { value: 1.5, timestamp: AT }],
                exemplars: vec![Exemplar {
                    labels: labels(&[("trace_id", "ab")]),
                    value: 1.0,
                    timestamp: AT,
                }],
                histograms: Vec::new(),
            },
        );
    }

    #[test]
    fn native_histograms_have_their_places() {
        check(
            "0a4a0a0d0a085f5f6e616d655f5f1201682239080c190000000000a040402000299d978ccf08ba5b253001\
             4204080210014a01025a04080010025a040804100162030604057880d095ffbc31",
            TimeSeries {
                labels: labels(&[("__name__", "h")]),
                histograms: vec![Histogram {
                    count: Some(Count::CountInt(12)),
                    sum: 33.25,
                    schema: 0,
                    zero_threshold: f64::from_bits(0x255b_ba08_cf8c_979d),
                    zero_count: Some(ZeroCount::ZeroCountInt(1)),
                    negative_spans: vec![BucketSpan { offset: 1, length: 1 }],
                    negative_deltas: vec![1],
                    positive_spans: vec![
                        BucketSpan { offset: 0, length: 2 },
                        BucketSpan { offset: 2, length: 1 },
                    ],
                    positive_deltas: vec![3, 2, -3],
                    timestamp: AT,
                    ..Histogram::default()
                }],
                ..TimeSeries::default()
            },
        );
    }
}
