//! The service graph: a node graph made from Prometheus alone, and its edges as tables.
//!
//! A node graph takes its figures from fields by name (`id`, `mainstat`, `arc__*`, ...). The value
//! of an answer is called `Value`, and a renamed field keeps its name beneath the new title; only
//! a field that a calculation makes has the name that it is given. Therefore the answers are joined
//! by `id`, and each value is summed over itself into a field of the wanted name.

use serde_json::json;

use super::expr::{RANGE, appeared, quantile, share, sum, vanished};
use super::links::{self, GRAPH, SERVICE, baseline, sources, to_dashboard, to_traces, top};
use super::model::{Dashboard, Kind, Panel, panel, series, stat, table};

const Q: &str = "$quantile";
/// Answers about a node, and the field that each becomes.
const NODE_FIELDS: [(&str, &str); 4] = [
    ("nodes_rate", "mainstat"),
    ("nodes_latency", "secondarystat"),
    ("nodes_failed", "arc__failed"),
    ("nodes_ok", "arc__ok"),
];
const EDGE_FIELDS: [(&str, &str); 4] = [
    ("edges_rate", "mainstat"),
    ("edges_latency", "secondarystat"),
    ("edges_failed", "detail__failed"),
    ("edges_thickness", "thickness"),
];
const ENDS: &str = "@client, @server, @type";

pub(super) fn graph() -> Dashboard {
    let about = "Who calls whom, how often, how slowly, how badly.";
    let services =
        links::query("service", "Around", "label_values(@requests, @server)", links::ANY);
    Dashboard::new(GRAPH, "Spanmill / Service graph", about)
        .variables(sources())
        .variables([services, links::quantile(), baseline(), top()])
        .row("Graph", vec![nodes_and_edges()])
        .row("Edges", vec![edges()])
        .row("Trouble", trouble())
        .folded_row("What has changed, and what has no spans", changes())
        .folded_row("Queues, and sides that found no other", queues())
}

/// Of edges with a chosen service at either end.
fn around(metric: &str) -> String {
    let at = |end: &str| RANGE.of(metric, &format!("{end}=~\"$service\""));
    format!("({} or {})", at("@client"), at("@server"))
}

// === Node graph ===

fn nodes_and_edges() -> Panel {
    let labelled = |label: &str, from: &str, what: &str| {
        format!("label_replace({what}, \"{label}\", \"$1\", \"{from}\", \"(.+)\")")
    };
    let called = |metric: &str| sum("id", &labelled("id", "@server", &around(metric)));
    let any_end = |what: &str| {
        format!(
            "group by (id) ({} or {})",
            labelled("id", "@server", what),
            labelled("id", "@client", what)
        )
    };
    let all = any_end(&around("@requests"));
    // Every node has a share: one that nobody calls has failed nothing.
    let failed = format!("({} / {} or 0 * {all})", called("@failed"), called("@requests"));
    let node_latency =
        quantile(Q, "id", |of| labelled("id", "@server", &around(&format!("@serverside{of}"))));

    let joined = |what: &str| {
        let ends = labelled("source", "@client", &labelled("target", "@server", what));
        format!("label_join({ends}, \"id\", \" -> \", \"source\", \"target\")")
    };
    let edge = |metric: &str| sum("id", &joined(&around(metric)));
    let rate = format!("{} / $__range_s", sum("id, source, target", &joined(&around("@requests"))));
    let latency = quantile(Q, "id", |of| joined(&around(&format!("@clientside{of}"))));
    let edge_all = edge("@requests");
    let panel = panel(Kind::NodeGraph, "Service graph", "short")
        .about(
            "Requests a second and latency of each service and edge over the time range; the \
             red part of a circle failed. Thick edges carry most. A click leads to the \
             service. With the default buckets of edges all latency under 100 ms looks alike.",
        )
        .frame("nodes_all", all)
        .frame("nodes_rate", format!("{} / $__range_s", called("@requests")))
        .frame("nodes_latency", node_latency)
        .frame("nodes_failed", failed.clone())
        .frame("nodes_ok", format!("1 - {failed}"))
        .frame("edges_rate", rate)
        .frame("edges_latency", latency)
        .frame("edges_failed", share(&edge("@failed"), &edge_all))
        .frame("edges_thickness", format!("1 + 5 * {edge_all} / scalar(max({edge_all}))"))
        .must()
        .link("arc__ok", "Service", to_dashboard(SERVICE, "service", "id"));
    let panel = joined_by_id(panel, "nodes", "nodes_all", &NODE_FIELDS);
    joined_by_id(panel, "edges", "edges_rate", &EDGE_FIELDS)
}

