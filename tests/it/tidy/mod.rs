//! The shape of `src/`, held: who may import whom, what pure code may name, sizes, marks.

mod rules;
mod source;

use std::fs;
use std::path::Path;

use rules::Rule;
use source::Source;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_sources_keep_every_rule() {
    let sources = read_folder("src");
    assert!(sources.len() > 20, "only {} files under src/", sources.len());
    let broken: Vec<String> =
        rules::ALL.iter().flat_map(|rule| rules::check(*rule, &sources)).collect();
    assert!(broken.is_empty(), "{} rules broken:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn the_tests_keep_the_rules_for_tests() {
    let sources = read_folder("tests/it");
    let broken: Vec<String> =
        rules::FOR_TESTS.iter().flat_map(|rule| rules::check(*rule, &sources)).collect();
    assert!(broken.is_empty(), "{} rules broken:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn an_import_against_the_flow_is_found_however_it_is_written() {
    for text in [
        "use crate::ledger::Ledger;",
        "use crate::{otlp, ledger::{Effect, Ledger}};",
        "fn f() -> crate::ledger::Effect {}",
        "use super::super::ledger::Ledger;",
    ] {
        breaks(rules::imports_follow_the_flow, "stage/plan.rs", text);
    }
    keeps(rules::imports_follow_the_flow, "stage/plan.rs", "use crate::{batch::Row, otlp::Span};");
    keeps(rules::imports_follow_the_flow, "stage/plan.rs", "use super::settings::Settings;");
    keeps(rules::imports_follow_the_flow, "stage/plan.rs", "// as in crate::ledger::Ledger");
    keeps(rules::imports_follow_the_flow, "stage/plan.rs", "const A: &str = \"crate::ledger\";");
    keeps(rules::imports_follow_the_flow, "receiver/intake.rs", "use crate::clock::Clock;");
    keeps(rules::imports_follow_the_flow, "app.rs", "use crate::remote_write::Exporter;");
    breaks(rules::imports_follow_the_flow, "otlp/mod.rs", "use crate::clock::Clock;");
    breaks(rules::imports_follow_the_flow, "novelty/mod.rs", "use std::fmt;");
}

#[test]
fn imports_of_tests_are_free() {
    let inside = "mod a;\n#[cfg(test)]\nmod tests {\n    use crate::ledger::Ledger;\n}\n";
    keeps(rules::imports_follow_the_flow, "stage/plan.rs", inside);
    let behind = format!("{inside}use crate::ledger::Ledger;\n");
    breaks(rules::imports_follow_the_flow, "stage/plan.rs", &behind);
    let sources = [
        Source::new("stage/mod.rs", "#[cfg(test)]\nmod tests;\n"),
        Source::new("stage/tests.rs", "use crate::ledger::Ledger;"),
    ];
    assert_eq!(rules::check(rules::imports_follow_the_flow, &sources), Vec::<String>::new());
}

#[test]
fn a_clock_a_lock_a_socket_and_a_future_in_pure_code_are_found() {
    for text in [
        "use std::time::Instant;",
        "use std::time::{Duration, SystemTime};",
        "use std::net::TcpStream;",
        "use std::sync::Mutex;",
        "use tokio::sync::mpsc;",
        "tracing::info!(\"seen\");",
        "async fn f() {}",
    ] {
        breaks(rules::pure_code_is_pure, "series/counter.rs", text);
        keeps(rules::pure_code_is_pure, "receiver/grpc.rs", text);
    }
    keeps(rules::pure_code_is_pure, "series/counter.rs", "use std::time::Duration;");
    keeps(rules::pure_code_is_pure, "series/counter.rs", "/// Instants are arguments, no Mutex.");
}

#[test]
fn a_file_over_the_ceiling_is_found_and_its_tests_are_not_counted() {
    let lines = |n: usize| "fn f() {}\n".repeat(n);
    breaks(rules::files_are_short, "stage/plan.rs", &lines(501));
    let tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(400), lines(400));
    keeps(rules::files_are_short, "stage/plan.rs", &tests);
    breaks(rules::files_are_short, "stage/mod.rs", &lines(151));
    keeps(rules::files_are_short, "stage/mod.rs", &lines(150));
}

#[test]
fn a_file_that_does_not_say_its_place_is_found() {
    breaks(rules::files_open_with_their_place, "stage/plan.rs", "use std::fmt;\n//! Late.\n");
    keeps(rules::files_open_with_their_place, "stage/plan.rs", "//! Places spans.\n");
}

#[test]
fn marks_and_excused_tests_are_found() {
    for text in [
        concat!("// TO", "DO: later"),
        concat!("// FIX", "ME"),
        concat!("/* X", "XX */"),
        concat!("#[ig", "nore]"),
        concat!("#[ig", "nore = \"slow\"]"),
        concat!("#[should", "_panic(expected = \"x\")]"),
    ] {
        breaks(rules::nothing_is_put_off, "stage/plan.rs", text);
    }
    keeps(rules::nothing_is_put_off, "stage/plan.rs", "let todos = ignored;");
}

#[test]
fn letters_beyond_ascii_in_production_are_found() {
    breaks(rules::production_is_ascii, "stage/plan.rs", "// 5 \u{b5}s");
    let test = "#[cfg(test)]\nmod tests {\n    const A: &str = \"\u{e9}\";\n}\n";
    keeps(rules::production_is_ascii, "stage/plan.rs", test);
}

#[track_caller]
fn breaks(rule: Rule, path: &str, text: &str) {
    let found = rules::check(rule, &[Source::new(path, text)]);
    assert!(!found.is_empty(), "not found in {path}: {text}");
}

#[track_caller]
fn keeps(rule: Rule, path: &str, text: &str) {
    assert_eq!(rules::check(rule, &[Source::new(path, text)]), Vec::<String>::new(), "{text}");
}

fn read_folder(folder: &str) -> Vec<Source> {
    let root = Path::new(ROOT).join(folder);
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let path = path.strip_prefix(&root).expect("below the root").to_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}
