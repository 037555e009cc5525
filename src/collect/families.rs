//! The series of a label set, in the order they are sent: names, `le`, and where the values are.

use super::block::push_label;
use crate::ledger::{Bounds, Naming, Parts, Table, Total};
use crate::series::Values;

/// One series of every label set of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSpec {
    pub metric: String,
    /// Upper bound of a bucket, `+Inf` for the last one.
    pub le: Option<f64>,
    pub quantity: Quantity,
    /// Its totals began from zero at this tick, or with their label set.
    pub restarted_ms: i64,
    /// The encoded labels `__name__` and, for a bucket, `le`.
    pub name_label: Vec<u8>,
    pub le_label: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    Calls,
    Size,
    LatencyCount,
    LatencySum,
    /// Cumulative; the specs of one histogram stand in order of their bounds.
    LatencyBucket(usize),
    /// The constant 1.
    Info,
}

impl Quantity {
    /// Counters begin with a zero; info gauges do not.
    pub fn has_zero(self) -> bool {
        self != Self::Info
    }

    pub(super) fn is_in(self, parts: Parts) -> bool {
        match self {
            Self::Calls => parts.calls,
            Self::Size => parts.size,
            Self::LatencyCount | Self::LatencySum | Self::LatencyBucket(_) => parts.latency,
            Self::Info => false,
        }
    }
}

/// The series of the label sets of `table`; `bounds` are its histogram's.
pub(super) fn specs(table: Table, bounds: &[f64], naming: &Naming) -> Vec<SeriesSpec> {
    let edges = |what: &str| format!("traces_service_graph_{what}");
    let edge_histogram = |what: &str| histogram(&edges(what), bounds);
    match table {
        Table::SpanMetrics => span_metrics(bounds, naming),
        Table::TargetInfo => vec![spec("traces_target_info", None, Quantity::Info)],
        Table::HostInfo => vec![spec(&naming.host_info_metric_name, None, Quantity::Info)],
        Table::EdgeRequests => vec![spec(&edges("request_total"), None, Quantity::Calls)],
        Table::EdgeFailed => vec![spec(&edges("request_failed_total"), None, Quantity::Calls)],
        Table::EdgeServer => edge_histogram("request_server_seconds"),
        Table::EdgeClient => edge_histogram("request_client_seconds"),
        Table::EdgeMessaging => edge_histogram("request_messaging_system_seconds"),
        Table::EdgeInfo => vec![spec(&edges("connection_info"), None, Quantity::Info)],
    }
}

/// Prometheus series of one label set of each table.
pub fn series_per_set(naming: &Naming, bounds: &Bounds) -> [usize; Table::ALL.len()] {
    Table::ALL.map(|table| specs(table, bounds.of(table), naming).len())
}

fn span_metrics(bounds: &[f64], naming: &Naming) -> Vec<SeriesSpec> {
    let mut specs = Vec::new();
    if naming.families.calls {
        specs.push(spec("traces_spanmetrics_calls_total", None, Quantity::Calls));
    }
    if naming.families.size {
        specs.push(spec("traces_spanmetrics_size_total", None, Quantity::Size));
    }
    if naming.families.latency {
        specs.extend(histogram("traces_spanmetrics_latency", bounds));
    }
    specs
}

fn histogram(family: &str, bounds: &[f64]) -> Vec<SeriesSpec> {
    let mut specs = vec![
        spec(&format!("{family}_count"), None, Quantity::LatencyCount),
        spec(&format!("{family}_sum"), None, Quantity::LatencySum),
    ];
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    specs.extend(bounds.enumerate().map(|(bucket, bound)| {
        spec(&format!("{family}_bucket"), Some(bound), Quantity::LatencyBucket(bucket))
    }));
    specs
}

fn spec(metric: &str, le: Option<f64>, quantity: Quantity) -> SeriesSpec {
    let (mut name_label, mut le_label) = (Vec::new(), Vec::new());
    push_label(&mut name_label, "__name__", metric);
    if let Some(bound) = le {
        push_label(&mut le_label, "le", &le_text(bound));
    }
    let (metric, restarted_ms) = (metric.to_owned(), i64::MIN);
    SeriesSpec { metric, le, quantity, restarted_ms, name_label, le_label }
}

/// As Tempo prints it: the shortest decimal without an exponent, `1`, `0.002`, `+Inf`.
pub fn le_text(bound: f64) -> String {
    if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() }
}

/// The values of one label set, one a spec.
pub fn values_of(specs: &[SeriesSpec], values: &Values, slot: u32, out: &mut Vec<f64>) {
    out.clear();
    let mut cumulative = Total::default();
    let mut count_at = None;
    for spec in specs {
        out.push(match spec.quantity {
            Quantity::Calls => values.calls(slot).as_f64(),
            Quantity::LatencyCount => {
                count_at = Some(out.len());
                0.0
            }
            Quantity::Size => values.size(slot).as_f64(),
            Quantity::LatencySum => values.latency(slot).as_f64() / 1e9,
            Quantity::LatencyBucket(bucket) => {
                cumulative.add(&values.bucket(slot, bucket));
                cumulative.as_f64()
            }
            Quantity::Info => 1.0,
        });
    }
    // A histogram that has restarted has counted less than the calls.
    if let Some(at) = count_at {
        out[at] = cumulative.as_f64();
    }
}
