//! A tree of the fields of an encoded message, made unusual in ways that protobuf allows, or broken.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that goes wrong panics"
)]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_varint};

use super::generated::Choices;

/// What a message is, as far as its fields that are messages need telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    ResourceSpans,
    Resource,
    EntityRef,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Link,
    Status,
    KeyValue,
    AnyValue,
    Array,
    Kvlist,
}

impl Kind {
    /// The message in that field, and whether there may be several.
    fn child(self, number: u32) -> Option<(Self, bool)> {
        Some(match (self, number) {
            (Self::Request, 1) => (Self::ResourceSpans, true),
            (Self::ResourceSpans, 1) => (Self::Resource, false),
            (Self::ResourceSpans, 2) => (Self::ScopeSpans, true),
            (Self::ScopeSpans, 1) => (Self::Scope, false),
            (Self::ScopeSpans, 2) => (Self::Span, true),
            (Self::Resource, 3) => (Self::EntityRef, true),
            (Self::Resource, 1)
            | (Self::Scope, 3)
            | (Self::Span, 9)
            | (Self::Event, 3)
            | (Self::Link, 4)
            | (Self::Kvlist, 1) => (Self::KeyValue, true),
            (Self::Span, 11) => (Self::Event, true),
            (Self::Span, 13) => (Self::Link, true),
            (Self::Span, 15) => (Self::Status, false),
            (Self::KeyValue, 2) => (Self::AnyValue, false),
            (Self::AnyValue, 5) => (Self::Array, false),
            (Self::AnyValue, 6) => (Self::Kvlist, false),
            (Self::Array, 1) => (Self::AnyValue, true),
            _ => return None,
        })
    }
}

#[derive(Debug, Clone)]
pub(super) struct Tree {
    kind: Kind,
    fields: Vec<Field>,
}

#[derive(Debug, Clone)]
struct Field {
    number: u32,
    body: Body,
    /// Bytes by which the key, and the value or length, are longer than they need be.
    over_long: (usize, usize),
}

#[derive(Debug, Clone)]
enum Body {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
    Message(Tree),
    Group(Vec<Field>),
}

impl Field {
    fn new(number: u32, body: Body) -> Self {
        Self { number, body, over_long: (0, 0) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let wire_type = match &self.body {
            Body::Varint(_) => WireType::Varint,
            Body::Fixed64(_) => WireType::SixtyFourBit,
            Body::Fixed32(_) => WireType::ThirtyTwoBit,
            Body::Bytes(_) | Body::Message(_) => WireType::LengthDelimited,
            Body::Group(_) => WireType::StartGroup,
        };
        let key = |wire_type: WireType| u64::from(self.number) << 3 | wire_type as u64;
        put_varint(key(wire_type), self.over_long.0, out);
        match &self.body {
            Body::Varint(n) => put_varint(*n, self.over_long.1, out),
            Body::Fixed64(bytes) => out.extend_from_slice(bytes),
            Body::Fixed32(bytes) => out.extend_from_slice(bytes),
            Body::Bytes(bytes) => self.put_bytes(bytes, out),
            Body::Message(tree) => self.put_bytes(&tree.encode(), out),
            Body::Group(fields) => {
                fields.iter().for_each(|field| field.encode(out));
                put_varint(key(WireType::EndGroup), self.over_long.1, out);
            }
        }
    }

    fn put_bytes(&self, bytes: &[u8], out: &mut Vec<u8>) {
        put_varint(bytes.len() as u64, self.over_long.1, out);
        out.extend_from_slice(bytes);
    }
}

/// At most ten bytes.
fn put_varint(n: u64, over_long: usize, out: &mut Vec<u8>) {
    let start = out.len();
    encode_varint(n, out);
    let room = 10 - (out.len() - start);
    for _ in 0..over_long.min(room) {
        *out.last_mut().expect("a varint is not empty") |= 0x80;
        out.push(0);
    }
}

impl Tree {
    pub(super) fn of(request: &ExportTraceServiceRequest) -> Self {
        Self::read(Kind::Request, &request.encode_to_vec())
    }

    /// `bytes` come from prost.
    fn read(kind: Kind, mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let (number, wire_type) = decode_key(&mut bytes).expect("from prost");
            let mut take = |n: usize| {
                let (taken, rest) = bytes.split_at(n);
                bytes = rest;
                taken
            };
            let body = match wire_type {
                WireType::SixtyFourBit => Body::Fixed64(take(8).try_into().expect("8")),
                WireType::ThirtyTwoBit => Body::Fixed32(take(4).try_into().expect("4")),
                WireType::Varint => Body::Varint(decode_varint(&mut bytes).expect("from prost")),
                WireType::LengthDelimited => {
                    let len = decode_varint(&mut bytes).expect("from prost");
                    let (inner, rest) = bytes.split_at(usize::try_from(len).expect("short"));
                    bytes = rest;
                    match kind.child(number) {
                        Some((kind, _)) => Body::Message(Self::read(kind, inner)),
                        None => Body::Bytes(inner.to_vec()),
                    }
                }
                other => panic!("prost writes no {other:?}"),
            };
            fields.push(Field::new(number, body));
        }
        Self { kind, fields }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.fields.iter().for_each(|field| field.encode(&mut out));
        out
    }

