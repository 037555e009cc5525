//! Each rule of values by an example, named as the claim that it makes.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use super::{
    DimensionMapping, FilterPolicy, HostInfo, IntrinsicDimensions, MatchType, Multiplier, Plan,
    PolicyAttribute, PolicyMatch, PolicyValue, Processors, Sanitization, ServiceGraphs, Settings,
    SpanMetrics, SpanNames, StageError, Stager, Window,
};
use crate::batch::{Batch, Demand, Discarded, Processor, Repaired, Row, Table};

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const NOW: u64 = 1_795_000_000 * SECOND;

pub(super) fn settings() -> Settings {
    Settings {
        processors: Processors {
            calls: true,
            latency: true,
            size: true,
            service_graphs: false,
            host_info: false,
        },
        window: None,
        span_metrics: SpanMetrics {
            histogram_buckets: vec![0.5, 1.0, 2.0],
            intrinsic_dimensions: IntrinsicDimensions {
                service: true,
                span_name: true,
                span_kind: false,
                status_code: false,
                status_message: false,
            },
            dimensions: Vec::new(),
            dimension_mappings: Vec::new(),
            enable_target_info: false,
            target_info_excluded_dimensions: Vec::new(),
            enable_instance_label: true,
            multiplier: Multiplier::default(),
            filter_policies: Vec::new(),
        },
        service_graphs: ServiceGraphs::default(),
        host_info: HostInfo {
            host_identifiers: vec!["k8s.node.name".to_owned(), "host.id".to_owned()],
            metric_name: "traces_host_info".to_owned(),
        },
        span_names: SpanNames::default(),
        max_label_name_length: 1024,
        max_label_value_length: 2048,
    }
}

fn with_dimensions(dimensions: &[&str]) -> Settings {
    let mut settings = settings();
    settings.span_metrics.dimensions = dimensions.iter().map(|&key| key.to_owned()).collect();
    settings
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.to_owned()))
}

pub(super) fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// One second long, with ids.
pub(super) fn span(attributes: &[KeyValue]) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "op".to_owned(),
        start_time_unix_nano: NOW - SECOND,
        end_time_unix_nano: NOW,
        attributes: attributes.to_vec(),
        ..Span::default()
    }
}

fn request(resource: &[KeyValue], spans: &[Span]) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans: spans.to_vec(), ..ScopeSpans::default() }];
    let resource = Some(Resource { attributes: resource.to_vec(), ..Resource::default() });
    let spans = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec()
}

fn try_stage(settings: &Settings, body: &[u8]) -> Result<Batch, StageError> {
    let plan = Plan::new(settings, 0).expect("valid settings");
    Stager::default().stage(&plan, body, Duration::from_nanos(NOW)).cloned()
}

pub(super) fn stage(settings: &Settings, resource: &[KeyValue], spans: &[Span]) -> Batch {
    try_stage(settings, &request(resource, spans)).expect("a valid request")
}

/// The label sets of a table, `name=value` joined by commas.
fn sets(batch: &Batch, table: Table) -> Vec<String> {
    let rows = batch.rows.iter().filter(|row| row.table == table);
    let set = |row: &Row| {
        let labels = batch.labels(row);
        let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        pairs.join(",")
    };
    rows.map(set).collect()
}

/// The label set of the only span row.
#[track_caller]
fn only_set(batch: &Batch) -> String {
    let sets = sets(batch, Table::SpanMetrics);
    assert_eq!(sets.len(), 1, "{sets:?}");
    sets.into_iter().next().expect("one")
}

/// What becomes of one span with one attribute `k`, asked for as dimension `k`.
fn label_of(value: Any) -> String {
    let batch = stage(&with_dimensions(&["k"]), &[], &[span(&[attribute("k", value)])]);
    let labels = batch.labels(&batch.rows[0]);
    labels.get("k").to_owned()
}

fn repaired(batch: &Batch) -> [u64; Repaired::ALL.len()] {
    Repaired::ALL.map(|what| batch.tallies.repaired(what))
}

// ---- names

#[test]
fn names_that_prometheus_or_the_span_metrics_use_get_underscores_in_front() {
    let keys = ["le", "__name__", "span.name", "1st", "http.route", "gr\u{f6}\u{df}e"];
    let attributes = keys.map(|key| text(key, "v"));
    let batch = stage(&with_dimensions(&keys), &[], &[span(&attributes)]);
    let expected = "_1st=v,____name__=v,__le=v,__span_name=v,gr__e=v,http_route=v,span_name=op";
    assert_eq!(only_set(&batch), expected);
}

#[test]
fn a_dimension_named_as_an_intrinsic_label_is_moved_even_when_that_label_is_off() {
    let batch = stage(&with_dimensions(&["span.kind"]), &[], &[span(&[text("span.kind", "x")])]);
    assert_eq!(only_set(&batch), "__span_kind=x,span_name=op");
}

#[test]
fn the_last_of_several_dimensions_of_one_name_wins_and_deletes_where_it_is_absent() {
    let settings = with_dimensions(&["http.method", "http_method"]);
    let both = [text("http.method", "GET"), text("http_method", "PUT")];
    assert_eq!(only_set(&stage(&settings, &[], &[span(&both)])), "http_method=PUT,span_name=op");
    assert_eq!(only_set(&stage(&settings, &[], &[span(&both[..1])])), "span_name=op");
}

#[test]
fn a_name_is_cut_to_its_limit() {
    let settings = Settings { max_label_name_length: 9, ..with_dimensions(&["a.long.name"]) };
    let batch = stage(&settings, &[], &[span(&[text("a.long.name", "v")])]);
    assert_eq!(only_set(&batch), "a_long_na=v,span_name=op");
}

// ---- where values come from

#[test]
fn a_resource_attribute_masks_the_span_s_even_when_it_is_empty() {
    let settings = with_dimensions(&["k"]);
    let spans = [span(&[text("k", "of span")])];
    let of_resource = stage(&settings, &[text("k", "of resource")], &spans);
    assert_eq!(only_set(&of_resource), "k=of resource,span_name=op");
    for empty in [Any::StringValue(String::new()), Any::BytesValue(b"x".to_vec())] {
        let masked = stage(&settings, &[attribute("k", empty)], &spans);
        assert_eq!(only_set(&masked), "span_name=op");
    }
    let no_value = KeyValue { key: "k".to_owned(), ..KeyValue::default() };
    assert_eq!(only_set(&stage(&settings, &[no_value], &spans)), "span_name=op");
}

