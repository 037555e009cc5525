//! An endpoint of remote write in the test's own process, which keeps what it is sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::oracle::Labels;
use super::remote_write::{self, Exemplar, Sample};

/// Ends with the value that it has.
#[derive(Debug)]
pub(crate) struct Capture {
    addr: SocketAddr,
    kept: Arc<Kept>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Kept {
    seen: Mutex<Seen>,
    changed: Notify,
}

/// All that arrived, in the order of arrival.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) n_requests: usize,
    pub(crate) series: BTreeMap<Labels, Series>,
    /// The same by the request's tenant; "" for a request without one.
    pub(crate) by_tenant: BTreeMap<String, BTreeMap<Labels, Series>>,
    /// Requests that were not as the specification wants them, and why.
    pub(crate) refused: Vec<String>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Series {
    pub(crate) samples: Vec<Sample>,
    pub(crate) exemplars: Vec<Exemplar>,
}

impl Seen {
    /// The newest value of each series, stale markers aside.
    pub(crate) fn newest(&self) -> BTreeMap<Labels, f64> {
        let newest =
            |series: &Series| series.samples.iter().rev().find(|s| !s.value.is_nan()).copied();
        let pairs = self.series.iter().filter_map(|(l, s)| Some((l.clone(), newest(s)?.value)));
        pairs.collect()
    }

    /// Sum of the newest values of a family.
    pub(crate) fn total(&self, family: &str) -> f64 {
        let named = |labels: &Labels| labels.get("__name__").is_some_and(|name| name == family);
        self.newest().iter().filter(|(labels, _)| named(labels)).map(|(_, value)| value).sum()
    }

    pub(crate) fn family(&self, family: &str) -> impl Iterator<Item = (&Labels, &Series)> {
        let named = move |labels: &Labels| labels.get("__name__").is_some_and(|n| n == family);
        self.series.iter().filter(move |(labels, _)| named(labels))
    }

    fn take(&mut self, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
        for (name, value) in remote_write::HEADERS {
            if headers.get(name).is_none_or(|found| found != value) {
                return Err(format!("expected {name}: {value}, got {:?}", headers.get(name)));
            }
        }
        let tenants: Vec<&HeaderValue> = headers.get_all("x-scope-orgid").iter().collect();
        let tenant = match tenants[..] {
            [] => "",
            [tenant] => tenant.to_str().map_err(|error| error.to_string())?,
            _ => return Err(format!("expected one tenant, got {tenants:?}")),
        };
        let by_tenant = self.by_tenant.entry(tenant.to_owned()).or_default();
        for series in remote_write::decode(body)?.timeseries {
            let labels = remote_write::labels_of(&series.labels)?;
            for all in [&mut self.series, &mut *by_tenant] {
                let kept = all.entry(labels.clone()).or_default();
                kept.samples.extend(series.samples.iter().copied());
                kept.exemplars.extend(series.exemplars.iter().cloned());
            }
        }
        Ok(())
    }
}

impl Capture {
    pub(crate) async fn start() -> Self {
        let kept = Arc::new(Kept::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let app = Router::new()
            .route("/api/v1/write", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&kept));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the capture serves until it is dropped");
        });
        Self { addr, kept, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.addr)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.kept.seen.lock().expect("not poisoned").clone()
    }

    /// Looks at each change until the condition holds.
    pub(crate) async fn wait_until(
        &self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&Seen) -> bool,
    ) {
        let deadline = Instant::now() + within;
        loop {
            let changed = self.kept.changed.notified();
            if holds(&self.kept.seen.lock().expect("not poisoned")) {
                return;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                let seen = self.seen();
                panic!(
                    "waited {within:?} for {what}; {} requests with {} series came, refused: {:?}, calls: {}",
                    seen.n_requests,
                    seen.series.len(),
                    seen.refused,
                    seen.total("traces_spanmetrics_calls_total"),
                );
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(
    State(kept): State<Arc<Kept>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let taken = {
        let mut seen = kept.seen.lock().expect("not poisoned");
        seen.n_requests += 1;
        let taken = seen.take(&headers, &body);
        seen.refused.extend(taken.as_ref().err().cloned());
        taken
    };
    kept.changed.notify_waiters();
    match taken {
        Ok(()) => (StatusCode::NO_CONTENT, String::new()),
        Err(why) => (StatusCode::BAD_REQUEST, why),
    }
}

mod tests {
    use super::*;
    use crate::support::corpus;
    use crate::support::http;

    const WITHIN: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn what_is_sent_is_kept_series_by_series() {
        let capture = Capture::start().await;
        let series = corpus::named("node-edge").oracle().series();
        for timestamp in [1000, 2000] {
            let body = remote_write::encode(&remote_write::snapshot(&series, timestamp));
            let answer = http::post(capture.addr, "/api/v1/write", &remote_write::HEADERS, body);
            assert_eq!(answer.await.expect("an answer").status, 204);
        }
        capture.wait_until("both requests", WITHIN, |seen| seen.n_requests == 2).await;
        let seen = capture.seen();
        assert_eq!(seen.newest(), series);
        assert_eq!(seen.total("traces_spanmetrics_calls_total"), 9244.0);
        let times = |s: &Series| s.samples.iter().map(|s| s.timestamp).collect::<Vec<_>>();
        assert!(seen.series.values().all(|series| times(series) == [1000, 2000]));
    }

    #[tokio::test]
    async fn a_request_against_the_specification_is_refused_and_told() {
        let capture = Capture::start().await;
        let mut series = remote_write::snapshot(&corpus::named("node-edge").oracle().series(), 1);
        series.timeseries[0].labels.reverse();
        let unsorted = remote_write::encode(&series);
        let path = "/api/v1/write";
        for (headers, body) in [
            (&remote_write::HEADERS[..], unsorted),
            (&remote_write::HEADERS[..], Bytes::from_static(b"not snappy")),
            (&remote_write::HEADERS[1..], Bytes::new()),
        ] {
            let answer = http::post(capture.addr, path, headers, body).await.expect("an answer");
            assert_eq!(answer.status, 400);
        }
        assert_eq!(capture.seen().refused.len(), 3, "{:?}", capture.seen().refused);
    }
}
