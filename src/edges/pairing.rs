//! What becomes of a side that comes: whom it meets. Pure decisions, each written into the book before
//! the next one is made (reference/tempo.md 3.3 to 3.9, CONTRACT.md 8).

use std::collections::BTreeMap;

use super::change::Change;
use super::counts::{Connection, End};
use super::ends::{end_alone, make_room, virtual_edge};
use super::settings::{Settings, Work};
use super::store::{Entry, Phase, Store};
use crate::batch::{Class, EdgeSide, Labels, Link, Origin, Role, push_label};

/// Sides and links of one key that are kept at the same time: what bounds the search for copies. Each
/// that comes looks at all of them, under the tenant's lock.
const SAME_KEY_MAX: usize = 64;
/// Receiving sides whose links wait for one sender. One that is there is found before: when it came, it
/// took all links that waited.
const LINKED_MAX: usize = 32;

/// Where decisions are written. A change is in the store when the call returns.
pub trait Book {
    fn settings(&self) -> &Settings;
    fn store(&self) -> &Store;
    fn change(&mut self, change: Change<'_>);
    /// An edge is complete; its sides' origins are in the store.
    fn complete(&mut self, edge: &Edge);
    /// A side has met its end.
    fn end(&mut self, end: End);
    /// Some of a side's links are not followed: too many wait where they lead, or there is no room.
    fn links_dropped(&mut self);
    /// What the current batch has done so far.
    fn work(&mut self) -> &mut Work;
}

/// A complete edge. A side that is missing is named by the other one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    pub client: Option<EdgeSide>,
    pub server: Option<EdgeSide>,
    pub connection: Connection,
    pub failed: bool,
}

/// The id of an origin, in the form of [`Origin`], which the store knows from now on.
pub fn origin(book: &mut impl Book, bytes: &[u8]) -> u32 {
    book.store().find_origin(bytes).unwrap_or_else(|| {
        let id = book.store().next_origin();
        book.change(Change::Origin { id, bytes });
        id
    })
}

/// Who is there already.
#[derive(Debug, Default)]
struct Met {
    n: usize,
    /// A calling side that waits or is kept.
    caller: Option<u32>,
    /// The first called side that waits and has not paired.
    waiting: Option<u32>,
    /// Where a calling side comes: called sides that wait, and contexts that links name.
    called: Vec<u32>,
    links: Vec<u32>,
    /// The same span was there.
    copy: bool,
    /// The key is complete.
    done: bool,
    /// The other side was filtered; and the same side.
    refused: bool,
    refusal: Option<u32>,
}

/// A side has come. `side.origin` is the store's id of it; `links` are its own, each context once,
/// without its parent and itself.
pub fn arrive(book: &mut impl Book, mut side: EdgeSide, links: &[Link], at_ms: i64) {
    let remembers = book.settings().remember_completed;
    if side.root && !remembers {
        // In Tempo all roots of a trace have one key.
        side.meets_at = [0; 8];
    }
    let mut arrival = Arrival { book, side, at_ms };
    let met = arrival.met();
    if side.class == Class::Filtered {
        arrival.refuse(&met);
    } else if remembers && met.copy {
        arrival.book.end(End::Duplicate);
    } else if met.refused {
        arrival.book.end(End::Expired);
    } else if side.class == Class::Database {
        arrival.database(&met);
    } else if side.seeks_answer() {
        arrival.call(&met);
    } else {
        let entered = arrival.called(&met, !links.is_empty());
        let is_followed = |link: &&Link| entered.is_some_and(|slot| arrival.link(slot, link));
        if links.iter().filter(is_followed).count() < links.len() {
            arrival.book.links_dropped();
        }
    }
}

struct Arrival<'b, B> {
    book: &'b mut B,
    side: EdgeSide,
    at_ms: i64,
}

