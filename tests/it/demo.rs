//! `spanmill demo` as its users have it: a process, its table and its last word.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use spanmill::clock::Clock;
use spanmill::demo::{Books, Settings, Shop, Trace, request};
use tempfile::TempDir;

use crate::support::process::{Config, Ports, Spanmill, end};
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::{command as support_command, http, servers, wait};

const STARTS_WITHIN: Duration = Duration::from_secs(30);
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const VERDICT: &str =
    r"(?m)^ledger: sent (\d+) spans, counted (\d+), edges (\d+) of (\d+), differences (\d+)\n\z";

/// In a folder of its own, where it has a home and a place for temporary files too.
struct Demo {
    child: Child,
    home: TempDir,
    said: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let [home, said] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let file = |name: &str| File::create(said.path().join(name)).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_spanmill"))
            .arg("demo")
            .args(arguments)
            .current_dir(&home)
            .envs(["HOME", "TMPDIR", "XDG_CACHE_HOME"].map(|name| (name, home.path())))
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .expect("the built program starts");
        Self { child, home, said }
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.said.path().join(name)).expect("what it said")
    }

    /// Until it shows something, or has ended without.
    async fn shows(&self, pattern: &str) -> Vec<String> {
        let pattern = Regex::new(pattern).expect("a regex");
        wait::until(&format!("{pattern} to be shown"), STARTS_WITHIN, async || {
            let out = self.said("out");
            match pattern.captures(&out) {
                Some(found) => {
                    Ok(found.iter().flatten().map(|group| group.as_str().to_owned()).collect())
                }
                None => Err(format!("{out}\n{}", self.said("err"))),
            }
        })
        .await
    }

    async fn ports(&self) -> Ports {
        let found = self.shows("^spanmill demo: grpc (.+), http (.+), admin (.+)\n").await;
        let addr = |i: usize| found[i].parse::<SocketAddr>().expect("an address");
        Ports { grpc: addr(1), http: addr(2), admin: addr(3) }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("ids of processes are small");
        let pid = Pid::from_raw(id).expect("ids of processes are not 0");
        kill_process(pid, signal).expect("it runs until now");
    }

    async fn exit_code(&mut self) -> Option<i32> {
        wait::until("the demo to end", ENDS_WITHIN, async || {
            let ended = self.child.try_wait().expect("a child");
            ended.map(|status| status.code()).ok_or_else(|| self.said("err"))
        })
        .await
    }

    /// What the last line says: sent, counted, edges found, edges made, differences.
    fn verdict(&self) -> [u64; 5] {
        let (out, err) = (self.said("out"), self.said("err"));
        let pattern = Regex::new(VERDICT).expect("a regex");
        let found = pattern.captures(&out).unwrap_or_else(|| panic!("{out}\n{err}"));
        let number = |i: usize| found[i + 1].parse().expect("a number");
        std::array::from_fn(number)
    }

    async fn ends_without_a_difference(&mut self) {
        let code = self.exit_code().await;
        let [sent, counted, found, made, differences] = self.verdict();
        let all = (code, counted, found, made, differences);
        assert_eq!(all, (Some(0), sent, 26, 26, 0), "{}", self.said("err"));
    }

    /// Local addresses of sockets that listen, and remote ones of those that are connected.
    fn addresses(&self) -> (Vec<String>, Vec<String>) {
        let proc = format!("/proc/{}", self.child.id());
        let sockets: BTreeSet<String> = fs::read_dir(format!("{proc}/fd"))
            .expect("it runs")
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.replace(']', "")))
            .collect();
        let (mut listening, mut connected) = (Vec::new(), Vec::new());
        for table in ["tcp", "tcp6", "udp", "udp6"] {
            let lines = fs::read_to_string(format!("{proc}/net/{table}")).expect("it runs");
            for line in lines.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                if !sockets.contains(fields[9]) {
                    continue;
                }
                let is_listening = fields[3] == "0A" || table.starts_with("udp");
                let (list, at) =
                    if is_listening { (&mut listening, 1) } else { (&mut connected, 2) };
                list.push(fields[at].to_owned());
            }
        }
        (listening, connected)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

#[tokio::test]
async fn the_whole_script_ends_without_a_difference_and_leaves_nothing_behind() {
    let mut demo = Demo::start(&["--duration", "6m", "--speed", "30"]);
    demo.shows("services 14, edges (1[89]|2[0-9])\n").await;
    let (listening, connected) = demo.addresses();
    let is_loopback = |address: &String| address.starts_with("0100007F:");
    assert!(listening.len() == 3 && listening.iter().all(is_loopback), "{listening:?}");
    assert!(!connected.is_empty() && connected.iter().all(is_loopback), "{connected:?}");
    demo.ends_without_a_difference().await;
    let out = demo.said("out");
    assert!(out.contains("services 14, edges 26\n"), "{out}");
    let scenes: BTreeSet<&str> =
        out.lines().filter_map(|line| Some(line.split_once("now: ")?.1)).collect();
    assert!(scenes.len() >= 5 && scenes.contains("the cache is down"), "{scenes:?}");
    assert_eq!(fs::read_dir(demo.home.path()).expect("its home").count(), 0);
    assert_eq!(demo.said("err"), "");
}

