//! The rules themselves, each a function from a file to what it breaks.

use std::path::PathBuf;

use super::source::{Source, has_word, imported_modules, longest_super};

/// What a file breaks, in words.
pub(crate) type Rule = fn(&Source) -> Vec<String>;

pub(crate) const ALL: [Rule; 6] = [
    imports_follow_the_flow,
    pure_code_is_pure,
    files_are_short,
    files_open_with_their_place,
    nothing_is_put_off,
    production_is_ascii,
];

pub(crate) const FOR_TESTS: [Rule; 2] = [files_open_with_their_place, nothing_is_put_off];

/// Which modules a module may import besides itself: the table of the design, in its order.
/// A change here is a change of the design.
const MAY_IMPORT: [(&str, &[&str]); 18] = [
    ("otlp", &[]),
    ("batch", &[]),
    ("log", &[]),
    ("tenant", &[]),
    ("budget", &[]),
    ("stage", &["otlp", "batch"]),
    ("series", &["batch"]),
    ("edges", &["batch"]),
    ("admission", &["batch"]),
    ("ledger", &["batch", "series", "edges", "admission", "log"]),
    ("receiver", &["otlp", "stage", "batch", "ledger"]),
    ("collect", &["series", "edges", "ledger"]),
    ("remote_write", &["collect"]),
    ("admin", &["ledger", "collect", "remote_write"]),
    // The settings of all of them.
    (
        "config",
        &[
            "otlp",
            "batch",
            "log",
            "stage",
            "series",
            "edges",
            "admission",
            "ledger",
            "receiver",
            "collect",
            "remote_write",
            "admin",
        ],
    ),
    // Data and files; it knows the program by the names of metrics alone.
    ("dashboards", &[]),
    ("clock", &[]),
    ("telemetry", &[]),
];

/// Clients only: it talks OTLP to a port.
const IMPORTS_NOTHING: [&str; 1] = ["demo"];
const IMPORT_ALL: [&str; 4] = ["app", "cli", "lib", "main"];
const FOR_ALL: [&str; 2] = ["tenant", "budget"];
const FOR_ALL_BUT_PURE: [&str; 2] = ["clock", "telemetry"];
const PURE: [&str; 6] = ["otlp", "stage", "batch", "series", "edges", "admission"];

/// No clock, socket, lock, async or logging.
const NOT_PURE: [&str; 27] = [
    "Condvar",
    "Instant",
    "Mutex",
    "OnceLock",
    "RwLock",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "arc_swap",
    "async",
    "await",
    "dashmap",
    "eprintln",
    "hyper",
    "mpsc",
    "println",
    "reqwest",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "thread_local",
    "tokio",
    "tonic",
    "tracing",
];

const LINES_MAX: usize = 500;
const MOD_LINES_MAX: usize = 150;

/// What the rule finds, each with its file; files of tests under `src/` are free of the rules for
/// production.
pub(crate) fn check(rule: Rule, sources: &[Source]) -> Vec<String> {
    let for_tests: Vec<PathBuf> = sources.iter().flat_map(Source::test_only_files).collect();
    sources
        .iter()
        .filter(|source| {
            let put_off: Rule = nothing_is_put_off;
            !for_tests.contains(&source.path) || std::ptr::fn_addr_eq(rule, put_off)
        })
        .flat_map(|source| {
            let path = source.path.display();
            rule(source).into_iter().map(move |what| format!("{path}: {what}"))
        })
        .collect()
}

pub(crate) fn imports_follow_the_flow(source: &Source) -> Vec<String> {
    let module = source.module();
    if IMPORT_ALL.contains(&module.as_str()) {
        return Vec::new();
    }
    let listed = MAY_IMPORT.iter().find(|(name, _)| *name == module);
    let allowed = match listed {
        Some((_, allowed)) => *allowed,
        None if IMPORTS_NOTHING.contains(&module.as_str()) => &[],
        None => return vec![format!("`{module}` is not in the table of who may import whom")],
    };
    let pure = PURE.contains(&module.as_str());
    let may = |other: &str| {
        other == module
            || allowed.contains(&other)
            || FOR_ALL.contains(&other)
            || !pure && FOR_ALL_BUT_PURE.contains(&other)
    };
    let code = source.code();
    let mut broken: Vec<String> = imported_modules(&code)
        .iter()
        .filter(|other| !may(other))
        .map(|other| format!("`{module}` may not import `{other}`"))
        .collect();
    if longest_super(&code) >= source.depth() {
        broken.push("`super` reaches the crate's root: name other modules by `crate::`".to_owned());
    }
    broken
}

pub(crate) fn pure_code_is_pure(source: &Source) -> Vec<String> {
    if !PURE.contains(&source.module().as_str()) {
        return Vec::new();
    }
    let code = source.code();
    let found = NOT_PURE.iter().filter(|word| has_word(&code, word));
    found
        .map(|word| format!("`{word}` in a pure module: pass what it gives as an argument"))
        .collect()
}

pub(crate) fn files_are_short(source: &Source) -> Vec<String> {
    let is_mod = source.path.file_name().is_some_and(|name| name == "mod.rs");
    let most = if is_mod { MOD_LINES_MAX } else { LINES_MAX };
    let n_lines = source.production_lines().len();
    if n_lines <= most {
        return Vec::new();
    }
    vec![format!("{n_lines} lines of production code, at most {most}")]
}

pub(crate) fn files_open_with_their_place(source: &Source) -> Vec<String> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec!["does not open with `//!` and its place in the flow".to_owned()]
}

pub(crate) fn nothing_is_put_off(source: &Source) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let excuses = [concat!("#[ig", "nore"), concat!("#[should", "_panic")];
    let mut broken = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let mark = marks.iter().find(|mark| has_word(line, mark));
        let excuse = excuses.iter().find(|excuse| line.contains(**excuse));
        broken.extend(mark.or(excuse).map(|what| format!("line {}: `{what}`", at + 1)));
    }
    broken
}

pub(crate) fn production_is_ascii(source: &Source) -> Vec<String> {
    let strange = source.production_lines().into_iter().filter(|line| !line.is_ascii());
    strange.map(|line| format!("not ASCII: {line}")).collect()
}
