//! What one endpoint knows of one tenant: whose birth it accepted, and who has ended unsent.
//!
//! A zero goes with every value until the endpoint has accepted the birth. Where a request got no
//! answer it may or may not have been stored: its births keep their zero as it was, so that an endpoint
//! that has it already refuses it, and they are sent together again, so that the refusal is about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::relabel::{RelabelConfig, apply};
use crate::budget::{Pool, Rank};
use crate::collect::{
    Block, Change, Collected, LastTotals, Renewal, SeriesSpec, StaleMarkers, Table, le_text,
    push_label,
};

/// What the slot of a label set takes while the list of them grows.
pub(super) const SLOT_BYTES: usize = 2 * size_of::<Option<Live>>();
/// Places that are not worth the trouble.
const SPARE_PLACES: usize = 1024;
/// One that has ended, and its places in the lists of them; its values and labels are charged by who
/// made them.
pub(super) const ENDED_BYTES: usize = 2 * size_of::<Ended>() + 128;

/// An hour: what receivers take at least of samples that are older than their newest.
const OLD_MS: i64 = 3_600_000;

/// So long before a tick are the markers of series that restart with it.
const RESTART_MS: i64 = 2;

/// Labels of a series after relabelling, encoded; `None` where a rule dropped it.
pub(super) type Relabelled = Arc<[Option<Box<[u8]>>]>;

#[derive(Debug)]
pub(super) struct Births {
    relabel: Arc<[RelabelConfig]>,
    markers: bool,
    live: [Vec<Option<Live>>; Table::ALL.len()],
    /// By number, in the order in which they ended.
    ended: BTreeMap<u64, Ended>,
    next_ended: u64,
    pool: Arc<Pool>,
    /// The last one of each label set that waits in `ended`.
    last_ended: BTreeMap<(Table, Arc<Block>), u64>,
    /// Series that the endpoint refuses for good, or has all of while their siblings still wait.
    left_out: BTreeSet<(Unit, usize)>,
    /// Series that the endpoint has the zero of while their siblings still wait.
    begun: BTreeSet<(Unit, usize)>,
    next_group: u64,
}

/// A label set that lives.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) block: Arc<Block>,
    pub(super) relabelled: Option<Relabelled>,
    pub(super) birth: Birth,
    /// The same label set before it ended, if that waited at the birth: it must be sent first.
    after: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Birth {
    /// No request with it has reached the endpoint.
    Unsent,
    /// A request of this group had it, and no answer came.
    Unknown(Attempt),
    /// The endpoint has everything up to this tick.
    Accepted { at_ms: i64 },
}

/// A request without an answer: its zeros' timestamp, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attempt {
    pub(super) group: u64,
    pub(super) zero_ms: i64,
}

/// A label set that has ended, with what the endpoint has not got of it.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) table: Table,
    pub(super) block: Arc<Block>,
    pub(super) relabelled: Option<Relabelled>,
    pub(super) specs: Arc<[SeriesSpec]>,
    pub(super) last: LastTotals,
    /// The label set lives, and some of its series go on.
    renewal: Option<Arc<Renewal>>,
    /// They were in doubt: their zero and their last value go along.
    settles: bool,
    pub(super) zero_ms: Option<i64>,
    pub(super) value_ms: Option<i64>,
    pub(super) marker_ms: Option<i64>,
    pub(super) attempt: Option<Attempt>,
    after: Option<u64>,
    n_series: usize,
}

/// What requests are made of: one label set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    Ended(u64),
    Live(Table, u32),
}

impl Births {
    pub(super) fn new(relabel: Arc<[RelabelConfig]>) -> Self {
        Self {
            relabel,
            markers: true,
            live: Default::default(),
            ended: BTreeMap::new(),
            next_ended: 0,
            pool: Arc::new(Pool::unbounded()),
            last_ended: BTreeMap::new(),
            left_out: BTreeSet::new(),
            begun: BTreeSet::new(),
            next_group: 0,
        }
    }

    /// What waits for its end to be sent is charged there.
    pub(super) fn set_pool(&mut self, pool: Arc<Pool>) {
        self.pool = pool;
    }

