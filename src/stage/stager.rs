//! The walk over one request: each span is filtered, measured, and added to its row.

use std::time::Duration;

use super::labels::{Pieces, Renamed, Written, push_host_info, push_target_info};
use super::names::STATUS_ERROR;
use super::plan::Plan;
use super::policies::Attributes;
use super::raw_keys::{RawKeys, push_piece, push_raw_value};
use super::resource::Resources;
use super::settings::Sanitization;
use super::sides::FoundOrigin;
use crate::batch::{
    Batch, Demand, Discarded, Fold, Labels, Observation, Processor, Repaired, Repairs, Table,
    Tallies, Weight, latency_nano, push_label,
};
use crate::otlp::{
    AnyValue, DecodeError, KeyValue, Resource, Span, Value, each_resource_spans, each_span,
};

/// Several times the largest batches that senders make.
const SPANS_MAX: u64 = 50_000;
/// Each may complete an edge of its own: some 3 microseconds under the tenant's lock. One and a half of the
/// batches of 8,192 spans that Collectors make by default, of which not all are such. 4 MiB hold about as
/// many of what SDKs send (the median has 270 to 350 bytes in `tests/corpus`).
pub(super) const SIDES_MAX: usize = 12_288;
/// A resource and a row of spans are a label set each, an origin of edge sides leads to several. What is
/// new costs a hundred times what is known: a batch of the usual 8,192 spans may be new throughout.
const LABEL_SETS_MAX: usize = 12_000;
const LABEL_SETS_OF_ORIGIN: usize = 4;
/// Memory that one thread keeps for the next request; what an outsized one took is given back.
const KEPT_BYTES: usize = 8 << 20;
/// What edge sides say of themselves: each edge has the text of both in several label sets.
pub(super) const ORIGIN_TEXT_MAX: usize = 3 << 20;
/// What one request may take where nobody says less: what keeps a small one from making a large batch.
const BYTES_MAX: usize = 24 << 20;

/// Why a request was not staged; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    #[error("more than {SPANS_MAX} spans or resources in one request, send smaller batches")]
    TooManySpans,
    #[error("more than {LABEL_SETS_MAX} different label sets in one request, send smaller batches")]
    TooManyLabelSets,
    #[error(
        "more than {SIDES_MAX} client, server, producer and consumer spans in one request, send smaller batches"
    )]
    TooManySides,
    #[error(
        "edge sides with more than {ORIGIN_TEXT_MAX} bytes of different services, peers and dimensions in one request, send smaller batches"
    )]
    TooMuchOriginText,
    #[error(
        "label sets and edge sides of one request take more than {max} bytes, send smaller batches"
    )]
    TooMuchText { max: usize },
}

/// The row that a span's raw pieces lead to.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    row: u32,
    repairs: Repairs,
    /// Whether its name has, or would have, a template of another text.
    renamed: bool,
}

/// Turns requests into batches, one after the other, in memory that it keeps.
#[derive(Debug)]
pub struct Stager {
    max_bytes: usize,
    pub(super) resources: Resources,
    raw_keys: RawKeys<Found>,
    fold: Fold,
    pub(super) raw_origins: RawKeys<FoundOrigin>,
    pub(super) raw_key: Vec<u8>,
    pub(super) batch: Batch,
    outside_window: u64,
}

