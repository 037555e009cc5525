//! Every expression of every panel, variable, annotation, rule and alert, asked of a real Prometheus
//! that a Spanmill writes to and that scrapes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use spanmill::clock::Clock;
use spanmill::dashboards::{Dashboard, TEMPO, Variable, all};

use super::promql::{self, Values};
use super::{node_graph, read, rules, yaml};
use crate::support::http;
use crate::support::process::{self, Config, Spanmill};
use crate::support::servers::{Server, Vector, prometheus_with};
use crate::support::wait;

/// For the load to fill what must have data.
const FILLED_WITHIN: Duration = Duration::from_secs(120);
/// Shorter than anybody's dashboard, so that a minute is a long time.
const TIMES: [(&str, &str); 4] =
    [("__rate_interval", "10s"), ("__range", "20s"), ("__range_s", "20"), ("baseline", "5s")];

/// An expression, where it stands, and whether it must have an answer.
#[derive(Debug)]
struct Asked {
    place: String,
    expr: String,
    must_have_data: bool,
    /// Asked at each step of a graph as well as at one moment.
    is_graph: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expression_runs_and_has_data_with_the_shipped_settings() {
    let (service, asked) = every_expression_runs(&yaml::file("spanmill.yaml")).await;
    only_metrics_that_the_program_has(&service, &asked).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expression_runs_and_has_data_with_the_settings_of_the_demo() {
    let settings = yaml::parse(include_str!("../../../config/demo.yaml"));
    let (service, _) = every_expression_runs(&settings).await;
    service.stop().await;
}

async fn every_expression_runs(settings: &Value) -> (Spanmill, Vec<Asked>) {
    let targets = tempfile::tempdir().expect("a folder");
    let prometheus = prometheus_with(&config(targets.path())).await;
    let service = service(&prometheus, settings).await;
    let mut load = Load::start(&service);
    scrape(targets.path(), service.ports.admin);

    let asked = asked();
    assert!(asked.len() > 180, "{}", asked.len());
    wait::until("data where there must be some", FILLED_WITHIN, async || {
        let mut empty = Vec::new();
        for asked in asked.iter().filter(|asked| asked.must_have_data) {
            if !has_data(&prometheus.query(&asked.expr, None).await) {
                empty.push(format!("{}: {}", asked.place, asked.expr));
            }
        }
        assert_eq!(load.0.try_wait().expect("a child"), None, "the load has ended");
        if empty.is_empty() {
            Ok(())
        } else {
            Err(format!("{}:\n{}", empty.len(), empty.join("\n")))
        }
    })
    .await;
    let now = Clock::default().now_unix_ms() as f64 / 1000.0;
    for asked in &asked {
        prometheus.query(&asked.expr, Some(now)).await;
        if asked.is_graph {
            prometheus.query_range(&asked.expr, (now - 30.0, now), 5.0).await;
        }
    }
    the_node_graph_can_be_drawn(&prometheus, now).await;
    let buckets = "traces_spanmetrics_latency_bucket";
    let exemplars = prometheus.exemplars(buckets, (now - 60.0, now)).await;
    assert!(!exemplars.is_empty(), "no exemplars of {buckets}");
    drop(load);
    (service, asked)
}

// === The servers and the load ===

/// The shipped rules, all evaluated every second; what is scraped stands in a file.
fn config(folder: &Path) -> String {
    for name in ["recording.yml", "alerts.yml"] {
        let rules = read(&format!("prometheus/{name}")).replace("interval: 2m", "interval: 1s");
        fs::write(folder.join(name), rules).expect("the folder is ours");
    }
    let folder = folder.display();
    format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
         rule_files: [{folder}/recording.yml, {folder}/alerts.yml]\n\
         scrape_configs:\n  - job_name: spanmill\n    file_sd_configs:\n      \
         - {{ files: [\"{folder}/targets.json\"], refresh_interval: 1s }}\n"
    )
}

fn scrape(folder: &Path, addr: SocketAddr) {
    let (whole, part) = (folder.join("targets.json"), folder.join("part"));
    fs::write(&part, format!("[{{ \"targets\": [\"{addr}\"] }}]")).expect("the folder is ours");
    fs::rename(part, whole).expect("a file beside it");
}

/// With what the settings have for the dashboards.
async fn service(prometheus: &Server, settings: &Value) -> Spanmill {
    let set = |path: &str| {
        let key = path.trim_start_matches('/').replace('/', ".");
        format!("{key}={}", flow(settings.pointer(path).expect("a setting")))
    };
    let sets = [
        "/processors/span_metrics",
        "/processors/service_graphs",
        "/registry/span_name_sanitization",
    ];
    let sets = sets.map(set);
    let config = Config {
        collection_interval: "1s",
        run: "dashboards".to_owned(),
        remote_write: vec![prometheus.write_url()],
    };
    let mut sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    sets.push("processors.service_graphs.wait=2s");
    Spanmill::start_with(&config, &sets).await
}

/// YAML in one line, scalars as they were written.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}: {}", flow(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        scalar => scalar.as_str().expect("text").to_owned(),
    }
}

/// The demo's shop, which sends until it is dropped.
struct Load(Child);

impl Load {
    fn start(service: &Spanmill) -> Self {
        let to = format!("grpc://{}", service.ports.grpc);
        let mut demo = Command::new(env!("CARGO_BIN_EXE_spanmill"));
        demo.args(["demo", "--to", &to, "--speed", "6"]);
        demo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(demo.spawn().expect("the built program starts"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        process::end(&mut self.0);
    }
}

// === What is asked ===

fn live_values(dashboard: &Dashboard) -> Values {
    let mut values = promql::values_of(&dashboard.json());
    for (name, value) in TIMES {
        values.insert(name.to_owned(), value.to_owned());
    }
    values
}

fn asked() -> Vec<Asked> {
    let mut asked = Vec::new();
    for dashboard in all(&TEMPO) {
        let values = live_values(&dashboard);
        let mut add = |place: &str, expr: &str, must_have_data, is_graph| {
            let place = format!("{}, {place}", dashboard.title);
            let expr = promql::substituted(expr, &values);
            asked.push(Asked { place, expr, must_have_data, is_graph });
        };
        for panel in dashboard.panels() {
            for query in &panel.queries {
                let place = format!("{} {}", panel.title, query.ref_id);
                add(&place, &query.expr, query.must_have_data, !query.is_instant);
            }
        }
        for annotation in &dashboard.annotations {
            add(annotation.name, &annotation.expr, false, true);
        }
        for variable in &dashboard.variables {
            if let Variable::Query { name, query, .. } = variable {
                add(&format!("variable {name}"), &values_query(query), true, false);
            }
        }
    }
    for rule in rules::all_rules() {
        let name = rule["record"].as_str().or_else(|| rule["alert"].as_str()).expect("a name");
        let (place, expr) = (name.to_owned(), yaml::text(&rule, "/expr").to_owned());
        let must_have_data = rule.get("record").is_some();
        asked.push(Asked { place, expr, must_have_data, is_graph: false });
    }
    asked
}

/// `label_values(SELECTOR, LABEL)` as an expression: one series a value.
fn values_query(query: &str) -> String {
    let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let (selector, label) = inside.and_then(|i| i.rsplit_once(", ")).expect("label_values");
    format!("group by ({label}) ({selector})")
}

/// A value that is a number.
fn has_data(found: &Vector) -> bool {
    found.values().any(|(_, value)| !value.is_nan())
}

// === What the answers must be ===

async fn the_node_graph_can_be_drawn(prometheus: &Server, now: f64) {
    let graph = all(&TEMPO).into_iter().find(|d| d.title == "Spanmill / Service graph");
    let graph = graph.expect("the dashboard");
    let values = live_values(&graph);
    let queries: Vec<_> = graph.panels().flat_map(|panel| panel.queries.clone()).collect();
    let mut answers: BTreeMap<&str, BTreeMap<_, f64>> = BTreeMap::new();
    for name in node_graph::QUERIES {
        let query =
            queries.iter().find(|query| query.ref_id == name).expect("a query of the panel");
        let found = prometheus.query(&promql::substituted(&query.expr, &values), Some(now)).await;
        let found = found.into_iter().map(|(labels, (_, value))| (labels, value)).collect();
        answers.insert(name, found);
    }
    assert_eq!(node_graph::wrong(&answers), Vec::<String>::new());
    let (n_nodes, n_edges) = (answers["nodes_all"].len(), answers["edges_rate"].len());
    assert!(n_nodes > 5 && n_edges > 5, "{n_nodes} nodes, {n_edges} edges");
    let thick = answers["edges_thickness"].values().all(|t| (1.0..=6.0 + 1e-9).contains(t));
    assert!(thick, "{:?}", answers["edges_thickness"]);
    assert!(answers["nodes_failed"].values().any(|share| *share > 0.0), "nothing failed");
}

/// By what the program shows of itself, what it makes of spans, and what the rules record.
async fn only_metrics_that_the_program_has(service: &Spanmill, asked: &[Asked]) {
    let mut known = rules::recorded();
    known.insert("up".to_owned());
    for page in ["/metrics", "/generated"] {
        let page = http::get(service.ports.admin, page).await.expect("an answer").text();
        for line in page.lines() {
            let Some(family) = line.strip_prefix("# TYPE ") else { continue };
            let (name, kind) = family.split_once(' ').expect("a kind");
            let suffixes: &[&str] = match kind {
                "histogram" => &["", "_bucket", "_sum", "_count"],
                // OpenMetrics names the family without it.
                "counter" if !name.ends_with("_total") => &["_total"],
                _ => &[""],
            };
            known.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
        }
    }
    let mut unknown = BTreeSet::new();
    for asked in asked {
        for selector in promql::selectors(&promql::parse(&asked.expr).expect("parsed before")) {
            let name = regex::Regex::new(&format!("^(?:{})$", selector.name)).expect("a pattern");
            if !known.iter().any(|known| name.is_match(known)) {
                unknown.insert(format!("{}: {:?}", asked.place, selector.name));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}; known: {known:#?}");
}
