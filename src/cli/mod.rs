//! The command line: one file a command.
//!
//! Exit codes: 0; 1 trouble at run time; 64 usage or configuration. What goes wrong is one plain line
//! each on stderr.

mod check_config;
mod completion;
mod dashboards;
pub mod demo;
pub mod replay;
pub mod run;
mod sending;

use crate::telemetry::COMMIT;
use std::ffi::OsString;
use std::fmt;
use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};

use crate::config;

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (commit {COMMIT})", env!("CARGO_PKG_VERSION")));

/// Wrong usage or configuration, as in sysexits.h.
const EXIT_USAGE: u8 = 64;
const EXIT_TROUBLE: u8 = 1;

/// Span metrics and service graphs from OpenTelemetry spans, remote-written to Prometheus.
#[derive(Debug, Parser)]
#[command(name = "spanmill", version = VERSION.as_str(), args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The service; also without a command.
    Run(run::Arguments),
    /// Sends files with spans through the pipeline and prints what comes out.
    Replay(replay::Arguments),
    /// Prints the effective configuration, or everything that is wrong with it.
    CheckConfig(check_config::Arguments),
    /// Writes Grafana's dashboards, rules, alerts and provisioning into a folder.
    Dashboards(dashboards::Arguments),
    /// Prints the completions of a shell.
    Completion(completion::Arguments),
    /// A shop whose spans the service counts, both in one process, and a ledger that compares.
    Demo(demo::Arguments),
    #[command(hide = true, disable_help_flag = true)]
    Load(NotYet),
}

/// A command of a later version, with any arguments.
#[derive(Debug, Args)]
struct NotYet {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<OsString>,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// Configuration file; without one the defaults hold.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one key, e.g. registry.collection_interval=5s; wins over file and environment.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match CommandLine::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return clap_exit(&error),
    };
    match arguments.command {
        None => run::main(&arguments.run),
        Some(Command::Run(arguments)) => run::main(&arguments),
        Some(Command::Replay(arguments)) => replay::main(&arguments),
        Some(Command::CheckConfig(arguments)) => check_config::main(arguments),
        Some(Command::Dashboards(arguments)) => dashboards::main(&arguments),
        Some(Command::Completion(arguments)) => completion::main(&arguments),
        Some(Command::Demo(arguments)) => demo::main(&arguments),
        Some(Command::Load(_)) => usage("load: not in this version"),
    }
}

impl ConfigArguments {
    /// The configuration, or the exit code after what is wrong with it was told.
    pub fn load(&self, remote_write: &[String]) -> Result<config::Loaded, ExitCode> {
        load(&config::Inputs {
            built_in: "",
            file: self.config.clone(),
            environment: std::env::vars_os().collect(),
            set: self.set.clone(),
            remote_write: remote_write.to_vec(),
        })
    }
}

fn load(inputs: &config::Inputs) -> Result<config::Loaded, ExitCode> {
    config::load(inputs).map_err(|problems| {
        tell(problems);
        ExitCode::from(EXIT_USAGE)
    })
}

/// Wrong usage: one line, exit code 64.
fn usage(line: impl fmt::Display) -> ExitCode {
    tell(line);
    ExitCode::from(EXIT_USAGE)
}

/// Lines for a person, on stderr.
pub(crate) fn tell(lines: impl fmt::Display) {
    // nothing is left to do where even stderr is closed
    writeln!(stderr().lock(), "{lines}").ok();
}

/// What a command makes, on stdout; a closed pipe is trouble.
fn print(text: &str) -> ExitCode {
    match stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_TROUBLE),
    }
}

/// Help and version go to stdout, an error is told in a line.
fn clap_exit(error: &clap::Error) -> ExitCode {
    if error.use_stderr() { usage(one_line(error)) } else { print(&error.render().to_string()) }
}

/// The error and its tip, without the usage.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let lines: Vec<&str> =
        lines.map(|line| line.trim_start_matches("error: ").trim_start_matches("tip: ")).collect();
    lines.join("; ").replace(":; ", ": ")
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