impl Default for Stager {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

impl Stager {
    /// A request whose batch and scratch take more than `max_bytes` is refused. While a table or a text
    /// grows it is there twice, so that for a moment it may be up to three times as much.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            resources: Resources::default(),
            raw_keys: RawKeys::default(),
            fold: Fold::default(),
            raw_origins: RawKeys::default(),
            raw_key: Vec::new(),
            batch: Batch::default(),
            outside_window: 0,
        }
    }

    /// Stages one `ExportTraceServiceRequest`; `now` is the time since the Unix epoch.
    pub fn stage(&mut self, plan: &Plan, body: &[u8], now: Duration) -> Result<&Batch, StageError> {
        if self.kept_bytes() > KEPT_BYTES.min(self.max_bytes / 2) {
            *self = Self::new(self.max_bytes);
        }
        let was_warm = self.kept_bytes() > 0;
        match self.walk(plan, body, now) {
            // What earlier requests left may be of no use to this one.
            Err(StageError::TooMuchText { .. }) if was_warm => {
                *self = Self::new(self.max_bytes);
                self.walk(plan, body, now)?;
            }
            staged => staged?,
        }
        Ok(&self.batch)
    }

    fn walk(&mut self, plan: &Plan, body: &[u8], now: Duration) -> Result<(), StageError> {
        self.resources.clear();
        self.raw_keys.clear();
        self.raw_origins.clear();
        self.fold.clear(plan.n_buckets);
        self.batch.clear();
        self.batch.generation = plan.generation;
        self.outside_window = 0;
        let mut walk = Walk {
            plan,
            window: plan.window(now),
            values: vec![None; plan.keys.len()],
            counts_spans: plan.settings.processors.span_metrics(),
            ids: None,
            latency_nano: 0,
            n_resource_spans: 0,
            filtered: 0,
            filtered_sides: 0,
            no_edge_side: 0,
            tallies: Tallies::default(),
            stager: self,
        };
        each_resource_spans(body, |bytes| walk.resource_spans(bytes))?;
        let tallies = walk.settled();
        self.batch.tallies = tallies;
        self.fold.finish(&mut self.batch);
        self.check_room()
    }

    /// Asked where something new is kept.
    pub(super) fn check_room(&self) -> Result<(), StageError> {
        let max = self.max_bytes;
        if self.kept_bytes() > max { Err(StageError::TooMuchText { max }) } else { Ok(()) }
    }

    /// What is kept from request to request, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.resources.kept_bytes()
            + self.raw_keys.kept_bytes()
            + self.raw_origins.kept_bytes()
            + self.fold.kept_bytes()
            + self.batch.kept_bytes()
    }

    /// Called for each one that is new.
    pub(super) fn check_label_sets(&self) -> Result<(), StageError> {
        let of_origins = LABEL_SETS_OF_ORIGIN * self.raw_origins.len();
        let n = self.resources.len() + self.raw_keys.len() + of_origins;
        if n > LABEL_SETS_MAX { Err(StageError::TooManyLabelSets) } else { Ok(()) }
    }

    /// It is kept: one that could not be is not even looked at.
    fn check_resource(&self, resource: &Resource<'_>) -> Result<(), StageError> {
        let len: usize = resource.parts().map(<[u8]>::len).sum();
        let max = self.max_bytes;
        if len > max { Err(StageError::TooMuchText { max }) } else { Ok(()) }
    }

    /// Spans of the last batch that ended outside the time window.
    pub fn outside_window(&self) -> u64 {
        self.outside_window
    }
}

/// One request on its way through.
pub(super) struct Walk<'s, 'a> {
    pub(super) plan: &'s Plan,
    window: (u64, u64),
    /// The current span's values of the wanted keys.
    pub(super) values: Vec<Option<Value<'a>>>,
    /// Trace and span id of the current span, where both are well formed.
    pub(super) ids: Option<(&'a [u8; 16], &'a [u8; 8])>,
    /// And its latency, as it is counted.
    latency_nano: u64,
    counts_spans: bool,
    n_resource_spans: u64,
    /// Spans that the policies of the span metrics left out.
    filtered: u64,
    pub(super) filtered_sides: u64,
    pub(super) no_edge_side: u64,
    tallies: Tallies,
    pub(super) stager: &'s mut Stager,
}

/// Where a span stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'r, 'a> {
    pub(super) index: usize,
    resource: &'r Resource<'a>,
}

