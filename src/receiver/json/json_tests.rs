//! The law: a JSON text of a message, in any of the dialects, decodes to the same message.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
    any_value::Value as Any,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status,
    span::{Event, Link},
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

use super::to_wire;

fn read(text: &str) -> ExportTraceServiceRequest {
    let wire = to_wire(text.as_bytes()).unwrap_or_else(|e| panic!("{e} in {text}"));
    ExportTraceServiceRequest::decode(&*wire).expect("our own wire form")
}

fn read_span(fields: &str) -> Span {
    let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{fields}]}}]}}]}}"#);
    read(&text).resource_spans[0].scope_spans[0].spans[0].clone()
}

fn read_value(value: &str) -> Option<Any> {
    let span = read_span(&format!(r#"{{"attributes":[{{"key":"k","value":{value}}}]}}"#));
    span.attributes[0].value.clone().and_then(|v| v.value)
}

fn error(text: &[u8]) -> String {
    to_wire(text).expect_err("expected an error").to_string()
}

#[test]
fn ids_are_hex_of_either_case_and_keep_odd_lengths() {
    let span = read_span(r#"{"traceId":"5B8eff","spanId":"","parentSpanId":"01"}"#);
    assert_eq!(span.trace_id, [0x5b, 0x8e, 0xff]);
    assert_eq!((span.span_id, span.parent_span_id), (vec![], vec![1]));
}

#[test]
fn integers_are_numbers_or_strings() {
    for text in ["7", r#""7""#, "7.0", "7e0", r#""7.0""#] {
        let fields = format!(
            r#"{{"startTimeUnixNano":{text},"flags":{text},"kind":{text},"droppedLinksCount":{text}}}"#
        );
        let span = read_span(&fields);
        let found = (span.start_time_unix_nano, span.flags, span.kind, span.dropped_links_count);
        assert_eq!(found, (7, 7, 7, 7), "{text}");
    }
    let max = read_span(r#"{"endTimeUnixNano":18446744073709551615}"#);
    assert_eq!(max.end_time_unix_nano, u64::MAX);
    assert_eq!(read_value(r#"{"intValue":-5}"#), Some(Any::IntValue(-5)));
    assert_eq!(read_value(r#"{"intValue":"-9223372036854775808"}"#), Some(Any::IntValue(i64::MIN)));
}

#[test]
fn enums_are_numbers_or_names() {
    let span = read_span(r#"{"kind":"SPAN_KIND_CONSUMER","status":{"code":"STATUS_CODE_ERROR"}}"#);
    assert_eq!((span.kind, span.status.map(|s| s.code)), (5, Some(2)));
    assert_eq!(read_span(r#"{"kind":99}"#).kind, 99);
}

#[test]
fn null_is_an_absent_field_anywhere() {
    let fields = [
        "traceId",
        "name",
        "kind",
        "flags",
        "startTimeUnixNano",
        "attributes",
        "events",
        "links",
        "status",
        "droppedEventsCount",
    ];
    let fields: Vec<String> = fields.iter().map(|f| format!("\"{f}\":null")).collect();
    assert_eq!(read_span(&format!("{{{}}}", fields.join(","))), Span::default());
    assert_eq!(read_value("null"), None);
    assert_eq!(read_value(r#"{"stringValue":null}"#), None);
    assert_eq!(read_span(r#"{"attributes":[null]}"#).attributes, []);
    assert_eq!(read("null"), ExportTraceServiceRequest::default());
    assert_eq!(read(r#"{"resourceSpans":null}"#), ExportTraceServiceRequest::default());
}

#[test]
fn values_take_every_form_of_the_field() {
    let cases = [
        (r#"{"arrayValue":{}}"#, Any::ArrayValue(ArrayValue::default())),
        (r#"{"kvlistValue":{"values":[]}}"#, Any::KvlistValue(KeyValueList::default())),
        (r#"{"stringValue":""}"#, Any::StringValue(String::new())),
        (r#"{"boolValue":false}"#, Any::BoolValue(false)),
        (r#"{"intValue":"0"}"#, Any::IntValue(0)),
        (r#"{"doubleValue":"Infinity"}"#, Any::DoubleValue(f64::INFINITY)),
        (r#"{"doubleValue":"-Infinity"}"#, Any::DoubleValue(f64::NEG_INFINITY)),
        (r#"{"doubleValue":"1.5"}"#, Any::DoubleValue(1.5)),
        (r#"{"doubleValue":3}"#, Any::DoubleValue(3.0)),
        (r#"{"doubleValue":0.1}"#, Any::DoubleValue(0.1)),
        (r#"{"bytesValue":"+/8="}"#, Any::BytesValue(vec![0xfb, 0xff])),
        (r#"{"bytesValue":"-_8"}"#, Any::BytesValue(vec![0xfb, 0xff])),
    ];
    for (text, expected) in cases {
        assert_eq!(read_value(text), Some(expected), "{text}");
    }
    let nan = read_value(r#"{"doubleValue":"NaN"}"#);
    assert!(matches!(nan, Some(Any::DoubleValue(v)) if v.is_nan()), "{nan:?}");
}

#[test]
fn unknown_fields_are_passed_over_and_snake_case_is_read() {
    let text = r#"{"extra":{"deep":[1,{"a":null}]},"resource_spans":[{"instrumentationLibrarySpans":[],
        "scope_spans":[{"spans":[{"trace_id":"01","start_time_unix_nano":3,"na\u006de":"n"}],"schema_url":"s"}]}]}"#;
    let scope_spans = read(text).resource_spans[0].scope_spans[0].clone();
    let span = &scope_spans.spans[0];
    assert_eq!((&*span.trace_id, span.start_time_unix_nano, &*span.name), (&[1][..], 3, "n"));
    assert_eq!(scope_spans.schema_url, "s");
}

/// A string that was cut within a surrogate pair must not cost the whole request.
#[test]
fn text_that_is_no_unicode_is_passed_on_as_it_is() {
    let text = br#"{"resourceSpans":[{"schemaUrl":"a\ud83d"},{"schemaUrl":"b"#;
    let text = [&text[..], b"\xff\"}]}"].concat();
    let wire = to_wire(&text).expect("text is not checked");
    assert_eq!(wire, b"\x0a\x06\x1a\x04a\xed\xa0\xbd\x0a\x04\x1a\x02b\xff");
}

#[test]
fn errors_say_where_and_what() {
    let cases: [(&str, &str); 9] = [
        (r#"{"traceId":"5g"}"#, "traceId: invalid value: string \"5g\", expected a string of hex"),
        (
            r#"{"traceId":"abc"}"#,
            "traceId: invalid value: string \"abc\", expected a string of hex",
        ),
        (r#"{"kind":"SERVER"}"#, "kind: invalid value: string \"SERVER\", expected the number or"),
        (r#"{"flags":-1}"#, "flags: invalid value: integer `-1`, expected an unsigned 32-bit"),
        (r#"{"name":5}"#, "name: invalid type: integer `5`, expected a string at line 1"),
        (r#"{"name":{}}"#, "name: invalid type: map, expected a string"),
        (r#"{"events":{}}"#, "events: invalid type: map, expected an array"),
        (r#"{"status":[]}"#, "status: invalid type: sequence, expected a status object"),
        (r#"{"endTimeUnixNano":1.5}"#, "endTimeUnixNano: invalid value: floating point `1.5`"),
    ];
    for (fields, expected) in cases {
        let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{fields}]}}]}}]}}"#);
        let found = error(text.as_bytes());
        assert!(
            found.contains(&format!("resourceSpans: scopeSpans: spans: {expected}")),
            "{found}"
        );
        assert!(found.contains(" at line 1 column "), "{found}");
        assert_eq!(found.matches("line").count(), 1, "{found}");
    }
    for text in ["[]", "5", "\"x\"", "{", "{}{}", "{\"resourceSpans\":[}", "", "nul"] {
        error(text.as_bytes());
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
    let deep = |open: &str, n: usize| {
        let head = r#"{"resourceSpans":[{"resource":{"attributes":[{"value":"#;
        error(format!("{head}{}", open.repeat(n)).as_bytes())
    };
    for open in [r#"{"arrayValue":{"values":["#, r#"{"kvlistValue":{"values":[{"value":"#] {
        let found = deep(open, 100_000);
        assert!(found.contains("recursion limit"), "{found}");
    }
    // Unknown fields are passed over without recursion, and end too early here.
    let found = deep(r#"{"unknown":"#, 1_000_000);
    assert!(found.contains("EOF"), "{found}");
}

/// An empty object of three bytes must not cost more than that on the way.
#[test]
fn the_wire_form_is_smaller_than_its_text() {
    let n = 100_000;
    let spans = vec!["{}"; n].join(",");
    let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    let wire = to_wire(text.as_bytes()).expect("valid");
    assert!(wire.len() <= text.len(), "{} > {}", wire.len(), text.len());
}

// ---- the property: messages are generated, written as JSON, and read

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        ".{0,4}".prop_map(Any::StringValue),
        any::<bool>().prop_map(Any::BoolValue),
        any::<i64>().prop_map(Any::IntValue),
        prop::num::f64::ANY
            .prop_filter("NaN is not equal to itself", |v| !v.is_nan())
            .prop_map(Any::DoubleValue),
        vec(any::<u8>(), 0..5).prop_map(Any::BytesValue),
        any::<i32>().prop_map(Any::StringValueStrindex),
    ];
    let wrapped = |value: Option<Any>| AnyValue { value };
    option::of(leaf).prop_map(wrapped).prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|values| AnyValue {
                value: Some(Any::ArrayValue(ArrayValue { values }))
            }),
            vec((".{0,3}", option::of(inner)), 0..3).prop_map(|pairs| {
                let pair = |(key, value)| KeyValue { key, value, key_strindex: 0 };
                let values = pairs.into_iter().map(pair).collect();
                AnyValue { value: Some(Any::KvlistValue(KeyValueList { values })) }
            }),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = (".{0,8}", option::of(any_value()), prop_oneof![Just(0), any::<i32>()]);
    vec(pair.prop_map(|(key, value, key_strindex)| KeyValue { key, value, key_strindex }), 0..3)
}

fn id() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

fn event() -> impl Strategy<Value = Event> {
    (any::<u64>(), ".{0,5}", attributes(), 0..3u32).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn link() -> impl Strategy<Value = Link> {
    (id(), id(), ".{0,5}", attributes(), 0..3u32, any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    )
}

fn span() -> impl Strategy<Value = Span> {
    let head = (id(), id(), id(), ".{0,5}", any::<u32>(), ".{0,200}", any::<i32>());
    let status = (".{0,5}", -1..4).prop_map(|(message, code)| Status { message, code });
    let body = (any::<u64>(), any::<u64>(), attributes(), option::of(status));
    let rest = (vec(event(), 0..2), vec(link(), 0..2), 0..3u32, 0..3u32, any::<u32>());
    (head, body, rest).prop_map(|(head, body, rest)| Span {
        trace_id: head.0,
        span_id: head.1,
        parent_span_id: head.2,
        trace_state: head.3,
        flags: head.4,
        name: head.5,
        kind: head.6,
        start_time_unix_nano: body.0,
        end_time_unix_nano: body.1,
        attributes: body.2,
        status: body.3,
        events: rest.0,
        links: rest.1,
        dropped_attributes_count: rest.2,
        dropped_events_count: rest.3,
        dropped_links_count: rest.4,
    })
}

fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope = (".{0,5}", ".{0,5}", attributes(), 0..3u32).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    );
    let scope_spans = (option::of(scope), vec(span(), 0..3), ".{0,5}")
        .prop_map(|(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url });
    let entity = (".{0,3}", ".{0,3}", vec(".{0,3}", 0..3), vec(".{0,3}", 0..3)).prop_map(
        |(schema_url, r#type, id_keys, description_keys)| EntityRef {
            schema_url,
            r#type,
            id_keys,
            description_keys,
        },
    );
    let resource = (attributes(), 0..3u32, vec(entity, 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    );
    let resource_spans = (option::of(resource), vec(scope_spans, 0..3), ".{0,5}").prop_map(
        |(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url },
    );
    vec(resource_spans, 0..3)
        .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

/// Chooses a dialect at each place where there is a choice.
struct Writer(u64);

impl Writer {
    fn choose(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn integer(&mut self, value: impl Into<i128>) -> Value {
        let value: i128 = value.into();
        match (self.choose(2), u64::try_from(value), i64::try_from(value)) {
            (0, Ok(value), _) => json!(value),
            (0, _, Ok(value)) => json!(value),
            _ => json!(value.to_string()),
        }
    }

    fn id(&mut self, id: &[u8]) -> Value {
        let upper = self.choose(2) == 0;
        let digits = id.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") });
        json!(digits.collect::<String>())
    }

    /// Fields in a random order, defaults left out, `null` or written, under either name.
    fn object(&mut self, fields: Vec<(&str, Value)>) -> Value {
        let mut out = serde_json::Map::new();
        for (name, value) in fields {
            let default = matches!(&value, Value::Null) || value == json!([]) || value == json!("");
            let name = if self.choose(4) == 0 { snake(name) } else { name.to_owned() };
            match (default, self.choose(3)) {
                (true, 0) => {}
                (true, 1) => {
                    out.insert(name, Value::Null);
                }
                _ => {
                    out.insert(name, value);
                }
            }
        }
        if self.choose(5) == 0 {
            out.insert("fromTheFuture".into(), json!({"a": [1, null, "x"]}));
        }
        Value::Object(out)
    }

    fn value(&mut self, value: &AnyValue) -> Value {
        let Some(value) = &value.value else { return json!({}) };
        let (name, value) = match value {
            Any::StringValue(v) => ("stringValue", json!(v)),
            Any::BoolValue(v) => ("boolValue", json!(v)),
            Any::IntValue(v) => ("intValue", self.integer(*v)),
            Any::DoubleValue(v) if v.is_infinite() => {
                ("doubleValue", json!(if *v > 0.0 { "Infinity" } else { "-Infinity" }))
            }
            Any::DoubleValue(v) => ("doubleValue", json!(v)),
            Any::ArrayValue(v) => {
                let values: Vec<_> = v.values.iter().map(|v| self.value(v)).collect();
                ("arrayValue", self.object(vec![("values", json!(values))]))
            }
            Any::KvlistValue(v) => {
                let values = self.attributes(&v.values);
                ("kvlistValue", self.object(vec![("values", values)]))
            }
            Any::BytesValue(v) => {
                use base64::Engine;
                use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
                let url = self.choose(2) == 0;
                let text =
                    if url { BASE64_URL_SAFE_NO_PAD.encode(v) } else { BASE64_STANDARD.encode(v) };
                ("bytesValue", json!(text))
            }
            Any::StringValueStrindex(v) => ("stringValueStrindex", self.integer(*v)),
        };
        json!({name: value})
    }

    fn attributes(&mut self, attributes: &[KeyValue]) -> Value {
        let pair = |kv: &KeyValue| {
            let value = kv.value.as_ref().map_or(Value::Null, |v| self.value(v));
            let strindex = self.integer(kv.key_strindex);
            self.object(vec![("key", json!(kv.key)), ("value", value), ("keyStrindex", strindex)])
        };
        Value::Array(attributes.iter().map(pair).collect())
    }

    fn event(&mut self, event: &Event) -> Value {
        let fields = vec![
            ("timeUnixNano", self.integer(event.time_unix_nano)),
            ("name", json!(event.name)),
            ("attributes", self.attributes(&event.attributes)),
            ("droppedAttributesCount", self.integer(event.dropped_attributes_count)),
        ];
        self.object(fields)
    }

    fn link(&mut self, link: &Link) -> Value {
        let fields = vec![
            ("traceId", self.id(&link.trace_id)),
            ("spanId", self.id(&link.span_id)),
            ("traceState", json!(link.trace_state)),
            ("attributes", self.attributes(&link.attributes)),
            ("droppedAttributesCount", self.integer(link.dropped_attributes_count)),
            ("flags", self.integer(link.flags)),
        ];
        self.object(fields)
    }

    fn span(&mut self, span: &Span) -> Value {
        let status = span.status.as_ref().map_or(Value::Null, |status| {
            let names = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];
            let name = usize::try_from(status.code).ok().and_then(|i| names.get(i));
            let code = match name {
                Some(name) if self.choose(2) == 0 => json!(name),
                _ => self.integer(status.code),
            };
            self.object(vec![("message", json!(status.message)), ("code", code)])
        });
        let events: Vec<_> = span.events.iter().map(|e| self.event(e)).collect();
        let links: Vec<_> = span.links.iter().map(|l| self.link(l)).collect();
        let fields = vec![
            ("traceId", self.id(&span.trace_id)),
            ("spanId", self.id(&span.span_id)),
            ("parentSpanId", self.id(&span.parent_span_id)),
            ("traceState", json!(span.trace_state)),
            ("flags", self.integer(span.flags)),
            ("name", json!(span.name)),
            ("kind", self.integer(span.kind)),
            ("startTimeUnixNano", self.integer(span.start_time_unix_nano)),
            ("endTimeUnixNano", self.integer(span.end_time_unix_nano)),
            ("attributes", self.attributes(&span.attributes)),
            ("droppedAttributesCount", self.integer(span.dropped_attributes_count)),
            ("events", json!(events)),
            ("droppedEventsCount", self.integer(span.dropped_events_count)),
            ("links", json!(links)),
            ("droppedLinksCount", self.integer(span.dropped_links_count)),
            ("status", status),
        ];
        self.object(fields)
    }

    fn scope_spans(&mut self, scope_spans: &ScopeSpans) -> Value {
        let scope = scope_spans.scope.as_ref().map_or(Value::Null, |scope| {
            let fields = vec![
                ("name", json!(scope.name)),
                ("version", json!(scope.version)),
                ("attributes", self.attributes(&scope.attributes)),
                ("droppedAttributesCount", self.integer(scope.dropped_attributes_count)),
            ];
            self.object(fields)
        });
        let spans: Vec<_> = scope_spans.spans.iter().map(|s| self.span(s)).collect();
        let url = json!(scope_spans.schema_url);
        self.object(vec![("scope", scope), ("spans", json!(spans)), ("schemaUrl", url)])
    }

    fn resource(&mut self, resource: &Resource) -> Value {
        let entity = |e: &EntityRef| {
            json!({"schemaUrl": e.schema_url, "type": e.r#type, "idKeys": e.id_keys,
                "descriptionKeys": e.description_keys})
        };
        let entities: Vec<_> = resource.entity_refs.iter().map(entity).collect();
        let fields = vec![
            ("attributes", self.attributes(&resource.attributes)),
            ("droppedAttributesCount", self.integer(resource.dropped_attributes_count)),
            ("entityRefs", json!(entities)),
        ];
        self.object(fields)
    }

    fn request(&mut self, request: &ExportTraceServiceRequest) -> Value {
        let resource_spans = |r: &ResourceSpans| {
            let resource = r.resource.as_ref().map_or(Value::Null, |r| self.resource(r));
            let scopes: Vec<_> = r.scope_spans.iter().map(|s| self.scope_spans(s)).collect();
            let url = json!(r.schema_url);
            self.object(vec![
                ("resource", resource),
                ("scopeSpans", json!(scopes)),
                ("schemaUrl", url),
            ])
        };
        let all: Vec<_> = request.resource_spans.iter().map(resource_spans).collect();
        self.object(vec![("resourceSpans", json!(all))])
    }
}

fn snake(camel: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.to_string() }
    };
    camel.chars().map(letter).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Reading what was written gives the message, and its wire form has the length of prost's.
    #[test]
    fn a_message_written_as_json_is_read_as_the_same_message(request in request(), seed: u64) {
        let text = Writer(seed).request(&request).to_string();
        let wire = to_wire(text.as_bytes()).map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
        prop_assert_eq!(wire.len(), request.encoded_len());
        let read = ExportTraceServiceRequest::decode(&*wire);
        prop_assert_eq!(read, Ok(request));
    }

    /// Whatever the bytes are, the reader answers.
    #[test]
    fn any_bytes_are_read_or_refused(request in request(), seed: u64, at: usize, byte: u8) {
        let mut text = Writer(seed).request(&request).to_string().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(wire) = to_wire(&text) {
            // Strings may be no UTF-8 by now; the framing is sound all the same.
            prop_assert!(wire.len() <= text.len());
        }
    }
}

#[test]
fn the_wire_form_fits_into_what_is_set_aside_for_it() {
    // The fields that are longest in comparison with their text.
    let fields = [
        r#"{"kind":-1},"#,
        r#"{"kind":-1,"kind":-1,"kind":-1,"kind":-1,"kind":-1},"#,
        r#"{"status":{"code":-1}},"#,
        r#"{"attributes":[{"value":{"intValue":-1}}]},"#,
        r#"{"attributes":[{"value":{"doubleValue":1}}]},"#,
        r#"{"flags":1},"#,
        "{},",
    ];
    for field in fields {
        for n in [1, 1000, 100_000] {
            let spans = field.repeat(n);
            let spans = spans.trim_end_matches(',');
            let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
            let wire = to_wire(text.as_bytes()).expect("well-formed");
            assert!(wire.len() <= super::wire_bytes_max(text.as_bytes()), "{field} {n}");
            assert_eq!(wire.capacity(), super::wire_bytes_max(text.as_bytes()), "it never grew");
        }
    }
}