impl<B: Book> Arrival<'_, B> {
    fn met(&self) -> Met {
        let (store, side) = (self.book.store(), &self.side);
        let mut met = Met::default();
        // Many may wait at one place: they are put in order only for the one that meets them.
        let comes_calling = side.seeks_answer();
        let is_before = |one: &Entry, other: u32| one.number() < store.entry(other).number();
        store.find(side, |slot, entry| {
            let other = &entry.side;
            met.n += 1;
            match entry.phase {
                Phase::Vacant => {}
                Phase::Waits | Phase::Kept => {
                    met.copy |=
                        other.role.calls() == side.role.calls() && other.span_id == side.span_id;
                    if other.seeks_answer() {
                        met.caller = Some(slot);
                    } else if comes_calling {
                        met.called.push(slot);
                    } else if entry.is_pending()
                        && met.waiting.is_none_or(|first| is_before(entry, first))
                    {
                        met.waiting = Some(slot);
                    }
                }
                // The key of a calling span is its id: whoever completed the key has seen it.
                Phase::Done => {
                    met.done = true;
                    met.copy |= side.role.calls() || other.span_id == side.span_id;
                }
                Phase::Link if comes_calling => met.links.push(slot),
                Phase::Link => {}
                Phase::Refuses if other.role.calls() == side.role.calls() => {
                    met.refusal = Some(slot);
                }
                Phase::Refuses => met.refused = true,
            }
            false
        });
        // The index has them in no order.
        met.called.sort_unstable_by_key(|&slot| store.entry(slot).number());
        met.links.sort_unstable_by_key(|&slot| store.entry(slot).number());
        met
    }

    /// A filter left the span out: neither does its other side make an edge.
    fn refuse(&mut self, met: &Met) {
        if self.side.is_alone() {
            return;
        }
        let others = if self.side.role.calls() { &met.called[..] } else { met.caller.as_slice() };
        for &slot in others {
            let entry = *self.book.store().entry(slot);
            if entry.phase == Phase::Waits {
                self.leave(slot, End::Expired);
            }
        }
        match met.refusal {
            Some(slot) => self.again(slot, Phase::Refuses, self.side.span_id),
            None => {
                self.enter(Phase::Refuses, 0, self.side);
            }
        }
    }

    /// A database call is an edge at once.
    fn database(&mut self, met: &Met) {
        let mut failed = self.side.failed;
        if !self.book.settings().remember_completed {
            for &slot in met.called.iter().chain(met.caller.as_slice()) {
                failed |= self.book.store().entry(slot).side.failed;
                self.leave(slot, End::Overwritten);
            }
        }
        let (client, connection) = (Some(self.side), Connection::Database);
        self.book.complete(&Edge { client, server: None, connection, failed });
        self.book.end(End::Database);
        if self.book.settings().remember_completed {
            self.enter(Phase::Done, 0, self.side);
        }
    }

    fn call(&mut self, met: &Met) {
        let sends = self.side.class == Class::Sends;
        let keeps = sends || self.book.settings().count_every_pair;
        let mut n_pairs = 0;
        for &slot in &met.called {
            if n_pairs > 0 && !self.may_end_another() {
                break;
            }
            if n_pairs == 0 || keeps {
                let server = self.book.store().entry(slot).side;
                self.complete(self.side, server);
                self.answered(slot);
                n_pairs += 1;
            } else {
                self.leave(slot, End::Surplus);
            }
        }
        for &slot in met.links.iter().filter(|_| sends) {
            if n_pairs > 0 && !self.may_end_another() {
                break;
            }
            let link = *self.book.store().entry(slot);
            if let Some(receiver) = self.book.store().receiver_of(&link) {
                let server = self.book.store().entry(receiver).side;
                self.pair(self.side, server, Connection::Messaging);
                self.paired_by_link(receiver);
                n_pairs += 1;
            }
            self.book.change(Change::Leave { slot });
        }
        if n_pairs > 0 {
            self.book.end(End::Paired);
            if let Some(slot) = met.caller {
                // A copy of another kind, which the links did not mean: one place has one caller.
                self.leave(slot, End::Overwritten);
            }
            if keeps {
                self.enter(Phase::Kept, 0, self.side);
            }
            return;
        }
        if let Some(slot) = met.caller {
            if self.book.store().entry(slot).phase == Phase::Waits {
                return self.replace(slot);
            }
            self.book.change(Change::Leave { slot });
        }
        self.enter(Phase::Waits, 0, self.side);
    }

    /// Answers the slot of the side, if it is in the store.
    fn called(&mut self, met: &Met, has_links: bool) -> Option<u32> {
        let &Settings { remember_completed, count_every_pair, .. } = self.book.settings();
        if let Some(slot) = met.caller {
            return self.answer(slot, met.n, has_links);
        }
        let overwrites = !remember_completed && !count_every_pair && !has_links;
        match met.waiting {
            // One that a link has paired is no longer to be overwritten.
            Some(slot) if overwrites => self.replace(slot),
            _ if (met.done && !has_links) || met.n >= SAME_KEY_MAX => {
                self.book.end(End::Surplus);
            }
            _ => return self.enter(Phase::Waits, 0, self.side),
        }
        None
    }

    /// The calling side is there.
    fn answer(&mut self, slot: u32, n_there: usize, has_links: bool) -> Option<u32> {
        let caller = *self.book.store().entry(slot);
        let sends = caller.side.class == Class::Sends;
        let keeps = sends || self.book.settings().count_every_pair;
        self.complete(caller.side, self.side);
        self.book.end(End::Paired);
        if caller.phase == Phase::Waits {
            self.book.end(End::Paired);
        }
        let remember = self.book.settings().remember_completed;
        match caller.phase {
            Phase::Waits if keeps => self.book.change(Change::Keep { slot }),
            Phase::Waits if remember && !has_links => {
                self.again(slot, Phase::Done, self.side.span_id);
            }
            Phase::Waits => self.book.change(Change::Leave { slot }),
            _ => {}
        }
        let by_itself = has_links || (keeps && remember);
        if by_itself && n_there < SAME_KEY_MAX {
            self.enter(Phase::Done, 0, self.side)
        } else {
            None
        }
    }

    /// A context that a link of the side in `receiver` names; answers whether it is followed.
    fn link(&mut self, receiver: u32, link: &Link) -> bool {
        let side = EdgeSide {
            trace_id: link.trace_id,
            meets_at: link.span_id,
            role: Role::Consumer,
            class: Class::Plain,
            root: false,
            ..self.side
        };
        let entry = Entry::of_link(side, receiver);
        if self.book.store().receiver_of(&entry) != Some(receiver) {
            // A store smaller than the links of one span has sent the side away.
            return false;
        }
        let store = self.book.store();
        let (mut n, mut sender) = (0, None);
        store.find(&side, |slot, Entry { side, phase, .. }| {
            n += usize::from(*phase == Phase::Link);
            if side.class == Class::Sends && matches!(phase, Phase::Waits | Phase::Kept) {
                sender = Some(slot);
            }
            sender.is_some() || n == LINKED_MAX
        });
        if let Some(slot) = sender {
            let sender = *self.book.store().entry(slot);
            self.pair(sender.side, self.side, Connection::Messaging);
            if sender.phase == Phase::Waits {
                self.book.end(End::Paired);
                self.book.change(Change::Keep { slot });
            }
            self.paired_by_link(receiver);
        } else {
            return n < LINKED_MAX && self.enter(Phase::Link, receiver, side).is_some();
        }
        true
    }

    /// Another copy, or another root of the trace, as in Tempo: what the new one does not know of its
    /// peer and of the dimensions is kept.
    fn replace(&mut self, slot: u32) {
        let old = self.book.store().entry(slot).side;
        let mut side = EdgeSide { failed: self.side.failed || old.failed, ..self.side };
        let [of_old, of_new] = [old, side].map(|side| self.book.store().origin(side.origin));
        let peer = if of_new.peer.is_empty() { of_old.peer } else { of_new.peer };
        let mut all: BTreeMap<&str, &str> = of_old.dimensions.iter().collect();
        all.extend(of_new.dimensions.iter());
        let (mut labels, mut bytes) = (Vec::new(), Vec::new());
        all.into_iter().for_each(|(name, value)| push_label(&mut labels, name, value));
        Origin { peer, dimensions: Labels::new(&labels), ..of_new }.push(&mut bytes);
        side.origin = origin(self.book, &bytes);
        self.book.end(End::Overwritten);
        self.book.change(Change::Replace { slot, side });
    }

    /// The one that came last says what kind of connection it is (reference/tempo.md 3.4); messages that
    /// are followed by their links are messages whoever came last.
    fn complete(&mut self, client: EdgeSide, server: EdgeSide) {
        let message = client.class == Class::Sends && server.role == Role::Consumer;
        let connection = if message || self.side.role.is_messaging() {
            Connection::Messaging
        } else {
            Connection::Plain
        };
        self.pair(client, server, connection);
    }

    fn pair(&mut self, client: EdgeSide, server: EdgeSide, connection: Connection) {
        let failed = client.failed || server.failed;
        let (client, server) = (Some(client), Some(server));
        self.book.complete(&Edge { client, server, connection, failed });
    }

    /// A called side that waited has been paired with the one that has come.
    fn answered(&mut self, slot: u32) {
        let entry = *self.book.store().entry(slot);
        if entry.is_pending() {
            self.book.end(End::Paired);
        }
        if self.book.settings().remember_completed {
            self.again(slot, Phase::Done, entry.side.span_id);
        } else {
            self.book.change(Change::Leave { slot });
        }
    }

    fn paired_by_link(&mut self, receiver: u32) {
        let entry = *self.book.store().entry(receiver);
        if entry.is_pending() {
            self.book.end(End::Paired);
        }
        let meets_parent = entry.phase == Phase::Waits && !entry.side.is_alone();
        if self.book.settings().remember_completed && !meets_parent {
            // It is known for one `wait` from the last pair on.
            self.again(receiver, Phase::Done, entry.side.span_id);
        } else if entry.is_pending() {
            self.book.change(Change::Paired { slot: receiver });
        }
    }

    /// Of those that the side meets besides the first.
    fn may_end_another(&mut self) -> bool {
        let max = self.book.settings().budget.others;
        let others = &mut self.book.work().others;
        *others += 1;
        *others <= max
    }

    fn leave(&mut self, slot: u32, end: End) {
        if self.book.store().entry(slot).is_pending() {
            self.book.end(end);
        }
        self.book.change(Change::Leave { slot });
    }

    fn again(&mut self, slot: u32, phase: Phase, span_id: [u8; 8]) {
        self.book.change(Change::Again { slot, phase, at_ms: self.at_ms, span_id });
    }

    /// Makes room first; where `max_items` was lowered the store shrinks by one with each that comes.
    /// Answers the slot; none where the batch may send nobody away any more, and the side has its end.
    fn enter(&mut self, phase: Phase, receiver: u32, side: EdgeSide) -> Option<u32> {
        for _ in 0..2 {
            if self.book.store().is_full() && !make_room(self.book) {
                if phase == Phase::Waits {
                    let edge = virtual_edge(self.book, &side);
                    end_alone(self.book, edge, End::Evicted);
                }
                return None;
            }
        }
        let slot = self.book.store().next_slot();
        self.book.change(Change::Enter { slot, phase, at_ms: self.at_ms, receiver, side });
        Some(slot)
    }
}
