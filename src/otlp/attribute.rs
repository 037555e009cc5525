//! Attributes: a key, and a value that is decoded only when somebody asks for it.

use std::borrow::Cow;

use super::wire::{DecodeError, FIXED64, LEN, Reader, VARINT, key};

const KEY: u32 = key(1, LEN);
const VALUE: u32 = key(2, LEN);
const IN_KEY_VALUE: &[u32] = &[KEY, VALUE, key(3, VARINT)];

const STRING: u32 = key(1, LEN);
const BOOL: u32 = key(2, VARINT);
const INT: u32 = key(3, VARINT);
const DOUBLE: u32 = key(4, FIXED64);
const ARRAY: u32 = key(5, LEN);
const KVLIST: u32 = key(6, LEN);
const BYTES: u32 = key(7, LEN);
/// A reference into the dictionary of another signal: no value here.
const STRING_REF: u32 = key(8, VARINT);
const IN_ANY_VALUE: &[u32] = &[STRING, BOOL, INT, DOUBLE, ARRAY, KVLIST, BYTES, STRING_REF];

/// Of `ArrayValue` and `KeyValueList`.
const ELEMENT: u32 = key(1, LEN);

/// Arrays and lists inside arrays and lists that are read; deeper ones render as `<nested>`.
pub const MAX_VALUE_DEPTH: usize = 8;

/// Elements of a list that are read: few that say something fill any label.
const ELEMENTS_MAX: usize = 10_000;

/// An attribute whose value has not been looked at.
#[derive(Debug, Clone, Copy)]
pub struct KeyValue<'a> {
    pub key: &'a [u8],
    pub value: Value<'a>,
}

/// The encoding of an `AnyValue`, whole or in pieces.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    last: &'a [u8],
    /// The whole `KeyValue` where its value is written more than once, which means: joined.
    pieces: Option<&'a [u8]>,
}

/// A decoded value; text is unchecked.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyValue<'a> {
    Empty,
    String(Cow<'a, [u8]>),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// The encoded `ArrayValue`.
    Array(Cow<'a, [u8]>),
    /// The encoded `KeyValueList`.
    Kvlist(Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
}

impl<'a> KeyValue<'a> {
    #[inline]
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::short(bytes).map_or_else(|| Self::general(bytes), Ok)
    }

    /// What nearly every attribute is: a key and then a value, each shorter than 128 bytes.
    #[inline]
    fn short(bytes: &'a [u8]) -> Option<Self> {
        let [0x0a, key_len @ ..=0x7f, rest @ ..] = bytes else { return None };
        let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
        let [0x12, value_len @ ..=0x7f, last @ ..] = rest else { return None };
        let whole = last.len() == usize::from(*value_len);
        whole.then_some(Self { key, value: Value { last, pieces: None } })
    }

    fn general(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "attribute");
        let mut name: &[u8] = &[];
        let mut value: Option<Value<'a>> = None;
        while let Some(key) = reader.next_key()? {
            match key {
                KEY => name = reader.bytes()?,
                VALUE => {
                    let pieces = value.is_some().then_some(bytes);
                    value = Some(Value { last: reader.bytes()?, pieces });
                }
                _ => reader.skip(key, IN_KEY_VALUE)?,
            }
        }
        let value = value.unwrap_or(Value { last: &[], pieces: None });
        Ok(Self { key: name, value })
    }
}

impl<'a> Value<'a> {
    /// What the value is read from, and whether that is its encoding in pieces: where both are the same
    /// the values are.
    #[inline]
    pub fn raw(&self) -> (&'a [u8], bool) {
        self.pieces.map_or((self.last, false), |pieces| (pieces, true))
    }

    /// The encoding as one slice: joined encodings are how protobuf merges messages. Each piece must
    /// be whole by itself.
    pub fn encoded(&self) -> Result<Cow<'a, [u8]>, DecodeError> {
        let Some(key_value) = self.pieces else { return Ok(Cow::Borrowed(self.last)) };
        let mut joined = Vec::with_capacity(key_value.len());
        let mut reader = Reader::new(key_value, "attribute");
        while let Some(key) = reader.next_key()? {
            match key {
                VALUE => {
                    let piece = reader.bytes()?;
                    AnyValue::read(piece)?;
                    joined.extend_from_slice(piece);
                }
                _ => reader.skip(key, IN_KEY_VALUE)?,
            }
        }
        Ok(Cow::Owned(joined))
    }
}

