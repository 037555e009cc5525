//! Overrides and reload of the running service; tenants that are too many, go quiet, and come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::capture::{Capture, Seen, Series};
use crate::support::corpus;
use crate::support::http;
use crate::support::oracle::Labels;
use crate::support::process::{Config, Spanmill};
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::servers::prometheus;
use crate::support::stored::STALE_MARKER;
use crate::support::wait;

const WITHIN: Duration = Duration::from_secs(60);
const HEADER: &str = "x-scope-orgid";
const CALLS: &str = "traces_spanmetrics_calls_total";
/// Every span of the corpora has it, and no label by default.
const DIMENSION: &str = "telemetry.sdk.language";
const LABEL: &str = "telemetry_sdk_language";

/// The service with an overrides file that the test writes.
struct Bench {
    capture: Capture,
    spanmill: Spanmill,
    folder: TempDir,
}

impl Bench {
    async fn start(overrides: &str, sets: &[&str]) -> Self {
        Self::start_with(overrides, sets, None).await
    }

    /// That writes to another endpoint too.
    async fn start_with(overrides: &str, sets: &[&str], url: Option<String>) -> Self {
        let capture = Capture::start().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("overrides.yaml");
        std::fs::write(&file, overrides).expect("a written file");
        let config = Config {
            collection_interval: "1s",
            run: "reload".to_owned(),
            remote_write: [capture.url()].into_iter().chain(url).collect(),
        };
        let file = format!("overrides.file={}", file.display());
        let sets: Vec<&str> = [&file, "overrides.poll_interval=20ms"]
            .into_iter()
            .chain(sets.iter().copied())
            .collect();
        let spanmill = Spanmill::start_with(&config, &sets).await;
        Self { capture, spanmill, folder }
    }

    /// Replaced as a whole, so that the service never reads half of it.
    fn write(&self, overrides: &str) {
        let at = |name: &str| -> PathBuf { self.folder.path().join(name) };
        std::fs::write(at("new"), overrides).expect("a written file");
        std::fs::rename(at("new"), at("overrides.yaml")).expect("replaced");
    }

    fn admin(&self) -> SocketAddr {
        self.spanmill.ports.admin
    }

    async fn reload(&self) -> (u16, String) {
        let answer = http::post(self.admin(), "/-/reload", &[], Bytes::new()).await;
        let answer = answer.expect("an answer");
        (answer.status.as_u16(), answer.text())
    }

    async fn get(&self, path: &str) -> String {
        http::get(self.admin(), path).await.expect("an answer").text()
    }

    async fn metric(&self, line: &str) -> Option<f64> {
        let metrics = self.get("/metrics").await;
        let found = metrics.lines().find_map(|found| found.strip_prefix(line))?;
        found.trim().parse().ok()
    }

    async fn ready(&self) -> (u16, Vec<String>) {
        let answer = http::get(self.admin(), "/-/ready").await.expect("an answer");
        let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let reasons = json["reasons"].as_array().expect("a list").iter();
        let reasons = reasons.map(|reason| reason.as_str().expect("text").to_owned());
        (answer.status.as_u16(), reasons.collect())
    }

    /// Until the service says so at `/status/config`.
    async fn shows(&self, text: &str) {
        wait::until(text, WITHIN, async || {
            let shown = self.get("/status/config").await;
            if shown.contains(text) { Ok(()) } else { Err(shown) }
        })
        .await;
    }

    /// Until there is nothing of a tenant any more.
    async fn gone(&self, tenant: &str) {
        wait::until("a tenant to go", WITHIN, async || {
            let page = self.get(&format!("/generated?tenant={tenant}")).await;
            if page.starts_with("nothing has been collected") { Ok(()) } else { Err(page) }
        })
        .await;
    }

    async fn sender(&self, protocol: Protocol, tenant: Option<&str>) -> Sender {
        let ports = &self.spanmill.ports;
        let addr = if protocol == Protocol::Grpc { ports.grpc } else { ports.http };
        let sender = Sender::connect(addr, protocol, Encoding::Identity).await;
        tenant.into_iter().fold(sender, |sender, tenant| sender.with_header(HEADER, tenant))
    }

