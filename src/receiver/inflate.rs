//! A whole body is inflated once, into memory that is reserved before it is allocated.
//!
//! There is no cap on the ratio of inflated to wire bytes: a load generator's identical spans compress
//! a thousandfold honestly, and what a body can cost is bounded by `max_inflated_bytes` alone.
//!
//! Most senders say how long the inflated body is: then it is inflated into exactly that. Where that is
//! not known or not true, a small body moves into a buffer four times as large; of a large one the rest
//! is counted and then all is inflated again, so that never more than the body itself is held.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;
use bytes::buf::{Buf, Reader};
use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::answer::Refusal;
use super::body::Encoding;

/// log2 of the largest window that a zstd frame may ask for: 8 MiB, that of level 19.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// deflate's codes give no more than this for a byte.
const GZIP_RATIO_MAX: usize = 1032;
/// Buffers up to this size are copied into larger ones.
const MOVED_MAX: usize = 1 << 20;
const FIRST_MIN: usize = 4 << 10;
const SCRATCH: usize = 16 << 10;

/// A body on its way from its wire form to its inflated one, step by step as there is room.
pub(super) struct Inflater {
    encoding: Encoding,
    wire: Bytes,
    max: usize,
    decoder: Decoder,
    inflated: Vec<u8>,
    /// What was read when the buffer was full.
    beyond: Vec<u8>,
    /// Size of the buffer that the next step allocates.
    wants: usize,
}

/// What a step came to; `freed` is the size of the buffer that is gone.
#[derive(Debug)]
pub(super) enum Step {
    Whole {
        inflated: Bytes,
        freed: usize,
    },
    /// It wants a larger buffer.
    More {
        freed: usize,
    },
    /// It wants a buffer of the right size, and has begun anew.
    Again {
        freed: usize,
    },
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Reader<Bytes>>>),
    Zstd(Box<ZstdDecoder<'static, Reader<Bytes>>>),
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("wants", &self.wants).finish_non_exhaustive()
    }
}

impl Inflater {
    /// `None` where there is nothing to inflate.
    pub(super) fn new(
        encoding: Encoding,
        wire: Bytes,
        max: usize,
    ) -> Result<Option<Self>, Refusal> {
        let Some(decoder) = Decoder::new(encoding, wire.clone())? else {
            return if wire.len() > max {
                Err(Refusal::InflatedTooLarge { max })
            } else {
                Ok(None)
            };
        };
        let limit = max.saturating_add(1);
        let told = announced(encoding, &wire);
        if told.is_some_and(|told| told > max) {
            return Err(Refusal::InflatedTooLarge { max });
        }
        let wants = told.unwrap_or_else(|| wire.len().saturating_mul(4).min(MOVED_MAX));
        let wants = wants.clamp(FIRST_MIN, limit.max(FIRST_MIN));
        let (inflated, beyond) = (Vec::new(), Vec::new());
        Ok(Some(Self { encoding, wire, max, decoder, inflated, beyond, wants }))
    }

    /// To be reserved before the next [`step`](Self::step).
    pub(super) fn wants(&self) -> usize {
        self.wants
    }

    pub(super) fn step(&mut self) -> Result<Step, Refusal> {
        let freed = self.inflated.capacity();
        let mut inflated = Vec::with_capacity(self.wants);
        inflated.append(&mut self.inflated);
        inflated.append(&mut self.beyond);
        self.inflated = inflated;
        let room = self.wants.saturating_sub(self.inflated.len());
        let read = self.decoder.fill(&mut self.inflated, room);
        read.map_err(|e| self.malformed(&e))?;
        let mut scratch = vec![0; SCRATCH];
        let n = self.decoder.read(&mut scratch).map_err(|e| self.malformed(&e))?;
        if n == 0 {
            if self.inflated.len() > self.max {
                return Err(Refusal::InflatedTooLarge { max: self.max });
            }
            let inflated = std::mem::take(&mut self.inflated).into();
            return Ok(Step::Whole { inflated, freed });
        }
        let len = self.inflated.len().saturating_add(n);
        if len > self.max {
            return Err(Refusal::InflatedTooLarge { max: self.max });
        }
        if self.wants <= MOVED_MAX {
            scratch.truncate(n);
            self.beyond = scratch;
            let limit = self.max.saturating_add(1);
            self.wants = len.max(self.wants.saturating_mul(4).min(limit));
            return Ok(Step::More { freed });
        }
        self.wants = self.count(len, &mut scratch)?;
        let freed = freed.saturating_add(self.inflated.capacity());
        self.inflated = Vec::new();
        if let Some(decoder) = Decoder::new(self.encoding, self.wire.clone())? {
            self.decoder = decoder;
        }
        Ok(Step::Again { freed })
    }

    /// How long all of it is.
    fn count(&mut self, mut len: usize, scratch: &mut [u8]) -> Result<usize, Refusal> {
        loop {
            let n = self.decoder.read(scratch).map_err(|e| self.malformed(&e))?;
            len = len.saturating_add(n);
            if len > self.max {
                return Err(Refusal::InflatedTooLarge { max: self.max });
            }
            if n == 0 {
                return Ok(len);
            }
        }
    }

    fn malformed(&self, error: &io::Error) -> Refusal {
        let name = if self.encoding == Encoding::Gzip { "gzip" } else { "zstd" };
        Refusal::Undecodable(format!("malformed {name} body: {error}"))
    }
}

