//! What a Prometheus would have stored: samples and exemplars by label set, taken or refused by the
//! rules of Prometheus 2.42, and a list of all that a good sender never does.

use std::collections::BTreeMap;

use spanmill::remote_write::proto::{Exemplar, Sample, TimeSeries, WriteRequest};

/// Bits of the NaN that ends a series.
pub(crate) const STALE_MARKER: u64 = 0x7ff0_0000_0000_0002;

/// How much older than the newest sample of all series a sample may be.
const WINDOW_MS: i64 = 3_600_000;
const EXEMPLAR_CHARS_MAX: usize = 128;

/// Sorted by name.
pub(crate) type Labels = Vec<(String, String)>;

#[derive(Debug, Default)]
pub(crate) struct Stored {
    series: BTreeMap<Labels, Series>,
    newest_ms: Option<i64>,
    violations: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Series {
    /// In order of time, stale markers among them.
    pub(crate) samples: Vec<Sample>,
    pub(crate) exemplars: Vec<Exemplar>,
}

/// Why a request was rolled back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Stored {
    /// Series that have at least these labels.
    pub(crate) fn select(&self, matching: &[(&str, &str)]) -> Vec<(&Labels, &Series)> {
        let has = |labels: &Labels, (name, value): &(&str, &str)| {
            labels.iter().any(|label| label.0 == *name && label.1 == *value)
        };
        self.series
            .iter()
            .filter(|(labels, _)| matching.iter().all(|label| has(labels, label)))
            .collect()
    }

    /// The only series that has at least these labels.
    pub(crate) fn series(&self, matching: &[(&str, &str)]) -> Option<&Series> {
        let found = self.select(matching);
        assert!(found.len() < 2, "more than one series has {matching:?}: {found:?}");
        found.first().map(|(_, series)| *series)
    }

    pub(crate) fn last(&self, matching: &[(&str, &str)]) -> Option<f64> {
        self.series(matching)?.last()
    }

    /// Over all series that have at least these labels.
    pub(crate) fn increase(&self, matching: &[(&str, &str)]) -> f64 {
        self.select(matching).iter().map(|(_, series)| series.increase()).sum()
    }

    pub(crate) fn n_series(&self) -> usize {
        self.series.len()
    }

    /// What was stored although a good sender would not have sent it, or was dropped silently.
    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    pub(crate) fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    pub(crate) fn add_violation(&mut self, violation: String) {
        self.violations.push(violation);
    }

    /// Stores the whole request or nothing of it.
    pub(crate) fn write(&mut self, request: &WriteRequest) -> Result<(), Refusal> {
        for series in &request.timeseries {
            self.check(series)?;
        }
        for series in &request.timeseries {
            self.commit(series);
        }
        Ok(())
    }

    /// Against what was stored before the request, as Prometheus does.
    fn check(&mut self, series: &TimeSeries) -> Result<(), Refusal> {
        let labels = labels_of(series);
        self.check_labels(series, &labels)?;
        let refuse = |status, text: &str| {
            Err(Refusal { status, message: format!("{text}: {}", show(&labels)) })
        };
        let last = self.series.get(&labels).and_then(|series| series.samples.last());
        for sample in &series.samples {
            if self.newest_ms.is_some_and(|newest| sample.timestamp < newest - WINDOW_MS) {
                return refuse(400, "out of bounds");
            }
            let Some(last) = last else { continue };
            if sample.timestamp < last.timestamp {
                return refuse(400, "out of order sample");
            }
            let same_value = sample.value.to_bits() == last.value.to_bits();
            if sample.timestamp == last.timestamp && !same_value {
                return refuse(400, "duplicate sample for timestamp");
            }
        }
        Ok(())
    }

