//! A request's body as it arrives: read whole and bounded, into memory of the pool.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;

use super::answer::Refusal;
use super::bodies::Account;

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

/// What has arrived of a body: taken over as it came if that is all, else joined in memory that is
/// reserved before it is allocated.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    only: Bytes,
    joined: Vec<u8>,
}

impl Gathered {
    pub(super) fn bytes(&self) -> &[u8] {
        if self.joined.is_empty() { &self.only } else { &self.joined }
    }

    pub(super) fn freeze(self) -> Bytes {
        if self.joined.is_empty() { self.only } else { self.joined.into() }
    }

    /// Reads to the end of the body. `check` sees everything so far after each chunk, so that no more
    /// than one chunk is held beyond what it allows; it says how long the whole will be, if it knows.
    pub(super) async fn fill<B>(
        &mut self,
        body: &mut B,
        account: &mut Account,
        check: impl Fn(&[u8]) -> Result<Option<usize>, Refusal>,
    ) -> Result<(), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Display,
    {
        let mut expected = check(&[])?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| {
                Refusal::Undecodable(format!("the body broke off after {} bytes: {e}", self.len()))
            })?;
            let Ok(chunk) = frame.into_data() else { continue };
            if self.bytes().is_empty() && body.is_end_stream() {
                account.reserve(chunk.len()).await?;
                self.only = chunk;
            } else {
                self.join(&chunk, account, expected).await?;
            }
            expected = check(self.bytes())?;
            account.arrived(self.len());
        }
        account.whole();
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// A chunk may be a small part of a buffer that lives as long as it does, so it is copied.
    async fn join(
        &mut self,
        chunk: &[u8],
        account: &mut Account,
        expected: Option<usize>,
    ) -> Result<(), Refusal> {
        let len = self.joined.len().saturating_add(chunk.len());
        let before = self.joined.capacity();
        if len > before {
            // What a peer announces is believed as far as a quarter of it has come; but while a body
            // moves it is there twice, and a large one would never find room for that.
            let room = match expected {
                Some(expected) if expected > account.capacity() / 2 => expected.max(len),
                Some(expected) if expected >= len => expected.min(len.saturating_mul(4)),
                _ => len.saturating_mul(2),
            };
            account.reserve(room).await?;
            let mut joined = Vec::with_capacity(room);
            joined.extend_from_slice(&self.joined);
            self.joined = joined;
            account.release(before);
        }
        self.joined.extend_from_slice(chunk);
        Ok(())
    }
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
