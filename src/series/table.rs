//! One table: label sets found by their bytes, each with a slot of totals.

use ahash::RandomState;
use hashbrown::HashTable;

use super::layout::Layout;
use super::slab::Slab;
use crate::batch::encoding::{put_bytes, put_number};
use crate::batch::{BucketCount, Labels, Shape, Total};

/// Label sets in slots; a slot that has ended is used again by the next birth.
#[derive(Debug)]
pub struct SeriesTable {
    hasher: RandomState,
    index: HashTable<u32>,
    slots: Vec<Slot>,
    /// Slots that have ended; the last one is used next.
    free: Vec<u32>,
    values: Values,
}

/// A label set and what is remembered of it besides its totals.
#[derive(Debug, Clone, Default)]
pub struct Slot {
    /// `None` while the slot is free.
    labels: Option<Box<[u8]>>,
    hash: u64,
    /// Logical time of the last addition.
    pub updated_ms: i64,
    /// Timestamp of the newest exemplar collected for any of its series.
    pub exemplar_ms: i64,
    /// The tick that last showed an exemplar of it.
    pub shown_tick: u32,
}

/// The totals of all slots of a table; a snapshot clones them.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    words: Slab<u64>,
    /// Fractional rests of the words; without rows while all weights are 1.
    rests: Slab<f64>,
    layout: Layout,
}

/// What is added to one label set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Addition<'a> {
    pub calls: Total,
    pub size: u64,
    /// Nanoseconds.
    pub latency: Total,
    pub buckets: &'a [BucketCount],
}

impl Addition<'_> {
    fn is_whole(&self) -> bool {
        let rests = self.buckets.iter().map(|bucket| bucket.count.rest);
        rests.chain([self.calls.rest, self.latency.rest]).all(|rest| rest == 0.0)
    }
}

impl SeriesTable {
    /// `seed` keys the hash: it belongs to the state.
    pub fn new(layout: Layout, seed: [u64; 4]) -> Self {
        let [a, b, c, d] = seed;
        let words = layout.words();
        Self {
            hasher: RandomState::with_seeds(a, b, c, d),
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            values: Values { words: Slab::new(words), rests: Slab::new(words), layout },
        }
    }

    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Label sets that live.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn find(&self, labels: Labels<'_>) -> Option<u32> {
        let hash = self.hasher.hash_one(labels.as_bytes());
        let same = |&slot: &u32| self.labels_of(slot) == Some(labels);
        self.index.find(hash, same).copied()
    }

    /// The slot that the next birth takes.
    pub fn next_slot(&self) -> u32 {
        let unused = || u32::try_from(self.slots.len()).expect("fewer than 2^32 label sets");
        self.free.last().copied().unwrap_or_else(unused)
    }

    pub fn labels_of(&self, slot: u32) -> Option<Labels<'_>> {
        self.slots.get(slot as usize)?.labels.as_deref().map(Labels::new)
    }

    /// Slots that live, in order.
    pub fn live(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.labels.is_some())
    }

    pub fn slot(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    /// Puts a label set that is not there yet into [`next_slot`](Self::next_slot).
    pub fn birth(&mut self, slot: u32, labels: Labels<'_>) {
        assert_eq!(slot, self.next_slot(), "a birth takes the slot that was decided");
        if self.free.pop().is_none() {
            self.slots.push(Slot::default());
        }
        let hash = self.hasher.hash_one(labels.as_bytes());
        let entry = &mut self.slots[slot as usize];
        *entry = Slot { labels: Some(labels.as_bytes().into()), hash, ..Slot::default() };
        let slots = &self.slots;
        self.index.insert_unique(hash, slot, |&i| slots[i as usize].hash);
        self.values.clear(slot);
    }

    pub fn add(&mut self, slot: u32, at_ms: i64, addition: &Addition<'_>) {
        let entry = &mut self.slots[slot as usize];
        entry.updated_ms = entry.updated_ms.max(at_ms);
        self.values.add(slot, addition);
    }

    pub fn shown(&mut self, slot: u32, exemplar_ms: i64, tick: u32) {
        let entry = &mut self.slots[slot as usize];
        entry.exemplar_ms = exemplar_ms;
        entry.shown_tick = tick;
    }

    pub fn death(&mut self, slot: u32) {
        let hash = self.slots[slot as usize].hash;
        let found = self.index.find_entry(hash, |&i| i == slot);
        found.expect("a label set that ends is in the index").remove();
        self.slots[slot as usize] = Slot::default();
        self.free.push(slot);
    }

    /// Everything that the table holds, in slot order; the index is left out, as it follows.
    pub fn dump(&self, out: &mut Vec<u8>) {
        put_number(out, self.slots.len() as u128);
        for (i, slot) in self.slots.iter().enumerate() {
            put_bytes(out, slot.labels.as_deref().unwrap_or_default());
            for ms in [slot.updated_ms, slot.exemplar_ms] {
                out.extend_from_slice(&ms.to_le_bytes());
            }
            put_number(out, slot.shown_tick.into());
            if slot.labels.is_some() {
                self.values.words.row(i).iter().for_each(|&word| put_number(out, word.into()));
                let rests = self.values.rests.row(i);
                rests.iter().for_each(|rest| out.extend_from_slice(&rest.to_le_bytes()));
            }
        }
        put_number(out, self.free.len() as u128);
        self.free.iter().for_each(|&slot| put_number(out, slot.into()));
    }
}

