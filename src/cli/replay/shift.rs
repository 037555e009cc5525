//! Old spans as if they had just ended: every timestamp of a request moves by the same distance.
//!
//! Timestamps have a fixed length on the wire, so they are changed in place: the rest of the request
//! stays as it is, byte by byte.

use bytes::Bytes;
use prost::DecodeError;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::reading::Bad;
use crate::otlp::{self, each_resource_spans, each_span};

const START: u32 = 7;
const END: u32 = 8;
const EVENT: u32 = 11;
const EVENT_TIME: u32 = 1;

/// Moves starts, ends and events so that the newest span ends at `now_unix_nano`. A timestamp that
/// was never set stays so.
pub(super) fn to(now_unix_nano: u64, body: Bytes) -> Result<Bytes, Bad> {
    let mut times = Times::default();
    let found = each_resource_spans(&body, |resource_spans| {
        each_span(resource_spans, |span| times.of_span(span, offset(span, &body)))
    });
    found.map_err(|Unreadable(reason)| {
        Bad::Undecodable(format!("malformed trace request: {reason}"))
    })?;
    let mut moved = Vec::from(body);
    for at in times.offsets {
        if let Some(time) = moved.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            let unix_nano = u64::from_le_bytes(*time);
            if unix_nano != 0 {
                let age = times.newest_end.wrapping_sub(unix_nano);
                *time = now_unix_nano.wrapping_sub(age).to_le_bytes();
            }
        }
    }
    Ok(moved.into())
}

#[derive(Debug, Default)]
struct Times {
    /// Where in the request they stand.
    offsets: Vec<usize>,
    newest_end: u64,
}

struct Unreadable(String);

impl From<otlp::DecodeError> for Unreadable {
    fn from(error: otlp::DecodeError) -> Self {
        Self(error.to_string())
    }
}

impl From<DecodeError> for Unreadable {
    fn from(error: DecodeError) -> Self {
        Self(error.to_string())
    }
}

impl Times {
    fn of_span(&mut self, span: &[u8], span_at: usize) -> Result<(), Unreadable> {
        let mut rest = span;
        while !rest.is_empty() {
            let (tag, wire_type) = decode_key(&mut rest)?;
            match (tag, wire_type) {
                (START | END, WireType::SixtyFourBit) => {
                    let time = *rest.first_chunk().ok_or_else(cut_off)?;
                    self.offsets.push(span_at + span.len() - rest.len());
                    if tag == END {
                        self.newest_end = self.newest_end.max(u64::from_le_bytes(time));
                    }
                    rest.advance(time.len());
                }
                (EVENT, WireType::LengthDelimited) => {
                    let len = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
                    let (event, behind) = rest.split_at_checked(len).ok_or_else(cut_off)?;
                    self.of_event(event, span_at + span.len() - rest.len())?;
                    rest = behind;
                }
                _ => skip_field(wire_type, tag, &mut rest, DecodeContext::default())?,
            }
        }
        Ok(())
    }

    fn of_event(&mut self, event: &[u8], event_at: usize) -> Result<(), Unreadable> {
        let mut rest = event;
        while !rest.is_empty() {
            let (tag, wire_type) = decode_key(&mut rest)?;
            if (tag, wire_type) == (EVENT_TIME, WireType::SixtyFourBit) {
                self.offsets.push(event_at + event.len() - rest.len());
            }
            skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
        }
        Ok(())
    }
}

fn cut_off() -> Unreadable {
    Unreadable("a span is cut off".to_owned())
}

/// Where a part stands in the whole that it was borrowed from.
fn offset(part: &[u8], whole: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::span::Event;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    use super::*;

    fn request(times: &[(u64, u64, &[u64])]) -> Vec<u8> {
        let event = |at: &u64| Event { time_unix_nano: *at, name: "e".into(), ..Event::default() };
        let span = |&(start, end, events): &(u64, u64, &[u64])| Span {
            name: "a".into(),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            events: events.iter().map(event).collect(),
            ..Span::default()
        };
        let resource_spans = times.iter().map(|times| ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span(times)], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        });
        ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec()
    }

    #[test]
    fn the_newest_span_ends_now_and_all_distances_stay() {
        let moved = to(5000, request(&[(100, 200, &[150, 160]), (90, 300, &[])]).into()).unwrap();
        assert_eq!(moved, request(&[(4800, 4900, &[4850, 4860]), (4790, 5000, &[])]));
    }

    #[test]
    fn spans_of_the_future_move_back_and_times_that_are_not_set_stay_so() {
        let moved = to(5000, request(&[(0, 9000, &[0, 8000])]).into()).unwrap();
        assert_eq!(moved, request(&[(0, 5000, &[0, 4000])]));
    }

    #[test]
    fn what_is_no_text_and_what_is_unknown_stays_as_it_is() {
        // Span: name of the byte ff, field 99, end 1.
        let span = b"\x2a\x01\xff\x98\x06\x05\x41\x01\0\0\0\0\0\0\0";
        let wrap = |inner: &[u8]| [&[0x12, u8::try_from(inner.len()).unwrap()], inner].concat();
        let mut body = wrap(&wrap(&wrap(span)));
        body[0] = 0x0a;
        let moved = to(258, body.clone().into()).unwrap();
        let at = body.len() - 8;
        body[at..at + 2].copy_from_slice(&[2, 1]);
        assert_eq!(moved, body);
    }

    #[test]
    fn a_malformed_request_is_told() {
        let mut body = request(&[(1, 2, &[])]);
        body.truncate(body.len() - 1);
        assert!(matches!(to(1, body.into()), Err(Bad::Undecodable(_))));
    }
}