impl Decoder {
    fn new(encoding: Encoding, wire: Bytes) -> Result<Option<Self>, Refusal> {
        Ok(Some(match encoding {
            Encoding::Identity => return Ok(None),
            Encoding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(wire.reader()))),
            Encoding::Zstd => {
                let decoder = ZstdDecoder::with_buffer(wire.reader()).and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                    Ok(decoder)
                });
                let malformed = |e| Refusal::Undecodable(format!("malformed zstd body: {e}"));
                Self::Zstd(Box::new(decoder.map_err(malformed)?))
            }
        }))
    }

    /// Appends up to `n` bytes, which the buffer has room for.
    fn fill(&mut self, buffer: &mut Vec<u8>, n: usize) -> io::Result<usize> {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        match self {
            Self::Gzip(decoder) => decoder.take(n).read_to_end(buffer),
            Self::Zstd(decoder) => decoder.take(n).read_to_end(buffer),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// What the body says of its inflated length, as far as it can be true.
fn announced(encoding: Encoding, wire: &[u8]) -> Option<usize> {
    match encoding {
        Encoding::Identity => None,
        // The last four bytes, modulo 2^32, of the last member; nearly always there is one.
        Encoding::Gzip => {
            let len = u32::from_le_bytes(*wire.last_chunk()?);
            usize::try_from(len)
                .ok()
                .filter(|len| *len <= wire.len().saturating_mul(GZIP_RATIO_MAX))
        }
        Encoding::Zstd => {
            let len = zstd::zstd_safe::get_frame_content_size(wire).ok()??;
            usize::try_from(len).ok()
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that goes wrong panics"
)]
mod tests {
    use std::io::Write;

    use super::*;

    const MAX: usize = 24 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("into memory");
        encoder.finish().expect("into memory")
    }

    /// Without the length in the frame's header, as senders that stream write it.
    fn zstd_stream(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("into memory");
        encoder.include_contentsize(false).expect("a known setting");
        encoder.write_all(bytes).expect("into memory");
        encoder.finish().expect("into memory")
    }

    /// The inflated body, the most that was reserved meanwhile, and the steps.
    fn inflate(encoding: Encoding, wire: Vec<u8>) -> Result<(Bytes, usize, usize), Refusal> {
        let mut inflater = Inflater::new(encoding, wire.into(), MAX)?.expect("it is encoded");
        let (mut held, mut most, mut steps) = (0, 0, 0);
        loop {
            held += inflater.wants();
            most = most.max(held);
            steps += 1;
            match inflater.step()? {
                Step::Whole { inflated, freed } => {
                    held -= freed;
                    assert!(inflated.len() <= held, "{} bytes in {held}", inflated.len());
                    return Ok((inflated, most, steps));
                }
                Step::More { freed } => held -= freed,
                Step::Again { freed } => held -= freed,
            }
            assert!(inflater.inflated.capacity() <= held, "what is allocated is reserved");
        }
    }

    fn noise(len: usize) -> Vec<u8> {
        let hash = |i: usize| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7] >> 3;
        (0..len).map(hash).collect()
    }

    #[test]
    fn a_body_that_says_its_length_is_inflated_into_exactly_that() {
        for len in [5000, 300_000, 20 << 20] {
            let body = noise(len);
            let wires = [
                (Encoding::Gzip, gzip(&body)),
                (Encoding::Zstd, zstd::bulk::compress(&body, 1).expect("into memory")),
            ];
            for (encoding, wire) in wires {
                let (inflated, most, steps) = inflate(encoding, wire).expect("well-formed");
                assert!(inflated == body, "{encoding:?} {len}");
                assert_eq!((most, steps), (len, 1), "{encoding:?} {len}");
            }
        }
    }

    #[test]
    fn one_that_does_not_takes_no_more_than_itself_once_it_is_large() {
        for len in [0, 1, 5000, 300_000, 3 << 20, 20 << 20, MAX] {
            let body = noise(len);
            let halves = [gzip(&body[..len / 2]), gzip(&body[len / 2..])].concat();
            for (encoding, wire) in [(Encoding::Gzip, halves), (Encoding::Zstd, zstd_stream(&body))]
            {
                let (inflated, most, _) = inflate(encoding, wire).expect("well-formed");
                assert!(inflated == body, "{encoding:?} {len}");
                assert!(most <= len.max(6 * MOVED_MAX), "{encoding:?} {len}: {most}");
            }
        }
    }

    #[test]
    fn one_that_is_too_long_is_refused_whatever_it_says() {
        let body = noise(MAX + 1);
        let mut lies = gzip(&body);
        let at = lies.len() - 4;
        lies.splice(at.., [0; 4]);
        let wires = [
            (Encoding::Gzip, gzip(&body)),
            (Encoding::Gzip, [gzip(&body[..MAX]), gzip(&body[MAX..])].concat()),
            (Encoding::Gzip, lies),
            (Encoding::Zstd, zstd::bulk::compress(&body, 1).expect("into memory")),
            (Encoding::Zstd, zstd_stream(&body)),
        ];
        for (i, (encoding, wire)) in wires.into_iter().enumerate() {
            let refused = inflate(encoding, wire).expect_err("too long");
            assert!(matches!(refused, Refusal::InflatedTooLarge { max: MAX }), "{i}: {refused}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_true_is_not_believed() {
        let mut wire = gzip(b"short");
        let at = wire.len() - 4;
        wire.splice(at.., u32::MAX.to_le_bytes());
        let inflater = Inflater::new(Encoding::Gzip, wire.into(), MAX).expect("not looked at yet");
        assert_eq!(inflater.expect("it is encoded").wants(), FIRST_MIN);
    }
}
