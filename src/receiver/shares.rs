//! How the receivers' parts of `limits.memory` are divided, and what one connection can hold.

use super::Settings;

/// What a connection holds besides what its peer may send unasked: the frame and the header that are
/// being read, header tables, the tasks of its requests.
const CONNECTION_BASE: usize = 32 << 10;
/// HTTP/2 begins with this window, and no setting makes it smaller.
const WINDOW_MIN: usize = (1 << 16) - 1;
/// More gains nothing on any network.
const WINDOW_MAX: usize = 4 << 20;
/// No connection can do with less.
pub const CONNECTION_BYTES_MIN: usize = CONNECTION_BASE + WINDOW_MIN + 1;

/// Of the workers' part of `Memory::staging`: small requests are staged where they were read.
const INLINE_BYTES_MAX: usize = 8 << 20;
/// A request of ten thousand spans with a label set each finds room in it.
const LARGE_BYTES_MIN: usize = 24 << 20;
/// While a table or a text grows it is there twice, and its old half besides.
const GROWTH: usize = 3;

/// How many connections fit into their part of the memory, if fewer than the limit says.
pub fn max_connections(settings: &Settings) -> usize {
    let fit = (settings.memory.connections / CONNECTION_BYTES_MIN).max(1);
    match settings.connections.max_connections {
        0 => fit,
        max => max.min(fit),
    }
}

/// What one connection can make the process hold, bodies in flight aside.
pub fn connection_bytes(settings: &Settings) -> usize {
    CONNECTION_BASE + window(settings)
}

/// What a peer may send before any of it is read: HTTP/2's flow-control window, HTTP/1's read buffer.
pub(super) fn window(settings: &Settings) -> usize {
    let share = settings.memory.connections / max_connections(settings);
    share.saturating_sub(CONNECTION_BASE).clamp(WINDOW_MIN, WINDOW_MAX)
}

/// Who stages how much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Staging {
    /// What a stager may take on each of the workers;
    pub(super) inline_bytes: usize,
    /// and what each of those for large requests may take.
    pub(super) large_bytes: usize,
    pub(super) n_large: usize,
}

impl Staging {
    pub(super) fn of(bytes: usize, workers: usize) -> Self {
        let inline = (bytes / 2 / workers.max(1)).min(INLINE_BYTES_MAX);
        let rest = bytes - inline * workers;
        let n_large = (rest / LARGE_BYTES_MIN).clamp(1, workers.max(1));
        Self { inline_bytes: inline / GROWTH, large_bytes: rest / n_large / GROWTH, n_large }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_stagers_take_together_is_what_staging_was_given() {
        for workers in [1, 2, 3, 8, 64, 500] {
            for bytes in [1 << 20, 24 << 20, 64 << 20, 1 << 30] {
                let Staging { inline_bytes, large_bytes, n_large } = Staging::of(bytes, workers);
                let most = GROWTH * (inline_bytes * workers + large_bytes * n_large);
                assert!(most <= bytes, "{workers} workers, {bytes}: {most}");
                assert!((1..=workers).contains(&n_large));
                assert!(most > bytes / 2, "{workers} workers, {bytes}: {most} is too little");
            }
        }
    }
}
