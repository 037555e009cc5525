//! `spanmill check-config`: the effective configuration, or everything that is wrong with it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{load, print};
use crate::config::Inputs;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file; without one the defaults are shown.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Sets one key, e.g. registry.collection_interval=5s.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn main(arguments: Arguments) -> ExitCode {
    let inputs = Inputs {
        built_in: "",
        file: arguments.file,
        environment: std::env::vars_os().collect(),
        set: arguments.set,
        remote_write: Vec::new(),
    };
    match load(&inputs) {
        Ok(loaded) => print(&format!("{}\n{}", loaded.effective, loaded.config.memory)),
        Err(code) => code,
    }
}
