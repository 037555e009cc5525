//! The walker against prost: on valid requests, on valid but unusual ones, and on broken ones.

#![expect(clippy::arithmetic_side_effects, reason = "a test that goes wrong panics")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1 as trace;
use proptest::prelude::*;
use prost::{DecodeError as ProstError, Message};

use super::generated::{Choices, choices, request};
use super::wire_tree::Tree;
use super::{
    AnyValue, DecodeError, KeyValue, MAX_VALUE_DEPTH, Resource, Span, Value, each_resource_spans,
    each_span,
};

// ---- what is read, whoever read it

#[derive(Debug, PartialEq)]
struct SeenResource {
    attributes: Vec<SeenAttribute>,
    spans: Vec<SeenSpan>,
}

#[derive(Debug, PartialEq)]
struct SeenSpan {
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
    parent_span_id: Vec<u8>,
    trace_state: Vec<u8>,
    name: Vec<u8>,
    kind: i32,
    start: u64,
    end: u64,
    status_code: i32,
    status_message: Vec<u8>,
    attributes: Vec<SeenAttribute>,
    size: usize,
}

#[derive(Debug, PartialEq)]
struct SeenAttribute {
    key: Vec<u8>,
    /// The form and the text of the value; none where nobody asks for it.
    value: Option<(&'static str, Vec<u8>)>,
}

/// Whether the value of a key is asked for.
type Asked = fn(&[u8]) -> bool;

fn all(_: &[u8]) -> bool {
    true
}

fn some(key: &[u8]) -> bool {
    key.len().is_multiple_of(2)
}

// ---- by the walker

fn walk(body: &[u8], asked: Asked) -> Result<Vec<SeenResource>, DecodeError> {
    let mut seen = Vec::new();
    each_resource_spans(body, |bytes| -> Result<(), DecodeError> {
        let resource = Resource::of(bytes)?;
        let mut pairs = Vec::new();
        resource.each_attribute(|pair| pairs.push(pair))?;
        let attributes = pairs.iter().map(|pair| walk_attribute(pair, asked));
        let attributes = attributes.collect::<Result<_, _>>()?;
        let mut spans = Vec::new();
        each_span(bytes, |bytes| -> Result<(), DecodeError> {
            spans.push(walk_span(bytes, asked)?);
            Ok(())
        })?;
        seen.push(SeenResource { attributes, spans });
        Ok(())
    })?;
    Ok(seen)
}

fn walk_span(bytes: &[u8], asked: Asked) -> Result<SeenSpan, DecodeError> {
    let mut attributes = Vec::new();
    let span = Span::read(bytes, |attribute| {
        attributes.push(walk_attribute(&KeyValue::read(attribute)?, asked)?);
        Ok(())
    })?;
    Ok(SeenSpan {
        trace_id: span.trace_id.to_vec(),
        span_id: span.span_id.to_vec(),
        parent_span_id: span.parent_span_id.to_vec(),
        trace_state: span.trace_state.to_vec(),
        name: span.name.to_vec(),
        kind: span.kind,
        start: span.start_unix_nano,
        end: span.end_unix_nano,
        status_code: span.status_code,
        status_message: span.status_message.to_vec(),
        attributes,
        size: bytes.len(),
    })
}

fn walk_attribute(pair: &KeyValue<'_>, asked: Asked) -> Result<SeenAttribute, DecodeError> {
    let value = if asked(pair.key) { Some(walk_value(&pair.value)?) } else { None };
    Ok(SeenAttribute { key: pair.key.to_vec(), value })
}

fn walk_value(value: &Value<'_>) -> Result<(&'static str, Vec<u8>), DecodeError> {
    let value = value.read()?;
    let form = match &value {
        AnyValue::Empty => "empty",
        AnyValue::String(_) => "string",
        AnyValue::Bool(_) => "bool",
        AnyValue::Int(_) => "int",
        AnyValue::Double(_) => "double",
        AnyValue::Array(_) => "array",
        AnyValue::Kvlist(_) => "kvlist",
        AnyValue::Bytes(_) => "bytes",
    };
    let mut text = Vec::new();
    value.render(usize::MAX, &mut text)?;
    Ok((form, text))
}

// ---- by prost, whole

fn whole(body: &[u8]) -> Result<Vec<SeenResource>, ProstError> {
    let request = ExportTraceServiceRequest::decode(body)?;
    Ok(request.resource_spans.iter().map(whole_resource).collect())
}

fn whole_resource(spans: &trace::ResourceSpans) -> SeenResource {
    let attributes = spans.resource.iter().flat_map(|resource| &resource.attributes);
    let all_spans = spans.scope_spans.iter().flat_map(|scope| &scope.spans);
    SeenResource {
        attributes: attributes.map(whole_attribute).collect(),
        spans: all_spans.map(whole_span).collect(),
    }
}

fn whole_span(span: &trace::Span) -> SeenSpan {
    let status = span.status.clone().unwrap_or_default();
    SeenSpan {
        trace_id: span.trace_id.clone(),
        span_id: span.span_id.clone(),
        parent_span_id: span.parent_span_id.clone(),
        trace_state: span.trace_state.clone().into_bytes(),
        name: span.name.clone().into_bytes(),
        kind: span.kind,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        status_code: status.code,
        status_message: status.message.into_bytes(),
        attributes: span.attributes.iter().map(whole_attribute).collect(),
        size: span.encoded_len(),
    }
}

fn whole_attribute(pair: &common::KeyValue) -> SeenAttribute {
    let form = match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        None | Some(Any::StringValueStrindex(_)) => "empty",
        Some(Any::StringValue(_)) => "string",
        Some(Any::BoolValue(_)) => "bool",
        Some(Any::IntValue(_)) => "int",
        Some(Any::DoubleValue(_)) => "double",
        Some(Any::ArrayValue(_)) => "array",
        Some(Any::KvlistValue(_)) => "kvlist",
        Some(Any::BytesValue(_)) => "bytes",
    };
    let text = pair.value.as_ref().map_or_else(String::new, |value| text_of(value, 0));
    SeenAttribute { key: pair.key.clone().into_bytes(), value: Some((form, text.into_bytes())) }
}

