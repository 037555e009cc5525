//! One table: label sets found by their bytes, each with a slot of totals.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;

use super::layout::{Layout, Parts};
use super::slab::{CHUNK_ROWS, Slab};
use crate::batch::encoding::{put_bytes, put_number};
use crate::batch::{BucketCount, Labels, Shape, Total};

/// Label sets in slots, in chunks. A birth takes the lowest slot that is free, and chunks at the end
/// that nobody is in are given up, so that memory goes when label sets go.
#[derive(Debug)]
pub struct SeriesTable {
    hasher: RandomState,
    index: HashTable<u32>,
    chunks: Vec<Chunk>,
    /// Slots that have ended; the lowest one is used next.
    free: BinaryHeap<Reverse<u32>>,
    /// Slots that were used so far, and not given up.
    n_slots: usize,
    values: Values,
}

#[derive(Debug)]
struct Chunk {
    slots: Vec<Slot>,
    n_live: usize,
}

/// A label set and what is remembered of it besides its totals.
#[derive(Debug, Clone, Default)]
pub struct Slot {
    /// `None` while the slot is free.
    labels: Option<Box<[u8]>>,
    hash: u64,
    /// It counts in place of label sets that a limit kept out.
    pub is_overflow: bool,
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
    layout: Arc<Layout>,
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
            chunks: Vec::new(),
            free: BinaryHeap::new(),
            n_slots: 0,
            values: Values {
                words: Slab::new(words),
                rests: Slab::new(words),
                layout: Arc::new(layout),
            },
        }
    }

    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Label sets that live.
    pub fn len(&self) -> usize {
        self.n_slots - self.free.len()
    }

    /// Bytes of the chunks that are held without the values, `besides` those of the table itself for
    /// each slot.
    pub fn slot_bytes(&self, besides: usize) -> usize {
        self.chunks.len() * CHUNK_ROWS * (size_of::<Slot>() + besides)
    }

    /// Bytes of the values.
    pub fn value_bytes(&self) -> usize {
        let n_chunks = self.values.words.n_chunks() + self.values.rests.n_chunks();
        n_chunks * CHUNK_ROWS * self.values.layout.words() * size_of::<u64>()
    }

    /// Bytes of the chunk that the next birth takes, with `copies` of its values; 0 if it takes none.
    pub fn bytes_ahead(&self, besides: usize, copies: usize) -> usize {
        if !self.free.is_empty() || self.n_slots < self.chunks.len() * CHUNK_ROWS {
            return 0;
        }
        let values = self.values.layout.words() * size_of::<u64>() * copies;
        CHUNK_ROWS * (size_of::<Slot>() + besides + values)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn find(&self, labels: Labels<'_>) -> Option<u32> {
        self.find_hashed(self.hash(labels), labels)
    }

    /// The same in all tables of a state.
    pub fn hash(&self, labels: Labels<'_>) -> u64 {
        self.hasher.hash_one(labels.as_bytes())
    }

    pub fn find_hashed(&self, hash: u64, labels: Labels<'_>) -> Option<u32> {
        let same = |&slot: &u32| self.labels_of(slot) == Some(labels);
        self.index.find(hash, same).copied()
    }

    /// The slot that the next birth takes.
    pub fn next_slot(&self) -> u32 {
        let unused = || u32::try_from(self.n_slots).expect("fewer than 2^32 label sets");
        self.free.peek().map_or_else(unused, |slot| slot.0)
    }

    pub fn labels_of(&self, slot: u32) -> Option<Labels<'_>> {
        if slot as usize >= self.n_slots {
            return None;
        }
        self.slot(slot).labels.as_deref().map(Labels::new)
    }

    /// Slots that live, in order.
    pub fn live(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(self.slots()).filter(|(_, slot)| slot.labels.is_some())
    }

    pub fn slot(&self, slot: u32) -> &Slot {
        slot_of(&self.chunks, slot)
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.chunks.iter().flat_map(|chunk| &chunk.slots)
    }

    fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        let [chunk, place] = [slot as usize / CHUNK_ROWS, slot as usize % CHUNK_ROWS];
        &mut self.chunks[chunk].slots[place]
    }

    /// Puts a label set that is not there yet into [`next_slot`](Self::next_slot).
    pub fn birth(&mut self, slot: u32, labels: Labels<'_>, is_overflow: bool) {
        assert_eq!(slot, self.next_slot(), "a birth takes the slot that was decided");
        if self.free.pop().is_none() {
            self.push_slot();
        }
        let hash = self.hasher.hash_one(labels.as_bytes());
        let labels = Some(labels.as_bytes().into());
        *self.slot_mut(slot) = Slot { labels, hash, is_overflow, ..Slot::default() };
        self.chunks[slot as usize / CHUNK_ROWS].n_live += 1;
        let chunks = &self.chunks;
        self.index.insert_unique(hash, slot, |&i| slot_of(chunks, i).hash);
        self.values.clear(slot);
    }

    fn push_slot(&mut self) {
        if self.n_slots.is_multiple_of(CHUNK_ROWS) {
            self.chunks.push(Chunk { slots: Vec::with_capacity(CHUNK_ROWS), n_live: 0 });
        }
        self.chunks[self.n_slots / CHUNK_ROWS].slots.push(Slot::default());
        self.n_slots += 1;
    }

    pub fn add(&mut self, slot: u32, at_ms: i64, addition: &Addition<'_>) {
        let entry = self.slot_mut(slot);
        entry.updated_ms = entry.updated_ms.max(at_ms);
        self.values.add(slot, addition);
    }

    pub fn shown(&mut self, slot: u32, exemplar_ms: i64, tick: u32) {
        let entry = self.slot_mut(slot);
        entry.exemplar_ms = exemplar_ms;
        entry.shown_tick = tick;
    }

    /// Answers the label set that has ended.
    pub fn death(&mut self, slot: u32) -> Box<[u8]> {
        let hash = self.slot(slot).hash;
        let found = self.index.find_entry(hash, |&i| i == slot);
        found.expect("a label set that ends is in the index").remove();
        let ended = std::mem::take(self.slot_mut(slot));
        self.chunks[slot as usize / CHUNK_ROWS].n_live -= 1;
        self.free.push(Reverse(slot));
        self.give_up_chunks();
        ended.labels.unwrap_or_default()
    }

    /// Gives up the chunks at the end in which nobody lives.
    fn give_up_chunks(&mut self) {
        let n_before = self.chunks.len();
        while self.chunks.last().is_some_and(|chunk| chunk.n_live == 0) {
            self.chunks.pop();
        }
        if self.chunks.len() == n_before {
            return;
        }
        self.n_slots = self.chunks.len() * CHUNK_ROWS;
        self.free.retain(|slot| (slot.0 as usize) < self.n_slots);
        self.free.shrink_to_fit();
        self.values.words.shrink(self.n_slots);
        self.values.rests.shrink(self.n_slots);
        let chunks = &self.chunks;
        self.index.shrink_to_fit(|&i| slot_of(chunks, i).hash);
    }

    /// Begins these parts of all totals anew from zero, the histogram with these bounds. Other parts,
    /// and the label sets in their slots, stay.
    pub fn restart(&mut self, parts: Parts, bounds: &[f64]) {
        self.values.restart(parts, bounds);
    }

    /// Everything that the table holds, in slot order; the index and what is free follow from it.
    pub fn dump(&self, out: &mut Vec<u8>) {
        put_number(out, self.n_slots as u128);
        for (i, slot) in self.slots().enumerate() {
            put_bytes(out, slot.labels.as_deref().unwrap_or_default());
            for ms in [slot.updated_ms, slot.exemplar_ms] {
                out.extend_from_slice(&ms.to_le_bytes());
            }
            put_number(out, slot.shown_tick.into());
            out.push(u8::from(slot.is_overflow));
            if slot.labels.is_some() {
                self.values.words.row(i).iter().for_each(|&word| put_number(out, word.into()));
                let rests = self.values.rests.row(i);
                rests.iter().for_each(|rest| out.extend_from_slice(&rest.to_le_bytes()));
            }
        }
    }
}

fn slot_of(chunks: &[Chunk], slot: u32) -> &Slot {
    &chunks[slot as usize / CHUNK_ROWS].slots[slot as usize % CHUNK_ROWS]
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
        Self { words, rests, layout: Arc::clone(&self.layout) }
    }

    fn total(&self, slot: u32, word: usize) -> Total {
        let whole = self.words.row(slot as usize).get(word).copied().unwrap_or_default();
        let rest = self.rests.row(slot as usize).get(word).copied().unwrap_or_default();
        Total { whole: u128::from(whole), rest }
    }

    fn restart(&mut self, parts: Parts, bounds: &[f64]) {
        let kept = self.layout.words_without(parts);
        if parts.latency {
            Arc::make_mut(&mut self.layout).bounds = bounds.to_vec();
        }
        let width = self.layout.words();
        self.words = self.words.relaid(width, &kept);
        // Without rests weights may all be 1 again.
        self.rests =
            if kept.is_empty() { Slab::new(width) } else { self.rests.relaid(width, &kept) };
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
