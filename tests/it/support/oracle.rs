//! What an independent program counted in a corpus, as the series that Prometheus shall show.

use std::collections::BTreeMap;

use serde_json::Value;

/// Name and value of each label, `__name__` among them in a series.
pub(crate) type Labels = BTreeMap<String, String>;

/// Upper bounds in seconds of the buckets below `+Inf` of an operation's latency.
const LATENCY_BOUNDS: [f64; 14] = {
    let mut bounds = [0.002; 14];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] * 2.0;
        at += 1;
    }
    bounds
};

/// The part on span metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oracle {
    pub(crate) operations: Vec<Operation>,
}

#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// Without empty ones: a label without a value is no label.
    pub(crate) labels: Labels,
    pub(crate) calls: u64,
    pub(crate) latency: Histogram,
}

/// Cumulative buckets; the last is `+Inf`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Histogram {
    pub(crate) buckets: Vec<(Bound, u64)>,
    /// Seconds.
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

/// Upper bound of a bucket, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Bound(pub(crate) f64);

impl Bound {
    /// As Prometheus writes it.
    pub(crate) fn text(self) -> String {
        if self.0.is_infinite() { "+Inf".to_owned() } else { self.0.to_string() }
    }
}

/// Of an operation.
impl Default for Histogram {
    fn default() -> Self {
        Self::new(&LATENCY_BOUNDS)
    }
}

impl Histogram {
    /// With the bounds below `+Inf`.
    pub(crate) fn new(bounds: &[f64]) -> Self {
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        Self { buckets: bounds.map(|bound| (Bound(bound), 0)).collect(), sum: 0.0, count: 0 }
    }

    pub(crate) fn observe(&mut self, nano: u64) {
        let seconds = nano as f64 / 1e9;
        self.count += 1;
        self.sum += seconds;
        for (bound, count) in &mut self.buckets {
            *count += u64::from(seconds <= bound.0);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
    }

    /// Prometheus' `histogram_quantile`, with the rank multiplied by `nudge`: just below and just above
    /// 1 it gives both answers where the rank falls on the edge of a bucket.
    pub(crate) fn quantile(&self, q: f64, nudge: f64) -> f64 {
        let rank = q * self.count as f64 * nudge;
        let last = self.buckets.len() - 1;
        let at = self.buckets.iter().position(|(_, count)| *count as f64 >= rank).unwrap_or(last);
        if at == last {
            return self.buckets[last - 1].0.0;
        }
        let (start, below) = match at.checked_sub(1) {
            Some(before) => (self.buckets[before].0.0, self.buckets[before].1),
            None => (0.0, 0),
        };
        let (Bound(end), count) = self.buckets[at];
        start + (end - start) * ((rank - below as f64) / (count - below) as f64)
    }
}

/// Reads the file that stands beside a corpus.
pub(crate) fn parse(json: &[u8]) -> Oracle {
    let file: Value = serde_json::from_slice(json).expect("an oracle is JSON");
    let listed = file["span_metrics"].as_array().expect("span_metrics");
    Oracle { operations: listed.iter().map(operation).collect() }
}

fn operation(json: &Value) -> Operation {
    let label = |name: &str| (name.to_owned(), json[name].as_str().expect(name).to_owned());
    let labels = ["service", "span_name", "span_kind", "status_code"].map(label);
    Operation {
        labels: labels.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        calls: json["calls"].as_u64().expect("calls"),
        latency: histogram(&json["latency"]),
    }
}

pub(crate) fn histogram(json: &Value) -> Histogram {
    let mut buckets: Vec<(Bound, u64)> = json["buckets"]
        .as_object()
        .expect("buckets")
        .iter()
        .map(|(le, count)| (Bound(le.parse().expect(le)), count.as_u64().expect("a count")))
        .collect();
    buckets.sort_by(|(a, _), (b, _)| a.0.total_cmp(&b.0));
    Histogram {
        buckets,
        sum: json["sum_seconds"].as_f64().expect("a sum"),
        count: json["count"].as_u64().expect("a count"),
    }
}

impl Oracle {
    pub(crate) fn n_spans(&self) -> u64 {
        self.operations.iter().map(|operation| operation.calls).sum()
    }

