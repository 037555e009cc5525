//! Totals that stay exact: a whole number, and apart from it the fractional rest of odd weights.

/// A running total. While all weights are 1 the rest is 0 and the total is a whole number, however
/// large; it can never stick, as one float accumulator would.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Total {
    pub whole: u128,
    /// In [0, 1).
    pub rest: f64,
}

/// How many spans a span stands for: a finite number in [1e-6, 1e6].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight(f64);

impl Weight {
    pub const ONE: Self = Self(1.0);
    const MAX: f64 = 1e6;

    /// `None` where the weight is out of bounds (CONTRACT.md 4).
    pub fn new(weight: f64) -> Option<Self> {
        (1.0 / Self::MAX..=Self::MAX).contains(&weight).then_some(Self(weight))
    }

    /// `None` where the sampling ratio is out of bounds.
    pub fn of_ratio(ratio: f64) -> Option<Self> {
        (1.0 / Self::MAX..=Self::MAX).contains(&ratio).then(|| Self(1.0 / ratio))
    }

    /// For logs: [`from_bits`](Self::from_bits) has it back.
    pub fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    pub fn from_bits(bits: u64) -> Option<Self> {
        Self::new(f64::from_bits(bits))
    }

    pub fn is_one(self) -> bool {
        self.0.to_bits() == 1.0_f64.to_bits()
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
        let product = n as f64 * weight.0;
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
