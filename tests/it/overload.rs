//! More than there is room for, or than a tenant may send: who is refused, with which answer, and that
//! nothing is left of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use spanmill::receiver::IngestLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic_types::StatusExt;

use crate::receive::{
    JSON, PROTOBUF, Service, TRACES, call, frame, gzip, post, read_answer, request, send,
    start_with, unending, whole, within, zstd,
};
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::wait;

const SOON: Duration = Duration::from_secs(10);
const TENANT: &str = "x-scope-orgid";

fn body_bytes(service: &Service) -> f64 {
    service.metric("spanmill_bodies_bytes", &[])
}

async fn until_body_bytes(service: &Service, is: impl Fn(f64) -> bool) {
    wait::until("the bodies in flight", SOON, async || {
        let bytes = body_bytes(service);
        if is(bytes) { Ok(()) } else { Err(format!("{bytes} bytes")) }
    })
    .await;
}

/// A request as large as that: one field that nobody knows.
fn padded(len: usize) -> Vec<u8> {
    let mut body = request();
    let rest = len - body.len() - 1;
    let whole = |n: &usize| prost::encoding::encoded_len_varint(*n as u64) + n == rest;
    let pad = (1..=5).map(|n| rest - n).find(whole).expect("a length that can be reached");
    body.push(15 << 3 | 2);
    prost::encoding::encode_varint(pad as u64, &mut body);
    body.extend(std::iter::repeat_n(7, pad));
    body
}

