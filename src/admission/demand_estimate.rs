//! How many label sets are wanted, with span names as they are and with their templates: what a dry run
//! of the templates shows.
//!
//! Guidance for people, no part of the state: it decides nothing, and may be lost in a crash. What it
//! is told are keyed hashes, so that nobody outside can choose label sets that count as one.

use std::time::Duration;

use datasketches::hll::{HllSketch, HllType, HllUnion};

use crate::batch::Demand;

/// What was wanted is remembered for at least the window, and at most a quarter of it longer.
const SLOTS: usize = 5;
const SLOTS_OF_WINDOW: i64 = 4;
/// A standard error of 1.6 %.
const LG_REGISTERS: u8 = 12;

/// The distinct label sets of a window of time, estimated.
#[derive(Debug, Clone)]
pub struct DemandEstimate {
    slot_ms: i64,
    /// Number of the slot that is added to: time divided by `slot_ms`.
    newest: i64,
    /// A slot stands at its number modulo `SLOTS`.
    slots: [Sketches; SLOTS],
}

/// Label sets, about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demanded {
    pub raw: u64,
    pub sanitized: u64,
}

#[derive(Debug, Clone)]
struct Sketches {
    raw: HllSketch,
    sanitized: HllSketch,
}

impl DemandEstimate {
    /// Room that it never exceeds: a byte a register, and what stands around them.
    pub const BYTES_MAX: usize = SLOTS * 2 * ((1 << LG_REGISTERS) + 256);

    pub fn new(window: Duration) -> Self {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Self {
            slot_ms: (window_ms / SLOTS_OF_WINDOW).max(1),
            newest: i64::MIN,
            slots: std::array::from_fn(|_| Sketches::new()),
        }
    }

    /// Logical time never goes back.
    pub fn add(&mut self, demand: &[Demand], at_ms: i64) {
        self.advance(at_ms);
        let newest = place(self.newest);
        let Sketches { raw, sanitized } = &mut self.slots[newest];
        for label_set in demand {
            raw.update(label_set.raw);
            sanitized.update(label_set.sanitized);
        }
    }

    /// Forgets what is older than the window.
    pub fn advance(&mut self, at_ms: i64) {
        let now = at_ms.div_euclid(self.slot_ms);
        let n_begun = now.saturating_sub(self.newest).clamp(0, SLOTS as i64);
        for number in 0..n_begun {
            self.slots[place(now - number)] = Sketches::new();
        }
        self.newest = self.newest.max(now);
    }

    pub fn demanded(&self) -> Demanded {
        let count = |of: fn(&Sketches) -> &HllSketch| {
            let mut union = HllUnion::new(LG_REGISTERS).expect("a number of registers in range");
            self.slots.iter().for_each(|slot| union.update(of(slot)));
            whole(union.estimate())
        };
        Demanded { raw: count(|slot| &slot.raw), sanitized: count(|slot| &slot.sanitized) }
    }
}

impl Sketches {
    fn new() -> Self {
        let sketch =
            || HllSketch::new(LG_REGISTERS, HllType::Hll8).expect("a number of registers in range");
        Self { raw: sketch(), sanitized: sketch() }
    }
}

fn place(number: i64) -> usize {
    usize::try_from(number.rem_euclid(SLOTS as i64)).unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate is neither negative nor beyond what 64 bits can tell apart"
)]
fn whole(estimate: f64) -> u64 {
    estimate.round() as u64
}

#[cfg(test)]
mod tests {
    use ahash::RandomState;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(900);
    const MINUTE_MS: i64 = 60_000;

    /// Label sets `from..to`, a tenth as many of templates.
    fn demand(from: u64, to: u64) -> Vec<Demand> {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let one = |n| Demand { raw: hasher.hash_one(n), sanitized: hasher.hash_one((n / 10, "t")) };
        (from..to).map(one).collect()
    }

    #[track_caller]
    fn assert_about(found: u64, expected: u64) {
        let error = found.abs_diff(expected) as f64 / (expected as f64).max(1.0);
        assert!(error < 0.05, "{found}, expected about {expected}");
    }

    #[test]
    fn it_counts_each_label_set_once_from_none_to_many() {
        for n in [0, 1, 10, 100, 5_000, 300_000] {
            let mut estimate = DemandEstimate::new(WINDOW);
            for _ in 0..2 {
                estimate.add(&demand(0, n), 7 * MINUTE_MS);
            }
            estimate.add(&demand(0, n / 2), 9 * MINUTE_MS);
            let Demanded { raw, sanitized } = estimate.demanded();
            assert_about(raw, n);
            assert_about(sanitized, n.div_ceil(10));
        }
    }

    #[test]
    fn it_remembers_for_the_window_and_forgets_a_quarter_of_it_later() {
        for start in [0, 3 * MINUTE_MS + 1, 1_700_000_000_000] {
            let mut estimate = DemandEstimate::new(WINDOW);
            estimate.add(&demand(0, 1000), start);
            estimate.add(&demand(1000, 1100), start + 10 * MINUTE_MS);
            estimate.advance(start + 15 * MINUTE_MS);
            assert_about(estimate.demanded().raw, 1100);
            estimate.advance(start + 19 * MINUTE_MS);
            assert_about(estimate.demanded().raw, 100);
            estimate.advance(start + 29 * MINUTE_MS);
            assert_eq!(estimate.demanded(), Demanded { raw: 0, sanitized: 0 });
            estimate.add(&demand(0, 50), start + 1000 * MINUTE_MS);
            assert_about(estimate.demanded().raw, 50);
        }
    }

    #[test]
    fn odd_windows_and_times_are_taken() {
        for window in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
            let mut estimate = DemandEstimate::new(window);
            for at_ms in [i64::MIN, -1, 0, 1, i64::MAX] {
                estimate.add(&demand(0, 3), at_ms);
                assert_about(estimate.demanded().raw, 3);
            }
        }
    }

    #[test]
    fn its_room_is_bounded() {
        let mut estimate = DemandEstimate::new(WINDOW);
        for slot in 0..10 {
            estimate.add(&demand(0, 100_000), slot * 4 * MINUTE_MS);
        }
        let bytes = |slot: &Sketches| slot.raw.estimated_size() + slot.sanitized.estimated_size();
        let bytes: usize = estimate.slots.iter().map(bytes).sum();
        assert!(bytes > 5 << LG_REGISTERS && bytes <= DemandEstimate::BYTES_MAX, "{bytes}");
    }
}
