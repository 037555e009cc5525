//! `spanmill replay`: files with spans through the pipeline, in process or to a running service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{ConfigArguments, EXIT_TROUBLE, tell};
use crate::config::Loaded;

#[derive(Debug, Args)]
pub struct Arguments {
    /// OTLP as length-prefixed frames or JSON, also .gz and .zst.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A running service: http://HOST:PORT[/v1/traces] or grpc://HOST:PORT.
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Moves each request so that its newest span ends now.
    #[arg(long)]
    pub shift_to_now: bool,
    /// Prints JSON instead of the table.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigArguments,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    match arguments.config.load(&[]) {
        Ok(loaded) => replay(arguments, loaded),
        Err(code) => code,
    }
}

fn replay(_arguments: &Arguments, _loaded: Loaded) -> ExitCode {
    tell("replay: not built in yet");
    ExitCode::from(EXIT_TROUBLE)
}
