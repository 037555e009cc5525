//! Tenants side by side: each has state, ticks and remote-write requests of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::support::capture::{Capture, Seen, Series};
use crate::support::corpus;
use crate::support::http;
use crate::support::oracle::{Labels, Oracle, assert_equal, strip_origin};
use crate::support::process::{Config, Spanmill};
use crate::support::send::{Answer, Encoding, Protocol, Sender};

const WITHIN: Duration = Duration::from_secs(30);
const HEADER: &str = "x-scope-orgid";
const RUN: &str = "tenancy";
const CALLS: &str = "traces_spanmetrics_calls_total";
const ON: [&str; 1] = ["multitenancy.enabled=true"];
const ALSO: [&str; 2] = ["traces_spanmetrics_size_total", "traces_service_graph_"];

async fn start(sets: &[&str]) -> (Capture, Spanmill) {
    let capture = Capture::start().await;
    let config = Config {
        collection_interval: "1s",
        run: RUN.to_owned(),
        remote_write: vec![capture.url()],
    };
    let spanmill = Spanmill::start_with(&config, sets).await;
    (capture, spanmill)
}

async fn sender(addr: SocketAddr, protocol: Protocol, tenants: &[&str]) -> Sender {
    let sender = Sender::connect(addr, protocol, Encoding::Identity).await;
    tenants.iter().fold(sender, |sender, tenant| sender.with_header(HEADER, tenant))
}

fn newest(series: &BTreeMap<Labels, Series>) -> BTreeMap<Labels, f64> {
    let one = |(labels, series): (&Labels, &Series)| {
        let newest = series.samples.iter().rev().find(|sample| !sample.value.is_nan());
        (strip_origin(labels.clone(), RUN), newest.expect("a sample").value)
    };
    series.iter().map(one).collect()
}

