//! What was wanted beyond what was admitted: which label of which service would have had how many
//! values. Told of every row that went to an overflow series, and bounded whatever those are.
//!
//! Guidance for people, no part of the state: it decides nothing, and may be lost in a crash.

use ahash::RandomState;
use hashbrown::HashTable;

use super::heavy::{TEXT_BYTES_MAX, cut};
use super::overflow::OVERFLOW;
use super::refused_label::{RefusedLabel, SKETCH_BYTES_MAX};
use crate::batch::{Labels, Table};

/// What is refused is remembered for at least the stale duration and at most half as long again.
pub(super) const GENERATIONS: usize = N_GENERATIONS as usize;
const N_GENERATIONS: u32 = 3;
/// Services that are told apart.
const SERVICES_MAX: usize = 2048;
/// Labels that are told apart, over all services.
const LABELS_MAX: usize = 256;
const LABELS_OF_SERVICE_MAX: usize = 64;
/// Labels of the services that are not told apart, besides `LABELS_MAX`; the last one stands for all
/// others, and has their names as its values.
const LABELS_OF_REST_MAX: usize = 32;

/// Room that it never exceeds, some 1.6 MB a tenant; nothing until a row is refused.
pub const BYTES_MAX: usize = (SERVICES_MAX + 1) * SERVICE_BYTES_MAX
    + (LABELS_MAX + LABELS_OF_REST_MAX) * LABEL_BYTES_MAX
    // The index: at most 7/8 full, a power of two, a byte and a slot each.
    + SERVICES_MAX * 4 * (1 + size_of::<u16>());
const SERVICE_BYTES_MAX: usize = size_of::<Service>() + TEXT_BYTES_MAX;
const LABEL_BYTES_MAX: usize = size_of::<RefusedLabel>()
    + TEXT_BYTES_MAX
    + GENERATIONS * SKETCH_BYTES_MAX
    // Its place in its service, in vectors that double.
    + 4 * (size_of::<Box<RefusedLabel>>() + size_of::<u64>());
const _: () = assert!(BYTES_MAX < 1_800_000);

/// A tenant's refused rows.
#[derive(Debug, Clone)]
pub struct Wanted {
    hasher: RandomState,
    generation_ms: i64,
    /// Number and begin of the newest generation.
    generation: u32,
    began_ms: i64,
    /// The first one stands for all that are not told apart. Empty until a row is refused.
    services: Vec<RefusedService>,
    index: HashTable<u16>,
    /// Of all services but the first.
    n_labels: usize,
    /// Since the newest generation began something found no place.
    services_are_crowded: bool,
    labels_are_crowded: bool,
}

/// What was refused of one service.
#[derive(Debug, Clone)]
pub struct RefusedService {
    key: u64,
    name: Box<str>,
    spans: [u64; GENERATIONS],
    label_keys: Vec<u64>,
    #[expect(
        clippy::vec_box,
        reason = "a label is large, and a vector that grows has room to spare"
    )]
    labels: Vec<Box<RefusedLabel>>,
}
use RefusedService as Service;

const REST: usize = 0;

/// The label that names the service of a table's label sets.
pub fn service_label(table: Table) -> &'static str {
    match table {
        Table::SpanMetrics | Table::TargetInfo | Table::HostInfo => "service",
        Table::EdgeRequests
        | Table::EdgeFailed
        | Table::EdgeServer
        | Table::EdgeClient
        | Table::EdgeMessaging
        | Table::EdgeInfo => "client",
    }
}

/// An edge has a row in each of several tables: in the others its spans are counted already.
pub fn counts_spans(table: Table) -> bool {
    matches!(table, Table::SpanMetrics | Table::EdgeRequests)
}

impl Wanted {
    /// `seed` keys the hashes, so that nobody can send values that look like few.
    pub fn new(seed: [u64; 4], stale_ms: i64) -> Self {
        let [a, b, c, d] = seed;
        Self {
            hasher: RandomState::with_seeds(a, b, c, d),
            generation_ms: (stale_ms / 2).max(1),
            generation: 0,
            began_ms: 0,
            services: Vec::new(),
            index: HashTable::new(),
            n_labels: 0,
            services_are_crowded: false,
            labels_are_crowded: false,
        }
    }

