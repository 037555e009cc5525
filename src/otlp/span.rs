//! One span: the fields that make metrics, and its attributes as they pass.

use super::wire::{DecodeError, FIXED32, FIXED64, LEN, Reader, VARINT, key};

const TRACE_ID: u32 = key(1, LEN);
const SPAN_ID: u32 = key(2, LEN);
const TRACE_STATE: u32 = key(3, LEN);
const PARENT_SPAN_ID: u32 = key(4, LEN);
const NAME: u32 = key(5, LEN);
const KIND: u32 = key(6, VARINT);
const START: u32 = key(7, FIXED64);
const END: u32 = key(8, FIXED64);
const ATTRIBUTE: u32 = key(9, LEN);
const DROPPED_ATTRIBUTES: u32 = key(10, VARINT);
const EVENT: u32 = key(11, LEN);
const DROPPED_EVENTS: u32 = key(12, VARINT);
const LINK: u32 = key(13, LEN);
const DROPPED_LINKS: u32 = key(14, VARINT);
const STATUS: u32 = key(15, LEN);
const FLAGS: u32 = key(16, FIXED32);
const IN_SPAN: &[u32] = &[
    TRACE_ID,
    SPAN_ID,
    TRACE_STATE,
    PARENT_SPAN_ID,
    NAME,
    KIND,
    START,
    END,
    ATTRIBUTE,
    DROPPED_ATTRIBUTES,
    EVENT,
    DROPPED_EVENTS,
    LINK,
    DROPPED_LINKS,
    STATUS,
    FLAGS,
];

const LINK_TRACE_ID: u32 = key(1, LEN);
const LINK_SPAN_ID: u32 = key(2, LEN);
const IN_LINK: &[u32] =
    &[LINK_TRACE_ID, LINK_SPAN_ID, key(3, LEN), key(4, LEN), key(5, VARINT), key(6, FIXED32)];

const MESSAGE: u32 = key(2, LEN);
const CODE: u32 = key(3, VARINT);
const IN_STATUS: &[u32] = &[MESSAGE, CODE];

/// A span's fields, borrowed; ids and text as they arrived, of any length and unchecked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub parent_span_id: &'a [u8],
    pub trace_state: &'a [u8],
    pub name: &'a [u8],
    pub kind: i32,
    pub start_unix_nano: u64,
    pub end_unix_nano: u64,
    pub status_code: i32,
    pub status_message: &'a [u8],
}

impl<'a> Span<'a> {
    /// Reads a span; the encoded [`KeyValue`](super::KeyValue) of each attribute is
    /// handed to `on_attribute` in the order it stands.
    #[inline]
    pub fn read(
        bytes: &'a [u8],
        mut on_attribute: impl FnMut(&'a [u8]) -> Result<(), DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "span");
        let mut span = Self::default();
        while let Some(key) = reader.next_key()? {
            match key {
                ATTRIBUTE => on_attribute(reader.bytes()?)?,
                EVENT | LINK => drop(reader.bytes()?),
                TRACE_ID => span.trace_id = reader.bytes()?,
                SPAN_ID => span.span_id = reader.bytes()?,
                TRACE_STATE => span.trace_state = reader.bytes()?,
                PARENT_SPAN_ID => span.parent_span_id = reader.bytes()?,
                NAME => span.name = reader.bytes()?,
                KIND => span.kind = reader.int32()?,
                START => span.start_unix_nano = reader.fixed64()?,
                END => span.end_unix_nano = reader.fixed64()?,
                STATUS => span.read_status(reader.bytes()?)?,
                DROPPED_ATTRIBUTES | DROPPED_EVENTS | DROPPED_LINKS => drop(reader.int32()?),
                FLAGS => reader.skip_fixed32()?,
                _ => reader.skip(key, IN_SPAN)?,
            }
        }
        Ok(span)
    }

    fn read_status(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes, "span status");
        while let Some(key) = reader.next_key()? {
            match key {
                MESSAGE => self.status_message = reader.bytes()?,
                CODE => self.status_code = reader.int32()?,
                _ => reader.skip(key, IN_STATUS)?,
            }
        }
        Ok(())
    }
}

/// Calls `f` with trace id and span id of each link of an encoded span, as they arrived.
pub fn each_link<'a>(
    bytes: &'a [u8],
    mut f: impl FnMut(&'a [u8], &'a [u8]),
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes, "span");
    while let Some(key) = reader.next_key()? {
        if key != LINK {
            reader.skip(key, &[LINK])?;
            continue;
        }
        let mut link = Reader::new(reader.bytes()?, "span link");
        let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
        while let Some(key) = link.next_key()? {
            match key {
                LINK_TRACE_ID => trace_id = link.bytes()?,
                LINK_SPAN_ID => span_id = link.bytes()?,
                _ => link.skip(key, IN_LINK)?,
            }
        }
        f(trace_id, span_id);
    }
    Ok(())
}