    async fn send(&self, tenant: &str, name: &str) {
        let body = [corpus::named(name).as_one_request()];
        self.sender(Protocol::HttpProtobuf, Some(tenant)).await.send_all(&body).await;
    }
}

fn is_marker(value: f64) -> bool {
    value.to_bits() == STALE_MARKER
}

/// Values that fell without a marker between, by series; and the timestamps rise.
fn resets(seen: &Seen) -> Vec<String> {
    let falls = |series: &Series| {
        let falls = series.samples.windows(2).any(|pair| {
            pair[1].value < pair[0].value && !is_marker(pair[0].value)
                || pair[1].timestamp <= pair[0].timestamp
        });
        falls.then(|| format!("{:?}", series.samples))
    };
    let all = seen.by_tenant.values().flatten();
    all.filter_map(|(labels, series)| Some(format!("{labels:?}: {}", falls(series)?))).collect()
}

fn of_tenant<'a>(seen: &'a Seen, tenant: &str) -> Vec<(&'a Labels, &'a Series)> {
    let series = seen.by_tenant.get(tenant).into_iter().flatten();
    series.filter(|(labels, _)| labels["__name__"] == CALLS).collect()
}

/// Ticks that a tenant's calls were sent with, births aside.
fn ticks(seen: &Seen, tenant: &str) -> usize {
    let samples = of_tenant(seen, tenant).into_iter().flat_map(|(_, series)| &series.samples);
    let at = samples.filter(|sample| sample.value > 0.0).map(|sample| sample.timestamp);
    at.collect::<std::collections::BTreeSet<_>>().len()
}

/// Senders that send a corpus again and again, until they are told to stop. What is not taken fails the test.
struct Load {
    sending: Arc<AtomicBool>,
    senders: JoinSet<u64>,
}

impl Load {
    async fn start(bench: &Bench) -> Self {
        let mut load = Self { sending: Arc::new(AtomicBool::new(true)), senders: JoinSet::new() };
        let corpus = corpus::named("node-edge");
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
            let mut sender = bench.sender(protocol, None).await;
            let (bodies, sending) = (corpus.bodies(), Arc::clone(&load.sending));
            load.senders.spawn(async move {
                let mut n_rounds = 0;
                while sending.load(Ordering::Relaxed) {
                    sender.send_all(&bodies).await;
                    n_rounds += 1;
                }
                n_rounds
            });
        }
        load
    }

    /// Answers how many spans were sent.
    async fn stop(self) -> f64 {
        self.sending.store(false, Ordering::Relaxed);
        let n_rounds: u64 = self.senders.join_all().await.into_iter().sum();
        (n_rounds * corpus::named("node-edge").oracle().n_spans()) as f64
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_refuse_no_request_and_reset_no_counter() {
    let bench = Bench::start("tenants: {}", &[]).await;
    let load = Load::start(&bench).await;
    for n in 1..=20 {
        let good = if n % 2 == 0 { "[]".to_owned() } else { format!("[{DIMENSION}]") };
        bench.write(&format!(
            "tenants: {{ '*': {{ processors: {{ span_metrics: {{ dimensions: {good} }} }},
               registry: {{ collection_interval: {}s }}, limits: {{ max_edges: {} }} }} }}",
            1 + n % 2,
            10_000 + n,
        ));
        match n % 3 {
            0 => {
                let (status, told) = bench.reload().await;
                assert!(status == 200 && told.starts_with("reloaded: "), "{status} {told}");
            }
            1 => bench.spanmill.signal(Signal::HUP),
            _ => {} // found by looking
        }
        bench.shows(&format!("#       max_edges: {}", 10_000 + n)).await;
        assert_eq!(bench.ready().await, (200, Vec::new()));
    }
    let in_force = bench.get("/status/config").await;
    for n in 1..=20 {
        let broken = ["tenants: { a: {", "", "tenants: { a: { limits: { max_edgse: 1 } } }", "[]"];
        bench.write(&format!("{}\n# {n}", broken[n % broken.len()]));
        let (status, told) = bench.reload().await;
        assert_eq!(status, 500, "{told}");
        assert!(told.contains("overrides.yaml:"), "{told}");
        let (status, reasons) = bench.ready().await;
        assert_eq!(status, 200, "requests are taken");
        let expected: Vec<_> = told.lines().map(|line| format!("not reloaded: {line}")).collect();
        assert_eq!(reasons, expected);
        assert_eq!(bench.metric("spanmill_config_last_reload_successful").await, Some(0.0));
        assert_eq!(bench.get("/status/config").await, in_force);
    }
    let logged = bench.spanmill.stderr();
    assert!(logged.contains("not reloaded: ") && logged.contains("max_edgse"), "{logged}");
    bench.write("tenants: {}");
    wait::until("the file that is in order again", WITHIN, async || {
        let reasons = bench.ready().await.1;
        if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
    })
    .await;
    assert_eq!(bench.metric("spanmill_config_last_reload_successful").await, Some(1.0));
    let expected = load.stop().await;
    let all = |seen: &Seen| seen.total(CALLS) >= expected;
    bench.capture.wait_until("all that was acknowledged", WITHIN, all).await;
    bench.spanmill.stop().await;
    let seen = bench.capture.seen();
    assert_eq!(seen.total(CALLS), expected);
    assert_eq!(resets(&seen), Vec::<String>::new());
    assert_eq!(seen.refused, [""; 0]);
    let with = seen.family(CALLS).filter(|(labels, _)| labels.contains_key(LABEL)).count();
    let without = seen.family(CALLS).count() - with;
    assert!(with > 0 && without > 0, "{with} with the dimension, {without} without");
}

