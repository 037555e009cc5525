//! Spanmill's own metrics: the table of names, and the logs' set-up.
//!
//! What is counted per request or per remote-write request lives here as atomics. What is counted per
//! span travels in batches as plain integers (`batch::Tallies`) and is published from the tenants'
//! own state at the time of a scrape (`admin::tenants`).

use std::time::Duration;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry,
};

/// The commit that was built, or `unknown` outside a checkout.
pub const COMMIT: &str = match option_env!("SPANMILL_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Label value `protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    Http,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// Label value `reason` of refused requests: whole requests that were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Undecodable,
    MediaType,
    Encoding,
    TooLarge,
    Timeout,
    Overload,
    RateLimit,
    Tenant,
    Draining,
}

impl Refused {
    pub const ALL: [Self; 9] = [
        Self::Undecodable,
        Self::MediaType,
        Self::Encoding,
        Self::TooLarge,
        Self::Timeout,
        Self::Overload,
        Self::RateLimit,
        Self::Tenant,
        Self::Draining,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::MediaType => "media_type",
            Self::Encoding => "encoding",
            Self::TooLarge => "too_large",
            Self::Timeout => "timeout",
            Self::Overload => "overload",
            Self::RateLimit => "rate_limit",
            Self::Tenant => "tenant",
            Self::Draining => "draining",
        }
    }
}

/// Label value `reason` of connections that we close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// For a new connection's sake: the longest idle.
    Room,
    /// For a new connection's sake: a body arrived too slowly.
    SlowBody,
    /// A header, or an HTTP/2 frame, did not arrive whole in time.
    Unfinished,
    /// No request came.
    Unused,
}

impl Closed {
    pub const ALL: [Self; 4] = [Self::Room, Self::SlowBody, Self::Unfinished, Self::Unused];

    pub fn name(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::SlowBody => "slow_body",
            Self::Unfinished => "unfinished",
            Self::Unused => "unused",
        }
    }
}

/// Label value `reason` of connections that are not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotLetIn {
    MaxConnections,
    MaxConnectionsPerIp,
    /// The process has no file descriptors left.
    Descriptors,
}

impl NotLetIn {
    pub const ALL: [Self; 3] = [Self::MaxConnections, Self::MaxConnectionsPerIp, Self::Descriptors];

    pub fn name(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::MaxConnectionsPerIp => "max_connections_per_ip",
            Self::Descriptors => "descriptors",
        }
    }
}

/// Label value `reason` of samples and exemplars that no endpoint will get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    FinalError,
    EndedListFull,
    Relabel,
}

impl Dropped {
    pub const ALL: [Self; 3] = [Self::FinalError, Self::EndedListFull, Self::Relabel];

    pub fn name(self) -> &'static str {
        match self {
            Self::FinalError => "final_error",
            Self::EndedListFull => "ended_list_full",
            Self::Relabel => "relabel",
        }
    }
}

const ACK_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
const WORK_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What is counted for each endpoint.
#[derive(Debug, Clone)]
pub struct RemoteWriteMetrics {
    /// endpoint
    pub samples_sent: IntCounterVec,
    /// endpoint
    pub exemplars_sent: IntCounterVec,
    /// endpoint, reason
    samples_dropped: IntCounterVec,
    /// endpoint, reason
    exemplars_dropped: IntCounterVec,
    /// endpoint, code
    pub requests: IntCounterVec,
    /// endpoint
    pub retries: IntCounterVec,
    /// endpoint
    pub request_seconds: HistogramVec,
    /// endpoint
    pub highest_sent_timestamp: GaugeVec,
}

/// The pool of bodies in flight.
#[derive(Debug, Clone)]
pub struct BodyMetrics {
    pub bytes: IntGauge,
    pub peak_bytes: IntGauge,
}

/// Connections of senders, over all listeners.
#[derive(Debug, Clone)]
pub struct ConnectionMetrics {
    pub open: IntGauge,
    /// reason
    closed: IntCounterVec,
    /// reason
    refused: IntCounterVec,
}

