//! What one endpoint knows of one tenant: whose birth it accepted, and who has ended unsent.
//!
//! A zero goes with every value until the endpoint has accepted the birth. Where a request got no
//! answer it may or may not have been stored: its births keep their zero as it was, so that an endpoint
//! that has it already refuses it, and they are sent together again, so that the refusal is about them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::relabel::{RelabelConfig, apply};
use crate::collect::{Block, Change, Collected, SeriesSpec, Table, Values, le_text, push_label};

/// Series that have ended and wait for their last value and marker; beyond it the oldest label set is
/// given up. What `limits.max_active_series` will set.
const ENDED_SERIES_MAX: usize = 500_000;

/// Labels of a series after relabelling, encoded; `None` where a rule dropped it.
pub(super) type Relabelled = Arc<[Option<Box<[u8]>>]>;

#[derive(Debug)]
pub(super) struct Births {
    relabel: Arc<[RelabelConfig]>,
    markers: bool,
    live: [Vec<Option<Live>>; Table::ALL.len()],
    ended: VecDeque<Ended>,
    /// Number of the first one in `ended`.
    first_ended: u64,
    n_ended_series: usize,
    /// Series that the endpoint refuses for good.
    left_out: BTreeSet<(Unit, usize)>,
    next_group: u64,
}

/// A label set that lives.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) block: Arc<Block>,
    pub(super) relabelled: Option<Relabelled>,
    pub(super) birth: Birth,
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
    pub(super) last: Arc<Values>,
    pub(super) zero_ms: Option<i64>,
    pub(super) value_ms: Option<i64>,
    pub(super) marker_ms: Option<i64>,
    pub(super) attempt: Option<Attempt>,
    n_series: usize,
    /// Delivered or given up, and only waiting for those before it.
    done: bool,
}

/// What requests are made of: one label set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    Ended(u64),
    Live(Table, u32),
}

impl Births {
    pub(super) fn new(relabel: Arc<[RelabelConfig]>, markers: bool) -> Self {
        Self {
            relabel,
            markers,
            live: Default::default(),
            ended: VecDeque::new(),
            first_ended: 0,
            n_ended_series: 0,
            left_out: BTreeSet::new(),
            next_group: 0,
        }
    }