impl<'a> Walk<'_, 'a> {
    fn resource_spans(&mut self, bytes: &'a [u8]) -> Result<(), StageError> {
        self.n_resource_spans += 1;
        if self.n_resource_spans > SPANS_MAX {
            return Err(StageError::TooManySpans);
        }
        let resource = Resource::of(bytes)?;
        self.stager.check_resource(&resource)?;
        let n_known = self.stager.resources.len();
        let index = self.stager.resources.resolve(&resource, self.plan)?;
        if index == n_known {
            self.stager.check_label_sets()?;
        }
        let place = Place { index, resource: &resource };
        if self.plan.settings.processors.host_info {
            self.host_info(place)?;
        }
        each_span(bytes, |span| self.span(place, span))
    }

    fn span(&mut self, place: Place<'_, 'a>, bytes: &'a [u8]) -> Result<(), StageError> {
        let span = self.read(bytes)?;
        self.tallies.received += 1;
        if self.tallies.received > SPANS_MAX {
            return Err(StageError::TooManySpans);
        }
        if !(self.window.0..=self.window.1).contains(&span.end_unix_nano) {
            self.stager.outside_window += 1;
            return Ok(());
        }
        self.ids = well_formed_ids(&span);
        let mut repairs = Repairs::default();
        let latency_nano = latency_nano(span.start_unix_nano, span.end_unix_nano);
        self.latency_nano = latency_nano.unwrap_or_default();
        repairs.set(Repaired::Duration, latency_nano.is_none());
        let mut used = false;
        if self.counts_spans {
            if self.plan.policies.is_empty() || self.kept(place, &span)? {
                let found = self.find(place, &span)?;
                self.observe(place, &span, found, bytes.len(), &mut repairs)?;
                used = true;
            } else {
                self.filtered += 1;
            }
        }
        if let Some(graph) = &self.plan.graph {
            used |= self.side(graph, place, &span, bytes, &mut repairs)?;
        }
        if used {
            self.tallies.repair(repairs);
        }
        Ok(())
    }

    /// The tallies, with every span of every processor that runs in one place.
    fn settled(&self) -> Tallies {
        let mut tallies = self.tallies;
        let outside = self.stager.outside_window;
        let on = self.plan.settings.processors;
        for (processor, on, filtered) in [
            (Processor::SpanMetrics, on.span_metrics(), self.filtered),
            (Processor::HostInfo, on.host_info, 0),
        ] {
            if on {
                tallies.discard(processor, Discarded::OutsideTimeWindow, outside);
                tallies.discard(processor, Discarded::Filtered, filtered);
                tallies.count(processor, tallies.received - outside - filtered);
            }
        }
        if on.service_graphs {
            // What becomes of the sides is decided where they meet, and counted there.
            let graph = Processor::ServiceGraphs;
            tallies.discard(graph, Discarded::OutsideTimeWindow, outside);
            tallies.discard(graph, Discarded::Filtered, self.filtered_sides);
            tallies.discard(graph, Discarded::NoEdgeSide, self.no_edge_side);
        }
        tallies
    }

    /// Reads the span and, where anything asks for attributes, the values of the wanted keys.
    #[inline]
    fn read(&mut self, bytes: &'a [u8]) -> Result<Span<'a>, DecodeError> {
        let keys = &self.plan.keys;
        if keys.len() == 0 {
            return Span::read(bytes, |_| Ok(()));
        }
        self.values.fill(None);
        let values = &mut self.values;
        Span::read(bytes, |attribute| {
            let attribute = KeyValue::read(attribute)?;
            if let Some(key) = keys.find(attribute.key) {
                values[key].get_or_insert(attribute.value);
            }
            Ok(())
        })
    }

    fn kept(&self, place: Place<'_, 'a>, span: &Span<'a>) -> Result<bool, DecodeError> {
        let pieces = self.pieces(place, span);
        self.plan.policies.keep(span, &pieces)
    }

    pub(super) fn pieces<'w>(&'w self, place: Place<'_, 'a>, span: &'w Span<'a>) -> Pieces<'w, 'a> {
        Pieces {
            plan: self.plan,
            resources: &self.stager.resources,
            resource: place.index,
            span,
            values: &self.values,
        }
    }

    /// The row of a span, by its raw pieces or, for the first of its kind, by its label set.
    #[inline]
    fn find(&mut self, place: Place<'_, 'a>, span: &Span<'a>) -> Result<Found, StageError> {
        self.write_raw_key(place, span);
        let hash = self.stager.raw_keys.hash(&self.stager.raw_key);
        match self.stager.raw_keys.find(hash, &self.stager.raw_key) {
            Some(found) => Ok(found),
            None => self.first_of_its_kind(place, span, hash),
        }
    }

    fn first_of_its_kind(
        &mut self,
        place: Place<'_, 'a>,
        span: &Span<'a>,
        hash: u64,
    ) -> Result<Found, StageError> {
        let mut text = std::mem::take(&mut self.stager.fold.text);
        let start = text.len();
        let written = self.pieces(place, span).push_labels(&mut text);
        self.stager.fold.text = text;
        let Written { repairs, renamed } = written?;
        self.stager.check_room()?;
        let row = match self.plan.names.mode() {
            Sanitization::DryRun => self.estimated_row(start, renamed.as_ref()),
            _ => self.stager.fold.row(Table::SpanMetrics, start),
        };
        let found = Found { row, repairs, renamed: renamed.is_some() };
        self.stager.raw_keys.insert(hash, &self.stager.raw_key, found);
        self.stager.check_label_sets()?;
        Ok(found)
    }

    /// The row of the label set from `start` on, with what it would be if names became templates.
    fn estimated_row(&mut self, start: usize, renamed: Option<&Renamed>) -> u32 {
        let Stager { fold, batch, .. } = &mut *self.stager;
        let hash = |labels: &[u8]| self.plan.demand_hasher.hash_one(labels);
        let raw = hash(&fold.text[start..]);
        let sanitized = renamed.map_or(raw, |renamed| {
            let mut labels = fold.text[start..renamed.label.start].to_vec();
            let label = Labels::new(&fold.text[renamed.label.clone()]).iter().next();
            if let Some((name, _)) = label {
                push_label(&mut labels, name, &renamed.template);
            }
            labels.extend_from_slice(&fold.text[renamed.label.end..]);
            hash(&labels)
        });
        let row = fold.row(Table::SpanMetrics, start);
        if fold.text.len() > start {
            batch.demand.push(Demand { raw, sanitized });
        }
        row
    }

    /// All that the label set depends on, unambiguously joined.
    #[inline]
    fn write_raw_key(&mut self, place: Place<'_, 'a>, span: &Span<'a>) {
        let Stager { raw_key, resources, .. } = &mut *self.stager;
        raw_key.clear();
        raw_key.extend_from_slice(&place.index.to_le_bytes());
        raw_key.extend_from_slice(&span.kind.to_le_bytes());
        raw_key.extend_from_slice(&span.status_code.to_le_bytes());
        let intrinsic = &self.plan.settings.span_metrics.intrinsic_dimensions;
        if intrinsic.span_name {
            push_piece(raw_key, span.name);
        }
        if intrinsic.status_message {
            push_piece(raw_key, span.status_message);
        }
        for &key in &self.plan.label_keys {
            if resources.value(place.index, key, &self.plan.keys).is_none() {
                match &self.values[key] {
                    None => raw_key.push(0),
                    Some(value) => push_raw_value(raw_key, value),
                }
            }
        }
    }

    #[inline]
    fn observe(
        &mut self,
        place: Place<'_, 'a>,
        span: &Span<'a>,
        found: Found,
        size: usize,
        repairs: &mut Repairs,
    ) -> Result<(), StageError> {
        let weight = self.plan.weights.weight(span, &self.pieces(place, span), repairs)?;
        repairs.add(found.repairs);
        repairs.set(Repaired::Ids, self.ids.is_none());
        self.tallies.names_sanitized += u64::from(found.renamed);
        self.stager.fold.observe(
            found.row,
            &Observation {
                bucket: self.plan.buckets.index_of(self.latency_nano),
                latency_nano: self.latency_nano,
                size: size as u64,
                weight: weight.unwrap_or(Weight::ONE),
                error: span.status_code == STATUS_ERROR,
                end_unix_nano: span.end_unix_nano,
                ids: self.ids,
            },
        );
        if self.plan.settings.span_metrics.enable_target_info
            && !self.stager.resources.context(place.index).target_info_done
        {
            self.target_info(place)?;
        }
        Ok(())
    }

    #[cold]
    fn target_info(&mut self, place: Place<'_, 'a>) -> Result<(), StageError> {
        let Stager { fold, resources, .. } = &mut *self.stager;
        resources.context(place.index).target_info_done = true;
        let start = fold.text.len();
        push_target_info(self.plan, resources, place.index, place.resource, &mut fold.text)?;
        if fold.text.len() > start {
            fold.row(Table::TargetInfo, start);
        }
        self.stager.check_room()
    }

    fn host_info(&mut self, place: Place<'_, 'a>) -> Result<(), StageError> {
        let settings = &self.plan.settings;
        let Stager { fold, resources, .. } = &mut *self.stager;
        if std::mem::replace(&mut resources.context(place.index).host_info_done, true) {
            return Ok(());
        }
        let start = fold.text.len();
        let identifiers = &settings.host_info.host_identifiers;
        let max = settings.max_label_value_length;
        push_host_info(identifiers, max, place.resource, &mut fold.text)?;
        if fold.text.len() > start {
            fold.row(Table::HostInfo, start);
        }
        self.stager.check_room()
    }
}

