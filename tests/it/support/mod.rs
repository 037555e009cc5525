//! What the tests stand on: corpora and their oracle, the program and real servers as processes.

use std::time::Duration;

use spanmill::remote_write::{Auth, EndpointSettings, TlsSettings};

/// An in-process endpoint of remote write that keeps what it is sent.
pub(crate) mod capture;
/// The built program as a command that ends by itself.
pub(crate) mod command;
/// The corpora of spans.
pub(crate) mod corpus;
/// One request to the running program, and what its own metrics say of it.
pub(crate) mod exchange;
/// Floods of label sets that no other has.
pub(crate) mod flood;
/// The service graph to expect of spans.
pub(crate) mod graph;
/// A small HTTP client.
pub(crate) mod http;
/// Edges that no corpus has.
pub(crate) mod odd_edges;
/// What to expect of a corpus.
pub(crate) mod oracle;
/// OTLP/JSON, apart from the product's own reader.
pub(crate) mod otlp_json;
/// One tenant's way to its endpoints, in process.
pub(crate) mod pipeline;
/// The built program as a process.
pub(crate) mod process;
/// A real Prometheus for remote write.
pub(crate) mod prometheus;
/// A scripted endpoint of remote write.
pub(crate) mod receiver;
/// Remote write 1.0 by hand: messages, decoding, encoding.
pub(crate) mod remote_write;
/// OTLP over gRPC and HTTP, in every encoding.
pub(crate) mod send;
/// Prometheus and VictoriaMetrics as processes.
pub(crate) mod servers;
/// What an endpoint like Prometheus has stored.
pub(crate) mod stored;
/// Waiting for conditions, with a deadline.
pub(crate) mod wait;

/// An endpoint with the defaults.
pub(crate) fn settings(url: &str) -> EndpointSettings {
    EndpointSettings {
        url: url.parse().expect("a url"),
        name: "test".to_owned(),
        remote_timeout: Duration::from_secs(10),
        headers: Vec::new(),
        auth: Auth::None,
        tls: TlsSettings::default(),
        write_relabel_configs: Vec::new(),
        send_exemplars: true,
        retry_on_http_429: true,
        max_samples_per_send: 2000,
        max_shards: 4,
        min_backoff: Duration::from_millis(30),
        max_backoff: Duration::from_secs(5),
    }
}
