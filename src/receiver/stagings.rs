//! Large requests are staged a few at a time, so that what they take together is bounded. Tenants take
//! turns: one that sends many large requests does not keep another's waiting behind all of them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::stage::Stager;
use crate::tenant::TenantId;

#[derive(Debug)]
pub(super) struct Stagings {
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: Vec<Stager>,
    waiting: BTreeMap<TenantId, VecDeque<oneshot::Sender<Place>>>,
    /// Whose turn it was.
    last: Option<TenantId>,
}

/// A stager to stage one request with; dropped, it goes to the next who waits.
#[derive(Debug)]
pub(super) struct Place {
    /// `None` once it has been given on.
    stager: Option<Stager>,
    stagings: Arc<Stagings>,
}

impl Stagings {
    pub(super) fn new(n: usize, max_bytes: usize) -> Arc<Self> {
        let free = (0..n).map(|_| Stager::new(max_bytes)).collect();
        Arc::new(Self { max_bytes, state: Mutex::new(State { free, ..State::default() }) })
    }

    /// Waits for its turn; who waits is bounded by the pool that its body is in.
    pub(super) async fn place(self: &Arc<Self>, tenant: &TenantId) -> Place {
        loop {
            let turn = {
                let mut state = self.lock();
                if let Some(stager) = state.free.pop() {
                    return self.place_with(stager);
                }
                let (sender, turn) = oneshot::channel();
                state.waiting.entry(tenant.clone()).or_default().push_back(sender);
                turn
            };
            if let Ok(place) = turn.await {
                return place;
            }
        }
    }

    fn place_with(self: &Arc<Self>, stager: Stager) -> Place {
        Place { stager: Some(stager), stagings: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

impl Place {
    pub(super) fn stager(&mut self) -> &mut Stager {
        let max_bytes = self.stagings.max_bytes;
        self.stager.get_or_insert_with(|| Stager::new(max_bytes))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Given on by the one that has been sent out in its place.
        let Some(stager) = self.stager.take() else { return };
        // A panic may have left it in any state.
        let panicked = std::thread::panicking();
        let stager = if panicked { Stager::new(self.stagings.max_bytes) } else { stager };
        let mut place = self.stagings.place_with(stager);
        let mut state = self.stagings.lock();
        while let Some(next) = state.next() {
            match next.send(place) {
                Ok(()) => return,
                // Its request is gone.
                Err(back) => place = back,
            }
        }
        state.free.extend(place.stager.take());
    }
}

impl State {
    /// The oldest request that is still there of the tenant after the last one.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        loop {
            let after = |last: &TenantId| {
                let later = (Excluded(last), Unbounded);
                self.waiting.range::<TenantId, _>(later).next().map(|(id, _)| id)
            };
            let tenant = self.last.as_ref().and_then(after).or_else(|| self.waiting.keys().next());
            let tenant = tenant?.clone();
            let queue = self.waiting.get_mut(&tenant)?;
            let next = std::iter::from_fn(|| queue.pop_front()).find(|next| !next.is_closed());
            if queue.is_empty() {
                self.waiting.remove(&tenant);
            }
            if next.is_some() {
                self.last = Some(tenant);
                return next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("a valid name")
    }

    #[test]
    fn tenants_take_turns_and_who_has_gone_is_passed_over() {
        let stagings = Stagings::new(1, 1 << 20);
        let (a, b, c) = (tenant("a"), tenant("b"), tenant("c"));
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(first) = pin!(stagings.place(&a)).poll(&mut cx) else {
            panic!("one is free");
        };
        // Ten of one tenant wait before the two of the others come.
        let tenants: Vec<&TenantId> = std::iter::repeat_n(&a, 10).chain([&b, &c, &b]).collect();
        let mut waiting: Vec<_> =
            tenants.iter().map(|tenant| Some(Box::pin(stagings.place(tenant)))).collect();
        for place in waiting.iter_mut().flatten() {
            assert!(place.as_mut().poll(&mut cx).is_pending());
        }
        // The first of b's goes away unserved.
        waiting[10] = None;
        let mut order = Vec::new();
        let mut held = Some(first);
        while held.take().is_some() {
            let ready = waiting.iter_mut().zip(&tenants).find_map(|(slot, tenant)| {
                let Poll::Ready(place) = slot.as_mut()?.as_mut().poll(&mut cx) else { return None };
                *slot = None;
                Some((place, tenant.as_str()))
            });
            if let Some((place, tenant)) = ready {
                order.push(tenant);
                held = Some(place);
            }
        }
        assert_eq!(order.concat(), format!("abc{}", "a".repeat(9)));
        assert_eq!(stagings.lock().free.len(), 1, "it is free again");
    }

    #[test]
    fn a_turn_that_nobody_takes_any_more_goes_on() {
        let stagings = Stagings::new(1, 1 << 20);
        let mut cx = Context::from_waker(Waker::noop());
        let a = tenant("a");
        let Poll::Ready(first) = pin!(stagings.place(&a)).poll(&mut cx) else {
            panic!("one is free");
        };
        {
            let mut second = pin!(stagings.place(&a));
            assert!(second.as_mut().poll(&mut cx).is_pending());
            drop(first);
        }
        assert_eq!(stagings.lock().free.len(), 1);
    }
}
