//! Templates of span names: what they leave alone on every corpus, what the service makes of ids in
//! names, and what a dry run tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spanmill::batch::Table;
use spanmill::config::{self, Inputs};
use spanmill::stage::{Plan, Stager};

use crate::support::capture::{Capture, Seen};
use crate::support::corpus::{self, Form};
use crate::support::http;
use crate::support::oracle::{Labels, strip_origin};
use crate::support::process::{Config, SPAN_METRICS_ALONE, Spanmill};
use crate::support::remote_write::Exemplar;
use crate::support::send::{Encoding, Protocol, Sender};

const RUN: &str = "names";
const CALLS: &str = "traces_spanmetrics_calls_total";
const WITHIN: Duration = Duration::from_secs(30);
const ENABLED: &str = "registry.span_name_sanitization=enabled";
const DRY_RUN: &str = "registry.span_name_sanitization=dry_run";
const N_USERS: usize = 400;

#[test]
fn the_names_of_the_corpora_are_left_alone() {
    let mut n_names = 0;
    for corpus in corpus::all() {
        let bodies = corpus.bodies_as(Form::Protobuf);
        let off = names(&bodies, "registry.span_name_sanitization=");
        assert_eq!(names(&bodies, ENABLED), off, "{}", corpus.name);
        n_names += off.len();
    }
    assert!(n_names > 100, "{n_names}");
}

/// The distinct values of the label, spans of each.
fn names(bodies: &[Bytes], set: &str) -> BTreeMap<String, u64> {
    let set = vec![set.to_owned(), "processors.ingestion_time_range_slack=0s".to_owned()];
    let loaded = config::load(&Inputs { set, ..Inputs::default() }).expect("a configuration");
    let plan = Plan::new(&loaded.config.stage, 0).expect("valid settings");
    let (mut stager, mut names) = (Stager::default(), BTreeMap::new());
    for body in bodies {
        let batch = stager.stage(&plan, body, Duration::ZERO).expect("a real request");
        for row in batch.rows.iter().filter(|row| row.table == Table::SpanMetrics) {
            let name = batch.labels(row).get("span_name").to_owned();
            *names.entry(name).or_default() += row.spans;
        }
    }
    names
}

// ---- the service

