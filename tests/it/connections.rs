//! Thousands of slow and idle connections, and one client that wants to be served.
//!
//! In its full form, with the limits as the configuration has them by default (some minutes):
//! `SPANMILL_CONNECTIONS=full cargo test --release --test it connections -- --nocapture`

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::support::process::{Config, Ports, Spanmill};
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::{corpus, http, wait};

/// How many come, and what is told to the program to have the same in less time.
struct Scale {
    slow: usize,
    idle: usize,
    /// Addresses that they come from.
    addresses: usize,
    sets: &'static [&'static str],
    /// Between two bytes of a slow one.
    pause: Duration,
    /// Slow ones are closed within this.
    closed_within: Duration,
}

fn scale() -> Scale {
    if std::env::var("SPANMILL_CONNECTIONS").is_ok_and(|value| value == "full") {
        return Scale {
            slow: 2000,
            idle: 10_000,
            addresses: 100,
            sets: &[],
            pause: Duration::from_secs(1),
            closed_within: Duration::from_secs(20),
        };
    }
    // A twentieth of everything, and time too.
    Scale {
        slow: 100,
        idle: 500,
        addresses: 5,
        sets: &[
            "limits.max_connections=51",
            "limits.max_connections_per_ip=25",
            "receivers.otlp.header_timeout=1s",
            "receivers.otlp.body_timeout=1500ms",
        ],
        pause: Duration::from_millis(100),
        closed_within: Duration::from_secs(4),
    }
}

/// Descriptors for our ends of the connections.
fn raise_descriptor_limit(needed: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(most > needed as u64 + 200, "{needed} descriptors are needed, the system gives {most}");
}

async fn start(scale: &Scale) -> Spanmill {
    let config = Config {
        collection_interval: "10m",
        run: "connections".to_owned(),
        remote_write: Vec::new(),
    };
    Spanmill::start_with(&config, scale.sets).await
}

/// From 127.0.0.2 on.
async fn connect(to: SocketAddr, i: usize) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    let last = u8::try_from(2 + i % scale().addresses).expect("few");
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).expect("a local address");
    // When the queue of the listener is full, the system tries again by itself.
    socket.connect(to).await.ok()
}

/// What a slow one sends at once, and what it goes on with, a byte at a time.
#[derive(Debug, Clone, Copy)]
enum Slow {
    Http1Header,
    Http1Body,
    Http2Header,
    Http2Body,
}

impl Slow {
    const ALL: [Self; 4] = [Self::Http1Header, Self::Http1Body, Self::Http2Header, Self::Http2Body];

    fn to(self, ports: &Ports) -> SocketAddr {
        match self {
            Self::Http1Header | Self::Http1Body => ports.http,
            Self::Http2Header | Self::Http2Body => ports.grpc,
        }
    }

    fn begins_with(self) -> Vec<u8> {
        let frame =
            |len: u8, kind: u8, flags: u8, stream: u8| [0, 0, len, kind, flags, 0, 0, 0, stream];
        let http2 = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(0, 4, 0, 0)].concat();
        match self {
            Self::Http1Header => b"POST /v1/traces HTTP/1.1\r\nhost: spanmill\r\nx: ".to_vec(),
            Self::Http1Body => b"POST /v1/traces HTTP/1.1\r\nhost: spanmill\r\n\
                content-type: application/json\r\ncontent-length: 1000\r\n\r\n"
                .to_vec(),
            // A header of 200 bytes that does not come.
            Self::Http2Header => [&http2[..], &frame(200, 1, 4, 1)].concat(),
            Self::Http2Body => {
                let header = grpc_header();
                let len = u8::try_from(header.len()).expect("a short header");
                [&http2[..], &frame(len, 1, 4, 1), &header, &frame(200, 0, 0, 1)].concat()
            }
        }
    }
}

/// Of a request to export, in literals.
fn grpc_header() -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "spanmill"),
        ("content-type", "application/grpc"),
    ];
    fields.map(|(name, value)| [vec![0], text(name), text(value)].concat()).concat()
}

