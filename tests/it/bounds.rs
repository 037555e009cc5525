//! Floods of label sets that come once, through the built program: its memory stays below
//! `limits.memory`, every total is exact, and what was there before goes on.
//!
//! `SPANMILL_FLOOD=10000000` sends so many of each kind; `SPANMILL_PROGRAM=target/release/spanmill`
//! floods another build.

#![expect(clippy::print_stdout, reason = "a test prints its figures")]

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};

use crate::support::flood::{
    Cgroup, KNOWN, MARK, Sink, Template, attribute, generated, resource, span,
};
use crate::support::http;
use crate::support::process::{Config, SPAN_METRICS_ALONE, Spanmill};
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::wait;

const MIB: u64 = 1 << 20;
const CALLS: &str = "traces_spanmetrics_calls_total";
const EDGES: &str = "traces_service_graph_request_total";
const FAILED: &str = "traces_service_graph_request_failed_total";
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
/// Spans that are there before the flood, each with a name of its own.
const N_KNOWN: usize = 100;
/// One request with them for so many of the flood.
const KNOWN_EVERY: u64 = 16;
const SENDERS: usize = 2;
const WITHIN: Duration = Duration::from_secs(60);

/// All limits on numbers off: memory alone.
const MEMORY_ALONE: [&str; 5] = [
    "limits.memory=256MiB",
    "limits.max_active_series=0",
    "limits.max_services=0",
    "limits.max_edges=0",
    "limits.max_label_bytes=0",
];

struct Flood {
    name: &'static str,
    /// Besides those above.
    sets: &'static [&'static str],
    template: Template,
    /// What one request counts for: calls by service and status, or edges by caller and outcome.
    counts: BTreeMap<(String, String), u64>,
    /// In CI; a share of `SPANMILL_FLOOD` otherwise.
    n: u64,
    bound: Bound,
    /// Each service has a total of its own.
    by_service: bool,
}

/// What of the flood may get label sets of its own.
enum Bound {
    /// At most so many in all.
    Sets(usize),
    /// As many as find room; nothing in the second half.
    Room,
    /// Not looked at.
    Any,
}

struct Figures {
    n: u64,
    n_sets: usize,
    peak: u64,
}

const OK: &str = "STATUS_CODE_UNSET";
const ERROR: &str = "STATUS_CODE_ERROR";

/// Spans of four services, a third of them failed.
fn spans_of_services(each: impl Fn(bool) -> Span) -> (Vec<ResourceSpans>, Counts) {
    let (mut resources, mut counts) = (Vec::new(), Counts::new());
    for service in ["shop", "cart", "stock", "mail"] {
        let spans: Vec<Span> = (0..150).map(|i| each(i % 3 == 0)).collect();
        resources.push(resource(service, Vec::new(), spans));
        counts.insert((service.to_owned(), OK.to_owned()), 100);
        counts.insert((service.to_owned(), ERROR.to_owned()), 50);
    }
    (resources, counts)
}

type Counts = BTreeMap<(String, String), u64>;

