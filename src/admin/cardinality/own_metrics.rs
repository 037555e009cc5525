//! The labels with the most wanted values, over all tenants, as own metrics.

use std::cmp::Reverse;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use super::Cardinality;
use super::report::Report;
use crate::tenant::TenantId;

/// Labels that are published.
const GUILTY_MAX: usize = 20;

/// One label of one service of one tenant.
#[derive(Debug, Clone)]
pub(super) struct Guilty {
    tenant: TenantId,
    service: String,
    label: String,
    wanted: u64,
    admitted: u64,
}

/// Keeps those with the most wanted values, these first.
pub(super) fn add(guilty: &mut Vec<Guilty>, tenant: &TenantId, report: Report) {
    for service in report.services {
        for label in service.labels {
            guilty.push(Guilty {
                tenant: tenant.clone(),
                service: service.service.clone(),
                label: label.label,
                wanted: label.wanted,
                admitted: label.admitted,
            });
        }
    }
    // Ties by name, so that the same ones stay.
    guilty.sort_by(|a, b| {
        let key = |g: &'_ Guilty| (Reverse(g.wanted), g.tenant.clone());
        let by_names = || (&a.service, &a.label).cmp(&(&b.service, &b.label));
        key(a).cmp(&key(b)).then_with(by_names)
    });
    guilty.truncate(GUILTY_MAX);
}

/// Publishes what was found last.
#[derive(Debug)]
pub struct CardinalityMetrics {
    cardinality: Arc<Cardinality>,
    /// Without a value: what it is called.
    empty: IntGaugeVec,
}

impl CardinalityMetrics {
    pub fn new(cardinality: Arc<Cardinality>) -> Self {
        Self { cardinality, empty: gauges() }
    }
}

fn gauges() -> IntGaugeVec {
    let help = "different values of the 20 labels that wanted most: admitted, and wanted (those, and \
                about how many others in overflow series)";
    let opts = Opts::new("spanmill_label_values", help);
    IntGaugeVec::new(opts, &["tenant", "service", "label", "form"])
        .expect("names and labels of own metrics are valid")
}

impl Collector for CardinalityMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.empty.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let gauges = gauges();
        for guilty in self.cardinality.guilty() {
            for (form, n) in [("admitted", guilty.admitted), ("wanted", guilty.wanted)] {
                let labels = [guilty.tenant.as_str(), &guilty.service, &guilty.label, form];
                gauges.with_label_values(&labels).set(i64::try_from(n).unwrap_or(i64::MAX));
            }
        }
        let families = gauges.collect().into_iter();
        families.filter(|family| !family.get_metric().is_empty()).collect()
    }
}