/// A span for each user, named by the user; the ids of span `n` are `n`.
fn users(range: std::ops::Range<usize>) -> Bytes {
    let nano = 1_700_000_000_000_000_000;
    let span = |n: usize| Span {
        trace_id: (n as u128 + 1).to_be_bytes().to_vec(),
        span_id: (n as u64 + 1).to_be_bytes().to_vec(),
        name: match n % 4 {
            0 => format!("GET /users/{n}/cart"),
            1 => format!("mail user.{n}@example.com"),
            2 => format!("lock {:08x}-0000-4000-8000-{n:012x}", n * 7_654_321),
            _ => "GET /health".to_owned(),
        },
        kind: 2,
        start_time_unix_nano: nano,
        end_time_unix_nano: nano + 3_000_000,
        ..Span::default()
    };
    let value = Some(AnyValue { value: Some(Any::StringValue("shop".to_owned())) });
    let service = KeyValue { key: "service.name".to_owned(), value, ..KeyValue::default() };
    let scope_spans = vec![ScopeSpans { spans: range.map(span).collect(), ..Default::default() }];
    let resource = Some(Resource { attributes: vec![service], ..Resource::default() });
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

/// All users in requests of `each`, until their calls have arrived by remote write; and the own metrics.
async fn run(sets: &[&str], each: usize) -> (Seen, String) {
    let capture = Capture::start().await;
    let config = Config {
        collection_interval: "1s",
        run: RUN.to_owned(),
        remote_write: vec![capture.url()],
    };
    let sets = [&[SPAN_METRICS_ALONE, "registry.max_exemplars_per_tick=100000"], sets].concat();
    let spanmill = Spanmill::start_with(&config, &sets).await;
    let addr = spanmill.ports.grpc;
    let mut sender = Sender::connect(addr, Protocol::Grpc, Encoding::Identity).await;
    let bodies: Vec<Bytes> =
        (0..N_USERS).step_by(each).map(|from| users(from..from + each)).collect();
    sender.send_all(&bodies).await;
    let all = |seen: &Seen| seen.total(CALLS) >= N_USERS as f64;
    capture.wait_until("all calls", WITHIN, all).await;
    let metrics = http::get(spanmill.ports.admin, "/metrics").await.expect("an answer").text();
    spanmill.stop().await;
    let seen = capture.seen();
    assert_eq!(seen.refused, [""; 0]);
    (seen, metrics)
}

/// Without `size_total`, whose values are the encoded lengths.
fn newest(seen: &Seen) -> BTreeMap<Labels, f64> {
    let newest = seen.newest().into_iter();
    newest.map(|(labels, value)| (strip_origin(labels, RUN), value)).collect()
}

fn calls(seen: &Seen) -> BTreeMap<String, f64> {
    let newest = newest(seen).into_iter().filter(|(labels, _)| labels["__name__"] == CALLS);
    newest.map(|(labels, value)| (labels["span_name"].clone(), value)).collect()
}

fn trace_id(exemplar: &Exemplar) -> u128 {
    let labels = &exemplar.labels;
    let id = labels.iter().find(|label| label.name == "traceID").expect("an id");
    u128::from_str_radix(&id.value, 16).expect("hex")
}

fn own(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

fn sanitized_spans(metrics: &str) -> Option<f64> {
    own(metrics, "spanmill_span_names_sanitized_total{tenant=\"single-tenant\"}")
}

fn demand(metrics: &str, form: &str) -> Option<f64> {
    let labels = format!("form=\"{form}\",tenant=\"single-tenant\"");
    own(metrics, &format!("spanmill_span_names_demand{{{labels}}}"))
}

/// On every replica, after every restart, however the spans came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_in_names_become_marks_and_every_instance_makes_the_same_series() {
    let (first, metrics) = run(&[ENABLED], N_USERS).await;
    let (second, _) = run(&[ENABLED], 8).await;
    let quarter = (N_USERS / 4) as f64;
    let expected = ["GET /health", "GET /users/<_>/cart", "lock <_>", "mail <_>"];
    let expected: BTreeMap<_, _> = expected.map(|name| (name.to_owned(), quarter)).into();
    assert_eq!(calls(&first), expected);
    assert_eq!(newest(&first), newest(&second));
    assert_eq!(sanitized_spans(&metrics), Some(3.0 * quarter));
    assert_eq!(demand(&metrics, "raw"), None, "that is a dry run's");
    // an exemplar leads to a trace that has such a name, ids and all
    let exemplars: BTreeSet<(String, u128)> = first
        .family(CALLS)
        .flat_map(|(labels, series)| {
            let ids = series.exemplars.iter().map(trace_id);
            ids.map(|id| (labels["span_name"].clone(), id - 1)).collect::<Vec<_>>()
        })
        .collect();
    let of =
        |n: u128| ["GET /users/<_>/cart", "mail <_>", "lock <_>", "GET /health"][n as usize % 4];
    assert_eq!(exemplars.len(), 4, "{exemplars:?}");
    assert!(exemplars.iter().all(|(name, n)| name == of(*n)), "{exemplars:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_leaves_series_as_they_were_and_tells_what_it_would_save() {
    let (off, of_off) = run(&[], 100).await;
    let (dry, of_dry) = run(&[DRY_RUN], 100).await;
    assert_eq!(calls(&off).len(), 3 * N_USERS / 4 + 1);
    assert_eq!(newest(&off), newest(&dry));
    assert_eq!(sanitized_spans(&of_off), Some(0.0));
    assert_eq!(sanitized_spans(&of_dry), Some(3.0 * (N_USERS / 4) as f64));
    assert_eq!((demand(&of_off, "raw"), demand(&of_off, "sanitized")), (None, None));
    let raw = demand(&of_dry, "raw").expect("an estimate");
    assert!((raw - 301.0).abs() < 10.0, "{raw}");
    assert_eq!(demand(&of_dry, "sanitized"), Some(4.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patterns_of_the_user_s_own_are_ids_too() {
    let patterns = "registry.span_name_patterns=['(health)$', '^GET /(users/[0-9]+)']";
    let (seen, metrics) = run(&[ENABLED, patterns], 100).await;
    let names: Vec<String> = calls(&seen).into_keys().collect();
    assert_eq!(names, ["GET /<_>", "GET /<_>/cart", "lock <_>", "mail <_>"]);
    assert_eq!(sanitized_spans(&metrics), Some(N_USERS as f64));
}
