//! The outer messages: request, resource spans, scope spans, resource.

use super::attribute::KeyValue;
use super::wire::{DecodeError, LEN, Reader, VARINT, key};

const RESOURCE_SPANS: u32 = key(1, LEN);

const RESOURCE: u32 = key(1, LEN);
const SCOPE_SPANS: u32 = key(2, LEN);
const IN_RESOURCE_SPANS: &[u32] = &[RESOURCE, SCOPE_SPANS, key(3, LEN)];

const SPAN: u32 = key(2, LEN);
const IN_SCOPE_SPANS: &[u32] = &[key(1, LEN), SPAN, key(3, LEN)];

const ATTRIBUTE: u32 = key(1, LEN);
/// Attributes of a resource that are looked at: no resource has a hundredth of them.
const ATTRIBUTES_MAX: usize = 10_000;
const IN_RESOURCE: &[u32] = &[ATTRIBUTE, key(2, VARINT), key(3, LEN)];

/// Calls `f` with the bytes of each `ResourceSpans` of an `ExportTraceServiceRequest`.
pub fn each_resource_spans<'a, E: From<DecodeError>>(
    body: &'a [u8],
    mut f: impl FnMut(&'a [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::new(body, "trace request");
    while let Some(key) = reader.next_key()? {
        match key {
            RESOURCE_SPANS => f(reader.bytes()?)?,
            _ => reader.skip(key, &[RESOURCE_SPANS])?,
        }
    }
    Ok(())
}

/// Calls `f` with the bytes of each span under one `ResourceSpans`, scope by scope.
pub fn each_span<'a, E: From<DecodeError>>(
    resource_spans: &'a [u8],
    mut f: impl FnMut(&'a [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::new(resource_spans, "resource spans");
    while let Some(key) = reader.next_key()? {
        match key {
            SCOPE_SPANS => {
                let mut scope = Reader::new(reader.bytes()?, "scope spans");
                while let Some(key) = scope.next_key()? {
                    match key {
                        SPAN => f(scope.bytes()?)?,
                        _ => scope.skip(key, IN_SCOPE_SPANS)?,
                    }
                }
            }
            _ => reader.skip(key, IN_RESOURCE_SPANS)?,
        }
    }
    Ok(())
}

/// The resource of one `ResourceSpans`, wherever in it the resource stands.
#[derive(Debug, Clone, Default)]
pub struct Resource<'a> {
    first: &'a [u8],
    /// What follows the first piece: a resource that is written in several pieces is their sum. They
    /// are looked up anew, since a body of millions of pieces must not become as many slices.
    rest: &'a [u8],
}

impl<'a> Resource<'a> {
    /// An absent resource reads as one without attributes.
    pub fn of(resource_spans: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(resource_spans, "resource spans");
        let Some(first) = next_resource(&mut reader)? else { return Ok(Self::default()) };
        let behind_first = reader;
        let mut pieces = false;
        while next_resource(&mut reader)?.is_some() {
            pieces = true;
        }
        Ok(Self { first, rest: if pieces { behind_first.rest() } else { &[] } })
    }

    /// The encoded resource, piece by piece.
    pub fn parts(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        let mut reader = Reader::new(self.rest, "resource spans");
        // `of` has read all of it without an error.
        let more = std::iter::from_fn(move || next_resource(&mut reader).ok().flatten());
        std::iter::once(self.first).chain(more)
    }

    /// The attributes; beyond many they are stepped over.
    pub fn each_attribute(&self, mut f: impl FnMut(KeyValue<'a>)) -> Result<(), DecodeError> {
        let mut left = ATTRIBUTES_MAX;
        for part in self.parts() {
            let mut reader = Reader::new(part, "resource");
            while let Some(key) = reader.next_key()? {
                match key {
                    ATTRIBUTE if left > 0 => {
                        left = left.saturating_sub(1);
                        f(KeyValue::read(reader.bytes()?)?);
                    }
                    ATTRIBUTE => drop(reader.bytes()?),
                    _ => reader.skip(key, IN_RESOURCE)?,
                }
            }
        }
        Ok(())
    }
}

/// The next piece of the resource among the fields of a `ResourceSpans`.
fn next_resource<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    while let Some(key) = reader.next_key()? {
        match key {
            RESOURCE => return reader.bytes().map(Some),
            _ => reader.skip(key, IN_RESOURCE_SPANS)?,
        }
    }
    Ok(None)
}
