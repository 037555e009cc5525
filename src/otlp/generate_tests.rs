//! Requests for property tests, made out of a list of choices: a shorter list makes a smaller request,
//! so that a failing case shrinks.

#![expect(clippy::arithmetic_side_effects, reason = "a test that goes wrong panics")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::prelude::*;

/// The time that the spans lie around.
pub(crate) const NOW_NANO: u64 = 1_795_000_000_000_000_000;

/// Few enough that resource, span and settings meet in them.
pub(crate) const KEYS: [&str; 22] = [
    "http.method",
    "service.name",
    "service.namespace",
    "service.instance.id",
    "http_method",
    "span.kind",
    "service",
    "host.id",
    "k8s.node.name",
    "ratio",
    "le",
    "__name__",
    "job",
    "instance",
    "1st",
    "gr\u{f6}\u{df}e",
    "",
    "a.key.that.is.long.enough.to.be.longer.than.sixty-three.bytes.by.far",
    "status.message",
    "empty",
    "k",
    "other",
];

const TEXTS: [&str; 16] = [
    "",
    "GET",
    "POST /cart/{id}",
    "cart",
    "0.25",
    "1e-7",
    "no number",
    "gr\u{f6}\u{df}e \u{1f600}\u{1f600}\u{1f600}",
    "SPAN_KIND_SERVER",
    "true",
    "0",
    "7",
    "eu",
    "a\"b\nc\\",
    "\u{0}",
    "\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}",
];

const TRACE_STATES: [&str; 12] = [
    "",
    "ot=th:8",
    "vendor=x, ot=th:c;rv:80000000000000",
    "ot=th:4;rv:00000000000001",
    "ot=th:4;rv:ffffffffffffff",
    "ot=th:4",
    "ot=th:ffffffffffffff",
    "ot=rv:00000000000000",
    "ot=th:xyz",
    "ot=p:1;th:0",
    "xot=th:8",
    "a=1,b=2",
];

const NUMBERS: [u64; 12] =
    [0, 1, 2, 7, 127, 128, 300, 1 << 31, (1 << 32) - 1, 1 << 63, u64::MAX, (1 << 53) + 1];

const DOUBLES: [f64; 14] = [
    0.0,
    0.25,
    1.0,
    -0.0,
    7.0,
    1e21,
    1e-7,
    1e-6,
    1e6,
    0.1,
    5e-324,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

const DEEPEST: usize = 11;

/// Choices that are made one after the other; when they are used up the first is always taken.
#[derive(Debug)]
pub(crate) struct Choices<'a> {
    left: &'a [u16],
}

/// Lists of choices.
pub(crate) fn choices(most: usize) -> impl Strategy<Value = Vec<u16>> {
    vec(any::<u16>(), 0..most)
}

impl<'a> Choices<'a> {
    pub(crate) fn new(left: &'a [u16]) -> Self {
        Self { left }
    }

    /// One of `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let Some((&first, rest)) = self.left.split_first() else { return 0 };
        self.left = rest;
        usize::from(first) % n
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.left.is_empty()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub(crate) fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        *these.get(self.below(these.len())).expect("not empty")
    }

    pub(crate) fn number(&mut self) -> u64 {
        if self.one_in(4) {
            let part = |c: &mut Self| c.below(1 << 16) as u64;
            return part(self) << 48 | part(self) << 32 | part(self) << 16 | part(self);
        }
        self.one_of(&NUMBERS)
    }

    pub(crate) fn text(&mut self) -> String {
        self.one_of(&TEXTS).to_owned()
    }

    pub(crate) fn key(&mut self) -> String {
        self.one_of(&KEYS).to_owned()
    }

    pub(crate) fn list<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n = self.below(most + 1);
        let mut list = Vec::new();
        while list.len() < n && !self.is_used_up() {
            list.push(make(self));
        }
        list
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.below(4) > 0 { Some(make(self)) } else { None }
    }
}

pub(crate) fn request(c: &mut Choices<'_>) -> ExportTraceServiceRequest {
    let mut resource_spans = c.list(4, resource_spans);
    if c.one_in(3) {
        // The same resource again, as re-batching senders do.
        let again = resource_spans.first().and_then(|first| first.resource.clone());
        resource_spans.push(ResourceSpans { resource: again, ..self::resource_spans(c) });
    }
    ExportTraceServiceRequest { resource_spans }
}

fn resource_spans(c: &mut Choices<'_>) -> ResourceSpans {
    ResourceSpans {
        resource: c.maybe(|c| Resource {
            attributes: c.list(6, attribute),
            dropped_attributes_count: small(c),
            entity_refs: c.list(1, |c| EntityRef {
                r#type: c.text(),
                id_keys: vec![c.key()],
                ..EntityRef::default()
            }),
        }),
        scope_spans: c.list(3, |c| ScopeSpans {
            scope: c.maybe(|c| InstrumentationScope {
                name: c.text(),
                version: c.text(),
                attributes: c.list(2, attribute),
                dropped_attributes_count: small(c),
            }),
            spans: c.list(6, span),
            schema_url: c.text(),
        }),
        schema_url: c.text(),
    }
}

