//! The store of edge sides: found by where they meet, in a queue by their time.
//!
//! Entries stand in a slab; the queue holds their slots in the order of arrival. An entry that leaves,
//! or goes to the end of the queue again, leaves a stale place behind, known by its number; such places
//! are dropped at the front, and all at once when they are more than the entries.

use std::collections::VecDeque;

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry::{Occupied, Vacant};

use super::change::Change;
use super::origins::Origins;
use crate::batch::encoding::{BadEncoding, put_bytes, put_number};
use crate::batch::{EdgeSide, Origin};

/// Entries in one piece of the slab.
const CHUNK: usize = 1024;
/// Stale places of the queue that are not worth the trouble.
const STALE_MIN: usize = 4096;
/// Origins that nobody refers to, beyond which they are forgotten.
const UNUSED_MAX: usize = 1024;

#[derive(Debug)]
pub struct Store {
    hasher: RandomState,
    index: HashTable<u32>,
    chunks: Vec<Box<[Entry]>>,
    n_slots: u32,
    /// Slots that are free; the last one is used next.
    free: Vec<u32>,
    /// Slots; the place at the front has the number `front`.
    queue: VecDeque<u32>,
    front: u64,
    origins: Origins,
    max_items: usize,
    /// The service that has more than half of `max_items`.
    dominant: Option<u32>,
    n_waiting: usize,
}

/// One side, or what is remembered of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) side: EdgeSide,
    /// Logical time from which its wait counts.
    pub(super) at_ms: i64,
    /// Its place in the queue.
    number: u64,
    /// Of a link: the slot of the side that has it.
    pub(super) receiver: u32,
    pub(super) phase: Phase,
    /// It has paired already, and its end is counted.
    pub(super) paired: bool,
    /// Others meet at the same place, or did.
    is_shared: bool,
    /// How often it was held for its real other half.
    pub(super) n_held: u16,
}

/// What an entry is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    // Kept stable: these numbers stand in logs, and are places in `ALL`.
    Vacant = 0,
    /// It waits for its other half.
    Waits = 1,
    /// A calling side that has paired and may pair with more.
    Kept = 2,
    /// The key is complete; copies of its spans are known.
    Done = 3,
    /// A context that a receiving side's link names: it waits for the sender there.
    Link = 4,
    /// A filter left the span out: its other half makes no edge.
    Refuses = 5,
}

#[cfg(test)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sizes {
    pub(crate) entries: usize,
    pub(crate) slots: usize,
    pub(crate) index: usize,
    pub(crate) queue: usize,
    pub(crate) origins: usize,
    pub(crate) services: usize,
    pub(crate) live_origins: usize,
    pub(crate) live_services: usize,
    pub(crate) unused: usize,
}

fn hash_of(hasher: &RandomState, side: &EdgeSide) -> u64 {
    let (trace, place) = (u128::from_le_bytes(side.trace_id), u64::from_le_bytes(side.meets_at));
    hasher.hash_one((trace, place))
}

fn meet(one: &EdgeSide, other: &EdgeSide) -> bool {
    one.trace_id == other.trace_id
        && one.meets_at == other.meets_at
        && one.is_alone() == other.is_alone()
}

impl Phase {
    const ALL: [Self; 6] =
        [Self::Vacant, Self::Waits, Self::Kept, Self::Done, Self::Link, Self::Refuses];

    pub(super) fn of(byte: u8) -> Result<Self, BadEncoding> {
        Self::ALL.get(usize::from(byte)).copied().ok_or(BadEncoding("phase"))
    }
}

const VACANT: Entry = Entry {
    side: EdgeSide::NOBODY,
    at_ms: 0,
    number: 0,
    receiver: 0,
    phase: Phase::Vacant,
    paired: false,
    is_shared: false,
    n_held: 0,
};

impl Entry {
    pub(super) fn of_link(side: EdgeSide, receiver: u32) -> Self {
        Self { side, receiver, phase: Phase::Link, ..VACANT }
    }

