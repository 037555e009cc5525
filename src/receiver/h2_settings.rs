//! How HTTP/2 is spoken on either listener.

use std::time::Duration;

/// A stream may have this much on its way to us, a connection that: enough for a batch in one flight,
/// and not so much that many streams of one connection hold their bodies open at once.
pub(super) const STREAM_WINDOW: u32 = 1 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 4 << 20;
pub(super) const MAX_FRAME: u32 = 1 << 20;
pub(super) const MAX_STREAMS: u32 = 64;
pub(super) const MAX_HEADER_LIST: u32 = 16 << 10;
/// A peer that has gone without a word is found out after both.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
