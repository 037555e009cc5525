//! Compiles the remote-write messages and notes the commit that is built.

use std::path::{Path, PathBuf};
use std::process::Command;

const PROTO: &str = "proto/remote_write.proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let messages = protox::compile([PROTO], ["proto"])?;
    prost_build::Config::new().compile_fds(messages)?;

    println!(
        "cargo::rustc-env=SPANMILL_COMMIT={}",
        commit().unwrap_or_else(|| "unknown".to_owned())
    );
    Ok(())
}

/// None outside a checkout, or without git.
fn commit() -> Option<String> {
    let git_dir = PathBuf::from(git(&["rev-parse", "--absolute-git-dir"])?);
    // A crate unpacked inside somebody else's checkout has no commit of its own.
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != Path::new(".").canonicalize().ok()? {
        return None;
    }
    // HEAD moves at a checkout, its reflog at every commit too.
    for path in ["HEAD", "logs/HEAD", "refs/heads", "packed-refs"] {
        let path = git_dir.join(path);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