    /// Whether something that has ended waits to be sent.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Takes in what has changed since the tick before. Answers how many samples were given up
    /// because too many series wait for their end.
    pub(super) fn apply(&mut self, collected: &Collected) -> usize {
        self.markers = collected.settings.stale_markers != StaleMarkers::Off;
        let mut given_up = 0;
        for change in &*collected.changes {
            match change {
                Change::Birth { table, slot, block, specs } => {
                    self.begin((*table, *slot), block, specs);
                }
                Change::Renewal { table, slot, renewal } => {
                    given_up += self.renew((*table, *slot), renewal);
                }
                Change::Death { table, slot, specs, last, last_ms, end_ms } => {
                    let end = End {
                        specs: Arc::clone(specs),
                        last: last.clone(),
                        renewal: None,
                        last_ms: *last_ms,
                        marker_ms: *end_ms,
                    };
                    given_up += self.end((*table, *slot), end);
                }
            }
        }
        for live in &mut self.live {
            shorten(live);
        }
        given_up
    }

    fn begin(&mut self, (table, slot): (Table, u32), block: &Arc<Block>, specs: &[SeriesSpec]) {
        let relabelled = self.relabelled(block, specs);
        let block = Arc::clone(block);
        let after = self.last_ended.get(&(table, Arc::clone(&block))).copied();
        let slots = &mut self.live[table as usize];
        if slots.len() <= slot as usize {
            slots.resize(slot as usize + 1, None);
        }
        slots[slot as usize] = Some(Live { block, relabelled, birth: Birth::Unsent, after });
    }

    /// What does not go on ends, and the label set begins anew, but for what goes on: the endpoint has
    /// that, or it has nothing of the label set, or what has ended settles whether it has.
    fn renew(&mut self, (table, slot): (Table, u32), renewal: &Arc<Renewal>) -> usize {
        let unit = Unit::Live(table, slot);
        let Some(live) = self.live(table, slot) else { return 0 };
        let (has_nothing, block) = (live.birth == Birth::Unsent, Arc::clone(&live.block));
        let places = renewal.places.iter().enumerate();
        let going_on = places.filter_map(|(series, place)| Some((series, (*place)?)));
        let (mut begun, mut left_out) = (Vec::new(), Vec::new());
        for (series, place) in going_on {
            if !has_nothing || self.has_begun(unit, place) {
                begun.push((unit, series));
            }
            if self.is_left_out(unit, place) {
                left_out.push((unit, series));
            }
        }
        let end = End {
            specs: Arc::clone(&renewal.before),
            last: LastTotals::OfTable(Arc::clone(renewal), slot),
            renewal: Some(Arc::clone(renewal)),
            last_ms: renewal.last_ms,
            marker_ms: renewal.next_ms - RESTART_MS,
        };
        let given_up = self.end((table, slot), end);
        self.begin((table, slot), &block, &renewal.after);
        self.begun.extend(begun);
        self.left_out.extend(left_out);
        given_up
    }

    fn relabelled(&self, block: &Block, specs: &[SeriesSpec]) -> Option<Relabelled> {
        if self.relabel.is_empty() {
            return None;
        }
        let series = specs.iter().map(|spec| {
            let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let mut labels: Vec<(String, String)> = block.labels().map(own).collect();
            labels.push(("__name__".to_owned(), spec.metric.clone()));
            labels.extend(spec.le.map(|bound| ("le".to_owned(), le_text(bound))));
            labels.sort();
            let kept = apply(&self.relabel, &mut labels) && !labels.is_empty();
            kept.then(|| {
                let mut encoded = Vec::new();
                labels.iter().for_each(|(name, value)| push_label(&mut encoded, name, value));
                encoded.into_boxed_slice()
            })
        });
        Some(series.collect())
    }

