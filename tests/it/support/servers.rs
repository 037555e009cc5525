//! Prometheus and VictoriaMetrics as real processes, asked over HTTP.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::http::{self, with_query};
use super::oracle::Labels;
use super::process::{end, free_ports, tool};
use super::remote_write::{self, WriteRequest};
use super::wait;

const READY_WITHIN: Duration = Duration::from_secs(60);
const SHOWN_WITHIN: Duration = Duration::from_secs(60);
const STARTS: usize = 5;

/// VictoriaMetrics takes remote write at this path too.
const WRITE_PATH: &str = "/api/v1/write";

const PROMETHEUS_CONFIG: &str = "storage: { exemplars: { max_exemplars: 1000000 } }\n";

/// Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    child: Child,
    folder: TempDir,
}

/// Series of one moment: timestamp in seconds and value.
pub(crate) type Vector = BTreeMap<Labels, (f64, f64)>;

/// An exemplar as Prometheus gives it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FoundExemplar {
    pub(crate) labels: Labels,
    pub(crate) value: f64,
    /// Seconds.
    pub(crate) timestamp: f64,
}

/// One Prometheus for all tests that run at the same time; the last one of them ends it.
pub(crate) async fn shared_prometheus() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let started = Arc::new(prometheus().await);
    *shared = Arc::downgrade(&started);
    started
}

pub(crate) async fn prometheus() -> Server {
    prometheus_with("").await
}

/// That scrapes one page every second.
pub(crate) async fn prometheus_scraping(addr: SocketAddr, path: &str) -> Server {
    prometheus_with(&format!(
        "scrape_configs:\n  - job_name: scraped\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    \
         metrics_path: {path}\n    static_configs: [{{ targets: [\"{addr}\"] }}]\n"
    ))
    .await
}

/// With more of its configuration.
pub(crate) async fn prometheus_with(more: &str) -> Server {
    let line = "prometheus --config.file=prometheus.yml --web.enable-remote-write-receiver --enable-feature=exemplar-storage --log.level=warn";
    prometheus_by(line, more).await
}

/// Started by a command line, in a folder of its own with `prometheus.yml`.
pub(crate) async fn prometheus_by(line: &str, more: &str) -> Server {
    start("prometheus", "/-/ready", |command, addr, folder| {
        let config = folder.path().join("prometheus.yml");
        fs::write(&config, format!("{PROMETHEUS_CONFIG}{more}")).expect("a written file");
        command
            .args(line.split_whitespace().skip(1))
            .arg(format!("--web.listen-address={addr}"))
            // Debian's would be one for all.
            .arg("--storage.tsdb.path=data");
    })
    .await
}

pub(crate) async fn victoria_metrics() -> Server {
    start("victoria-metrics", "/health", |command, addr, folder| {
        command
            .arg(format!("-httpListenAddr={addr}"))
            .arg(format!("-storageDataPath={}", folder.path().join("data").display()))
            // Shows samples as soon as they are in, and never an older answer.
            .args(["-search.latencyOffset=0s", "-search.disableCache"])
            .args(["-memory.allowedPercent=10", "-loggerLevel=WARN"]);
    })
    .await
}

async fn start(
    name: &str,
    ready_path: &str,
    arguments: impl Fn(&mut Command, SocketAddr, &TempDir),
) -> Server {
    let mut last = String::new();
    for _ in 0..STARTS {
        let [addr] = free_ports();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a file for the log");
        let mut command = Command::new(tool(name));
        arguments(&mut command, addr, &folder);
        let errors = log.try_clone().expect("a second handle");
        command.current_dir(&folder).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().expect("a fetched program starts");
        let mut server = Server { addr, child, folder };
        let what = format!("{name} to be ready");
        let ready = wait::until(&what, READY_WITHIN, async || {
            if let Some(status) = server.child.try_wait().expect("a child") {
                return Ok(Err(format!("ended with {status}; log: {}", server.log())));
            }
            match http::get(addr, ready_path).await {
                Ok(answer) if answer.status == 200 => Ok(Ok(())),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => Err(error),
            }
        });
        match ready.await {
            Ok(()) => return server,
            Err(seen) => last = seen,
        }
    }
    panic!("{name} did not start, tried {STARTS} times; at last: {last}");
}

