//! The demo with a service of its own: bound, sent to, read, compared, stopped.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::counted::Counted;
use super::screen::{Screen, print_line};
use super::work::Work;
use super::{Arguments, STDOUT, settings, shown};
use crate::app::{App, Bound, Reading};
use crate::cli::sending::Target;
use crate::cli::{EXIT_TROUBLE, print, tell};
use crate::clock::Clock;
use crate::config::Loaded;
use crate::demo::{Settings, Verdict};

/// Where the standard ports are taken the system chooses.
const FREE_PORTS: [&str; 3] = [
    "receivers.otlp.grpc.endpoint=127.0.0.1:0",
    "receivers.otlp.http.endpoint=127.0.0.1:0",
    "admin.endpoint=127.0.0.1:0",
];
/// The service has counted the last span some ticks after it came.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const DIFFERENCES_SHOWN: usize = 20;

pub(super) async fn run(
    loaded: Loaded,
    arguments: &Arguments,
    shop: Settings,
    stop: CancellationToken,
) -> anyhow::Result<ExitCode> {
    let edges = loaded.config.ledger.edges.clone();
    let waits = edges.wait * (1 + u32::from(edges.hold_virtual));
    let (bound, reading) = bind(loaded, &arguments.remote_write).await?;
    let stop_service = CancellationToken::new();
    let service = tokio::spawn(bound.run(stop_service.clone()));
    let grpc = reading.grpc.context("the demo's settings have gRPC")?;
    let target = Target::parse(&format!("grpc://{grpc}")).map_err(anyhow::Error::msg)?;
    let work = Work::new(shop, target, arguments.duration);
    let (mut screen, progress) = (Screen::new(&reading), work.progress());
    let mut working = tokio::spawn(work.run(stop));
    let look = || screen.show(Counted::read(&reading), &progress);
    let work = shown(&mut working, LOOK_EVERY, look).await?;

    print_line("the shop has closed, the service waits for what may still come").context(STDOUT)?;
    let counted = settled(&reading, waits).await;
    let verdict = Verdict::new((work.books(), work.n_sent()), (&counted.books, counted.n_spans));
    // The last samples go out before the last word.
    stop_service.cancel();
    service.await.context("the service ends")?;
    for difference in verdict.differences.iter().take(DIFFERENCES_SHOWN) {
        tell(difference);
    }
    let is_whole = verdict.differences.is_empty();
    let printed = print(&format!("{verdict}\n"));
    Ok(if is_whole { printed } else { ExitCode::from(EXIT_TROUBLE) })
}

/// On the standard ports, or on free ones.
async fn bind(loaded: Loaded, remote_write: &[String]) -> anyhow::Result<(Bound, Reading)> {
    let bound = match App::build(loaded)?.bind().await {
        Ok(bound) => bound,
        Err(_) => {
            let elsewhere = settings(remote_write, &FREE_PORTS);
            let elsewhere =
                elsewhere.map_err(|_| anyhow::Error::msg("the settings have changed"))?;
            App::build(elsewhere)?.bind().await?
        }
    };
    let reading = bound.reading();
    Ok((bound, reading))
}

/// What the service has counted when nothing waits any more that has come until now.
async fn settled(reading: &Reading, waits: Duration) -> Counted {
    let clock = Clock::default();
    let settled_at = clock.now() + waits + LOOK_EVERY;
    let in_vain = settled_at + SETTLES_WITHIN;
    loop {
        let counted = Counted::read(reading);
        let is_settled = |counted: &Counted| counted.at >= settled_at;
        match counted {
            Some(counted) if is_settled(&counted) || clock.now() >= in_vain => return counted,
            None if clock.now() >= in_vain => return Counted::default(),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
