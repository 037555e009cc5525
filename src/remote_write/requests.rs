//! Requests of one tick: which label sets go together, and their bytes.

use std::collections::BTreeMap;

use super::births::{Attempt, Birth, Births, Ended, Live, Unit};
use super::encode_v1::{EncodedExemplar, STALE, Sample, push_series};
use crate::collect::{Block, Collected, Quantity, SeriesSpec, ShownExemplar, values_of};

/// Bytes of a request before compression: receivers take 32 MiB, proxies less.
const REQUEST_BYTES_MAX: usize = 3 << 20;
/// Upper bounds of encoded pieces, in bytes.
const SAMPLE_BYTES: usize = 24;
const SERIES_BYTES: usize = 16;
const EXEMPLAR_BYTES: usize = 256;

/// Some series of one label set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) unit: Unit,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// What one POST carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Request {
    pub(super) items: Vec<Item>,
    /// Sent before, without an answer.
    pub(super) attempt: Option<Attempt>,
    /// So many ends of the same label sets that wait have to be sent before.
    pub(super) life: usize,
}

/// The requests of one tick.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Label sets that have ended: sent first.
    pub(super) ended: Vec<Request>,
    pub(super) live: Vec<Request>,
}

/// Whether zeros go along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zeros {
    WhereBirthsNeedThem,
    /// The births of the request have turned out to be accepted.
    Without,
    /// The values of what has ended have turned out to be accepted too.
    OnlyMarkers,
}

/// What a request's bytes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Contents {
    pub(super) n_samples: usize,
    pub(super) n_exemplars: usize,
    /// Samples that a relabelling rule kept back.
    pub(super) n_dropped: usize,
}

/// How the bytes of an endpoint's requests are made.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) max_samples: usize,
    pub(super) send_exemplars: bool,
}

impl Request {
    pub(super) fn units(&self) -> impl Iterator<Item = Unit> {
        self.items.iter().map(|item| item.unit)
    }

    /// Takes out label sets that had ended before and whose end goes with another request, or waits
    /// itself; whether there were any.
    pub(super) fn put_in_order(&mut self, births: &Births) -> bool {
        let n = self.items.len();
        let mut kept: Vec<Item> = Vec::with_capacity(n);
        for item in std::mem::take(&mut self.items) {
            let before = births.predecessor(item.unit);
            if before.is_none_or(|before| kept.iter().any(|other| other.unit == before)) {
                kept.push(item);
            }
        }
        self.items = kept;
        self.items.len() < n
    }

    /// Whether a unit is followed by the same label set as it was later.
    fn goes_before_another(&self, births: &Births, unit: Unit) -> bool {
        self.units().any(|other| births.predecessor(other) == Some(unit))
    }
}

/// Cuts series into two parts of about equal number.
pub(super) fn halves(items: &[Item]) -> (Vec<Item>, Vec<Item>) {
    let total: usize = items.iter().map(|item| item.to - item.from).sum();
    let mut room = total / 2;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for item in items {
        let cut = item.from + room.min(item.to - item.from);
        room -= cut - item.from;
        let parts =
            [(Item { to: cut, ..*item }, &mut left), (Item { from: cut, ..*item }, &mut right)];
        for (part, side) in parts {
            if part.from < part.to {
                side.push(part);
            }
        }
    }
    (left, right)
}

/// Packs everything that there is to send: a label set's samples stay together, and those of a request
/// without an answer are not mixed with others, so that a refusal tells about them.
pub(super) fn pack(births: &Births, collected: &Collected, form: &Form) -> Plan {
    let mut plan = Plan::default();
    let mut bins: BTreeMap<(bool, usize, Option<Attempt>), Bin> = BTreeMap::new();
    let mut lives: BTreeMap<Unit, usize> = BTreeMap::new();
    for (unit, attempt) in births.units() {
        let Some(size) = size(births, collected, unit) else { continue };
        let item = Item { unit, from: 0, to: size.n_series };
        let is_live = matches!(unit, Unit::Live(..));
        let life = if is_live { 0 } else { life_of(births, unit, &mut lives) };
        let bin = bins.entry((is_live, life, attempt)).or_default();
        (bin.request.attempt, bin.request.life) = (attempt, life);
        plan.requests(is_live).extend(bin.add(item, &size, form.max_samples));
    }
    for ((is_live, ..), mut bin) in bins {
        plan.requests(is_live).extend(bin.take());
    }
    for requests in [&mut plan.ended, &mut plan.live] {
        requests.sort_by_key(|request| (request.life, request.units().next()));
    }
    plan
}

