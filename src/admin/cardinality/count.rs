//! What is admitted, counted label set by label set: for each service its series, and for each of its
//! labels the values. Exact, and borrowed from the view, of whose size it is.

use ahash::RandomState;

use crate::collect::View;
use crate::ledger::{OVERFLOW, Table, counts_spans, service_label};

pub(super) type Map<'v, V> = hashbrown::HashMap<&'v str, V, RandomState>;

/// Label of the series that count in place of others.
const METRIC_OVERFLOW: &str = "metric_overflow";

/// By service. The names of the services themselves are values of [`OVERFLOW`]'s labels `service` and
/// `client`: every service has one of them.
#[derive(Debug)]
pub(super) struct Count<'v> {
    pub(super) services: Map<'v, ServiceCount<'v>>,
}

#[derive(Debug)]
pub(super) struct ServiceCount<'v> {
    /// Prometheus series.
    pub(super) series: usize,
    /// By label: the weighted spans of each value.
    pub(super) labels: Map<'v, Map<'v, f64>>,
}

impl<'v> Count<'v> {
    /// Of one service, if one is given.
    pub(super) fn of(view: &'v View, only: Option<&str>) -> Self {
        let mut count = Self { services: Map::with_hasher(RandomState::new()) };
        let wanted = |service: &str| only.is_none_or(|only| only == service);
        for table in Table::ALL {
            let n_series = view.specs[table as usize].len();
            let own = service_label(table);
            for (slot, entry) in (0..).zip(&view.entries[table as usize]) {
                let Some(entry) = entry else { continue };
                let labels =
                    || entry.block.labels().filter(move |(name, _)| !is_common(view, name));
                let service = labels().find(|(name, _)| *name == own).map_or("", |(_, v)| v);
                let calls = || view.snapshot.values(table).calls(slot).as_f64();
                let spans = if counts_spans(table) { calls() } else { 0.0 };
                // What counts in place of others has no values of its own.
                let is_other = |(name, value)| name == METRIC_OVERFLOW || value == OVERFLOW;
                if wanted(service) {
                    let of_service = count.service(service);
                    of_service.series += n_series;
                    let own = labels().filter(|(name, _)| *name != own && !labels().any(is_other));
                    own.for_each(|(name, value)| of_service.add(name, value, spans));
                }
                if wanted(OVERFLOW) && !service.is_empty() {
                    count.service(OVERFLOW).add(own, service, spans);
                }
            }
        }
        count
    }

    fn service(&mut self, name: &'v str) -> &mut ServiceCount<'v> {
        let hasher = self.services.hasher().clone();
        self.services
            .entry(name)
            .or_insert_with(|| ServiceCount { series: 0, labels: Map::with_hasher(hasher) })
    }
}

impl<'v> ServiceCount<'v> {
    fn add(&mut self, label: &'v str, value: &'v str, spans: f64) {
        let hasher = self.labels.hasher().clone();
        let values = self.labels.entry(label).or_insert_with(|| Map::with_hasher(hasher));
        *values.entry(value).or_default() += spans;
    }
}

fn is_common(view: &View, name: &str) -> bool {
    view.common.iter().any(|(common, _)| common == name)
}