    fn check_labels(&mut self, series: &TimeSeries, labels: &Labels) -> Result<(), Refusal> {
        let mut violation = |text: &str| self.violations.push(format!("{text}: {}", show(labels)));
        if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            violation("label name twice");
            return Err(Refusal { status: 500, message: "label name is not unique".to_owned() });
        }
        if !series.labels.is_sorted_by(|a, b| a.name < b.name) {
            violation("labels not sorted by name");
        }
        if labels.iter().any(|(name, value)| name.is_empty() || value.is_empty()) {
            violation("empty label name or value");
        }
        if !labels.iter().any(|(name, _)| name == "__name__") {
            violation("no metric name");
        }
        if series.samples.is_empty() {
            violation("no sample");
        }
        Ok(())
    }

    fn commit(&mut self, series: &TimeSeries) {
        let labels = labels_of(series);
        let name = show(&labels);
        let stored = self.series.entry(labels).or_default();
        for sample in &series.samples {
            let newest = self.newest_ms.unwrap_or(sample.timestamp);
            self.newest_ms = Some(newest.max(sample.timestamp));
            if let Some(violation) = stored.append(*sample) {
                self.violations.push(format!("{violation}: {name}"));
            }
        }
        for exemplar in &series.exemplars {
            if let Some(violation) = stored.append_exemplar(exemplar) {
                self.violations.push(format!("{violation}: {name}"));
            }
        }
    }
}

impl Series {
    /// The newest value that is not a stale marker.
    pub(crate) fn last(&self) -> Option<f64> {
        self.values().last()
    }

    /// As `increase()` sees it, without extrapolation: the first value is where it starts, a lower
    /// value than the one before is a new start from 0.
    pub(crate) fn increase(&self) -> f64 {
        let mut previous = None;
        let mut total = 0.0;
        for value in self.values() {
            total += match previous {
                Some(previous) if value >= previous => value - previous,
                Some(_) => value,
                None => 0.0,
            };
            previous = Some(value);
        }
        total
    }

    /// Timestamps of the stale markers.
    pub(crate) fn markers(&self) -> Vec<i64> {
        self.samples.iter().filter(|s| is_marker(s)).map(|s| s.timestamp).collect()
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.samples.iter().filter(|s| !is_marker(s)).map(|s| s.value)
    }

    /// What is wrong with it, if anything is.
    fn append(&mut self, sample: Sample) -> Option<&'static str> {
        let Some(last) = self.samples.last() else {
            self.samples.push(sample);
            return None;
        };
        if sample.timestamp <= last.timestamp {
            let same = sample.timestamp == last.timestamp
                && sample.value.to_bits() == last.value.to_bits();
            return (!same).then_some("sample out of order within a request");
        }
        let falls = !is_marker(last) && !is_marker(&sample) && sample.value < last.value;
        self.samples.push(sample);
        (falls && sample.value != 0.0).then_some("value falls, neither to 0 nor after a marker")
    }

    fn append_exemplar(&mut self, exemplar: &Exemplar) -> Option<&'static str> {
        if self.samples.is_empty() {
            return Some("exemplar of a series without samples");
        }
        let n_chars =
            exemplar.labels.iter().map(|l| l.name.chars().count() + l.value.chars().count());
        if n_chars.sum::<usize>() > EXEMPLAR_CHARS_MAX {
            return Some("exemplar with more than 128 characters");
        }
        if exemplar.timestamp <= 0 {
            return Some("exemplar without timestamp");
        }
        match self.exemplars.last() {
            Some(last) if last == exemplar => return None,
            Some(last) if last.timestamp >= exemplar.timestamp => {
                return Some("exemplar out of order");
            }
            _ => {}
        }
        self.exemplars.push(exemplar.clone());
        None
    }
}

pub(crate) fn is_marker(sample: &Sample) -> bool {
    sample.value.to_bits() == STALE_MARKER
}

pub(crate) fn labels_of(series: &TimeSeries) -> Labels {
    let pairs = series.labels.iter().map(|l| (l.name.clone(), l.value.clone()));
    let mut labels: Labels = pairs.collect();
    labels.sort();
    labels
}

