//! Pools of bytes: charged before something grows, refunded when it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be held at the same time. Charged before something grows, refunded when it goes.
#[derive(Debug)]
pub struct Pool {
    capacity: usize,
    used: AtomicUsize,
    /// Of these, by what waits.
    waiting: AtomicUsize,
}

/// Bytes that are charged for as long as this lives.
#[derive(Debug)]
pub struct Charge {
    pool: Arc<Pool>,
    bytes: usize,
}

/// What a charge is for: what matters less is refused sooner, so that room is left for what matters more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// A label set of its own, which could be counted in an overflow series instead.
    Detail,
    /// A label set that its service is guaranteed.
    Guaranteed,
    /// An edge side that waits, which could be evicted; an ended series that waits to be sent. It never
    /// has more than a part of the pool, whatever else is there.
    Waiting,
    /// What totals are made of.
    Total,
}

impl Rank {
    /// Sixteenths of the pool that may be filled when it comes.
    fn sixteenths(self) -> usize {
        match self {
            Self::Detail => 13,
            Self::Guaranteed => 14,
            Self::Waiting => 15,
            Self::Total => 16,
        }
    }
}

/// Sixteenths of the pool that what waits may have.
const WAITING_SIXTEENTHS: usize = 6;

impl Pool {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, used: AtomicUsize::new(0), waiting: AtomicUsize::new(0) }
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

    /// What may be filled when a rank comes.
    pub fn capacity_of(&self, rank: Rank) -> usize {
        self.sixteenths(rank.sixteenths())
    }

    /// Whether there is room for it; it is charged if so.
    pub fn try_charge(&self, bytes: usize, rank: Rank) -> bool {
        let add = |used: usize, most| used.checked_add(bytes).filter(|sum| *sum <= most);
        let charge = |counter: &AtomicUsize, most| {
            let order = Ordering::Relaxed;
            counter.fetch_update(order, order, |used| add(used, most)).is_ok()
        };
        if rank == Rank::Waiting && !charge(&self.waiting, self.sixteenths(WAITING_SIXTEENTHS)) {
            return false;
        }
        let is_charged = charge(&self.used, self.capacity_of(rank));
        if !is_charged && rank == Rank::Waiting {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_charged
    }

    /// Whether there would be room for it now.
    pub fn has_room(&self, bytes: usize, rank: Rank) -> bool {
        let fits = |used: usize, most| used.checked_add(bytes).is_some_and(|sum| sum <= most);
        let waiting = self.waiting.load(Ordering::Relaxed);
        fits(self.used(), self.capacity_of(rank))
            && (rank != Rank::Waiting || fits(waiting, self.sixteenths(WAITING_SIXTEENTHS)))
    }

    /// Charges what is held already, however little room there is.
    pub fn charge(&self, bytes: usize, rank: Rank) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        if rank == Rank::Waiting {
            self.waiting.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub fn refund(&self, bytes: usize, rank: Rank) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "no more is refunded than was charged");
        if rank == Rank::Waiting {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// What was charged before is now this much.
    pub fn settle(&self, charged: &mut usize, held: usize, rank: Rank) {
        match held.checked_sub(*charged) {
            Some(more) => self.charge(more, rank),
            None => self.refund(*charged - held, rank),
        }
        *charged = held;
    }

    fn sixteenths(&self, n: usize) -> usize {
        self.capacity / 16 * n + self.capacity % 16 * n / 16
    }
}

impl Charge {
    /// For what is held already, however little room there is.
    pub fn new(pool: Arc<Pool>, bytes: usize) -> Self {
        pool.charge(bytes, Rank::Total);
        Self { pool, bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.pool.refund(self.bytes, Rank::Total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_more_finds_room_where_details_do_not() {
        let pool = Pool::new(1600);
        for (bytes, rank) in [
            (1300, Rank::Detail),
            (100, Rank::Guaranteed),
            (100, Rank::Waiting),
            (100, Rank::Total),
        ] {
            assert!(pool.has_room(bytes, rank) && pool.try_charge(bytes, rank), "{rank:?}");
            assert!(!pool.has_room(1, rank) && !pool.try_charge(1, rank), "{rank:?}");
        }
        assert_eq!(pool.used(), 1600);
        pool.refund(1500, Rank::Detail);
        pool.refund(100, Rank::Waiting);
        assert_eq!(pool.used(), 0);
        assert!(pool.try_charge(1300, Rank::Detail));
    }

    #[test]
    fn what_waits_never_takes_the_room_of_label_sets() {
        let pool = Pool::new(1600);
        assert!(pool.try_charge(600, Rank::Waiting));
        assert!(!pool.has_room(1, Rank::Waiting) && !pool.try_charge(1, Rank::Waiting));
        assert!(pool.try_charge(700, Rank::Detail));
        pool.refund(600, Rank::Waiting);
        pool.charge(700, Rank::Waiting);
        assert!(!pool.try_charge(1, Rank::Waiting));
        let mut charged = 700;
        pool.settle(&mut charged, 100, Rank::Waiting);
        assert!(pool.try_charge(500, Rank::Waiting) && !pool.try_charge(1, Rank::Waiting));
        assert_eq!((charged, pool.used()), (100, 1300));
    }

    #[test]
    fn a_charge_beyond_all_numbers_is_refused() {
        let pool = Pool::unbounded();
        assert!(pool.try_charge(100, Rank::Total));
        assert!(!pool.try_charge(usize::MAX, Rank::Total));
        assert!(!pool.try_charge(usize::MAX, Rank::Waiting));
        assert_eq!((pool.used(), pool.waiting.into_inner()), (100, 0));
    }
}
