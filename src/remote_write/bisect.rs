//! A request that is refused because of something in it: all but the bad series are delivered.

use std::sync::atomic::Ordering;

use super::births::Unit;
use super::requests::{Item, Request, halves};
use super::sender::{Delivery, Outcome, Patience};
use crate::telemetry::Dropped;

/// How often what is left of a request is searched for one more bad series, in one tick.
const ROUNDS_MAX: usize = 8;
/// And while nothing of the request is taken.
const FRUITLESS_ROUNDS_MAX: usize = 3;

/// What became of the series of a refused request.
#[derive(Debug, Default)]
struct Parts {
    delivered: Vec<Item>,
    /// Single series that something was refused for.
    suspects: Vec<Item>,
    /// Refused by themselves, by an endpoint that takes others of the request.
    bad: Vec<Item>,
    /// No answer came.
    unknown: Vec<Item>,
    /// The endpoint stopped to answer, so that nothing is known of the rest.
    cut_short: bool,
}

impl Delivery<'_> {
    /// With one bad series at most log2(series) + 2 exchanges.
    ///
    /// `doubtful`: what the request holds may have been stored before.
    pub(super) async fn bisect(&self, request: &Request, doubtful: bool) {
        let mut parts = Parts::default();
        let mut rest = request.items.clone();
        for round in 1..=ROUNDS_MAX {
            rest = self.isolate(request, rest, doubtful, &mut parts).await;
            let fruitless = parts.delivered.is_empty();
            let hopeless =
                round == FRUITLESS_ROUNDS_MAX || !self.accepted_any.load(Ordering::Relaxed);
            if rest.is_empty() || fruitless && hopeless {
                break;
            }
        }
        // An endpoint that refused everything until a moment ago says nothing about these.
        if !parts.delivered.is_empty() && !parts.cut_short {
            for suspect in std::mem::take(&mut parts.suspects) {
                if self.part(request, &[suspect], doubtful, &mut parts).await == Some(false) {
                    parts.bad.push(suspect);
                }
            }
        }
        self.settle(request, &parts);
    }

    /// Finds one series that the items are refused for; all others are delivered on the way, if it is
    /// the only one. At most log2(series) + 1 exchanges. Answers those that are refused without it too.
    async fn isolate(
        &self,
        of: &Request,
        items: Vec<Item>,
        doubtful: bool,
        parts: &mut Parts,
    ) -> Vec<Item> {
        let mut waiting: Vec<Item> = Vec::new();
        let mut suspects = items;
        let mut is_bad = false;
        while n(&suspects) > 1 {
            let (left, right) = halves(&suspects);
            match self.part(of, &left, doubtful, parts).await {
                Some(true) => suspects = right,
                Some(false) => {
                    waiting.extend(right);
                    suspects = left;
                    is_bad = n(&suspects) == 1 && !parts.delivered.is_empty();
                }
                None => return Vec::new(),
            }
        }
        let found = if is_bad { &mut parts.bad } else { &mut parts.suspects };
        found.extend(suspects);
        if !waiting.is_empty() && self.part(of, &waiting, doubtful, parts).await != Some(false) {
            waiting.clear();
        }
        waiting
    }

    /// Whether some items of a request are taken; `None` when the endpoint does not tell.
    async fn part(
        &self,
        of: &Request,
        items: &[Item],
        doubtful: bool,
        parts: &mut Parts,
    ) -> Option<bool> {
        let request = Request { items: items.to_vec(), attempt: of.attempt, life: of.life };
        match self.exchange(&request, doubtful, Patience::Once).await {
            Outcome::Accepted => {
                parts.delivered.extend_from_slice(items);
                Some(true)
            }
            Outcome::Refused { .. } => Some(false),
            Outcome::GivenUp { maybe_stored } => {
                if maybe_stored {
                    parts.unknown.extend_from_slice(items);
                }
                parts.cut_short = true;
                None
            }
        }
    }

    /// Settles what became of each label set of a request whose series were sent apart.
    fn settle(&self, request: &Request, parts: &Parts) {
        self.count_lost(&parts.bad);
        let of = |items: &[Item], unit| -> usize {
            items.iter().filter(|i| i.unit == unit).map(|i| i.to - i.from).sum()
        };
        let (mut whole, mut refused) = (Vec::new(), Vec::new());
        let mut births = self.births();
        for item in &parts.bad {
            (item.from..item.to).for_each(|series| births.leave_out(item.unit, series));
        }
        for item in &request.items {
            let n_settled = of(&parts.delivered, item.unit) + of(&parts.bad, item.unit);
            if n_settled == item.to - item.from {
                whole.push(item.unit);
            } else if of(&parts.unknown, item.unit) == 0 {
                refused.push(*item);
            }
        }
        for item in parts.delivered.iter().filter(|item| !whole.contains(&item.unit)) {
            (item.from..item.to).for_each(|series| births.accepted_series(item.unit, series));
        }
        drop(births);
        if whole.len() < request.items.len() {
            self.set_incomplete();
        }
        self.accepted(whole.into_iter());
        self.unknown(parts.unknown.iter().map(|item| item.unit));
        if !parts.cut_short {
            self.give_up_old(&refused);
        }
    }

    /// What is refused is tried again at the next tick, but for what has ended so long ago that
    /// this is why.
    fn give_up_old(&self, refused: &[Item]) {
        let at_ms = self.collected.snapshot.at_ms;
        let (mut lost, mut hopeless) = (Vec::new(), Vec::new());
        for item in refused {
            match item.unit {
                Unit::Live(..) => lost.push(*item),
                Unit::Ended(number) => {
                    if self.births().ended(number).is_some_and(|ended| ended.is_old(at_ms)) {
                        lost.push(*item);
                        hopeless.push(number);
                    }
                }
            }
        }
        self.count_lost(&lost);
        let mut births = self.births();
        hopeless.into_iter().for_each(|number| births.done(number));
    }

    fn count_lost(&self, items: &[Item]) {
        if !items.is_empty() {
            let request = Request { items: items.to_vec(), ..Request::default() };
            let lost = self.contents(&request);
            self.count_dropped(Dropped::FinalError, lost.n_samples);
            self.count_exemplars_dropped(Dropped::FinalError, lost.n_exemplars);
        }
    }
}

fn n(items: &[Item]) -> usize {
    items.iter().map(|item| item.to - item.from).sum()
}