    fn end(&mut self, (table, slot): (Table, u32), end: End) -> usize {
        let unit = Unit::Live(table, slot);
        let Some(live) = self.live[table as usize][slot as usize].take() else { return 0 };
        let (zero_ms, has_last, attempt) = match live.birth {
            Birth::Accepted { at_ms } => (None, at_ms >= end.last_ms, None),
            Birth::Unknown(attempt) => (Some(attempt.zero_ms), false, Some(attempt)),
            Birth::Unsent => (Some(end.last_ms - 1), false, None),
        };
        let (left_out, begun) =
            (take_marks(&mut self.left_out, unit), take_marks(&mut self.begun, unit));
        let value_ms = (!has_last).then_some(end.last_ms);
        let marker_ms = self.markers.then_some(end.marker_ms);
        let settles = attempt.is_some();
        let End { specs, last, renewal, .. } = end;
        let n_going_on = match &renewal {
            Some(renewal) if !settles => renewal.goes_on.iter().filter(|goes_on| **goes_on).count(),
            _ => 0,
        };
        let n_series = specs.len() - n_going_on;
        if n_series == 0 || value_ms.is_none() && marker_ms.is_none() {
            return 0;
        }
        let number = self.next_ended;
        self.next_ended += 1;
        self.left_out.extend(left_out.into_iter().map(|series| (Unit::Ended(number), series)));
        self.begun.extend(begun.into_iter().map(|series| (Unit::Ended(number), series)));
        let Live { block, relabelled, after, .. } = live;
        self.last_ended.insert((table, Arc::clone(&block)), number);
        let ended = Ended {
            table,
            block,
            relabelled,
            specs,
            last,
            renewal,
            settles,
            zero_ms,
            value_ms,
            marker_ms,
            attempt,
            after,
            n_series,
        };
        let mut given_up = 0;
        while !self.pool.try_charge(ENDED_BYTES, Rank::Waiting) {
            match self.ended.first_key_value() {
                Some(_) => given_up += self.give_up_oldest(),
                // One always fits.
                None => {
                    self.pool.charge(ENDED_BYTES, Rank::Waiting);
                    break;
                }
            }
        }
        self.ended.insert(number, ended);
        given_up
    }

    /// Gives up what waits; answers how many samples that were.
    pub(super) fn give_up(&mut self) -> usize {
        let mut given_up = 0;
        while !self.ended.is_empty() {
            given_up += self.give_up_oldest();
        }
        given_up
    }

    /// Answers how many samples that were.
    fn give_up_oldest(&mut self) -> usize {
        let Some((&number, oldest)) = self.ended.first_key_value() else { return 0 };
        let n_samples = oldest.n_samples_each() * oldest.n_series;
        self.done(number);
        n_samples
    }

    pub(super) fn live(&self, table: Table, slot: u32) -> Option<&Live> {
        self.live[table as usize].get(slot as usize)?.as_ref()
    }

    pub(super) fn ended(&self, number: u64) -> Option<&Ended> {
        self.ended.get(&number)
    }

    /// Everything that there is to send: what has ended first, so that a label set that came back
    /// is sent in the order of time.
    pub(super) fn units(&self) -> impl Iterator<Item = (Unit, Option<Attempt>)> {
        let ended = self.ended.iter();
        let ended = ended.map(|(&number, ended)| (Unit::Ended(number), ended.attempt));
        let live = Table::ALL.into_iter().flat_map(|table| {
            let slots = (0..).zip(&self.live[table as usize]);
            slots.filter_map(move |(slot, live)| {
                let attempt = match live.as_ref()?.birth {
                    Birth::Unknown(attempt) => Some(attempt),
                    _ => None,
                };
                Some((Unit::Live(table, slot), attempt))
            })
        });
        ended.chain(live)
    }

    pub(super) fn is_left_out(&self, unit: Unit, series: usize) -> bool {
        !self.left_out.is_empty() && self.left_out.contains(&(unit, series))
    }

    pub(super) fn leave_out(&mut self, unit: Unit, series: usize) {
        self.left_out.insert((unit, series));
    }

    /// Whether the endpoint has the zero of this series, though not yet of the whole label set.
    pub(super) fn has_begun(&self, unit: Unit, series: usize) -> bool {
        !self.begun.is_empty() && self.begun.contains(&(unit, series))
    }

    /// The endpoint has this series of a label set, and not yet all others.
    pub(super) fn accepted_series(&mut self, unit: Unit, series: usize) {
        match unit {
            Unit::Live(..) => self.begun.insert((unit, series)),
            Unit::Ended(_) => self.left_out.insert((unit, series)),
        };
    }

