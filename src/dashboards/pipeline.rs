//! Spanmill itself: what comes in, what it does with it, what goes out; and what its series cost.

use super::links::{CARDINALITY, PIPELINE, query, sources, top};
use super::model::{Dashboard, Panel, alerts, heatmap, series, stat, table};

const RATE: &str = "$__rate_interval";
const MINE: &str = r#"job=~"$job",instance=~"$instance""#;

pub(super) fn pipeline() -> Dashboard {
    let about = "Is Spanmill well: spans taken, refused and limited, memory, samples sent.";
    Dashboard::new(PIPELINE, "Spanmill / Pipeline health", about)
        .variables(sources().into_iter().take(1))
        .variables(jobs())
        .row("Now", health())
        .row("Spans in", spans_in())
        .row("What becomes of them", spans_within())
        .row("Samples out", samples_out())
        .folded_row("The process", process())
        .folded_row("Alerts", vec![alerts()])
}

pub(super) fn cardinality() -> Dashboard {
    let about = "How many series there are, whose they are, and how long the limit will do.";
    Dashboard::new(CARDINALITY, "Spanmill / Cardinality", about)
        .variables(sources().into_iter().take(1))
        .variables(jobs())
        .variables([top()])
        .row("Now", series_now())
        .row("Growth", growth())
        .row("Whose they are", owners())
        .folded_row("Limits and names", limits())
}

fn jobs() -> [super::model::Variable; 2] {
    let instances = r#"label_values(spanmill_build_info{job=~"$job"}, instance)"#;
    [
        query("job", "Job", "label_values(spanmill_build_info, job)", ".+"),
        query("instance", "Instance", instances, ".+"),
    ]
}

/// A counter per second.
fn rate(by: &str, metric: &str) -> String {
    rate_where(by, metric, "")
}

fn rate_where(by: &str, metric: &str, more: &str) -> String {
    super::expr::sum(by, &format!("rate({metric}{{{MINE}{more}}}[{RATE}])"))
}

fn gauge(by: &str, metric: &str) -> String {
    super::expr::sum(by, &format!("{metric}{{{MINE}}}"))
}

fn rates(title: &'static str, unit: &'static str, by: &'static str, metric: &str) -> Panel {
    let legend = format!("{{{{{}}}}}", by.replace(", ", "}} {{"));
    series(title, unit).query(&legend, rate(by, metric)).must().size(8, 7)
}

/// Of a histogram of seconds.
fn quantiles(title: &'static str, metric: &str) -> Panel {
    let panel = series(title, "s").size(8, 7);
    [("p50", "0.5"), ("p99", "0.99")].iter().fold(panel, |panel, (legend, q)| {
        let buckets = rate("le", &format!("{metric}_bucket"));
        panel.query(legend, format!("histogram_quantile({q}, {buckets})"))
    })
}

/// How far an endpoint is behind.
fn lag() -> String {
    format!("time() - spanmill_remote_write_highest_sent_timestamp_seconds{{{MINE}}}")
}

// === Pipeline ===

fn health() -> Vec<Panel> {
    let refused = rate_where("", "spanmill_requests_total", ",result=\"refused\"");
    let limited = rate("", "spanmill_spans_limited_total");
    // Who has no series has nothing to send.
    let living = gauge("job, instance", "spanmill_series_active");
    let resident = format!(
        "max(process_resident_memory_bytes{{{MINE}}} / on (job, instance) \
         spanmill_memory_bound_bytes{{{MINE}}})"
    );
    let up = format!("count(spanmill_build_info{{{MINE}}})");
    vec![
        stat("Instances", "short")
            .query("up", up)
            .must()
            .about("Instances that answer the scrape. Fewer than there should be: see its log."),
        stat("Spans in", "ops")
            .query("now", rate("", "spanmill_spans_received_total"))
            .must()
            .about("Spans a second of the requests that were taken."),
        stat("Requests refused", "reqps")
            .query("now", refused)
            .must()
            .steps(&[0.001, 1.0])
            .about("Requests of which nothing was counted. Red: the reason stands below."),
        stat("Spans limited", "ops").query("now", limited).must().steps(&[0.001, 100.0]).about(
            "Counted in overflow series, without their name. Red: see the cardinality \
             dashboard.",
        ),
        stat("Furthest behind", "s")
            .query("endpoint", format!("max({} and on (job, instance) ({living} > 0))", lag()))
            .must()
            .steps(&[60.0, 300.0])
            .about(
                "Age of the newest tick of which an endpoint has everything. Red: is it up, what \
                 does it answer?",
            ),
        stat("Memory of the bound", "percentunit")
            .query("most", resident)
            .must()
            .steps(&[0.8, 0.95])
            .about("Resident memory of limits.memory. It is never above 1."),
    ]
}

