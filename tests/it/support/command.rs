//! The built program as a command that ends by itself: what it says, and its exit code.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{process, wait};

const ENDS_WITHIN: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn stderr_lines(&self) -> Vec<&str> {
        self.stderr.lines().collect()
    }
}

/// In the repository's folder, without a variable that could change its configuration.
pub(crate) async fn spanmill(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanmill"));
    command.args(arguments);
    run(command, "").await
}

/// With this on stdin; it must end, and is killed if it does not.
pub(crate) async fn run(mut command: Command, stdin: &str) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("in"), stdin).expect("a written file");
    let file = |name: &str| File::create(path(name)).expect("a file");
    let mut child = command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::from(File::open(path("in")).expect("the file of stdin")))
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let deadline = tokio::time::Instant::now() + ENDS_WITHIN;
    let code = wait::until(&format!("{command:?} to end"), ENDS_WITHIN * 2, async || {
        match child.try_wait().expect("a child") {
            Some(status) => Ok(status.code()),
            None if tokio::time::Instant::now() < deadline => Err("still there".to_owned()),
            None => {
                process::end(&mut child);
                Ok(None)
            }
        }
    })
    .await;
    let text = |name: &str| fs::read_to_string(path(name)).expect("text");
    Output { code, stdout: text("out"), stderr: text("err") }
}
