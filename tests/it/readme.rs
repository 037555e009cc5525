//! README's first minutes, as they are written.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::process::{Config, Spanmill, end, free_ports};
use crate::support::{command, corpus, http, servers, wait};

const DEMO: &str = "cargo run --release -- demo";
const FIRST: &str = "cargo run --release";
const PROGRAM: &str = "cargo run --release -- ";

fn readme() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md")
}

/// The fenced blocks of a section, line by line.
fn blocks(text: &str, section: &str) -> Vec<Vec<String>> {
    let from = text.find(section).unwrap_or_else(|| panic!("README has {section}"));
    let rest = &text[from + section.len()..];
    let section = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
    let fenced = section.split("```").skip(1).step_by(2);
    fenced.map(|block| block.lines().skip(1).map(str::to_owned).collect()).collect()
}

/// The default ports may be taken here: others stand in for them, and the program that has been built
/// for cargo.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quick_start_shows_metrics_within_seconds() {
    let blocks = blocks(&readme(), "\n## Quick start\n");
    let [demo, first, second] = &blocks[..] else { panic!("a demo, two terminals: {blocks:?}") };
    assert_eq!((demo, first), (&vec![DEMO.to_owned()], &vec![FIRST.to_owned()]));
    let [replay, show] = &second[..] else { panic!("two lines: {second:?}") };

    let defaults = Config { collection_interval: "15s", run: String::new(), remote_write: vec![] };
    let window = "processors.ingestion_time_range_slack={past: 1h, future: 10m}";
    let service = Spanmill::start_with(&defaults, &[window]).await;
    let here = |line: &str| {
        line.replace(PROGRAM, &format!("{} ", env!("CARGO_BIN_EXE_spanmill")))
            .replace("127.0.0.1:4318", &service.ports.http.to_string())
            .replace("127.0.0.1:4319", &service.ports.admin.to_string())
    };
    let run = async |line: &str| {
        let mut shell = Command::new("bash");
        shell.args(["-c", &here(line)]);
        command::run(shell, "").await
    };
    let replayed = run(replay).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let n_spans = corpus::named("node-edge").oracle().n_spans();
    assert!(replayed.stderr.contains(&format!("{n_spans} spans")), "{replayed:?}");
    let shown = wait::until("calls on the page", Duration::from_secs(8), async || {
        let shown = run(show).await;
        if shown.stdout.is_empty() { Err(format!("{shown:?}")) } else { Ok(shown.stdout) }
    })
    .await;
    assert_eq!(shown.lines().count(), 10, "{shown}");
    assert!(
        shown.lines().all(|line| line.starts_with("traces_spanmetrics_calls_total{")),
        "{shown}"
    );
    service.stop().await;
}

/// Prometheus' command, Spanmill's, and the queries; only ports are others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_answers_the_queries() {
    let blocks = blocks(&readme(), "\n## To Prometheus and Grafana\n");
    let [commands, queries] = &blocks[..] else { panic!("commands, queries: {blocks:?}") };
    let [prometheus, service] = &commands[..] else { panic!("two lines: {commands:?}") };
    let prometheus = servers::prometheus_by(prometheus, "").await;
    let service = service.strip_prefix(PROGRAM).expect("the program");
    let url = "http://127.0.0.1:9090/api/v1/write";
    assert!(service.contains(url), "{service}");
    let [grpc, http, admin] = free_ports();
    let sets = [
        format!("receivers.otlp.grpc.endpoint={grpc}"),
        format!("receivers.otlp.http.endpoint={http}"),
        format!("admin.endpoint={admin}"),
    ];
    let child = Command::new(env!("CARGO_BIN_EXE_spanmill"))
        .args(service.replace(url, &prometheus.write_url()).split_whitespace())
        .args(sets.iter().flat_map(|set| ["--set", set]))
        .stderr(std::process::Stdio::null())
        .spawn();
    let _service = Running(child.expect("the built program starts"));
    wait::until("the service to be ready", Duration::from_secs(30), async || {
        let ready = http::get(admin, "/-/ready").await?;
        if ready.status == 200 { Ok(()) } else { Err(ready.text()) }
    })
    .await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/node-edge.otlp.binpb.gz");
    let to = format!("http://{http}");
    let replayed = command::spanmill(&["replay", "--to", &to, "--shift-to-now", file]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let queries = queries.join("\n");
    let queries: Vec<&str> = queries.split("\n\n").collect();
    assert_eq!(queries.len(), 4);
    for query in queries {
        wait::until(query, Duration::from_secs(60), async || {
            let found = prometheus.query(query, None).await;
            let is_number = found.values().any(|(_, value)| *value > 0.0);
            if is_number { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

/// Ends when it is dropped.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// README and what it points to.
fn pages() -> Vec<(std::path::PathBuf, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs");
    let docs = docs.map(|entry| entry.expect("a page").path());
    let paths = docs.chain([root.join("README.md"), root.join("grafana-dashboards/README.md")]);
    paths.map(|path| (path.clone(), fs::read_to_string(&path).expect("text"))).collect()
}

#[test]
fn every_file_and_heading_that_a_page_names_is_there() {
    let link = regex::Regex::new(r"\]\(([^)#:]*)(#[^)]+)?\)").expect("a regex");
    let mut n_links = 0;
    for (path, text) in pages() {
        for found in link.captures_iter(&text) {
            let named = found.get(1).map_or("", |name| name.as_str());
            let target = match named {
                "" => path.clone(),
                _ => path.parent().expect("a folder").join(named),
            };
            assert!(target.exists(), "{}: {named}", path.display());
            n_links += 1;
            let Some(heading) = found.get(2) else { continue };
            let anchors = anchors(&fs::read_to_string(&target).expect("a page"));
            let heading = &heading.as_str()[1..];
            assert!(anchors.contains(heading), "{}: {named}#{heading}", path.display());
        }
    }
    assert!(n_links > 30, "{n_links}");
}

/// As they are made of headings: small letters, `-` for spaces, no punctuation.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_own_metric_that_the_program_has_is_in_its_page() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let of = |path: &str| fs::read_to_string(root.join(path)).expect("a source");
    let sources = ["telemetry.rs", "admin/tenants.rs", "admin/cardinality/own_metrics.rs"];
    let sources: String = sources.iter().map(|path| of(&format!("src/{path}"))).collect();
    let text = fs::read_to_string(root.join("docs/operations.md")).expect("a page");
    let name = regex::Regex::new(r#""(spanmill_[a-z_]+)""#).expect("a regex");
    let names: BTreeSet<&str> =
        name.captures_iter(&sources).map(|c| c.get(1).expect("it").as_str()).collect();
    assert!(names.len() > 20, "{names:?}");
    let missing: Vec<_> =
        names.iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