    /// Rises in the order of arrival.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Its end is not known yet.
    pub(super) fn is_pending(&self) -> bool {
        self.phase == Phase::Waits && !self.paired
    }
}

impl Store {
    /// `seed` keys the hash tables: it belongs to the state.
    pub fn new(max_items: usize, seed: [u64; 4]) -> Self {
        let [a, b, c, d] = seed;
        let hasher = RandomState::with_seeds(a, b, c, d);
        Self {
            origins: Origins::new(hasher.clone()),
            hasher,
            index: HashTable::new(),
            chunks: Vec::new(),
            n_slots: 0,
            free: Vec::new(),
            queue: VecDeque::new(),
            front: 0,
            max_items,
            dominant: None,
            n_waiting: 0,
        }
    }

    /// Sides that wait and keys that are remembered.
    pub fn len(&self) -> usize {
        self.n_slots as usize - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sides that have not met their end.
    pub fn n_pending(&self) -> usize {
        self.n_waiting
    }

    pub fn origin(&self, id: u32) -> Origin<'_> {
        self.origins.get(id)
    }

    pub(super) fn find_origin(&self, bytes: &[u8]) -> Option<u32> {
        self.origins.find(bytes)
    }

    pub(super) fn next_origin(&self) -> u32 {
        self.origins.next_id()
    }

    /// Whether there are origins to sweep: only many are worth it, for most are used again soon.
    pub fn has_many_unused(&self) -> bool {
        self.origins.n_unused() >= UNUSED_MAX
    }

    pub(super) fn entry(&self, slot: u32) -> &Entry {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// The slot that the next entry takes.
    pub(super) fn next_slot(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.n_slots)
    }

    /// Shows each entry that meets where `side` does, in no order.
    #[inline]
    pub(super) fn each(&self, side: &EdgeSide, mut show: impl FnMut(u32, &Entry)) {
        let hash = self.hash(side);
        let Some(&slot) = self.index.find(hash, |&slot| meet(&self.entry(slot).side, side)) else {
            return;
        };
        if !self.entry(slot).is_shared {
            return show(slot, self.entry(slot));
        }
        for &slot in self.index.iter_hash(hash) {
            let entry = self.entry(slot);
            if meet(&entry.side, side) {
                show(slot, entry);
            }
        }
    }

    /// Brings the places where these sides meet nearer: their memory is waited for together.
    pub fn warm(&self, sides: &[EdgeSide]) {
        sides.iter().for_each(|side| self.touch(side));
    }

    /// The same for the entries at the front of the queue.
    pub(super) fn warm_oldest(&self, n: usize) {
        let oldest = self.queue.range(..n.min(self.queue.len()));
        oldest.for_each(|&slot| self.touch(&self.entry(slot).side));
    }

    fn touch(&self, side: &EdgeSide) {
        let met = |&slot: &u32| meet(&self.entry(slot).side, side);
        std::hint::black_box(self.index.find(self.hash(side), met));
    }

    /// The side that a link's entry belongs to, if it is still there.
    pub(super) fn receiver_of(&self, link: &Entry) -> Option<u32> {
        if link.receiver >= self.n_slots {
            return None;
        }
        let Entry { side, phase, .. } = self.entry(link.receiver);
        let same = side.span_id == link.side.span_id
            && side.start_unix_nano == link.side.start_unix_nano
            && side.end_unix_nano == link.side.end_unix_nano;
        (same && matches!(phase, Phase::Waits | Phase::Done)).then_some(link.receiver)
    }

