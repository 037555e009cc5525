//! How a side ends without the other one: its time is over, it gives way, everything ends. Decisions as
//! those of the sides that come.

use super::change::Change;
use super::counts::{Connection, End};
use super::pairing::{Book, Edge};
use super::store::{Entry, Phase, WARM};
use crate::batch::EdgeSide;

/// Entries that end before what they complete is counted.
const TOGETHER: usize = 1_000;

/// Ends what is over first, at most `n_max` entries and some at once; answers how many there were.
pub fn expire(book: &mut impl Book, at_ms: i64, n_max: usize) -> usize {
    let wait_ms = i64::try_from(book.settings().wait.as_millis()).unwrap_or(i64::MAX);
    let is_over = |entry: &Entry| entry.at_ms.saturating_add(wait_ms) <= at_ms;
    let over = book.store().first_while(n_max.min(TOGETHER), is_over);
    // Those that stay go to the end of the queue in the order of their times.
    let mut stay = Vec::new();
    for slots in over.chunks(WARM) {
        book.store().warm_slots(slots);
        for &slot in slots {
            match expire_one(book, slot, at_ms, wait_ms) {
                Some(change) => stay.push(change),
                None => book.change(Change::Leave { slot }),
            }
        }
    }
    stay.sort_by_key(|(at_ms, _)| *at_ms);
    stay.into_iter().for_each(|(_, change)| book.change(change));
    over.len()
}

/// The time of one entry is over: what becomes of it, if it stays, and the time that it has then.
fn expire_one(
    book: &mut impl Book,
    slot: u32,
    at_ms: i64,
    wait_ms: i64,
) -> Option<(i64, Change<'static>)> {
    let entry = *book.store().entry(slot);
    let edge = if entry.is_pending() { virtual_edge(book, &entry.side) } else { None };
    if edge.is_some() && entry.side.seeks_answer() {
        // However long nobody looked, it is held as often as its time was over since.
        let n_over = at_ms.saturating_sub(entry.at_ms) / wait_ms.max(1);
        let n_held = i64::from(entry.n_held).saturating_add(n_over);
        if let Ok(n_held) = u16::try_from(n_held)
            && n_held <= book.settings().hold_virtual
        {
            let at_ms = entry.at_ms + n_over * wait_ms;
            return Some((at_ms, Change::Hold { slot, at_ms, n_held }));
        }
    }
    // One that was kept may have paired a moment ago.
    let completed = edge.is_some() || entry.phase == Phase::Kept;
    if entry.is_pending() {
        end_alone(book, edge, End::Expired);
    }
    let span_id = entry.side.span_id;
    let done = Change::Again { slot, phase: Phase::Done, at_ms, span_id };
    (completed && book.settings().remember_completed).then_some((at_ms, done))
}

/// The end of everything, some at once as in [`expire`]: roots have been called by somebody, what else
/// waits has waited in vain.
pub fn close(book: &mut impl Book) -> bool {
    let over = book.store().first_while(TOGETHER, |_| true);
    for &slot in &over {
        let entry = *book.store().entry(slot);
        if entry.is_pending() {
            let edge = virtual_edge(book, &entry.side).filter(|edge| edge.client.is_none());
            end_alone(book, edge, End::Expired);
        }
        book.change(Change::Leave { slot });
    }
    over.len() == TOGETHER
}

/// The store is full: somebody gives way. A side that would become a virtual edge becomes one; false, and
/// nothing has changed, where that would be one too many for the current batch.
pub fn make_room(book: &mut impl Book) -> bool {
    let (slot, of_service) =
        book.store().next_to_yield().expect("a full store has an oldest entry");
    let entry = *book.store().entry(slot);
    let edge = if entry.is_pending() { virtual_edge(book, &entry.side) } else { None };
    let max = book.settings().budget.virtual_edges;
    if edge.is_some() && book.work().virtual_edges >= max {
        return false;
    }
    if entry.is_pending() {
        end_alone(book, edge, End::Evicted);
    }
    book.change(if of_service { Change::Yield { slot } } else { Change::Leave { slot } });
    true
}

/// A side ends alone: as a virtual edge, if it makes one.
pub(super) fn end_alone(book: &mut impl Book, edge: Option<Edge>, otherwise: End) {
    match edge {
        Some(edge) => {
            book.work().virtual_edges += 1;
            book.complete(&edge);
            book.end(End::Virtual);
        }
        None => book.end(otherwise),
    }
}

/// The edge of a side whose other side does not come, if there is one.
pub(super) fn virtual_edge(book: &impl Book, side: &EdgeSide) -> Option<Edge> {
    let settings = book.settings();
    let has_peer = || !book.store().origin(side.origin).peer.is_empty();
    let (client, server) = if side.role.calls() {
        (settings.virtual_server && has_peer()).then_some((Some(*side), None))?
    } else {
        (side.root && !settings.virtual_caller.is_empty()).then_some((None, Some(*side)))?
    };
    Some(Edge { client, server, connection: Connection::VirtualNode, failed: side.failed })
}
