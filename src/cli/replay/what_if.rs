//! `--what-if drop=LABEL`: how many series there would be without a label. Exact: the label sets that the
//! files have made are counted, with and without it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use ahash::RandomState;
use hashbrown::HashSet;
use serde::Serialize;

use crate::config::Config;
use crate::ledger::{Event, Labels, Snapshot, Table};

/// One `--what-if`: labels that are dropped together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped(Vec<String>);

impl FromStr for Dropped {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let labels = text.strip_prefix("drop=").unwrap_or_default().split(',');
        let labels: Vec<String> = labels.map(|label| label.trim().to_owned()).collect();
        if labels.iter().any(String::is_empty) {
            return Err("expected drop=LABEL, or drop=LABEL,LABEL to drop several together");
        }
        Ok(Self(labels))
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.join(","))
    }
}

/// What the service would make with this configuration: more is counted for the tables.
#[derive(Debug)]
pub(super) struct Made {
    /// Prometheus series of a label set.
    n_series: [usize; Table::ALL.len()],
    /// Labels of the span metrics that only the table has.
    left_out: Vec<&'static str>,
}

impl Made {
    pub(super) fn by(config: &Config) -> Self {
        let on = config.stage.processors;
        let edges = config.ledger.edge_series;
        let is_made = |table| match table {
            Table::SpanMetrics | Table::TargetInfo => on.span_metrics(),
            Table::HostInfo => on.host_info,
            Table::EdgeRequests | Table::EdgeFailed => on.service_graphs && edges.requests,
            Table::EdgeServer => on.service_graphs && edges.server_seconds,
            Table::EdgeClient => on.service_graphs && edges.client_seconds,
            Table::EdgeMessaging => on.service_graphs && edges.messaging_seconds,
            Table::EdgeInfo => on.service_graphs && edges.connection_info,
        };
        let n_series =
            |table| if is_made(table) { config.ledger.series_per_set[table as usize] } else { 0 };
        let intrinsic = &config.stage.span_metrics.intrinsic_dimensions;
        let labels = [
            ("service", intrinsic.service),
            ("span_name", intrinsic.span_name),
            ("span_kind", intrinsic.span_kind),
            ("status_code", intrinsic.status_code),
        ];
        Self {
            n_series: Table::ALL.map(n_series),
            left_out: labels.iter().filter(|(_, on)| !on).map(|(name, _)| *name).collect(),
        }
    }
}

/// Label sets and Prometheus series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Size {
    label_sets: usize,
    series: usize,
}

/// The answer to one `--what-if`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct WhatIf {
    drop: String,
    series: usize,
    series_without: usize,
    label_sets: usize,
    label_sets_without: usize,
    /// What is wrong with the labels.
    #[serde(skip)]
    pub(super) unknown: Vec<String>,
}

/// Of the first tick of a tenant: what was born is all there is.
pub(super) fn of(snapshot: &Snapshot, made: &Made, drops: &[Dropped]) -> Vec<WhatIf> {
    if drops.is_empty() {
        return Vec::new();
    }
    let known = label_names(snapshot, made);
    let with_all = size(snapshot, made, &[]);
    let one = |drop: &Dropped| {
        let without = size(snapshot, made, &drop.0);
        WhatIf {
            drop: drop.to_string(),
            series: with_all.series,
            series_without: without.series,
            label_sets: with_all.label_sets,
            label_sets_without: without.label_sets,
            unknown: drop.0.iter().filter_map(|label| unknown(label, &known)).collect(),
        }
    };
    drops.iter().map(one).collect()
}

/// A line each.
pub(super) fn lines(all: &[WhatIf]) -> String {
    all.iter().map(|what_if| format!("{what_if}\n")).collect()
}

impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { drop, series, series_without, label_sets, label_sets_without, .. } = self;
        write!(
            f,
            "what-if drop={drop}: {label_sets} label sets with {series} series; \
             without it {label_sets_without} with {series_without}"
        )
    }
}

/// The label sets that the service would have, by table.
fn label_sets<'s>(
    snapshot: &'s Snapshot,
    made: &Made,
) -> impl Iterator<Item = (Table, impl Iterator<Item = (&'s str, &'s str)>)> {
    snapshot.events.iter().filter_map(|event| {
        let Event::Birth { table, labels, .. } = event else { return None };
        let left_out: &[&str] = if *table == Table::SpanMetrics { &made.left_out } else { &[] };
        let left_out = left_out.to_vec();
        let labels = Labels::new(labels).iter().filter(move |(name, _)| !left_out.contains(name));
        (made.n_series[*table as usize] > 0).then_some((*table, labels))
    })
}

fn size(snapshot: &Snapshot, made: &Made, without: &[String]) -> Size {
    let mut seen = HashSet::with_hasher(RandomState::new());
    let mut size = Size::default();
    for (table, labels) in label_sets(snapshot, made) {
        let mut key = vec![table as u8];
        for (name, value) in labels.filter(|(name, _)| without.iter().all(|drop| drop != name)) {
            crate::batch::push_label(&mut key, name, value);
        }
        if seen.insert(key) {
            size.label_sets += 1;
            size.series += made.n_series[table as usize];
        }
    }
    size
}

fn label_names<'s>(snapshot: &'s Snapshot, made: &Made) -> BTreeSet<&'s str> {
    label_sets(snapshot, made).flat_map(|(_, labels)| labels.map(|(name, _)| name)).collect()
}

fn unknown(label: &str, known: &BTreeSet<&str>) -> Option<String> {
    if known.contains(label) {
        return None;
    }
    let nearest = known.iter().min_by_key(|other| strsim::osa_distance(other, label));
    let nearest = nearest.map_or_else(String::new, |near| format!(", the nearest one is {near}"));
    Some(format!("--what-if drop={label}: no series has this label{nearest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_from_what_is_none() {
        let drop = |text: &str| text.parse().map(|drop: Dropped| drop.0.join("|"));
        assert_eq!(drop("drop=span_name").as_deref(), Ok("span_name"));
        assert_eq!(drop("drop=a, b").as_deref(), Ok("a|b"));
        for text in ["", "span_name", "drop=", "drop=a,", "keep=a"] {
            assert!(drop(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_nearest_label_is_named() {
        let known = BTreeSet::from(["service", "span_kind", "span_name"]);
        assert_eq!(unknown("span_kind", &known), None);
        let found = unknown("span.name", &known);
        let wanted =
            "--what-if drop=span.name: no series has this label, the nearest one is span_name";
        assert_eq!(found.as_deref(), Some(wanted));
        let found = unknown("a", &BTreeSet::new());
        assert_eq!(found.as_deref(), Some("--what-if drop=a: no series has this label"));
    }
}
