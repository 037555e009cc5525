//! The built program as a process: on free ports, with a configuration of the test's own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{http, wait};

const READY_WITHIN: Duration = Duration::from_secs(20);
/// The contract's 5 s, and some for a busy machine.
const EXIT_WITHIN: Duration = Duration::from_secs(15);
/// A port that was free may be taken by the time that the program binds it.
const STARTS: usize = 5;

/// For tests of the span metrics that look at everything there is.
pub(crate) const SPAN_METRICS_ALONE: &str = "processors.enabled=[span-metrics]";

/// What the tests vary of the configuration; the rest is as the program has it.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) collection_interval: &'static str,
    /// Of the external label `run`, by which a server tells runs apart.
    pub(crate) run: String,
    pub(crate) remote_write: Vec<String>,
}

impl Config {
    /// No time window, no instance label but the one configured, room for the largest bodies.
    fn text(&self, ports: &Ports) -> String {
        let mut text = format!(
            "receivers:\n  otlp:\n    grpc: {{ endpoint: {} }}\n    http: {{ endpoint: {} }}\n    \
             max_wire_bytes: 128MiB\n    max_inflated_bytes: 256MiB\n\
             processors:\n  ingestion_time_range_slack: 0s\n\
             registry:\n  collection_interval: {}\n  external_labels: {{ run: \"{}\" }}\n\
             admin: {{ endpoint: {} }}\nremote_write:\n",
            ports.grpc, ports.http, self.collection_interval, self.run, ports.admin,
        );
        for url in &self.remote_write {
            text.push_str(&format!("  - url: {url}\n"));
        }
        text
    }
}

/// Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Spanmill {
    pub(crate) ports: Ports,
    child: Child,
    folder: TempDir,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Spanmill {
    /// Started and ready.
    pub(crate) async fn start(config: &Config) -> Self {
        Self::start_with(config, &[]).await
    }

    /// With keys set on the command line, `KEY=VALUE`.
    pub(crate) async fn start_with(config: &Config, sets: &[&str]) -> Self {
        Self::start_within(config, sets, None).await
    }

    /// In a cgroup, whose folder this is.
    pub(crate) async fn start_within(
        config: &Config,
        sets: &[&str],
        cgroup: Option<&Path>,
    ) -> Self {
        let mut last = String::new();
        for _ in 0..STARTS {
            match Self::try_start(config, sets, cgroup).await {
                Ok(started) => return started,
                Err(seen) => last = seen,
            }
        }
        panic!("spanmill did not start, tried {STARTS} times; at last: {last}");
    }

    async fn try_start(
        config: &Config,
        sets: &[&str],
        cgroup: Option<&Path>,
    ) -> Result<Self, String> {
        let [grpc, http, admin] = free_ports();
        let ports = Ports { grpc, http, admin };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("spanmill.yaml");
        fs::write(&file, config.text(&ports)).expect("a written file");
        let mut command = command(cgroup);
        let child = command
            .args(["run", "--config"])
            .arg(&file)
            .args(sets.iter().flat_map(|set| ["--set", set]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr")).expect("a file for stderr"))
            .spawn()
            .expect("the built program starts");
        let mut started = Self { ports, child, folder };
        let ready = wait::until("spanmill to be ready", READY_WITHIN, async || {
            if let Some(status) = started.child.try_wait().expect("a child") {
                return Ok(Err(format!("ended with {status}; stderr: {}", started.stderr())));
            }
            match http::get(admin, "/-/ready").await {
                Ok(answer) if answer.status == 200 => Ok(Ok(())),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => Err(format!("{error}; stderr: {}", started.stderr())),
            }
        });
        ready.await.map(|()| started)
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).expect("the file of stderr")
    }

    /// The most that was resident at any time so far.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("the program runs until now");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix("kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("VmHWM in kB") * 1024
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(&self.child), signal).expect("the program runs until now");
    }

    pub(crate) async fn exit_status(&mut self) -> ExitStatus {
        wait::until("spanmill to end", EXIT_WITHIN, async || {
            let ended = self.child.try_wait().expect("a child");
            ended.ok_or_else(|| format!("still there; stderr: {}", self.stderr()))
        })
        .await
    }

    /// SIGTERM, and the exit code that follows must be 0.
    pub(crate) async fn stop(mut self) {
        self.terminate();
        let status = self.exit_status().await;
        assert_eq!(status.code(), Some(0), "stderr: {}", self.stderr());
    }
}

impl Drop for Spanmill {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

pub(crate) fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let listeners: [TcpListener; N] = std::array::from_fn(bind);
    listeners.map(|listener| listener.local_addr().expect("bound"))
}

/// The built program, or another build of it; in a cgroup it is there before it begins.
fn command(cgroup: Option<&Path>) -> Command {
    let built = || env!("CARGO_BIN_EXE_spanmill").into();
    let program = std::env::var_os("SPANMILL_PROGRAM").unwrap_or_else(built);
    let Some(cgroup) = cgroup else { return Command::new(program) };
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(cgroup).arg(program);
    command
}

/// Ends a child by its own id; one that has ended already is fine.
pub(crate) fn end(child: &mut Child) {
    let ended = child.kill().and_then(|()| child.wait());
    ended.expect("a child that was started here can be ended");
}

/// In the folder SPANMILL_TEST_TOOLS, which may have another version, or where `tests/run` puts what
/// it fetches.
pub(crate) fn tool(name: &str) -> std::path::PathBuf {
    let fetched = || concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools").into();
    let folder = std::env::var_os("SPANMILL_TEST_TOOLS").unwrap_or_else(fetched);
    let path = Path::new(&folder).join("usr/bin").join(name);
    assert!(path.exists(), "{} is missing: tests/run fetches it", path.display());
    path
}

fn pid(child: &Child) -> Pid {
    let id = i32::try_from(child.id()).expect("ids of processes are small");
    Pid::from_raw(id).expect("ids of processes are not 0")
}