/// Every span has a name of its own.
fn names(name: &'static str, sets: &'static [&'static str], bound: Bound) -> Flood {
    let (spans, counts) = spans_of_services(|failed| span(&format!("GET /{MARK}"), SERVER, failed));
    Flood {
        name,
        sets,
        template: Template::new(spans, 2),
        counts,
        n: 200_000,
        bound,
        by_service: true,
    }
}

impl Flood {
    fn n(&self) -> u64 {
        let all = std::env::var("SPANMILL_FLOOD").ok();
        all.map_or(self.n, |all| all.parse().expect("SPANMILL_FLOOD: a number"))
    }

    fn is_graph(&self) -> bool {
        self.counts.keys().any(|(_, outcome)| outcome == FAILED)
    }

    /// Sends the numbers of the range, and the known spans in between; answers how often these.
    async fn send(&self, spanmill: &Spanmill, numbers: std::ops::Range<u64>) -> u64 {
        let sends = (0..SENDERS).map(|own| self.send_share(spanmill, numbers.clone(), own));
        futures_util::future::join_all(sends).await.into_iter().sum()
    }

    /// The share of one sender.
    async fn send_share(
        &self,
        spanmill: &Spanmill,
        numbers: std::ops::Range<u64>,
        own: usize,
    ) -> u64 {
        let known = known().body(0);
        let http = spanmill.ports.http;
        let mut sender = Sender::connect(http, Protocol::HttpProtobuf, Encoding::Identity).await;
        let mut n_known = 0;
        for i in (0..self.n_requests(&numbers)).skip(own).step_by(SENDERS) {
            if i % KNOWN_EVERY == own as u64 && !self.is_graph() {
                sender.send_all(std::slice::from_ref(&known)).await;
                n_known += 1;
            }
            let body = self.template.body(numbers.start + i * self.template.n_numbers());
            sender.send_all(&[body]).await;
        }
        n_known
    }

    /// Requests that a range of numbers makes.
    fn n_requests(&self, numbers: &std::ops::Range<u64>) -> u64 {
        (numbers.end - numbers.start).div_ceil(self.template.n_numbers())
    }

    /// What has been sent in all, by the names of the two labels.
    fn expected(&self, n_requests: u64, n_known: u64) -> Counts {
        let mut all: Counts =
            self.counts.iter().map(|(key, n)| (key.clone(), n * n_requests)).collect();
        if !self.is_graph() {
            let service = if self.by_service { "shop" } else { "" };
            *all.entry((service.to_owned(), OK.to_owned())).or_default() +=
                n_known * N_KNOWN as u64;
        }
        all
    }

    /// What the program has made of it.
    async fn found(&self, spanmill: &Spanmill) -> (Counts, usize, BTreeMap<String, u64>) {
        let metrics: &[&str] = if self.is_graph() { &[EDGES, FAILED] } else { &[CALLS] };
        let (mut counts, mut n_sets, mut known) = (Counts::new(), 0, BTreeMap::new());
        for &metric in metrics {
            let series = generated(spanmill.ports.admin, metric).await;
            n_sets = n_sets.max(series.len());
            for (labels, value) in series {
                let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
                let key = match metric {
                    CALLS if self.by_service => (label("service"), label("status_code")),
                    CALLS => (String::new(), label("status_code")),
                    _ => (label("client"), metric.to_owned()),
                };
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "whole numbers"
                )]
                let value = value as u64;
                *counts.entry(key).or_default() += value;
                if label("span_name").starts_with(KNOWN) {
                    *known.entry(label("span_name")).or_default() += value;
                }
            }
        }
        (counts, n_sets, known)
    }

    /// Until the last tick has everything.
    async fn settled(
        &self,
        spanmill: &Spanmill,
        expected: &Counts,
    ) -> (usize, BTreeMap<String, u64>) {
        wait::until(&format!("{}: exact totals", self.name), WITHIN, async || {
            let (counts, n_sets, known) = self.found(spanmill).await;
            let wrong: Vec<_> = expected
                .iter()
                .map(|(key, n)| (key, counts.get(key).copied().unwrap_or_default(), *n))
                .filter(|(_, found, expected)| found != expected)
                .collect();
            let sums = [&counts, expected].map(|counts| counts.values().sum::<u64>());
            if wrong.is_empty() && sums[0] == sums[1] {
                Ok((n_sets, known))
            } else {
                Err(format!("found and expected: {sums:?}, {wrong:?}"))
            }
        })
        .await
    }

    async fn run(&self, memory: u64, cgroup: Option<&Cgroup>) -> Figures {
        let sink = Sink::start().await;
        let config = Config {
            collection_interval: "1s",
            run: "flood".to_owned(),
            remote_write: vec![sink.url()],
        };
        let sets: Vec<&str> = MEMORY_ALONE.iter().chain(self.sets).copied().collect();
        let path = cgroup.map(|cgroup| cgroup.path.as_path());
        let spanmill = Spanmill::start_within(&config, &sets, path).await;
        let started = tokio::time::Instant::now();

        let mut n_known = 0;
        if !self.is_graph() {
            let http = spanmill.ports.http;
            let mut sender =
                Sender::connect(http, Protocol::HttpProtobuf, Encoding::Identity).await;
            sender.send_all(&[known().body(0)]).await;
            n_known = 1;
            wait::until("the endpoint to have what is known", WITHIN, async || {
                let n = sink.kept().known.len();
                if n == N_KNOWN { Ok(()) } else { Err(format!("{n} of {N_KNOWN}")) }
            })
            .await;
        }

        let n = self.n();
        // No number comes twice.
        let half = (n / 2).next_multiple_of(self.template.n_numbers());
        let halves = [0..half, half..n];
        let (mut n_requests, mut n_sets) = (0, Vec::new());
        let mut found = BTreeMap::new();
        for half in halves {
            n_requests += self.n_requests(&half);
            n_known += self.send(&spanmill, half).await;
            let settled = self.settled(&spanmill, &self.expected(n_requests, n_known)).await;
            n_sets.push(settled.0);
            found = settled.1;
        }
        let sent = started.elapsed();
        let peak = spanmill.peak_bytes();
        println!(
            "flood {}: {n} one-shot, {} label sets, VmHWM {:.1} of {} MiB, {:.1} s",
            self.name,
            n_sets[1],
            peak as f64 / MIB as f64,
            memory / MIB,
            sent.as_secs_f64(),
        );
        match self.bound {
            Bound::Sets(max) => {
                assert!(n_sets[1] <= max, "{} label sets, at most {max}", n_sets[1]);
            }
            Bound::Room => {
                let more = n_sets[1].saturating_sub(n_sets[0]) as u64;
                assert!(more <= n / 1_000_000, "{more} were let in above 80 %: {n_sets:?}");
            }
            Bound::Any => {}
        }
        if !self.is_graph() {
            let expected: BTreeMap<String, u64> =
                (0..N_KNOWN).map(|i| (format!("{KNOWN}{i}"), n_known)).collect();
            assert_eq!(found, expected, "what was there before goes on");
            assert_eq!(sink.kept().harmed, Vec::<String>::new());
        }
        assert!(sink.kept().n_requests > 0);
        assert!(peak < memory, "{}: VmHWM {peak}, limits.memory {memory}", self.name);
        spanmill.stop().await;
        Figures { n, n_sets: n_sets[1], peak }
    }
}

