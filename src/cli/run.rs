//! `spanmill [run]`: the service.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArguments, EXIT_TROUBLE, tell};
use crate::config::Loaded;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub config: ConfigArguments,
    /// Sends series there too, besides the endpoints of the configuration.
    #[arg(long, value_name = "URL")]
    pub remote_write: Vec<String>,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    match arguments.config.load(&arguments.remote_write) {
        Ok(loaded) => run(loaded),
        Err(code) => code,
    }
}

fn run(_loaded: Loaded) -> ExitCode {
    tell("run: not built in yet");
    ExitCode::from(EXIT_TROUBLE)
}
