//! The values of each label, exactly: a value is there while a label set with it lives.

use ahash::RandomState;
use hashbrown::HashMap;

use super::overflow::{CLIENT, OVERFLOW, SERVICE};
use crate::batch::{Labels, Table, push_label};

/// Labels that are never too many: without them no total is true.
const EXEMPT: [&str; 8] = [
    SERVICE,
    CLIENT,
    "server",
    "connection_type",
    "virtual_node",
    "span_kind",
    "status_code",
    "metric_overflow",
];

/// Bytes that one label of a label set takes here, besides its text, which stands here twice.
const BYTES_OF_A_LABEL: usize = 160;

/// Bytes that a label set takes here while its values are counted.
pub fn label_value_bytes(labels: Labels<'_>) -> usize {
    let service = labels.get(SERVICE).len().max(labels.get(CLIENT).len());
    let counted = labels.iter().filter(|(name, _)| !EXEMPT.contains(name));
    counted.map(|(_, value)| BYTES_OF_A_LABEL + 2 * value.len() + service).sum()
}

#[derive(Debug, Default)]
pub struct LabelValues {
    labels: HashMap<Box<str>, Values, RandomState>,
}

#[derive(Debug, Default)]
struct Values {
    /// How many label sets have it.
    values: HashMap<Box<str>, u32, RandomState>,
    /// The same by service: `service NUL value`.
    pairs: HashMap<Box<str>, u32, RandomState>,
    /// How many values each service has.
    services: HashMap<Box<str>, u32, RandomState>,
}

impl LabelValues {
    /// Values of a label.
    pub fn n_values(&self, label: &str) -> usize {
        self.labels.get(label).map_or(0, |values| values.values.len())
    }

    /// Appends the label set as a limit on values lets it be. Answers whether that is another one.
    pub fn push_limited(
        &self,
        table: Table,
        labels: Labels<'_>,
        max: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let service = service_of(table, labels);
        let mut is_another = false;
        for (name, value) in labels.iter() {
            let is_fine = !counts(table, name, value) || self.admits(name, value, service, max);
            push_label(out, name, if is_fine { value } else { OVERFLOW });
            is_another |= !is_fine;
        }
        is_another
    }

    fn admits(&self, label: &str, value: &str, service: &str, max: usize) -> bool {
        let Some(of_label) = self.labels.get(label) else { return true };
        if of_label.pairs.contains_key(pair(service, value).as_str()) {
            return true;
        }
        let of_service = of_label.services.get(service).copied().unwrap_or_default() as usize;
        of_service < max.div_ceil(2)
            && (of_label.values.contains_key(value) || of_label.values.len() < max)
    }

    pub(super) fn birth(&mut self, table: Table, labels: Labels<'_>) {
        let service = service_of(table, labels);
        for (name, value) in labels.iter().filter(|(name, value)| counts(table, name, value)) {
            let of_label = match self.labels.get_mut(name) {
                Some(of_label) => of_label,
                None => self.labels.entry(name.into()).or_default(),
            };
            add(&mut of_label.values, value);
            if add(&mut of_label.pairs, &pair(service, value)) {
                add(&mut of_label.services, service);
            }
        }
    }

    pub(super) fn death(&mut self, table: Table, labels: Labels<'_>) {
        let service = service_of(table, labels);
        for (name, value) in labels.iter().filter(|(name, value)| counts(table, name, value)) {
            let Some(of_label) = self.labels.get_mut(name) else { continue };
            take(&mut of_label.values, value);
            if take(&mut of_label.pairs, &pair(service, value)) {
                take(&mut of_label.services, service);
            }
            if of_label.values.is_empty() {
                self.labels.remove(name);
            }
        }
    }
}

fn counts(table: Table, name: &str, value: &str) -> bool {
    !matches!(table, Table::TargetInfo | Table::HostInfo)
        && !EXEMPT.contains(&name)
        && value != OVERFLOW
}

fn service_of<'a>(table: Table, labels: Labels<'a>) -> &'a str {
    labels.get(if table == Table::SpanMetrics { SERVICE } else { CLIENT })
}

fn pair(service: &str, value: &str) -> String {
    [service, "\0", value].concat()
}

/// Answers whether it is the first.
fn add(counts: &mut HashMap<Box<str>, u32, RandomState>, key: &str) -> bool {
    if let Some(n) = counts.get_mut(key) {
        *n += 1;
        return false;
    }
    counts.insert(key.into(), 1);
    true
}

/// Answers whether it was the last.
fn take(counts: &mut HashMap<Box<str>, u32, RandomState>, key: &str) -> bool {
    let Some(n) = counts.get_mut(key) else { return false };
    *n -= 1;
    let is_last = *n == 0;
    if is_last {
        counts.remove(key);
    }
    is_last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(service: &str, route: &str) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, value) in [("http_route", route), ("service", service)] {
            push_label(&mut text, name, value);
        }
        text
    }

    /// The route that a span of the service is counted under; it lives from then on.
    fn counted(values: &mut LabelValues, service: &str, route: &str, max: usize) -> String {
        let (set, mut out) = (set(service, route), Vec::new());
        let is_another = values.push_limited(Table::SpanMetrics, Labels::new(&set), max, &mut out);
        let counted = Labels::new(&out).get("http_route").to_owned();
        assert_eq!(is_another, counted != route);
        values.birth(Table::SpanMetrics, Labels::new(&out));
        counted
    }

    #[test]
    fn one_service_has_at_most_half_and_known_values_stay() {
        let values = &mut LabelValues::default();
        assert_eq!(counted(values, "a", "/1", 4), "/1");
        assert_eq!(counted(values, "a", "/2", 4), "/2");
        assert_eq!(counted(values, "a", "/3", 4), OVERFLOW);
        assert_eq!(counted(values, "a", "/1", 4), "/1");
        assert_eq!(counted(values, "b", "/1", 4), "/1", "known, and new to the service");
        assert_eq!(counted(values, "b", "/3", 4), "/3");
        assert_eq!(counted(values, "b", "/4", 4), OVERFLOW, "half of b");
        assert_eq!(counted(values, "c", "/4", 4), "/4");
        assert_eq!(counted(values, "c", "/5", 4), OVERFLOW, "all four are there");
        assert_eq!(values.n_values("http_route"), 4);
        assert_eq!(values.n_values("service"), 0);
    }

    #[test]
    fn a_value_leaves_with_its_last_series() {
        let values = &mut LabelValues::default();
        counted(values, "a", "/1", 2);
        counted(values, "b", "/1", 2);
        assert_eq!(counted(values, "a", "/2", 2), OVERFLOW);
        values.death(Table::SpanMetrics, Labels::new(&set("a", "/1")));
        assert_eq!(values.n_values("http_route"), 1);
        assert_eq!(counted(values, "a", "/2", 2), "/2");
        for (service, route) in [("a", "/2"), ("b", "/1"), ("a", OVERFLOW)] {
            values.death(Table::SpanMetrics, Labels::new(&set(service, route)));
        }
        assert!(values.labels.is_empty());
    }

    #[test]
    fn info_gauges_and_core_labels_are_left_alone() {
        let values = &mut LabelValues::default();
        for n in 0..10 {
            let (set, mut out) = (set(&n.to_string(), "/1"), Vec::new());
            assert!(!values.push_limited(Table::TargetInfo, Labels::new(&set), 1, &mut out));
            values.birth(Table::TargetInfo, Labels::new(&out));
            assert_eq!(out, set);
        }
        assert_eq!(values.n_values("http_route"), 0);
    }
}
