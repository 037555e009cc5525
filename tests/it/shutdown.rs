//! SIGTERM: what was acknowledged is collected and sent before the program ends.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::support::capture::Capture;
use crate::support::corpus;
use crate::support::process::{Config, Spanmill};
use crate::support::send::{Answer, Encoding, Protocol, Sender};

const SENDERS: [Protocol; 4] =
    [Protocol::Grpc, Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpProtobuf];
/// Enough for all to be under way.
const ACKNOWLEDGED_BEFORE: u64 = 20_000;
const WITHIN: Duration = Duration::from_secs(60);
const CALLS: &str = "traces_spanmetrics_calls_total";

/// Spans of one sender's requests, by their answer.
#[derive(Debug, Default, Clone, Copy)]
struct Sent {
    acknowledged: u64,
    /// Whether they were taken is not known: no answer came.
    unanswered: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_sigterm_is_sent_before_the_exit() {
    let capture = Capture::start().await;
    let mut spanmill = Spanmill::start(&Config {
        // Longer than the test: all that arrives is of the final collection.
        collection_interval: "10m",
        run: "shutdown".to_owned(),
        remote_write: vec![capture.url()],
    })
    .await;
    let requests = corpus::named("py-shop-grpc").requests();
    let n_spans = requests.iter().map(|request| {
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.map(|scope| scope.spans.len() as u64).sum()
    });
    let bodies = corpus::named("py-shop-grpc").bodies();
    let bodies: Vec<(Bytes, u64)> = bodies.into_iter().zip(n_spans).collect();

    let (progress, mut progressed) = tokio::sync::mpsc::unbounded_channel();
    let mut senders = JoinSet::new();
    for protocol in SENDERS {
        let ports = spanmill.ports;
        let addr = if protocol == Protocol::Grpc { ports.grpc } else { ports.http };
        let sender = Sender::connect(addr, protocol, Encoding::Identity).await;
        senders.spawn(send_until_refused(sender, bodies.clone(), progress.clone()));
    }
    let under_way = async {
        let mut acknowledged = 0;
        while acknowledged < ACKNOWLEDGED_BEFORE {
            acknowledged += progressed.recv().await.expect("senders go on until they are refused");
        }
    };
    tokio::time::timeout(WITHIN, under_way).await.expect("requests are acknowledged");
    spanmill.terminate();
    let sent = tokio::time::timeout(WITHIN, senders.join_all()).await;
    let sent = sent.expect("senders end when the program does");
    let status = spanmill.exit_status().await;
    assert_eq!(status.code(), Some(0), "stderr: {}", spanmill.stderr());

    let acknowledged: u64 = sent.iter().map(|sent| sent.acknowledged).sum();
    let unanswered: u64 = sent.iter().map(|sent| sent.unanswered).sum();
    let counted = capture.seen().total(CALLS);
    let possible = acknowledged as f64..=(acknowledged + unanswered) as f64;
    assert!(possible.contains(&counted), "{counted} calls arrived, expected {possible:?}");
}

async fn send_until_refused(
    mut sender: Sender,
    bodies: Vec<(Bytes, u64)>,
    progress: tokio::sync::mpsc::UnboundedSender<u64>,
) -> Sent {
    let mut sent = Sent::default();
    for (body, n_spans) in bodies.iter().cycle() {
        match sender.send(body).await {
            Ok(answer) if answer.is_ok() => {
                sent.acknowledged += n_spans;
                progress.send(*n_spans).unwrap_or_default();
            }
            // Refused for good reason: the sender shall go elsewhere, nothing of it was taken.
            Ok(answer) => {
                assert!(is_unavailable(&answer), "{answer:?}");
                return sent;
            }
            Err(_) => {
                sent.unanswered += n_spans;
                return sent;
            }
        }
    }
    sent
}

fn is_unavailable(answer: &Answer) -> bool {
    const UNAVAILABLE: &str = "14";
    answer.status == 503 || answer.grpc_status.as_deref() == Some(UNAVAILABLE)
}