impl Attributes for Pieces<'_, '_> {
    fn of_resource(&self, key: usize) -> Result<Option<AnyValue<'_>>, DecodeError> {
        let encoded = self.resources.value(self.resource, key, &self.plan.keys);
        encoded.map(AnyValue::read).transpose()
    }

    fn of_span(&self, key: usize) -> Result<Option<AnyValue<'_>>, DecodeError> {
        self.values[key].as_ref().map(Value::read).transpose()
    }

    fn matches(&self, pattern: usize) -> Result<bool, DecodeError> {
        let Plan { keys, .. } = self.plan;
        match self.resources.verdict(self.resource, pattern, keys) {
            Some(verdict) => Ok(verdict),
            // A malformed value is the request's end, none matches nothing.
            None => Ok(self.of_resource(keys.patterns[pattern].key)?.is_some()),
        }
    }
}

/// Trace and span id where both have their length and are not all zeros.
#[inline]
fn well_formed_ids<'a>(span: &Span<'a>) -> Option<(&'a [u8; 16], &'a [u8; 8])> {
    let trace_id: &[u8; 16] = span.trace_id.try_into().ok()?;
    let span_id: &[u8; 8] = span.span_id.try_into().ok()?;
    let odd = u128::from_ne_bytes(*trace_id) == 0 || u64::from_ne_bytes(*span_id) == 0;
    (!odd).then_some((trace_id, span_id))
}