/// The text of a value (reference/tempo.md 1.7), lists nested to a depth of 8.
pub(crate) fn text_of(value: &common::AnyValue, depth: usize) -> String {
    match &value.value {
        None | Some(Any::BytesValue(_) | Any::StringValueStrindex(_)) => String::new(),
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::BoolValue(truth)) => truth.to_string(),
        Some(Any::IntValue(n)) => n.to_string(),
        Some(Any::DoubleValue(n)) => double(*n),
        Some(Any::ArrayValue(_) | Any::KvlistValue(_)) if depth == MAX_VALUE_DEPTH => {
            "<nested>".to_owned()
        }
        Some(Any::ArrayValue(array)) => {
            let texts: String = array.values.iter().map(|v| text_of(v, depth + 1)).collect();
            format!("[{texts}]")
        }
        Some(Any::KvlistValue(list)) => {
            let pair = |pair: &common::KeyValue| {
                let value = pair.value.clone().unwrap_or_default();
                format!("{}:{}", pair.key, text_of(&value, depth + 1))
            };
            format!("{{{}}}", list.values.iter().map(pair).collect::<String>())
        }
    }
}

fn double(n: f64) -> String {
    match n {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        n => format!("{n}"),
    }
}

// ---- by prost over the pruned schema: what is never read, and text, is bytes

