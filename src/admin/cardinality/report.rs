//! `/api/v1/cardinality`: what is admitted joined with what was wanted beyond it.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde::Serialize;

use super::count::{Count, Map, ServiceCount};
use crate::ledger::{OVERFLOW, RefusedLabel, RefusedService, Wanted};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) window_seconds: u64,
    /// Those with the most spans in overflow series first, then those with the most series.
    pub(super) services: Vec<Service>,
}

#[derive(Debug, Serialize)]
pub(super) struct Service {
    pub(super) service: String,
    series: usize,
    overflowed_spans: u64,
    /// Those with the most values first.
    pub(super) labels: Vec<Label>,
}

#[derive(Debug, Serialize)]
pub(super) struct Label {
    pub(super) label: String,
    pub(super) wanted: u64,
    pub(super) admitted: u64,
    pub(super) growth_1h: Option<i64>,
    top: Vec<TopValue>,
}

#[derive(Debug, Serialize)]
struct TopValue {
    value: String,
    spans: u64,
}

/// What a report is made of besides the count.
pub(super) struct Sources<'a, G> {
    pub(super) wanted: Option<&'a Wanted>,
    /// One service alone.
    pub(super) only: Option<&'a str>,
    /// Values of each label that are named.
    pub(super) top: usize,
    /// Of service and label with so many values: how many of them are new.
    pub(super) growth: G,
}

impl<G: Fn(&str, &str, u64) -> Option<i64>> Sources<'_, G> {
    pub(super) fn services(&self, count: &Count<'_>) -> Vec<Service> {
        let mut seen = BTreeSet::new();
        let mut services: Vec<Service> = Vec::new();
        for (name, admitted) in &count.services {
            let refused = self.wanted.and_then(|wanted| wanted.service(name));
            seen.extend(refused.map(RefusedService::key));
            services.push(self.service(name, Some(admitted), refused));
        }
        for refused in self.wanted.into_iter().flat_map(Wanted::services) {
            let is_asked_for = match (self.only, self.wanted) {
                (Some(only), Some(wanted)) => {
                    wanted.service(only).is_some_and(|service| service.key() == refused.key())
                }
                _ => true,
            };
            if is_asked_for && !seen.contains(&refused.key()) {
                services.push(self.service(refused.name(), None, Some(refused)));
            }
        }
        services.retain(|s| s.series > 0 || s.overflowed_spans > 0 || !s.labels.is_empty());
        services.sort_by(|a, b| {
            let key = |s: &Service| (Reverse(s.overflowed_spans), Reverse(s.series));
            key(a).cmp(&key(b)).then_with(|| a.service.cmp(&b.service))
        });
        services
    }

    fn service(
        &self,
        name: &str,
        admitted: Option<&ServiceCount<'_>>,
        refused: Option<&RefusedService>,
    ) -> Service {
        let mut labels = Vec::new();
        let mut seen = BTreeSet::new();
        for (label, values) in admitted.into_iter().flat_map(|admitted| &admitted.labels) {
            let key = self.wanted.map_or(0, |wanted| wanted.key(label));
            let mut refused = refused.into_iter().flat_map(RefusedService::labels);
            let refused = refused.find(|(known, _)| *known == key).map(|(_, label)| label);
            seen.extend(refused.map(|_| key));
            labels.push(self.label(name, label, Some(values), refused));
        }
        for (key, label) in refused.into_iter().flat_map(RefusedService::labels) {
            if !seen.contains(&key) {
                labels.push(self.label(name, label.name(), None, Some(label)));
            }
        }
        if name == OVERFLOW {
            // The list of all services is of interest where there are more of them than are admitted.
            labels.retain(|l| !["service", "client"].contains(&&*l.label) || l.wanted > l.admitted);
        }
        labels.sort_by(|a, b| b.wanted.cmp(&a.wanted).then_with(|| a.label.cmp(&b.label)));
        Service {
            service: name.to_owned(),
            series: admitted.map_or(0, |admitted| admitted.series),
            overflowed_spans: refused.map_or(0, RefusedService::overflowed_spans),
            labels,
        }
    }

    fn label(
        &self,
        service: &str,
        label: &str,
        values: Option<&Map<'_, f64>>,
        refused: Option<&RefusedLabel>,
    ) -> Label {
        let admitted = values.map_or(0, Map::len) as u64;
        let wanted = match (refused, self.wanted) {
            (Some(refused), Some(wanted)) => {
                let values = values.into_iter().flat_map(|values| values.keys());
                refused.wanted(values.map(|value| wanted.key(value)))
            }
            _ => admitted,
        };
        Label {
            label: label.to_owned(),
            wanted,
            admitted,
            growth_1h: (self.growth)(service, label, admitted),
            top: self.top(values, refused),
        }
    }

    /// Spans of admitted values are exact, of those that were refused it is at least so many.
    fn top(&self, values: Option<&Map<'_, f64>>, refused: Option<&RefusedLabel>) -> Vec<TopValue> {
        if self.top == 0 {
            return Vec::new();
        }
        let key = |value: &str| self.wanted.map_or(0, |wanted| wanted.key(value));
        let mut beyond: Vec<(u64, &str, u64)> =
            refused.into_iter().flat_map(RefusedLabel::values).collect();
        let mut all: Vec<(&str, u64)> = Vec::with_capacity(values.map_or(0, Map::len) + 8);
        for (&value, &spans) in values.into_iter().flatten() {
            let mut spans = whole(spans);
            if !beyond.is_empty() {
                let key = key(value);
                if let Some(place) = beyond.iter().position(|(known, ..)| *known == key) {
                    spans = spans.saturating_add(beyond.swap_remove(place).2);
                }
            }
            all.push((value, spans));
        }
        all.extend(beyond.iter().map(|(_, value, spans)| (*value, *spans)));
        let by_spans = |a: &(&str, u64), b: &(&str, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0));
        if all.len() > self.top {
            all.select_nth_unstable_by(self.top, by_spans);
            all.truncate(self.top);
        }
        all.sort_unstable_by(by_spans);
        let named = |(value, spans): (&str, u64)| TopValue { value: value.to_owned(), spans };
        all.into_iter().map(named).collect()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and a float cast saturates"
)]
fn whole(spans: f64) -> u64 {
    spans.round() as u64
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
