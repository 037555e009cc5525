//! `/generated`: what the generator makes, as of the last tick, as OpenMetrics text.
//!
//! No sample timestamps (a scraper has its own), `_created` for every counter and histogram,
//! canonical `le`, whole numbers without a decimal point.

use std::fmt::Write;

use crate::collect::{Entry, Quantity, SeriesSpec, ShownExemplar, Table, View, values_of};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A piece ends with the first label set that makes it this long.
const CHUNK_BYTES: usize = 64 << 10;

/// The page, made piece by piece.
#[derive(Debug)]
pub(super) struct Page {
    view: View,
    families: Vec<Family>,
    /// What comes next: a family, and there a slot; behind the last family the end mark, then nothing.
    family: usize,
    slot: usize,
    chunk_bytes: usize,
}

/// A family: what its samples are called after its name, and of what kind it is.
#[derive(Debug)]
struct Family {
    name: String,
    kind: &'static str,
    table: Table,
    /// Places of its series in those of the table.
    specs: Vec<usize>,
}

impl Page {
    pub(super) fn new(view: View) -> Self {
        let families = families(&view);
        let chunk_bytes = CHUNK_BYTES;
        Self { view, families, family: 0, slot: 0, chunk_bytes }
    }

    pub(super) fn next_chunk(&mut self) -> Option<String> {
        let mut out = String::new();
        while let Some(family) = self.families.get(self.family) {
            let entries = &self.view.entries[family.table as usize];
            if self.slot == 0 && entries.iter().any(Option::is_some) {
                push(&mut out, format_args!("# TYPE {} {}\n", family.name, family.kind));
            }
            let mut values = Vec::new();
            for (slot, entry) in entries.iter().enumerate().skip(self.slot) {
                if let Some(entry) = entry {
                    self.push_label_set(family, slot, entry, &mut values, &mut out);
                }
                if out.len() >= self.chunk_bytes {
                    self.slot = slot + 1;
                    return Some(out);
                }
            }
            self.family += 1;
            self.slot = 0;
        }
        if self.family == self.families.len() {
            self.family += 1;
            out.push_str("# EOF\n");
        }
        (!out.is_empty()).then_some(out)
    }

    fn push_label_set(
        &self,
        family: &Family,
        slot: usize,
        entry: &Entry,
        values: &mut Vec<f64>,
        out: &mut String,
    ) {
        let slot = u32::try_from(slot).expect("fewer than 2^32 label sets");
        let specs = &self.view.specs[family.table as usize];
        let labels: Vec<String> = entry
            .block
            .labels()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = labels.join(",");
        values_of(specs, self.view.snapshot.values(family.table), slot, values);
        let exemplars = self.view.snapshot.exemplars_of(family.table, slot);
        for &i in &family.specs {
            let spec = &specs[i];
            push(out, format_args!("{}{{{labels}", spec.metric));
            if let Some(bound) = spec.le {
                let comma = if labels.is_empty() { "" } else { "," };
                push(out, format_args!("{comma}le=\"{}\"", canonical(bound)));
            }
            push(out, format_args!("}} {}", number(values[i])));
            if let Some(exemplar) = exemplars.iter().find(|e| belongs(e, spec.quantity)) {
                push_exemplar(out, exemplar, &self.view.settings.trace_id_label_name);
            }
            out.push('\n');
        }
        if family.kind != "gauge" {
            let restarted = family.specs.iter().map(|&i| specs[i].restarted_ms).max();
            let created = seconds(restarted.unwrap_or(i64::MIN).max(entry.created_ms));
            push(out, format_args!("{}_created{{{labels}}} {created}\n", family.name));
        }
    }
}

fn families(view: &View) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for table in Table::ALL {
        for (i, spec) in view.specs[table as usize].iter().enumerate() {
            let (name, kind) = family_of(spec);
            match families.iter_mut().find(|f| f.name == name && f.table == table) {
                Some(family) => family.specs.push(i),
                None => {
                    let name = name.to_owned();
                    families.push(Family { name, kind, table, specs: vec![i] });
                }
            }
        }
    }
    families
}

fn family_of(spec: &SeriesSpec) -> (&str, &'static str) {
    let base = |suffix| spec.metric.strip_suffix(suffix).unwrap_or(&spec.metric);
    match spec.quantity {
        Quantity::Calls | Quantity::Size => (base("_total"), "counter"),
        Quantity::LatencyCount => (base("_count"), "histogram"),
        Quantity::LatencySum => (base("_sum"), "histogram"),
        Quantity::LatencyBucket(_) => (base("_bucket"), "histogram"),
        Quantity::Info => (&spec.metric, "gauge"),
    }
}

fn belongs(shown: &ShownExemplar, quantity: Quantity) -> bool {
    match quantity {
        Quantity::Calls => shown.on_calls,
        Quantity::LatencyBucket(bucket) => shown.exemplar.bucket as usize == bucket,
        _ => false,
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a latency, as in its bucket")]
fn push_exemplar(out: &mut String, shown: &ShownExemplar, trace_id_label_name: &str) {
    let exemplar = &shown.exemplar;
    push(out, format_args!(" # {{{trace_id_label_name}=\""));
    exemplar.trace_id.iter().for_each(|byte| push(out, format_args!("{byte:02x}")));
    out.push_str("\",span_id=\"");
    exemplar.span_id.iter().for_each(|byte| push(out, format_args!("{byte:02x}")));
    let latency = exemplar.latency_nano as f64 / 1e9;
    push(out, format_args!("\"}} {latency} {}", seconds(shown.exemplar_ms)));
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String does not fail");
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// OpenMetrics wants a bound as a float: `1.0`, `0.002`, `+Inf`.
fn canonical(bound: f64) -> String {
    if bound.is_infinite() { "+Inf".to_owned() } else { format!("{bound:?}") }
}

/// Whole numbers as such, others as the shortest decimal.
fn number(value: f64) -> String {
    value.to_string()
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

#[cfg(test)]
#[path = "generated_tests.rs"]
mod tests;