#[derive(Clone, PartialEq, Message)]
struct PrunedRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<PrunedResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct PrunedResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<PrunedResource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<PrunedScopeSpans>,
    #[prost(bytes, tag = "3")]
    schema_url: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PrunedResource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<PrunedKeyValue>,
    #[prost(uint32, tag = "2")]
    dropped_attributes_count: u32,
    #[prost(bytes, repeated, tag = "3")]
    entity_refs: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct PrunedScopeSpans {
    #[prost(bytes, tag = "1")]
    scope: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<PrunedSpan>,
    #[prost(bytes, tag = "3")]
    schema_url: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PrunedSpan {
    #[prost(bytes, tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes, tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes, tag = "3")]
    trace_state: Vec<u8>,
    #[prost(bytes, tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(bytes, tag = "5")]
    name: Vec<u8>,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<PrunedKeyValue>,
    #[prost(uint32, tag = "10")]
    dropped_attributes_count: u32,
    #[prost(bytes, repeated, tag = "11")]
    events: Vec<Vec<u8>>,
    #[prost(uint32, tag = "12")]
    dropped_events_count: u32,
    #[prost(bytes, repeated, tag = "13")]
    links: Vec<Vec<u8>>,
    #[prost(uint32, tag = "14")]
    dropped_links_count: u32,
    #[prost(message, optional, tag = "15")]
    status: Option<PrunedStatus>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct PrunedStatus {
    #[prost(bytes, tag = "2")]
    message: Vec<u8>,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PrunedKeyValue {
    #[prost(bytes, tag = "1")]
    key: Vec<u8>,
    /// The pieces of the value, decoded where it is asked for.
    #[prost(bytes, repeated, tag = "2")]
    value: Vec<Vec<u8>>,
    #[prost(int32, tag = "3")]
    key_strindex: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PrunedAnyValue {
    #[prost(oneof = "PrunedAny", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    value: Option<PrunedAny>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum PrunedAny {
    #[prost(bytes, tag = "1")]
    String(Vec<u8>),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(PrunedList),
    #[prost(message, tag = "6")]
    Kvlist(PrunedList),
    #[prost(bytes, tag = "7")]
    Bytes(Vec<u8>),
    #[prost(int32, tag = "8")]
    StringRef(i32),
}

/// Elements are decoded down to the depth that is read.
#[derive(Clone, PartialEq, Message)]
struct PrunedList {
    #[prost(bytes, repeated, tag = "1")]
    values: Vec<Vec<u8>>,
}

fn pruned(body: &[u8], asked: Asked) -> Result<Vec<SeenResource>, ProstError> {
    let request = PrunedRequest::decode(body)?;
    request.resource_spans.into_iter().map(|spans| pruned_resource(spans, asked)).collect()
}

fn pruned_resource(spans: PrunedResourceSpans, asked: Asked) -> Result<SeenResource, ProstError> {
    let resource = spans.resource.unwrap_or_default();
    let attributes = resource.attributes.into_iter().map(|pair| pruned_attribute(pair, asked));
    let all_spans = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
    Ok(SeenResource {
        attributes: attributes.collect::<Result<_, _>>()?,
        spans: all_spans.map(|span| pruned_span(span, asked)).collect::<Result<_, _>>()?,
    })
}

fn pruned_span(span: PrunedSpan, asked: Asked) -> Result<SeenSpan, ProstError> {
    let status = span.status.unwrap_or_default();
    let attributes = span.attributes.into_iter().map(|pair| pruned_attribute(pair, asked));
    Ok(SeenSpan {
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent_span_id: span.parent_span_id,
        trace_state: span.trace_state,
        name: span.name,
        kind: span.kind,
        start: span.start,
        end: span.end,
        status_code: status.code,
        status_message: status.message,
        attributes: attributes.collect::<Result<_, _>>()?,
        size: 0,
    })
}

fn pruned_attribute(pair: PrunedKeyValue, asked: Asked) -> Result<SeenAttribute, ProstError> {
    let value = if asked(&pair.key) { Some(pruned_value(&pair.value, 0)?) } else { None };
    Ok(SeenAttribute { key: pair.key, value })
}

fn pruned_value(pieces: &[Vec<u8>], depth: usize) -> Result<(&'static str, Vec<u8>), ProstError> {
    let mut value = PrunedAnyValue::default();
    for piece in pieces {
        value.merge(&piece[..])?;
    }
    let Some(value) = value.value else { return Ok(("empty", Vec::new())) };
    Ok(match value {
        PrunedAny::StringRef(_) => ("empty", Vec::new()),
        PrunedAny::String(text) => ("string", text),
        PrunedAny::Bool(truth) => ("bool", truth.to_string().into_bytes()),
        PrunedAny::Int(n) => ("int", n.to_string().into_bytes()),
        PrunedAny::Double(n) => ("double", double(n).into_bytes()),
        PrunedAny::Bytes(_) => ("bytes", Vec::new()),
        PrunedAny::Array(_) if depth == MAX_VALUE_DEPTH => ("array", b"<nested>".to_vec()),
        PrunedAny::Kvlist(_) if depth == MAX_VALUE_DEPTH => ("kvlist", b"<nested>".to_vec()),
        PrunedAny::Array(list) => {
            let mut text = b"[".to_vec();
            for element in list.values {
                text.extend(pruned_value(&[element], depth + 1)?.1);
            }
            text.push(b']');
            ("array", text)
        }
        PrunedAny::Kvlist(list) => {
            let mut text = b"{".to_vec();
            for element in list.values {
                let pair = PrunedKeyValue::decode(&element[..])?;
                text.extend(pair.key);
                text.push(b':');
                text.extend(pruned_value(&pair.value, depth + 1)?.1);
            }
            text.push(b'}');
            ("kvlist", text)
        }
    })
}

// ---- the laws

/// `PROPTEST_CASES` for a longer run.
fn cases(by_default: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(by_default),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Sizes are told apart only where the encoding is prost's own.
fn without_sizes(mut seen: Vec<SeenResource>) -> Vec<SeenResource> {
    seen.iter_mut().flat_map(|resource| &mut resource.spans).for_each(|span| span.size = 0);
    seen
}

proptest! {
    #![proptest_config(cases(1_500))]

    /// Of what prost encodes, the walker reads what prost reads, in order.
    #[test]
    fn the_walker_reads_what_prost_encoded(choices in choices(900)) {
        let body = request(&mut Choices::new(&choices)).encode_to_vec();
        prop_assert_eq!(walk(&body, all), Ok(whole(&body).expect("from prost")));
    }

    /// However validly a request is written, the walker reads of it what prost reads.
    #[test]
    fn the_walker_follows_prost_through_unusual_encodings(
        choices in choices(900),
        changes in choices(300),
    ) {
        let mut tree = Tree::of(&request(&mut Choices::new(&choices)));
        tree.make_unusual(&mut Choices::new(&changes));
        let body = tree.encode();
        let expected = whole(&body).expect("unusual, but valid");
        prop_assert_eq!(walk(&body, all).map(without_sizes), Ok(without_sizes(expected)));
    }

    /// The walker accepts a broken request if and only if prost does over the pruned schema, and then
    /// reads the same. (Exceptions: groups nested beyond prost's recursion limit, 100 with the
    /// messages around them, of which the walker counts the groups alone; they are not made here. Of
    /// lists that are nested 9 deep and deeper neither side looks at the elements.)
    #[test]
    fn the_walker_accepts_what_prost_accepts_over_the_pruned_schema(
        choices in choices(400),
        changes in choices(60),
        breaks in choices(40),
    ) {
        let mut tree = Tree::of(&request(&mut Choices::new(&choices)));
        tree.make_unusual(&mut Choices::new(&changes));
        let body = tree.break_bytes(&mut Choices::new(&breaks));
        match (walk(&body, some), pruned(&body, some)) {
            (Ok(seen), Ok(expected)) => prop_assert_eq!(without_sizes(seen), expected),
            (Err(_), Err(_)) => {}
            (seen, expected) => {
                prop_assert!(false, "walker {:?}, prost {:?}, of {:02x?}", seen, expected, body);
            }
        }
    }
}

/// A request of one span with these bytes for the fields of its only attribute's value.
fn around_values(values: &[&[u8]]) -> Vec<u8> {
    let field = |key: u8, content: &[u8]| {
        let len = u8::try_from(content.len()).expect("short");
        [&[key, len][..], content].concat()
    };
    let values: Vec<u8> = values.iter().flat_map(|value| field(0x12, value)).collect();
    let attribute = field(0x4a, &[&b"\x0a\x01k"[..], &values].concat());
    field(0x0a, &field(0x12, &field(0x12, &attribute)))
}

/// What random breaking seldom makes: broken parts that would be whole together, or are replaced.
#[test]
fn each_piece_of_a_value_and_each_list_must_be_whole_by_itself() {
    let cases: [(&[&[u8]], bool); 7] = [
        (&[b"\x0a\x01x", b"\x0a\x01y"], true),
        (&[b"\x0a\x05", b"hello"], false),
        (&[b"\x2a\x04\x0a\x02\x18\x01", b"\x2a\x04\x0a\x02\x18\x02"], true),
        (&[b"\x2a\x02\x0a\x02", b"\x2a\x02\x18\x01"], false),
        (&[b"\x2a\x02\x0a\x02\x2a\x02\x18\x01"], false),
        (&[b"\x2a\x01\xff\x0a\x01x"], false),
        (&[b"\x32\x01\xff\x18\x01"], false),
    ];
    for (values, valid) in cases {
        let body = around_values(values);
        let (walked, expected) = (walk(&body, all), pruned(&body, all));
        assert_eq!(walked.is_ok(), valid, "walker, {values:02x?}: {walked:?}");
        assert_eq!(expected.is_ok(), valid, "prost, {values:02x?}: {expected:?}");
        if let (Ok(walked), Ok(expected)) = (walked, expected) {
            assert_eq!(without_sizes(walked), expected);
        }
    }
}