impl Values {
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Weighted spans.
    pub fn calls(&self, slot: u32) -> Total {
        self.total(slot, Layout::CALLS)
    }

    /// Bytes.
    pub fn size(&self, slot: u32) -> Total {
        self.total(slot, Layout::SIZE)
    }

    /// Nanoseconds, weighted.
    pub fn latency(&self, slot: u32) -> Total {
        let mut total = self.total(slot, Layout::LATENCY);
        let high = self.words.row(slot as usize).get(Layout::LATENCY + 1);
        total.whole |= u128::from(high.copied().unwrap_or_default()) << 64;
        total
    }

    /// Weighted spans in one bucket, not cumulative.
    pub fn bucket(&self, slot: u32, bucket: usize) -> Total {
        self.total(slot, Layout::BUCKETS + bucket)
    }

    /// The values of one slot alone, to be kept when the slot is given up.
    pub fn only(&self, slot: u32) -> Self {
        let words = Slab::of_row(self.words.row(slot as usize));
        let rests = Slab::of_row(self.rests.row(slot as usize));
        Self { words, rests, layout: self.layout.clone() }
    }

    fn total(&self, slot: u32, word: usize) -> Total {
        let whole = self.words.row(slot as usize).get(word).copied().unwrap_or_default();
        let rest = self.rests.row(slot as usize).get(word).copied().unwrap_or_default();
        Total { whole: u128::from(whole), rest }
    }

    fn clear(&mut self, slot: u32) {
        if self.layout.shape == Shape::Info {
            return;
        }
        self.words.grow(slot as usize);
        self.words.row_mut(slot as usize).fill(0);
        if !self.rests.is_empty() {
            self.rests.grow(slot as usize);
            self.rests.row_mut(slot as usize).fill(0.0);
        }
    }

    fn add(&mut self, slot: u32, addition: &Addition<'_>) {
        if self.layout.shape == Shape::Info {
            return;
        }
        if self.rests.is_empty() && addition.is_whole() {
            return self.add_whole(slot, addition);
        }
        self.add_to(slot, Layout::CALLS, &addition.calls);
        if self.layout.shape == Shape::Counter {
            return;
        }
        self.add_to(slot, Layout::SIZE, &Total::of(addition.size));
        self.add_latency(slot, &addition.latency);
        for bucket in addition.buckets {
            self.add_to(slot, Layout::BUCKETS + bucket.bucket as usize, &bucket.count);
        }
    }

    /// While all weights are 1.
    fn add_whole(&mut self, slot: u32, addition: &Addition<'_>) {
        let row = self.words.row_mut(slot as usize);
        let add = |word: &mut u64, more: u128| {
            *word = word.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        };
        add(&mut row[Layout::CALLS], addition.calls.whole);
        if self.layout.shape == Shape::Counter {
            return;
        }
        add(&mut row[Layout::SIZE], addition.size.into());
        let [low, high] = [row[Layout::LATENCY], row[Layout::LATENCY + 1]].map(u128::from);
        let latency = (high << 64 | low).saturating_add(addition.latency.whole);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
        let halves = [latency as u64, (latency >> 64) as u64];
        row[Layout::LATENCY..Layout::LATENCY + 2].copy_from_slice(&halves);
        for bucket in addition.buckets {
            add(&mut row[Layout::BUCKETS + bucket.bucket as usize], bucket.count.whole);
        }
    }

    fn add_to(&mut self, slot: u32, word: usize, more: &Total) {
        let mut total = self.total(slot, word);
        total.add(more);
        let whole = u64::try_from(total.whole).unwrap_or(u64::MAX);
        self.words.row_mut(slot as usize)[word] = whole;
        self.set_rest(slot, word, total.rest);
    }

    fn add_latency(&mut self, slot: u32, more: &Total) {
        let mut total = self.latency(slot);
        total.add(more);
        let words = self.words.row_mut(slot as usize);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
        let halves = [total.whole as u64, (total.whole >> 64) as u64];
        words[Layout::LATENCY..Layout::LATENCY + 2].copy_from_slice(&halves);
        self.set_rest(slot, Layout::LATENCY, total.rest);
    }

    fn set_rest(&mut self, slot: u32, word: usize, rest: f64) {
        if rest != 0.0 || !self.rests.row(slot as usize).is_empty() {
            self.rests.grow(slot as usize);
            self.rests.row_mut(slot as usize)[word] = rest;
        }
    }
}
