//! `spanmill demo`: the service and a shop that sends it spans, in one process, and what came of it.
//!
//! ```text
//! shop -> sending -> the service's own port -> its pipeline
//!   ledger of the shop + newest tick of the service -> table, once a second; verdict, at the end
//! ```

mod counted;
mod own_service;
mod screen;
mod work;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::sending::Target;
use super::{EXIT_TROUBLE, load, run, tell, usage};
use crate::config::{self, Inputs, Loaded};
use crate::demo::{RATE_MAX, Settings};
use work::Work;

const STDOUT: &str = "can't write to stdout";
const SECOND: Duration = Duration::from_secs(1);
const SETTINGS: &str = include_str!("../../../config/demo.yaml");

#[derive(Debug, Args)]
pub struct Arguments {
    /// The same seed makes the same traces.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Traces a second, on average.
    #[arg(long, value_name = "TRACES_PER_SECOND", default_value = "40", value_parser = rate)]
    pub rate: f64,
    /// How much faster the script plays; spans and queues go on as they do.
    #[arg(long, value_name = "X", default_value = "1", value_parser = speed)]
    pub speed: f64,
    /// Ends after so much time of the script, e.g. 10m; without, at ctrl-C.
    #[arg(long, value_name = "D", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Sends series there.
    #[arg(long, value_name = "URL")]
    pub remote_write: Vec<String>,
    /// Sends the spans to a service that runs, without one of its own: http://HOST:PORT[/v1/traces] or
    /// grpc://HOST:PORT.
    #[arg(long, value_name = "URL", conflicts_with = "remote_write")]
    pub to: Option<String>,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let target = match arguments.to.as_deref().map(Target::parse).transpose() {
        Ok(target) => target,
        Err(error) => return usage(format_args!("--to: {error}")),
    };
    let shop = Settings { seed: arguments.seed, rate: arguments.rate, speed: arguments.speed };
    // Before anything starts; the file of the demo is in order, an address may not be.
    let loaded = match settings(&arguments.remote_write, &[]) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    logs();
    let ended = run::runtime().and_then(|runtime| {
        let ended = runtime.block_on(async {
            let stop = run::stop_signal()?;
            match target {
                Some(target) => elsewhere(Work::new(shop, target, arguments.duration), stop).await,
                None => own_service::run(loaded, arguments, shop, stop).await,
            }
        });
        runtime.shutdown_background();
        ended
    });
    ended.unwrap_or_else(|error| {
        tell(format_args!("{error:#}"));
        ExitCode::from(EXIT_TROUBLE)
    })
}

fn settings(remote_write: &[String], set: &[&str]) -> Result<Loaded, ExitCode> {
    load(&Inputs {
        built_in: SETTINGS,
        remote_write: remote_write.to_vec(),
        set: set.iter().map(|&set| set.to_owned()).collect(),
        ..Inputs::default()
    })
}

/// Lines of the service would stand in the table's way.
fn logs() {
    let quiet = || EnvFilter::new("warn,spanmill::app::service=error");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| quiet());
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    lines.with_writer(std::io::stderr).init();
}

/// For a service that runs somewhere else.
async fn elsewhere(work: Work, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let progress = work.progress();
    let mut working = tokio::spawn(work.run(stop));
    let work = shown(&mut working, SECOND, || screen::print_line(&progress.line())).await?;
    Ok(super::print(&format!("ledger: sent {} spans, not compared\n", work.n_sent())))
}

/// Shows something again and again until the work is done.
async fn shown(
    working: &mut JoinHandle<anyhow::Result<Work>>,
    every: Duration,
    mut show: impl FnMut() -> std::io::Result<()>,
) -> anyhow::Result<Work> {
    let mut looks = tokio::time::interval(every);
    loop {
        tokio::select! {
            biased;
            work = &mut *working => return work.context("the shop ends")?,
            _ = looks.tick() => show().context(STDOUT)?,
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, RATE_MAX)
}

fn speed(text: &str) -> Result<f64, String> {
    number(text, 1000.0)
}

fn number(text: &str, max: f64) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number <= max => Ok(number),
        _ => Err(format!("expected a number above 0, at most {max}")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let found = config::duration(text).filter(|duration| !duration.is_zero());
    found.ok_or_else(|| "expected a duration such as 30s or 10m".to_owned())
}
