//! JSON values, read by the tables and written as protobuf fields.

#![deny(clippy::indexing_slicing, clippy::expect_used)]

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

use super::schema::{Field, Kind, Schema};

/// Either alphabet, with or without padding.
const BASE64: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, BASE64);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, BASE64);

/// The fields of one message, without its own tag and length.
pub(super) struct Fields<'a> {
    pub(super) schema: &'static Schema,
    pub(super) wire: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} object", self.schema.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let Some(field) = self.schema.field(&key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = Value { field, always: self.schema.oneof, element: false, wire: self.wire };
            // serde_json finds line and column again at the end of the text.
            map.next_value_seed(value)
                .map_err(|e| A::Error::custom(format_args!("{}: {e}", field.name)))?;
        }
        Ok(())
    }
}

/// Borrowed from the text unless it has escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        json.deserialize_str(KeyVisitor)
    }
}

/// One field's value. `null` writes nothing, whatever the field.
struct Value<'a> {
    field: &'static Field,
    /// Write it even if it is the type's default.
    always: bool,
    /// One of a repeated field's values, not the array of them.
    element: bool,
    wire: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.field.kind {
            // By way of bytes: a lone surrogate is passed on for the stage to repair.
            Kind::Text if !self.is_array() => json.deserialize_option(self),
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_array() {
            return f.write_str("an array");
        }
        match self.field.kind {
            Kind::Text => f.write_str("a string"),
            Kind::Id => f.write_str("a string of hex digits, two a byte"),
            Kind::Bytes => f.write_str("a string in base64"),
            Kind::Bool => f.write_str("true or false"),
            Kind::Int32 => f.write_str("a signed 32-bit integer, as number or string"),
            Kind::Int64 => f.write_str("a signed 64-bit integer, as number or string"),
            Kind::Uint32 | Kind::Fixed32 => {
                f.write_str("an unsigned 32-bit integer, as number or string")
            }
            Kind::Fixed64 => f.write_str("an unsigned 64-bit integer, as number or string"),
            Kind::Double => f.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\""),
            Kind::Enum(_) => f.write_str("the number or the name of an enum value"),
            Kind::Message(schema) => write!(f, "a {} object", schema.name),
        }
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_bytes(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool if !self.is_array() => {
                self.varint(u64::from(value));
                Ok(())
            }
            _ => Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value), Unexpected::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value), Unexpected::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.float(value, Unexpected::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let found = Unexpected::Str(shortened(text));
        if self.is_array() {
            return Err(E::invalid_type(found, &self));
        }
        match self.field.kind {
            Kind::Id => match hex(text) {
                Some(id) => {
                    self.bytes(&id);
                    Ok(())
                }
                None => Err(E::invalid_value(found, &self)),
            },
            Kind::Bytes => {
                let url = text.contains(['-', '_']);
                let engine = if url { &BASE64_URL } else { &BASE64_STANDARD };
                match engine.decode(text) {
                    Ok(bytes) => {
                        self.bytes(&bytes);
                        Ok(())
                    }
                    Err(_) => Err(E::invalid_value(found, &self)),
                }
            }
            Kind::Bool | Kind::Message(_) => Err(E::invalid_type(found, &self)),
            Kind::Text => {
                self.bytes(text.as_bytes());
                Ok(())
            }
            Kind::Enum(by_name) => match by_name(text) {
                Some(number) => self.integer(i128::from(number), found),
                None => self.number(text, found),
            },
            _ => self.number(text, found),
        }
    }

    fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<(), E> {
        self.bytes(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if !self.is_array() {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        loop {
            let value =
                Value { field: self.field, always: true, element: true, wire: &mut *self.wire };
            if seq.next_element_seed(value)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(schema) = self.field.kind else {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        };
        if self.is_array() {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        }
        encode_key(self.field.number, WireType::LengthDelimited, self.wire);
        let start = self.wire.len();
        Fields { schema, wire: &mut *self.wire }.visit_map(map)?;
        insert_length(self.wire, start);
        Ok(())
    }
}

impl Value<'_> {
    fn is_array(&self) -> bool {
        self.field.repeated && !self.element
    }

    /// A number that was written as a string.
    fn number<E: Error>(self, text: &str, found: Unexpected<'_>) -> Result<(), E> {
        if let Ok(value) = text.parse::<i128>() {
            return self.integer(value, found);
        }
        match text {
            // Rust reads "inf" and "nan" as well, in any case; they are no JSON of anybody's.
            "NaN" | "Infinity" | "-Infinity" => {}
            _ if !text.contains(|c: char| c.is_ascii_digit()) => {
                return Err(E::invalid_value(found, &self));
            }
            _ => {}
        }
        match text.parse::<f64>() {
            Ok(value) => self.float(value, found),
            Err(_) => Err(E::invalid_value(found, &self)),
        }
    }

    /// Integers may be written as `1.0` or `1e3`.
    fn float<E: Error>(self, value: f64, found: Unexpected<'_>) -> Result<(), E> {
        if self.is_array() {
            return Err(E::invalid_type(found, &self));
        }
        if let Kind::Double = self.field.kind {
            self.double(value);
            return Ok(());
        }
        // Every integral double below 2^65 is an i128.
        if value.fract() == 0.0 && value.abs() < 36_893_488_147_419_103_232.0 {
            #[expect(clippy::cast_possible_truncation, reason = "integral and in range")]
            let integer = value as i128;
            return self.integer(integer, found);
        }
        Err(E::invalid_value(found, &self))
    }

    fn integer<E: Error>(self, value: i128, found: Unexpected<'_>) -> Result<(), E> {
        if self.is_array() {
            return Err(E::invalid_type(found, &self));
        }
        let out_of_range = || E::invalid_value(found, &self);
        match self.field.kind {
            Kind::Int64 => {
                let value = i64::try_from(value).map_err(|_| out_of_range())?;
                self.varint(value.cast_unsigned());
            }
            Kind::Int32 | Kind::Enum(_) => {
                let value = i32::try_from(value).map_err(|_| out_of_range())?;
                self.varint(i64::from(value).cast_unsigned());
            }
            Kind::Uint32 => {
                let value = u32::try_from(value).map_err(|_| out_of_range())?;
                self.varint(u64::from(value));
            }
            Kind::Fixed32 => {
                let value = u32::try_from(value).map_err(|_| out_of_range())?;
                self.fixed(WireType::ThirtyTwoBit, &value.to_le_bytes());
            }
            Kind::Fixed64 => {
                let value = u64::try_from(value).map_err(|_| out_of_range())?;
                self.fixed(WireType::SixtyFourBit, &value.to_le_bytes());
            }
            Kind::Double => self.double(value as f64),
            Kind::Text | Kind::Id | Kind::Bytes | Kind::Bool | Kind::Message(_) => {
                return Err(E::invalid_type(found, &self));
            }
        }
        Ok(())
    }

    fn varint(self, value: u64) {
        if value != 0 || self.always {
            encode_key(self.field.number, WireType::Varint, self.wire);
            encode_varint(value, self.wire);
        }
    }

    fn fixed(self, wire_type: WireType, value: &[u8]) {
        if self.always || value.iter().any(|&b| b != 0) {
            encode_key(self.field.number, wire_type, self.wire);
            self.wire.extend_from_slice(value);
        }
    }

    fn double(self, value: f64) {
        self.fixed(WireType::SixtyFourBit, &value.to_le_bytes());
    }

    fn bytes(self, value: &[u8]) {
        if self.always || !value.is_empty() {
            encode_key(self.field.number, WireType::LengthDelimited, self.wire);
            encode_varint(value.len() as u64, self.wire);
            self.wire.extend_from_slice(value);
        }
    }
}

/// A message's length is known when it has been written; what follows `start` makes room for it.
fn insert_length(wire: &mut Vec<u8>, start: usize) {
    let value = (wire.len() - start) as u64;
    let mut varint = [0; 10];
    encode_varint(value, &mut varint.as_mut_slice());
    wire.splice(start..start, varint.into_iter().take(encoded_len_varint(value)));
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

/// What an error quotes of a text that may be long.
fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(40)).unwrap_or(text)
}
