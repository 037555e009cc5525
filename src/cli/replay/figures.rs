//! What the tables of operations and of edges have in common: sums of histograms, and how texts and
//! numbers are shown.

use serde_json::{Value, json};

use crate::ledger::Total;
use crate::series::{Values, histogram_quantile};

/// Characters of a text that a table shows; JSON has all of it.
const TEXT_MAX: usize = 72;
const BETWEEN: &str = "  ";

/// The histograms of several label sets together.
#[derive(Debug, Default)]
pub(super) struct Latency {
    buckets: Vec<Total>,
}

impl Latency {
    pub(super) fn add(&mut self, values: &Values, slot: u32) {
        self.buckets.resize(values.layout().bounds.len() + 1, Total::default());
        for (bucket, sum) in self.buckets.iter_mut().enumerate() {
            sum.add(&values.bucket(slot, bucket));
        }
    }

    /// Milliseconds; `None` without an observation.
    pub(super) fn quantile(&self, q: f64, bounds: &[f64]) -> Option<f64> {
        let counts: Vec<f64> = self.buckets.iter().map(Total::as_f64).collect();
        histogram_quantile(q, bounds, &counts).map(|seconds| seconds * 1000.0)
    }
}

/// Aligned columns under their names: the first `n_texts` are text, the others numbers.
pub(super) fn table<const N: usize>(
    names: [&str; N],
    n_texts: usize,
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let mut lines = vec![names.map(str::to_owned)];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |line: &[String; N]| {
        let cells = line.iter().zip(widths).enumerate().map(|(column, (text, width))| {
            if column < n_texts { format!("{text:<width$}") } else { format!("{text:>width$}") }
        });
        format!("{}\n", cells.collect::<Vec<_>>().join(BETWEEN))
    };
    lines.iter().map(line).collect()
}

/// A whole number stays one.
pub(super) fn number(total: &Total) -> Value {
    match u64::try_from(total.whole) {
        Ok(whole) if total.rest == 0.0 => json!(whole),
        _ => json!(total.as_f64()),
    }
}

pub(super) fn count(total: &Total) -> String {
    if total.rest == 0.0 { total.whole.to_string() } else { format!("{:.3}", total.as_f64()) }
}

/// Three digits that count, and more where the whole part has more.
pub(super) fn milliseconds(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 1.0 => format!("{ms:.3}"),
        Some(ms) if ms < 10.0 => format!("{ms:.2}"),
        Some(ms) if ms < 100.0 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
    }
}

/// On one line, and not too long.
pub(super) fn shown(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(TEXT_MAX).map(visible).collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}
