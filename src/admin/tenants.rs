//! Own metrics that are counted per span: read from each tenant's ledger at the time of a scrape, so
//! that all terms of a tenant come from one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::ledger::{Counts, Discarded, Processor, Repaired, Table, Tenants};

/// Prometheus series of one label set of each table.
pub type SeriesPerSet = [usize; Table::ALL.len()];

/// Publishes the counts of all tenants.
#[derive(Debug)]
pub struct TenantMetrics {
    tenants: Arc<Tenants>,
    series_per_set: SeriesPerSet,
    processors: Vec<Processor>,
}

/// Name, help, whether it is a gauge.
type Name = (&'static str, &'static str, MetricType);

const RECEIVED: Name =
    ("spanmill_spans_received_total", "spans of the requests that were taken", MetricType::COUNTER);
const COUNTED: Name =
    ("spanmill_spans_counted_total", "spans that a processor made metrics of", MetricType::COUNTER);
const DISCARDED: Name = (
    "spanmill_spans_discarded_total",
    "spans that were taken and by rule make no metric",
    MetricType::COUNTER,
);
const REPAIRED: Name = (
    "spanmill_spans_repaired_total",
    "spans of which something was put right",
    MetricType::COUNTER,
);
const ACTIVE: Name =
    ("spanmill_series_active", "Prometheus series that a tenant has", MetricType::GAUGE);
const CREATED: Name =
    ("spanmill_series_created_total", "Prometheus series that began", MetricType::COUNTER);
const EXPIRED: Name =
    ("spanmill_series_expired_total", "Prometheus series that ended", MetricType::COUNTER);
const ALL: [Name; 7] = [RECEIVED, COUNTED, DISCARDED, REPAIRED, ACTIVE, CREATED, EXPIRED];

impl TenantMetrics {
    /// `processors`: those that run.
    pub fn new(
        tenants: Arc<Tenants>,
        series_per_set: SeriesPerSet,
        processors: Vec<Processor>,
    ) -> Self {
        Self { tenants, series_per_set, processors }
    }

    fn add(&self, tenant: &str, counts: &Counts, out: &mut Families) {
        let tallies = &counts.tallies;
        let tenant = ("tenant", tenant);
        out.add(RECEIVED, &[tenant], tallies.received);
        for &processor in &self.processors {
            let labels = [tenant, ("processor", processor.name())];
            out.add(COUNTED, &labels, tallies.counted(processor));
            for reason in Discarded::ALL {
                let labels = [tenant, labels[1], ("reason", reason.name())];
                out.add(DISCARDED, &labels, tallies.discarded(processor, reason));
            }
        }
        for what in Repaired::ALL {
            out.add(REPAIRED, &[tenant, ("what", what.name())], tallies.repaired(what));
        }
        let series = |sets: [u64; Table::ALL.len()]| -> u64 {
            sets.iter().zip(self.series_per_set).map(|(sets, each)| sets * each as u64).sum()
        };
        out.add(ACTIVE, &[tenant], series(counts.live.map(|n| n as u64)));
        out.add(CREATED, &[tenant], series(counts.born));
        out.add(EXPIRED, &[tenant], series(counts.ended));
    }
}

impl Collector for TenantMetrics {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        for tenant in self.tenants.all() {
            self.add(tenant.id().as_str(), &tenant.counts(), &mut families);
        }
        families.finish()
    }
}

#[derive(Default)]
struct Families {
    metrics: BTreeMap<&'static str, Vec<Metric>>,
}

impl Families {
    #[expect(clippy::cast_precision_loss, reason = "the exposition format knows floats only")]
    fn add(&mut self, (name, _, kind): Name, labels: &[(&str, &str)], value: u64) {
        let mut metric = Metric::default();
        let pairs = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        metric.set_label(pairs.collect());
        if kind == MetricType::GAUGE {
            let mut gauge = Gauge::default();
            gauge.set_value(value as f64);
            metric.set_gauge(gauge);
        } else {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            metric.set_counter(counter);
        }
        self.metrics.entry(name).or_default().push(metric);
    }

    fn finish(mut self) -> Vec<MetricFamily> {
        let family = |(name, help, kind): Name| {
            let metrics = self.metrics.remove(name)?;
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family.set_metric(metrics);
            Some(family)
        };
        ALL.into_iter().filter_map(family).collect()
    }
}
