//! OTLP/JSON, written and read here by the specification and apart from the product's own reader.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde_json::{Value, json};

/// Ids in hex, 64-bit integers as text, enums as numbers, bytes in base64.
pub(crate) fn write(request: &Request) -> Vec<u8> {
    let resource_spans: Vec<Value> = request.resource_spans.iter().map(resource_spans).collect();
    serde_json::to_vec(&json!({ "resourceSpans": resource_spans })).expect("values are JSON")
}

fn resource_spans(spans: &ResourceSpans) -> Value {
    let mut json = json!({
        "scopeSpans": spans.scope_spans.iter().map(scope_spans).collect::<Vec<_>>(),
        "schemaUrl": spans.schema_url,
    });
    if let Some(resource) = &spans.resource {
        json["resource"] = json!({
            "attributes": attributes(&resource.attributes),
            "droppedAttributesCount": resource.dropped_attributes_count,
        });
    }
    json
}

fn scope_spans(spans: &ScopeSpans) -> Value {
    let mut json = json!({
        "spans": spans.spans.iter().map(span).collect::<Vec<_>>(),
        "schemaUrl": spans.schema_url,
    });
    if let Some(scope) = &spans.scope {
        json["scope"] = json!({
            "name": scope.name,
            "version": scope.version,
            "attributes": attributes(&scope.attributes),
            "droppedAttributesCount": scope.dropped_attributes_count,
        });
    }
    json
}

fn span(span: &Span) -> Value {
    let mut json = json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "traceState": span.trace_state,
        "parentSpanId": hex(&span.parent_span_id),
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "attributes": attributes(&span.attributes),
        "droppedAttributesCount": span.dropped_attributes_count,
        "events": span.events.iter().map(event).collect::<Vec<_>>(),
        "droppedEventsCount": span.dropped_events_count,
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
        "droppedLinksCount": span.dropped_links_count,
    });
    if let Some(status) = &span.status {
        json["status"] = json!({ "message": status.message, "code": status.code });
    }
    json
}

fn event(event: &Event) -> Value {
    json!({
        "timeUnixNano": event.time_unix_nano.to_string(),
        "name": event.name,
        "attributes": attributes(&event.attributes),
        "droppedAttributesCount": event.dropped_attributes_count,
    })
}

fn link(link: &Link) -> Value {
    json!({
        "traceId": hex(&link.trace_id),
        "spanId": hex(&link.span_id),
        "traceState": link.trace_state,
        "attributes": attributes(&link.attributes),
        "droppedAttributesCount": link.dropped_attributes_count,
        "flags": link.flags,
    })
}

fn attributes(attributes: &[KeyValue]) -> Vec<Value> {
    let write = |kv: &KeyValue| match &kv.value {
        Some(value) => json!({ "key": kv.key, "value": any(value) }),
        None => json!({ "key": kv.key }),
    };
    attributes.iter().map(write).collect()
}

