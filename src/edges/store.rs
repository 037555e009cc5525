//! The store of edge sides: found by where they meet, in a queue by their time.
//!
//! Entries stand in a slab; the queue holds their slots in the order of arrival. An entry that leaves,
//! or goes to the end of the queue again, leaves a gap behind; gaps are dropped at the front, and all
//! at once when they are more than the entries.

use std::collections::VecDeque;
use std::hint::black_box;

use ahash::RandomState;

use super::change::Change;
use super::index::Index;
use super::origins::Origins;
use crate::batch::encoding::{BadEncoding, put_bytes, put_number};
use crate::batch::{EdgeSide, Origin};

/// Entries in one piece of the slab: growing moves none.
const CHUNK: usize = 1024;
/// What a piece takes: entries, and their places in the queue and in the index while these grow.
pub const CHUNK_BYTES: usize = CHUNK * (size_of::<Entry>() + 48);
/// Sides whose places are fetched together.
pub const WARM: usize = 16;
/// A place of the queue whose entry has left it.
const GAP: u32 = u32::MAX;
/// Gaps that are not worth the trouble.
const GAPS_MIN: usize = 4096;
/// Origins that nobody refers to, beyond which they are forgotten.
const UNUSED_MAX: usize = 1024;

#[derive(Debug)]
pub struct Store {
    /// Of the hash: numbers without a pattern, whatever the seed.
    keys: [u64; 4],
    index: Index,
    chunks: Vec<Box<[Entry; CHUNK]>>,
    n_slots: u32,
    /// Slots that are free; the last one is used next.
    free: Vec<u32>,
    /// Slots; the place at the front has the number `front`.
    queue: VecDeque<u32>,
    front: u64,
    origins: Origins,
    max_items: usize,
    /// The service that has more than half of `max_items`: it guides who gives way, and is no state.
    dominant: Option<u32>,
    n_pending: usize,
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
    /// How often it was held for its real other side.
    pub(super) n_held: u16,
}

/// What an entry is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    // Kept stable: these numbers stand in logs, and are places in `ALL`.
    Vacant = 0,
    /// It waits for its other side.
    Waits = 1,
    /// A calling side that has paired and may pair with more.
    Kept = 2,
    /// The key is complete; copies of its spans are known.
    Done = 3,
    /// A context that a receiving side's link names: it waits for the sender there.
    Link = 4,
    /// A filter left the span out: its other side makes no edge.
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

/// The two halves of a product, mixed: nobody knows what it is who does not know the seed.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
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
        let phase = Self::ALL.get(usize::from(byte)).filter(|phase| **phase != Self::Vacant);
        phase.copied().ok_or(BadEncoding("phase"))
    }
}

