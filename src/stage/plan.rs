//! The settings, worked out once: which attribute keys to look for, which labels in which order.

use std::time::Duration;

use ahash::RandomState;

use super::graph_plan::GraphPlan;
use super::multiplier::WeightSource;
use super::names::dimension_label;
use super::policies::{Pattern, Policies};
use super::settings::{Settings, SettingsError};
use super::span_names::NameTemplates;
use crate::batch::{Buckets, Table};

/// What a stager follows. Replaced as a whole when the configuration changes.
#[derive(Debug)]
pub struct Plan {
    pub(super) generation: u64,
    pub(super) settings: Settings,
    pub(super) buckets: Buckets,
    /// Of the histogram of each table.
    pub(super) n_buckets: [usize; Table::ALL.len()],
    /// Sorted by name, unique: of several sources for one name only the last one counts, and it
    /// deletes the label where it is absent (reference/tempo.md 2.5).
    pub(super) labels: Vec<LabelSource>,
    pub(super) keys: Keys,
    /// Indexes into `keys` that spans are asked for because of a label.
    pub(super) label_keys: Vec<usize>,
    pub(super) policies: Policies,
    pub(super) weights: WeightSource,
    pub(super) names: NameTemplates,
    /// The same in all plans of this process and in no other one, so that nobody can choose label sets
    /// that an estimate takes for one.
    pub(super) demand_hasher: RandomState,
    /// `None` where no service graph is made.
    pub(super) graph: Option<GraphPlan>,
}

/// Where a label's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LabelSource {
    pub(super) name: String,
    pub(super) source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Service,
    SpanName,
    SpanKind,
    StatusCode,
    StatusMessage,
    /// Index into the keys; resource first, then span.
    Attribute(usize),
    Mapping {
        keys: Vec<usize>,
        join: String,
        coalesce: bool,
    },
    Job,
    Instance,
}

/// The attribute keys that anybody asks for.
#[derive(Debug)]
pub(super) struct Keys {
    keys: Vec<Vec<u8>>,
    /// Indexes by length of the key; the last list is for the longest ones together.
    by_length: [Vec<usize>; LENGTHS],
    /// What policies match the values of resources with, whichever spans ask.
    pub(super) patterns: Vec<Pattern>,
}

/// Keys as long as this or longer are told apart by comparing alone.
const LENGTHS: usize = 64;

impl Plan {
    /// The settings have passed the configuration's own checks; what is left is what only compiling
    /// them shows. All faults are reported.
    pub fn new(settings: &Settings, generation: u64) -> Result<Self, Vec<SettingsError>> {
        let mut keys = Keys::default();
        let policies = Policies::new(
            "processors.span_metrics",
            &settings.span_metrics.filter_policies,
            &mut keys,
        );
        let weights = WeightSource::new(&settings.span_metrics.multiplier, &mut keys);
        let graph = match settings.processors.service_graphs {
            true => GraphPlan::new(settings, &mut keys).map(Some),
            false => Ok(None),
        };
        let names = NameTemplates::new(&settings.span_names, settings.max_label_value_length);
        let (policies, graph, names) = match (policies, graph, names) {
            (Ok(policies), Ok(graph), Ok(names)) => (policies, graph, names),
            (policies, graph, names) => {
                return Err([policies.err(), graph.err(), names.err()]
                    .into_iter()
                    .flatten()
                    .flatten()
                    .collect());
            }
        };
        let labels = label_sources(settings, &mut keys);
        let mut label_keys: Vec<usize> = labels.iter().flat_map(|l| l.source.keys()).collect();
        label_keys.sort_unstable();
        label_keys.dedup();
        Ok(Self {
            generation,
            buckets: Buckets::new(&settings.span_metrics.histogram_buckets),
            n_buckets: settings.bounds().n_buckets(),
            settings: settings.clone(),
            labels,
            keys,
            label_keys,
            policies,
            weights,
            names,
            demand_hasher: RandomState::with_seed(0),
            graph,
        })
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// First and last end time, in nanoseconds, of a span that counts.
    pub(super) fn window(&self, now: Duration) -> (u64, u64) {
        let nano = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        match &self.settings.window {
            None => (0, u64::MAX),
            Some(w) => (nano(now.saturating_sub(w.past)), nano(now.saturating_add(w.future))),
        }
    }
}

impl Source {
    fn keys(&self) -> Vec<usize> {
        match self {
            Self::Attribute(key) => vec![*key],
            Self::Mapping { keys, .. } => keys.clone(),
            _ => Vec::new(),
        }
    }
}

impl Default for Keys {
    fn default() -> Self {
        let by_length = [const { Vec::new() }; LENGTHS];
        Self { keys: Vec::new(), by_length, patterns: Vec::new() }
    }
}

impl Keys {
    /// The index of a key, added if it is new.
    pub(super) fn index_of(&mut self, key: &str) -> usize {
        let known = self.keys.iter().position(|k| k == key.as_bytes());
        known.unwrap_or_else(|| {
            let index = self.keys.len();
            self.by_length[key.len().min(LENGTHS - 1)].push(index);
            self.keys.push(key.as_bytes().to_vec());
            index
        })
    }

    /// The index of a pattern.
    pub(super) fn index_of_pattern(&mut self, pattern: Pattern) -> usize {
        self.patterns.push(pattern);
        self.patterns.len() - 1
    }

    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let alike = &self.by_length[key.len().min(LENGTHS - 1)];
        alike.iter().copied().find(|&index| self.keys[index] == key)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// In Tempo's order of building, so that a later source of the same name wins.
fn label_sources(settings: &Settings, keys: &mut Keys) -> Vec<LabelSource> {
    let span_metrics = &settings.span_metrics;
    let on = &span_metrics.intrinsic_dimensions;
    let mut labels: Vec<LabelSource> = Vec::new();
    let mut add = |name: String, source| {
        let name = cut_name(name, settings.max_label_name_length);
        labels.retain(|l| l.name != name);
        labels.push(LabelSource { name, source });
    };
    for (on, name, source) in [
        (on.service, "service", Source::Service),
        (on.span_name, "span_name", Source::SpanName),
        (on.span_kind, "span_kind", Source::SpanKind),
        (on.status_code, "status_code", Source::StatusCode),
        (on.status_message, "status_message", Source::StatusMessage),
    ] {
        if on {
            add(name.to_owned(), source);
        }
    }
    for key in &span_metrics.dimensions {
        add(dimension_label(key), Source::Attribute(keys.index_of(key)));
    }
    for mapping in &span_metrics.dimension_mappings {
        let source = Source::Mapping {
            keys: mapping.source_labels.iter().map(|key| keys.index_of(key)).collect(),
            join: mapping.join.clone(),
            coalesce: mapping.coalesce,
        };
        add(dimension_label(&mapping.name), source);
    }
    if span_metrics.enable_target_info {
        add("job".to_owned(), Source::Job);
        if span_metrics.enable_instance_label {
            add("instance".to_owned(), Source::Instance);
        }
    }
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    labels
}

/// Names are ASCII by now. 0 = as long as a label set can hold.
pub(super) fn cut_name(mut name: String, max: usize) -> String {
    name.truncate(max_bytes(max));
    name
}

/// The label limit in force: what the settings say, within what a label set can hold.
pub(super) fn max_bytes(max: usize) -> usize {
    let holds = usize::from(u16::MAX);
    if max == 0 { holds } else { max.min(holds) }
}
