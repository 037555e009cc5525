//! The cost of a refused row: what was wanted is noted while a flood comes.
//!
//! `cargo bench --bench wanted` prints the table of benches/README.md.

#![expect(clippy::cast_precision_loss, clippy::print_stdout, reason = "a bench prints its table")]

use std::hint::black_box;
use std::time::Instant;

use spanmill::admission::Wanted;
use spanmill::batch::{Labels, Table, push_label};

const ROUNDS: u32 = 7;
const ROWS: usize = 500_000;
const SERVICES: usize = 50;
const STALE_MS: i64 = 900_000;

fn main() {
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    println!("\n| refused rows of six labels | ns a row |");
    println!("|---|---|");
    time("one label with new values, 50 services", |i| [i % SERVICES, i]);
    time("one label with new values, 10,000 services", |i| [i % 10_000, i]);
    time("each row a new service", |i| [i, 0]);
    time("nothing new", |i| [i % SERVICES, i % 7]);
    copy();
}

/// Rows of the service and value that `of` gives, made before.
fn rows(of: impl Fn(usize) -> [usize; 2]) -> (Vec<u8>, Vec<usize>) {
    let (mut text, mut ends) = (Vec::new(), vec![0]);
    for i in 0..ROWS {
        let [service, value] = of(i);
        for (name, value) in [
            ("http_request_method", "GET"),
            ("http_response_status_code", ["200", "404", "500"][i % 3]),
            ("service", &*format!("service-{service}")),
            ("span_kind", "SPAN_KIND_SERVER"),
            ("span_name", &*format!("GET /api/users/{value}/orders")),
            ("status_code", "STATUS_CODE_UNSET"),
        ] {
            push_label(&mut text, name, value);
        }
        ends.push(text.len());
    }
    (text, ends)
}

fn refuse(wanted: &mut Wanted, (text, ends): &(Vec<u8>, Vec<usize>)) {
    for (i, ends) in (0..).zip(ends.windows(2)) {
        let labels = Labels::new(&text[ends[0]..ends[1]]);
        wanted.refused(Table::SpanMetrics, labels, 1, i);
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn time(name: &str, of: impl Fn(usize) -> [usize; 2]) {
    let rows = rows(of);
    let mut wanted = Wanted::new([1, 2, 3, 4], STALE_MS);
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        refuse(&mut wanted, black_box(&rows));
        best = best.min(begin.elapsed().as_nanos() as f64 / ROWS as f64);
    }
    println!("| {name} | {best:.0} |");
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn copy() {
    let rows = rows(|i| [i % 3000, i]);
    let mut wanted = Wanted::new([1, 2, 3, 4], STALE_MS);
    refuse(&mut wanted, &rows);
    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let mut copy = black_box(wanted.clone());
        best[0] = best[0].min(begin.elapsed().as_secs_f64() * 1e6);
        let begin = Instant::now();
        copy.forget(STALE_MS);
        best[1] = best[1].min(begin.elapsed().as_secs_f64() * 1e6);
        black_box(copy);
    }
    println!("\nA copy when it is full: {:.0} us; a generation's turn: {:.0} us", best[0], best[1]);
}
