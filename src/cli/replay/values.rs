//! Requests in OTLP/JSON: values behind each other, one a line or pretty-printed.
//!
//! A value that is no JSON at all must not swallow those behind it: reading goes on at the next line
//! that can only be the start of another value.

use std::io::{self, Read};

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::reading::{Bad, Position};
use crate::receiver::json_to_wire;

/// Bytes that are read at once.
const CHUNK: u64 = 1 << 18;
/// Beyond it no request is read; a sign of values that are never closed.
const DEPTH_MAX: usize = 128;
/// What a start of a line must be to be taken for that of a value.
const NEXT_VALUE: &[u8] = b"\n{";

pub(super) struct Values<R> {
    input: R,
    max: usize,
    number: u64,
    buf: Vec<u8>,
    /// Of the first byte in `buf` that is not used up.
    start: usize,
    /// Of the same byte in the file.
    offset: u64,
    line: u64,
    ended: bool,
}

impl<R: Read> Values<R> {
    /// `max`: bytes of one value; a larger one is passed over.
    pub(super) fn new(input: R, max: usize) -> Self {
        let (buf, ended) = (Vec::new(), false);
        Self { input, max, number: 0, buf, start: 0, offset: 0, line: 1, ended }
    }

    pub(super) fn next(&mut self) -> Option<(Position, Result<Bytes, Bad>)> {
        if self.ended {
            return None;
        }
        let first = self.skip_white_space();
        self.number += 1;
        let at = Position::Value { number: self.number, line: self.line, offset: self.offset };
        let value = match first {
            Ok(None) => return None,
            Ok(Some(b'{' | b'[')) => self.value(),
            Ok(Some(_)) => self.no_value(),
            Err(e) => Err(e),
        };
        self.ended |= value.is_err();
        let value = value.unwrap_or_else(|e| Err(Bad::Undecodable(format!("can't read on: {e}"))));
        Some((at, value))
    }

    fn value(&mut self) -> io::Result<Result<Bytes, Bad>> {
        let mut scan = Scan::default();
        let (len, closed) = loop {
            match scan.advance(self.rest()) {
                Cut::Closed(len) if len > self.max => return self.too_large(scan),
                Cut::Closed(len) => break (len, true),
                Cut::Broken(len) => break (len, false),
                Cut::More if self.rest().len() > self.max => return self.too_large(scan),
                Cut::More if self.fill()? => {}
                Cut::More => break (self.rest().len(), false),
            }
        };
        let text = self.rest().get(..len).unwrap_or_default();
        let wire = json_to_wire(text);
        let is_json = || closed && serde_json::from_slice::<IgnoredAny>(text).is_ok();
        let used = if wire.is_ok() || is_json() { len } else { end_of_broken(text) };
        self.use_up(used);
        Ok(wire.map(Bytes::from).map_err(|e| Bad::Undecodable(e.to_string())))
    }

    /// Passes over the rest of the value, however long it is.
    fn too_large(&mut self, mut scan: Scan) -> io::Result<Result<Bytes, Bad>> {
        let max = self.max;
        let reason = format!("more than {max} bytes, raise receivers.otlp.max_inflated_bytes");
        let text = self.rest();
        if !scan.closed && end_of_broken(text) < text.len() {
            let used = end_of_broken(text);
            self.use_up(used);
            return Ok(Err(Bad::Undecodable(format!("no end within {max} bytes"))));
        }
        while !scan.closed {
            let all = self.rest().len();
            self.use_up(all);
            scan.at = 0;
            if !self.fill()? {
                break;
            }
            if let Cut::Broken(len) = scan.advance(self.rest()) {
                scan.at = len;
                break;
            }
        }
        self.use_up(scan.at);
        Ok(Err(Bad::Refused(reason)))
    }

    /// Neither an object nor an array: the rest of the line is passed over.
    fn no_value(&mut self) -> io::Result<Result<Bytes, Bad>> {
        let text = self.rest();
        let found = String::from_utf8_lossy(text.get(..text.len().min(20)).unwrap_or_default());
        let found = found.lines().next().unwrap_or_default().to_owned();
        loop {
            if let Some(len) = self.rest().iter().position(|&byte| byte == b'\n') {
                self.use_up(len);
                break;
            }
            let all = self.rest().len();
            self.use_up(all);
            if !self.fill()? {
                break;
            }
        }
        Ok(Err(Bad::Undecodable(format!("found {found:?}, expected a JSON object"))))
    }

    /// The first byte of what comes next; it is not used up.
    fn skip_white_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            if self.offset == 0 && self.rest().starts_with(b"\xef\xbb\xbf") {
                self.use_up(3);
            }
            let blank = self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.use_up(blank);
            if let Some(&first) = self.rest().first() {
                return Ok(Some(first));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.buf.get(self.start..).unwrap_or_default()
    }

    fn use_up(&mut self, len: usize) {
        let used = self.rest().get(..len).unwrap_or_default();
        let n_lines = used.iter().filter(|&&byte| byte == b'\n').count();
        self.line += n_lines as u64;
        self.offset += len as u64;
        self.start += len;
    }

    /// Reads on; false at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        self.buf.drain(..self.start);
        self.start = 0;
        Ok(self.input.by_ref().take(CHUNK).read_to_end(&mut self.buf)? > 0)
    }
}

/// Where in a text that is no JSON the next value may start.
fn end_of_broken(text: &[u8]) -> usize {
    text.windows(NEXT_VALUE.len()).position(|bytes| bytes == NEXT_VALUE).unwrap_or(text.len())
}

/// Finds the end of a value by its brackets, whatever stands between them.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes that have been seen.
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    line_start: bool,
    /// The last byte that is not white space.
    last: u8,
    deep: bool,
    closed: bool,
}

enum Cut {
    /// At the closing bracket, after so many bytes.
    Closed(usize),
    /// What follows these bytes can't belong to the value.
    Broken(usize),
    More,
}

impl Scan {
    fn advance(&mut self, text: &[u8]) -> Cut {
        while let Some(&byte) = text.get(self.at) {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    b'\n' => return Cut::Broken(self.at),
                    _ => {}
                }
                self.at += 1;
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                // A brace begins a value: it follows one of these, or nothing of this value.
                b'{' if self.line_start && !matches!(self.last, b'[' | b',' | b':' | 0) => {
                    return Cut::Broken(self.at);
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            self.at += 1;
            if self.depth == 0 {
                self.closed = true;
                return Cut::Closed(self.at);
            }
            if self.depth > DEPTH_MAX && !self.deep {
                self.deep = true;
                let seen = text.get(..self.at).unwrap_or_default();
                if end_of_broken(seen) < seen.len() {
                    return Cut::Broken(self.at);
                }
            }
            match byte {
                b'\n' => self.line_start = true,
                b' ' | b'\t' | b'\r' => {}
                _ => (self.line_start, self.last) = (false, byte),
            }
        }
        Cut::More
    }
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