/// All of a body but its last byte, so that it stays in flight.
async fn half_sent(service: &Service, headers: &str, body: &[u8]) -> TcpStream {
    let head = format!("{TRACES}{PROTOBUF}{headers}content-length: {}\r\n\r\n", body.len());
    let mut stream = send(service, head.as_bytes()).await;
    stream.write_all(&body[..body.len() - 1]).await.expect("taken in");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_refuses_after_a_while_says_when_to_come_again_and_has_room_again() {
    let service = start_with(|s| s.memory.bodies = 1 << 20).await;
    let mut large = half_sent(&service, "", &padded(1_000_000)).await;
    until_body_bytes(&service, |bytes| bytes >= 999_999.0).await;

    let begun = Instant::now();
    let answer = post(&service, PROTOBUF, &padded(100_000)).await;
    assert_eq!(answer.status, 503);
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    let seconds: u64 = answer.header("retry-after").expect("told").parse().expect("whole seconds");
    assert!((1..=5).contains(&seconds), "{seconds}");
    let called = call(&service, &[], whole(frame(0, &padded(100_000)))).await;
    assert_eq!(called.status.code(), tonic::Code::Unavailable, "{}", called.status);
    assert!(called.status.get_details_retry_info().is_some());
    // What becomes too large by inflating finds no room either.
    let headers = format!("{PROTOBUF}content-encoding: gzip\r\n");
    assert_eq!(post(&service, &headers, &gzip(&padded(100_000))).await.status, 503);
    service.assert_counted("http", 0, &[("overload", 2)]);
    service.assert_counted("grpc", 0, &[("overload", 1)]);

    large.write_all(&[7]).await.expect("taken in");
    assert_eq!(read_answer(&mut large).await.status, 200);
    assert_eq!(post(&service, PROTOBUF, &padded(100_000)).await.status, 200);
    until_body_bytes(&service, |bytes| bytes == 0.0).await;
    let peak = service.metric("spanmill_bodies_peak_bytes", &[]);
    assert!((1e6..=f64::from(1 << 20)).contains(&peak), "{peak}");
    service.stop().await;
}

#[tokio::test]
async fn a_body_that_can_never_fit_is_told_so_before_it_is_read() {
    let service = start_with(|s| s.memory.bodies = 1 << 20).await;
    let head = format!("{TRACES}{JSON}content-length: {}\r\n\r\n", 2 << 20);
    let mut stream = send(&service, head.as_bytes()).await;
    let answer = read_answer(&mut stream).await;
    let message = answer.json()["message"].to_string();
    assert_eq!(answer.status, 413);
    assert!(message.contains("limits.memory") && message.contains("1048576"), "{message}");
    assert_eq!(answer.header("retry-after"), None);
    let prefix = [&[0][..], &(2u32 << 20).to_be_bytes()].concat();
    let called = call(&service, &[], unending(prefix)).await;
    assert_eq!(called.status.code(), tonic::Code::ResourceExhausted);
    assert!(called.status.details().is_empty(), "RetryInfo would have it sent again");
    // What a body becomes by inflating and converting counts too.
    for (encoding, body) in [("gzip", gzip(&padded(2 << 20))), ("zstd", zstd(&padded(2 << 20)))] {
        let headers = format!("{PROTOBUF}content-encoding: {encoding}\r\n");
        assert_eq!(post(&service, &headers, &body).await.status, 413, "{encoding}");
    }
    let json = format!("{{\"unknown\":\"{}\"}}", "x".repeat(600_000));
    assert_eq!(post(&service, JSON, json.as_bytes()).await.status, 413);
    service.assert_counted("http", 0, &[("too_large", 4)]);
    service.assert_counted("grpc", 0, &[("too_large", 1)]);
    assert_eq!(body_bytes(&service), 0.0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slowest_body_makes_room_for_others() {
    let service = start_with(|s| s.memory.bodies = 1 << 20).await;
    let mut slow = half_sent(&service, "", &padded(350_000)).await;
    until_body_bytes(&service, |bytes| bytes >= 349_999.0).await;
    let mut other = half_sent(&service, "", &padded(350_001)).await;
    until_body_bytes(&service, |bytes| bytes >= 699_999.0).await;
    // Both are old enough then, and the first has come less far in more time.
    sleep(Duration::from_millis(2100)).await;
    assert_eq!(post(&service, PROTOBUF, &padded(380_000)).await.status, 200);
    let answer = read_answer(&mut slow).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    other.write_all(&[7]).await.expect("taken in");
    assert_eq!(read_answer(&mut other).await.status, 200);
    service.assert_counted("http", 2, &[("overload", 1)]);
    service.stop().await;
}

/// Requests that come one after the other, of a tenant that keeps within its share.
async fn quiet(service: &Service, n: usize) {
    let body = Bytes::from(padded(200_000));
    for (protocol, addr) in [(Protocol::HttpProtobuf, service.http), (Protocol::Grpc, service.grpc)]
    {
        let mut sender = Sender::connect(addr, protocol, Encoding::Gzip).await;
        sender = sender.with_header(TENANT, "quiet");
        for i in 0..n {
            let answer = sender.send(&body).await;
            let ok = answer.as_ref().is_ok_and(|answer| answer.is_ok());
            assert!(ok, "{protocol:?} {i}: {answer:?}");
        }
    }
}

/// A body that never becomes whole, begun anew as often as it is refused.
async fn never_whole(addr: SocketAddr) {
    let len = 512 << 10;
    let head = format!("{TRACES}{PROTOBUF}{TENANT}: noisy\r\ncontent-length: {len}\r\n\r\n");
    let request = [head.into_bytes(), vec![7; len - 1]].concat();
    while let Ok(mut stream) = TcpStream::connect(addr).await {
        let mut first = [0; 12];
        if stream.write_all(&request).await.is_ok() && stream.read_exact(&mut first).await.is_ok() {
            assert_eq!(&first, b"HTTP/1.1 503", "{first:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_sends_ten_times_its_share_gets_the_refusals_and_the_other_none() {
    let service = start_with(|s| {
        s.memory.bodies = 4 << 20;
        s.multitenancy = true;
    })
    .await;
    // Forty bodies of half a MiB: ten times as much as half of the pool.
    let mut noisy = JoinSet::new();
    for _ in 0..40 {
        noisy.spawn(never_whole(service.http));
    }
    until_body_bytes(&service, |bytes| bytes > f64::from(5 << 19)).await;
    // The quiet one sends until the noisy one has been refused often.
    let refused = || service.metric("spanmill_requests_refused_total", &[("reason", "overload")]);
    let mut n_quiet = 0;
    within(async {
        while n_quiet == 0 || refused() <= 10.0 {
            quiet(&service, 12).await;
            n_quiet += 12;
        }
    })
    .await;
    service.assert_counted("grpc", n_quiet, &[]);
    noisy.shutdown().await;
    until_body_bytes(&service, |bytes| bytes == 0.0).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_clients_at_once_with_compressed_bodies_are_not_refused() {
    let service = start_with(|_| {}).await;
    // Together twice as much as the pool, once inflated.
    let body = Bytes::from(padded(16 << 20));
    let mut clients = JoinSet::new();
    for i in 0..8 {
        let grpc = i % 2 == 0;
        let (protocol, addr) = if grpc {
            (Protocol::Grpc, service.grpc)
        } else {
            (Protocol::HttpProtobuf, service.http)
        };
        let encoding = if i < 6 { Encoding::Gzip } else { Encoding::Zstd };
        let body = body.clone();
        clients.spawn(async move {
            let mut sender = Sender::connect(addr, protocol, encoding).await;
            sender.send_all(&vec![body; 10]).await;
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("none was refused");
    }
    for protocol in ["grpc", "http"] {
        service.assert_counted(protocol, 40, &[]);
    }
    let peak = service.metric("spanmill_bodies_peak_bytes", &[]);
    assert!((f64::from(16 << 20)..=f64::from(64 << 20)).contains(&peak), "{peak}");
    assert_eq!(body_bytes(&service), 0.0);
    service.stop().await;
}

// ---- rates

#[tokio::test]
async fn over_its_rate_a_tenant_is_told_when_to_come_again_and_beyond_its_burst_never() {
    let service = start_with(|s| {
        s.multitenancy = true;
        s.ingest = IngestLimits { bytes_per_second: 1000, burst_bytes: 4000, spans_per_second: 0 };
    })
    .await;
    let of = |tenant: &str| format!("{PROTOBUF}{TENANT}: {tenant}\r\n");
    assert_eq!(post(&service, &of("a"), &padded(4000)).await.status, 200);
    let answer = post(&service, &of("a"), &padded(3000)).await;
    assert_eq!(answer.status, 429);
    // Three seconds to refill, a tenth more so that not all return together, in whole seconds.
    let seconds: u64 = answer.header("retry-after").expect("told").parse().expect("whole seconds");
    assert!((3..=4).contains(&seconds), "{seconds}");
    let headers = [(TENANT, "a"), ("grpc-encoding", "gzip")];
    let called = call(&service, &headers, whole(frame(1, &gzip(&padded(3000))))).await;
    assert_eq!(called.status.code(), tonic::Code::ResourceExhausted);
    let delay = called.status.get_details_retry_info().and_then(|info| info.retry_delay);
    let delay = delay.expect("told when to come again");
    let refill = Duration::from_millis(1500)..Duration::from_millis(3400);
    assert!(refill.contains(&delay), "{delay:?}");

    let answer = post(&service, &of("a"), &padded(4001)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (413, None));
    let called = call(&service, &[(TENANT, "a")], whole(frame(0, &padded(4001)))).await;
    assert_eq!(called.status.code(), tonic::Code::ResourceExhausted);
    assert!(called.status.details().is_empty(), "RetryInfo would have it sent again");
    let message = called.status.message();
    assert!(message.contains("ingest_burst_bytes") && message.contains("4000"), "{message}");

    assert_eq!(post(&service, &of("b"), &padded(4000)).await.status, 200, "another tenant");
    service.assert_counted("http", 2, &[("rate_limit", 2)]);
    service.assert_counted("grpc", 0, &[("rate_limit", 2)]);
    service.stop().await;
}

#[tokio::test]
async fn spans_over_the_rate_are_refused_before_anything_is_counted() {
    let service = start_with(|s| {
        s.ingest = IngestLimits { spans_per_second: 5, ..IngestLimits::default() };
    })
    .await;
    // Three spans each.
    assert_eq!(post(&service, PROTOBUF, &request()).await.status, 200);
    let answer = post(&service, PROTOBUF, &request()).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("1"), "a fifth of a second, but never 0");
    let twice = [request(), request()].concat();
    assert_eq!(post(&service, PROTOBUF, &twice).await.status, 413, "six are more than five");
    assert_eq!(service.n_spans(), 3, "nothing of the others was counted");
    service.assert_counted("http", 1, &[("rate_limit", 2)]);
    service.stop().await;
}

// ---- staging

#[tokio::test]
async fn a_request_whose_batch_would_be_enormous_is_refused_and_the_next_is_taken() {
    let service = start_with(|_| {}).await;
    let named = |i: usize| {
        let name = format!("{i:0>200}").into_bytes();
        let span = [&[0x2a, 0xc8, 1][..], &name].concat();
        [&[0x12, 0xcb, 1][..], &span].concat()
    };
    let many = |n: usize| {
        let spans: Vec<u8> = (0..n).flat_map(named).collect();
        let within = |number: u8, content: Vec<u8>| {
            let mut field = vec![number << 3 | 2];
            prost::encoding::encode_varint(content.len() as u64, &mut field);
            [field, content].concat()
        };
        within(1, within(2, spans))
    };
    assert_eq!(post(&service, PROTOBUF, &many(100)).await.status, 200);
    // More than a worker may take, but not more than one of those for large requests.
    assert_eq!(post(&service, PROTOBUF, &many(4000)).await.status, 200);
    assert_eq!(post(&service, PROTOBUF, &many(60_000)).await.status, 413);
    assert_eq!(post(&service, PROTOBUF, &many(100)).await.status, 200);
    service.assert_counted("http", 3, &[("too_large", 1)]);
    service.stop().await;
}
