//! The worst of the requests that cost most: `cargo bench --bench worst_requests` prints each in
//! milliseconds, staged and applied, the best of some rounds. A name, or a part of one, as argument
//! takes only those.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod cases;
mod pipeline;

use std::hint::black_box;
use std::time::{Duration, Instant};

use cases::{ALL, Case, Form};
use pipeline::{Pipeline, inflated};

const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let wanted: Vec<_> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    println!("\n| request | bytes | ms | |");
    println!("|---|---|---|---|");
    let mut worst = [(Duration::ZERO, ""); 3];
    for case in ALL {
        if wanted.is_empty() || wanted.iter().any(|name| case.name.contains(*name)) {
            let took = time(case);
            let of_form = &mut worst[case.form as usize];
            *of_form = (*of_form).max((took, case.name));
        }
    }
    for ((took, name), form) in worst.iter().zip(["protobuf", "protobuf in gzip", "JSON"]) {
        println!("worst as {form}: {name}, {:.1} ms", took.as_secs_f64() * 1e3);
    }
}

fn time(case: &Case) -> Duration {
    let request = case.wire();
    let mut best = Duration::MAX;
    let mut outcome = String::new();
    for _ in 0..ROUNDS {
        let mut pipeline = Pipeline::new(case);
        let mut taken = Ok(0);
        best = time_of(|| taken = pipeline.take(&request)).min(best);
        outcome = taken.map_or_else(|e| e.to_string(), |spans| format!("{spans} spans"));
        if best > Duration::from_millis(300) {
            break;
        }
    }
    if case.form == Form::Gzip {
        let inflating = (0..ROUNDS).map(|_| time_of(|| inflated(&request).len())).min();
        let ms = inflating.unwrap_or_default().as_secs_f64() * 1e3;
        outcome = format!("{ms:.1} of it inflating; {outcome}");
    }
    println!("| {} | {} | {:.1} | {outcome} |", case.name, request.len(), best.as_secs_f64() * 1e3);
    best
}

fn time_of<T>(work: impl FnOnce() -> T) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}
