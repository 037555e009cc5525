//! Exemplars between two ticks: the best one a bucket series, and which of them a tick shows.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::batch::{Exemplar, Table};

/// Pending ones are thinned out when there are this many times what a tick may show.
const PENDING_FACTOR: usize = 4;

/// The best exemplar of each bucket series since the last tick. Bounded: see `PENDING_FACTOR`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    best: HashMap<Place, Exemplar, RandomState>,
    /// What a tick may show.
    max: usize,
}

/// Table, slot and bucket.
type Place = (Table, u32, u32);

/// An exemplar that a tick shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picked {
    pub table: Table,
    pub slot: u32,
    pub exemplar: Exemplar,
    /// Shown on the calls of the label set too: it is the best of its buckets.
    pub on_calls: bool,
}

impl Pending {
    /// `max`: exemplars a tick, those on calls included.
    pub fn new(max: usize) -> Self {
        // Nobody outside chooses a slot: a seed that is known does no harm.
        Self { best: HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)), max }
    }

    /// What waits beyond it goes with the next that is added, or is not picked.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// `shown` tells when a label set last showed one.
    pub fn add(
        &mut self,
        table: Table,
        slot: u32,
        exemplars: &[Exemplar],
        shown: impl Fn(Table, u32) -> u32,
    ) {
        if self.max == 0 {
            return;
        }
        for exemplar in exemplars {
            let key = (table, slot, exemplar.bucket);
            let best = self.best.entry(key).or_insert(*exemplar);
            if exemplar.rank() > best.rank() {
                *best = *exemplar;
            }
        }
        if self.best.len() > self.max.saturating_mul(PENDING_FACTOR) {
            let kept = self.pick(shown);
            self.best =
                kept.iter().map(|p| ((p.table, p.slot, p.exemplar.bucket), p.exemplar)).collect();
        }
    }

    /// Failed ones first, then the slowest, in half of the places; what is left goes to label sets
    /// that have not shown one for the longest time. In the order of table, slot and bucket.
    pub fn pick(&self, shown: impl Fn(Table, u32) -> u32) -> Vec<Picked> {
        let mut ranked: Vec<Picked> = self.ranked();
        let mut picked = take_places(&mut ranked, self.max / 2);
        ranked.sort_by_key(|p| (shown(p.table, p.slot), Reverse(p.exemplar.rank())));
        let used: usize = picked.iter().map(Picked::places).sum();
        picked.extend(take_places(&mut ranked, self.max - used));
        picked.sort_by_key(|p| (p.table, p.slot, p.exemplar.bucket));
        picked
    }

    /// Forgets a label set that has ended.
    pub fn forget(&mut self, table: Table, slot: u32, n_buckets: u32) {
        if !self.best.is_empty() {
            for bucket in 0..n_buckets {
                self.best.remove(&(table, slot, bucket));
            }
        }
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> usize {
        self.best.capacity() * (size_of::<(Place, Exemplar)>() + 1)
    }

    pub fn clear(&mut self) {
        self.best.clear();
    }

    /// In the order of table, slot and bucket.
    pub fn sorted(&self) -> Vec<(Table, u32, Exemplar)> {
        let mut all: Vec<_> =
            self.best.iter().map(|((table, slot, _), best)| (*table, *slot, *best)).collect();
        all.sort_unstable_by_key(|(table, slot, best)| (*table, *slot, best.bucket));
        all
    }

    fn ranked(&self) -> Vec<Picked> {
        let all = self.sorted();
        let mut best_of_slot: BTreeMap<(Table, u32), (bool, u64)> = BTreeMap::new();
        for (table, slot, exemplar) in &all {
            let best = best_of_slot.entry((*table, *slot)).or_default();
            *best = (*best).max(exemplar.rank());
        }
        let mut ranked: Vec<Picked> = Vec::with_capacity(all.len());
        for (table, slot, exemplar) in &all {
            let best = best_of_slot.get_mut(&(*table, *slot));
            // Edges show theirs on histograms alone.
            let on_calls = *table == Table::SpanMetrics
                && best.as_ref().is_some_and(|best| **best == exemplar.rank());
            if on_calls && let Some(best) = best {
                *best = (true, u64::MAX);
            }
            ranked.push(Picked { table: *table, slot: *slot, exemplar: *exemplar, on_calls });
        }
        ranked.sort_by_key(|p| Reverse(p.exemplar.rank()));
        ranked
    }
}

impl Picked {
    /// Exemplars that go out because of it.
    fn places(&self) -> usize {
        1 + usize::from(self.on_calls)
    }
}

/// Takes from the front of `ranked` what fits into so many places.
fn take_places(ranked: &mut Vec<Picked>, places: usize) -> Vec<Picked> {
    let mut left = places;
    let fits = ranked.iter().take_while(|p| {
        let fits = p.places() <= left;
        left = left.saturating_sub(p.places());
        fits
    });
    let n = fits.count();
    ranked.drain(..n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(bucket: u32, latency_nano: u64, error: bool) -> Exemplar {
        Exemplar {
            bucket,
            trace_id: [1; 16],
            span_id: [2; 8],
            latency_nano,
            end_unix_nano: 0,
            error,
        }
    }

    fn pending(max: usize, all: &[(u32, Exemplar)]) -> Pending {
        let mut pending = Pending::new(max);
        for (slot, exemplar) in all {
            pending.add(Table::SpanMetrics, *slot, &[*exemplar], |_, _| 0);
        }
        pending
    }

    #[test]
    fn a_bucket_keeps_the_failed_one_then_the_slowest_then_the_first() {
        let all =
            [(0, exemplar(3, 10, false)), (0, exemplar(3, 9, true)), (0, exemplar(3, 99, false))];
        let picked = pending(10, &all).pick(|_, _| 0);
        assert_eq!(picked.len(), 1);
        assert!(picked[0].exemplar.error && picked[0].on_calls);
    }

    #[test]
    fn calls_show_one_exemplar_the_best_of_the_buckets() {
        let all =
            [(0, exemplar(0, 10, false)), (0, exemplar(1, 20, false)), (0, exemplar(2, 20, false))];
        let picked = pending(10, &all).pick(|_, _| 0);
        let on_calls: Vec<bool> = picked.iter().map(|p| p.on_calls).collect();
        assert_eq!(on_calls, [false, true, false]);
    }

    #[test]
    fn half_of_the_places_go_to_label_sets_not_shown_lately() {
        let all: Vec<_> = (0..30).map(|slot| (slot, exemplar(0, u64::from(slot), false))).collect();
        let shown = |_, slot| if slot == 7 { 0 } else { 5 };
        let picked = pending(8, &all).pick(shown);
        let slots: Vec<u32> = picked.iter().map(|p| p.slot).collect();
        assert_eq!(slots, [7, 27, 28, 29]);
    }

    #[test]
    fn pending_exemplars_are_bounded() {
        let all: Vec<_> = (0..10_000).map(|slot| (slot, exemplar(0, 1, false))).collect();
        assert!(pending(10, &all).sorted().len() <= 10 * PENDING_FACTOR);
        assert_eq!(pending(0, &all).sorted().len(), 0);
    }
}
