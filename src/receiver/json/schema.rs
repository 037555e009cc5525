//! The messages of OTLP traces as tables: a field's JSON name, its number, and how its value is read.

use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};

#[derive(Debug)]
pub(super) struct Schema {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
    /// All fields are alternatives: a value is written even if it is the type's default.
    pub(super) oneof: bool,
}

#[derive(Debug)]
pub(super) struct Field {
    /// lowerCamelCase.
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Bytes, written in hex.
    Id,
    /// Bytes, written in base64.
    Bytes,
    Bool,
    Int32,
    Int64,
    Uint32,
    Fixed32,
    Fixed64,
    Double,
    /// By number, or by a name that the function knows.
    Enum(fn(&str) -> Option<i32>),
    Message(&'static Schema),
}

impl Schema {
    /// By lowerCamelCase or by the original snake_case name.
    pub(super) fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == key || is_snake_of(key, field.name))
    }
}

fn is_snake_of(key: &str, camel: &str) -> bool {
    let mut key = key.bytes();
    for c in camel.bytes() {
        if c.is_ascii_uppercase() && key.next() != Some(b'_') {
            return false;
        }
        if key.next() != Some(c.to_ascii_lowercase()) {
            return false;
        }
    }
    key.next().is_none()
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: false }
}

const fn many(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: true }
}

const fn message(name: &'static str, fields: &'static [Field]) -> Schema {
    Schema { name, fields, oneof: false }
}

pub(super) static REQUEST: Schema =
    message("request", &[many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))]);

static RESOURCE_SPANS: Schema = message(
    "resource spans",
    &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeSpans", 2, Kind::Message(&SCOPE_SPANS)),
        one("schemaUrl", 3, Kind::Text),
    ],
);

static RESOURCE: Schema = message(
    "resource",
    &[
        many("attributes", 1, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 2, Kind::Uint32),
        many("entityRefs", 3, Kind::Message(&ENTITY_REF)),
    ],
);

static ENTITY_REF: Schema = message(
    "entity reference",
    &[
        one("schemaUrl", 1, Kind::Text),
        one("type", 2, Kind::Text),
        many("idKeys", 3, Kind::Text),
        many("descriptionKeys", 4, Kind::Text),
    ],
);

static SCOPE_SPANS: Schema = message(
    "scope spans",
    &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("spans", 2, Kind::Message(&SPAN)),
        one("schemaUrl", 3, Kind::Text),
    ],
);

static SCOPE: Schema = message(
    "scope",
    &[
        one("name", 1, Kind::Text),
        one("version", 2, Kind::Text),
        many("attributes", 3, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Kind::Uint32),
    ],
);

static SPAN: Schema = message(
    "span",
    &[
        one("traceId", 1, Kind::Id),
        one("spanId", 2, Kind::Id),
        one("traceState", 3, Kind::Text),
        one("parentSpanId", 4, Kind::Id),
        one("flags", 16, Kind::Fixed32),
        one("name", 5, Kind::Text),
        one("kind", 6, Kind::Enum(span_kind)),
        one("startTimeUnixNano", 7, Kind::Fixed64),
        one("endTimeUnixNano", 8, Kind::Fixed64),
        many("attributes", 9, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 10, Kind::Uint32),
        many("events", 11, Kind::Message(&EVENT)),
        one("droppedEventsCount", 12, Kind::Uint32),
        many("links", 13, Kind::Message(&LINK)),
        one("droppedLinksCount", 14, Kind::Uint32),
        one("status", 15, Kind::Message(&STATUS)),
    ],
);

static EVENT: Schema = message(
    "event",
    &[
        one("timeUnixNano", 1, Kind::Fixed64),
        one("name", 2, Kind::Text),
        many("attributes", 3, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Kind::Uint32),
    ],
);

static LINK: Schema = message(
    "link",
    &[
        one("traceId", 1, Kind::Id),
        one("spanId", 2, Kind::Id),
        one("traceState", 3, Kind::Text),
        many("attributes", 4, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 5, Kind::Uint32),
        one("flags", 6, Kind::Fixed32),
    ],
);

static STATUS: Schema =
    message("status", &[one("message", 2, Kind::Text), one("code", 3, Kind::Enum(status_code))]);

static KEY_VALUE: Schema = message(
    "attribute",
    &[
        one("key", 1, Kind::Text),
        one("value", 2, Kind::Message(&ANY_VALUE)),
        one("keyStrindex", 3, Kind::Int32),
    ],
);

static ANY_VALUE: Schema = Schema {
    name: "value",
    oneof: true,
    fields: &[
        one("stringValue", 1, Kind::Text),
        one("boolValue", 2, Kind::Bool),
        one("intValue", 3, Kind::Int64),
        one("doubleValue", 4, Kind::Double),
        one("arrayValue", 5, Kind::Message(&ARRAY_VALUE)),
        one("kvlistValue", 6, Kind::Message(&KEY_VALUE_LIST)),
        one("bytesValue", 7, Kind::Bytes),
        one("stringValueStrindex", 8, Kind::Int32),
    ],
};

static ARRAY_VALUE: Schema = message("array", &[many("values", 1, Kind::Message(&ANY_VALUE))]);

static KEY_VALUE_LIST: Schema = message("list", &[many("values", 1, Kind::Message(&KEY_VALUE))]);

fn span_kind(name: &str) -> Option<i32> {
    SpanKind::from_str_name(name).map(i32::from)
}

fn status_code(name: &str) -> Option<i32> {
    StatusCode::from_str_name(name).map(i32::from)
}