    /// Every series with its value.
    pub(crate) fn series(&self) -> BTreeMap<Labels, f64> {
        let mut series = BTreeMap::new();
        for Operation { labels, calls, latency } in &self.operations {
            let mut put = |family: &str, le: Option<Bound>, value: f64| {
                let mut labels = labels.clone();
                labels.insert("__name__".to_owned(), format!("traces_spanmetrics_{family}"));
                labels.extend(le.map(|le| ("le".to_owned(), le.text())));
                assert!(series.insert(labels, value).is_none(), "an oracle names a series once");
            };
            put("calls_total", None, *calls as f64);
            put("latency_count", None, latency.count as f64);
            put("latency_sum", None, latency.sum);
            for (bound, count) in &latency.buckets {
                put("latency_bucket", Some(*bound), *count as f64);
            }
        }
        series
    }
}

/// Series by series: sums within 1e-9, all else exactly; nothing missing, nothing else but the
/// families whose names begin as in `also`. Empty when all is as it should be.
pub(crate) fn differences(
    expected: &BTreeMap<Labels, f64>,
    found: &BTreeMap<Labels, f64>,
    also: &[&str],
) -> Vec<String> {
    let mut differences = Vec::new();
    for (labels, &value) in expected {
        let same = |found: f64| match labels["__name__"].ends_with("_sum") {
            true => (found - value).abs() <= 1e-9 * value.abs(),
            false => found == value,
        };
        match found.get(labels) {
            None => differences.push(format!("missing, expected {value}: {labels:?}")),
            Some(&found) if !same(found) => {
                differences.push(format!("{found}, expected {value}: {labels:?}"));
            }
            Some(_) => {}
        }
    }
    let unexpected = found.iter().filter(|(labels, _)| {
        let name = labels.get("__name__").map_or("", String::as_str);
        !expected.contains_key(*labels) && !also.iter().any(|also| name.starts_with(also))
    });
    differences
        .extend(unexpected.map(|(labels, value)| format!("unexpected, {value}: {labels:?}")));
    differences
}

#[track_caller]
pub(crate) fn assert_equal(
    expected: &BTreeMap<Labels, f64>,
    found: &BTreeMap<Labels, f64>,
    also: &[&str],
    source: &str,
) {
    let differences = differences(expected, found, also);
    let n = differences.len();
    let first = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(n == 0, "{source}: {n} differences, the first:\n{first}");
}

/// Takes off the labels that tell where a series comes from, the external label `run` and the
/// instance; they must be there.
pub(crate) fn strip_origin(mut labels: Labels, run: &str) -> Labels {
    const INSTANCE: &str = "__metrics_gen_instance";
    assert_eq!(labels.remove("run").as_deref(), Some(run), "{labels:?}");
    assert!(labels.remove(INSTANCE).is_some(), "no {INSTANCE}: {labels:?}");
    labels
}

mod tests {
    use super::*;
    use crate::support::corpus;

    #[test]
    fn bounds_are_written_as_prometheus_writes_them() {
        let texts: Vec<String> = Histogram::default().buckets.iter().map(|b| b.0.text()).collect();
        let expected = [
            "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512",
            "1.024", "2.048", "4.096", "8.192", "16.384", "+Inf",
        ];
        assert_eq!(texts, expected);
        assert_eq!(Bound(1.0).text(), "1");
    }

    #[test]
    fn every_operation_has_eighteen_series() {
        let oracle = corpus::named("node-edge").oracle();
        assert_eq!(oracle.n_spans(), 9244);
        assert_eq!(oracle.series().len(), oracle.operations.len() * (15 + 3));
    }

    #[test]
    fn a_missing_a_wrong_and_an_unexpected_series_are_told() {
        let expected = corpus::named("node-edge").oracle().series();
        let none: Vec<String> = Vec::new();
        assert_eq!(differences(&expected, &expected, &[]), none);
        let mut found = expected.clone();
        let mut names = expected.keys();
        let missing = names.next().expect("a first");
        found.remove(missing);
        *found.get_mut(names.next().expect("a second")).expect("there") += 1.0;
        let other = Labels::from([("__name__".to_owned(), "other".to_owned())]);
        found.insert(other, 1.0);
        assert_eq!(differences(&expected, &found, &[]).len(), 3);
        assert_eq!(differences(&expected, &found, &["oth"]).len(), 2);
    }

    #[test]
    fn a_sum_may_be_off_by_a_billionth_and_a_count_by_nothing() {
        let series = |name: &str, value| {
            let labels = Labels::from([("__name__".to_owned(), name.to_owned())]);
            BTreeMap::from([(labels, value)])
        };
        let n = |name, found| differences(&series(name, 1.0), &series(name, found), &[]).len();
        assert_eq!(n("x_sum", 1.0 + 9e-10), 0);
        assert_eq!(n("x_sum", 1.0 + 2e-9), 1);
        assert_eq!(n("x_count", 1.0 + 9e-10), 1);
    }

    #[test]
    fn a_quantile_on_the_edge_of_a_bucket_has_two_answers() {
        let mut histogram = Histogram::default();
        (0..99).for_each(|_| histogram.observe(1_000_000));
        histogram.observe(1_000_000_000);
        assert!((histogram.quantile(0.99, 1.0 - 1e-12) - 0.002).abs() < 1e-12);
        assert!((histogram.quantile(0.99, 1.0 + 1e-12) - 0.512).abs() < 1e-9);
        assert!((histogram.quantile(0.5, 1.0) - 0.002 * 50.0 / 99.0).abs() < 1e-15);
    }
}
