//! Own metrics that are counted per span: read from each tenant's ledger at the time of a scrape, so
//! that all terms of a tenant come from one moment.

use std::fmt;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use crate::ledger::{
    Connection, Counts, Demanded, Discarded, End, Limited, Processor, Repaired, Tenants,
};
use crate::tenant::TenantId;

type ProcessorsOf = dyn Fn(&TenantId) -> Vec<Processor> + Send + Sync;

/// Publishes the counts of all tenants.
pub struct TenantMetrics {
    tenants: Arc<Tenants>,
    /// Processors that run.
    processors_of: Box<ProcessorsOf>,
}

impl fmt::Debug for TenantMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantMetrics").field("tenants", &self.tenants).finish_non_exhaustive()
    }
}

/// The families of one scrape, made anew each time.
struct Families {
    received: IntCounterVec,
    counted: IntCounterVec,
    discarded: IntCounterVec,
    limited: IntCounterVec,
    repaired: IntCounterVec,
    series_limit: IntGaugeVec,
    active: IntGaugeVec,
    created: IntCounterVec,
    expired: IntCounterVec,
    edges_completed: IntCounterVec,
    edge_sides: IntCounterVec,
    edge_sides_pending: IntGaugeVec,
    names_sanitized: IntCounterVec,
    names_demand: IntGaugeVec,
}

impl TenantMetrics {
    pub fn new(
        tenants: Arc<Tenants>,
        processors_of: impl Fn(&TenantId) -> Vec<Processor> + Send + Sync + 'static,
    ) -> Self {
        Self { tenants, processors_of: Box::new(processors_of) }
    }
}

impl Families {
    fn add(&self, tenant: &str, counts: &Counts, processors: &[Processor]) {
        let tallies = &counts.tallies;
        self.received.with_label_values(&[tenant]).inc_by(tallies.received);
        for &processor in processors {
            let labels = [tenant, processor.name()];
            self.counted.with_label_values(&labels).inc_by(tallies.counted(processor));
            for reason in Discarded::ALL {
                let discarded = tallies.discarded(processor, reason);
                let labels = [tenant, processor.name(), reason.name()];
                self.discarded.with_label_values(&labels).inc_by(discarded);
            }
            for limit in Limited::ALL {
                let labels = [tenant, processor.name(), limit.name()];
                let limited = tallies.limited(processor, limit);
                self.limited.with_label_values(&labels).inc_by(limited);
            }
        }
        for what in Repaired::ALL {
            let labels = [tenant, what.name()];
            self.repaired.with_label_values(&labels).inc_by(tallies.repaired(what));
        }
        self.names_sanitized.with_label_values(&[tenant]).inc_by(tallies.names_sanitized);
        if let Some(Demanded { raw, sanitized }) = counts.names_demand {
            for (form, n) in [("raw", raw), ("sanitized", sanitized)] {
                self.names_demand.with_label_values(&[tenant, form]).set(gauge(n));
            }
        }
        let active = gauge(counts.series.live());
        self.active.with_label_values(&[tenant]).set(active);
        if counts.series_limit > 0 {
            let limit = gauge(counts.series_limit as u64);
            self.series_limit.with_label_values(&[tenant]).set(limit);
        }
        self.created.with_label_values(&[tenant]).inc_by(counts.series.born);
        self.expired.with_label_values(&[tenant]).inc_by(counts.series.ended);
        if processors.contains(&Processor::ServiceGraphs) {
            self.add_edges(tenant, counts);
        }
    }

    fn add_edges(&self, tenant: &str, counts: &Counts) {
        let edges = &counts.edges;
        for connection in Connection::ALL {
            let completed = self.edges_completed.with_label_values(&[tenant, connection.name()]);
            completed.inc_by(edges.completed(connection));
        }
        for end in End::ALL {
            self.edge_sides.with_label_values(&[tenant, end.name()]).inc_by(edges.ended(end));
        }
        let pending = gauge(counts.sides_pending as u64);
        self.edge_sides_pending.with_label_values(&[tenant]).set(pending);
    }
}

fn gauge(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Collector for TenantMetrics {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let families = Families::new();
        for (tenant, counts) in self.tenants.counts() {
            families.add(tenant.as_str(), &counts, &(self.processors_of)(&tenant));
        }
        let Families {
            received,
            counted,
            discarded,
            limited,
            repaired,
            series_limit,
            active,
            created,
            expired,
            edges_completed,
            edge_sides,
            edge_sides_pending,
            names_sanitized,
            names_demand,
        } = families;
        let counters = [
            received,
            counted,
            discarded,
            limited,
            repaired,
            created,
            expired,
            edges_completed,
            edge_sides,
            names_sanitized,
        ];
        let gauges = [active, series_limit, edge_sides_pending, names_demand];
        let counters = counters.iter().flat_map(Collector::collect);
        let all = counters.chain(gauges.iter().flat_map(Collector::collect));
        // Without a tenant there is nothing to show, and without a service graph no edge.
        all.filter(|family| !family.get_metric().is_empty()).collect()
    }
}

