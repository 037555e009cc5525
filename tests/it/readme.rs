//! README's first minute, as it is written.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::command;
use crate::support::corpus;
use crate::support::process::{Config, Spanmill};
use crate::support::wait;

const FIRST: &str = "cargo run --release";
const PROGRAM: &str = "cargo run --release -- ";

fn readme() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md")
}

/// The fenced blocks of a section, line by line.
fn blocks(text: &str, section: &str) -> Vec<Vec<String>> {
    let from = text.find(section).unwrap_or_else(|| panic!("README has {section}"));
    let rest = &text[from + section.len()..];
    let section = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
    let fenced = section.split("```").skip(1).step_by(2);
    fenced.map(|block| block.lines().skip(1).map(str::to_owned).collect()).collect()
}

/// The default ports may be taken here: others stand in for them, and the program that has been built
/// for cargo.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quick_start_shows_metrics_within_seconds() {
    let blocks = blocks(&readme(), "\n## Quick start\n");
    let [first, second, ..] = &blocks[..] else { panic!("two terminals: {blocks:?}") };
    assert_eq!(first, &[FIRST]);
    let [replay, show] = &second[..] else { panic!("two lines: {second:?}") };

    let defaults = Config { collection_interval: "15s", run: String::new(), remote_write: vec![] };
    let window = "processors.ingestion_time_range_slack={past: 1h, future: 10m}";
    let service = Spanmill::start_with(&defaults, &[window]).await;
    let here = |line: &str| {
        line.replace(PROGRAM, &format!("{} ", env!("CARGO_BIN_EXE_spanmill")))
            .replace("127.0.0.1:4318", &service.ports.http.to_string())
            .replace("127.0.0.1:4319", &service.ports.admin.to_string())
    };
    let run = async |line: &str| {
        let mut shell = Command::new("bash");
        shell.args(["-c", &here(line)]);
        command::run(shell, "").await
    };
    let replayed = run(replay).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let n_spans = corpus::named("node-edge").oracle().n_spans();
    assert!(replayed.stderr.contains(&format!("{n_spans} spans")), "{replayed:?}");
    let shown = wait::until("calls on the page", Duration::from_secs(8), async || {
        let shown = run(show).await;
        if shown.stdout.is_empty() { Err(format!("{shown:?}")) } else { Ok(shown.stdout) }
    })
    .await;
    assert_eq!(shown.lines().count(), 10, "{shown}");
    assert!(
        shown.lines().all(|line| line.starts_with("traces_spanmetrics_calls_total{")),
        "{shown}"
    );
    service.stop().await;
}

#[test]
fn every_file_that_readme_names_is_there() {
    let link = regex::Regex::new(r"\]\(([^)#:]+)\)").expect("a regex");
    let text = readme();
    let named: BTreeSet<&str> =
        link.captures_iter(&text).map(|c| c.get(1).expect("it").as_str()).collect();
    assert!(named.len() > 4, "{named:?}");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let missing: Vec<_> = named.iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_own_metric_that_the_program_has_is_in_readme() {
    let text = readme();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let of = |path: &str| fs::read_to_string(root.join(path)).expect("a source");
    let sources = ["telemetry.rs", "admin/tenants.rs", "admin/cardinality/own_metrics.rs"];
    let sources: String = sources.iter().map(|path| of(&format!("src/{path}"))).collect();
    let name = regex::Regex::new(r#""(spanmill_[a-z_]+)""#).expect("a regex");
    let names: BTreeSet<&str> =
        name.captures_iter(&sources).map(|c| c.get(1).expect("it").as_str()).collect();
    assert!(names.len() > 20, "{names:?}");
    let missing: Vec<_> =
        names.iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