/// README's `spanmill demo` is this, without flags.
#[tokio::test]
async fn a_signal_ends_it_with_the_verdict_also_where_the_standard_ports_are_taken() {
    let standard: SocketAddr = "127.0.0.1:4317".parse().expect("an address");
    // Somebody else may have it already.
    let taken = TcpListener::bind(standard);
    for signal in [Signal::INT, Signal::TERM] {
        let mut demo = Demo::start(&[]);
        assert!(taken.is_err() || demo.ports().await.grpc != standard);
        demo.shows("services 14, edges (1[89]|2[0-9])\n").await;
        demo.signal(signal);
        demo.ends_without_a_difference().await;
    }
    drop(taken);
}

#[tokio::test]
async fn it_ends_where_nobody_reads_what_it_shows() {
    let mut command = Command::new("bash");
    let program = env!("CARGO_BIN_EXE_spanmill");
    command.args(["-c", &format!("{program} demo | head -1; echo ${{PIPESTATUS[0]}}")]);
    let ended = support_command::run(command, "").await;
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("spanmill demo: grpc ") && lines[1] == "1", "{ended:?}");
    assert!(ended.stderr.contains("can't write to stdout: "), "{ended:?}");
}

#[tokio::test]
async fn a_span_that_comes_twice_is_a_difference() {
    let mut demo = Demo::start(&["--seed", "5"]);
    let ports = demo.ports().await;
    demo.shows("services 14").await;
    let mut sender = Sender::connect(ports.http, Protocol::HttpProtobuf, Encoding::Identity).await;
    sender.send_all(&[first_span(5)]).await;
    demo.signal(Signal::INT);
    assert_eq!(demo.exit_code().await, Some(1));
    let [sent, counted, _, _, differences] = demo.verdict();
    assert!(counted == sent + 1 && differences >= 2, "{}", demo.said("err"));
    let err = demo.said("err");
    assert!(err.contains(&format!("spans: sent {sent}, counted {counted}\n")), "{err}");
}

/// As the demo of that seed sends it, apart from the time.
fn first_span(seed: u64) -> Bytes {
    let mut shop = Shop::new(Settings { seed, rate: 40.0, speed: 1.0 });
    let body = request(&shop.step(), Clock::wall()).body;
    let mut request = ExportTraceServiceRequest::decode(&*body).expect("a request");
    request.resource_spans.truncate(1);
    request.resource_spans[0].scope_spans[0].spans.truncate(1);
    request.encode_to_vec().into()
}

#[tokio::test]
async fn spans_go_to_a_service_that_runs_and_are_not_compared() {
    let config = Config { collection_interval: "1s", run: String::new(), remote_write: vec![] };
    let service = Spanmill::start(&config).await;
    let mut n_all = 0;
    let Ports { http, grpc, admin } = service.ports;
    for to in [format!("http://{http}"), format!("grpc://{grpc}")] {
        let mut demo = Demo::start(&["--to", &to, "--duration", "20s", "--speed", "10"]);
        assert_eq!(demo.exit_code().await, Some(0), "{}", demo.said("err"));
        let found = demo.shows(r"(?m)^ledger: sent (\d+) spans, not compared\n\z").await;
        n_all += found[1].parse::<u64>().expect("a number");
        let metrics = http::get(admin, "/metrics").await.expect("an answer").text();
        let line = format!("spanmill_spans_received_total{{tenant=\"single-tenant\"}} {n_all}\n");
        assert!(n_all > 100 && metrics.contains(&line), "{line} not in {metrics}");
    }
    service.stop().await;
    let mut demo = Demo::start(&["--to", &format!("http://{http}")]);
    assert_eq!(demo.exit_code().await, Some(1));
    let err = demo.said("err");
    assert!(err.starts_with(&format!("can't reach {http}: ")) && err.lines().count() == 1, "{err}");
}