#[test]
fn of_attributes_with_one_key_the_first_counts() {
    let twice = [text("k", "first"), text("k", "second")];
    let settings = with_dimensions(&["k"]);
    assert_eq!(only_set(&stage(&settings, &[], &[span(&twice)])), "k=first,span_name=op");
    assert_eq!(only_set(&stage(&settings, &twice, &[span(&[])])), "k=first,span_name=op");
    let services = [text("service.name", "a"), text("service.name", "b")];
    let batch = stage(&settings, &services, &[span(&[])]);
    assert_eq!(only_set(&batch), "service=a,span_name=op");
    let empty_first = [text("k", ""), text("k", "second")];
    assert_eq!(only_set(&stage(&settings, &[], &[span(&empty_first)])), "span_name=op");
}

#[test]
fn an_empty_label_is_left_out() {
    let nameless = Span { name: String::new(), ..span(&[text("k", "")]) };
    let batch = stage(&with_dimensions(&["k"]), &[text("service.name", "cart")], &[nameless]);
    assert_eq!(only_set(&batch), "service=cart");
}

#[test]
fn a_span_without_service_name_has_no_service_label_and_counts() {
    let batch = stage(&settings(), &[], &[span(&[])]);
    assert_eq!(only_set(&batch), "span_name=op");
    assert_eq!(batch.rows[0].spans, 1);
    let no_resource = ResourceSpans {
        scope_spans: vec![ScopeSpans { spans: vec![span(&[])], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    let body = ExportTraceServiceRequest { resource_spans: vec![no_resource] }.encode_to_vec();
    assert_eq!(try_stage(&settings(), &body), Ok(batch));
}

#[test]
fn unknown_kinds_and_statuses_are_decimal_numbers() {
    let mut settings = settings();
    settings.span_metrics.intrinsic_dimensions.span_kind = true;
    settings.span_metrics.intrinsic_dimensions.status_code = true;
    let with =
        |kind, code| Span { kind, status: Some(Status { code, ..Status::default() }), ..span(&[]) };
    let spans = [with(99, 77), with(-1, i32::MIN), with(2, 2), Span { kind: 5, ..span(&[]) }];
    assert_eq!(
        sets(&stage(&settings, &[], &spans), Table::SpanMetrics),
        [
            "span_kind=99,span_name=op,status_code=77",
            "span_kind=-1,span_name=op,status_code=-2147483648",
            "span_kind=SPAN_KIND_SERVER,span_name=op,status_code=STATUS_CODE_ERROR",
            "span_kind=SPAN_KIND_CONSUMER,span_name=op,status_code=STATUS_CODE_UNSET",
        ]
    );
}

#[test]
fn a_mapping_joins_what_is_present_and_a_coalescing_one_takes_the_first() {
    let mut settings = settings();
    let mapping = |name: &str, coalesce| DimensionMapping {
        name: name.to_owned(),
        source_labels: ["a", "b.c", "d"].map(str::to_owned).to_vec(),
        join: "/".to_owned(),
        coalesce,
    };
    settings.span_metrics.dimension_mappings = vec![mapping("all", false), mapping("any", true)];
    let spans = [span(&[text("d", "3"), text("b.c", "2"), text("a", "")])];
    assert_eq!(only_set(&stage(&settings, &[], &spans)), "all=2/3,any=2,span_name=op");
    let masked = [text("b.c", "r")];
    assert_eq!(only_set(&stage(&settings, &masked, &spans)), "all=r/3,any=r,span_name=op");
    assert_eq!(only_set(&stage(&settings, &[], &[span(&[])])), "span_name=op");
}

// ---- how values are written

#[test]
fn scalars_are_written_as_tempo_writes_them() {
    for (value, label) in [
        (Any::BoolValue(true), "true"),
        (Any::BoolValue(false), "false"),
        (Any::IntValue(i64::MIN), "-9223372036854775808"),
        (Any::BytesValue(b"secret".to_vec()), ""),
        (Any::StringValueStrindex(4), ""),
    ] {
        assert_eq!(label_of(value.clone()), label, "{value:?}");
    }
}

#[test]
fn doubles_are_the_shortest_decimal_without_an_exponent() {
    for (value, label) in [
        (0.1, "0.1"),
        (7.0, "7"),
        (-0.0, "-0"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        (1.0 / 3.0, "0.3333333333333333"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
    ] {
        assert_eq!(label_of(Any::DoubleValue(value)), label);
    }
}

#[test]
fn lists_are_written_without_separators() {
    let list = |values| Any::ArrayValue(ArrayValue { values });
    let ints = list(vec![any(Any::IntValue(1)), any(Any::IntValue(2)), AnyValue { value: None }]);
    assert_eq!(label_of(ints.clone()), "[12]");
    let values = vec![text("a", "x"), attribute("b", ints), KeyValue::default()];
    assert_eq!(label_of(Any::KvlistValue(KeyValueList { values })), "{a:xb:[12]:}");
    assert_eq!(label_of(list(Vec::new())), "[]");
}

fn nested(depth: usize) -> Any {
    (0..depth)
        .fold(Any::IntValue(1), |value, _| Any::ArrayValue(ArrayValue { values: vec![any(value)] }))
}

#[test]
fn lists_nested_to_eight_are_written_and_deeper_ones_named() {
    assert_eq!(label_of(nested(8)), "[[[[[[[[1]]]]]]]]");
    assert_eq!(label_of(nested(9)), "[[[[[[[[<nested>]]]]]]]]");
    assert_eq!(label_of(nested(60)), "[[[[[[[[<nested>]]]]]]]]");
}

/// By its bytes: prost itself would not come back from this depth.
#[test]
fn a_value_nested_a_million_deep_is_read_like_one_of_nine() {
    let varint = |mut n: usize, out: &mut Vec<u8>| {
        while n > 0x7f {
            out.push(n.to_le_bytes()[0] | 0x80);
            n >>= 7;
        }
        out.push(n.to_le_bytes()[0]);
    };
    // Written from the inside out, backwards: lengths before contents.
    let mut backwards = Vec::new();
    let mut wrap = |key: u8| {
        let mut head = vec![key];
        varint(backwards.len(), &mut head);
        backwards.extend(head.iter().rev());
    };
    for _ in 0..1_000_000 {
        wrap(0x0a); // the element
        wrap(0x2a); // the array
    }
    wrap(0x12); // the value of the attribute
    backwards.extend(b"k\x01\x0a");
    let mut head = vec![0x4a];
    varint(backwards.len(), &mut head);
    backwards.extend(head.iter().rev());
    backwards.reverse();
    let mut body = backwards;
    for key in [0x12_u8, 0x12, 0x0a] {
        let mut head = vec![key];
        varint(body.len(), &mut head);
        body = [head, body].concat();
    }
    let batch = try_stage(&with_dimensions(&["k"]), &body).expect("taken");
    assert_eq!(only_set(&batch), "k=[[[[[[[[<nested>]]]]]]]]");
    assert_eq!(try_stage(&settings(), &body).expect("taken").tallies.received, 1);
}

#[test]
fn a_long_array_is_written_only_up_to_the_label_s_limit() {
    let values = vec![any(Any::StringValue("0123456789".to_owned())); 50_000];
    let array = attribute("k", Any::ArrayValue(ArrayValue { values }));
    let batch = stage(&with_dimensions(&["k"]), &[], &vec![span(&[array]); 20]);
    let labels = batch.labels(&batch.rows[0]);
    assert_eq!(labels.get("k").len(), 2048);
    assert!(batch.text.len() < 2200, "{}", batch.text.len());
    assert_eq!(batch.tallies.repaired(Repaired::LabelLength), 20);
}

#[test]
fn a_value_is_cut_on_a_character_boundary_and_counted() {
    let settings = Settings { max_label_value_length: 8, ..with_dimensions(&["k"]) };
    let of = |value: &str| stage(&settings, &[], &[span(&[text("k", value)])]);
    let cut = of("\u{20ac}\u{20ac}\u{20ac}");
    assert_eq!(only_set(&cut), "k=\u{20ac}\u{20ac},span_name=op");
    assert_eq!(cut.tallies.repaired(Repaired::LabelLength), 1);
    let fits = of("12345\u{20ac}");
    assert_eq!(only_set(&fits), "k=12345\u{20ac},span_name=op");
    assert_eq!(fits.tallies.repaired(Repaired::LabelLength), 0);
}

/// Replaces a text in an encoded request by bytes of the same length.
fn corrupt(body: &mut [u8], from: &[u8], to: &[u8]) {
    let at = body.windows(from.len()).position(|window| window == from).expect("it is there");
    body[at..at + from.len()].copy_from_slice(to);
}

#[test]
fn invalid_utf8_in_a_label_is_replaced_and_counted_and_elsewhere_it_is_not_looked_at() {
    let spans = [span(&[text("k", "value"), text("unused", "UNUSED")])];
    let mut body = request(&[text("service.name", "cart")], &spans);
    corrupt(&mut body, b"UNUSED", b"\xff\xfe\xff\xfe\xff\xfe");
    let settings = with_dimensions(&["k"]);
    let batch = try_stage(&settings, &body).expect("taken");
    assert_eq!(batch.tallies.repaired(Repaired::Utf8), 0);
    corrupt(&mut body, b"value", b"a\xff\xe2\x82z");
    corrupt(&mut body, b"op", b"\xc3(");
    corrupt(&mut body, b"cart", b"\x80art");
    let batch = try_stage(&settings, &body).expect("taken");
    let expected = "k=a\u{fffd}\u{fffd}z,service=\u{fffd}art,span_name=\u{fffd}(";
    assert_eq!(only_set(&batch), expected);
    assert_eq!(batch.tallies.repaired(Repaired::Utf8), 1);
}

// ---- time and duration

#[test]
fn odd_durations_count_as_zero_seconds_and_are_counted() {
    const CENTURY: u64 = 100 * 365 * 24 * 3600 * SECOND;
    let times =
        |start, end| Span { start_time_unix_nano: start, end_time_unix_nano: end, ..span(&[]) };
    for (what, odd, latency) in [
        ("end before start", times(NOW, NOW - 1), 0),
        ("no start", times(0, NOW), 0),
        ("neither", times(0, 0), 0),
        ("longer than a century", times(1, CENTURY + 2), 0),
    ] {
        let batch = stage(&settings(), &[], &[odd]);
        assert_eq!(batch.rows[0].latency.whole, latency, "{what}");
        assert_eq!(batch.rows[0].calls.whole, 1, "{what}");
        assert_eq!(batch.buckets[0].bucket, 0, "{what}");
        assert_eq!(batch.tallies.repaired(Repaired::Duration), 1, "{what}");
    }
    for usual in [times(1, CENTURY + 1), times(NOW, NOW)] {
        let batch = stage(&settings(), &[], &[usual]);
        assert_eq!(batch.tallies.repaired(Repaired::Duration), 0);
    }
}

#[test]
fn the_upper_bound_belongs_to_its_bucket() {
    let lasting = |nano| Span { start_time_unix_nano: NOW - nano, ..span(&[]) };
    for (nano, bucket) in [
        (0, 0),
        (SECOND / 2, 0),
        (SECOND / 2 + 1, 1),
        (SECOND, 1),
        (2 * SECOND, 2),
        (2 * SECOND + 1, 3),
        (NOW - 1, 3),
    ] {
        let batch = stage(&settings(), &[], &[lasting(nano)]);
        assert_eq!(batch.buckets[0].bucket, bucket, "{nano}");
    }
}

#[test]
fn both_ends_of_the_time_window_are_inside() {
    let window = Window { past: Duration::from_secs(3600), future: Duration::from_secs(600) };
    let settings = Settings { window: Some(window), ..settings() };
    let (first, last) = (NOW - 3600 * SECOND, NOW + 600 * SECOND);
    let spans = [first, last, first - 1, last + 1, 0, u64::MAX]
        .map(|end| Span { end_time_unix_nano: end, ..span(&[]) });
    let batch = stage(&settings, &[], &spans);
    let tallies = &batch.tallies;
    assert_eq!((tallies.received, tallies.counted(Processor::SpanMetrics)), (6, 2));
    assert_eq!(tallies.discarded(Processor::SpanMetrics, Discarded::OutsideTimeWindow), 4);
    assert_eq!(batch.rows[0].spans, 2);
}

// ---- ids and exemplars

#[test]
fn odd_ids_are_counted_and_give_no_exemplar() {
    let ids = |trace: &[u8], span_id: &[u8]| Span {
        trace_id: trace.to_vec(),
        span_id: span_id.to_vec(),
        ..span(&[])
    };
    for (trace, span_id) in [
        (&[0_u8; 16][..], &[2_u8; 8][..]),
        (&[1; 16], &[0; 8]),
        (&[], &[2; 8]),
        (&[1; 16], &[]),
        (&[1; 8], &[2; 8]),
        (&[1; 32], &[2; 8]),
        (&[1; 16], &[2; 9]),
    ] {
        let batch = stage(&settings(), &[], &[ids(trace, span_id)]);
        assert_eq!(batch.rows[0].calls.whole, 1);
        assert_eq!(batch.exemplars, []);
        assert_eq!(repaired(&batch), [0, 1, 0, 0, 0, 0]);
    }
    let batch = stage(&settings(), &[], &[span(&[])]);
    assert_eq!((batch.exemplars.len(), repaired(&batch)), (1, [0; 6]));
}

#[test]
fn the_exemplar_is_the_failed_span_before_the_longest_before_the_first() {
    let with = |id: u8, nano: u64, code| Span {
        span_id: vec![id; 8],
        start_time_unix_nano: NOW - nano,
        status: Some(Status { code, ..Status::default() }),
        ..span(&[])
    };
    let chosen = |spans: &[Span]| {
        let batch = stage(&settings(), &[], spans);
        let ids: Vec<u8> = batch.exemplars.iter().map(|e| e.span_id[0]).collect();
        ids
    };
    assert_eq!(chosen(&[with(1, 10, 0), with(2, 20, 1), with(3, 5, 0)]), [2]);
    assert_eq!(chosen(&[with(1, 10, 2), with(2, 20, 0), with(3, 5, 2)]), [1]);
    assert_eq!(chosen(&[with(1, 10, 2), with(2, 10, 2)]), [1]);
    // Of each bucket one.
    assert_eq!(chosen(&[with(1, 10, 0), with(2, SECOND, 0), with(3, 3 * SECOND, 2)]), [1, 2, 3]);
}

// ---- weights

fn weighted(settings: &Settings, resource: &[KeyValue], span: &Span) -> (f64, u64) {
    let batch = stage(settings, resource, std::slice::from_ref(span));
    let row = &batch.rows[0];
    let calls = row.calls.as_f64();
    assert!((row.latency.as_f64() - calls * 1e9).abs() <= 1.0, "{row:?}");
    assert!((batch.buckets[0].count.as_f64() - calls).abs() < 1e-9, "{batch:?}");
    assert_eq!((row.spans, row.size), (1, span.encoded_len() as u64));
    (calls, batch.tallies.repaired(Repaired::Multiplier))
}

#[test]
fn a_ratio_of_any_numeric_type_or_text_counts_within_its_bounds() {
    let mut settings = settings();
    settings.span_metrics.multiplier.key = "ratio".to_owned();
    let of = |value| weighted(&settings, &[], &span(&[attribute("ratio", value)]));
    for (value, weight) in [
        (Any::DoubleValue(0.25), 4.0),
        (Any::DoubleValue(1e-6), 1e6),
        (Any::DoubleValue(1e6), 1e-6),
        (Any::IntValue(1), 1.0),
        (Any::IntValue(4), 0.25),
        (Any::StringValue("0.5".to_owned()), 2.0),
        (Any::StringValue("1e-3".to_owned()), 1000.0),
    ] {
        let (found, odd) = of(value.clone());
        assert!((found - weight).abs() <= 1e-9 * weight && odd == 0, "{value:?}: {found} {odd}");
    }
    for odd in [
        Any::DoubleValue(0.0),
        Any::DoubleValue(-1.0),
        Any::DoubleValue(9.99e-7),
        Any::DoubleValue(1_000_001.0),
        Any::DoubleValue(f64::NAN),
        Any::DoubleValue(f64::INFINITY),
        Any::DoubleValue(5e-324),
        Any::IntValue(0),
        Any::IntValue(i64::MAX),
        Any::StringValue("many".to_owned()),
        Any::StringValue(String::new()),
        Any::BoolValue(true),
        Any::BytesValue(Vec::new()),
    ] {
        assert_eq!(of(odd.clone()), (1.0, 1), "{odd:?}");
    }
}

#[test]
fn the_ratio_of_the_span_comes_before_the_resource_s_and_none_is_one() {
    let mut settings = settings();
    settings.span_metrics.multiplier.key = "ratio".to_owned();
    let half = [attribute("ratio", Any::DoubleValue(0.5))];
    let quarter = [attribute("ratio", Any::DoubleValue(0.25))];
    assert_eq!(weighted(&settings, &half, &span(&quarter)), (4.0, 0));
    assert_eq!(weighted(&settings, &half, &span(&[])), (2.0, 0));
    assert_eq!(weighted(&settings, &[], &span(&[])), (1.0, 0));
}

#[test]
fn a_trace_state_s_threshold_weighs_and_its_random_value_rounds() {
    let mut settings = settings();
    let multiplier = Multiplier { key: "ratio".to_owned(), tracestate: true };
    settings.span_metrics.multiplier = multiplier;
    let half = [attribute("ratio", Any::DoubleValue(0.5))];
    for (trace_state, weight, odd) in [
        ("ot=th:0", 1.0, 0),
        ("ot=th:8", 2.0, 0),
        ("a=b , ot=p:1;th:c", 4.0, 0),
        ("ot=th:fd70a4", 100.0, 0),
        ("ot=th:4", 4.0 / 3.0, 0),
        ("ot=th:4;rv:00000000000000", 2.0, 0),
        ("ot=rv:ffffffffffffff;th:4", 1.0, 0),
        // Up to a million, not more.
        ("ot=th:fffff0", 1_048_576.0, 1),
        ("ot=th:ffffffffffffff", 1.0, 1),
        // Nothing to be read there: the attribute.
        ("", 2.0, 0),
        ("ot=rv:00000000000000", 2.0, 0),
        ("ot=th:xyz", 2.0, 0),
        ("ot=th:8;rv:1", 2.0, 0),
        ("not=th:c", 2.0, 0),
    ] {
        let span = Span { trace_state: trace_state.to_owned(), ..span(&half) };
        let expected = if odd == 1 { 1.0 } else { weight };
        let (found, repaired) = weighted(&settings, &[], &span);
        assert!((found - expected).abs() < 1e-4, "{trace_state}: {found}");
        assert_eq!(repaired, odd, "{trace_state}");
    }
}

// ---- filters

fn rules(match_type: MatchType, attributes: &[(&str, PolicyValue)]) -> Option<PolicyMatch> {
    let attribute = |(key, value): &(&str, PolicyValue)| PolicyAttribute {
        key: (*key).to_owned(),
        value: value.clone(),
    };
    Some(PolicyMatch { match_type, attributes: attributes.iter().map(attribute).collect() })
}

fn strict(attributes: &[(&str, &str)]) -> Option<PolicyMatch> {
    let attributes: Vec<_> =
        attributes.iter().map(|(k, v)| (*k, PolicyValue::Text((*v).to_owned()))).collect();
    rules(MatchType::Strict, &attributes)
}

/// The names of the spans that stay.
fn kept(policies: &[FilterPolicy], resource: &[KeyValue], spans: &[Span]) -> Vec<String> {
    let mut settings = settings();
    settings.span_metrics.filter_policies = policies.to_vec();
    settings.span_metrics.intrinsic_dimensions.service = false;
    let batch = stage(&settings, resource, spans);
    let kept: Vec<String> = sets(&batch, Table::SpanMetrics)
        .iter()
        .map(|set| set.strip_prefix("span_name=").expect("a name").to_owned())
        .collect();
    let tallies = &batch.tallies;
    let filtered = (spans.len() - kept.len()) as u64;
    assert_eq!(tallies.discarded(Processor::SpanMetrics, Discarded::Filtered), filtered);
    assert!(tallies.balances(Processor::SpanMetrics));
    kept
}

fn named(name: &str, attributes: &[KeyValue]) -> Span {
    Span { name: name.to_owned(), kind: 2, ..span(attributes) }
}

#[test]
fn exclude_goes_before_include_any_goes_before_include() {
    let spans = [
        named("both", &[text("drop", "1"), text("any", "1")]),
        named("any", &[text("any", "1")]),
        named("all", &[text("a", "1"), text("b", "1")]),
        named("half", &[text("a", "1")]),
        named("none", &[]),
    ];
    let of = |include: &[&str], any: bool, exclude: bool| {
        let mut policies: Vec<FilterPolicy> = include
            .iter()
            .map(|key| FilterPolicy { include: strict(&[(key, "1")]), ..FilterPolicy::default() })
            .collect();
        policies.push(FilterPolicy {
            include: None,
            include_any: strict(&[("span.any", "1")]).filter(|_| any),
            exclude: strict(&[("span.drop", "1")]).filter(|_| exclude),
        });
        kept(&policies, &[], &spans)
    };
    assert_eq!(of(&[], false, false), ["both", "any", "all", "half", "none"]);
    assert_eq!(of(&[], false, true), ["any", "all", "half", "none"]);
    assert_eq!(of(&[], true, true), ["any"]);
    assert_eq!(of(&["span.a", "span.b"], false, true), ["all"]);
    assert_eq!(of(&["span.a", "span.b"], true, true), ["any", "all"]);
    assert_eq!(of(&["span.a"], true, false), ["both", "any", "all", "half"]);
}

#[test]
fn all_attributes_of_one_policy_must_match_in_their_own_scope() {
    let exclude = strict(&[("kind", "SPAN_KIND_SERVER"), ("resource.k", "v"), ("name", "a")]);
    let policies = [FilterPolicy { exclude, ..FilterPolicy::default() }];
    let spans = [named("a", &[]), named("b", &[])];
    assert_eq!(kept(&policies, &[text("k", "v")], &spans), ["b"]);
    assert_eq!(kept(&policies, &[text("k", "other")], &spans), ["a", "b"]);
    assert_eq!(kept(&policies, &[], &[named("a", &[text("k", "v")])]), ["a"]);
}

#[test]
fn a_strict_value_meets_another_type_as_that_type_s_zero() {
    let spans = [
        named("text", &[text("k", "v")]),
        named("int", &[attribute("k", Any::IntValue(7))]),
        named("double", &[attribute("k", Any::DoubleValue(0.5))]),
        named("bool", &[attribute("k", Any::BoolValue(true))]),
        named("absent", &[]),
    ];
    let of = |value: PolicyValue| {
        let include = rules(MatchType::Strict, &[("span.k", value)]);
        kept(&[FilterPolicy { include, ..FilterPolicy::default() }], &[], &spans)
    };
    assert_eq!(of(PolicyValue::Int(7)), ["int"]);
    assert_eq!(of(PolicyValue::Int(0)), ["text", "double", "bool"]);
    assert_eq!(of(PolicyValue::Text(String::new())), ["int", "double", "bool"]);
    assert_eq!(of(PolicyValue::Bool(true)), ["bool"]);
    assert_eq!(of(PolicyValue::Bool(false)), ["text", "int", "double"]);
    assert_eq!(of(PolicyValue::Double(0.5)), ["double"]);
    assert_eq!(of(PolicyValue::Double(0.0)), ["text", "int", "bool"]);
}

#[test]
fn a_regex_is_unanchored_and_sees_only_text() {
    let spans = [
        named("get", &[text("k", "xGETx")]),
        named("int", &[attribute("k", Any::IntValue(7))]),
        named("absent", &[]),
    ];
    let of = |key: &str, pattern: &str| {
        let include = rules(MatchType::Regex, &[(key, PolicyValue::Text(pattern.to_owned()))]);
        kept(&[FilterPolicy { include, ..FilterPolicy::default() }], &[], &spans)
    };
    assert_eq!(of("span.k", "GET"), ["get"]);
    assert_eq!(of("span.k", "^GET"), [""; 0]);
    assert_eq!(of("span.k", "7"), [""; 0]);
    assert_eq!(of("span.k", "^$"), ["int"]);
    assert_eq!(of("kind", "SPAN_KIND_(SERVER|CONSUMER)"), ["get", "int", "absent"]);
    assert_eq!(of("status", "ERROR"), [""; 0]);
    assert_eq!(of("name", "t$"), ["get", "int", "absent"]);
}

#[test]
fn of_attributes_with_one_key_a_filter_sees_the_first() {
    let include = strict(&[("span.k", "second")]);
    let policies = [FilterPolicy { include, ..FilterPolicy::default() }];
    let twice = [text("k", "first"), text("k", "second")];
    assert_eq!(kept(&policies, &[], &[named("a", &twice)]), [""; 0]);
}

// ---- target info, host info

#[test]
fn target_info_holds_what_the_resource_has_besides_its_identity() {
    let mut settings = settings();
    settings.span_metrics.enable_target_info = true;
    settings.span_metrics.target_info_excluded_dimensions = vec!["host.ip".to_owned()];
    let identity = [
        text("service.name", "cart"),
        text("service.namespace", "shop"),
        text("service.instance.id", "i-1"),
    ];
    let besides = [
        text("k8s.pod.name", "pod"),
        text("host.ip", "secret"),
        text("job", "own"),
        text("service", "own"),
        text("1st", "digit"),
        text("", "no key"),
        text("empty", ""),
        text("a.b", "dropped"),
        text("a_b", "kept"),
    ];
    let batch = stage(&settings, &[&identity[..], &besides].concat(), &[span(&[])]);
    assert_eq!(
        sets(&batch, Table::TargetInfo),
        ["__job=own,__service=own,a_b=kept,instance=i-1,job=shop/cart,k8s_pod_name=pod"]
    );
    assert_eq!(only_set(&batch), "instance=i-1,job=shop/cart,service=cart,span_name=op");
    assert!(batch.rows[1].table == Table::TargetInfo && batch.rows[1].spans == 0);

    let of = |settings: &Settings, resource: &[KeyValue]| {
        sets(&stage(settings, resource, &[span(&[])]), Table::TargetInfo)
    };
    assert_eq!(of(&settings, &identity), [""; 0], "nothing besides");
    assert_eq!(of(&settings, &besides[..1]), [""; 0], "no identity");
    let instance_only = [identity[2].clone(), besides[0].clone()];
    assert_eq!(of(&settings, &instance_only), ["instance=i-1,k8s_pod_name=pod"]);
    settings.span_metrics.enable_instance_label = false;
    assert_eq!(of(&settings, &instance_only), [""; 0], "no identity but the instance");
}

#[test]
fn host_info_takes_the_first_identifier_that_is_text_even_without_a_span() {
    let mut settings = settings();
    settings.processors.host_info = true;
    let of = |resource: &[KeyValue]| sets(&stage(&settings, resource, &[]), Table::HostInfo);
    let (node, host) = (text("k8s.node.name", "node-1"), text("host.id", "h-1"));
    let both = [host.clone(), node];
    assert_eq!(of(&both), ["grafana_host_id=node-1,host_source=k8s.node.name"]);
    let number = attribute("k8s.node.name", Any::IntValue(5));
    assert_eq!(of(&[number, host]), ["grafana_host_id=h-1,host_source=host.id"]);
    assert_eq!(of(&[text("host.id", "")]), [""; 0]);
}

// ---- limits, size

#[test]
fn a_request_of_more_than_fifty_thousand_spans_is_refused() {
    let small = Span { name: "op".to_owned(), ..Span::default() };
    let most = request(&[], &vec![small.clone(); 50_000]);
    assert_eq!(try_stage(&settings(), &most).map(|b| b.tallies.received), Ok(50_000));
    let more = request(&[], &vec![small; 50_001]);
    assert_eq!(try_stage(&settings(), &more), Err(StageError::TooManySpans));
}

#[test]
fn a_request_of_more_than_fifty_thousand_resources_is_refused_even_without_spans() {
    let empty = |n: usize| [0x0a, 0x00].repeat(n);
    assert_eq!(try_stage(&settings(), &empty(50_000)).map(|b| b.tallies.received), Ok(0));
    assert_eq!(try_stage(&settings(), &empty(50_001)), Err(StageError::TooManySpans));
}

#[test]
fn a_request_of_more_than_twelve_thousand_edge_sides_is_refused() {
    let mut settings = settings();
    settings.processors.service_graphs = true;
    let service = [text("service.name", "s")];
    let of = |n_sides: usize, n: usize| {
        let internal = Span { name: "s".to_owned(), ..Span::default() };
        request(&service, &[vec![call(1); n_sides], vec![internal; n - n_sides]].concat())
    };
    let most = of(12_288, 50_000);
    assert_eq!(try_stage(&settings, &most).map(|b| b.sides.len()), Ok(12_288));
    let more = of(12_289, 12_289);
    assert_eq!(try_stage(&settings, &more), Err(StageError::TooManySides));
    // Without the service graph they are spans as others.
    settings.processors.service_graphs = false;
    assert_eq!(try_stage(&settings, &more).map(|b| b.tallies.received), Ok(12_289));
}

/// A resource, and rows.
#[test]
fn a_request_of_more_than_twelve_thousand_label_sets_is_refused() {
    let named = |i: usize| Span { name: i.to_string(), ..Span::default() };
    let of = |n: usize| request(&[], &(0..n).map(named).collect::<Vec<_>>());
    assert_eq!(try_stage(&settings(), &of(11_999)).map(|b| b.rows.len()), Ok(11_999));
    assert_eq!(try_stage(&settings(), &of(12_000)), Err(StageError::TooManyLabelSets));
    // However often they come.
    let twice = [of(11_999), of(11_999)].concat();
    assert_eq!(try_stage(&settings(), &twice).map(|b| b.tallies.received), Ok(23_998));
    let resource = |i: usize| request(&[text("service.name", &i.to_string())], &[]);
    let resources = |n: usize| (0..n).flat_map(resource).collect::<Vec<u8>>();
    assert!(try_stage(&settings(), &resources(12_000)).is_ok());
    assert_eq!(try_stage(&settings(), &resources(12_001)), Err(StageError::TooManyLabelSets));
}

/// Of a message, by its number.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let len = u8::try_from(content.len()).expect("short");
    [&[number << 3 | 2, len], content].concat()
}

/// What was read of one value says nothing of another one that only looks like it.
#[test]
fn a_value_in_pieces_is_read_as_their_sum_and_is_not_what_its_bytes_would_be_as_one() {
    let settings = with_dimensions(&["k"]);
    let spans_of = |attributes: &[&[u8]]| {
        let span = |attribute: &&[u8]| field(2, &field(9, attribute));
        let spans: Vec<u8> = attributes.iter().flat_map(span).collect();
        field(1, &field(2, &spans))
    };
    let list = |text: &str| field(5, &field(1, &field(1, text.as_bytes())));
    let pieces = [field(1, b"k"), field(2, &list("a")), field(2, &list("b"))].concat();
    let batch = try_stage(&settings, &spans_of(&[&pieces, &pieces])).expect("valid");
    assert!(only_set(&batch).contains("k=[ab]"), "{}", only_set(&batch));
    let whole = [field(1, b"k"), field(2, &pieces)].concat();
    let refused = try_stage(&settings, &spans_of(&[&pieces, &whole]));
    assert!(matches!(refused, Err(StageError::Malformed(_))), "{refused:?}");
}

/// A client span that calls the peer of this number.
fn call(i: usize) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        kind: 3,
        attributes: vec![text("peer.service", &i.to_string())],
        ..Span::default()
    }
}

/// An edge has label sets in several tables.
#[test]
fn an_origin_of_edge_sides_counts_as_four_label_sets() {
    let mut settings = settings();
    settings.processors.service_graphs = true;
    let service = text("service.name", "s");
    let of =
        |n: usize| request(std::slice::from_ref(&service), &(0..n).map(call).collect::<Vec<_>>());
    // Beside them a resource and a row.
    assert_eq!(try_stage(&settings, &of(2999)).map(|b| b.origins.len()), Ok(2999));
    assert_eq!(try_stage(&settings, &of(3000)), Err(StageError::TooManyLabelSets));
}

/// What a resource says is looked at once and kept short: it must say the same.
#[test]
fn values_of_a_resource_that_are_long_are_the_labels_that_short_ones_are() {
    let element = |text: &str| AnyValue { value: Some(Any::StringValue(text.to_owned())) };
    let list = |n| ArrayValue { values: vec![element("ab"); n] };
    let long = attribute("k", Any::ArrayValue(list(200)));
    let settings = Settings { max_label_value_length: 300, ..with_dimensions(&["k"]) };
    let label = |resource: &[KeyValue]| {
        let batch = stage(&settings, resource, &[span(&[])]);
        let label = batch.labels(&batch.rows[0]).get("k").to_owned();
        (label, batch.tallies.repaired(Repaired::LabelLength))
    };
    assert_eq!(label(&[long]), (format!("[{}", "ab".repeat(200))[..300].to_owned(), 1));
    let short = attribute("k", Any::ArrayValue(list(100)));
    assert_eq!(label(&[short]), (format!("[{}]", "ab".repeat(100)), 0));
    let text_of = |n| "\u{20ac}".repeat(n);
    assert_eq!(label(&[text("k", &text_of(100))]), (text_of(100), 0));
    assert_eq!(label(&[text("k", &text_of(1000))]), (text_of(100), 1));
    let bytes = attribute("k", Any::BytesValue(vec![1; 100]));
    assert_eq!(label(&[bytes]), (String::new(), 0));
}

#[test]
fn a_policy_sees_all_of_a_resource_s_text_and_no_list() {
    let policy = |value: &str| {
        let matched = PolicyMatch {
            match_type: MatchType::Regex,
            attributes: vec![PolicyAttribute {
                key: "resource.k".to_owned(),
                value: PolicyValue::Text(value.to_owned()),
            }],
        };
        let mut settings = settings();
        let exclude = FilterPolicy { exclude: Some(matched), ..FilterPolicy::default() };
        settings.span_metrics.filter_policies = vec![exclude];
        settings
    };
    let rows = |value: &str, resource: &[KeyValue]| {
        stage(&policy(value), resource, &[span(&[]), span(&[])]).rows.len()
    };
    let long = text("k", &format!("{}end", "x".repeat(5000)));
    assert_eq!(rows("xend$", std::slice::from_ref(&long)), 0);
    assert_eq!(rows("xand$", &[long]), 1);
    let values = vec![AnyValue { value: Some(Any::StringValue("end".to_owned())) }; 100];
    let list = attribute("k", Any::ArrayValue(ArrayValue { values }));
    assert_eq!(rows("end", std::slice::from_ref(&list)), 1);
    // As in Tempo, what is no text compares as an empty one; what is not there does not compare.
    assert_eq!(rows("^$", &[list]), 0);
    assert_eq!(rows("^$", &[]), 1);
}

#[test]
fn what_an_outsized_request_took_is_given_back_before_the_next() {
    let plan = Plan::new(&settings(), 1).expect("the settings are in order");
    let named = |i: usize| Span { name: format!("{i:0>1200}"), ..Span::default() };
    let large = request(&[], &(0..7_500).map(named).collect::<Vec<_>>());
    let mut stager = Stager::default();
    stager.stage(&plan, &large, Duration::ZERO).expect("within the limits");
    assert!(stager.kept_bytes() > 16 << 20, "{}", stager.kept_bytes());
    stager.stage(&plan, &request(&[], &[named(0)]), Duration::ZERO).expect("a small one");
    assert!(stager.kept_bytes() < 1 << 20, "{}", stager.kept_bytes());
}

#[test]
fn a_request_whose_label_sets_would_be_enormous_is_refused() {
    let long = text("k", &"x".repeat(2000));
    let named = |i: usize| Span { name: i.to_string(), ..Span::default() };
    let spans: Vec<Span> = (0..11_000).map(named).collect();
    let body = request(&[long], &spans);
    assert_eq!(
        try_stage(&with_dimensions(&["k"]), &body),
        Err(StageError::TooMuchText { max: 24 << 20 })
    );
}

#[test]
fn a_request_whose_origins_would_be_enormous_is_refused() {
    let mut settings = settings();
    settings.processors.service_graphs = true;
    let service = text("service.name", &"s".repeat(2000));
    let calls: Vec<Span> = (0..2000).map(call).collect();
    let refused = try_stage(&settings, &request(&[service], &calls));
    assert_eq!(refused, Err(StageError::TooMuchOriginText));
}

#[test]
fn the_size_of_a_span_is_its_encoded_length_in_the_request() {
    let events = vec![opentelemetry_proto::tonic::trace::v1::span::Event::default(); 3];
    let big = Span { events, trace_state: "a=b".to_owned(), ..span(&[text("k", "v")]) };
    let batch = stage(&settings(), &[], &[big.clone(), span(&[])]);
    assert_eq!(batch.rows[0].size, (big.encoded_len() + span(&[]).encoded_len()) as u64);
}

// ---- ids in span names

fn with_templates(sanitization: Sanitization, patterns: &[&str]) -> Settings {
    let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    Settings { span_names: SpanNames { sanitization, patterns }, ..settings() }
}

#[test]
fn names_of_one_template_are_one_label_set() {
    let spans = ["GET /users/7", "GET /users/42", "GET /users/me", "GET /users/7"];
    let spans = spans.map(|name| named(name, &[]));
    let batch = stage(&with_templates(Sanitization::Enabled, &[]), &[], &spans);
    assert_eq!(
        sets(&batch, Table::SpanMetrics),
        ["span_name=GET /users/<_>", "span_name=GET /users/me"]
    );
    assert_eq!([batch.rows[0].spans, batch.rows[1].spans], [3, 1]);
    assert_eq!((batch.tallies.names_sanitized, batch.tallies.received), (3, 4));
    assert_eq!(batch.demand, []);
    let patterns = with_templates(Sanitization::Enabled, &["users/([a-z]+)"]);
    assert_eq!(only_set(&stage(&patterns, &[], &spans)), "span_name=GET /users/<_>");
}

#[test]
fn a_dry_run_changes_nothing_and_tells_what_would_be_one() {
    let names = ["GET /users/7", "GET /users/42", "GET /users/me", "GET /users/7"];
    let spans = names.map(|name| Span { kind: 2, ..named(name, &[text("k", "v")]) });
    let staged = |sanitization| {
        let mut settings = with_templates(sanitization, &[]);
        settings.span_metrics.dimensions = vec!["k".to_owned()];
        settings.processors.service_graphs = true;
        stage(&settings, &[text("service.name", "shop")], &spans)
    };
    let (mut dry, off) = (staged(Sanitization::DryRun), staged(Sanitization::Off));
    assert_eq!((off.tallies.names_sanitized, dry.tallies.names_sanitized), (0, 3));
    let demand = std::mem::take(&mut dry.demand);
    dry.tallies.names_sanitized = 0;
    assert_eq!(dry, off);
    let of = |hash: fn(&Demand) -> u64| demand.iter().map(hash).collect::<Vec<_>>();
    let [seven, forty_two, me] = of(|demand| demand.raw)[..] else { panic!("{demand:?}") };
    assert!(seven != forty_two && forty_two != me && me != seven);
    let templates = of(|demand| demand.sanitized);
    assert!(templates[0] == templates[1] && templates[1] != me, "{demand:?}");
    assert_eq!(templates[2], me, "what would not change is the same label set");

    let enabled = staged(Sanitization::Enabled);
    let two = stage(
        &{
            let mut settings = with_templates(Sanitization::DryRun, &[]);
            settings.span_metrics.dimensions = vec!["k".to_owned()];
            settings
        },
        &[text("service.name", "shop")],
        &[named("GET /users/<_>", &[text("k", "v")])],
    );
    assert_eq!(two.demand[0].raw, templates[0], "the template is the label set that it would be");
    assert_eq!((&enabled.sides, &enabled.origin_text), (&off.sides, &off.origin_text));
}

#[test]
fn filters_see_names_as_they_came_and_other_labels_keep_their_ids() {
    let mut settings = with_templates(Sanitization::Enabled, &[]);
    settings.span_metrics.intrinsic_dimensions.status_message = true;
    settings.span_metrics.dimensions = vec!["k".to_owned()];
    let exclude = rules(MatchType::Regex, &[("name", PolicyValue::Text("/7$".to_owned()))]);
    settings.span_metrics.filter_policies =
        vec![FilterPolicy { exclude, ..FilterPolicy::default() }];
    let status = Some(Status { message: "no user 42".to_owned(), code: 0 });
    let spans = ["GET /users/7", "GET /users/42"]
        .map(|name| Span { status: status.clone(), ..named(name, &[text("k", "id 42")]) });
    let batch = stage(&settings, &[], &spans);
    let expected = "k=id 42,span_name=GET /users/<_>,status_message=no user 42";
    assert_eq!(only_set(&batch), expected);
    assert_eq!(batch.tallies.discarded(Processor::SpanMetrics, Discarded::Filtered), 1);
    assert_eq!(batch.tallies.names_sanitized, 1, "of the spans that count");
}

#[test]
fn a_name_is_repaired_and_cut_before_it_is_looked_at() {
    let of = |name: &[u8]| {
        // prost writes no invalid text: the name's bytes are put in afterwards
        let marker = "~".repeat(name.len());
        let mut body = request(&[], &[named(&marker, &[])]);
        let at = body.windows(name.len()).position(|w| w == marker.as_bytes()).expect("it");
        body[at..at + name.len()].copy_from_slice(name);
        let batch = try_stage(&with_templates(Sanitization::Enabled, &[]), &body).expect("taken");
        (only_set(&batch), batch.tallies.repaired(Repaired::LabelLength))
    };
    assert_eq!(of(b"caf\xff 42 \xc3"), ("span_name=caf\u{fffd} <_> \u{fffd}".to_owned(), 0));
    let (long, cut) = of("1/".repeat(2 << 20).as_bytes());
    assert_eq!((long.len(), cut), ("span_name=".len() + 2048, 1));
    assert_eq!(long, format!("span_name={}", "<_>/".repeat(512)));
}

#[test]
fn however_spans_are_split_over_requests_they_have_the_same_label_sets() {
    let names = ["a 1", "a 2", "b c0ffee11", "GET /u/bob@example.com", "a <_>", "plain", "a 1"];
    let spans = names.map(|name| named(name, &[]));
    for sanitization in [Sanitization::Enabled, Sanitization::DryRun] {
        let settings = with_templates(sanitization, &[]);
        let totals = |requests: &[&[Span]]| {
            let mut totals = std::collections::BTreeMap::new();
            let mut demand = std::collections::BTreeSet::new();
            for spans in requests {
                let batch = stage(&settings, &[], spans);
                let sets = sets(&batch, Table::SpanMetrics);
                for (set, row) in sets.into_iter().zip(&batch.rows) {
                    *totals.entry(set).or_insert(0) += row.spans;
                }
                demand.extend(batch.demand.iter().map(|demand| (demand.raw, demand.sanitized)));
            }
            (totals, demand)
        };
        let whole = totals(&[&spans]);
        for at in 0..=spans.len() {
            let (first, second) = spans.split_at(at);
            assert_eq!(totals(&[first, second]), whole);
            assert_eq!(totals(&[second, first]), whole);
        }
    }
}

#[test]
fn what_a_stager_may_take_is_what_it_was_told() {
    let plan = Plan::new(&settings(), 1).expect("the settings are in order");
    let named = |i: usize| Span { name: format!("{i:0>200}"), ..Span::default() };
    let of = |n: usize| request(&[], &(0..n).map(named).collect::<Vec<_>>());
    let max = 1 << 20;
    let mut stager = Stager::new(max);
    // One more span name each time: what is taken just before the refusal is all that was allowed.
    let (mut n, mut most) = (0, 0);
    let refused = loop {
        n += 100;
        match stager.stage(&plan, &of(n), Duration::ZERO) {
            Ok(_) => most = stager.kept_bytes(),
            Err(e) => break e,
        }
    };
    assert_eq!(refused, StageError::TooMuchText { max });
    assert!((max / 4..=max).contains(&most), "{most} bytes with {n} names");
    stager.stage(&plan, &of(n - 100), Duration::ZERO).expect("as before: nothing of it is left");
}
