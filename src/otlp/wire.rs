//! The protobuf wire format, read in place from a slice (protobuf.dev/programming-guides/encoding).

/// Why a request is malformed: what was being read, and what was wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem}")]
pub struct DecodeError {
    pub what: &'static str,
    pub problem: &'static str,
}

pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const LEN: u32 = 2;
const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;
pub(super) const FIXED32: u32 = 5;

/// Groups inside groups, as deep as prost follows them.
const MAX_GROUP_DEPTH: u32 = 100;

/// The key of a field as it stands on the wire.
pub(super) const fn key(number: u32, wire_type: u32) -> u32 {
    number << 3 | wire_type
}

/// What is left of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// `what` names the message in errors.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The key of the next field; `None` at the end of the message.
    #[inline]
    pub(super) fn next_key(&mut self) -> Result<Option<u32>, DecodeError> {
        match self.rest.split_first() {
            None => Ok(None),
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(Some(u32::from(byte)))
            }
            Some((&low, [high, rest @ ..])) if *high < 0x80 => {
                self.rest = rest;
                Ok(Some(u32::from(low & 0x7f) | u32::from(*high) << 7))
            }
            Some(_) => self.long_key().map(Some),
        }
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline]
    pub(super) fn fixed64(&mut self) -> Result<u64, DecodeError> {
        match self.rest.split_first_chunk::<8>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(u64::from_le_bytes(*bytes))
            }
            None => Err(self.error("ends inside a fixed64")),
        }
    }

    #[inline]
    pub(super) fn skip_fixed32(&mut self) -> Result<(), DecodeError> {
        match self.rest.split_first_chunk::<4>() {
            Some((_, rest)) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.error("ends inside a fixed32")),
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        match self.rest.split_at_checked(len) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.error("a length runs past the end")),
        }
    }

    /// An enum or int32: the low 32 bits, as protobuf truncates.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "protobuf truncates to 32 bits")]
    pub(super) fn int32(&mut self) -> Result<i32, DecodeError> {
        self.varint().map(|v| v as i32)
    }

    /// Steps over a field that is not read. `known` holds the keys of the message's fields: a field
    /// with a known number and another wire type makes the message malformed.
    #[inline(never)]
    pub(super) fn skip(&mut self, key: u32, known: &[u32]) -> Result<(), DecodeError> {
        if known.iter().any(|k| k >> 3 == key >> 3 && *k != key) {
            return Err(self.error("a field has the wrong wire type"));
        }
        self.skip_value(key, 0)
    }

    fn skip_value(&mut self, key: u32, depth: u32) -> Result<(), DecodeError> {
        if key >> 3 == 0 {
            return Err(self.error("a field has the number 0"));
        }
        match key & 7 {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            LEN => self.bytes().map(drop),
            FIXED32 => self.skip_fixed32(),
            START_GROUP => self.skip_group(key >> 3, depth),
            END_GROUP => Err(self.error("a group ends that never began")),
            _ => Err(self.error("a field has a wire type that does not exist")),
        }
    }

    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), DecodeError> {
        if depth >= MAX_GROUP_DEPTH {
            return Err(self.error("groups are nested too deeply"));
        }
        loop {
            match self.next_key()? {
                None => return Err(self.error("ends inside a group")),
                Some(end) if end & 7 == END_GROUP => {
                    let same = end >> 3 == number;
                    return if same { Ok(()) } else { Err(self.error("a group ends as another")) };
                }
                Some(inner) => self.skip_value(inner, depth.saturating_add(1))?,
            }
        }
    }

    #[inline(never)]
    fn long_key(&mut self) -> Result<u32, DecodeError> {
        let key = self.long_varint()?;
        u32::try_from(key).map_err(|_| self.error("a field number is too large"))
    }

    /// Up to ten bytes; the tenth holds one bit.
    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        let mut shift = 0_u32;
        let mut rest = self.rest;
        while let Some((&byte, tail)) = rest.split_first() {
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            rest = tail;
            if byte < 0x80 {
                self.rest = rest;
                return Ok(value);
            }
            shift = shift.saturating_add(7);
        }
        Err(self.error("ends inside a varint, or a varint is too long"))
    }

    #[cold]
    pub(super) fn error(&self, problem: &'static str) -> DecodeError {
        DecodeError { what: self.what, problem }
    }
}
