//! Every corpus, over every protocol in every encoding, equals its oracle: in the bytes of remote
//! write and in a real Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::support::capture::{Capture, Seen};
use crate::support::corpus::{self, Corpus};
use crate::support::oracle::{Labels, Oracle, assert_equal, strip_origin};
use crate::support::process::{Config, Spanmill};
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::servers::{Server, shared_prometheus};

const WITHIN: Duration = Duration::from_secs(60);
const CALLS: &str = "traces_spanmetrics_calls_total";

/// Families that come by default and that are compared elsewhere, or that the oracle does not count.
const ALSO: [&str; 2] = ["traces_spanmetrics_size_total", "traces_service_graph_"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_corpus_over_grpc_equals_its_oracle() {
    every_corpus_equals_its_oracle(Protocol::Grpc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_corpus_over_http_as_protobuf_equals_its_oracle() {
    every_corpus_equals_its_oracle(Protocol::HttpProtobuf).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_corpus_over_http_as_json_equals_its_oracle() {
    every_corpus_equals_its_oracle(Protocol::HttpJson).await;
}

/// A fresh process for each corpus and encoding; the encodings of a corpus side by side.
async fn every_corpus_equals_its_oracle(protocol: Protocol) {
    let prometheus = shared_prometheus().await;
    for corpus in corpus::all() {
        let bodies = corpus.bodies_as(protocol.form());
        let [identity, gzip, zstd] = Encoding::ALL.map(|encoding| {
            let run = Run {
                name: format!("{}-{protocol:?}-{encoding:?}", corpus.name),
                corpus: corpus.clone(),
                protocol,
                encoding,
                prometheus: Arc::clone(&prometheus),
            };
            run.equals_the_oracle(&bodies)
        });
        tokio::join!(identity, gzip, zstd);
    }
}

#[derive(Debug)]
struct Run {
    /// Also the external label by which Prometheus tells it apart.
    name: String,
    corpus: Corpus,
    protocol: Protocol,
    encoding: Encoding,
    prometheus: Arc<Server>,
}

impl Run {
    async fn equals_the_oracle(self, bodies: &[Bytes]) {
        let capture = Capture::start().await;
        let spanmill = Spanmill::start(&Config {
            collection_interval: "1s",
            run: self.name.clone(),
            remote_write: vec![capture.url(), self.prometheus.write_url()],
        })
        .await;
        let addr = match self.protocol {
            Protocol::Grpc => spanmill.ports.grpc,
            Protocol::HttpProtobuf | Protocol::HttpJson => spanmill.ports.http,
        };
        let mut sender = Sender::connect(addr, self.protocol, self.encoding).await;
        sender.send_all(bodies).await;
        let oracle = self.corpus.oracle();
        let n_spans = oracle.n_spans() as f64;
        let all_calls = |seen: &Seen| seen.total(CALLS) >= n_spans;
        capture.wait_until(&format!("{n_spans} calls of {}", self.name), WITHIN, all_calls).await;
        // The final collection, after which both endpoints have everything, must change nothing.
        spanmill.stop().await;

        let seen = capture.seen();
        assert_eq!(seen.refused, Vec::<String>::new(), "{}", self.name);
        self.check(&oracle, seen.newest(), "remote-write bytes");
        self.check_births(&seen);
        let matching = format!(r#"{{run="{}"}}"#, self.name);
        let found = self.prometheus.query(&matching, None).await;
        let found = found.into_iter().map(|(labels, (_, value))| (labels, value)).collect();
        self.check(&oracle, found, "Prometheus");
    }

    fn check(&self, oracle: &Oracle, found: BTreeMap<Labels, f64>, source: &str) {
        let strip = |(labels, value)| (strip_origin(labels, &self.name), value);
        let found = found.into_iter().map(strip).collect();
        assert_equal(&oracle.series(), &found, &ALSO, &format!("{}, {source}", self.name));
    }

    /// Each series begins with one 0, 1 ms before its first value, and time goes on.
    fn check_births(&self, seen: &Seen) {
        for (labels, series) in &seen.series {
            let [zero, first, ..] = series.samples[..] else {
                panic!("{}: no birth: {labels:?}: {:?}", self.name, series.samples)
            };
            let born = zero.value == 0.0 && zero.timestamp + 1 == first.timestamp;
            let rises = series.samples.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp);
            assert!(born && rises, "{}: {labels:?}: {:?}", self.name, series.samples);
        }
    }
}