fn span(c: &mut Choices<'_>) -> Span {
    let end = end(c);
    Span {
        trace_id: id(c, 16),
        span_id: id(c, 8),
        trace_state: c.one_of(&TRACE_STATES).to_owned(),
        parent_span_id: id(c, 8),
        flags: small(c),
        name: c.text(),
        kind: enumerated(c, 7),
        start_time_unix_nano: start(c, end),
        end_time_unix_nano: end,
        attributes: c.list(7, attribute),
        dropped_attributes_count: small(c),
        events: c.list(2, |c| Event {
            time_unix_nano: c.number(),
            name: c.text(),
            attributes: c.list(2, attribute),
            dropped_attributes_count: small(c),
        }),
        dropped_events_count: small(c),
        links: c.list(2, |c| Link {
            trace_id: id(c, 16),
            span_id: id(c, 8),
            trace_state: c.text(),
            attributes: c.list(2, attribute),
            dropped_attributes_count: small(c),
            flags: small(c),
        }),
        dropped_links_count: small(c),
        status: c.maybe(|c| Status { message: c.text(), code: enumerated(c, 4) }),
    }
}

/// Around the edges of windows of a minute and an hour.
fn end(c: &mut Choices<'_>) -> u64 {
    const MINUTE: u64 = 60_000_000_000;
    let near = [NOW_NANO, NOW_NANO + MINUTE, NOW_NANO - MINUTE, NOW_NANO - 60 * MINUTE];
    match c.below(8) {
        7 => c.number(),
        6 => c.one_of(&near) + 1,
        5 => c.one_of(&near) - 1,
        _ => c.one_of(&near),
    }
}

/// Around the bounds of buckets; also after the end, at 0, and more than 100 years before.
fn start(c: &mut Choices<'_>, end: u64) -> u64 {
    const LATENCIES: [u64; 12] = [
        0,
        2_000_000,
        2_000_001,
        1_999_999,
        4_000_000,
        1_024_000_000,
        16_384_000_001,
        3_600_000_000_000,
        1,
        3_153_600_000_000_000_000,
        3_153_600_000_000_000_001,
        999_999_999,
    ];
    match c.below(12) {
        11 => c.number(),
        10 => 0,
        9 => end.saturating_add(1),
        8 => end.saturating_sub(c.number()),
        _ => end.saturating_sub(c.one_of(&LATENCIES)),
    }
}

fn id(c: &mut Choices<'_>, len: u8) -> Vec<u8> {
    let at = u8::try_from(c.below(40)).expect("small");
    match at {
        0 => vec![0; len.into()],
        1 => Vec::new(),
        2 => vec![1; usize::from(len) - 1],
        3 => vec![1; usize::from(len) + 1],
        4 => vec![1; 2 * usize::from(len)],
        _ => (0..len).map(|i| at.wrapping_mul(i.wrapping_add(1))).collect(),
    }
}

fn small(c: &mut Choices<'_>) -> u32 {
    c.one_of(&[0, 1, 300, u32::MAX])
}

fn enumerated(c: &mut Choices<'_>, n: i32) -> i32 {
    match c.below(8) {
        7 => c.one_of(&[-1, 99, i32::MIN, i32::MAX]),
        known => i32::try_from(known).expect("small") % n,
    }
}

fn attribute(c: &mut Choices<'_>) -> KeyValue {
    let key = c.key();
    let value = c.maybe(|c| any_value(c, 0));
    let key_strindex = if c.one_in(20) { 5 } else { 0 };
    KeyValue { key, value, key_strindex }
}

fn any_value(c: &mut Choices<'_>, depth: usize) -> AnyValue {
    // Now and then straight down, past the depth that is read.
    let deeper = depth > 0 && c.below(3) > 0 || c.one_in(6);
    let value = match (deeper && depth < DEEPEST, c.below(11)) {
        (true, n) if n % 2 == 0 => {
            Any::ArrayValue(ArrayValue { values: c.list(2, |c| any_value(c, depth + 1)) })
        }
        (true, _) => Any::KvlistValue(KeyValueList {
            values: c.list(2, |c| KeyValue {
                key: c.key(),
                value: c.maybe(|c| any_value(c, depth + 1)),
                key_strindex: 0,
            }),
        }),
        (false, 10) => return AnyValue { value: None },
        (false, 9) => Any::StringValueStrindex(3),
        (false, 8) => Any::BytesValue(c.text().into_bytes()),
        (false, 7) => Any::BoolValue(c.one_in(2)),
        (false, 5 | 6) => Any::DoubleValue(c.one_of(&DOUBLES)),
        (false, 3 | 4) => Any::IntValue(c.number().cast_signed()),
        (false, _) => Any::StringValue(c.text()),
    };
    AnyValue { value: Some(value) }
}