fn spans_in() -> Vec<Panel> {
    let ticks = rate("le", "spanmill_collection_seconds_bucket");
    let tick = format!("histogram_quantile(0.99, {ticks})");
    let taken = rate_where("", "spanmill_requests_total", ",result!=\"refused\"");
    let mean = format!("{} / ({taken} > 0)", rate("", "spanmill_spans_received_total"));
    vec![
        rates("Requests", "reqps", "protocol, result", "spanmill_requests_total").about(
            "OTLP requests by protocol and result. Partial: some spans were outside the time \
             window.",
        ),
        rates("Requests refused, by reason", "reqps", "reason", "spanmill_requests_refused_total")
            .about(
                "undecodable, media_type, encoding: the sender. overload: memory. rate_limit: a \
                 tenant's limit. timeout: the network.",
            ),
        rates("Bytes", "Bps", "form", "spanmill_received_bytes_total")
            .about("As they arrived, and after inflating."),
        series("Spans in a request", "short")
            .size(8, 7)
            .query("mean", mean)
            .must()
            .about("Few spans in a request cost most: let the sender batch."),
        quantiles("Time to answer", "spanmill_ack_seconds")
            .query("p99 of a tick", tick)
            .must()
            .about(
                "From a request's last byte to its answer; and a tenant's tick, from the lock to \
                 the hand-over.",
            ),
    ]
}

fn spans_within() -> Vec<Panel> {
    vec![
        rates("Spans counted", "ops", "processor", "spanmill_spans_counted_total")
            .about("Spans that a processor took in."),
        rates("Spans discarded", "ops", "processor, reason", "spanmill_spans_discarded_total")
            .about(
                "By rule: outside the time window (clocks?), filtered, or neither side of an \
                 edge.",
            ),
        rates("Spans limited and repaired", "ops", "limit", "spanmill_spans_limited_total")
            .query("repaired: {{what}}", rate("what", "spanmill_spans_repaired_total"))
            .must()
            .about("Limited: in an overflow series. Repaired: a broken part was put right."),
        rates("Edge sides by their end", "ops", "end", "spanmill_edge_sides_total")
            .about("Expired: nobody came, and no peer is named. Evicted: max_items is too small."),
    ]
}

fn samples_out() -> Vec<Panel> {
    let buckets = "spanmill_remote_write_request_seconds_bucket";
    vec![
        rates(
            "Samples and exemplars sent",
            "ops",
            "endpoint",
            "spanmill_remote_write_samples_sent_total",
        )
        .query(
            "exemplars: {{endpoint}}",
            rate("endpoint", "spanmill_remote_write_exemplars_sent_total"),
        )
        .must()
        .about(
            "What an endpoint accepted. A Prometheus without --enable-feature=exemplar-storage \
             accepts exemplars too, and forgets them.",
        ),
        rates(
            "Samples and exemplars dropped",
            "ops",
            "endpoint, reason",
            "spanmill_remote_write_samples_dropped_total",
        )
        .query(
            "exemplars: {{endpoint}} {{reason}}",
            rate("endpoint, reason", "spanmill_remote_write_exemplars_dropped_total"),
        )
        .must()
        .about("What an endpoint will never get. final_error: it refuses them, its log says why."),
        rates(
            "Requests by answer",
            "reqps",
            "endpoint, code",
            "spanmill_remote_write_requests_total",
        )
        .query("retries: {{endpoint}}", rate("endpoint", "spanmill_remote_write_retries_total"))
        .about("2xx is well, 4xx is final, 429 and 5xx are tried again."),
        series("Behind", "s").size(8, 7).query("{{endpoint}}", lag()).must().about(
            "Age of the newest tick of which an endpoint has everything: some collection \
                 intervals at most.",
        ),
        heatmap("Time of a request", buckets, MINE)
            .must()
            .size(8, 7)
            .about("From a remote-write request to its answer."),
    ]
}

fn process() -> Vec<Panel> {
    let gauges = |title, unit, metric: &str, bound: &str| {
        let each = |metric: &str| format!("{metric}{{{MINE}}}");
        series(title, unit)
            .size(8, 7)
            .query("{{instance}}", each(metric))
            .query("limit of {{instance}}", each(bound))
            .must()
    };
    let connections = format!("spanmill_connections{{{MINE}}}");
    let versions = format!(
        "spanmill_config_last_reload_successful{{{MINE}}} * on (job, instance) \
         group_left (version, commit) spanmill_build_info{{{MINE}}}"
    );
    vec![
        gauges(
            "Resident memory",
            "bytes",
            "process_resident_memory_bytes",
            "spanmill_memory_bound_bytes",
        )
        .about("It stays below limits.memory, whatever arrives."),
        rates("CPU", "none", "instance", "process_cpu_seconds_total").about("Cores in use."),
        gauges("File descriptors", "short", "process_open_fds", "process_max_fds")
            .query("connections of {{instance}}", connections)
            .must()
            .about("Each connection takes one."),
        table("Versions")
            .column("Configuration is the newest", "none", versions)
            .must()
            .about("0: the last reload was refused, its reasons are in the log."),
    ]
}