impl Server {
    /// Where it takes remote write 1.0.
    pub(crate) fn write_url(&self) -> String {
        format!("http://{}{WRITE_PATH}", self.addr)
    }

    /// Made by hand, and taken.
    pub(crate) async fn write(&self, request: &WriteRequest) {
        let body = remote_write::encode(request);
        let answer = http::post(self.addr, WRITE_PATH, &remote_write::HEADERS, body).await;
        let answer = answer.unwrap_or_else(|e| panic!("{e}; log: {}", self.log()));
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("the server's log")
    }

    /// At a moment in seconds since the epoch; `None` = now.
    pub(crate) async fn query(&self, query: &str, at: Option<f64>) -> Vector {
        let at = at.map(|seconds| format!("{seconds:.3}"));
        let mut parameters = vec![("query", query)];
        parameters.extend(at.as_deref().map(|at| ("time", at)));
        let data = self.ask("/api/v1/query", &parameters).await;
        let one = |series: &Value| (labels(&series["metric"]), point(&series["value"]));
        data["result"].as_array().expect("a vector").iter().map(one).collect()
    }

    /// Until `n` series of a selector have a sample of exactly that moment.
    pub(crate) async fn wait_for_sample(&self, selector: &str, at: f64, n: usize) {
        wait::until(&format!("{n} series of {selector} at {at}"), SHOWN_WITHIN, async || {
            let found = self.query(&format!("timestamp({selector})"), Some(at)).await;
            let n_found = found.values().filter(|(_, value)| (value - at).abs() < 5e-4).count();
            if n_found == n { Ok(()) } else { Err(format!("{n_found} of {}", found.len())) }
        })
        .await;
    }

    /// Every point of each series of a range, a step apart; times and step in seconds.
    pub(crate) async fn query_range(
        &self,
        query: &str,
        (start, end): (f64, f64),
        step: f64,
    ) -> BTreeMap<Labels, Vec<(f64, f64)>> {
        let [start, end, step] = [start, end, step].map(|seconds| format!("{seconds:.3}"));
        let parameters = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
        let data = self.ask("/api/v1/query_range", &parameters).await;
        let points = |series: &Value| {
            series["values"].as_array().expect("points").iter().map(point).collect()
        };
        let one = |series: &Value| (labels(&series["metric"]), points(series));
        data["result"].as_array().expect("a matrix").iter().map(one).collect()
    }

    /// Label sets that match, whatever their samples.
    pub(crate) async fn series(&self, matching: &str) -> Vec<Labels> {
        let data = self.ask("/api/v1/series", &[("match[]", matching)]).await;
        data.as_array().expect("a list").iter().map(labels).collect()
    }

    /// Per series, in the order of time, between two moments in seconds.
    pub(crate) async fn exemplars(
        &self,
        query: &str,
        (start, end): (f64, f64),
    ) -> BTreeMap<Labels, Vec<FoundExemplar>> {
        let [start, end] = [start, end].map(|seconds| format!("{seconds:.3}"));
        let parameters = [("query", query), ("start", &start), ("end", &end)];
        let data = self.ask("/api/v1/query_exemplars", &parameters).await;
        let exemplar = |json: &Value| FoundExemplar {
            labels: labels(&json["labels"]),
            value: json["value"].as_str().and_then(|v| v.parse().ok()).expect("a value"),
            timestamp: json["timestamp"].as_f64().expect("a timestamp"),
        };
        let one = |series: &Value| {
            let found = series["exemplars"].as_array().expect("exemplars").iter().map(exemplar);
            (labels(&series["seriesLabels"]), found.collect())
        };
        data.as_array().expect("a list").iter().map(one).collect()
    }

    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let answer = http::get(self.addr, &with_query(path, parameters)).await;
        let answer = answer.unwrap_or_else(|e| panic!("{parameters:?}: {e}; log: {}", self.log()));
        assert_eq!(answer.status, 200, "{parameters:?}: {}", answer.text());
        let mut json: Value = serde_json::from_slice(&answer.body).expect("an answer in JSON");
        assert_eq!(json["status"], "success", "{parameters:?}: {json}");
        json["data"].take()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn labels(json: &Value) -> Labels {
    let pairs = json.as_object().expect("labels").iter();
    pairs.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned())).collect()
}