/// The shop makes the same by the same seed: the test knows what Prometheus has to have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_has_what_the_shop_made_with_exemplars_of_its_traces() {
    let prometheus = servers::prometheus().await;
    let begin = Clock::wall().as_secs_f64();
    let arguments = ["--seed", "11", "--rate", "50", "--speed", "30", "--duration", "3m"];
    let url = prometheus.write_url();
    let mut demo = Demo::start(&[&arguments[..], &["--remote-write", &url]].concat());
    demo.ends_without_a_difference().await;

    let Made { books, trace_ids, mut latencies } =
        made(Settings { seed: 11, rate: 50.0, speed: 30.0 }, 180);
    let labels = ["service", "span_name", "span_kind", "status_code"];
    let found = counters(&prometheus, "traces_spanmetrics_calls_total", labels).await;
    assert_eq!(found, books.spans);
    let labels = ["client", "server", "connection_type"];
    for (i, metric) in ["request_total", "request_failed_total"].into_iter().enumerate() {
        let found = counters(&prometheus, &format!("traces_service_graph_{metric}"), labels).await;
        let of = books.edges.iter().map(|(edge, figures)| (edge.clone(), figures[i]));
        let made: BTreeMap<_, _> = of.filter(|(_, n)| i == 0 || *n > 0.0).collect();
        assert_eq!(found, made, "{metric}");
    }
    for service in ["checkout", "payment", "gateway"] {
        let calls = |only: &str| -> f64 {
            let own = books.spans.iter().filter(|([name, ..], _)| name == service);
            own.filter(|([.., status], _)| status.ends_with(only)).map(|(_, n)| n).sum()
        };
        let errors = format!(
            "sum(traces_spanmetrics_calls_total{{service=\"{service}\",status_code=\"STATUS_CODE_ERROR\"}})
             / sum(traces_spanmetrics_calls_total{{service=\"{service}\"}})"
        );
        let (found, made) = (value(&prometheus, &errors).await, calls("ERROR") / calls(""));
        assert!((found - made).abs() < 1e-9, "errors of {service}: {found}, made {made}");
        let p95 = format!(
            "histogram_quantile(0.95, sum by (le) (traces_spanmetrics_latency_bucket{{service=\"{service}\",span_kind=\"SPAN_KIND_SERVER\"}}))"
        );
        let own = latencies.get_mut(service).expect("requests");
        own.sort_unstable();
        let made = Duration::from_nanos(own[(own.len() * 95).div_ceil(100) - 1]).as_secs_f64();
        let found = value(&prometheus, &p95).await;
        let bucket = |seconds: f64| BOUNDS.partition_point(|bound| *bound < seconds);
        assert_eq!(bucket(found), bucket(made), "p95 of {service}: {found}, made {made}");
    }
    let all = "{__name__=~\"traces_spanmetrics_latency_bucket|traces_service_graph_.+_bucket\"}";
    let end = Clock::wall().as_secs_f64() + 1.0;
    let exemplars = prometheus.exemplars(all, (begin, end)).await;
    let services: BTreeSet<&String> =
        exemplars.keys().filter_map(|series| series.get("service")).collect();
    assert_eq!(services.len(), 14, "{services:?}");
    for exemplar in exemplars.values().flatten() {
        let trace_id = &exemplar.labels["traceID"];
        assert!(trace_ids.contains(trace_id), "{trace_id} was never sent");
    }
}

/// Of the span metrics, as they are by default.
const BOUNDS: [f64; 14] = [
    0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
    16.384,
];

/// What a shop has made after so many seconds of its script.
struct Made {
    books: Books,
    trace_ids: BTreeSet<String>,
    /// Of the requests that each service served, nanoseconds.
    latencies: BTreeMap<String, Vec<u64>>,
}

fn made(settings: Settings, seconds: u64) -> Made {
    let mut shop = Shop::new(settings);
    let mut traces = Vec::new();
    while shop.script_time() < Duration::from_secs(seconds) {
        traces.extend(shop.step());
    }
    traces.extend(shop.close());
    let hex = |id: [u8; 16]| id.iter().map(|byte| format!("{byte:02x}")).collect();
    let trace_ids = traces.iter().map(|trace| hex(trace.id)).collect();
    Made { books: shop.books().clone(), trace_ids, latencies: latencies(&traces) }
}

fn latencies(traces: &[Trace]) -> BTreeMap<String, Vec<u64>> {
    let body = request(traces, Clock::wall()).body;
    let sent = ExportTraceServiceRequest::decode(&*body).expect("a request");
    let mut latencies = BTreeMap::<String, Vec<u64>>::new();
    for of_resource in sent.resource_spans {
        let resource = of_resource.resource.expect("a resource");
        let name = resource.attributes.iter().find(|a| a.key == "service.name");
        let name = name.and_then(|name| name.value.clone()?.value).expect("a name");
        let any_value::Value::StringValue(name) = name else { panic!("a name is text") };
        let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
        let served = spans.filter(|span| span.kind == SpanKind::Server as i32);
        let took = served.map(|span| span.end_time_unix_nano - span.start_time_unix_nano);
        latencies.entry(name).or_default().extend(took);
    }
    latencies
}

/// Of the one series that answers.
async fn value(prometheus: &servers::Server, query: &str) -> f64 {
    let found = prometheus.query(query, None).await;
    let [(_, value)] = found.values().copied().collect::<Vec<_>>()[..] else {
        panic!("{query}: {found:?}")
    };
    value
}

/// Sums by labels; one that is not there is empty.
async fn counters<const N: usize>(
    prometheus: &servers::Server,
    metric: &str,
    labels: [&str; N],
) -> BTreeMap<[String; N], f64> {
    let query = format!("sum by ({}) ({metric})", labels.join(", "));
    let found = prometheus.query(&query, None).await;
    let of = |(found, (_, value)): (BTreeMap<String, String>, (f64, f64))| {
        (labels.map(|name| found.get(name).cloned().unwrap_or_default()), value)
    };
    found.into_iter().map(of).collect()
}
