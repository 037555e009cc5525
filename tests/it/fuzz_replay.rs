//! What fuzzing has found so far, held on any toolchain: each file of `fuzz/corpus/` through its target.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// All of a target's inputs, and what is cut off each at every power of two.
#[expect(clippy::print_stdout, reason = "a failure is told by the last input that is shown")]
fn replay(name: &str, n_least: usize, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("a folder of inputs")
        .map(|entry| entry.expect("an input").path())
        .collect();
    files.sort();
    assert!(files.len() >= n_least, "{} inputs of {name}", files.len());
    for file in files {
        let data = fs::read(&file).expect("an input");
        println!("{}", file.display());
        target(&data);
        let lengths = (0..usize::BITS).map(|bits| 1 << bits);
        for len in lengths.take_while(|len| *len < data.len()) {
            target(&data[..data.len() - len]);
        }
    }
}

#[test]
fn requests_are_staged_alike_within_bounds_and_refused_as_prost_does() {
    replay("walker", 30, targets::walker);
}

#[test]
fn json_becomes_a_request_or_is_refused() {
    replay("json", 8, targets::json);
}

#[test]
fn a_connection_that_sends_anything_ends_and_the_next_is_served() {
    replay("http", 8, targets::http);
}

#[test]
fn a_call_with_any_body_has_a_status_that_no_sender_repeats() {
    replay("grpc", 8, targets::grpc);
}

#[test]
fn a_body_that_inflates_to_anything_is_taken_or_refused() {
    replay("inflate", 8, targets::inflate);
}

#[test]
fn a_configuration_of_any_text_is_read_or_every_problem_told() {
    replay("config", 10, targets::config);
}