fn known() -> Template {
    let spans = (0..N_KNOWN).map(|i| {
        let mut span = span(&format!("{KNOWN}{i}"), SERVER, false);
        span.trace_id = vec![3; 16];
        span
    });
    Template::new(vec![resource("shop", Vec::new(), spans.collect())], 1)
}

/// Overflow sets, those of info gauges, what was known before.
const BESIDES: usize = N_KNOWN + 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn span_names_against_a_limit_on_label_sets() {
    let bound = Bound::Sets(80_000 + BESIDES);
    let flood = names(
        "names, 100,000 entities",
        &["limits.max_active_entities=100000", "limits.memory=512MiB", SPAN_METRICS_ALONE],
        bound,
    );
    let figures = flood.run(512 * MIB, None).await;
    assert!(figures.n_sets >= 80_000, "it is the limit that keeps them out: {}", figures.n_sets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn span_names_against_memory_alone_in_a_cgroup_of_that_size() {
    let cgroup = Cgroup::new("alone", 256 * MIB);
    let told = cgroup.as_ref().err();
    println!("cgroup: {}", told.map_or("made", |told| told));
    let flood = names("names, memory alone", &[SPAN_METRICS_ALONE], Bound::Room);
    let figures = flood.run(256 * MIB, cgroup.as_ref().ok()).await;
    assert!(figures.n_sets > 20_000, "{} of {} sets found room", figures.n_sets, figures.n);
    assert!(figures.peak > 64 * MIB, "it is used too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_80_percent_of_the_cgroup_where_nobody_says_how_much() {
    let Ok(cgroup) = Cgroup::new("auto", 256 * MIB) else {
        println!("no cgroup can be made here");
        return;
    };
    let flood =
        names("names, memory auto", &["limits.memory=auto", SPAN_METRICS_ALONE], Bound::Room);
    flood.run(256 * MIB / 5 * 4, Some(&cgroup)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_that_come_once() {
    let calls = (0..150).flat_map(|_| {
        let mut call = span("call", CLIENT, false);
        let mut answer = span("answer", SERVER, false);
        (call.span_id, answer.parent_span_id) = (vec![5; 8], vec![5; 8]);
        answer.span_id = vec![6; 8];
        let callee = resource(&format!("callee-{MARK}"), Vec::new(), vec![answer]);
        [resource("caller", Vec::new(), vec![call]), callee]
    });
    let mut failed = calls.collect::<Vec<_>>();
    for resource in failed.iter_mut().skip(1).step_by(6) {
        let status = &mut resource.scope_spans[0].spans[0].status;
        status.as_mut().expect("a status").code = 2;
    }
    let counts = [(EDGES, 150), (FAILED, 50)];
    let counts = counts.map(|(metric, n)| (("caller".to_owned(), metric.to_owned()), n));
    let sets: &[&str] = &["processors.enabled=[service-graphs]"];
    let template = Template::new(failed, 3);
    let bound = Bound::Room;
    Flood {
        name: "edges",
        sets,
        template,
        counts: counts.into(),
        n: 100_000,
        bound,
        by_service: true,
    }
    .run(256 * MIB, None)
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn label_values_that_come_once() {
    let (spans, counts) = spans_of_services(|failed| {
        let mut span = span("GET", SERVER, failed);
        span.attributes.push(attribute("http.route", &format!("/users/{MARK}")));
        span
    });
    let sets: &[&str] = &[
        "processors.span_metrics.dimensions=[http.route]",
        "limits.max_cardinality_per_label=1000",
    ];
    let bound = Bound::Sets(2000 + BESIDES);
    let template = Template::new(spans, 2);
    Flood { name: "label values", sets, template, counts, n: 100_000, bound, by_service: true }
        .run(256 * MIB, None)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attribute_keys_in_target_info_that_come_once() {
    let (spans, counts) = spans_of_services(|failed| {
        let mut span = span("GET", SERVER, failed);
        span.trace_id = vec![4; 16];
        span
    });
    let with_keys = spans.into_iter().flat_map(|of_service| {
        let spans = &of_service.scope_spans[0].spans;
        let name = of_service.resource.as_ref().expect("a resource").attributes[0].clone();
        let name = name.value.and_then(|value| value.value).expect("a name");
        let opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(name) = name
        else {
            panic!("a name is text")
        };
        let of = |span: &Span| {
            let keys = (0..4).map(|i| attribute(&format!("k{i}.{MARK}"), &"v".repeat(300)));
            resource(&name, keys.collect(), vec![span.clone()])
        };
        spans.iter().map(of).collect::<Vec<_>>()
    });
    let template = Template::new(with_keys.collect(), 4);
    let sets: &[&str] = &["processors.span_metrics.enable_target_info=true"];
    let name = "attribute keys of target_info";
    Flood { name, sets, template, counts, n: 60_000, bound: Bound::Any, by_service: true }
        .run(256 * MIB, None)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_come_once() {
    let spans = (0..300).map(|i| {
        let spans = vec![span("GET", SERVER, i % 3 == 0)];
        resource(&format!("service-{MARK}"), Vec::new(), spans)
    });
    let template = Template::new(spans.collect(), 2);
    let counts = [(OK, 200), (ERROR, 100)];
    let counts = counts.map(|(status, n)| ((String::new(), status.to_owned()), n));
    let sets: &[&str] = &["limits.max_services=2000", SPAN_METRICS_ALONE];
    let (name, counts, bound) = ("services", counts.into(), Bound::Sets(2000 + BESIDES));
    Flood { name, sets, template, counts, n: 100_000, bound, by_service: false }
        .run(256 * MIB, None)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_ids_that_come_once() {
    let (spans, counts) = spans_of_services(|failed| span("GET", CLIENT, failed));
    let template = Template::new(spans, 1);
    let name = "sides that nobody answers";
    Flood {
        name,
        sets: &[],
        template,
        counts,
        n: 300_000,
        bound: Bound::Sets(BESIDES),
        by_service: true,
    }
    .run(256 * MIB, None)
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_ids_with_origins_of_their_own() {
    let (spans, counts) = spans_of_services(|failed| {
        let mut span = span("GET", CLIENT, failed);
        span.attributes.push(attribute("region", &format!("{MARK}{}", "r".repeat(2000))));
        span
    });
    let sets: &[&str] = &["processors.service_graphs.dimensions=[region]"];
    let (name, template) = ("sides with 2 KB of their own", Template::new(spans, 2));
    Flood {
        name,
        sets,
        template,
        counts,
        n: 60_000,
        bound: Bound::Sets(BESIDES),
        by_service: true,
    }
    .run(256 * MIB, None)
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_that_come_once() {
    const MAX: u64 = 50;
    const HEADER: &str = "x-scope-orgid";
    let all: Option<u64> = std::env::var("SPANMILL_FLOOD").ok().and_then(|all| all.parse().ok());
    let n = all.map_or(5_000, |all| (all / 100).max(1_000));
    let config =
        Config { collection_interval: "1s", run: "flood".to_owned(), remote_write: vec![] };
    let sets = ["limits.memory=256MiB", "limits.max_tenants=50", "multitenancy.enabled=true"];
    let spanmill = Spanmill::start_with(&config, &sets).await;
    let body = known().body(0);
    let (grpc, started) = (spanmill.ports.grpc, tokio::time::Instant::now());
    let mut sender = Sender::connect(grpc, Protocol::Grpc, Encoding::Identity).await;
    let (mut n_refused, mut of_those_taken) = (0, 0);
    for i in (0..n).chain(0..MAX) {
        sender = sender.with_instead(HEADER, format!("tenant-{i}").as_bytes());
        let answer = sender.send(&body).await.expect("an answer");
        assert_eq!(answer.is_ok(), i < MAX, "tenant {i}: {answer:?}");
        n_refused += u64::from(answer.grpc_status.as_deref() == Some("7"));
        if i == MAX {
            of_those_taken = spanmill.peak_bytes();
        }
    }
    assert_eq!(n_refused, n - MAX);
    let metrics = http::get(spanmill.ports.admin, "/metrics").await.expect("an answer").text();
    let received: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("spanmill_spans_received_total{")).collect();
    assert_eq!(received.len() as u64, MAX, "{received:?}");
    let twice = format!(" {}", 2 * N_KNOWN);
    assert!(received.iter().all(|line| line.ends_with(&twice)), "{received:?}");
    let peak = spanmill.peak_bytes();
    println!(
        "flood tenants: {n} of them, {MAX} taken, VmHWM {:.1} of 256 MiB, {:.1} s",
        peak as f64 / MIB as f64,
        started.elapsed().as_secs_f64()
    );
    let more = peak.saturating_sub(of_those_taken);
    assert!(more < 8 * MIB, "{more} bytes for tenants that were refused");
    spanmill.stop().await;
}
