//! `spanmill replay`: files with spans through the pipeline, in process or to a running service.
//!
//! ```text
//! reading (a thread of its own): file -> inflated -> frames | values -> requests in their wire form
//!   -> local: staged and applied, then one tick -> operations, edges, what-ifs -> table or JSON
//!   -> remote: sent to a service, one after the other, again where it asks for that
//! ```

mod counted;
mod edges;
mod figures;
mod frames;
mod local;
mod operations;
mod reading;
mod remote;
mod report;
mod shift;
mod values;
mod what_if;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::sending::Target;
use super::{ConfigArguments, EXIT_TROUBLE, print, tell, usage};
use crate::config::Loaded;
use counted::Counted;
use local::Local;
use reading::{Read, Reading};
use report::Report;
pub use what_if::Dropped;

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
    /// Also prints how many series there would be without a label: drop=LABEL.
    #[arg(long, value_name = "drop=LABEL")]
    pub what_if: Vec<Dropped>,
    #[command(flatten)]
    pub config: ConfigArguments,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let loaded = match arguments.config.load(&[]) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let target = match arguments.to.as_deref().map(Target::parse).transpose() {
        Ok(target) => target,
        Err(error) => return usage(format_args!("--to: {error}")),
    };
    if arguments.json && target.is_some() {
        return usage("--json: nothing is printed with --to, leave out one of them");
    }
    if !arguments.what_if.is_empty() && target.is_some() {
        return usage("--what-if: nothing is counted with --to, leave out one of them");
    }
    match replay(arguments, &loaded, target) {
        Ok(code) => code,
        Err(error) => {
            tell(format_args!("{error:#}"));
            ExitCode::from(EXIT_TROUBLE)
        }
    }
}

fn replay(
    arguments: &Arguments,
    loaded: &Loaded,
    target: Option<Target>,
) -> anyhow::Result<ExitCode> {
    let max = loaded.config.receiver.limits.max_inflated_bytes;
    let reading = Reading::start(arguments.files.clone(), max)?;
    let mut report = Report::new();
    let printed = match target {
        Some(target) => {
            let sent = remote::send_all(target, reading, arguments.shift_to_now, &mut report);
            if sent.is_err() && report.has_begun() {
                report.finish();
            }
            sent.map(|()| ExitCode::SUCCESS)?
        }
        None => {
            let counted = count_all(loaded, reading, arguments, &mut report)?;
            // Before the table, so that it does not stand behind the progress.
            report.finish();
            let printed = print(&match arguments.json {
                true => counted.json(),
                false => counted.table(),
            });
            let mut unknown = counted.unknown_labels().peekable();
            let is_clean = unknown.peek().is_none();
            unknown.for_each(tell);
            if is_clean { printed } else { ExitCode::from(EXIT_TROUBLE) }
        }
    };
    report.finish();
    Ok(if report.is_clean() { printed } else { ExitCode::from(EXIT_TROUBLE) })
}

fn count_all(
    loaded: &Loaded,
    mut reading: Reading,
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<Counted> {
    let mut local = Local::new(&loaded.config)?;
    while let Some(read) = reading.next_blocking() {
        let outcome = match read.body {
            Read::Request(body) if arguments.shift_to_now => {
                shift::to(report.now_unix_nano(), body).and_then(|body| local.take(&body))
            }
            Read::Request(body) => local.take(&body),
            Read::Bad(bad) => Err(bad),
        };
        match outcome {
            Ok(n_spans) => report.taken(n_spans),
            Err(bad) => report.bad(&read.place, &bad),
        }
    }
    Ok(local.finish(&arguments.what_if))
}