/// Sends a byte at a time until it is closed; how long that took.
async fn trickle(slow: Slow, ports: Ports, i: usize, pause: Duration) -> Duration {
    let Some(mut stream) = connect(slow.to(&ports), i).await else { return Duration::ZERO };
    let begun = Instant::now();
    if stream.write_all(&slow.begins_with()).await.is_err() {
        return begun.elapsed();
    }
    let (mut reading, mut writing) = stream.split();
    let mut ticks = interval(pause);
    let closed = async {
        let mut answer = [0; 1024];
        while reading.read(&mut answer).await.is_ok_and(|n| n > 0) {}
    };
    let writes = async {
        loop {
            ticks.tick().await;
            if writing.write_all(b"a").await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = closed => {}, () = writes => {} }
    begun.elapsed()
}

/// Says nothing, for as long as it is let.
async fn idle(to: SocketAddr, i: usize) {
    if let Some(mut stream) = connect(to, i).await {
        let mut nothing = [0; 64];
        while stream.read(&mut nothing).await.is_ok_and(|n| n > 0) {}
    }
}

async fn metric(spanmill: &Spanmill, series: &str) -> f64 {
    let text = http::get(spanmill.ports.admin, "/metrics").await.expect("an answer").text();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{series} is missing")).parse().expect("a number")
}

/// Requests of a normal client, over connections that it keeps and over new ones, until all others
/// are there and for a while longer. The slowest answer, and how many there were.
async fn normal(ports: Ports, until: impl Future<Output = ()>) -> (Duration, usize) {
    let body = corpus::named("node-edge").as_one_request();
    let mut kept = [
        Sender::connect(ports.grpc, Protocol::Grpc, Encoding::Gzip).await,
        Sender::connect(ports.http, Protocol::HttpProtobuf, Encoding::Identity).await,
    ];
    let (mut slowest, mut n) = (Duration::ZERO, 0);
    let mut until = std::pin::pin!(until);
    loop {
        let begun = Instant::now();
        for sender in &mut kept {
            sender.send_all(std::slice::from_ref(&body)).await;
        }
        let mut new = Sender::connect(ports.http, Protocol::HttpProtobuf, Encoding::Zstd).await;
        new.send_all(std::slice::from_ref(&body)).await;
        (slowest, n) = (slowest.max(begun.elapsed()), n + 3);
        if timeout(Duration::from_millis(20), &mut until).await.is_ok() {
            return (slowest, n);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_slow_and_idle_connections_keeps_no_normal_client_out() {
    let scale = scale();
    raise_descriptor_limit(scale.slow + scale.idle);
    let spanmill = start(&scale).await;
    let ports = spanmill.ports;
    let mut flood = JoinSet::new();
    for i in 0..scale.idle {
        flood.spawn(idle(if i % 2 == 0 { ports.grpc } else { ports.http }, i));
    }
    let mut slow = JoinSet::new();
    for i in 0..scale.slow {
        slow.spawn(trickle(Slow::ALL[i % 4], ports, i, scale.pause));
    }
    let all_slow_closed = async {
        let mut longest = Duration::ZERO;
        while let Some(lasted) = slow.join_next().await {
            longest = longest.max(lasted.expect("no panic"));
        }
        assert!(longest < scale.closed_within, "a slow one was there for {longest:?}");
        println!("slow connections: closed after {longest:?} at most");
    };
    let (slowest, n) = normal(ports, all_slow_closed).await;
    println!("normal client: {n} requests, none refused, three in {slowest:?} at most");
    flood.shutdown().await;

    for protocol in ["grpc", "http"] {
        let ok = format!("spanmill_requests_total{{protocol=\"{protocol}\",result=\"ok\"}}");
        assert!(metric(&spanmill, &ok).await >= (n / 3) as f64, "{protocol}");
    }
    let closed = metric(&spanmill, "spanmill_connections_closed_total{reason=\"room\"}").await;
    assert!(closed > 0.0, "there were more than the limit");
    // What the flood held is free again.
    wait::until("the flood to be gone", Duration::from_secs(10), async || {
        match metric(&spanmill, "spanmill_connections").await {
            0.0 => Ok(()),
            n => Err(format!("{n} connections")),
        }
    })
    .await;
    spanmill.stop().await;
}

/// Fewer than the limit, so that it is their slowness that they are closed for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_connections_are_closed_in_time_wherever_they_are_slow() {
    let scale = scale();
    let spanmill = start(&scale).await;
    let mut slow = JoinSet::new();
    for i in 0..40 {
        let kind = Slow::ALL[i % 4];
        let (ports, pause) = (spanmill.ports, scale.pause);
        slow.spawn(async move { (kind, trickle(kind, ports, i, pause).await) });
    }
    while let Some(lasted) = slow.join_next().await {
        let (kind, lasted) = lasted.expect("no panic");
        assert!(lasted < scale.closed_within, "{kind:?} was there for {lasted:?}");
        assert!(lasted > scale.pause * 5, "{kind:?} was given only {lasted:?}");
    }
    let room = metric(&spanmill, "spanmill_connections_closed_total{reason=\"room\"}").await;
    assert_eq!(room, 0.0);
    let unfinished = metric(&spanmill, "spanmill_connections_closed_total{reason=\"unfinished\"}");
    assert!(unfinished.await >= 10.0, "those over HTTP/2");
    spanmill.stop().await;
}

#[tokio::test]
async fn the_admin_server_closes_connections_that_say_nothing() {
    let spanmill = start(&Scale { sets: &[], ..scale() }).await;
    let mut silent = Vec::new();
    // More than it serves at once.
    for _ in 0..80 {
        silent.push(TcpStream::connect(spanmill.ports.admin).await.expect("in the queue"));
    }
    let begun = Instant::now();
    let healthy = http::get(spanmill.ports.admin, "/-/healthy").await.expect("an answer");
    assert_eq!(healthy.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    spanmill.stop().await;
}

#[tokio::test]
async fn connections_of_one_address_are_limited_and_its_longest_idle_gives_way() {
    let spanmill = start(&Scale { sets: &["limits.max_connections_per_ip=3"], ..scale() }).await;
    let mut first = connect(spanmill.ports.http, 0).await.expect("let in");
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(connect(spanmill.ports.http, 0).await.expect("let in"));
    }
    let mut end = [0];
    let closed = timeout(Duration::from_secs(5), first.read(&mut end)).await;
    assert!(!matches!(closed.expect("closed soon"), Ok(1..)), "expected no answer");
    let body = Bytes::from_static(b"");
    let mut sender =
        Sender::connect(spanmill.ports.http, Protocol::HttpProtobuf, Encoding::Identity).await;
    assert!(sender.send(&body).await.expect("another address").is_ok());
    spanmill.stop().await;
}