    /// The entry at the front of the queue, which is never a stale place.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.queue.front().copied()
    }

    /// Who gives way when the store is full: the oldest of a service that has more than half of it,
    /// else the oldest of all; and whether it is the former.
    pub(super) fn next_to_yield(&self) -> Option<(u32, bool)> {
        let Some(service) = self.dominant else { return self.oldest().map(|slot| (slot, false)) };
        let from = self.origins.service(service).oldest;
        let of_service = |entry: &Entry| self.origins.service_id(entry.side.origin) == service;
        self.oldest_from(from, of_service).map(|slot| (slot, true))
    }

    fn oldest_from(&self, number: u64, wanted: impl Fn(&Entry) -> bool) -> Option<u32> {
        let skipped = usize::try_from(number.saturating_sub(self.front)).unwrap_or(usize::MAX);
        let skipped = skipped.min(self.queue.len());
        let places = (self.front + skipped as u64..).zip(self.queue.range(skipped..));
        let mut live = places.filter(|(number, slot)| self.is_at(**slot, *number));
        live.find(|(_, slot)| wanted(self.entry(**slot))).map(|(_, slot)| *slot)
    }

    fn is_at(&self, slot: u32, number: u64) -> bool {
        let entry = self.entry(slot);
        entry.number == number && entry.phase != Phase::Vacant
    }

    fn hash(&self, side: &EdgeSide) -> u64 {
        hash_of(&self.hasher, side)
    }

    fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// Applies one change. One that was decided on this store always fits.
    pub fn apply(&mut self, change: Change<'_>) {
        match change {
            Change::Origin { id, bytes } => self.origins.birth(id, bytes),
            Change::Sweep => self.origins.sweep(),
            Change::Enter { slot, phase, at_ms, receiver, side } => {
                let entry = Entry { side, at_ms, receiver, phase, ..VACANT };
                self.enter(slot, entry);
            }
            Change::Again { slot, phase, at_ms, span_id } => {
                self.count_waiting(slot, false);
                let number = self.push(slot);
                let entry = self.entry_mut(slot);
                entry.n_held += u16::from(phase == Phase::Waits);
                entry.side.span_id = span_id;
                (entry.phase, entry.at_ms, entry.number) = (phase, at_ms, number);
                self.count_waiting(slot, true);
                self.left(slot);
            }
            Change::Keep { slot } => self.mark(slot, |entry| entry.phase = Phase::Kept),
            Change::Paired { slot } => self.mark(slot, |entry| entry.paired = true),
            Change::Replace { slot, side } => {
                let before = self.entry(slot).side.origin;
                self.mark(slot, |entry| entry.side = side);
                self.hold(side.origin);
                self.release(before);
            }
            Change::Leave { slot } => self.leave(slot),
            Change::Yield { slot } => {
                let Entry { side, number, .. } = *self.entry(slot);
                self.origins.set_oldest(self.origins.service_id(side.origin), number + 1);
                self.leave(slot);
            }
        }
    }

    fn enter(&mut self, slot: u32, mut entry: Entry) {
        assert_eq!(slot, self.next_slot(), "an entry takes the slot that was decided");
        if self.free.pop().is_none() {
            if self.n_slots as usize == self.chunks.len() * CHUNK {
                self.chunks.push(vec![VACANT; CHUNK].into());
            }
            self.n_slots += 1;
        }
        entry.number = self.push(slot);
        let hash = self.hash(&entry.side);
        self.hold(entry.side.origin);
        let Self { index, chunks, hasher, .. } = self;
        let at = |slot: u32| (slot as usize / CHUNK, slot as usize % CHUNK);
        let of = |chunks: &[Box<[Entry]>], slot| chunks[at(slot).0][at(slot).1].side;
        let rehash = |&slot: &u32| hash_of(hasher, &of(chunks, slot));
        match index.entry(hash, |&other| meet(&of(chunks, other), &entry.side), rehash) {
            Vacant(place) => {
                place.insert(slot);
            }
            Occupied(place) => {
                entry.is_shared = true;
                let other = at(*place.get());
                index.insert_unique(hash, slot, rehash);
                chunks[other.0][other.1].is_shared = true;
            }
        }
        *self.entry_mut(slot) = entry;
        self.count_waiting(slot, true);
    }

    fn leave(&mut self, slot: u32) {
        self.count_waiting(slot, false);
        let side = self.entry(slot).side;
        let hash = self.hash(&side);
        let found = self.index.find_entry(hash, |&i| i == slot);
        found.expect("an entry that leaves is in the index").remove();
        self.entry_mut(slot).phase = Phase::Vacant;
        self.free.push(slot);
        self.release(side.origin);
        self.left(slot);
    }

    /// A new place at the end of the queue: its number.
    fn push(&mut self, slot: u32) -> u64 {
        self.queue.push_back(slot);
        self.front + self.queue.len() as u64 - 1
    }

    /// An entry has left its place in the queue: places that are stale now are dropped.
    fn left(&mut self, slot: u32) {
        if self.queue.front() == Some(&slot) {
            self.drop_stale();
        }
        if self.queue.len() > 2 * self.len() + STALE_MIN {
            self.renumber();
        }
    }

    fn mark(&mut self, slot: u32, mark: impl FnOnce(&mut Entry)) {
        self.count_waiting(slot, false);
        mark(self.entry_mut(slot));
        self.count_waiting(slot, true);
    }

    fn count_waiting(&mut self, slot: u32, more: bool) {
        let one = usize::from(self.entry(slot).is_pending());
        self.n_waiting = if more { self.n_waiting + one } else { self.n_waiting - one };
    }

    fn hold(&mut self, origin: u32) {
        let service = self.origins.hold(origin);
        if self.has_more_than_half(service) {
            self.dominant = Some(service);
        }
    }

    fn release(&mut self, origin: u32) {
        let service = self.origins.release(origin);
        if self.dominant == Some(service) && !self.has_more_than_half(service) {
            self.dominant = None;
        }
    }

    fn has_more_than_half(&self, service: u32) -> bool {
        self.origins.service(service).n_sides > self.max_items / 2
    }

    fn drop_stale(&mut self) {
        while let Some(&slot) = self.queue.front()
            && !self.is_at(slot, self.front)
        {
            self.queue.pop_front();
            self.front += 1;
        }
    }

    fn renumber(&mut self) {
        let places: Vec<u32> = (self.front..)
            .zip(&self.queue)
            .filter(|(number, slot)| self.is_at(**slot, *number))
            .map(|(_, slot)| *slot)
            .collect();
        for (number, &slot) in (self.front..).zip(&places) {
            self.entry_mut(slot).number = number;
        }
        self.origins.forget_oldest();
        self.queue = places.into();
    }

    /// What is held: entries and origins that live, and the room of each table.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> Sizes {
        let mut sizes = self.origins.sizes();
        sizes.entries = self.len();
        sizes.slots = self.n_slots as usize;
        (sizes.index, sizes.queue) = (self.index.capacity(), self.queue.len());
        sizes
    }

    /// Everything but the index, which follows.
    pub fn dump(&self, out: &mut Vec<u8>) {
        self.origins.dump(out);
        let mut text = Vec::new();
        for slot in 0..self.n_slots {
            let entry = self.entry(slot);
            text.clear();
            if entry.phase != Phase::Vacant {
                entry.side.encode(&mut text);
                text.extend_from_slice(&entry.at_ms.to_le_bytes());
                put_number(&mut text, entry.number.into());
                put_number(&mut text, entry.receiver.into());
                text.extend_from_slice(&[entry.phase as u8, u8::from(entry.paired)]);
                put_number(&mut text, entry.n_held.into());
            }
            put_bytes(out, &text);
        }
        for slots in [&self.free[..], &self.queue.iter().copied().collect::<Vec<_>>()] {
            put_number(out, slots.len() as u128);
            slots.iter().for_each(|&slot| put_number(out, slot.into()));
        }
        put_number(out, self.front.into());
        put_number(out, self.dominant.map_or(0, |service| u128::from(service) + 1));
    }
}
