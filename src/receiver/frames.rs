//! Where one HTTP/2 frame ends and the next begins, read along with the bytes of a connection: so that a
//! peer is found out that takes its time within a frame or within a header of several frames.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An HTTP/1 request with a body is longer.
pub(super) const PREFACE_LEN: usize = PREFACE.len();
const HEAD_LEN: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows what has been read of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes of the preface that have come.
    begun: usize,
    /// It is not HTTP/2.
    foreign: bool,
    head: [u8; HEAD_LEN],
    head_len: usize,
    payload_left: usize,
    kind: u8,
    /// A header goes on in the next frame.
    within_header: bool,
    n_whole: u64,
}

/// What has begun and is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// The first bytes, of either protocol.
    Preface,
    /// A header, or any frame that is not part of a body.
    Header,
    Body,
}

impl Frames {
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.begun < PREFACE_LEN {
                self.foreign |= PREFACE.get(self.begun) != Some(&byte);
                self.begun = self.begun.saturating_add(1);
                bytes = rest;
            } else if self.foreign {
                return;
            } else if self.payload_left > 0 {
                let n = self.payload_left.min(bytes.len());
                bytes = bytes.get(n..).unwrap_or_default();
                self.payload_left = self.payload_left.saturating_sub(n);
                self.end_if_whole();
            } else {
                self.head(byte);
                bytes = rest;
            }
        }
    }

    /// With a number that rises whenever something is whole.
    pub(super) fn unfinished(&self) -> Option<(Unfinished, u64)> {
        let what = if self.begun < PREFACE_LEN {
            Unfinished::Preface
        } else if self.foreign {
            return None;
        } else if self.payload_left > 0 && self.kind == DATA {
            Unfinished::Body
        } else if self.payload_left > 0 || self.head_len > 0 || self.within_header {
            Unfinished::Header
        } else {
            return None;
        };
        Some((what, self.n_whole))
    }

    fn head(&mut self, byte: u8) {
        if let Some(place) = self.head.get_mut(self.head_len) {
            *place = byte;
        }
        self.head_len = self.head_len.saturating_add(1);
        if self.head_len == HEAD_LEN {
            let [a, b, c, kind, flags, ..] = self.head;
            self.head_len = 0;
            self.payload_left =
                usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or_default();
            self.kind = kind;
            if kind == HEADERS || kind == CONTINUATION {
                self.within_header = flags & END_HEADERS == 0;
            }
            self.end_if_whole();
        }
    }

    fn end_if_whole(&mut self) {
        if self.payload_left == 0 && !self.within_header {
            self.n_whole = self.n_whole.saturating_add(1);
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that goes wrong panics")]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&len[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn after(frames: &[Vec<u8>]) -> Frames {
        let mut read = Frames::default();
        read.read(&[PREFACE, &frames.concat()].concat());
        read
    }

    #[test]
    fn nothing_is_unfinished_between_frames_and_something_is_everywhere_else() {
        let frames = [
            frame(4, 0, b"settin"),
            frame(HEADERS, END_HEADERS, b"header"),
            frame(DATA, 0, &[7; 300]),
            frame(6, 0, b""),
        ];
        let whole = [PREFACE, &frames.concat()].concat();
        let mut ends = vec![PREFACE_LEN];
        for frame in &frames {
            ends.push(ends[ends.len() - 1] + frame.len());
        }
        let data = ends[2] + HEAD_LEN..ends[3];
        // The same wherever it is cut.
        for step in [1, 2, 7, 9, 1000] {
            let (mut read, mut at) = (Frames::default(), 0);
            for bytes in whole.chunks(step) {
                read.read(bytes);
                at += bytes.len();
                let expected = match at {
                    _ if at < PREFACE_LEN => Some(Unfinished::Preface),
                    _ if ends.contains(&at) => None,
                    _ if data.contains(&at) => Some(Unfinished::Body),
                    _ => Some(Unfinished::Header),
                };
                assert_eq!(read.unfinished().map(|(what, _)| what), expected, "{step}: {at}");
            }
            assert_eq!(read.n_whole, 4);
        }
    }

    #[test]
    fn a_header_of_several_frames_is_one_thing() {
        let first = [frame(HEADERS, 0, b"abc")];
        let header = |read: &Frames| read.unfinished();
        assert_eq!(header(&after(&first)), Some((Unfinished::Header, 0)));
        let more = [first[0].clone(), frame(CONTINUATION, 0, b""), frame(CONTINUATION, 0, b"d")];
        assert_eq!(header(&after(&more)), Some((Unfinished::Header, 0)), "no progress");
        let whole = [&more[..], &[frame(CONTINUATION, END_HEADERS, b"e")]].concat();
        assert_eq!(header(&after(&whole)), None);
    }

    #[test]
    fn http1_is_not_followed_beyond_its_first_bytes() {
        let mut read = Frames::default();
        read.read(b"POST /v1/traces");
        assert_eq!(read.unfinished(), Some((Unfinished::Preface, 0)));
        read.read(b" HTTP/1.1\r\nhost: spanmill\r\n");
        assert_eq!(read.unfinished(), None);
    }
}