fn any(value: &AnyValue) -> Value {
    let Some(value) = &value.value else { return json!({}) };
    match value {
        Any::StringValue(text) => json!({ "stringValue": text }),
        Any::BoolValue(truth) => json!({ "boolValue": truth }),
        Any::IntValue(number) => json!({ "intValue": number.to_string() }),
        Any::DoubleValue(number) if number.is_finite() => json!({ "doubleValue": number }),
        Any::DoubleValue(number) if number.is_nan() => json!({ "doubleValue": "NaN" }),
        Any::DoubleValue(number) if *number > 0.0 => json!({ "doubleValue": "Infinity" }),
        Any::DoubleValue(_) => json!({ "doubleValue": "-Infinity" }),
        Any::BytesValue(bytes) => json!({ "bytesValue": BASE64.encode(bytes) }),
        Any::ArrayValue(array) => {
            json!({ "arrayValue": { "values": array.values.iter().map(any).collect::<Vec<_>>() } })
        }
        Any::KvlistValue(list) => json!({ "kvlistValue": { "values": attributes(&list.values) } }),
        Any::StringValueStrindex(_) => panic!("no dictionary outside profiles"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute's value as the text of a label.
pub(crate) fn text_of(value: &AnyValue) -> String {
    match &value.value {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        other => panic!("not expected as the name of a service: {other:?}"),
    }
}

/// Takes all that the dialects of the corpora say.
pub(crate) fn read(body: &[u8]) -> Request {
    let json: Value = serde_json::from_slice(body).expect("a body of a corpus is JSON");
    let read = |json: &Value| ResourceSpans {
        resource: (!json["resource"].is_null()).then(|| Resource {
            attributes: read_attributes(&json["resource"]),
            dropped_attributes_count: read_u32(&json["resource"]["droppedAttributesCount"]),
            entity_refs: Vec::new(),
        }),
        scope_spans: list(&json["scopeSpans"], read_scope_spans),
        schema_url: text(&json["schemaUrl"]),
    };
    Request { resource_spans: list(&json["resourceSpans"], read) }
}

fn read_scope_spans(json: &Value) -> ScopeSpans {
    let scope = &json["scope"];
    ScopeSpans {
        scope: (!scope.is_null()).then(|| InstrumentationScope {
            name: text(&scope["name"]),
            version: text(&scope["version"]),
            attributes: read_attributes(scope),
            dropped_attributes_count: read_u32(&scope["droppedAttributesCount"]),
        }),
        spans: list(&json["spans"], read_span),
        schema_url: text(&json["schemaUrl"]),
    }
}

fn read_span(json: &Value) -> Span {
    let status = &json["status"];
    Span {
        trace_id: unhex(&json["traceId"]),
        span_id: unhex(&json["spanId"]),
        trace_state: text(&json["traceState"]),
        parent_span_id: unhex(&json["parentSpanId"]),
        flags: read_u32(&json["flags"]),
        name: text(&json["name"]),
        kind: read_enum(&json["kind"], |name| SpanKind::from_str_name(name).map(i32::from)),
        start_time_unix_nano: number(&json["startTimeUnixNano"]).unwrap_or(0),
        end_time_unix_nano: number(&json["endTimeUnixNano"]).unwrap_or(0),
        attributes: read_attributes(json),
        dropped_attributes_count: read_u32(&json["droppedAttributesCount"]),
        events: list(&json["events"], |json| Event {
            time_unix_nano: number(&json["timeUnixNano"]).unwrap_or(0),
            name: text(&json["name"]),
            attributes: read_attributes(json),
            dropped_attributes_count: read_u32(&json["droppedAttributesCount"]),
        }),
        dropped_events_count: read_u32(&json["droppedEventsCount"]),
        links: list(&json["links"], |json| Link {
            trace_id: unhex(&json["traceId"]),
            span_id: unhex(&json["spanId"]),
            trace_state: text(&json["traceState"]),
            attributes: read_attributes(json),
            dropped_attributes_count: read_u32(&json["droppedAttributesCount"]),
            flags: read_u32(&json["flags"]),
        }),
        dropped_links_count: read_u32(&json["droppedLinksCount"]),
        status: (!status.is_null()).then(|| Status {
            message: text(&status["message"]),
            code: read_enum(&status["code"], |name| StatusCode::from_str_name(name).map(i32::from)),
        }),
    }
}

fn read_attributes(json: &Value) -> Vec<KeyValue> {
    list(&json["attributes"], read_attribute)
}

fn read_attribute(json: &Value) -> KeyValue {
    let value = json.get("value").filter(|value| !value.is_null()).map(read_any);
    KeyValue { key: text(&json["key"]), value, ..KeyValue::default() }
}

fn read_any(json: &Value) -> AnyValue {
    let object = json.as_object().expect("an attribute's value is an object");
    let value = object.iter().find(|(_, value)| !value.is_null()).map(|(form, value)| {
        match form.as_str() {
            "stringValue" => Any::StringValue(text(value)),
            "boolValue" => Any::BoolValue(value.as_bool().expect("a truth value")),
            "intValue" => Any::IntValue(number(value).expect("an integer")),
            "doubleValue" => Any::DoubleValue(number(value).expect("a number")),
            "bytesValue" => Any::BytesValue(BASE64.decode(text(value)).expect("base64")),
            "arrayValue" => {
                Any::ArrayValue(ArrayValue { values: list(&value["values"], read_any) })
            }
            "kvlistValue" => {
                Any::KvlistValue(KeyValueList { values: list(&value["values"], read_attribute) })
            }
            other => panic!("unknown form of a value: {other}"),
        }
    });
    AnyValue { value }
}

fn list<T>(json: &Value, read: impl FnMut(&Value) -> T) -> Vec<T> {
    json.as_array().map_or_else(Vec::new, |values| values.iter().map(read).collect())
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

/// As a number or as text.
fn number<T: std::str::FromStr>(json: &Value) -> Option<T> {
    match json {
        Value::Null => None,
        Value::String(text) => text.parse().ok(),
        other => other.to_string().parse().ok(),
    }
}

fn read_u32(json: &Value) -> u32 {
    number(json).unwrap_or(0)
}

fn read_enum(json: &Value, by_name: impl Fn(&str) -> Option<i32>) -> i32 {
    let name = json.as_str().and_then(by_name);
    name.or_else(|| number(json)).unwrap_or(0)
}

fn unhex(json: &Value) -> Vec<u8> {
    let digits = text(json);
    assert!(digits.is_ascii() && digits.len().is_multiple_of(2), "not an id: {digits}");
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
    (0..digits.len()).step_by(2).map(byte).collect()
}

mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_value_survives_the_way_there_and_back() {
        let value = |value| AnyValue { value: Some(value) };
        let entry = |key: &str, any| KeyValue {
            key: key.to_owned(),
            value: Some(value(any)),
            ..KeyValue::default()
        };
        let attributes = vec![
            entry("text", Any::StringValue("a\"\u{1f600}\u{0}".to_owned())),
            entry("int", Any::IntValue(i64::MIN)),
            entry("double", Any::DoubleValue(0.1)),
            entry("infinite", Any::DoubleValue(f64::NEG_INFINITY)),
            entry("bytes", Any::BytesValue(vec![0, 255])),
            entry("array", Any::ArrayValue(ArrayValue { values: vec![value(Any::IntValue(1))] })),
            entry(
                "list",
                Any::KvlistValue(KeyValueList {
                    values: vec![entry("truth", Any::BoolValue(true))],
                }),
            ),
            KeyValue {
                key: "empty".to_owned(),
                value: Some(AnyValue { value: None }),
                ..KeyValue::default()
            },
            KeyValue { key: "none".to_owned(), ..KeyValue::default() },
        ];
        let span = Span {
            trace_id: vec![0xab; 16],
            end_time_unix_nano: u64::MAX,
            kind: 77,
            attributes,
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let request = Request { resource_spans };
        assert_eq!(read(&write(&request)), request);
    }

    #[test]
    fn numbers_and_names_are_read_in_either_form() {
        let body = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[
            {"traceId":"5B8E","kind":"SPAN_KIND_SERVER","startTimeUnixNano":1795220655829000001,
             "endTimeUnixNano":"2","status":{"code":"STATUS_CODE_ERROR"},"name":null}]}]}]}"#;
        let request = read(body);
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(span.trace_id, [0x5b, 0x8e]);
        assert_eq!(span.kind(), SpanKind::Server);
        assert_eq!(span.start_time_unix_nano, 1_795_220_655_829_000_001);
        assert_eq!(span.status.as_ref().map(Status::code), Some(StatusCode::Error));
    }
}
