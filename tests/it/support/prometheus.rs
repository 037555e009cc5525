//! A real Prometheus, for the claims that only it can confirm.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;

const START_MAX: Duration = Duration::from_secs(60);

/// Stopped when dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
    _folder: TempDir,
}

impl Prometheus {
    /// With the remote-write receiver on and an empty store.
    pub(crate) async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("the folder is ours");
        let mut child = Command::new(binary("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("store").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--web.enable-remote-write-receiver"])
            .args(["--enable-feature=exemplar-storage", "--log.format=json"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = child.stderr.take().expect("it is piped");
        let stderr = pipe::Receiver::from_owned_fd(stderr.into()).expect("it is a pipe");
        let mut prometheus = Self { child, address: String::new(), _folder: folder };
        let started = tokio::time::timeout(START_MAX, prometheus.read_log(stderr)).await;
        assert!(started.is_ok(), "prometheus was not ready within {START_MAX:?}");
        prometheus
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Until it is ready; what comes later is read and forgotten, so that it is never held up.
    async fn read_log(&mut self, stderr: pipe::Receiver) {
        let mut lines = BufReader::new(stderr).lines();
        let (mut seen, mut is_ready) = (Vec::new(), false);
        while let Some(line) = lines.next_line().await.expect("the pipe is sound") {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            seen.push(line);
            match entry["msg"].as_str() {
                Some("Listening on") => {
                    self.address = entry["address"].as_str().unwrap_or_default().to_owned();
                }
                Some("Server is ready to receive web requests.") => is_ready = true,
                _ => {}
            }
            // The two come in either order.
            if is_ready && !self.address.is_empty() {
                break;
            }
        }
        assert!(!self.address.is_empty(), "prometheus did not start: {seen:#?}");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        if self.child.kill().is_ok() {
            self.child.wait().expect("it was ours to end");
        }
    }
}

/// From the folder in SPANMILL_TEST_TOOLS, or where `tests/run` puts it.
fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("SPANMILL_TEST_TOOLS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools")),
        PathBuf::from,
    );
    let path = folder.join("usr/bin").join(name);
    assert!(
        path.exists(),
        "{} is missing, run the tests by tests/run, which gets it",
        path.display()
    );
    path
}