    /// Changes what valid encoders may change: order, repetition, pieces, unknown fields, long varints.
    pub(super) fn make_unusual(&mut self, c: &mut Choices<'_>) {
        for field in &mut self.fields {
            if let Body::Message(tree) = &mut field.body {
                tree.make_unusual(c);
            }
        }
        if c.one_in(4) {
            self.repeat_singular(c);
        }
        if c.one_in(4) {
            self.split_singular(c);
        }
        if c.one_in(4) {
            let (at, field) = (c.below(self.fields.len() + 1), unknown(c, 0));
            self.fields.insert(at, field);
        }
        if c.one_in(3) {
            for at in (1..self.fields.len()).rev() {
                self.fields.swap(at, c.below(at + 1));
            }
        }
        if c.one_in(3) && !self.fields.is_empty() {
            let at = c.below(self.fields.len());
            self.fields[at].over_long = (c.below(10), c.below(10));
        }
    }

    /// A scalar, or one of a value's forms, is written once more, otherwise.
    fn repeat_singular(&mut self, c: &mut Choices<'_>) {
        if self.fields.is_empty() {
            return;
        }
        let again = self.fields[c.below(self.fields.len())].clone();
        let body = match again.body {
            Body::Varint(_) => Body::Varint(c.number()),
            Body::Fixed64(_) => Body::Fixed64(c.number().to_le_bytes()),
            Body::Bytes(_) => Body::Bytes(c.text().into_bytes()),
            same => same,
        };
        let at = c.below(self.fields.len() + 1);
        self.fields.insert(at, Field::new(again.number, body));
        if self.kind == Kind::AnyValue && c.one_in(2) {
            let other = [
                Field::new(1, Body::Bytes(c.text().into_bytes())),
                Field::new(2, Body::Varint(c.number())),
                Field::new(5, Body::Message(Self { kind: Kind::Array, fields: Vec::new() })),
            ];
            self.fields.push(other[c.below(other.len())].clone());
        }
    }

    /// A message that stands once is written in two pieces, which means their sum.
    fn split_singular(&mut self, c: &mut Choices<'_>) {
        let singular = |field: &Field| {
            matches!(self.kind.child(field.number), Some((_, false)))
                && matches!(field.body, Body::Message(_))
        };
        let Some(at) = self.fields.iter().position(singular) else { return };
        let Body::Message(tree) = &mut self.fields[at].body else { return };
        let second = tree.fields.split_off(c.below(tree.fields.len() + 1));
        let second = Self { kind: tree.kind, fields: second };
        let number = self.fields[at].number;
        let to = at + 1 + c.below(self.fields.len() - at);
        self.fields.insert(to, Field::new(number, Body::Message(second)));
    }

    /// Breaks bytes: of the whole, or of a message inside, whose length stays right.
    pub(super) fn break_bytes(&mut self, c: &mut Choices<'_>) -> Vec<u8> {
        if c.below(4) > 0 {
            self.break_inside(c);
        }
        let mut bytes = self.encode();
        if c.one_in(3) {
            mutate(&mut bytes, c);
        }
        bytes
    }

    fn break_inside(&mut self, c: &mut Choices<'_>) {
        let inner = |field: &Field| matches!(field.body, Body::Message(_));
        let places: Vec<usize> =
            (0..self.fields.len()).filter(|&at| inner(&self.fields[at])).collect();
        if places.is_empty() {
            return;
        }
        let field = &mut self.fields[places[c.below(places.len())]];
        let Body::Message(tree) = &mut field.body else { return };
        if c.below(4) > 0 {
            return tree.break_inside(c);
        }
        let mut bytes = tree.encode();
        mutate(&mut bytes, c);
        field.body = Body::Bytes(bytes);
    }
}

/// A field that no message of OTLP has, of any wire type.
fn unknown(c: &mut Choices<'_>, depth: usize) -> Field {
    let number = c.one_of(&[20, 99, 16_383, 536_870_911]);
    let body = match c.below(if depth < 6 { 6 } else { 4 }) {
        0 => Body::Varint(c.number()),
        1 => Body::Fixed64(c.number().to_le_bytes()),
        2 => Body::Fixed32([0xff; 4]),
        3 => Body::Bytes(c.text().into_bytes()),
        _ => Body::Group(c.list(3, |c| unknown(c, depth + 1))),
    };
    Field { number, body, over_long: (c.below(3), c.below(3)) }
}

fn mutate(bytes: &mut Vec<u8>, c: &mut Choices<'_>) {
    for _ in 0..=c.below(3) {
        if bytes.is_empty() {
            return bytes.push(0);
        }
        let at = c.below(bytes.len());
        let random = c.below(256).to_le_bytes()[0];
        match c.below(8) {
            0 => bytes[at] ^= 1 << c.below(8),
            1 => bytes.truncate(at),
            2 => bytes.insert(at, random),
            3 => drop(bytes.remove(at)),
            4 => bytes[at] = random,
            5 => bytes[at] = bytes[at].wrapping_add(1),
            6 => {
                let end = at + 1 + c.below(bytes.len() - at);
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes[at] |= 0x80,
        }
    }
}
