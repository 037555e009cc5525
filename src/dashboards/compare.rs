//! A service now and so long ago, and its versions side by side.

use serde_json::json;

use super::expr::{CHOSEN, NOW, RANGE, Window, appeared, busiest, vanished};
use super::links::{COMPARE, ONE, baseline, chosen, sources, to_traces, top};
use super::model::{Dashboard, Kind, Panel, panel, series, table};

const VERSION: &str = "service.version in processors.span_metrics.dimensions";

pub(super) fn compare() -> Dashboard {
    let about = "A service now and so long ago, and its versions side by side.";
    Dashboard::new(COMPARE, "Spanmill / Compare", about)
        .variables(sources())
        .variables(chosen(ONE))
        .variables([baseline(), top()])
        .annotated()
        .row("Now against so long ago", now_and_then())
        .row("Operations", vec![differences()])
        .row("Distribution", vec![distribution(), by_version()])
        .folded_row("Names that came and went", names())
}

fn pair(title: &'static str, unit: &'static str, of: impl Fn(Window) -> String) -> Panel {
    let now = series(title, unit).query("now", of(NOW)).must();
    now.query("$baseline ago", of(NOW.baseline())).size(8, 8)
}

fn now_and_then() -> Vec<Panel> {
    let quantile = |q: &'static str| move |w: Window| w.quantile(q, "", "@latency", CHOSEN);
    vec![
        pair("Requests", "reqps", |w| w.sum("", "@calls", CHOSEN)).about("Requests a second."),
        pair("Error ratio", "percentunit", |w| w.errors("", CHOSEN))
            .about("Share of spans with an error."),
        pair("Seconds of work", "none", |w| w.seconds("", "@latency", CHOSEN))
            .about("Seconds spent a second: how many requests were in progress, on average."),
        pair("p50", "s", quantile("0.5")).about("Half of the requests were faster."),
        pair("p95", "s", quantile("0.95")).about("95 of 100 requests were faster."),
        pair("p99", "s", quantile("0.99")).about("99 of 100 requests were faster."),
    ]
}

fn differences() -> Panel {
    let by = "@span";
    let both = |of: &dyn Fn(Window) -> String| {
        busiest(by, CHOSEN, &format!("{} - {}", of(RANGE), of(RANGE.baseline())))
    };
    let rate = |w: Window| w.per_second(by, "@calls", CHOSEN);
    let table =
        table("Differences").column("Requests", "reqps", busiest(by, CHOSEN, &rate(RANGE))).must();
    let quantile = |q: &'static str| move |w: Window| w.quantile(q, by, "@latency", CHOSEN);
    let traces = r#"{ resource.service.name = "VAR:service" && name = "FIELD:span" }"#;
    table
        .column("Requests, more", "reqps", both(&rate))
        .column("Error ratio, more", "percentunit", both(&|w| w.errors(by, CHOSEN)))
        .column("p50, more", "s", both(&quantile("0.5")))
        .column("p95, more", "s", both(&quantile("0.95")))
        .column("p99, more", "s", both(&quantile("0.99")))
        .link("@span", "Traces", to_traces(traces))
        .about(
            "How much more than so long ago each operation has; nothing for operations that \
             are new.",
        )
}

fn distribution() -> Panel {
    let below = |w: Window| {
        let all = w.sum("", "@latency_count", CHOSEN);
        format!("{} / scalar({all} > 0)", w.sum("le", "@latency_bucket", CHOSEN))
    };
    let renamed = json!({ "Value #A": "now", "Value #B": "so long ago" });
    panel(Kind::BarChart, "Share of requests that were faster", "percentunit")
        .query("now", below(RANGE))
        .must()
        .query("so long ago", below(RANGE.baseline()))
        .transform("merge", json!({}))
        .transform(
            "convertFieldType",
            json!({ "conversions": [{ "targetField": "le", "destinationType": "number" }] }),
        )
        .transform("sortBy", json!({ "sort": [{ "field": "le" }] }))
        .transform(
            "convertFieldType",
            json!({ "conversions": [{ "targetField": "le", "destinationType": "string" }] }),
        )
        .transform(
            "organize",
            json!({ "excludeByName": { "Time": true }, "renameByName": renamed }),
        )
        .about(
            "By each bound of the classic buckets, in seconds: where the two differ is where \
             it became slower.",
        )
}

fn by_version() -> Panel {
    let filter = format!("{CHOSEN},@version!=\"\"");
    let by = "@version";
    let quantile = |q: &str| RANGE.quantile(q, by, "@latency", &filter);
    table("Versions")
        .needs(VERSION)
        .column("Requests", "reqps", RANGE.per_second(by, "@calls", &filter))
        .column("Error ratio", "percentunit", RANGE.errors(by, &filter))
        .column("p50", "s", quantile("0.5"))
        .column("p95", "s", quantile("0.95"))
        .column("p99", "s", quantile("0.99"))
        .must()
        .about(
            "Versions side by side over the time range: a canary should fail no more and be \
             no slower.",
        )
        .size(12, 8)
}

fn names() -> Vec<Panel> {
    let by = "@service, @span";
    vec![
        table("New operations")
            .column(
                "Requests in the range",
                "short",
                format!("topk($top, {})", appeared(by, "@calls", CHOSEN)),
            )
            .size(12, 9)
            .about(
                "Span names that were not there so long ago. Many, with ids in them: see the \
                 cardinality dashboard.",
            ),
        table("Vanished operations")
            .column(
                "Requests so long ago",
                "short",
                format!("topk($top, {})", vanished(by, "@calls", CHOSEN)),
            )
            .size(12, 9)
            .about("Span names that were there so long ago and are not now."),
    ]
}
