//! Requests of at most 4 MiB that cost as much as anybody has found: what the bench times, and what
//! the test counts the instructions of.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Of a request on the wire.
const WIRE_MAX: usize = 4 << 20;
/// Of a request that has been inflated, by default.
const INFLATED_MAX: usize = 64 << 20;

/// What a request is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Protobuf,
    /// Protobuf, compressed.
    Gzip,
    Json,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// As `--set` has it, besides `SETTINGS`.
    pub(crate) set: &'static [&'static str],
    /// What came before, and is not counted.
    pub(crate) before: fn() -> Vec<Vec<u8>>,
    /// Between that and the request.
    pub(crate) quiet: Duration,
    request: fn() -> Vec<u8>,
}

impl Case {
    /// As it is sent.
    pub(crate) fn wire(&self) -> Vec<u8> {
        let request = (self.request)();
        let wire = if self.form == Form::Gzip {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&request).expect("into memory");
            gzip.finish().expect("into memory")
        } else {
            request
        };
        assert!(wire.len() <= WIRE_MAX, "{}: {} bytes", self.name, wire.len());
        wire
    }
}

/// For all cases.
pub(crate) const SETTINGS: [&str; 2] = [
    "processors.enabled=[span-metrics, service-graphs, host-info]",
    "processors.ingestion_time_range_slack=0s",
];

