//! Rate, errors and duration: all services, and one.

use super::expr::{CHOSEN, NOW, RANGE, Window, apdex, busiest};
use super::links::{
    ANY, GRAPH, ONE, OVERVIEW, SERVICE, apdex_t, baseline, chosen, objective, quantile, query,
    sources, to_dashboard, to_traces, top,
};
use super::model::{
    Annotation, Dashboard, Kind, Panel, alerts, heatmap, panel, series, stat, table,
};

const Q: &str = "$quantile";
const ERROR_STEPS: &[f64] = &[0.01, 0.05];
const STATES: [(u8, &str, &str); 3] = [
    (0, "healthy", "green"),
    (1, "degraded (over 1 %)", "yellow"),
    (2, "failing (over 5 %)", "red"),
];
const APDEX_STEPS: &[f64] = &[0.94, 0.7];
const TARGETS: &str = "processors.span_metrics.enable_target_info";
const SCRAPED: &str = "Prometheus to scrape Spanmill's /metrics";

pub(super) fn overview() -> Dashboard {
    let about =
        "Which services there are, how much they do, how often they fail, how long they take.";
    Dashboard::new(OVERVIEW, "Spanmill / RED overview", about)
        .variables(sources())
        .variables(chosen(ANY))
        .variables([quantile(), apdex_t(), baseline(), top()])
        .annotated()
        .row("Now, and so long ago", headline())
        .row("Services", vec![services()])
        .row("Over time", overview_series())
        .folded_row("Worse than before", regressions())
        .folded_row("Alerts, and whether this view is whole", vec![alerts().size(12, 9), whole()])
}

pub(super) fn service() -> Dashboard {
    let about = "One service: what it is asked, what it asks of others, and what to mend first.";
    Dashboard::new(SERVICE, "Spanmill / RED service", about)
        .variables(sources())
        .variables(chosen(ONE))
        .variables([
            query("span_name", "Operation", OPERATIONS, ANY),
            quantile(),
            apdex_t(),
            baseline(),
            objective(),
            top(),
        ])
        .annotated()
        .row("Rate, errors, duration", service_headline())
        .row("Latency", vec![latency_heatmap("@latency_bucket", OPERATION), quantiles()])
        .row("Operations", vec![operations()])
        .row(
            "Neighbours",
            vec![
                neighbours("Called by", "@server", "@client"),
                neighbours("Calls", "@client", "@server"),
            ],
        )
        .folded_row("By version and status", splits())
        .folded_row("What it is", vec![identity()])
}

const OPERATIONS: &str = r#"label_values(@calls{@service=~"$service",@kind=~"$span_kind"}, @span)"#;
const OPERATION: &str =
    r#"@namespace=~"$namespace",@service=~"$service",@kind=~"$span_kind",@span=~"$span_name""#;

impl Dashboard {
    /// A line where a version is seen that was not there ten minutes before.
    pub(super) fn annotated(mut self) -> Self {
        let seen =
            |offset: &str| format!("group by (job, @version) (@target{{@version!=\"\"}}{offset})");
        self.annotations.push(Annotation {
            name: "New versions",
            expr: format!("{} unless {}", seen(""), seen(" offset 10m")),
            title: "{{job}} {{@version}}".to_owned(),
        });
        self
    }
}

// === All services ===

/// A figure now and the same so long ago.
fn compared(title: &'static str, unit: &'static str, of: impl Fn(Window) -> String) -> Panel {
    let now = stat(title, unit).query("now", of(NOW)).must();
    now.query("$baseline ago", of(NOW.baseline()))
}