/// Handles of the own metrics; a clone counts into the same series.
#[derive(Debug, Clone)]
pub struct Telemetry {
    pub registry: Registry,
    /// protocol, result
    requests: IntCounterVec,
    /// protocol, reason
    requests_refused: IntCounterVec,
    /// protocol, form
    received_bytes: IntCounterVec,
    pub bodies: BodyMetrics,
    pub connections: ConnectionMetrics,
    pub ack_seconds: Histogram,
    pub collection_seconds: Histogram,
    pub remote_write: RemoteWriteMetrics,
    pub config_last_reload_successful: IntGauge,
    pub memory_bound_bytes: IntGauge,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    pub fn new() -> Self {
        let r = Registry::new();
        let telemetry = Self {
            requests: counters(
                &r,
                "spanmill_requests_total",
                "OTLP requests by their result: ok, partial (taken, with a message), refused",
                &["protocol", "result"],
            ),
            requests_refused: counters(
                &r,
                "spanmill_requests_refused_total",
                "OTLP requests of which nothing was taken",
                &["protocol", "reason"],
            ),
            received_bytes: counters(
                &r,
                "spanmill_received_bytes_total",
                "bytes of OTLP bodies as they arrived (wire) and after inflating (inflated)",
                &["protocol", "form"],
            ),
            bodies: BodyMetrics::new(&r),
            connections: ConnectionMetrics::new(&r),
            ack_seconds: histogram(
                &r,
                "spanmill_ack_seconds",
                "time from a request's last byte to its answer",
                ACK_SECONDS,
            ),
            collection_seconds: histogram(
                &r,
                "spanmill_collection_seconds",
                "time that a tenant's tick takes, from the lock to the hand-over",
                WORK_SECONDS,
            ),
            remote_write: RemoteWriteMetrics::new(&r),
            config_last_reload_successful: register(
                &r,
                IntGauge::new(
                    "spanmill_config_last_reload_successful",
                    "1 while the configuration in force is the newest that was offered",
                ),
            ),
            memory_bound_bytes: register(
                &r,
                IntGauge::new(
                    "spanmill_memory_bound_bytes",
                    "limits.memory in force: what resident memory stays below",
                ),
            ),
            registry: r,
        };
        telemetry.config_last_reload_successful.set(1);
        telemetry.register_process();
        telemetry.begin_at_zero();
        telemetry
    }

    /// A counter that is there from the start has an increase when it first counts.
    fn begin_at_zero(&self) {
        for protocol in [Protocol::Grpc, Protocol::Http].map(Protocol::name) {
            for result in ["ok", "partial", "refused"] {
                self.requests.with_label_values(&[protocol, result]);
            }
            for reason in Refused::ALL {
                self.requests_refused.with_label_values(&[protocol, reason.name()]);
            }
            for form in ["wire", "inflated"] {
                self.received_bytes.with_label_values(&[protocol, form]);
            }
        }
    }

    /// A request of which everything, or all but what the time window left out, was taken.
    pub fn request_taken(&self, protocol: Protocol, partial: bool) {
        let result = if partial { "partial" } else { "ok" };
        self.requests.with_label_values(&[protocol.name(), result]).inc();
    }

    pub fn request_refused(&self, protocol: Protocol, reason: Refused) {
        self.requests.with_label_values(&[protocol.name(), "refused"]).inc();
        self.requests_refused.with_label_values(&[protocol.name(), reason.name()]).inc();
    }

    pub fn body_received(&self, protocol: Protocol, wire: usize, inflated: usize) {
        let add = |form, n: usize| {
            self.received_bytes.with_label_values(&[protocol.name(), form]).inc_by(n as u64);
        };
        add("wire", wire);
        add("inflated", inflated);
    }

    fn register_process(&self) {
        let info = Gauge::with_opts(
            Opts::new("spanmill_build_info", "1; the version and commit that runs")
                .const_label("version", env!("CARGO_PKG_VERSION"))
                .const_label("commit", COMMIT),
        );
        register(&self.registry, info).set(1.0);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry.register(Box::new(process)).expect("process metrics are registered once");
    }
}

impl BodyMetrics {
    fn new(r: &Registry) -> Self {
        let gauge = |name, help| register(r, IntGauge::new(name, help));
        Self {
            bytes: gauge("spanmill_bodies_bytes", "bytes of bodies in flight, as they are charged"),
            peak_bytes: gauge("spanmill_bodies_peak_bytes", "the most that bodies in flight held"),
        }
    }
}

