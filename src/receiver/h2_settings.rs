//! How HTTP/2 is spoken on either listener.

use std::time::Duration;

use super::{Settings, shares};

/// The smallest there is: a frame is held whole before any of it is handed on.
pub(super) const MAX_FRAME: u32 = 16 << 10;
pub(super) const MAX_HEADER_LIST: u32 = 16 << 10;
/// A peer that has gone without a word is found out after both.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What a peer may send before any of it is read; a stream as much as its connection.
pub(super) fn window(settings: &Settings) -> u32 {
    u32::try_from(shares::window(settings)).unwrap_or(u32::MAX)
}