fn headline() -> Vec<Panel> {
    let seen = |window: Window| format!("count({} > 0)", window.sum("@service", "@calls", CHOSEN));
    let age = "time() - max(timestamp(@latency_count) or timestamp(@latency))";
    vec![
        compared("Services", "short", seen).about("Services with entry spans in the last minute."),
        compared("Requests", "reqps", |w| w.sum("", "@calls", CHOSEN))
            .about("Requests a second, over all services chosen."),
        compared("Error ratio", "percentunit", |w| w.errors("", CHOSEN)).steps(ERROR_STEPS).about(
            "Share of spans whose status is an error. Red: find the service in the table \
             below, then follow its link.",
        ),
        compared("Latency", "s", |w| w.quantile(Q, "", "@latency", CHOSEN))
            .about("The quantile chosen above, over all services."),
        compared("Apdex", "none", |w| apdex(w, "", CHOSEN)).steps(APDEX_STEPS).about(
            "Share of requests faster than T, and half of those up to 4 T. T and 4 T must be \
             bounds of classic buckets, as those offered are of the default ones.",
        ),
        stat("Newest sample", "s")
            .query("age", age)
            .must()
            .steps(&[60.0, 240.0])
            .about("How old what you see is. Red: see the pipeline dashboard."),
    ]
}