    /// A row that is counted in an overflow series, with its own labels.
    pub fn refused(&mut self, table: Table, labels: Labels<'_>, spans: u64, at_ms: i64) {
        self.begin(at_ms);
        let service_label = service_label(table);
        let service = self.service_place(labels.get(service_label));
        let newest = self.newest();
        if counts_spans(table) {
            let of_service = &mut self.services[service].spans[newest];
            *of_service = of_service.saturating_add(spans);
        }
        for (name, value) in labels.iter() {
            // A service has one name, and there is one list of names.
            let place = if name == service_label { REST } else { service };
            self.value(place, name, value, spans.max(1));
        }
    }

    /// Lets go of what was refused too long ago.
    pub fn forget(&mut self, at_ms: i64) {
        let n_over = at_ms.saturating_sub(self.began_ms) / self.generation_ms;
        if self.services.is_empty() || n_over <= 0 {
            return;
        }
        if n_over >= i64::from(N_GENERATIONS) {
            *self =
                Self { hasher: self.hasher.clone(), ..Self::new([0; 4], self.generation_ms * 2) };
            return;
        }
        for _ in 0..n_over {
            self.generation += 1;
            self.began_ms += self.generation_ms;
            self.turn();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The one that stands for all that are not told apart first.
    pub fn services(&self) -> impl Iterator<Item = &RefusedService> {
        self.services.iter()
    }

    pub fn service(&self, name: &str) -> Option<&RefusedService> {
        if name == OVERFLOW {
            return self.services.first();
        }
        let key = self.key(name);
        let place = self.index.find(key, |&i| self.services[usize::from(i)].key == key)?;
        Some(&self.services[usize::from(*place)])
    }

    /// What a text is told apart by.
    pub fn key(&self, text: &str) -> u64 {
        self.hasher.hash_one(text)
    }

    fn begin(&mut self, at_ms: i64) {
        self.forget(at_ms);
        if self.services.is_empty() {
            self.began_ms = at_ms;
            self.services.push(Service::new(0, OVERFLOW));
        }
    }

    fn newest(&self) -> usize {
        self.generation as usize % GENERATIONS
    }

    fn service_place(&mut self, name: &str) -> usize {
        let key = self.key(name);
        let services = &self.services;
        if let Some(&i) = self.index.find(key, |&i| services[usize::from(i)].key == key) {
            return i.into();
        }
        if name == OVERFLOW {
            return REST;
        }
        if self.services.len() > SERVICES_MAX {
            self.services_are_crowded = true;
            return REST;
        }
        if self.services.len() == self.services.capacity() {
            self.services.reserve_exact(SERVICES_MAX / 16);
        }
        self.services.push(Service::new(key, name));
        self.index(self.services.len() - 1);
        self.services.len() - 1
    }

    fn index(&mut self, place: usize) {
        let slot = u16::try_from(place).expect("fewer than 2^16 services are told apart");
        let services = &self.services;
        self.index.insert_unique(services[place].key, slot, |&i| services[usize::from(i)].key);
    }

    fn value(&mut self, place: usize, name: &str, value: &str, spans: u64) {
        let (name_key, value_key) = (self.key(name), self.key(value));
        let value = (value_key, value);
        let at = (self.newest(), self.generation);
        if let Some(label) = self.services[place].label_mut(name_key) {
            return label.add(value, spans, at);
        }
        if place != REST {
            let service = &mut self.services[place];
            if self.n_labels < LABELS_MAX && service.labels.len() < LABELS_OF_SERVICE_MAX {
                self.n_labels += 1;
                return service.add_label(name_key, name).add(value, spans, at);
            }
            self.labels_are_crowded = true;
        }
        let rest = &mut self.services[REST];
        if let Some(label) = rest.label_mut(name_key) {
            return label.add(value, spans, at);
        }
        if rest.labels.len() < LABELS_OF_REST_MAX - 1 {
            return rest.add_label(name_key, name).add(value, spans, at);
        }
        let label = match rest.labels.len() {
            LABELS_OF_REST_MAX => rest.labels.last_mut().expect("it has labels"),
            _ => rest.add_label(0, OVERFLOW),
        };
        label.add((name_key, name), spans, at);
    }

    /// The newest generation has begun.
    fn turn(&mut self) {
        let newest = self.newest();
        let oldest = (self.generation + 1).saturating_sub(N_GENERATIONS);
        for service in &mut self.services {
            service.spans[newest] = 0;
            service.labels.iter_mut().for_each(|label| label.forget(newest, oldest));
            service.keep_labels(|label| !label.is_empty());
        }
        // Half of the places are for others, where others came: those who wanted little leave.
        if std::mem::take(&mut self.services_are_crowded) {
            let mut keep = upper_half(self.services[1..].iter().map(Service::weight).collect());
            keep.insert(REST, true);
            let mut keep = keep.into_iter();
            self.services.retain(|_| keep.next().unwrap_or_default());
        }
        if std::mem::take(&mut self.labels_are_crowded) {
            let labels = self.services[1..].iter().flat_map(|service| &service.labels);
            let keep = upper_half(labels.map(|label| label.weight()).collect());
            let mut keep = keep.into_iter();
            for service in &mut self.services[1..] {
                service.keep_labels(|_| keep.next().unwrap_or_default());
            }
        }
        let mut is_rest = true;
        self.services.retain(|s| std::mem::take(&mut is_rest) || !s.is_empty());
        self.n_labels = self.services[1..].iter().map(|service| service.labels.len()).sum();
        self.index.clear();
        (1..self.services.len()).for_each(|place| self.index(place));
    }
}

impl RefusedService {
    fn new(key: u64, name: &str) -> Self {
        let (label_keys, labels) = (Vec::new(), Vec::new());
        Self { key, name: cut(name).into(), spans: [0; GENERATIONS], label_keys, labels }
    }

    /// Cut, if it is very long.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What [`Wanted::key`] is of the whole name; of no name for the one that stands for others.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Spans in overflow series; exact since it was last not told apart.
    pub fn overflowed_spans(&self) -> u64 {
        self.spans.iter().fold(0, |sum, spans| sum.saturating_add(*spans))
    }

    /// With the hash of each one's whole name; 0 for the one that stands for others.
    pub fn labels(&self) -> impl Iterator<Item = (u64, &RefusedLabel)> {
        self.label_keys.iter().copied().zip(self.labels.iter().map(|label| &**label))
    }

    fn label_mut(&mut self, key: u64) -> Option<&mut RefusedLabel> {
        let place = self.label_keys.iter().position(|known| *known == key)?;
        Some(&mut self.labels[place])
    }

    fn add_label(&mut self, key: u64, name: &str) -> &mut RefusedLabel {
        self.label_keys.push(key);
        self.labels.push(Box::new(RefusedLabel::new(name)));
        self.labels.last_mut().expect("one was added")
    }

    fn keep_labels(&mut self, mut keep: impl FnMut(&RefusedLabel) -> bool) {
        let kept: Vec<bool> = self.labels.iter().map(|label| keep(label)).collect();
        let (mut of_keys, mut of_labels) = (kept.iter(), kept.iter());
        self.label_keys.retain(|_| of_keys.next().is_some_and(|keep| *keep));
        self.labels.retain(|_| of_labels.next().is_some_and(|keep| *keep));
    }

    fn weight(&self) -> u64 {
        self.overflowed_spans()
    }

    fn is_empty(&self) -> bool {
        self.weight() == 0 && self.labels.is_empty()
    }
}

/// Which half of them weighs more; of equals the first.
fn upper_half(weights: Vec<u64>) -> Vec<bool> {
    let mut places: Vec<usize> = (0..weights.len()).collect();
    places.sort_by_key(|place| std::cmp::Reverse(weights[*place]));
    let mut keep = vec![false; weights.len()];
    places[..weights.len() / 2].iter().for_each(|place| keep[*place] = true);
    keep
}

#[cfg(test)]
#[path = "wanted_tests.rs"]
mod tests;