/// How many ends of the same label set come before this one; `lives` has those of the ends before.
fn life_of(births: &Births, ended: Unit, lives: &mut BTreeMap<Unit, usize>) -> usize {
    let before = births.predecessor(ended).and_then(|before| lives.get(&before));
    let life = before.map_or(0, |life| life + 1);
    lives.insert(ended, life);
    life
}

impl Plan {
    fn requests(&mut self, live: bool) -> &mut Vec<Request> {
        if live { &mut self.live } else { &mut self.ended }
    }
}

#[derive(Debug, Default)]
struct Bin {
    request: Request,
    n_samples: usize,
    n_bytes: usize,
}

#[derive(Debug)]
struct Size {
    n_series: usize,
    n_samples: usize,
    n_bytes: usize,
}

impl Bin {
    /// Answers the request that is full before `item` goes into a new one.
    fn add(&mut self, item: Item, size: &Size, max_samples: usize) -> Option<Request> {
        let full = self.n_samples + size.n_samples > max_samples
            || self.n_bytes + size.n_bytes > REQUEST_BYTES_MAX;
        let done = if full { self.take() } else { None };
        self.request.items.push(item);
        self.n_samples += size.n_samples;
        self.n_bytes += size.n_bytes;
        done
    }

    fn take(&mut self) -> Option<Request> {
        let Request { attempt, life, .. } = self.request;
        let full = std::mem::take(self);
        (self.request.attempt, self.request.life) = (attempt, life);
        (!full.request.items.is_empty()).then_some(full.request)
    }
}

/// `None` where the label set has nothing to send any more.
fn size(births: &Births, collected: &Collected, unit: Unit) -> Option<Size> {
    let (specs, block, samples_each, n_exemplars) = match unit {
        Unit::Live(table, slot) => {
            let live = births.live(table, slot)?;
            let zero = usize::from(!matches!(live.birth, Birth::Accepted { .. }));
            let exemplars = collected.snapshot.exemplars_of(table, slot).len() * 2;
            (&collected.specs[table as usize], &live.block, 1 + zero, exemplars)
        }
        Unit::Ended(number) => {
            let ended = births.ended(number)?;
            (&ended.specs, &ended.block, ended.n_samples_each(), 0)
        }
    };
    let labels = |spec: &SeriesSpec| block.len() + spec.name_label.len() + spec.le_label.len();
    let each = SERIES_BYTES + samples_each * SAMPLE_BYTES;
    let n_bytes: usize = specs.iter().map(|spec| labels(spec) + each).sum();
    Some(Size {
        n_series: specs.len(),
        n_samples: specs.len() * samples_each,
        n_bytes: n_bytes + n_exemplars * EXEMPLAR_BYTES,
    })
}

/// Writes a request's bytes; `out` is empty.
pub(super) fn encode(
    births: &Births,
    collected: &Collected,
    request: &Request,
    zeros: Zeros,
    form: &Form,
    out: &mut Vec<u8>,
) -> Contents {
    let mut writer = Writer { births, collected, form, zeros, out, contents: Contents::default() };
    let mut values = Vec::new();
    for item in &request.items {
        match item.unit {
            Unit::Live(table, slot) => {
                if let Some(live) = births.live(table, slot) {
                    let specs = &collected.specs[table as usize];
                    values_of(specs, collected.snapshot.values(table), slot, &mut values);
                    let exemplars = collected.snapshot.exemplars_of(table, slot);
                    writer.live(item, live, specs, &values, exemplars);
                }
            }
            // What came after it is there: so is all of it.
            Unit::Ended(_)
                if zeros == Zeros::OnlyMarkers
                    && request.goes_before_another(births, item.unit) => {}
            Unit::Ended(number) => {
                if let Some(ended) = births.ended(number) {
                    let (last, slot) = ended.last.place();
                    values_of(&ended.specs, last, slot, &mut values);
                    writer.ended(item, ended, &values);
                }
            }
        }
    }
    writer.contents
}

struct Writer<'a> {
    births: &'a Births,
    collected: &'a Collected,
    form: &'a Form,
    zeros: Zeros,
    out: &'a mut Vec<u8>,
    contents: Contents,
}

