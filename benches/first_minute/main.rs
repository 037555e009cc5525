//! How soon `spanmill demo` shows something: seconds from the start of the process.
//!
//! `cargo bench --bench first_minute` prints the table of benches/README.md.

#![expect(clippy::print_stdout, clippy::panic, reason = "a bench prints its table, or why not")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const WITHIN: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
const WHAT: [(&str, f64); 3] = [
    ("first row of rate, errors and duration", 2.0),
    ("14 services and 18 edges", 5.0),
    ("first exemplar", 2.0),
];

fn main() {
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let rounds: Vec<[f64; 3]> = (0..ROUNDS).map(|_| round()).collect();
    println!("\n| seconds from the start of `spanmill demo` to | aim | median | worst |");
    println!("|---|---|---|---|");
    for (i, (what, aim)) in WHAT.into_iter().enumerate() {
        let mut seconds: Vec<f64> = rounds.iter().map(|round| round[i]).collect();
        seconds.sort_by(f64::total_cmp);
        let (median, worst) = (seconds[ROUNDS / 2], seconds[ROUNDS - 1]);
        println!("| {what} | {aim} | {median:.2} | {worst:.2} |");
    }
}

/// One start: when each was there.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn round() -> [f64; 3] {
    let begin = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_spanmill"))
        .arg("demo")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the built program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut next = || lines.next().expect("the demo goes on").expect("text");
    let first = next();
    let admin = first.rsplit(' ').next().expect("an address").to_owned();
    let exemplar = std::thread::Builder::new().spawn(move || {
        while !generated(&admin).contains(" # {traceID=") {
            assert!(begin.elapsed() < WITHIN, "no exemplar within {WITHIN:?}");
            std::thread::sleep(BETWEEN_LOOKS);
        }
        begin.elapsed()
    });
    let exemplar = exemplar.expect("a thread");
    let (mut row, mut graph) = (None, None);
    while graph.is_none() {
        assert!(begin.elapsed() < WITHIN, "no graph within {WITHIN:?}");
        let line = next();
        let Some(counts) = line.split_once(", services ").map(|(_, counts)| counts) else {
            continue;
        };
        let (services, edges) = counts.split_once(", edges ").expect("both counts");
        let [services, edges] = [services, edges].map(|n| n.parse::<u32>().expect("a number"));
        let shown = begin.elapsed();
        row = row.or_else(|| (services > 0).then_some(shown));
        graph = (services >= 14 && edges >= 18).then_some(shown);
    }
    let exemplar = exemplar.join().unwrap_or_else(|_| panic!("no exemplar was found"));
    child.kill().and_then(|()| child.wait()).expect("it was ours to end");
    [row, graph, Some(exemplar)].map(|at| at.unwrap_or(WITHIN).as_secs_f64())
}

/// Empty while nobody answers.
fn generated(admin: &str) -> String {
    let mut page = String::new();
    let asked = TcpStream::connect(admin).and_then(|mut stream| {
        stream.write_all(b"GET /generated HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n")?;
        stream.read_to_string(&mut page)
    });
    asked.map_or_else(|_| String::new(), |_| page)
}
