//! Requests in protobuf, each with its length in front: 4 bytes, big-endian.

use std::io::{self, ErrorKind, Read};

use bytes::Bytes;

use super::reading::{Bad, Position};

const PREFIX: u64 = 4;

pub(super) struct Frames<R> {
    input: R,
    max: usize,
    number: u64,
    /// Of the frame that comes next.
    offset: u64,
    ended: bool,
}

impl<R: Read> Frames<R> {
    /// `max`: bytes of one frame; a larger one is passed over.
    pub(super) fn new(input: R, max: usize) -> Self {
        Self { input, max, number: 0, offset: 0, ended: false }
    }

    pub(super) fn next(&mut self) -> Option<(Position, Result<Bytes, Bad>)> {
        if self.ended {
            return None;
        }
        self.number += 1;
        let at = Position::Frame { number: self.number, offset: self.offset };
        let frame = self.frame().transpose()?;
        self.ended |= frame.is_err();
        let frame = frame.unwrap_or_else(|e| Err(Bad::Undecodable(format!("can't read on: {e}"))));
        Some((at, frame))
    }

    /// `None` behind the last frame.
    fn frame(&mut self) -> io::Result<Option<Result<Bytes, Bad>>> {
        let mut prefix = Vec::new();
        match self.input.by_ref().take(PREFIX).read_to_end(&mut prefix)? {
            0 => return Ok(None),
            found if (found as u64) < PREFIX => {
                return Ok(Some(Err(self.truncated(found, PREFIX))));
            }
            _ => {}
        }
        let len = prefix.iter().fold(0, |len, &byte| len << 8 | u64::from(byte));
        self.offset += PREFIX + len;
        if len > self.max as u64 {
            return self.pass_over(len).map(Some);
        }
        let mut body = Vec::with_capacity(usize::try_from(len.min(1 << 20)).unwrap_or(0));
        let found = match self.input.by_ref().take(len).read_to_end(&mut body) {
            Ok(found) => found,
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => body.len(),
            Err(e) => return Err(e),
        };
        Ok(Some(if (found as u64) < len {
            Err(self.truncated(found, len))
        } else {
            Ok(body.into())
        }))
    }

    fn pass_over(&mut self, len: u64) -> io::Result<Result<Bytes, Bad>> {
        let found = io::copy(&mut self.input.by_ref().take(len), &mut io::sink())?;
        let max = self.max;
        if found < len {
            self.ended = true;
            return Ok(Err(Bad::Undecodable(format!(
                "its length is {len} bytes, and {found} are there; expected frames of at most {max} \
                 bytes, or JSON"
            ))));
        }
        Ok(Err(Bad::Refused(format!(
            "{len} bytes, expected at most {max}, raise receivers.otlp.max_inflated_bytes"
        ))))
    }

    fn truncated(&mut self, found: usize, expected: u64) -> Bad {
        self.ended = true;
        Bad::Undecodable(format!("truncated: {found} bytes, expected {expected}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(file: &[u8]) -> Vec<String> {
        let mut frames = Frames::new(file, 5);
        let mut all = Vec::new();
        while let Some((at, body)) = frames.next() {
            let Position::Frame { number, offset } = at else { panic!("{at:?}") };
            let body = body.map_or_else(|bad| bad.to_string(), |b| format!("{b:?}"));
            all.push(format!("{number} at {offset}: {body}"));
        }
        all
    }

    #[test]
    fn frames_are_cut_at_their_lengths() {
        assert_eq!(all(b""), [""; 0]);
        assert_eq!(
            all(b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c"),
            ["1 at 0: b\"ab\"", "2 at 6: b\"\"", "3 at 10: b\"c\""]
        );
    }

    #[test]
    fn a_frame_that_is_too_large_is_passed_over() {
        let refused =
            "refused: 6 bytes, expected at most 5, raise receivers.otlp.max_inflated_bytes";
        assert_eq!(
            all(b"\0\0\0\x06abcdef\0\0\0\x01c"),
            [format!("1 at 0: {refused}"), "2 at 10: b\"c\"".to_owned()]
        );
    }

    #[test]
    fn what_is_cut_off_is_told_and_is_the_end() {
        assert_eq!(
            all(b"\0\0\0\x01a\0\0"),
            ["1 at 0: b\"a\"", "2 at 5: truncated: 2 bytes, expected 4"]
        );
        assert_eq!(all(b"\0\0\0\x03ab"), ["1 at 0: truncated: 2 bytes, expected 3"]);
        assert_eq!(
            all(b"hello"),
            [
                "1 at 0: its length is 1751477356 bytes, and 1 are there; expected frames of at most \
              5 bytes, or JSON"
            ]
        );
    }
}
