//! One label of one service: how many different values were refused, and which ones most.

use datasketches::hll::{Coupon, HllSketch, HllType, HllUnion};

use super::heavy::{Heavy, cut};
use super::wanted::GENERATIONS;

/// 2^10 registers: a standard error of 3.3 %, and next to none below a hundred values.
const LOG2_REGISTERS: u8 = 10;
/// Six bits a register, and what the sketch adds to them.
pub(super) const SKETCH_BYTES_MAX: usize = (1 << LOG2_REGISTERS) * 6 / 8 + 32;

/// Values of a label that were refused.
#[derive(Debug, Clone)]
pub struct RefusedLabel {
    name: Box<str>,
    /// One a generation; `None` while it has no value.
    sketches: [Option<HllSketch>; GENERATIONS],
    heavy: Heavy,
}

impl RefusedLabel {
    pub(super) fn new(name: &str) -> Self {
        Self { name: cut(name).into(), sketches: Default::default(), heavy: Heavy::default() }
    }

    /// Cut, if it is very long.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hash, text (cut, if it is long) and the least number of refused spans of the values that were
    /// refused most; in a flood of values that come once, of a few of those.
    pub fn values(&self) -> impl Iterator<Item = (u64, &str, u64)> {
        self.heavy.values()
    }

    /// Different values that are admitted or were refused: `admitted` are hashes, each once.
    pub fn wanted(&self, admitted: impl Iterator<Item = u64>) -> u64 {
        let mut n_admitted = 0;
        let mut all = new_union();
        for key in admitted {
            n_admitted += 1;
            all.update_value(key);
        }
        // Both estimates err alike, so that values which are in both sets make no difference.
        let before = all.composite_estimate();
        self.sketches.iter().flatten().for_each(|sketch| all.update(sketch));
        let beyond = (all.composite_estimate() - before).round().max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and a float cast saturates"
        )]
        let beyond = beyond as u64;
        n_admitted + beyond
    }

    /// `(hash, text)`; the newest generation's place and number.
    pub(super) fn add(
        &mut self,
        value: (u64, &str),
        spans: u64,
        (place, generation): (usize, u32),
    ) {
        let sketch = self.sketches[place].get_or_insert_with(new_sketch);
        sketch.update_with_coupon(Coupon::from_value(value.0));
        self.heavy.add(value, spans, generation);
    }

    /// A generation begins in the place of the one that is too old; `oldest` is not.
    pub(super) fn forget(&mut self, place: usize, oldest: u32) {
        self.sketches[place] = None;
        self.heavy.age(oldest);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sketches.iter().all(Option::is_none)
    }

    /// About how many different values were refused: those of the generation that has most.
    pub(super) fn weight(&self) -> u64 {
        let estimates = self.sketches.iter().flatten().map(HllSketch::estimate);
        let most = estimates.fold(0.0, f64::max);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and a float cast saturates"
        )]
        let most = most as u64;
        most
    }
}

fn new_sketch() -> HllSketch {
    HllSketch::new(LOG2_REGISTERS, HllType::Hll6).expect("2^10 registers are within its range")
}

fn new_union() -> HllUnion {
    HllUnion::new(LOG2_REGISTERS).expect("2^10 registers are within its range")
}