// === Cardinality ===

/// Each instance has a limit of its own.
const OF_TENANT: &str = "job, instance, tenant";

fn active() -> String {
    gauge(OF_TENANT, "spanmill_series_active")
}

fn limit() -> String {
    gauge(OF_TENANT, "spanmill_series_limit")
}

fn series_now() -> Vec<Panel> {
    let full = format!("max({} / {})", active(), limit());
    let grown = format!("sum(delta(spanmill_series_active{{{MINE}}}[$__range]))");
    let tomorrow = format!(
        "max(sum by ({OF_TENANT}) (predict_linear(spanmill_series_active{{{MINE}}}[$__range], 86400)) \
         / {})",
        limit()
    );
    vec![
        stat("Series", "short")
            .query("now", gauge("", "spanmill_series_active"))
            .must()
            .about("Prometheus series that are alive, over all tenants."),
        stat("Of the limit", "percentunit")
            .query("fullest tenant", full)
            .must()
            .steps(&[0.8, 0.95])
            .about("limits.max_active_series. From 80 % on new label sets are on probation."),
        stat("Grown", "short")
            .query("in the range", grown)
            .must()
            .about("Series more than at the beginning of the time range."),
        stat("Limit in a day", "percentunit")
            .query("fullest tenant", tomorrow)
            .must()
            .steps(&[0.8, 1.0])
            .about("If it goes on as in the time range."),
        stat("Samples", "ops")
            .query("sent", rate("", "spanmill_remote_write_samples_sent_total"))
            .must()
            .about(
                "What the series cost: each one is a sample every collection interval, to each \
                 endpoint.",
            ),
        stat("Overflow", "ops")
            .query("spans", rate("", "spanmill_spans_limited_total"))
            .must()
            .steps(&[0.001, 100.0])
            .about("Spans counted in overflow series."),
    ]
}

fn growth() -> Vec<Panel> {
    vec![
        series("Series and limit", "short")
            .query("{{tenant}}", active())
            .query("limit of {{tenant}}", limit())
            .must()
            .about("A stair up: a new dimension, or ids in names."),
        series("Churn", "ops")
            .query("began {{tenant}}", rate("tenant", "spanmill_series_created_total"))
            .query("ended {{tenant}}", rate("tenant", "spanmill_series_expired_total"))
            .must()
            .about("Series that began and ended a second. Both high: values that come once."),
    ]
}

fn owners() -> Vec<Panel> {
    let label = |form: &str| {
        format!("max by (service, label) (spanmill_label_values{{{MINE},form=\"{form}\"}})")
    };
    let spans = r#"{__name__=~"@all",@service!=""}"#;
    let by_service = format!("topk($top, count by (@service) ({spans}))");
    let by_metric = r#"topk($top, count by (__name__) ({__name__=~"@all"}))"#;
    vec![
        table("Labels with the most values")
            .column("Wanted", "short", label("wanted"))
            .column("Admitted", "short", label("admitted"))
            .must()
            .size(12, 9)
            .about(
                "Wanted: admitted, and about how many others in overflow series. Leave the label \
                 out of the dimensions, or mend the span names.",
            ),
        table("Series by service")
            .column("Series", "short", by_service)
            .must()
            .size(6, 9)
            .about("In Prometheus, of the span metrics."),
        table("Series by metric")
            .column("Series", "short", by_metric)
            .must()
            .size(6, 9)
            .about("In Prometheus. A classic histogram has one a bucket."),
    ]
}

fn limits() -> Vec<Panel> {
    vec![
        rates("Spans in overflow, by limit", "ops", "limit", "spanmill_spans_limited_total").about(
            "Which limit: the key below limits, memory, probation, or info for gauges not \
             emitted.",
        ),
        series("Names with and without ids", "short")
            .size(8, 7)
            .query("{{form}}", gauge("form", "spanmill_span_names_demand"))
            .needs("registry.span_name_sanitization: dry_run")
            .about(
                "About how many label sets there would be: span names as they are, and with ids \
                 as <_>. A wide gap: enable it.",
            ),
        rates("Names sanitized", "ops", "tenant", "spanmill_span_names_sanitized_total")
            .about("Spans in whose name ids became <_>."),
    ]
}