impl Writer<'_> {
    fn live(
        &mut self,
        item: &Item,
        live: &Live,
        specs: &[SeriesSpec],
        values: &[f64],
        exemplars: &[ShownExemplar],
    ) {
        let at_ms = self.collected.snapshot.at_ms;
        let zero_ms = match live.birth {
            Birth::Accepted { .. } => None,
            Birth::Unknown(attempt) => Some(attempt.zero_ms),
            Birth::Unsent => Some(at_ms - 1),
        };
        let zero_ms = zero_ms.filter(|_| self.zeros == Zeros::WhereBirthsNeedThem);
        for series in item.from..item.to {
            let spec = &specs[series];
            let zero = zero_ms.filter(|_| self.needs_zero((item.unit, series), spec));
            let zero = zero.map(|ms| Sample::new(0.0, ms));
            let value = Some(Sample::new(values[series], at_ms));
            let exemplar = self.exemplar(spec.quantity, exemplars);
            let labels = Labels::of(&live.block, live.relabelled.as_deref(), series);
            self.push((item.unit, series), labels, spec, [zero, value, None], exemplar.as_ref());
        }
    }

    fn ended(&mut self, item: &Item, ended: &Ended, values: &[f64]) {
        for (series, &value) in values.iter().enumerate().take(item.to).skip(item.from) {
            let Some(ends) = ended.ends(series) else { continue };
            let spec = &ended.specs[series];
            let zero = ended.zero_ms.filter(|_| self.needs_zero((item.unit, series), spec));
            let zero = zero.map(|ms| Sample::new(0.0, ms));
            let value = ended.value_ms.map(|ms| Sample::new(value, ms));
            let marker = ended.marker_ms.filter(|_| ends);
            let marker = marker.map(|at_ms| Sample { bits: STALE, at_ms });
            let samples = match self.zeros {
                Zeros::WhereBirthsNeedThem => [zero, value, marker],
                Zeros::Without => [None, value, marker],
                Zeros::OnlyMarkers => [None, None, marker],
            };
            let labels = Labels::of(&ended.block, ended.relabelled.as_deref(), series);
            self.push((item.unit, series), labels, spec, samples, None);
        }
    }

    /// Counters begin with a zero, unless the endpoint has it already.
    fn needs_zero(&self, (unit, series): (Unit, usize), spec: &SeriesSpec) -> bool {
        spec.quantity.has_zero() && !self.births.has_begun(unit, series)
    }

    fn push(
        &mut self,
        (unit, series): (Unit, usize),
        labels: Labels<'_>,
        spec: &SeriesSpec,
        samples: [Option<Sample>; 3],
        exemplar: Option<&EncodedExemplar>,
    ) {
        let n_samples = samples.iter().flatten().count();
        if n_samples == 0 || self.births.is_left_out(unit, series) {
            return;
        }
        let mut present = [Sample { bits: 0, at_ms: 0 }; 3];
        for (to, from) in present.iter_mut().zip(samples.into_iter().flatten()) {
            *to = from;
        }
        let samples = &present[..n_samples];
        match labels {
            Labels::Dropped => {
                self.contents.n_dropped += n_samples;
                return;
            }
            Labels::Relabelled(labels) => push_series(self.out, &[labels], samples, exemplar),
            Labels::Block(block) => {
                let [before, between, after] = block.parts();
                let parts = [before, &spec.name_label, between, &spec.le_label, after];
                push_series(self.out, &parts, samples, exemplar);
            }
        }
        self.contents.n_samples += n_samples;
        self.contents.n_exemplars += usize::from(exemplar.is_some());
    }

    fn exemplar(&self, of: Quantity, all: &[ShownExemplar]) -> Option<EncodedExemplar> {
        if !self.form.send_exemplars {
            return None;
        }
        let shown = all.iter().find(|shown| match of {
            Quantity::Calls => shown.on_calls,
            Quantity::LatencyBucket(bucket) => shown.exemplar.bucket as usize == bucket,
            _ => false,
        })?;
        #[expect(clippy::cast_precision_loss, reason = "seconds of a latency, as in its bucket")]
        let seconds = shown.exemplar.latency_nano as f64 / 1e9;
        let exemplar = &shown.exemplar;
        let name = &self.collected.settings.trace_id_label_name;
        let (trace_id, span_id) = (&exemplar.trace_id, &exemplar.span_id);
        Some(EncodedExemplar::new(name, trace_id, span_id, seconds, shown.exemplar_ms))
    }
}

/// The encoded labels of one series.
enum Labels<'a> {
    Block(&'a Block),
    Relabelled(&'a [u8]),
    Dropped,
}

impl<'a> Labels<'a> {
    fn of(block: &'a Block, relabelled: Option<&'a [Option<Box<[u8]>>]>, series: usize) -> Self {
        match relabelled.map(|all| all[series].as_deref()) {
            None => Self::Block(block),
            Some(Some(labels)) => Self::Relabelled(labels),
            Some(None) => Self::Dropped,
        }
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