fn point(json: &Value) -> (f64, f64) {
    let value = json[1].as_str().expect("values are text");
    (json[0].as_f64().expect("a time"), value.parse().expect("a number"))
}

mod tests {
    use spanmill::clock::Clock;

    use super::*;
    use crate::support::corpus;
    use crate::support::oracle::differences;
    use crate::support::remote_write::{Exemplar, Label};

    const WITHIN: Duration = Duration::from_secs(30);
    const ALL: &str = r#"{__name__=~"traces_.+"}"#;

    /// What is written by hand is read back to the last bit, so that a difference in a test is the
    /// product's.
    #[tokio::test]
    async fn prometheus_gives_back_the_series_and_exemplars_that_it_was_sent() {
        let server = shared_prometheus().await;
        let mut series = corpus::named("py-shop-grpc").oracle().series();
        series = tell_apart(series, "by-hand");
        let now = Clock::default().now_unix_ms();
        let mut request = remote_write::snapshot(&series, now);
        let label =
            |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
        let labels = vec![label("span_id", "00000000000000ab"), label("traceID", &"ab".repeat(16))];
        let exemplar = Exemplar { labels, value: 0.25, timestamp: now };
        request.timeseries[0].exemplars.push(exemplar);
        server.write(&request).await;

        let of_run = r#"{run="by-hand"}"#;
        let at = now as f64 / 1000.0;
        let found = server.query(of_run, Some(at)).await;
        let found = found.into_iter().map(|(labels, (_, value))| (labels, value)).collect();
        assert_eq!(differences(&series, &found, &[]), Vec::<String>::new());
        assert_eq!(server.series(of_run).await.len(), series.len());
        let range = server.query_range(of_run, (at, at + 1.0), 1.0).await;
        assert!(range.values().all(|points| points.len() == 2), "{:?}", range.values().next());

        let exemplars = server.exemplars(of_run, (at - 60.0, at + 60.0)).await;
        let first = series.keys().next().expect("series");
        assert_eq!(exemplars.keys().collect::<Vec<_>>(), [first]);
        let found = &exemplars[first][0];
        assert_eq!(found.labels["traceID"], "ab".repeat(16));
        assert_eq!((found.value, found.timestamp), (0.25, at));
    }

    #[tokio::test]
    async fn victoria_metrics_gives_back_the_series_that_it_was_sent() {
        let server = victoria_metrics().await;
        let series = corpus::named("py-shop-grpc").oracle().series();
        let now = Clock::default().now_unix_ms();
        server.write(&remote_write::snapshot(&series, now)).await;
        wait::until("VictoriaMetrics to show what it took", WITHIN, async || {
            let found = server.query(ALL, Some(now as f64 / 1000.0)).await;
            let found = found.into_iter().map(|(labels, (_, value))| (labels, value)).collect();
            let differences = differences(&series, &found, &[]);
            let n = differences.len();
            if n == 0 { Ok(()) } else { Err(format!("{n} differ: {}", differences[0])) }
        })
        .await;
    }

    fn tell_apart(series: BTreeMap<Labels, f64>, run: &str) -> BTreeMap<Labels, f64> {
        let label = |(mut labels, value): (Labels, f64)| {
            labels.insert("run".to_owned(), run.to_owned());
            (labels, value)
        };
        series.into_iter().map(label).collect()
    }
}
