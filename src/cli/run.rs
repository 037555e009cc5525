//! `spanmill [run]`: the service.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{ConfigArguments, EXIT_TROUBLE, tell};
use crate::app::App;
use crate::config::Loaded;

/// Large requests are staged on them, as many at once as there are workers at most; the rest is for
/// looking up names.
const BLOCKING_THREADS_MAX: usize = 64;

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

fn run(loaded: Loaded) -> ExitCode {
    logs();
    raise_descriptor_limit();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(e) => return trouble(&e),
    };
    let served = runtime.block_on(async {
        let bound = App::build(loaded)?.bind().await?;
        bound.run(stop_signal()?).await;
        anyhow::Ok(())
    });
    // What is left has had its time: nothing of it may hold up the exit.
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => trouble(&e),
    }
}

/// The service's.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build();
    Ok(runtime?)
}

/// As far as the system lets us: the usual soft limit is there for programs that use `select`, and is
/// less than `max_connections`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "can't raise the limit of open files");
    }
}

fn trouble(error: &anyhow::Error) -> ExitCode {
    tell(format_args!("{error:#}"));
    ExitCode::from(EXIT_TROUBLE)
}

/// Lines on stderr; `RUST_LOG` chooses what is told, by default `info`.
fn logs() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
}

/// Cancelled by SIGTERM and SIGINT; a second signal ends the process at once.
pub(super) fn stop_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancelled = stop.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if again {
                tell("stopped before the last samples were sent");
                std::process::exit(i32::from(EXIT_TROUBLE));
            }
            cancelled.cancel();
        }
    });
    Ok(stop)
}