impl ConnectionMetrics {
    fn new(r: &Registry) -> Self {
        let help = "connections of senders, over all listeners";
        let metrics = Self {
            open: register(r, IntGauge::new("spanmill_connections", help)),
            closed: counters(
                r,
                "spanmill_connections_closed_total",
                "connections that were closed from our side",
                &["reason"],
            ),
            refused: counters(
                r,
                "spanmill_connections_refused_total",
                "connections that were not let in",
                &["reason"],
            ),
        };
        for reason in Closed::ALL {
            metrics.closed.with_label_values(&[reason.name()]);
        }
        for reason in NotLetIn::ALL {
            metrics.refused.with_label_values(&[reason.name()]);
        }
        metrics
    }

    pub fn closed(&self, reason: Closed) {
        self.closed.with_label_values(&[reason.name()]).inc();
    }

    pub fn refused(&self, reason: NotLetIn) {
        self.refused.with_label_values(&[reason.name()]).inc();
    }
}

impl RemoteWriteMetrics {
    fn new(r: &Registry) -> Self {
        Self {
            samples_sent: counters(
                r,
                "spanmill_remote_write_samples_sent_total",
                "samples that an endpoint accepted",
                &["endpoint"],
            ),
            exemplars_sent: counters(
                r,
                "spanmill_remote_write_exemplars_sent_total",
                "exemplars that an endpoint accepted",
                &["endpoint"],
            ),
            samples_dropped: counters(
                r,
                "spanmill_remote_write_samples_dropped_total",
                "samples that an endpoint will never get",
                &["endpoint", "reason"],
            ),
            exemplars_dropped: counters(
                r,
                "spanmill_remote_write_exemplars_dropped_total",
                "exemplars that an endpoint will never get",
                &["endpoint", "reason"],
            ),
            requests: counters(
                r,
                "spanmill_remote_write_requests_total",
                "remote-write requests by the answer's status code, or `error` without one",
                &["endpoint", "code"],
            ),
            retries: counters(
                r,
                "spanmill_remote_write_retries_total",
                "remote-write requests that repeat an earlier one",
                &["endpoint"],
            ),
            request_seconds: register(
                r,
                HistogramVec::new(
                    HistogramOpts::new(
                        "spanmill_remote_write_request_seconds",
                        "time from a remote-write request to its answer",
                    )
                    .buckets(WORK_SECONDS.to_vec()),
                    &["endpoint"],
                ),
            ),
            highest_sent_timestamp: register(
                r,
                GaugeVec::new(
                    Opts::new(
                        "spanmill_remote_write_highest_sent_timestamp_seconds",
                        "timestamp of the newest tick of which an endpoint has everything",
                    ),
                    &["endpoint"],
                ),
            ),
        }
    }

    /// What there is of an endpoint before it is sent anything: counters at zero, and a newest tick from
    /// where its age rises also where nothing ever gets there.
    pub fn begin(&self, endpoint: &str, sends_exemplars: bool, now: Duration) {
        for counter in [&self.samples_sent, &self.retries] {
            counter.with_label_values(&[endpoint]);
        }
        for reason in Dropped::ALL {
            self.samples_dropped(endpoint, reason);
        }
        if sends_exemplars {
            self.exemplars_sent.with_label_values(&[endpoint]);
            Dropped::ALL
                .into_iter()
                .for_each(|reason| drop(self.exemplars_dropped(endpoint, reason)));
        }
        self.highest_sent_timestamp.with_label_values(&[endpoint]).set(now.as_secs_f64());
    }

    pub fn samples_dropped(&self, endpoint: &str, reason: Dropped) -> IntCounter {
        self.samples_dropped.with_label_values(&[endpoint, reason.name()])
    }

    pub fn exemplars_dropped(&self, endpoint: &str, reason: Dropped) -> IntCounter {
        self.exemplars_dropped.with_label_values(&[endpoint, reason.name()])
    }
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(r, IntCounterVec::new(Opts::new(name, help), labels))
}

fn histogram(r: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(r, Histogram::with_opts(opts))
}

fn register<M>(registry: &Registry, metric: prometheus::Result<M>) -> M
where
    M: prometheus::core::Collector + Clone + 'static,
{
    let metric = metric.expect("names and labels of own metrics are valid");
    registry.register(Box::new(metric.clone())).expect("each own metric is registered once");
    metric
}