impl<'a> Value<'a> {
    /// Decodes the value, which borrows from the request unless it was written in pieces.
    pub fn read(&self) -> Result<AnyValue<'a>, DecodeError> {
        match self.encoded()? {
            Cow::Borrowed(bytes) => AnyValue::read(bytes),
            Cow::Owned(bytes) => AnyValue::read(&bytes).map(AnyValue::into_owned),
        }
    }
}

impl<'a> AnyValue<'a> {
    /// Of several values that are written the last one wins; arrays and lists that follow their
    /// like are joined. Their elements are stepped over: decoded only when they are rendered.
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "attribute value");
        let mut value = Self::Empty;
        while let Some(key) = reader.next_key()? {
            value = match key {
                STRING => Self::String(reader.bytes()?.into()),
                BOOL => Self::Bool(reader.varint()? != 0),
                INT => Self::Int(reader.varint()?.cast_signed()),
                DOUBLE => Self::Double(f64::from_bits(reader.fixed64()?)),
                ARRAY => Self::Array(match value {
                    Self::Array(before) => joined(before, list(&mut reader)?),
                    _ => list(&mut reader)?.into(),
                }),
                KVLIST => Self::Kvlist(match value {
                    Self::Kvlist(before) => joined(before, list(&mut reader)?),
                    _ => list(&mut reader)?.into(),
                }),
                BYTES => Self::Bytes(reader.bytes()?.into()),
                STRING_REF => {
                    reader.varint()?;
                    Self::Empty
                }
                _ => {
                    reader.skip(key, IN_ANY_VALUE)?;
                    value
                }
            };
        }
        Ok(value)
    }

    fn into_owned<'b>(self) -> AnyValue<'b> {
        let owned = |bytes: Cow<'a, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Self::Empty => AnyValue::Empty,
            Self::String(text) => AnyValue::String(owned(text)),
            Self::Bool(b) => AnyValue::Bool(b),
            Self::Int(n) => AnyValue::Int(n),
            Self::Double(n) => AnyValue::Double(n),
            Self::Array(encoded) => AnyValue::Array(owned(encoded)),
            Self::Kvlist(encoded) => AnyValue::Kvlist(owned(encoded)),
            Self::Bytes(bytes) => AnyValue::Bytes(owned(bytes)),
        }
    }

    /// Appends an encoding of the value that is read in one step, however it was written: of lists and
    /// bytes only that they are such.
    pub fn push_short(&self, out: &mut Vec<u8>) {
        let head = |tag: u32| u8::try_from(tag).unwrap_or_default();
        let varint = |mut n: u64, out: &mut Vec<u8>| {
            while n > 0x7f {
                out.push(n.to_le_bytes()[0] | 0x80);
                n >>= 7;
            }
            out.push(n.to_le_bytes()[0]);
        };
        match self {
            Self::Empty => {}
            Self::String(text) => {
                out.push(head(STRING));
                varint(text.len() as u64, out);
                out.extend_from_slice(text);
            }
            Self::Bool(b) => out.extend_from_slice(&[head(BOOL), u8::from(*b)]),
            Self::Int(n) => {
                out.push(head(INT));
                varint(n.cast_unsigned(), out);
            }
            Self::Double(n) => {
                out.push(head(DOUBLE));
                out.extend_from_slice(&n.to_bits().to_le_bytes());
            }
            Self::Array(_) => out.extend_from_slice(&[head(ARRAY), 0]),
            Self::Kvlist(_) => out.extend_from_slice(&[head(KVLIST), 0]),
            Self::Bytes(_) => out.extend_from_slice(&[head(BYTES), 0]),
        }
    }

    /// Appends the text of the value as Tempo writes it (reference/tempo.md 1.7); stops once `out`
    /// holds more than `max` bytes. Strings are appended unchecked, and cut where they are longer than
    /// anybody will read.
    pub fn render(&self, max: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.render_at(0, &mut Room { max, elements: ELEMENTS_MAX }, out)
    }

    fn render_at(
        &self,
        depth: usize,
        room: &mut Room,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match self {
            Self::Empty | Self::Bytes(_) => {}
            Self::String(text) => {
                out.extend_from_slice(longer_than(text, room.max.saturating_sub(out.len())));
            }
            Self::Bool(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
            Self::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Self::Double(n) => out.extend_from_slice(decimal(*n).as_bytes()),
            Self::Array(_) | Self::Kvlist(_) if depth >= MAX_VALUE_DEPTH => {
                out.extend_from_slice(b"<nested>");
            }
            Self::Array(encoded) => {
                out.push(b'[');
                each_element(encoded, "array value", |element| {
                    if !room.takes_another(out) {
                        return Ok(false);
                    }
                    AnyValue::read(element)?.render_at(depth.saturating_add(1), room, out)?;
                    Ok(true)
                })?;
                out.push(b']');
            }
            Self::Kvlist(encoded) => {
                out.push(b'{');
                each_element(encoded, "key-value list", |element| {
                    if !room.takes_another(out) {
                        return Ok(false);
                    }
                    let kv = KeyValue::read(element)?;
                    out.extend_from_slice(kv.key);
                    out.push(b':');
                    let value = kv.value.encoded()?;
                    AnyValue::read(&value)?.render_at(depth.saturating_add(1), room, out)?;
                    Ok(true)
                })?;
                out.push(b'}');
            }
        }
        Ok(())
    }
}

