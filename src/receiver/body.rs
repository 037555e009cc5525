//! A request's body: read whole and bounded, then inflated once and bounded.
//!
//! There is no cap on the ratio of inflated to wire bytes: a load generator's identical spans compress
//! a thousandfold honestly, and what a body can cost is bounded by `max_inflated_bytes` alone.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::fmt::Display;
use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use super::answer::Refusal;

/// log2 of the largest window that a zstd frame may ask for: 8 MiB, that of level 19.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Most that is set aside for a body on the word of its `content-length`.
const RESERVED_MAX: usize = 1 << 20;

/// How a body is compressed, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// From `content-encoding` or `grpc-encoding`; one only, as a body is inflated once.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case("identity") {
            Some(Self::Identity)
        } else if text.eq_ignore_ascii_case("gzip") {
            Some(Self::Gzip)
        } else if text.eq_ignore_ascii_case("zstd") {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

/// What has arrived of a body: kept as it came while it is one chunk, joined from the second on.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    first: Bytes,
    joined: BytesMut,
}

impl Gathered {
    pub(super) fn bytes(&self) -> &[u8] {
        if self.joined.is_empty() { &self.first } else { &self.joined }
    }

    pub(super) fn freeze(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }

    /// Reads to the end of the body; `check` sees everything so far after each chunk, so that no more
    /// than one chunk is held beyond what it allows.
    pub(super) async fn fill<B>(
        &mut self,
        mut body: B,
        check: impl Fn(&[u8]) -> Result<(), Refusal>,
    ) -> Result<(), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Display,
    {
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| {
                Refusal::Undecodable(format!("the body broke off after {} bytes: {e}", self.len()))
            })?;
            if let Ok(chunk) = frame.into_data() {
                self.push(chunk, declared.min(RESERVED_MAX));
                check(self.bytes())?;
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    fn push(&mut self, chunk: Bytes, expected: usize) {
        if self.bytes().is_empty() {
            self.first = chunk;
            return;
        }
        if self.joined.is_empty() {
            self.joined.reserve(expected);
            self.joined.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.joined.extend_from_slice(&chunk);
    }
}

/// The whole of `wire`, inflated to at most `max` bytes.
pub(super) fn inflate(encoding: Encoding, wire: Bytes, max: usize) -> Result<Bytes, Refusal> {
    match encoding {
        Encoding::Identity if wire.len() > max => Err(Refusal::InflatedTooLarge { max }),
        Encoding::Identity => Ok(wire),
        Encoding::Gzip => {
            read_bounded(flate2::bufread::MultiGzDecoder::new(&*wire), "gzip", wire.len(), max)
        }
        Encoding::Zstd => zstd::stream::read::Decoder::with_buffer(&*wire)
            .and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Ok(decoder)
            })
            .map_err(|e| Refusal::Undecodable(format!("malformed zstd body: {e}")))
            .and_then(|decoder| read_bounded(decoder, "zstd", wire.len(), max)),
    }
}

/// Typical OTLP inflates tenfold; a bomb makes the buffer grow no further than `max` and one byte.
fn read_bounded(
    stream: impl Read,
    name: &str,
    wire_len: usize,
    max: usize,
) -> Result<Bytes, Refusal> {
    let limit = max.saturating_add(1);
    let mut inflated = Vec::with_capacity(wire_len.saturating_mul(8).min(limit));
    stream
        .take(u64::try_from(limit).unwrap_or(u64::MAX))
        .read_to_end(&mut inflated)
        .map_err(|e| Refusal::Undecodable(format!("malformed {name} body: {e}")))?;
    if inflated.len() > max {
        return Err(Refusal::InflatedTooLarge { max });
    }
    Ok(inflated.into())
}
/// How long the rest of a body is read after its answer has been given.
const DISCARD: Duration = Duration::from_secs(1);

/// Reads what is left of a body that was refused. Over HTTP/2 an early answer ends with a reset of
/// the stream, which some senders report instead of the answer; those that have sent everything by
/// then see the answer.
pub(super) fn discard<B>(mut body: B)
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Send,
{
    if !body.is_end_stream() {
        let rest = async move { while let Some(Ok(_)) = body.frame().await {} };
        tokio::spawn(tokio::time::timeout(DISCARD, rest));
    }
}