fn services() -> Panel {
    let by = "@service";
    let total = RANGE.seconds("", "@latency", CHOSEN);
    let share = format!("{} / scalar({total})", RANGE.seconds(by, "@latency", CHOSEN));
    let seen = format!("@latency_count{{{CHOSEN},@version!=\"\"}}");
    let versions = format!("count by (@service) (group by (@service, @version) ({seen}))");
    let traces = to_traces(r#"{ resource.service.name = "FIELD:service" && status = error }"#);
    let table = table("Services")
        .about(
            "One row a service over the time range. Share of time is what of all seconds \
             spent was spent here: mend the largest first.",
        )
        .column("Requests", "reqps", RANGE.per_second(by, "@calls", CHOSEN))
        .column("Error ratio", "percentunit", RANGE.errors(by, CHOSEN));
    let table = ["0.5", "0.95", "0.99"]
        .iter()
        .zip(["p50", "p95", "p99"])
        .fold(table, |table, (q, title)| {
            table.column(title, "s", RANGE.quantile(q, by, "@latency", CHOSEN))
        });
    table
        .column("Apdex", "none", apdex(RANGE, by, CHOSEN))
        .column("Share of time", "percentunit", share)
        .must()
        .column("Versions", "short", versions)
        .link("@service", "Service", to_dashboard(SERVICE, "service", "@service"))
        .link("@service", "Service graph", to_dashboard(GRAPH, "service", "@service"))
        .link("@service", "Failed traces", traces)
        .size(24, 10)
}

fn overview_series() -> Vec<Panel> {
    let by = "@service";
    let ratio = NOW.errors(by, CHOSEN);
    let top = |of: String| format!("topk($top, {of})");
    let state = format!("({ratio} > bool 0.01) + ({ratio} > bool 0.05)");
    vec![
        series("Requests by service", "reqps")
            .query("{{@service}}", top(NOW.sum(by, "@calls", CHOSEN)))
            .must()
            .about("The busiest services at each moment."),
        series("Error ratio by service", "percentunit")
            .query("{{@service}}", top(ratio))
            .must()
            .steps(ERROR_STEPS)
            .about("The services that fail most; 0 where all went well, a gap without requests."),
        latency_heatmap("@latency_bucket", CHOSEN),
        series("Latency by service", "s")
            .query("{{@service}}", top(NOW.quantile(Q, by, "@latency", CHOSEN)))
            .must()
            .about(
                "The slowest services, by the quantile chosen; the dots are exemplars that lead \
                 to a trace.",
            ),
        panel(Kind::Timeline, "State of services", "none")
            .query("{{@service}}", format!("topk($top, {state})"))
            .must()
            .words(&STATES)
            .about("When each service failed, by its error ratio.")
            .size(24, 8),
    ]
}

fn latency_heatmap(buckets: &str, filter: &str) -> Panel {
    heatmap("Latency, every request", buckets, filter).must().about(
        "How many requests took how long: two bands are two ways through the code. The \
         dots are exemplars: click one for its trace.",
    )
}

fn regressions() -> Vec<Panel> {
    let by = "@service, @span";
    let busy = format!("({} > 0.1)", RANGE.per_second(by, "@calls", CHOSEN));
    let p95 = |window: Window| window.quantile("0.95", by, "@latency", CHOSEN);
    let slower = format!("topk($top, {} / {} and {busy})", p95(RANGE), p95(RANGE.baseline()));
    let worse = format!(
        "topk($top, {} - {} and {busy})",
        RANGE.errors(by, CHOSEN),
        RANGE.baseline().errors(by, CHOSEN)
    );
    let traces = to_traces(r#"{ resource.service.name = "FIELD:service" && name = "FIELD:span" }"#);
    vec![
        table("Slower than before")
            .column("p95, times the baseline's", "none", slower)
            .size(12, 9)
            .about(
                "Operations with over 0.1 requests a second whose p95 has grown most since the \
                 baseline.",
            )
            .link("@span", "Traces", traces.clone()),
        table("Failing more than before")
            .column("Error ratio, more than the baseline's", "percentunit", worse)
            .size(12, 9)
            .about(
                "Operations with over 0.1 requests a second whose share of errors has grown most \
                 since the baseline.",
            )
            .link("@span", "Traces", traces),
    ]
}

/// From Spanmill's own metrics.
fn whole() -> Panel {
    let rate =
        |metric: &str, filter: &str| format!("sum(rate({metric}{{{filter}}}[$__rate_interval]))");
    let of = |bad: String, all: String| format!("{bad} / ({all} > 0)");
    let sides = "spanmill_edge_sides_total";
    let limited =
        of(rate("spanmill_spans_limited_total", ""), rate("spanmill_spans_counted_total", ""));
    let unpaired = of(rate(sides, "end=~\"expired|evicted\""), rate(sides, ""));
    let refused = of(
        rate("spanmill_requests_total", "result=\"refused\""),
        rate("spanmill_requests_total", ""),
    );
    stat("Is this view whole?", "percentunit")
        .query("requests refused", refused)
        .query("spans in overflow series", limited)
        .must()
        .query("edge sides without another", unpaired)
        .steps(&[0.001, 0.05])
        .needs(SCRAPED)
        .size(12, 9)
        .about(
            "What is missing here: refused requests are not counted at all, spans in overflow \
             series have lost their name, sides without another make no edge.",
        )
}

// === One service ===

fn service_headline() -> Vec<Panel> {
    let wide = |panel: Panel| panel.size(8, 8);
    let p95 = |window: Window| window.quantile("0.95", "", "@latency", OPERATION);
    vec![
        wide(
            series("Requests", "reqps")
                .query("now", NOW.sum("", "@calls", OPERATION))
                .must()
                .query("$baseline ago", NOW.baseline().sum("", "@calls", OPERATION))
                .about("Requests a second, and so long ago."),
        ),
        wide(
            series("Error ratio", "percentunit")
                .query("now", NOW.errors("", OPERATION))
                .query("objective", "vector(1 - $slo)")
                .must()
                .query("$baseline ago", NOW.baseline().errors("", OPERATION))
                .about(
                    "Share of spans with an error. Above the objective's line the error budget \
                     shrinks: see the operations below.",
                ),
        ),
        wide(
            series("p95", "s")
                .query("now", p95(NOW))
                .must()
                .query("$baseline ago", p95(NOW.baseline()))
                .about("95 of 100 requests were faster."),
        ),
    ]
}

fn quantiles() -> Panel {
    let panel = series("Quantiles", "s").about(
        "Half of the requests, 95 and 99 of 100 were faster. An exemplar leads to a \
         trace.",
    );
    ["0.5", "0.95", "0.99"]
        .iter()
        .zip(["p50", "p95", "p99"])
        .fold(panel, |panel, (q, legend)| {
            panel.query(legend, NOW.quantile(q, "", "@latency", OPERATION))
        })
        .must()
}

fn operations() -> Panel {
    let by = "@span";
    let p95 = |window: Window| window.quantile("0.95", by, "@latency", OPERATION);
    let mine = r#"{ resource.service.name = "VAR:service" && name = "FIELD:span""#;
    let top = |of: String| busiest(by, OPERATION, &of);
    let all_time = RANGE.seconds("", "@latency", OPERATION);
    let share = format!("{} / scalar({all_time})", RANGE.seconds(by, "@latency", OPERATION));
    table("Operations")
        .about(
            "One row an operation over the time range, the busiest ones. Share of time is \
             what to mend first.",
        )
        .column("Requests", "reqps", top(RANGE.per_second(by, "@calls", OPERATION)))
        .column("Error ratio", "percentunit", top(RANGE.errors(by, OPERATION)))
        .column("p50", "s", top(RANGE.quantile("0.5", by, "@latency", OPERATION)))
        .column("p95", "s", top(p95(RANGE)))
        .column("p99", "s", top(RANGE.quantile("0.99", by, "@latency", OPERATION)))
        .column("Share of time", "percentunit", top(share))
        .must()
        .column(
            "p95, times the baseline's",
            "none",
            top(format!("{} / {}", p95(RANGE), p95(RANGE.baseline()))),
        )
        .link("@span", "Traces", to_traces(&format!("{mine} }}")))
        .link("@span", "Failed traces", to_traces(&format!("{mine} && status = error }}")))
        .link("@span", "Slow traces (over 1 s)", to_traces(&format!("{mine} && duration > 1s }}")))
        .size(24, 10)
}

/// Edges with this service at one end, by the other.
fn neighbours(title: &'static str, this: &str, other: &'static str) -> Panel {
    let (filter, by) = (format!("{this}=~\"$service\""), format!("{other}, @type"));
    let failed = RANGE.sum(&by, "@failed", &filter);
    let p95 = |side: &str| RANGE.quantile("0.95", &by, side, &filter);
    let edges = table(title)
        .about(
            "Edges of the service graph. A large gap between the caller's and the called's \
             p95 is the network, or a queue. A peer without spans has no latency of its own.",
        )
        .column("Requests", "reqps", RANGE.per_second(&by, "@requests", &filter));
    edges
        .column(
            "Failed",
            "percentunit",
            super::expr::share(&failed, &RANGE.sum(&by, "@requests", &filter)),
        )
        .column("Caller's p95", "s", p95("@clientside"))
        .column("Called's p95", "s", p95("@serverside"))
        .column("Gap", "s", format!("{} - {}", p95("@clientside"), p95("@serverside")))
        .link(other, "Service", to_dashboard(SERVICE, "service", other))
        .size(12, 9)
}

fn splits() -> Vec<Panel> {
    const VERSION: &str = "service.version in processors.span_metrics.dimensions";
    let versioned = format!("{OPERATION},@version!=\"\"");
    let http = format!("{OPERATION},@http!=\"\"");
    let class = format!(
        "label_replace({}, \"class\", \"${{1}}xx\", \"@http\", \"(.).*\")",
        NOW.sum("@http", "@calls", &http)
    );
    vec![
        series("Requests by version", "reqps")
            .query("{{@version}}", NOW.sum("@version", "@calls", &versioned))
            .must()
            .needs(VERSION)
            .about("Which versions take how much: a canary is a thin line beside a thick one."),
        series("Error ratio by version", "percentunit")
            .query("{{@version}}", NOW.errors("@version", &versioned))
            .must()
            .needs(VERSION)
            .about("A version that fails more than the other should go."),
        series("p95 by version", "s")
            .query("{{@version}}", NOW.quantile("0.95", "@version", "@latency", &versioned))
            .must()
            .needs(VERSION)
            .about("A version that is slower than the other."),
        series("Spans by status", "reqps")
            .query("{{@status}}", NOW.sum("@status", "@calls", OPERATION))
            .must()
            .about("Status codes of the spans: an error is what the instrumentation calls one."),
        series("Responses by class", "reqps")
            .query("{{class}}", format!("sum by (class) ({class})"))
            .must()
            .needs("http.response.status_code in processors.span_metrics.dimensions")
            .about("HTTP status codes by their class."),
    ]
}

fn identity() -> Panel {
    table("Instances, versions, languages")
        .column(
            "Instances",
            "short",
            "count by (job, @version, telemetry_sdk_language) (@target{job=~\"(.+/)?$service\"})",
        )
        .needs(TARGETS)
        .must()
        .about("What the resources of the service's spans say of it.")
}