/// What a value's text may still take.
struct Room {
    /// Bytes of the text.
    max: usize,
    elements: usize,
}

impl Room {
    fn takes_another(&mut self, out: &[u8]) -> bool {
        let takes = out.len() <= self.max && self.elements > 0;
        self.elements = self.elements.saturating_sub(1);
        takes
    }
}

/// The text, or a beginning of it that is longer than `max`, and ends between two characters as far as
/// it consists of any.
pub fn longer_than(text: &[u8], max: usize) -> &[u8] {
    const CHAR_BYTES_MAX: usize = 4;
    let end = max.saturating_add(CHAR_BYTES_MAX);
    let Some((head, [next, ..])) = text.split_at_checked(end) else { return text };
    let inside = |byte: u8| byte & 0xc0 == 0x80;
    if !inside(*next) {
        return head;
    }
    // The bytes before the one that begins the character, if one of the last three does.
    let begins = head.iter().rposition(|&byte| !inside(byte)).filter(|&at| at > max);
    head.get(..begins.unwrap_or(head.len())).unwrap_or(head)
}

/// The shortest decimal that reads back the same, never with an exponent.
fn decimal(n: f64) -> String {
    if n.is_infinite() {
        return if n > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    n.to_string()
}

/// Calls `f` with each element until it answers false.
fn each_element<'a>(
    bytes: &'a [u8],
    what: &'static str,
    mut f: impl FnMut(&'a [u8]) -> Result<bool, DecodeError>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes, what);
    while let Some(key) = reader.next_key()? {
        match key {
            ELEMENT => {
                if !f(reader.bytes()?)? {
                    return Ok(());
                }
            }
            _ => reader.skip(key, &[ELEMENT])?,
        }
    }
    Ok(())
}

/// An encoded `ArrayValue` or `KeyValueList` that is whole.
fn list<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let bytes = reader.bytes()?;
    each_element(bytes, "array or key-value list", |_| Ok(true))?;
    Ok(bytes)
}

fn joined<'a>(before: Cow<'a, [u8]>, more: &[u8]) -> Cow<'a, [u8]> {
    let mut bytes = before.into_owned();
    bytes.extend_from_slice(more);
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of characters of each length, whole and broken.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            &b"x"[..],
            b"\xc3\xa9",
            b"\xe2\x82\xac",
            b"\xf0\x9f\x98\x80",
            b"\x80",
            b"\xf0\x9f",
            b"\xff",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// forall text, max: cut or not, what is kept of it is the same, and so is whether it was longer.
        #[test]
        fn a_text_that_is_cut_keeps_the_beginning_that_anybody_reads(
            text in pieces(),
            max in 0..20_usize,
        ) {
            let kept = |text: &[u8]| {
                let valid = String::from_utf8_lossy(text).into_owned();
                let end = valid.floor_char_boundary(max);
                (valid.get(..end).map(str::to_owned), valid.len() > max)
            };
            let cut = longer_than(&text, max);
            prop_assert!(cut.len() <= max.saturating_add(4));
            prop_assert_eq!(kept(cut), kept(&text));
            // A text that is valid stays so.
            prop_assert!(std::str::from_utf8(&text).is_err() || std::str::from_utf8(cut).is_ok());
        }
    }
}
