//! Own metrics that are counted per span: read from each tenant's ledger at the time of a scrape, so
//! that all terms of a tenant come from one moment.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

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

/// The families of one scrape, made anew each time.
struct Families {
    received: IntCounterVec,
    counted: IntCounterVec,
    discarded: IntCounterVec,
    repaired: IntCounterVec,
    active: IntGaugeVec,
    created: IntCounterVec,
    expired: IntCounterVec,
}

impl TenantMetrics {
    /// `processors`: those that run.
    pub fn new(
        tenants: Arc<Tenants>,
        series_per_set: SeriesPerSet,
        processors: Vec<Processor>,
    ) -> Self {
        Self { tenants, series_per_set, processors }
    }

    fn add(&self, tenant: &str, counts: &Counts, families: &Families) {
        let tallies = &counts.tallies;
        families.received.with_label_values(&[tenant]).inc_by(tallies.received);
        for &processor in &self.processors {
            let labels = [tenant, processor.name()];
            families.counted.with_label_values(&labels).inc_by(tallies.counted(processor));
            for reason in Discarded::ALL {
                let discarded = tallies.discarded(processor, reason);
                let labels = [tenant, processor.name(), reason.name()];
                families.discarded.with_label_values(&labels).inc_by(discarded);
            }
        }
        for what in Repaired::ALL {
            let labels = [tenant, what.name()];
            families.repaired.with_label_values(&labels).inc_by(tallies.repaired(what));
        }
        let series = |sets: [u64; Table::ALL.len()]| -> u64 {
            sets.iter().zip(self.series_per_set).map(|(sets, each)| sets * each as u64).sum()
        };
        let active = i64::try_from(series(counts.live.map(|n| n as u64))).unwrap_or(i64::MAX);
        families.active.with_label_values(&[tenant]).set(active);
        families.created.with_label_values(&[tenant]).inc_by(series(counts.born));
        families.expired.with_label_values(&[tenant]).inc_by(series(counts.ended));
    }
}

impl Collector for TenantMetrics {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let families = Families::new();
        for tenant in self.tenants.all() {
            self.add(tenant.id().as_str(), &tenant.counts(), &families);
        }
        let Families { received, counted, discarded, repaired, active, created, expired } =
            families;
        let counters = [received, counted, discarded, repaired, created, expired];
        let all = counters.iter().flat_map(Collector::collect).chain(active.collect());
        // Without a tenant there is nothing to show.
        all.filter(|family| !family.get_metric().is_empty()).collect()
    }
}

impl Families {
    fn new() -> Self {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let opts = Opts::new(name, help);
            IntCounterVec::new(opts, labels).expect("names and labels of own metrics are valid")
        };
        let active = Opts::new("spanmill_series_active", "Prometheus series that a tenant has");
        Self {
            received: counters(
                "spanmill_spans_received_total",
                "spans of the requests that were taken",
                &["tenant"],
            ),
            counted: counters(
                "spanmill_spans_counted_total",
                "spans that a processor made metrics of",
                &["tenant", "processor"],
            ),
            discarded: counters(
                "spanmill_spans_discarded_total",
                "spans that were taken and by rule make no metric",
                &["tenant", "processor", "reason"],
            ),
            repaired: counters(
                "spanmill_spans_repaired_total",
                "spans of which something was put right",
                &["tenant", "what"],
            ),
            active: IntGaugeVec::new(active, &["tenant"]).expect("the name and label are valid"),
            created: counters(
                "spanmill_series_created_total",
                "Prometheus series that began",
                &["tenant"],
            ),
            expired: counters(
                "spanmill_series_expired_total",
                "Prometheus series that ended",
                &["tenant"],
            ),
        }
    }
}