fn calls(seen: &Seen, tenant: &str) -> f64 {
    let none = BTreeMap::new();
    let series = newest(seen.by_tenant.get(tenant).unwrap_or(&none));
    series.iter().filter(|(labels, _)| labels["__name__"] == CALLS).map(|(_, value)| value).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tenant_has_its_own_series_whatever_the_others_send() {
    let (a, b) = (corpus::named("node-store-http-gzip"), corpus::named("node-edge"));
    let alone = run(&[("team-b", Protocol::Grpc, b.as_one_request(), b.oracle())]).await;
    let beside = run(&[
        ("team-a", Protocol::HttpProtobuf, a.as_one_request(), a.oracle()),
        ("team-b", Protocol::Grpc, b.as_one_request(), b.oracle()),
    ])
    .await;
    assert_equal(&a.oracle().series(), &newest(&beside["team-a"]), &ALSO, "team-a");
    assert_equal(&b.oracle().series(), &newest(&beside["team-b"]), &ALSO, "team-b");
    assert_eq!(
        newest(&alone["team-b"]),
        newest(&beside["team-b"]),
        "the neighbour changes nothing"
    );
    assert_eq!(alone.keys().collect::<Vec<_>>(), ["team-b"]);
    assert_eq!(beside.keys().collect::<Vec<_>>(), ["team-a", "team-b"]);
    // Ticks of their own: no timestamp but a birth's is that of the other tenant's tick.
    let shapes = |series: &BTreeMap<Labels, Series>| {
        let shape = |s: &Series| {
            let values: Vec<f64> = s.samples.iter().take(2).map(|sample| sample.value).collect();
            (
                values,
                s.exemplars
                    .iter()
                    .map(|e| (e.labels.clone(), e.value.to_bits()))
                    .collect::<Vec<_>>(),
            )
        };
        series
            .iter()
            .map(|(labels, s)| (strip_origin(labels.clone(), RUN), shape(s)))
            .collect::<BTreeMap<_, _>>()
    };
    assert!(shapes(&alone["team-b"]) == shapes(&beside["team-b"]), "births and exemplars differ");
}

/// What each tenant's remote-write requests had when all calls of all tenants had come.
async fn run(
    tenants: &[(&str, Protocol, Bytes, Oracle)],
) -> BTreeMap<String, BTreeMap<Labels, Series>> {
    let (capture, spanmill) = start(&ON).await;
    for (tenant, protocol, body, _) in tenants {
        let grpc = *protocol == Protocol::Grpc;
        let addr = if grpc { spanmill.ports.grpc } else { spanmill.ports.http };
        let body = std::slice::from_ref(body);
        sender(addr, *protocol, &[tenant]).await.send_all(body).await;
    }
    let sent = |seen: &Seen| {
        tenants.iter().all(|(tenant, _, _, oracle)| calls(seen, tenant) >= oracle.n_spans() as f64)
    };
    capture.wait_until("all calls of all tenants", WITHIN, sent).await;
    spanmill.stop().await;
    let seen = capture.seen();
    assert_eq!(seen.refused, [""; 0]);
    seen.by_tenant
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_one_valid_tenant_is_refused() {
    let (capture, spanmill) = start(&ON).await;
    let body = corpus::named("node-edge").as_one_request();
    const MISSING: &[&str] = &[];
    let long = "a".repeat(151);
    let cases: [(&[&str], u16, &str); 7] = [
        (MISSING, 401, "16"),
        (&[""], 400, "3"),
        (&["a|b"], 400, "3"),
        (&["../a"], 400, "3"),
        (&[".."], 400, "3"),
        (&[&long], 400, "3"),
        (&["team-a", "team-b"], 400, "3"),
    ];
    for (tenants, status, code) in cases {
        for protocol in [Protocol::HttpProtobuf, Protocol::HttpJson] {
            let mut sender = sender(spanmill.ports.http, protocol, tenants).await;
            let answer = answered(&mut sender, &body).await;
            assert_eq!(answer.status, status, "{tenants:?} over {protocol:?}: {answer:?}");
        }
        let mut sender = sender(spanmill.ports.grpc, Protocol::Grpc, tenants).await;
        let answer = answered(&mut sender, &body).await;
        assert_eq!(answer.grpc_status.as_deref(), Some(code), "{tenants:?}: {answer:?}");
    }
    let metrics = http::get(spanmill.ports.admin, "/metrics").await.expect("an answer").text();
    for (protocol, n) in [("http", 2 * cases.len()), ("grpc", cases.len())] {
        let line = format!(
            "spanmill_requests_refused_total{{protocol=\"{protocol}\",reason=\"tenant\"}} {n}"
        );
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in {metrics}");
    }
    spanmill.stop().await;
    assert_eq!(capture.seen().n_requests, 0, "nothing was taken");
}

async fn answered(sender: &mut Sender, body: &Bytes) -> Answer {
    sender.send(body).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tenancy_the_header_is_ignored_and_none_is_sent() {
    let (capture, spanmill) = start(&[]).await;
    let corpus = corpus::named("node-edge");
    let body = corpus.as_one_request();
    let suite: [(&[&str], Protocol); 3] = [
        (&[], Protocol::HttpProtobuf),
        (&["team-a"], Protocol::Grpc),
        (&["a|b", "../c"], Protocol::HttpProtobuf),
    ];
    for (tenants, protocol) in suite {
        let grpc = protocol == Protocol::Grpc;
        let addr = if grpc { spanmill.ports.grpc } else { spanmill.ports.http };
        let body = std::slice::from_ref(&body);
        sender(addr, protocol, tenants).await.send_all(body).await;
    }
    let n_spans = corpus.oracle().n_spans() as f64 * suite.len() as f64;
    capture.wait_until("all calls", WITHIN, |seen| calls(seen, "") >= n_spans).await;
    spanmill.stop().await;
    let seen = capture.seen();
    assert_eq!(seen.by_tenant.keys().collect::<Vec<_>>(), [""], "no X-Scope-OrgID is sent");
    assert_eq!(calls(&seen, ""), n_spans);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_header_of_that_name_stands_and_a_label_may_name_the_tenant() {
    let capture = Capture::start().await;
    let config =
        Config { collection_interval: "1s", run: RUN.to_owned(), remote_write: Vec::new() };
    let endpoint = format!(
        "remote_write=[{{url: \"{}\", headers: {{X-Scope-OrgID: everyone}}}}]",
        capture.url()
    );
    let sets = [ON[0], &endpoint, "registry.inject_tenant_id_as=tenant"];
    let spanmill = Spanmill::start_with(&config, &sets).await;
    let corpus = corpus::named("node-edge");
    for tenant in ["team-a", "team-b"] {
        let body = [corpus.as_one_request()];
        sender(spanmill.ports.http, Protocol::HttpProtobuf, &[tenant]).await.send_all(&body).await;
    }
    let n_spans = 2.0 * corpus.oracle().n_spans() as f64;
    capture.wait_until("all calls", WITHIN, |seen| calls(seen, "everyone") >= n_spans).await;
    spanmill.stop().await;
    let seen = capture.seen();
    assert_eq!(seen.by_tenant.keys().collect::<Vec<_>>(), ["everyone"]);
    for tenant in ["team-a", "team-b"] {
        let of_tenant = seen.family(CALLS).filter(|(labels, _)| labels["tenant"] == tenant);
        assert_eq!(of_tenant.count(), corpus.oracle().operations.len(), "{tenant}");
    }
}