/// `{a="1",b="2"}`
fn show(labels: &Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use spanmill::clock::Clock;
    use spanmill::remote_write::client::{Answer, Client};
    use spanmill::telemetry::Telemetry;

    use super::*;
    use crate::support::prometheus::Prometheus;
    use crate::support::receiver::{Receiver, compress, series, write_request};
    use crate::support::settings;

    fn check(writes: &[&[(i64, f64)]], expected: Result<&[(i64, f64)], &str>) -> Stored {
        let mut stored = Stored::default();
        let mut refused = None;
        for samples in writes {
            let request = write_request([series("m", &[("a", "1")], samples)]);
            if let Err(refusal) = stored.write(&request) {
                refused = Some(refusal);
            }
        }
        match (expected, &refused) {
            (Ok(expected), None) => {
                let series = stored.series(&[("a", "1")]).expect("it is stored");
                let found: Vec<_> = series.samples.iter().map(|s| (s.timestamp, s.value)).collect();
                assert_eq!(found, expected, "{writes:?}");
            }
            (Err(expected), Some(refusal)) => {
                assert!(refusal.message.starts_with(expected), "{refusal:?}");
            }
            _ => assert_eq!(refused, None, "{writes:?}, expected {expected:?}"),
        }
        stored
    }

    #[test]
    fn samples_are_taken_in_order_of_time() {
        check(&[&[(1, 0.0), (2, 5.0)], &[(3, 6.0)]], Ok(&[(1, 0.0), (2, 5.0), (3, 6.0)]));
        check(&[&[(2, 5.0)], &[(2, 5.0)]], Ok(&[(2, 5.0)]));
        check(&[&[(2, 5.0)], &[(1, 5.0)]], Err("out of order sample"));
        check(&[&[(2, 5.0)], &[(2, 6.0)]], Err("duplicate sample for timestamp"));
        check(&[&[(WINDOW_MS + 10, 5.0)], &[(9, 5.0)]], Err("out of bounds"));
        let stored = check(&[&[(2, 5.0), (1, 6.0)]], Ok(&[(2, 5.0)]));
        assert_eq!(
            stored.violations(),
            ["sample out of order within a request: {__name__=\"m\",a=\"1\"}"]
        );
    }

    #[test]
    fn a_refused_request_leaves_nothing_behind() {
        let mut stored = Stored::default();
        let good = |ts| series("good", &[], &[(ts, 1.0)]);
        let bad = |ts| series("bad", &[], &[(ts, 1.0)]);
        assert_eq!(stored.write(&write_request([good(10), bad(10)])), Ok(()));
        assert!(stored.write(&write_request([good(20), bad(5)])).is_err());
        let good = stored.series(&[("__name__", "good")]).expect("it is stored");
        assert_eq!(good.samples.len(), 1);
        assert_eq!(stored.n_series(), 2);
    }

    #[test]
    fn only_a_zero_or_a_marker_lets_a_value_fall() {
        let marker = f64::from_bits(STALE_MARKER);
        for (values, n_violations, increase) in [
            (&[1.0, 5.0, 0.0, 3.0][..], 0, 7.0),
            (&[5.0, marker, 3.0, 4.0], 0, 4.0),
            (&[5.0, 3.0], 1, 3.0),
            (&[5.0, 5.0], 0, 0.0),
        ] {
            let samples: Vec<_> = (1..).zip(values.iter().copied()).collect();
            let mut stored = Stored::default();
            stored.write(&write_request([series("m", &[], &samples)])).expect("it is taken");
            assert_eq!(stored.violations().len(), n_violations, "{values:?}");
            assert_eq!(stored.increase(&[]), increase, "{values:?}");
        }
    }

    #[test]
    fn markers_and_last_values_are_told_apart() {
        let mut stored = Stored::default();
        let samples = [(1, 5.0), (2, f64::from_bits(STALE_MARKER))];
        stored.write(&write_request([series("m", &[], &samples)])).expect("it is taken");
        assert_eq!(stored.last(&[("__name__", "m")]), Some(5.0));
        assert_eq!(stored.series(&[]).map(Series::markers), Some(vec![2]));
    }

    #[tokio::test]
    async fn a_real_prometheus_answers_alike() {
        let clock = Arc::new(Clock::default());
        let telemetry = Telemetry::new();
        let client = |url: &str| Client::new(&settings(url), &telemetry, Arc::clone(&clock));
        let receiver = Receiver::start().await;
        let ours = client(&receiver.url()).expect("good settings");
        let prometheus = Prometheus::start("{}").await;
        let real = client(&prometheus.url()).expect("good settings");

        let now = clock.now_unix_ms();
        let m = |samples: &[(i64, f64)]| series("m", &[], samples);
        let other = |at| series("other", &[("a", "1")], &[(at, 1.0)]);
        let mut unsorted = other(now + 90);
        unsorted.labels.reverse();
        let nan = f64::from_bits(STALE_MARKER);
        for (what, expected, write) in [
            ("new", 204, vec![m(&[(now, 5.0)])]),
            ("the same", 204, vec![m(&[(now, 5.0)])]),
            ("another value", 400, vec![other(now), m(&[(now, 6.0)])]),
            ("rolled back before", 204, vec![other(now - 1)]),
            ("older", 400, vec![m(&[(now - 1, 5.0)])]),
            ("disorder", 204, vec![m(&[(now + 20, 7.0), (now + 10, 6.0)])]),
            ("twice in one request", 204, vec![m(&[(now + 30, 7.0)]), m(&[(now + 30, 8.0)])]),
            ("zero first", 204, vec![m(&[(now + 40, 0.0), (now + 41, 1.0)])]),
            ("a birth again with a newer value", 400, vec![m(&[(now + 40, 0.0), (now + 41, 2.0)])]),
            ("within the hour", 204, vec![series("old", &[], &[(now - 3_500_000, 1.0)])]),
            ("too old", 400, vec![series("older", &[], &[(now - 3_700_000, 1.0)])]),
            ("marker", 204, vec![m(&[(now + 50, nan)])]),
            ("marker again", 204, vec![m(&[(now + 50, nan)])]),
            ("after the marker", 204, vec![m(&[(now + 60, 1.0)])]),
            ("unsorted", 204, vec![unsorted]),
            ("a label twice", 500, vec![series("m", &[("a", "1"), ("a", "2")], &[(now, 1.0)])]),
            ("empty", 204, vec![]),
        ] {
            let status = |answer| match answer {
                Answer::Accepted => 204,
                Answer::Final { code, .. } | Answer::Recoverable { code: Some(code), .. } => code,
                other => panic!("{what}: {other:?}"),
            };
            let body = compress(&write_request(write));
            let found = [&ours, &real].map(|client| client.send(body.clone(), None, 0));
            let [ours, real] = found;
            assert_eq!((status(ours.await), status(real.await)), (expected, expected), "{what}");
        }
        assert_eq!(receiver.take_violations().len(), 4);
    }

    #[test]
    fn bad_label_sets_and_exemplars_are_noted() {
        let mut stored = Stored::default();
        let exemplar = |timestamp, value, text: &str| Exemplar {
            labels: series("", &[("trace_id", text)], &[]).labels.split_off(1),
            value,
            timestamp,
        };
        let mut unsorted = series("m", &[("a", "1")], &[(1, 1.0)]);
        unsorted.labels.reverse();
        let mut twice = series("m", &[("a", "1"), ("a", "2")], &[(1, 1.0)]);
        let mut with = series("e", &[], &[(1, 1.0)]);
        let long = "x".repeat(121);
        with.exemplars = vec![
            exemplar(1, 0.5, "x"),
            exemplar(1, 0.5, "x"),
            exemplar(1, 0.7, "y"),
            exemplar(0, 0.7, "y"),
            exemplar(2, 0.7, &long),
            exemplar(2, 0.7, "y"),
        ];
        stored
            .write(&write_request([unsorted, series("m", &[("b", "")], &[(1, 1.0)])]))
            .expect("204");
        stored.write(&write_request([with])).expect("204");
        assert_eq!(stored.write(&write_request([twice.clone()])).map_err(|r| r.status), Err(500));
        twice.labels.drain(..2);
        twice.samples.clear();
        stored.write(&write_request([twice])).expect("204");
        let texts = stored.take_violations();
        let texts: Vec<&str> = texts.iter().filter_map(|v| v.split(':').next()).collect();
        assert_eq!(
            texts,
            [
                "labels not sorted by name",
                "empty label name or value",
                "exemplar out of order",
                "exemplar without timestamp",
                "exemplar with more than 128 characters",
                "label name twice",
                "no metric name",
                "no sample",
            ]
        );
        assert_eq!(stored.series(&[("__name__", "e")]).map(|s| s.exemplars.len()), Some(2));
    }
}