/// One frame of all answers whose name begins so, and in it a field for each.
fn joined_by_id(panel: Panel, kind: &str, first: &str, fields: &[(&str, &str)]) -> Panel {
    let answers = panel.queries.iter().map(|query| query.ref_id.clone());
    let answers: Vec<String> = answers.filter(|ref_id| ref_id.starts_with(kind)).collect();
    debug_assert_eq!(answers.first().map(String::as_str), Some(first));
    let of = |pattern: String| json!({ "id": "byRefId", "options": pattern });
    let frame = format!("joinByField-{}", answers.join("-"));
    let panel = panel.filtered(
        of(format!("/{kind}_.*/")),
        "joinByField",
        json!({ "byField": "id", "mode": "outer" }),
    );
    fields.iter().fold(panel, |panel, (answer, field)| {
        let calculation = json!({
            "mode": "reduceRow",
            "reduce": { "reducer": "sum", "include": [format!("Value #{answer}")] },
            "alias": field,
            "timeSeries": false,
            "replaceFields": false,
        });
        panel.filtered(of(frame.clone()), "calculateField", calculation)
    })
}

// === Tables ===

fn edges() -> Panel {
    let p95 = |side: &str| quantile("0.95", ENDS, |of| around(&format!("{side}{of}")));
    let requests = sum(ENDS, &around("@requests"));
    let of = |end: &str| format!("{{ resource.service.name = \"FIELD:{end}\" }}");
    let traces = to_traces(&format!("{} >> {}", of("client"), of("server")));
    table("Edges")
        .about(
            "One row an edge over the time range. A large gap between the caller's and the \
             called's p95 is the network, or a queue.",
        )
        .column("Requests", "reqps", format!("{requests} / $__range_s"))
        .column("Failed", "percentunit", share(&sum(ENDS, &around("@failed")), &requests))
        .column("Caller's p95", "s", p95("@clientside"))
        .column("Called's p95", "s", p95("@serverside"))
        .column("Gap", "s", format!("{} - {}", p95("@clientside"), p95("@serverside")))
        .must()
        .link("@client", "Service", to_dashboard(SERVICE, "service", "@client"))
        .link("@server", "Service", to_dashboard(SERVICE, "service", "@server"))
        .link("@server", "Traces", traces)
        .size(24, 10)
}

fn trouble() -> Vec<Panel> {
    let rate = |metric: &str, end: &str| {
        format!("rate({metric}{{{end}=~\"$service\"}}[$__rate_interval])")
    };
    let now =
        |metric: &str| format!("({} or {})", rate(metric, "@client"), rate(metric, "@server"));
    let failed = sum("@client, @server", &now("@failed"));
    let all = sum("@client, @server", &now("@requests"));
    let slow = quantile(Q, "@client, @server", |of| now(&format!("@clientside{of}")));
    let edge = "{{@client}} -> {{@server}}";
    let worst = format!("topk($top, {failed} / ({all} > 0) > 0)");
    vec![
        series("Edges that fail most", "percentunit")
            .query(edge, worst)
            .steps(&[0.01, 0.05])
            .about(
                "Share of requests of which either side is an error. Red: the called service, or \
                 what is between the two.",
            ),
        series("Slowest edges", "s")
            .query(edge, format!("topk($top, {slow})"))
            .must()
            .about("As the caller saw it; an exemplar leads to a trace."),
    ]
}

fn changes() -> Vec<Panel> {
    let by = "@client, @server";
    let filter = "@client=~\"$service\"";
    let virtual_nodes = sum(
        ENDS,
        &RANGE.of(
            "@requests",
            "@type=~\"virtual_node|database\",virtual_node!=\"client\",@client=~\"$service\"",
        ),
    );
    vec![
        table("New edges")
            .column("Requests in the range", "short", appeared(by, "@requests", filter))
            .size(8, 9)
            .about("Edges that are there now and were not so long ago."),
        table("Vanished edges")
            .column("Requests so long ago", "short", vanished(by, "@requests", filter))
            .size(8, 9)
            .about("Edges that were there so long ago and are not now."),
        table("Peers without spans")
            .column("Requests", "reqps", format!("{virtual_nodes} / $__range_s"))
            .size(8, 9)
            .about(
                "Known from the caller's side alone: databases, and services that send no spans. \
                 Needs processors.service_graphs.enable_virtual_node_label: true to leave out \
                 those who are called by nobody that sends spans.",
            ),
    ]
}

fn queues() -> Vec<Panel> {
    let delay = quantile(Q, "@client, @server", |of| {
        format!("rate(@messaging{of}{{@client=~\"$service\"}}[$__rate_interval])")
    });
    vec![
        series("Time in queues", "s")
            .query("{{@client}} -> {{@server}}", format!("topk($top, {delay})"))
            .must()
            .needs("processors.service_graphs.enable_messaging_system_latency_histogram")
            .about("From sending to receiving. It grows: consumers lag."),
        series("Ends of edge sides", "ops")
            .query("{{end}}", "sum by (end) (rate(spanmill_edge_sides_total[$__rate_interval]))")
            .must()
            .needs("Prometheus to scrape Spanmill's /metrics")
            .about("Expired: nobody came, and no peer is named. Evicted: max_items is too small."),
        stat("Sides that wait", "short")
            .query("now", "sum(spanmill_edge_sides_pending)")
            .must()
            .needs("Prometheus to scrape Spanmill's /metrics")
            .size(24, 4)
            .about("Client and server spans whose other side has not come yet."),
    ]
}