    /// Takes in what has changed since the tick before. Answers how many samples were given up
    /// because too many series wait for their end.
    pub(super) fn apply(&mut self, collected: &Collected) -> usize {
        let mut given_up = 0;
        for change in &*collected.changes {
            match change {
                Change::Birth { table, slot, block } => {
                    let specs = &collected.specs[*table as usize];
                    let relabelled = self.relabelled(block, specs);
                    let slots = &mut self.live[*table as usize];
                    if slots.len() <= *slot as usize {
                        slots.resize(*slot as usize + 1, None);
                    }
                    let block = Arc::clone(block);
                    slots[*slot as usize] = Some(Live { block, relabelled, birth: Birth::Unsent });
                }
                Change::Death { table, slot, last, last_ms, end_ms } => {
                    let n_series = collected.specs[*table as usize].len();
                    let end = End { last: Arc::clone(last), last_ms: *last_ms, end_ms: *end_ms };
                    given_up += self.end((*table, *slot), end, n_series);
                }
            }
        }
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

    fn end(&mut self, (table, slot): (Table, u32), end: End, n_series: usize) -> usize {
        let unit = Unit::Live(table, slot);
        let Some(live) = self.live[table as usize][slot as usize].take() else { return 0 };
        let (zero_ms, has_last, attempt) = match live.birth {
            Birth::Accepted { at_ms } => (None, at_ms >= end.last_ms, None),
            Birth::Unknown(attempt) => (Some(attempt.zero_ms), false, Some(attempt)),
            Birth::Unsent => (Some(end.last_ms - 1), false, None),
        };
        let number = self.first_ended + self.ended.len() as u64;
        for series in self.take_left_out(unit) {
            self.left_out.insert((Unit::Ended(number), series));
        }
        let value_ms = (!has_last).then_some(end.last_ms);
        let marker_ms = self.markers.then_some(end.end_ms);
        if value_ms.is_none() && marker_ms.is_none() {
            return 0;
        }
        let Live { block, relabelled, .. } = live;
        let (last, done) = (end.last, false);
        self.ended.push_back(Ended {
            table,
            block,
            relabelled,
            last,
            zero_ms,
            value_ms,
            marker_ms,
            attempt,
            n_series,
            done,
        });
        self.n_ended_series += n_series;
        self.give_up_beyond(ENDED_SERIES_MAX)
    }

    fn give_up_beyond(&mut self, max: usize) -> usize {
        let mut given_up = 0;
        while self.n_ended_series > max
            && let Some(oldest) = self.ended.front()
        {
            if !oldest.done {
                given_up += oldest.n_samples();
                self.n_ended_series -= oldest.n_series;
            }
            self.drop_oldest();
        }
        given_up
    }

    fn drop_oldest(&mut self) {
        self.take_left_out(Unit::Ended(self.first_ended));
        self.ended.pop_front();
        self.first_ended += 1;
    }

    fn take_left_out(&mut self, unit: Unit) -> Vec<usize> {
        let all: Vec<_> = self.left_out.range((unit, 0)..=(unit, usize::MAX)).copied().collect();
        for key in &all {
            self.left_out.remove(key);
        }
        all.into_iter().map(|(_, series)| series).collect()
    }

    pub(super) fn live(&self, table: Table, slot: u32) -> Option<&Live> {
        self.live[table as usize].get(slot as usize)?.as_ref()
    }

    pub(super) fn ended(&self, number: u64) -> Option<&Ended> {
        let index = usize::try_from(number.checked_sub(self.first_ended)?).ok()?;
        self.ended.get(index).filter(|ended| !ended.done)
    }

    /// Everything that there is to send: what has ended first, so that a label set that came back
    /// is sent in the order of time.
    pub(super) fn units(&self) -> impl Iterator<Item = (Unit, Option<Attempt>)> {
        let ended = (self.first_ended..).zip(&self.ended).filter(|(_, ended)| !ended.done);
        let ended = ended.map(|(number, ended)| (Unit::Ended(number), ended.attempt));
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

    /// The endpoint has these label sets as of this tick.
    pub(super) fn accepted(&mut self, units: impl Iterator<Item = Unit>, at_ms: i64) {
        for unit in units {
            match unit {
                Unit::Live(table, slot) => self.set_birth(table, slot, Birth::Accepted { at_ms }),
                Unit::Ended(number) => self.done(number),
            }
        }
    }

    /// Marks an ended label set as delivered or given up.
    pub(super) fn done(&mut self, number: u64) {
        let index = number.checked_sub(self.first_ended).and_then(|i| usize::try_from(i).ok());
        if let Some(ended) = index.and_then(|index| self.ended.get_mut(index))
            && !ended.done
        {
            ended.done = true;
            self.n_ended_series -= ended.n_series;
        }
        while self.ended.front().is_some_and(|oldest| oldest.done) {
            self.drop_oldest();
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
                    if self.live(table, slot).is_some_and(|live| live.birth == Birth::Unsent) {
                        self.set_birth(table, slot, Birth::Unknown(fresh));
                    }
                }
                Unit::Ended(number) => {
                    let index = number.checked_sub(self.first_ended);
                    let index = index.and_then(|index| usize::try_from(index).ok());
                    if let Some(ended) = index.and_then(|index| self.ended.get_mut(index)) {
                        ended.attempt.get_or_insert(fresh);
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

struct End {
    last: Arc<Values>,
    last_ms: i64,
    end_ms: i64,
}

impl Ended {
    fn n_samples(&self) -> usize {
        let parts = [self.zero_ms, self.value_ms, self.marker_ms];
        self.n_series * parts.iter().flatten().count()
    }
}
