//! The writer's bytes against those of prost, and against bytes that Prometheus was seen to take.

use proptest::prelude::*;
use prost::Message;

use super::super::proto;
use super::*;

const AT: i64 = 1_700_000_000_000;

fn block(labels: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    labels.iter().for_each(|(name, value)| push_label(&mut bytes, name, value));
    bytes
}

fn to_proto(labels: &[(String, String)]) -> Vec<proto::Label> {
    let label = |(name, value): &(String, String)| proto::Label {
        name: name.clone(),
        value: value.clone(),
    };
    labels.iter().map(label).collect()
}

fn pairs(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_golden_series_with_an_exemplar_is_written_to_the_byte() {
    let labels = [block(&pairs(&[("__name__", "m")])), block(&pairs(&[("a", "b")]))];
    let exemplar =
        EncodedExemplar { labels: block(&pairs(&[("trace_id", "ab")])), value: 1.0, at_ms: AT };
    let mut out = Vec::new();
    let labels = [&*labels[0], &*labels[1]];
    push_series(&mut out, &labels, &[Sample::new(1.5, AT)], Some(&exemplar));
    assert_eq!(
        hex_of(&out),
        "0a4b0a0d0a085f5f6e616d655f5f12016d0a060a0161120162121009000000000000f83f1080d095ffbc31\
         1a200a0e0a0874726163655f69641202616211000000000000f03f1880d095ffbc31"
    );
}

#[test]
fn the_golden_stale_marker_is_written_to_the_bit() {
    let labels = block(&pairs(&[("__name__", "m"), ("a", "b")]));
    let mut out = Vec::new();
    push_series(&mut out, &[&labels], &[Sample { bits: STALE, at_ms: AT }], None);
    assert_eq!(
        hex_of(&out),
        "0a290a0d0a085f5f6e616d655f5f12016d0a060a0161120162121009020000000000f07f1080d095ffbc31"
    );
    let decoded = proto::WriteRequest::decode(&*out).expect("a request");
    assert_eq!(decoded.timeseries[0].samples[0].value.to_bits(), 0x7ff0_0000_0000_0002);
}

#[test]
fn an_exemplar_names_its_trace_and_span_in_hex() {
    let trace_id = [0xab, 0xcd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 255];
    let exemplar =
        EncodedExemplar::new("traceID", &trace_id, &[0, 1, 2, 3, 4, 5, 6, 0xfe], 0.5, AT);
    let expected =
        pairs(&[("traceID", "abcd000102030405060708090a0b0cff"), ("span_id", "00010203040506fe")]);
    assert_eq!(exemplar.labels, block(&expected));
}

#[test]
fn a_zero_keeps_its_sign_though_prost_leaves_both_out() {
    let mut out = Vec::new();
    push_series(&mut out, &[], &[Sample::new(-0.0, AT), Sample::new(0.0, AT)], None);
    let decoded = proto::WriteRequest::decode(&*out).expect("a request");
    let bits = |i: usize| decoded.timeseries[0].samples[i].value.to_bits();
    assert_eq!([bits(0), bits(1)], [1 << 63, 0]);
}

/// Any bits but those of -0.0, with those that matter more often.
fn bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>().prop_filter("-0.0", |bits| *bits != 1 << 63),
        Just(0),
        Just(STALE),
        any::<u32>().prop_map(|n| f64::from(n).to_bits()),
    ]
}

fn ms() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), Just(0), AT..AT + 1_000_000]
}

/// Nothing in them is empty: the collection sees to that.
fn labels(max: usize) -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec((".{1,12}", ".{1,200}"), 0..max)
}

proptest! {
    #[test]
    fn what_is_written_is_what_prost_writes_and_reads(
        all in proptest::collection::vec(
            (
                labels(5),
                0_usize..6,
                proptest::collection::vec((bits(), ms()), 0..4),
                proptest::option::of((labels(3), bits(), ms())),
            ),
            0..4,
        )
    ) {
        let mut out = Vec::new();
        let mut expected = proto::WriteRequest::default();
        for (labels, cut, samples, exemplar) in all {
            let (left, right) = labels.split_at(cut.min(labels.len()));
            let ours: Vec<_> =
                samples.iter().map(|&(bits, at_ms)| Sample { bits, at_ms }).collect();
            let encoded = exemplar.as_ref().map(|(labels, bits, at_ms)| EncodedExemplar {
                labels: block(labels),
                value: f64::from_bits(*bits),
                at_ms: *at_ms,
            });
            push_series(&mut out, &[&block(left), &[], &block(right)], &ours, encoded.as_ref());
            let sample = |&(bits, timestamp): &(u64, i64)| proto::Sample {
                value: f64::from_bits(bits),
                timestamp,
            };
            expected.timeseries.push(proto::TimeSeries {
                labels: to_proto(&labels),
                samples: samples.iter().map(sample).collect(),
                exemplars: exemplar.iter().map(|(labels, bits, timestamp)| proto::Exemplar {
                    labels: to_proto(labels),
                    value: f64::from_bits(*bits),
                    timestamp: *timestamp,
                }).collect(),
                histograms: Vec::new(),
            });
        }
        prop_assert_eq!(&out, &expected.encode_to_vec());
        let decoded = proto::WriteRequest::decode(&*out).expect("a request");
        // Not compared as floats: a NaN is not equal to itself.
        prop_assert_eq!(format!("{decoded:?}"), format!("{expected:?}"));
        let bits = |r: &proto::WriteRequest| -> Vec<u64> {
            r.timeseries.iter().flat_map(|t| &t.samples).map(|s| s.value.to_bits()).collect()
        };
        prop_assert_eq!(bits(&decoded), bits(&expected));
    }
}
