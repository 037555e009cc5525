//! Floods: requests whose spans differ from all others, an endpoint that takes everything, cgroups.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use spanmill::clock::Clock;
use tokio::net::{TcpListener, TcpStream};

use super::oracle::Labels;
use super::remote_write;

/// Stands in a template for ten digits that no other span has.
pub(crate) const MARK: &str = "~~~~~~~~~~";
/// Names of spans that are there before the flood begin so.
pub(crate) const KNOWN: &str = "known-";
const PAGE_WITHIN: Duration = Duration::from_secs(120);

/// A request in which only the marks change.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    body: Vec<u8>,
    marks: Vec<usize>,
    /// How many of its marks get the same number.
    together: usize,
}

impl Template {
    /// `together` marks in a row belong to one span, or to one call.
    pub(crate) fn new(resource_spans: Vec<ResourceSpans>, together: usize) -> Self {
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let mut marks = Vec::new();
        let mut at = 0;
        while at + MARK.len() <= body.len() {
            if &body[at..at + MARK.len()] == MARK.as_bytes() {
                marks.push(at);
                at += MARK.len();
            } else {
                at += 1;
            }
        }
        assert_eq!(marks.len() % together, 0, "each has all its marks");
        Self { body, marks, together }
    }

    /// Numbers that one request uses.
    pub(crate) fn n_numbers(&self) -> u64 {
        (self.marks.len() / self.together) as u64
    }

    /// The request with numbers from here on.
    pub(crate) fn body(&self, from: u64) -> Bytes {
        let mut body = self.body.clone();
        for (marks, number) in self.marks.chunks(self.together).zip(from..) {
            let digits = format!("{number:010}");
            for &at in marks {
                body[at..at + MARK.len()].copy_from_slice(digits.as_bytes());
            }
        }
        body.into()
    }
}

pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

pub(crate) fn resource(
    service: &str,
    attributes: Vec<KeyValue>,
    spans: Vec<Span>,
) -> ResourceSpans {
    let attributes = [vec![attribute("service.name", service)], attributes].concat();
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// A span of 5 ms that has just ended, in a trace of its own.
pub(crate) fn span(name: &str, kind: i32, failed: bool) -> Span {
    let end = u64::try_from(Clock::wall().as_nanos()).expect("this century");
    Span {
        trace_id: format!("trace-{MARK}").into_bytes(),
        span_id: vec![7; 8],
        name: name.to_owned(),
        kind,
        start_time_unix_nano: end - 5_000_000,
        end_time_unix_nano: end,
        status: Some(Status { code: if failed { 2 } else { 0 }, ..Status::default() }),
        ..Span::default()
    }
}

/// An endpoint that takes everything and keeps the values of what was there before the flood.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) addr: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) n_requests: usize,
    /// Calls of those that were there before.
    pub(crate) known: BTreeMap<Labels, f64>,
    /// Known series that ended or fell.
    pub(crate) harmed: Vec<String>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let kept = Arc::<Mutex<Kept>>::default();
        let router = Router::new()
            .fallback(take)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { addr, kept }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.addr)
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("not poisoned")
    }
}

async fn take(State(kept): State<Arc<Mutex<Kept>>>, body: Bytes) -> StatusCode {
    let inflated = snap::raw::Decoder::new().decompress_vec(&body).expect("snappy");
    let is_known = inflated.windows(KNOWN.len()).any(|bytes| bytes == KNOWN.as_bytes());
    let request = is_known.then(|| remote_write::decode(&body).expect("a request"));
    let mut kept = kept.lock().expect("not poisoned");
    kept.n_requests += 1;
    for series in request.into_iter().flat_map(|request| request.timeseries) {
        let labels = remote_write::labels_of(&series.labels).expect("labels");
        let is = |label: &str, start: &str| labels.get(label).is_some_and(|v| v.starts_with(start));
        if !is("__name__", "traces_spanmetrics_calls_total") || !is("span_name", KNOWN) {
            continue;
        }
        for sample in series.samples {
            let before = kept.known.insert(labels.clone(), sample.value);
            if sample.value.is_nan() || before.is_some_and(|before| sample.value < before) {
                kept.harmed.push(format!("{before:?}, then {}: {labels:?}", sample.value));
            }
        }
    }
    StatusCode::NO_CONTENT
}

/// Series of `/generated` of one metric, read line by line: the page is large.
pub(crate) async fn generated(admin: SocketAddr, metric: &str) -> Vec<(Labels, f64)> {
    let reading = async {
        let stream = TcpStream::connect(admin).await.expect("the admin server");
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        let request = Request::get("/generated").header("host", admin.to_string());
        let request = request.body(Empty::<Bytes>::new()).expect("well-formed");
        let mut body = sender.send_request(request).await.expect("an answer").into_body();
        let start = format!("{metric}{{");
        let (mut rest, mut series) = (Vec::new(), Vec::new());
        let mut is_whole = false;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.expect("the whole page").into_data() else { continue };
            rest.extend_from_slice(&data);
            let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let lines: Vec<u8> = rest.drain(..end).collect();
            let lines = std::str::from_utf8(&lines).expect("text");
            is_whole |= lines.ends_with("# EOF\n");
            series.extend(lines.lines().filter(|line| line.starts_with(&start)).map(parse));
        }
        assert!(is_whole, "the page has an end");
        series
    };
    tokio::time::timeout(PAGE_WITHIN, reading).await.expect("a page in time")
}

/// `metric{name="value",...} number`, of values without quotes.
fn parse(line: &str) -> (Labels, f64) {
    let (_, rest) = line.split_once('{').expect("labels");
    let (labels, rest) = rest.split_once("\"} ").expect("the end of the labels");
    let labels = labels.split("\",").map(|label| label.split_once("=\"").expect("a label"));
    let value = rest.split(' ').next().expect("a value").parse().expect("a number");
    (labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), value)
}

/// A cgroup of this process' own, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
}

impl Cgroup {
    /// With so much memory, in version 1 or 2; nothing where none can be made.
    pub(crate) fn new(name: &str, bytes: u64) -> Result<Self, String> {
        let groups = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
        let root = Path::new("/sys/fs/cgroup");
        let mut tried = String::new();
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
            let (above, limit) = match controllers {
                "memory" => (root.join("memory"), "memory.limit_in_bytes"),
                "" => (root.to_owned(), "memory.max"),
                _ => continue,
            };
            let own = above.join(group.trim_start_matches('/'));
            for parent in [own, above] {
                let path = parent.join(format!("spanmill-{name}-{}", std::process::id()));
                if fs::create_dir(&path).is_err() {
                    continue;
                }
                let made = Self { path };
                match fs::write(made.path.join(limit), bytes.to_string()) {
                    Ok(()) => return Ok(made),
                    Err(e) => tried = format!("{}: {e}", made.path.display()),
                }
            }
        }
        Err(format!("no cgroup can be made: {tried}"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Those that are in it have ended, or it stays until the machine does.
        drop(fs::remove_dir(&self.path));
    }
}