const fn case(name: &'static str, set: &'static [&'static str], request: fn() -> Vec<u8>) -> Case {
    Case { name, form: Form::Protobuf, set, before: Vec::new, quiet: Duration::ZERO, request }
}

const fn json(name: &'static str, request: fn() -> Vec<u8>) -> Case {
    Case {
        name,
        form: Form::Json,
        set: &["processors.span_metrics.dimensions=[k]"],
        before: Vec::new,
        quiet: Duration::ZERO,
        request,
    }
}

const fn gzip(name: &'static str, request: fn() -> Vec<u8>) -> Case {
    Case { name, form: Form::Gzip, set: &[FIVE], before: Vec::new, quiet: Duration::ZERO, request }
}

const FIVE: &str = "processors.span_metrics.dimensions=[a1, a2, a3, a4, a5]";
const LINKS: &str = "processors.service_graphs.messaging_links=true";
const EVERY_PAIR: &str = "processors.service_graphs.count_every_pair=true";
const TEMPO: &str = "processors.service_graphs.remember_completed=false";
const REGEX: &str = "processors.span_metrics.filter_policies=\
    [{exclude: {match_type: regex, attributes: [{key: resource.k, value: \"(x+x+)+y\"}]}}]";
const NAME_REGEX: &str = "processors.span_metrics.filter_policies=\
    [{exclude: {match_type: regex, attributes: [{key: name, value: \"(x+x+)+y\"}]}}]";
const FULL: &str = "processors.service_graphs.max_items=50000";
const TARGET_INFO: &str = "processors.span_metrics.enable_target_info=true";
const MULTIPLIER: &str = "processors.span_metrics.span_multiplier_key=k";
const TRACE_STATE: &str = "processors.span_metrics.enable_tracestate_span_multiplier=true";
const MAPPINGS: &str = "processors.span_metrics.dimension_mappings=\
    [{name: m, source_labels: [a1, a1, a1, a1, a1, a1, a1, a1], join: /}]";
const LONG_KEYS: &str = "processors.span_metrics.dimensions=[\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0, \
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1, \
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2, \
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa3, \
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa4]";

pub(crate) const ALL: &[Case] = &[
    // Spans, rows.
    case("one_empty_request", &[], Vec::new),
    case("empty_spans", &[], || many(service("s"), |_| Vec::new())),
    case("another_name_each", &[], || many(service("s"), |i| named(i % ROWS, 4))),
    case("another_name_each_five_dimensions", &[FIVE], || {
        let resource = [service("s"), of_resource("a1", &text("x")), of_resource("a2", &text("y"))];
        many(resource.concat(), |i| named(i % ROWS, 4))
    }),
    case("another_long_service_each", &[], || {
        resources(|i| service(&format!("{:0>30}", i % RESOURCES)))
    }),
    case("another_resource_each", &[FIVE, TARGET_INFO], || {
        resources(|i| {
            [service("s"), of_resource("a1", &text(&(i % RESOURCES).to_string()))].concat()
        })
    }),
    case("labels_of_2_kib_each", &[FIVE], || {
        let values =
            ["a1", "a2", "a3", "a4", "a5"].map(|key| of_resource(key, &text(&"x".repeat(2048))));
        many([service(&"s".repeat(2048)), values.concat()].concat(), |i| named(i % ROWS, 4))
    }),
    // Large values, seen by every span.
    case("service_of_2_mib", &[], || many(service(&"s".repeat(2 << 20)), |i| named(i % ROWS, 4))),
    case("value_of_2_mib", &[FIVE], || {
        many([service("s"), of_resource("a1", &text(&"x".repeat(2 << 20)))].concat(), |i| {
            named(i % ROWS, 4)
        })
    }),
    case("array_of_a_million_in_the_resource", &[MULTIPLIER, FIVE], || {
        let array = field(5, &[10, 0].repeat(1 << 18));
        let values = ["a1", "k", "db.name"].map(|key| of_resource(key, &array));
        sides([service("s"), values.concat()].concat(), |i| calling(i, &peer(i % ORIGINS)))
    }),
    case("regex_on_2_mib_of_the_resource", &[REGEX], || {
        many([service("s"), of_resource("k", &text(&"x".repeat(2 << 20)))].concat(), |_| Vec::new())
    }),
    case("regex_on_names", &[NAME_REGEX], || {
        many(service("s"), |i| field(5, format!("{}{}", "x".repeat(32), i % ROWS).as_bytes()))
    }),
    case("regex_on_one_name", &[NAME_REGEX], || {
        one(&field(5, "x".repeat(WIRE_MAX - 64).as_bytes()))
    }),
    case("values_of_six_types_joined", &[FIVE, MAPPINGS], || {
        let value = [text("x"), field(5, b""), text("y")].concat();
        many(service("s"), |i| [named(i % ROWS, 4), of_span("a1", &value)].concat())
    }),
    case("name_of_4_mib_that_is_no_text", &[], || one(&field(5, &vec![0xff; WIRE_MAX - 64]))),
    case("names_that_are_no_text", &[], || {
        many(service("s"), |i| field(5, &[named(i % ROWS, 4), vec![0xff; 30]].concat()))
    }),
    // Attributes, values.
    case("empty_attributes", &[FIVE], || one(&[0x4a, 0].repeat(WIRE_MAX / 2 - 32))),
    case("empty_attributes_of_the_resource", &[FIVE, TARGET_INFO], || {
        around(&[0x0a, 0].repeat(WIRE_MAX / 2 - 32), &field(2, b""))
    }),
    case("wanted_attributes", &[FIVE], || one(&of_span("a1", &text("")).repeat(WIRE_MAX / 10 - 8))),
    case("attributes_with_keys_like_wanted_ones", &[LONG_KEYS], || {
        one(&of_span(&format!("{}5", "a".repeat(67)), &text("")).repeat(WIRE_MAX / 78))
    }),
    case("another_attribute_each_in_target_info", &[TARGET_INFO], || {
        let attributes = (0..WIRE_MAX / 18).map(|i| of_resource(&format!("k{i:06}"), &text("x")));
        around(
            &[service("s"), attributes.collect::<Vec<_>>().concat()].concat(),
            &field(2, &named(1, 4)),
        )
    }),
    case("array_of_a_million", &[FIVE], || {
        one(&of_span("a1", &field(5, &[10, 0].repeat(WIRE_MAX / 2 - 64))))
    }),
    case("arrays_in_arrays", &[FIVE], || {
        many(service("s"), |i| [named(i % ROWS, 4), of_span("a1", &nested(24))].concat())
    }),
    case("value_deep_beyond_counting", &[FIVE], || one(&of_span("a1", &nested(100_000)))),
    case("value_in_pieces", &[FIVE, MULTIPLIER], || {
        one(&field(9, &[field(1, b"a1"), field(2, &text("")).repeat(WIRE_MAX / 4 - 64)].concat()))
    }),
    case("fields_unknown", &[], || one(&[0xf8, 0x07, 0].repeat(WIRE_MAX / 3 - 32))),
    case("groups_unknown", &[], || one(&[0xfb, 0x07, 0xfc, 0x07].repeat(WIRE_MAX / 4 - 32))),
    case("trace_state_of_4_mib", &[TRACE_STATE], || {
        one(&field(3, &b", ".repeat(WIRE_MAX / 2 - 64)))
    }),
    // Edges.
    case("another_call_each", &[], || sides(service("s"), |i| calling(i, b""))),
    case("another_peer_each", &[], || sides(service("s"), |i| calling(i, &peer(i % ORIGINS)))),
    case("another_database_each", &[], || {
        sides(service("s"), |i| calling(i, &database(i % ORIGINS)))
    }),
    case("another_database_each_of_2_kib", &[], || {
        sides(service(&"s".repeat(2048)), |i| calling(i, &database(i % ORIGINS)))
    }),
    case("calls_answered_at_once", &[], || {
        let pair = |i: usize| if i.is_multiple_of(2) { calling(i, b"") } else { called(i, i - 1) };
        sides(service("s"), pair)
    }),
    case("calls_of_another_service_each", &[], || {
        sides_of(|i| (service(&(i % SERVICES).to_string()), calling(i, &database(0))))
    }),
    case("another_edge_each", &[], || sides_of(|i| half_of_pair(i, ""))),
    case("another_edge_each_of_1_kib", &[], || {
        // A resource that comes again costs its bytes, so there are fewer.
        sides_of(|i| half_of_pair(i, &"s".repeat(1024)))
    }),
    case("answers_under_one_parent", &[], || sides(service("s"), |i| called(i, 1 << 20))),
    case("answers_under_one_parent_each_counted", &[EVERY_PAIR], || {
        sides(service("s"), |i| called(i, 1 << 20))
    }),
    case("answers_under_a_thousand_parents", &[], || {
        sides(service("s"), |i| called(i, i % 1000 + (1 << 20)))
    }),
    case("answers_under_one_caller", &[EVERY_PAIR], || {
        sides(service("s"), |i| if i == 0 { calling(0, b"") } else { called(i, 0) })
    }),
    case("one_call_again_and_again", &[], || sides(service("s"), |_| calling(1, b""))),
    case("roots_of_one_trace", &[TEMPO], || sides(service("s"), root)),
    case("answers_under_one_parent_as_in_tempo", &[TEMPO, FIVE], || {
        sides(service("s"), |i| [called(i, 1 << 20), peer(i % ORIGINS)].concat())
    }),
    case("links_to_the_same_128", &[LINKS], || sides(service("s"), |i| linked(i, 0, 128))),
    case("links_to_the_same_64", &[LINKS], || sides(service("s"), |i| linked(i, 0, 64))),
    case("links_to_the_same_128_where_others_wait", &[LINKS], || {
        sides(service("s"), |i| if i < 12_800 { receiving(i, i % 128) } else { linked(i, 0, 128) })
    }),
    case("links_to_others_each", &[LINKS], || sides(service("s"), |i| linked(i, i * 128, 128))),
    case("links_of_one_span", &[LINKS], || {
        let links: Vec<u8> = (0..WIRE_MAX / 31).flat_map(|i| link(i % 128)).collect();
        one(&[receiving(1, 0), links].concat())
    }),
    case("sender_of_all_links", &[LINKS], || {
        sides(service("s"), |i| if i < 128 { sending(i) } else { linked(i, 0, 100) })
    }),
    Case {
        name: "evictions",
        form: Form::Protobuf,
        set: &[FULL],
        before: || filled(|i| (service("s"), calling(i, &peer(i)))),
        quiet: Duration::ZERO,
        request: || calls_of(OTHERS),
    },
    Case {
        name: "evictions_of_another_service_each",
        form: Form::Protobuf,
        set: &[FULL],
        before: || filled(|i| (service(&(i % 30_000).to_string()), calling(i, &peer(i)))),
        quiet: Duration::ZERO,
        request: || calls_of(OTHERS),
    },
    Case {
        name: "expiries",
        form: Form::Protobuf,
        set: &[FULL],
        before: || filled(|i| (service("s"), calling(i, &peer(i)))),
        quiet: Duration::from_secs(3600),
        request: || calls_of(OTHERS),
    },
    Case {
        name: "calls_of_earlier_answers_an_edge_each",
        form: Form::Protobuf,
        set: &[],
        before: || {
            waiting(SIDES_MAX, |i| (service(&format!("s{}", i % 170)), called(i + OTHERS, i)))
        },
        quiet: Duration::ZERO,
        request: || sides_of(|i| (service(&format!("c{}", i / 170)), calling(i, b""))),
    },
    Case {
        name: "calls_where_many_answers_wait",
        form: Form::Protobuf,
        set: &[],
        before: || waiting(1_000_000, |i| (service("s"), called(i + OTHERS, i / 64))),
        quiet: Duration::ZERO,
        request: || calls_of(0),
    },
    Case {
        name: "calls_where_many_answers_wait_each_counted",
        form: Form::Protobuf,
        set: &[EVERY_PAIR],
        before: || {
            waiting(1_000_000, |i| (service(&format!("s{}", i % 170)), called(i + OTHERS, i / 64)))
        },
        quiet: Duration::ZERO,
        request: || sides_of(|i| (service(&format!("c{}", i / 170)), calling(i, b""))),
    },
    // What inflates to the 64 MiB that a body may have.
    gzip("gzip_empty_attributes", || one(&[0x4a, 0].repeat(INFLATED_MAX / 2 - 32))),
    gzip("gzip_empty_attributes_of_the_resource", || {
        around(&[0x0a, 0].repeat(INFLATED_MAX / 2 - 32), &field(2, b""))
    }),
    gzip("gzip_large_spans", || {
        let links = field(11, b"event").repeat(150);
        let call = |i: usize| if i < SIDES_MAX { calling(i, &peer(i % ORIGINS)) } else { ids(i) };
        let span = |i: usize| [call(i), links.clone()].concat();
        let spans = (0..SPANS_MAX).flat_map(|i| field(2, &span(i))).collect::<Vec<_>>();
        around(&service("s"), &spans)
    }),
    // JSON.
    json("json_another_name_each", || spans_of(|i| format!(r#"{{"name":"{}"}}"#, i % ROWS))),
    json("json_empty_spans", || spans_of(|_| "{}".to_owned())),
    json("json_empty_attributes", || in_attributes(&"{},".repeat(WIRE_MAX / 3 - 100), "{}")),
    json("json_names_with_escapes", || {
        spans_of(|i| format!(r#"{{"name":"\ud800\n{}"}}"#, i % ROWS))
    }),
    json("json_unknown_fields", || in_attributes(&r#"{"":0},"#.repeat(WIRE_MAX / 7 - 100), "{}")),
    json("json_unknown_values", || {
        in_attributes("", &format!(r#"{{"":[{}0]}}"#, "0,".repeat(WIRE_MAX / 2 - 100)))
    }),
    json("json_4_mib_in_30_arrays", || {
        let depth = 30;
        let open = r#"{"arrayValue":{"values":["#.repeat(depth);
        let close = "]}}".repeat(depth);
        let text = format!(r#"{{"stringValue":"{}"}}"#, "x".repeat(WIRE_MAX - 3000));
        in_attributes("", &format!(r#"{{"key":"k","value":{open}{text}{close}}}"#))
    }),
    json("json_4_mib_at_the_end_of_30_arrays", || {
        let depth = 30;
        let open = r#"{"arrayValue":{"values":["#.repeat(depth);
        let close =
            format!(r#",{}{{}}]}}}}"#, "{},".repeat((WIRE_MAX - 3000) / 3 / depth)).repeat(depth);
        in_attributes("", &format!(r#"{{"key":"k","value":{open}{{}}{close}}}"#))
    }),
    json("json_long_numbers", || {
        let number = format!("9007199254740993.{}1", "0".repeat(780));
        let value = format!(r#"{{"value":{{"doubleValue":{number}}}}},"#);
        in_attributes(&value.repeat((WIRE_MAX - 300) / value.len()), "{}")
    }),
    json("json_one_number", || {
        in_attributes(
            "",
            &format!(r#"{{"value":{{"doubleValue":1.{}}}}}"#, "3".repeat(WIRE_MAX - 300)),
        )
    }),
    json("json_one_number_as_text", || {
        let value = format!(r#"{{"value":{{"doubleValue":"1.{}"}}}}"#, "3".repeat(WIRE_MAX - 300));
        in_attributes("", &value)
    }),
    json("json_long_id", || {
        spans_of_one(&format!(r#"{{"traceId":"{}"}}"#, "ab".repeat(WIRE_MAX / 2 - 200)))
    }),
];

// So many are taken in one request; what comes again after them costs less.
const ROWS: usize = 11_990;
const ORIGINS: usize = 2_990;
const RESOURCES: usize = 3_990;
const SERVICES: usize = 1_990;
/// Ids that nobody has.
const OTHERS: usize = 1_000_000;

// ---- protobuf

fn varint(mut n: usize, out: &mut Vec<u8>) {
    while n > 0x7f {
        out.push(0x80 | u8::try_from(n & 0x7f).expect("7 bits"));
        n >>= 7;
    }
    out.push(u8::try_from(n).expect("7 bits"));
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    varint(content.len(), &mut field);
    field.extend_from_slice(content);
    field
}

fn text(text: &str) -> Vec<u8> {
    field(1, text.as_bytes())
}

fn of_span(key: &str, value: &[u8]) -> Vec<u8> {
    field(9, &[field(1, key.as_bytes()), field(2, value)].concat())
}

fn of_resource(key: &str, value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, key.as_bytes()), field(2, value)].concat())
}

fn service(name: &str) -> Vec<u8> {
    of_resource("service.name", &text(name))
}

/// Arrays in each other.
fn nested(depth: usize) -> Vec<u8> {
    let mut backwards: Vec<u8> = Vec::new();
    for _ in 0..depth {
        for tag in [10, 42] {
            let mut head = vec![tag];
            varint(backwards.len(), &mut head);
            backwards.extend(head.iter().rev());
        }
    }
    backwards.reverse();
    backwards
}

/// One `ResourceSpans` with these fields of a resource and one scope with these fields.
fn around(resource: &[u8], scope: &[u8]) -> Vec<u8> {
    field(1, &[field(1, resource), field(2, scope)].concat())
}

fn one(span: &[u8]) -> Vec<u8> {
    around(&service("s"), &field(2, span))
}

/// As many spans under one resource as there may be, in 4 MiB.
fn many(resource: Vec<u8>, span: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let mut spans = Vec::new();
    for i in 0..SPANS_MAX {
        let more = field(2, &span(i));
        if spans.len() + more.len() + resource.len() + 32 > WIRE_MAX {
            break;
        }
        spans.extend_from_slice(&more);
    }
    around(&resource, &spans)
}

/// The same with a resource of its own for each span.
fn resources(resource: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    resources_of(|i| (resource(i), Vec::new()))
}

fn resources_of(both: impl Fn(usize) -> (Vec<u8>, Vec<u8>)) -> Vec<u8> {
    let mut request = Vec::new();
    for i in 0..SPANS_MAX {
        let (resource, span) = both(i);
        let more = around(&resource, &field(2, &span));
        if request.len() + more.len() > WIRE_MAX {
            break;
        }
        request.extend_from_slice(&more);
    }
    request
}

/// As many sides of edges as there may be, and spans that are none.
fn sides(resource: Vec<u8>, side: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    many(resource, |i| if i < SIDES_MAX { side(i) } else { Vec::new() })
}

fn sides_of(both: impl Fn(usize) -> (Vec<u8>, Vec<u8>)) -> Vec<u8> {
    resources_of(|i| if i < SIDES_MAX { both(i) } else { (service("s"), Vec::new()) })
}

fn calls_of(first: usize) -> Vec<u8> {
    sides(service("s"), |i| calling(i + first, b""))
}

/// As many requests as fill a small store.
fn filled(both: impl Fn(usize) -> (Vec<u8>, Vec<u8>)) -> Vec<Vec<u8>> {
    waiting(50_000, both)
}

/// So many spans, a thousand a request.
fn waiting(n: usize, both: impl Fn(usize) -> (Vec<u8>, Vec<u8>)) -> Vec<Vec<u8>> {
    let one = |(resource, span): (Vec<u8>, Vec<u8>)| around(&resource, &field(2, &span));
    let request = |first| (first..first + 1000).flat_map(|i| one(both(i))).collect();
    (0..n).step_by(1000).map(request).collect()
}

/// What one request may have.
const SPANS_MAX: usize = 50_000;
const SIDES_MAX: usize = 12_288;

fn named(i: usize, len: usize) -> Vec<u8> {
    field(5, format!("{i:0len$}").as_bytes())
}

const TRACE: [u8; 16] = [7; 16];

fn id(i: usize) -> [u8; 8] {
    (i as u64 + 1).to_be_bytes()
}

fn ids(i: usize) -> Vec<u8> {
    [field(1, &TRACE), field(2, &id(i))].concat()
}

const CLIENT: [u8; 2] = [0x30, 3];
const SERVER: [u8; 2] = [0x30, 2];
const PRODUCER: [u8; 2] = [0x30, 4];
const CONSUMER: [u8; 2] = [0x30, 5];

fn calling(i: usize, more: &[u8]) -> Vec<u8> {
    [&ids(i)[..], &CLIENT, more].concat()
}

fn called(i: usize, parent: usize) -> Vec<u8> {
    [&ids(i)[..], &SERVER, &field(4, &id(parent))].concat()
}

fn root(i: usize) -> Vec<u8> {
    [&ids(i)[..], &SERVER].concat()
}

fn sending(i: usize) -> Vec<u8> {
    [&field(1, &TRACE)[..], &field(2, &id(i)), &PRODUCER].concat()
}

/// A call of one of 150 services, and an answer of one of 170: a pair that no other one is.
fn half_of_pair(i: usize, name: &str) -> (Vec<u8>, Vec<u8>) {
    let pair = i / 2;
    if i.is_multiple_of(2) {
        (service(&format!("{name}c{}", pair / 170)), calling(i, b""))
    } else {
        (service(&format!("{name}s{}", pair % 170)), called(i, i - 1))
    }
}

/// Below the span that link `of` names.
fn receiving(i: usize, of: usize) -> Vec<u8> {
    [&ids(i + 10_000_000)[..], &CONSUMER, &field(4, &id(of))].concat()
}

fn link(of: usize) -> Vec<u8> {
    field(13, &ids(of))
}

fn linked(i: usize, first: usize, n: usize) -> Vec<u8> {
    let links: Vec<u8> = (first..first + n).flat_map(link).collect();
    [&ids(i + 10_000_000)[..], &CONSUMER, &links].concat()
}

fn peer(i: usize) -> Vec<u8> {
    of_span("peer.service", &text(&i.to_string()))
}

fn database(i: usize) -> Vec<u8> {
    of_span("db.name", &text(&i.to_string()))
}

// ---- JSON

fn spans_of_one(span: &str) -> Vec<u8> {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#).into_bytes()
}

fn spans_of(span: impl Fn(usize) -> String) -> Vec<u8> {
    let mut spans = String::new();
    for i in 0..SPANS_MAX {
        let more = span(i);
        if spans.len() + more.len() + 200 > WIRE_MAX {
            break;
        }
        spans.push_str(if i == 0 { "" } else { "," });
        spans.push_str(&more);
    }
    spans_of_one(&spans)
}

/// Attributes of one span: many, each with a comma, and the last.
fn in_attributes(many: &str, last: &str) -> Vec<u8> {
    spans_of_one(&format!(r#"{{"attributes":[{many}{last}]}}"#))
}
