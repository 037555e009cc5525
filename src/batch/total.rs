//! Totals that stay exact: a whole number, and apart from it the fractional rest of odd weights.

use std::num::NonZeroU64;

/// A running total. While all weights are 1 the rest is 0 and the total is a whole number, however
/// large; it can never stick, as one float accumulator would.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Total {
    pub whole: u128,
    /// In [0, 1).
    pub rest: f64,
}

/// How many spans a span stands for: a finite number in [1e-6, 1e6].
/// Kept as bits, which are never 0, so that no weight at all takes no more room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight(NonZeroU64);

impl Weight {
    pub const ONE: Self = Self(NonZeroU64::new(1.0_f64.to_bits()).expect("bits of a number"));
    const MAX: f64 = 1e6;

    /// `None` where the weight is out of bounds (CONTRACT.md 4).
    pub fn new(weight: f64) -> Option<Self> {
        (1.0 / Self::MAX..=Self::MAX).contains(&weight).then(|| Self::of(weight))
    }

    /// `None` where the sampling ratio is out of bounds.
    pub fn of_ratio(ratio: f64) -> Option<Self> {
        (1.0 / Self::MAX..=Self::MAX).contains(&ratio).then(|| Self::of(1.0 / ratio))
    }

    fn of(weight: f64) -> Self {
        Self(NonZeroU64::new(weight.to_bits()).unwrap_or(Self::ONE.0))
    }

    pub fn as_f64(self) -> f64 {
        f64::from_bits(self.0.get())
    }

    pub fn is_one(self) -> bool {
        self == Self::ONE
    }
}

impl Total {
    pub fn of(whole: u64) -> Self {
        Self { whole: u128::from(whole), rest: 0.0 }
    }

    pub fn is_zero(&self) -> bool {
        self.whole == 0 && self.rest == 0.0
    }

    pub fn add(&mut self, other: &Self) {
        self.whole = self.whole.saturating_add(other.whole);
        if other.rest != 0.0 {
            self.rest += other.rest;
            if self.rest >= 1.0 {
                self.rest -= 1.0;
                self.whole = self.whole.saturating_add(1);
            }
        }
    }

    /// Adds `n` times `weight`.
    pub fn add_weighted(&mut self, n: u64, weight: Weight) {
        if weight.is_one() {
            self.whole = self.whole.saturating_add(u128::from(n));
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a weighted total is compared within 1e-9")]
        let product = n as f64 * weight.as_f64();
        let whole = product.floor();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and a float cast saturates"
        )]
        self.add(&Self { whole: whole as u128, rest: product - whole });
    }

    #[expect(clippy::cast_precision_loss, reason = "a sample is a float")]
    pub fn as_f64(&self) -> f64 {
        self.whole as f64 + self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_stay_exact_beyond_what_a_float_holds() {
        let mut total = Total::of(1 << 53);
        total.add_weighted(1, Weight::ONE);
        assert_eq!(total.whole, (1 << 53) + 1);
        assert_eq!(total.rest, 0.0);
    }

    #[test]
    fn fractions_carry_into_the_whole_part() {
        let third = Weight::new(4.0 / 3.0).expect("within bounds");
        let mut total = Total::default();
        (0..3000).for_each(|_| total.add_weighted(1, third));
        assert!((total.as_f64() - 4000.0).abs() < 1e-9, "{total:?}");
        assert!((0.0..1.0).contains(&total.rest));
    }

    #[test]
    fn weights_outside_the_bounds_are_none() {
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-7, 1e7, 5e-324] {
            assert_eq!(Weight::new(odd), None, "{odd}");
            assert_eq!(Weight::of_ratio(odd), None, "{odd}");
        }
        assert_eq!(Weight::of_ratio(0.25), Weight::new(4.0));
    }
}
