//! Who gives way, against a plain list.

use proptest::prelude::*;

use super::*;
use crate::batch::Labels;

const MAX: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    Enter(u32),
    /// The entry at this place of the list, to the end again.
    Again(usize),
    Leave(usize),
    Replace(usize, u32),
    /// Who is next to yield does so.
    Yield,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u32).prop_map(Step::Enter),
        1 => (0..MAX).prop_map(Step::Again),
        1 => (0..MAX).prop_map(Step::Leave),
        2 => (0..MAX, 0..3_u32).prop_map(|(at, service)| Step::Replace(at, service)),
        2 => Just(Step::Yield),
    ]
}

/// Slots with their services, the oldest first.
type List = Vec<(u32, u32)>;

/// The oldest of the service that has more than half of the room, else the oldest of all.
fn expected(list: &List) -> Option<(u32, bool)> {
    let n_of = |service: u32| list.iter().filter(|(_, other)| *other == service).count();
    let large = list.iter().find(|(_, service)| n_of(*service) > MAX / 2);
    match large {
        Some((slot, _)) => Some((*slot, true)),
        None => list.first().map(|(slot, _)| (*slot, false)),
    }
}

fn side(n: u64, origin: u32) -> EdgeSide {
    EdgeSide { span_id: n.to_le_bytes(), meets_at: n.to_le_bytes(), origin, ..EdgeSide::NOBODY }
}

proptest! {
    /// forall steps: the one that gives way is the one that a list would name.
    #[test]
    fn the_oldest_of_the_largest_service_gives_way(steps in prop::collection::vec(step(), 0..80)) {
        let mut store = Store::new(MAX, [1, 2, 3, 4]);
        for id in 0..3 {
            let (service, dimensions) = (format!("service-{id}"), Labels::new(&[]));
            let mut bytes = Vec::new();
            Origin { service: &service, peer: "", dimensions }.push(&mut bytes);
            store.apply(Change::Origin { id, bytes: &bytes });
        }
        let mut list = List::new();
        for (n, step) in (1_u64..).zip(steps) {
            match step {
                Step::Enter(service) if list.len() < MAX => {
                    let (slot, side) = (store.next_slot(), side(n, service));
                    let phase = Phase::Waits;
                    store.apply(Change::Enter { slot, phase, at_ms: 0, receiver: 0, side });
                    list.push((slot, service));
                }
                Step::Again(at) if at < list.len() => {
                    let (slot, service) = list.remove(at);
                    let span_id = store.entry(slot).side.span_id;
                    store.apply(Change::Again { slot, phase: Phase::Done, at_ms: 0, span_id });
                    list.push((slot, service));
                }
                Step::Leave(at) if at < list.len() => {
                    store.apply(Change::Leave { slot: list.remove(at).0 });
                }
                Step::Replace(at, service) if at < list.len() => {
                    let slot = list[at].0;
                    let side = EdgeSide { origin: service, ..store.entry(slot).side };
                    store.apply(Change::Replace { slot, side });
                    list[at].1 = service;
                }
                Step::Yield => {
                    let Some((slot, of_service)) = store.next_to_yield() else { continue };
                    list.retain(|(other, _)| *other != slot);
                    store.apply(if of_service {
                        Change::Yield { slot }
                    } else {
                        Change::Leave { slot }
                    });
                }
                _ => {}
            }
            prop_assert_eq!(store.next_to_yield(), expected(&list));
            prop_assert_eq!((store.len(), store.oldest()), (list.len(), list.first().map(|e| e.0)));
        }
    }
}

/// Ids as they come: counted up, with zeros in front, or alike but for a few bits.
#[test]
fn the_hash_spreads_ids_with_a_pattern_whatever_the_seed() {
    const BITS: u32 = 14;
    for seed in [[0; 4], [1, 2, 3, 4], [u64::MAX; 4]] {
        let store = Store::new(1, seed);
        for (of_trace, of_span) in [(0, 64), (64, 1), (1 << 40, 0), (1, 1 << 56), (0, 1)] {
            let mut n_at = vec![0_u32; 1 << BITS];
            for n in 0..1_u64 << BITS {
                let mut trace_id = [0; 16];
                trace_id[8..].copy_from_slice(&n.wrapping_mul(of_trace).to_be_bytes());
                let meets_at = n.wrapping_mul(of_span).to_be_bytes();
                let hash = store.hash(&EdgeSide { trace_id, meets_at, ..EdgeSide::NOBODY });
                n_at[usize::try_from(hash >> (64 - BITS)).expect("a few bits")] += 1;
            }
            let most = n_at.iter().max();
            assert!(most < Some(&16), "{most:?} of {seed:?}, {of_trace}, {of_span}");
        }
    }
}