/// Sum of what each life of each series of a family came to, and how many lives ended.
fn lives(seen: &Seen, family: &str) -> (f64, usize) {
    let (mut sum, mut n_ended) = (0.0, 0);
    for (labels, series) in seen.family(family) {
        let samples = &series.samples;
        assert!(!is_marker(samples[0].value), "{labels:?}");
        for two in samples.windows(2).filter(|two| is_marker(two[1].value)) {
            sum += two[0].value;
            n_ended += 1;
        }
        sum +=
            samples.last().map(|last| last.value).filter(|last| !is_marker(*last)).unwrap_or(0.0);
    }
    (sum, n_ended)
}

/// Law: of all series only the histogram whose buckets are others restarts, with a marker and a zero; and each
/// span is in what each family came to, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_that_change_under_load_restart_their_histogram_alone() {
    const LATENCY: &str = "traces_spanmetrics_latency_count";
    const SERVER_SECONDS: &str = "traces_service_graph_request_server_seconds_count";
    const RELOADS: usize = 6;
    let prometheus = prometheus().await;
    let bench = Bench::start_with("tenants: {}", &[], Some(prometheus.write_url())).await;
    let n_operations = corpus::named("node-edge").oracle().operations.len();
    let all_count = |seen: &Seen| {
        let last = |series: &Series| series.samples.last().map_or(0.0, |last| last.value);
        seen.family(LATENCY).filter(|(_, series)| last(series) > 0.0).count() == n_operations
    };
    let load = Load::start(&bench).await;
    for n in 1..=RELOADS {
        // Each life of each histogram counts something, so that its end is a fall.
        bench.capture.wait_until("the histograms as they are now", WITHIN, all_count).await;
        let buckets = format!("[{}]", ["0.01, 1", "0.003, 1, 3"][n % 2]);
        bench.write(&format!(
            "tenants: {{ '*': {{ processors: {{ span_metrics: {{ histogram_buckets: {buckets} }} }} }} }}"
        ));
        let (status, told) = bench.reload().await;
        assert!(status == 200, "{told}");
        let le = ["0.01", "0.003"][n % 2];
        let restarted = |seen: &Seen| {
            let mut of_le = seen.series.iter().filter(|(labels, _)| {
                labels.get("le").is_some_and(|found| found == le)
                    && labels["__name__"] == "traces_spanmetrics_latency_bucket"
            });
            of_le
                .any(|(_, series)| series.samples.last().is_some_and(|last| !is_marker(last.value)))
        };
        bench.capture.wait_until("the other buckets", WITHIN, restarted).await;
    }
    let expected = load.stop().await;
    let all = |seen: &Seen| seen.total(CALLS) >= expected;
    bench.capture.wait_until("all that was acknowledged", WITHIN, all).await;
    bench.spanmill.stop().await;
    let seen = bench.capture.seen();
    assert_eq!(seen.refused, [""; 0]);
    assert_eq!(resets(&seen), Vec::<String>::new(), "what falls has ended before");
    assert_eq!(lives(&seen, CALLS), (expected, 0));
    assert_eq!(seen.family(CALLS).count(), n_operations);
    assert_eq!(lives(&seen, LATENCY), (expected, RELOADS * n_operations));
    let (_, n_ended) = lives(&seen, SERVER_SECONDS);
    assert_eq!((n_ended, seen.family(SERVER_SECONDS).count() > 0), (0, true));
    let begins_at_zero = |series: &Series| {
        let restarts = series.samples.windows(2).filter(|two| is_marker(two[0].value));
        restarts.into_iter().all(|two| two[1].value == 0.0) && series.samples[0].value == 0.0
    };
    assert!(seen.family(LATENCY).all(|(_, series)| begins_at_zero(series)));

    let at = seen.family(CALLS).flat_map(|(_, series)| &series.samples).map(|s| s.timestamp).max();
    let at = Some(at.expect("samples") as f64 / 1000.0);
    for family in [CALLS, LATENCY] {
        let found = prometheus.query(&format!("sum(increase({family}[1h]))"), at).await;
        let found: Vec<f64> = found.values().map(|(_, value)| *value).collect();
        assert!((found[0] / expected - 1.0).abs() < 1e-9, "{family}: {found:?}, not {expected}");
    }
    for (family, n) in [(CALLS, 0), (SERVER_SECONDS, 0), (LATENCY, RELOADS * n_operations)] {
        let found = prometheus.query(&format!("sum(resets({family}[1h]))"), at).await;
        let found: Vec<f64> = found.values().map(|(_, value)| *value).collect();
        assert_eq!(found, [n as f64], "{family}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tenant_follows_what_it_has_of_its_own() {
    let overrides = |interval: &str| {
        format!(
            "tenants:
  '*': {{ registry: {{ collection_interval: 10m }} }}
  team-a: {{ processors: {{ span_metrics: {{ dimensions: [{DIMENSION}] }} }}, registry: {{ collection_interval: 1s }} }}
  team-b: {{ registry: {{ collection_interval: {interval} }}, remote_write_headers: {{ X-Scope-OrgID: elsewhere }} }}
"
        )
    };
    let bench = Bench::start(&overrides("10m"), &["multitenancy.enabled=true"]).await;
    for tenant in ["team-a", "team-b", "team-c"] {
        bench.send(tenant, "node-edge").await;
    }
    let all = |seen: &Seen| {
        ticks(seen, "team-a") >= 3 && ticks(seen, "elsewhere") >= 1 && ticks(seen, "team-c") >= 1
    };
    bench.capture.wait_until("ticks of all tenants", WITHIN, all).await;
    let seen = bench.capture.seen();
    assert_eq!((ticks(&seen, "elsewhere"), ticks(&seen, "team-c")), (1, 1), "one each 10 minutes");
    let has_label = |(labels, _): &(&Labels, &Series)| labels.contains_key(LABEL);
    assert!(of_tenant(&seen, "team-a").iter().all(has_label));
    assert!(
        !of_tenant(&seen, "elsewhere").iter().chain(&of_tenant(&seen, "team-c")).any(has_label)
    );
    assert!(!seen.by_tenant.contains_key("team-b"), "its own header wins");
    let shown = bench.get("/status/config").await;
    assert!(shown.contains("X-Scope-OrgID: elsewhere"), "{shown}");

    // A shorter interval does not wait for the end of the longer one.
    bench.write(&overrides("1s"));
    let often = |seen: &Seen| ticks(seen, "elsewhere") >= 3;
    bench.capture.wait_until("ticks at the new interval", WITHIN, often).await;
    let seen = bench.capture.seen();
    assert_eq!(ticks(&seen, "team-c"), 1);
    assert_eq!(resets(&seen), Vec::<String>::new());
    let markers = seen.series.values().flat_map(|series| &series.samples);
    assert_eq!(markers.filter(|sample| is_marker(sample.value)).count(), 0, "no series has ended");
    bench.spanmill.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_that_is_switched_off_ends_its_series_and_the_others_go_on() {
    let bench = Bench::start("tenants: {}", &["multitenancy.enabled=true"]).await;
    bench.send("team-a", "node-edge").await;
    let edges = |seen: &Seen| -> Vec<Series> {
        let series = seen.series.iter();
        let edges = series.filter(|(l, _)| l["__name__"].starts_with("traces_service_graph"));
        edges.map(|(_, series)| series.clone()).collect()
    };
    bench.capture.wait_until("edges", WITHIN, |seen| !edges(seen).is_empty()).await;
    bench.write("tenants: { team-a: { processors: { enabled: [span-metrics] } } }");
    let last = |series: &Series| series.samples.last().expect("a sample").value;
    let ended = |seen: &Seen| edges(seen).iter().all(|series| is_marker(last(series)));
    bench.capture.wait_until("the end of all edges", WITHIN, ended).await;
    let seen = bench.capture.seen();
    assert!(of_tenant(&seen, "team-a").iter().all(|(_, series)| !is_marker(last(series))));
    let (status, told) = bench.reload().await;
    assert_eq!((status, told.as_str()), (200, "reloaded: nothing has changed\n"));
    bench.spanmill.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_too_many_waits_for_one_that_goes_and_who_comes_back_goes_on_in_time() {
    let sets = [
        "multitenancy.enabled=true",
        "limits.max_tenants=1",
        "registry.stale_duration=1s",
        "processors.service_graphs.wait=50ms",
    ];
    let bench = Bench::start("tenants: {}", &sets).await;
    let body = corpus::named("node-edge").as_one_request();
    bench.send("team-a", "node-edge").await;
    for (protocol, n) in [(Protocol::HttpProtobuf, 1.0), (Protocol::HttpJson, 2.0)] {
        let answer = bench.sender(protocol, Some("team-b")).await.send(&body).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(!answer.headers.contains_key("retry-after"), "it need not come again soon");
        let refused = "spanmill_requests_refused_total{protocol=\"http\",reason=\"tenant\"}";
        assert_eq!(bench.metric(refused).await, Some(n));
    }
    let answer = bench.sender(Protocol::Grpc, Some("team-b")).await.send(&body).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.grpc_status.as_deref(), Some("7"), "{answer:?}");
    assert!(!answer.headers.contains_key("grpc-status-details-bin"), "no delay: {answer:?}");
    // Each of them is taken when the other one has gone, and again.
    let mut lives: BTreeMap<&str, usize> = BTreeMap::from([("team-a", 1)]);
    for tenant in ["team-b", "team-a", "team-b"] {
        wait::until("the other tenant to go", WITHIN, async || {
            let answer = bench.sender(Protocol::Grpc, Some(tenant)).await.send(&body).await;
            let answer = answer.expect("an answer");
            if answer.is_ok() { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
        *lives.entry(tenant).or_default() += 1;
        let other = if tenant == "team-a" { "team-b" } else { "team-a" };
        bench.gone(other).await;
    }
    let n_lives = |series: &Series| series.samples.iter().filter(|s| is_marker(s.value)).count();
    let over = |seen: &Seen| {
        lives.iter().all(|(tenant, lives)| {
            let series = of_tenant(seen, tenant);
            !series.is_empty() && series.iter().all(|(_, series)| n_lives(series) >= *lives)
        })
    };
    bench.capture.wait_until("the end of every series", WITHIN, over).await;
    bench.gone("team-b").await;
    let received = "spanmill_spans_received_total{tenant=\"team-b\"}";
    let n_spans = corpus::named("node-edge").oracle().n_spans() as f64;
    assert_eq!(
        bench.metric(received).await,
        Some(n_spans),
        "of its last life: counts are kept while there is room"
    );
    bench.spanmill.stop().await;
    let seen = bench.capture.seen();
    assert_eq!(resets(&seen), Vec::<String>::new(), "no sample goes back in time");
    for (tenant, n) in lives {
        for (labels, series) in of_tenant(&seen, tenant) {
            assert_eq!(n_lives(series), n, "one marker a life: {labels:?} {:?}", series.samples);
        }
    }
}