impl Families {
    fn new() -> Self {
        Self {
            received: counters(
                "spanmill_spans_received_total",
                "spans of the requests that were taken",
                TENANT,
            ),
            counted: counters(
                "spanmill_spans_counted_total",
                "spans that a processor took in",
                &["tenant", "processor"],
            ),
            discarded: counters(
                "spanmill_spans_discarded_total",
                "spans that were taken and by rule make no metric",
                &["tenant", "processor", "reason"],
            ),
            limited: counters(
                "spanmill_spans_limited_total",
                "spans that were counted, but because of a limit in an overflow series",
                &["tenant", "processor", "limit"],
            ),
            repaired: counters(
                "spanmill_spans_repaired_total",
                "spans of which something was put right",
                &["tenant", "what"],
            ),
            active: gauges("spanmill_series_active", "Prometheus series that a tenant has", TENANT),
            series_limit: gauges(
                "spanmill_series_limit",
                "Prometheus series that a tenant may have (limits.max_active_series)",
                TENANT,
            ),
            created: counters(
                "spanmill_series_created_total",
                "Prometheus series that began",
                TENANT,
            ),
            expired: counters(
                "spanmill_series_expired_total",
                "Prometheus series that ended",
                TENANT,
            ),
            edges_completed: counters(
                "spanmill_edges_completed_total",
                "requests between services that the service graph counted",
                &["tenant", "connection_type"],
            ),
            edge_sides: counters(
                "spanmill_edge_sides_total",
                "client and server spans that met their end in the service graph: paired, virtual (an edge to a node without spans), database, expired (nobody came), evicted (max_items), duplicate, surplus, overwritten",
                &["tenant", "end"],
            ),
            edge_sides_pending: gauges(
                "spanmill_edge_sides_pending",
                "client and server spans that wait for their other side",
                TENANT,
            ),
            names_sanitized: counters(
                "spanmill_span_names_sanitized_total",
                "spans of the span metrics in whose name ids became <_>, or would with span_name_sanitization: dry_run",
                TENANT,
            ),
            names_demand: gauges(
                "spanmill_span_names_demand",
                "with span_name_sanitization: dry_run, about how many label sets (of calls, latency and size together) the spans of the last stale_duration want: raw as they are, sanitized with ids in span names as <_>",
                &["tenant", "form"],
            ),
        }
    }
}

const TENANT: &[&str] = &["tenant"];

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let made = IntCounterVec::new(Opts::new(name, help), labels);
    made.expect("names and labels of own metrics are valid")
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let made = IntGaugeVec::new(Opts::new(name, help), labels);
    made.expect("names and labels of own metrics are valid")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use expect_test::expect;
    use prometheus::{Encoder, TextEncoder};

    use super::*;
    use crate::ledger::{Bounds, Rules, Settings, Table};

    fn metrics(processors: &[Processor]) -> TenantMetrics {
        let (sender, _) = tokio::sync::mpsc::unbounded_channel();
        let tenants = Tenants::new(0, [0; 4], sender);
        let (settings, bounds) = (Settings::default(), Bounds::default());
        let rules = Rules { generation: 1, settings, bounds, made: [true; Table::ALL.len()] };
        let now = std::time::Duration::from_secs(1);
        tenants.get_or_create(&TenantId::single(), &rules, 1, now).expect("there is room");
        let processors = processors.to_vec();
        TenantMetrics::new(Arc::new(tenants), move |_| processors.clone())
    }

    #[test]
    fn edges_are_published_only_while_the_service_graph_runs() {
        let names = |processors: &[Processor]| -> BTreeSet<String> {
            let families = metrics(processors).collect();
            let names = families.iter().map(|family| family.name().to_owned());
            names.filter(|name| name.contains("_edge")).collect()
        };
        assert_eq!(names(&[Processor::SpanMetrics, Processor::HostInfo]), BTreeSet::new());
        let expected = [
            "spanmill_edges_completed_total",
            "spanmill_edge_sides_total",
            "spanmill_edge_sides_pending",
        ];
        let expected = expected.map(str::to_owned);
        assert_eq!(names(&[Processor::ServiceGraphs]), BTreeSet::from(expected));
    }

    #[test]
    fn each_connection_and_each_end_is_a_series_from_the_start() {
        let metrics = metrics(&[Processor::ServiceGraphs]);
        let tenants = metrics.tenants.all();
        let mut counts = tenants[0].counts();
        counts.sides_pending = 7;
        counts.edges.complete(Connection::Plain);
        counts.edges.complete(Connection::Database);
        counts.edges.end(End::Paired);
        counts.edges.end(End::Paired);
        let families = Families::new();
        families.add("team-a", &counts, &[Processor::ServiceGraphs]);
        let mut text = Vec::new();
        for family in [
            families.edges_completed.collect(),
            families.edge_sides.collect(),
            families.edge_sides_pending.collect(),
        ] {
            TextEncoder::new().encode(&family, &mut text).unwrap();
        }
        let text = String::from_utf8(text).unwrap();
        let mut samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        samples.sort_unstable();
        expect![[r#"
            spanmill_edge_sides_pending{tenant="team-a"} 7
            spanmill_edge_sides_total{end="database",tenant="team-a"} 0
            spanmill_edge_sides_total{end="duplicate",tenant="team-a"} 0
            spanmill_edge_sides_total{end="evicted",tenant="team-a"} 0
            spanmill_edge_sides_total{end="expired",tenant="team-a"} 0
            spanmill_edge_sides_total{end="overwritten",tenant="team-a"} 0
            spanmill_edge_sides_total{end="paired",tenant="team-a"} 2
            spanmill_edge_sides_total{end="surplus",tenant="team-a"} 0
            spanmill_edge_sides_total{end="virtual",tenant="team-a"} 0
            spanmill_edges_completed_total{connection_type="",tenant="team-a"} 1
            spanmill_edges_completed_total{connection_type="database",tenant="team-a"} 1
            spanmill_edges_completed_total{connection_type="messaging_system",tenant="team-a"} 0
            spanmill_edges_completed_total{connection_type="virtual_node",tenant="team-a"} 0
        "#]]
        .assert_eq(&(samples.join("\n") + "\n"));
    }
}