    /// The same label set as it was before, if that has still to be sent.
    pub(super) fn predecessor(&self, unit: Unit) -> Option<Unit> {
        let after = match unit {
            Unit::Live(table, slot) => self.live(table, slot)?.after,
            Unit::Ended(number) => self.ended(number)?.after,
        };
        after.filter(|&number| self.ended(number).is_some()).map(Unit::Ended)
    }

    /// The endpoint has these label sets as of this tick.
    pub(super) fn accepted(&mut self, units: impl Iterator<Item = Unit>, at_ms: i64) {
        for unit in units {
            match unit {
                Unit::Live(table, slot) => {
                    take_marks(&mut self.begun, unit);
                    self.set_birth(table, slot, Birth::Accepted { at_ms });
                }
                Unit::Ended(number) => self.done(number),
            }
        }
    }

    /// Forgets an ended label set that is delivered or given up.
    pub(super) fn done(&mut self, number: u64) {
        take_marks(&mut self.left_out, Unit::Ended(number));
        take_marks(&mut self.begun, Unit::Ended(number));
        if let Some(ended) = self.ended.remove(&number) {
            self.pool.refund(ENDED_BYTES, Rank::Waiting);
            let key = (ended.table, ended.block);
            if self.last_ended.get(&key) == Some(&number) {
                self.last_ended.remove(&key);
            }
        }
    }

    /// Nobody knows whether the endpoint has these label sets, or which of their series.
    pub(super) fn unknown(&mut self, units: impl Iterator<Item = Unit>, zero_ms: i64) {
        let group = self.next_group;
        self.next_group += 1;
        let fresh = Attempt { group, zero_ms };
        for unit in units {
            match unit {
                Unit::Live(table, slot) => {
                    let attempt = match self.live(table, slot).map(|live| live.birth) {
                        Some(Birth::Unsent) => fresh,
                        // Others of its group may have gone another way by now.
                        Some(Birth::Unknown(before)) => Attempt { group, ..before },
                        Some(Birth::Accepted { .. }) | None => continue,
                    };
                    self.set_birth(table, slot, Birth::Unknown(attempt));
                }
                Unit::Ended(number) => {
                    if let Some(ended) = self.ended.get_mut(&number) {
                        // Those that went together may be there together, whatever was before.
                        ended.attempt = Some(fresh);
                    }
                }
            }
        }
    }

    fn set_birth(&mut self, table: Table, slot: u32, birth: Birth) {
        let slots = &mut self.live[table as usize];
        if let Some(live) = slots.get_mut(slot as usize).and_then(Option::as_mut) {
            live.birth = birth;
        }
    }
}

/// Gives up places at the end in which nobody is.
fn shorten<T>(places: &mut Vec<Option<T>>) {
    let len = places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    places.truncate(len);
    if places.capacity() > 2 * len + SPARE_PLACES {
        places.shrink_to(len);
    }
}

fn take_marks(marks: &mut BTreeSet<(Unit, usize)>, unit: Unit) -> Vec<usize> {
    let all: Vec<_> = marks.range((unit, 0)..=(unit, usize::MAX)).copied().collect();
    for key in &all {
        marks.remove(key);
    }
    all.into_iter().map(|(_, series)| series).collect()
}

struct End {
    specs: Arc<[SeriesSpec]>,
    last: LastTotals,
    renewal: Option<Arc<Renewal>>,
    last_ms: i64,
    marker_ms: i64,
}

impl Drop for Births {
    fn drop(&mut self) {
        self.pool.refund(self.ended.len() * ENDED_BYTES, Rank::Waiting);
    }
}

impl Ended {
    /// Older than this tick by more than an hour: most endpoints do not take that any more.
    pub(super) fn is_old(&self, at_ms: i64) -> bool {
        let newest = self.marker_ms.or(self.value_ms).unwrap_or(i64::MIN);
        newest < at_ms.saturating_sub(OLD_MS)
    }

    /// Whether a series has its end here; `None` where it is not concerned at all.
    pub(super) fn ends(&self, series: usize) -> Option<bool> {
        let goes_on = self.renewal.as_ref().is_some_and(|renewal| renewal.goes_on[series]);
        (!goes_on || self.settles).then_some(!goes_on)
    }

    pub(super) fn n_samples_each(&self) -> usize {
        [self.zero_ms, self.value_ms, self.marker_ms].iter().flatten().count()
    }
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod reload_tests;
