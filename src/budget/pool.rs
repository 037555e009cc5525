//! Pools of bytes: charged before something grows, refunded when it goes.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be held at the same time. Charged before something grows, refunded when it goes.
#[derive(Debug)]
pub struct Pool {
    capacity: usize,
    used: AtomicUsize,
}

/// What a charge is for: what matters less is refused sooner, so that room is left for what matters more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// A label set of its own, which could be counted in an overflow series instead.
    Detail,
    /// An edge side that waits, which could be evicted; an ended series that waits to be sent.
    Waiting,
    /// What totals are made of.
    Total,
}

impl Rank {
    /// Sixteenths of the pool that it may fill.
    fn sixteenths(self) -> usize {
        match self {
            Self::Detail => 13,
            Self::Waiting => 15,
            Self::Total => 16,
        }
    }
}

impl Pool {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, used: AtomicUsize::new(0) }
    }

    /// For tools and tests that hold what they are given.
    pub fn unbounded() -> Self {
        Self::new(usize::MAX)
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// What a rank may fill.
    pub fn capacity_of(&self, rank: Rank) -> usize {
        self.capacity / 16 * rank.sixteenths() + self.capacity % 16 * rank.sixteenths() / 16
    }

    /// Whether there is room for it; it is charged if so.
    pub fn try_charge(&self, bytes: usize, rank: Rank) -> bool {
        let most = self.capacity_of(rank);
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Whether there would be room for it now.
    pub fn has_room(&self, bytes: usize, rank: Rank) -> bool {
        self.used().checked_add(bytes).is_some_and(|sum| sum <= self.capacity_of(rank))
    }

    /// Charges what is held already, however little room there is.
    pub fn charge(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was charged before is now this much.
    pub fn settle(&self, charged: &mut usize, held: usize) {
        match held.checked_sub(*charged) {
            Some(more) => self.charge(more),
            None => self.refund(*charged - held),
        }
        *charged = held;
    }

    pub fn refund(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "no more is refunded than was charged");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_more_finds_room_where_details_do_not() {
        let pool = Pool::new(1600);
        assert!(pool.try_charge(1300, Rank::Detail));
        assert!(!pool.try_charge(1, Rank::Detail));
        assert!(pool.try_charge(200, Rank::Waiting));
        assert!(!pool.try_charge(1, Rank::Waiting));
        assert!(pool.try_charge(100, Rank::Total));
        assert!(!pool.try_charge(1, Rank::Total));
        assert_eq!(pool.used(), 1600);
        pool.refund(1600);
        assert!(pool.try_charge(1300, Rank::Detail));
    }

    #[test]
    fn a_charge_beyond_all_numbers_is_refused() {
        let pool = Pool::unbounded();
        assert!(pool.try_charge(100, Rank::Total));
        assert!(!pool.try_charge(usize::MAX, Rank::Total));
        assert_eq!(pool.used(), 100);
    }
}