const VACANT: Entry = Entry {
    side: EdgeSide::NOBODY,
    at_ms: 0,
    number: 0,
    receiver: 0,
    phase: Phase::Vacant,
    paired: false,
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
            keys: [0_u64, 1, 2, 3].map(|n| hasher.hash_one(n)),
            origins: Origins::new(hasher),
            index: Index::new(),
            chunks: Vec::new(),
            n_slots: 0,
            free: Vec::new(),
            queue: VecDeque::new(),
            front: 0,
            max_items,
            dominant: None,
            n_pending: 0,
        }
    }

    /// Sides that wait and keys that are remembered.
    pub fn len(&self) -> usize {
        self.n_slots as usize - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_full(&self) -> bool {
        self.len() >= self.max_items
    }

    /// Entries that the pieces of the slab hold, taken or not.
    pub fn n_held(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// Whether the next entry takes another piece of the slab.
    pub fn must_grow(&self) -> bool {
        self.free.is_empty() && self.n_slots as usize == self.n_held()
    }

    /// What the store holds, with its origins.
    pub fn held_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES + self.origins.held_bytes()
    }

    /// What its origins hold.
    pub fn origin_bytes(&self) -> usize {
        self.origins.held_bytes()
    }

    /// Sides that have not met their end.
    pub fn n_pending(&self) -> usize {
        self.n_pending
    }

    pub fn origin(&self, id: u32) -> Origin<'_> {
        self.origins.get(id)
    }

    pub fn find_origin(&self, bytes: &[u8]) -> Option<u32> {
        self.origins.find(bytes)
    }

    pub(super) fn next_origin(&self) -> u32 {
        self.origins.next_id()
    }

    /// Whether nobody waits and there are origins to sweep.
    pub fn is_idle(&self) -> bool {
        self.is_empty() && self.origins.n_unused() > 0
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

    /// The first that is wanted of the entries that meet where `side` does, in no order.
    #[inline]
    pub(super) fn find(
        &self,
        side: &EdgeSide,
        mut wanted: impl FnMut(u32, &Entry) -> bool,
    ) -> Option<u32> {
        self.index.find(self.hash(side), |slot| {
            let entry = self.entry(slot);
            meet(&entry.side, side) && wanted(slot, entry)
        })
    }

    /// Brings the places where these sides meet nearer: their memory is waited for together.
    pub fn warm(&self, sides: &[EdgeSide]) {
        let mut slots = [None; WARM];
        for (slot, side) in slots.iter_mut().zip(sides) {
            *slot = self.index.find(self.hash(side), |_| true);
        }
        for slot in slots.into_iter().flatten() {
            black_box((self.entry(slot).side.start_unix_nano, self.entry(slot).phase));
        }
    }

    /// The same for the places of these entries.
    pub(super) fn warm_slots(&self, slots: &[u32]) {
        for &slot in slots {
            black_box(self.index.find(self.hash(&self.entry(slot).side), |_| true));
        }
    }

    /// Entries at the front of the queue, as long as they are wanted, at most `n`.
    pub(super) fn first_while(&self, n: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<u32> {
        let slots = self.queue.iter().copied().filter(|slot| *slot != GAP);
        slots.take_while(|&slot| wanted(self.entry(slot))).take(n).collect()
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

    /// The entry at the front of the queue, which is never a gap.
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
        let places = self.queue.range(skipped..);
        let mut places = places.copied().filter(|slot| *slot != GAP);
        places.find(|&slot| wanted(self.entry(slot)))
    }

    fn hash(&self, side: &EdgeSide) -> u64 {
        let trace = u128::from_le_bytes(side.trace_id);
        let [a, b, c, d] = self.keys;
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
        let of_trace = folded(trace as u64 ^ a, (trace >> 64) as u64 ^ b);
        folded(of_trace ^ u64::from_le_bytes(side.meets_at) ^ c, d | 1)
    }

    fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// From now on it may hold so many. Who is too many leaves as others come.
    pub fn resize(&mut self, max_items: usize) {
        self.max_items = max_items;
        self.dominant = self.origins.largest_service();
        self.dominant = self.dominant.filter(|&service| self.has_more_than_half(service));
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
                self.mark(slot, |entry| {
                    (entry.phase, entry.side.span_id) = (phase, span_id);
                });
                self.requeue(slot, at_ms);
            }
            Change::Hold { slot, at_ms, n_held } => {
                self.entry_mut(slot).n_held = n_held;
                self.requeue(slot, at_ms);
            }
            Change::Keep { slot } => self.mark(slot, |entry| entry.phase = Phase::Kept),
            Change::Paired { slot } => self.mark(slot, |entry| entry.paired = true),
            Change::Replace { slot, side } => {
                let Entry { side: before, number, .. } = *self.entry(slot);
                self.mark(slot, |entry| entry.side = side);
                // In this order nobody holds more than there is, even for a moment.
                self.release(before.origin);
                self.hold(side.origin);
                let service = self.origins.service_id(side.origin);
                let oldest = self.origins.service(service).oldest.min(number);
                self.origins.set_oldest(service, oldest);
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
                self.chunks.push(Box::new([VACANT; CHUNK]));
            }
            self.n_slots += 1;
        }
        entry.number = self.push(slot);
        let hash = self.hash(&entry.side);
        self.hold(entry.side.origin);
        self.index.insert(hash, slot);
        *self.entry_mut(slot) = entry;
        self.count_pending(slot, true);
    }

    fn leave(&mut self, slot: u32) {
        self.count_pending(slot, false);
        let side = self.entry(slot).side;
        let hash = self.hash(&side);
        self.index.remove(hash, slot);
        self.leave_place(slot);
        self.entry_mut(slot).phase = Phase::Vacant;
        self.free.push(slot);
        self.release(side.origin);
        if self.is_empty() && self.chunks.len() > 1 {
            self.give_up_chunks();
        }
    }

    /// Nobody is there: what a flood took is given back.
    fn give_up_chunks(&mut self) {
        self.chunks = Vec::new();
        self.n_slots = 0;
        self.free = Vec::new();
        self.queue = VecDeque::new();
        self.index = Index::new();
    }

    fn requeue(&mut self, slot: u32, at_ms: i64) {
        self.leave_place(slot);
        let number = self.push(slot);
        let entry = self.entry_mut(slot);
        (entry.at_ms, entry.number) = (at_ms, number);
    }

    /// A new place at the end of the queue: its number.
    fn push(&mut self, slot: u32) -> u64 {
        self.queue.push_back(slot);
        self.front + self.queue.len() as u64 - 1
    }

    /// An entry leaves its place in the queue. There is never a gap at the front.
    fn leave_place(&mut self, slot: u32) {
        let place = self.entry(slot).number - self.front;
        self.queue[usize::try_from(place).expect("a place of the queue")] = GAP;
        while self.queue.front() == Some(&GAP) {
            self.queue.pop_front();
            self.front += 1;
        }
        if self.queue.len() > 2 * self.len() + GAPS_MIN {
            self.close_gaps();
        }
    }

    fn mark(&mut self, slot: u32, mark: impl FnOnce(&mut Entry)) {
        self.count_pending(slot, false);
        mark(self.entry_mut(slot));
        self.count_pending(slot, true);
    }

    fn count_pending(&mut self, slot: u32, more: bool) {
        let one = usize::from(self.entry(slot).is_pending());
        self.n_pending = if more { self.n_pending + one } else { self.n_pending - one };
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

    fn close_gaps(&mut self) {
        self.queue.retain(|slot| *slot != GAP);
        for (number, place) in (self.front..).zip(0..self.queue.len()) {
            let slot = self.queue[place];
            self.entry_mut(slot).number = number;
        }
        self.origins.forget_oldest();
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

    /// Everything but the index, which follows, and what only guides.
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
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
