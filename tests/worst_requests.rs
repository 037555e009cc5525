//! No request of at most 4 MiB costs more than so many instructions, whatever is in it: the worst that
//! anybody has found (`benches/worst_requests/cases.rs`), counted by Valgrind's Cachegrind.
//!
//! A binary of its own: it runs itself, one request a process.

#[path = "../benches/worst_requests/cases.rs"]
mod cases;
#[path = "../benches/worst_requests/pipeline.rs"]
mod pipeline;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use cases::{ALL, Case, Form};
use pipeline::Pipeline;

/// For a process that takes one request: its case, and the file that it is in.
const CASE: &str = "SPANMILL_WORST_REQUEST";
const FILE: &str = "SPANMILL_WORST_REQUEST_FILE";
/// Processes at the same time.
const AT_ONCE: usize = 2;

/// Millions of instructions, as tests are compiled, for staging and applying one request.
fn bound(case: &Case) -> u64 {
    match (case.name, case.form) {
        // What a full store gives up for each side that enters are label sets of earlier requests.
        ("evictions" | "evictions_of_another_service_each", _) => 1700,
        (_, Form::Protobuf | Form::Gzip) => 900,
        (_, Form::Json) => 1200,
    }
}

/// What inflates is 16 times as long as the same request plain, and is left to the bench.
fn counted() -> impl Iterator<Item = &'static Case> {
    ALL.iter().filter(|case| case.form != Form::Gzip)
}

#[test]
fn no_request_costs_more_instructions_than_its_bound() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clean = instructions(folder.path(), &ALL[0], &[]);
    let left = Mutex::new(counted());
    let over = Mutex::new(Vec::new());
    let work = || {
        let next = || left.lock().expect("not poisoned").next();
        while let Some(case) = next() {
            let millions = millions(folder.path(), case, clean);
            println!("{}: {millions} million, at most {}", case.name, bound(case));
            let is_over = millions > bound(case);
            over.lock().expect("not poisoned").extend(is_over.then_some((case.name, millions)));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let over = over.into_inner().expect("not poisoned");
    assert!(over.is_empty(), "millions of instructions: {over:?}");
}

/// What a process costs besides its request is much the same for all of a clean store.
fn millions(folder: &Path, case: &Case, clean: u64) -> u64 {
    let of = |request: &[u8]| instructions(folder, case, request);
    let alone = if (case.before)().is_empty() { clean } else { of(&[]) };
    of(&case.wire()).saturating_sub(alone) / 1_000_000
}

/// The other half of the test above; by itself it takes the first request that there is.
#[test]
fn a_request_is_taken_or_refused() {
    let name = std::env::var(CASE).unwrap_or_default();
    let case = ALL.iter().find(|case| name.is_empty() || case.name == name).expect("a known case");
    let request = match std::env::var_os(FILE) {
        Some(file) => std::fs::read(file).expect("a request"),
        None => case.wire(),
    };
    let mut pipeline = Pipeline::new(case);
    if request.is_empty() {
        return;
    }
    match pipeline.take(&request) {
        Ok(spans) => println!("{}: {spans} spans", case.name),
        Err(error) => assert!(error.to_string().ends_with("send smaller batches"), "{error}"),
    }
}

/// Of a process that takes the request; an empty one is none.
fn instructions(folder: &Path, case: &Case, request: &[u8]) -> u64 {
    let file = folder.join(case.name);
    std::fs::write(&file, request).expect("a written file");
    let program = std::env::current_exe().expect("this test's own binary");
    let output = valgrind()
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(program)
        .args(["--exact", "a_request_is_taken_or_refused", "--nocapture", "--test-threads=1"])
        .env(CASE, case.name)
        .env(FILE, file)
        .output()
        .expect("valgrind starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", case.name);
    let counted = stderr.lines().find_map(|line| line.split_once("I   refs:")).map(|(_, n)| n);
    let digits: String = counted.expect("a count").chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// Where `tests/run` puts it, else the machine's own.
fn valgrind() -> Command {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/usr");
    let fetched: PathBuf = tools.join("bin/valgrind.bin");
    if !fetched.exists() {
        return Command::new("valgrind");
    }
    let mut command = Command::new(fetched);
    command.env("VALGRIND_LIB", tools.join("libexec/valgrind"));
    command
}
