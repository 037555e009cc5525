//! `/generated`: what the generator makes, as of the last tick, as OpenMetrics text.
//!
//! No sample timestamps (a scraper has its own), `_created` for every counter and histogram,
//! canonical `le`, whole numbers without a decimal point.

use std::fmt::Write;

use crate::collect::{Quantity, SeriesSpec, ShownExemplar, Table, View, values_of};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A family: what its samples are called after its name, and of what kind it is.
struct Family<'a> {
    name: &'a str,
    kind: &'static str,
    table: Table,
    specs: Vec<(usize, &'a SeriesSpec)>,
}

/// The whole page.
pub(super) fn text(view: &View) -> String {
    let mut out = String::new();
    for family in families(view) {
        page_family(view, &family, &mut out);
    }
    out.push_str("# EOF\n");
    out
}

fn families(view: &View) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for table in Table::ALL {
        for (i, spec) in view.specs[table as usize].iter().enumerate() {
            let (name, kind) = family_of(spec);
            match families.iter_mut().find(|f| f.name == name && f.table == table) {
                Some(family) => family.specs.push((i, spec)),
                None => families.push(Family { name, kind, table, specs: vec![(i, spec)] }),
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

fn page_family(view: &View, family: &Family<'_>, out: &mut String) {
    let entries = &view.entries[family.table as usize];
    let specs = &view.specs[family.table as usize];
    if entries.iter().all(Option::is_none) {
        return;
    }
    let mut values = Vec::new();
    push(out, format_args!("# TYPE {} {}\n", family.name, family.kind));
    for (slot, entry) in (0..).zip(entries) {
        let Some(entry) = entry else { continue };
        let labels: Vec<String> = entry
            .block
            .labels()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = labels.join(",");
        values_of(specs, view.snapshot.values(family.table), slot, &mut values);
        let exemplars = view.snapshot.exemplars_of(family.table, slot);
        for &(i, spec) in &family.specs {
            push(out, format_args!("{}{{{labels}", spec.metric));
            if let Some(bound) = spec.le {
                let comma = if labels.is_empty() { "" } else { "," };
                push(out, format_args!("{comma}le=\"{}\"", canonical(bound)));
            }
            push(out, format_args!("}} {}", number(values[i])));
            if let Some(exemplar) = exemplars.iter().find(|e| belongs(e, spec.quantity)) {
                push_exemplar(out, exemplar, &view.settings.trace_id_label_name);
            }
            out.push('\n');
        }
        if family.kind != "gauge" {
            let restarted = family.specs.iter().map(|(_, spec)| spec.restarted_ms).max();
            let created = seconds(restarted.unwrap_or(i64::MIN).max(entry.created_ms));
            push(out, format_args!("{}_created{{{labels}}} {created}\n", family.name));
        }
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
