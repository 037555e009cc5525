//! Spanmill from outside, and the shape of its sources: one binary, a line on each module.

#![expect(clippy::panic, reason = "a test's support fails by panicking, with what it saw")]

/// The shape of `src/`: who may import whom, sizes, marks.
mod tidy;

/// What the tests stand on.
mod support;

/// The admin server's endpoints, and what a real Prometheus makes of them.
mod admin;
/// Memory and totals under floods of label sets.
mod bounds;
/// The command line: what is told, and the exit codes.
mod cli;
/// Thousands of slow and idle connections, and one client that wants to be served.
mod connections;
/// Every corpus over every protocol and encoding, compared with its oracle.
mod corpora;
/// What Grafana and Prometheus are given, and what it asks of a real Prometheus.
mod dashboards;
/// The demo: a shop, its table and its ledger.
mod demo;
/// What endpoints get, however they behave.
mod endpoints;
/// Inputs that fuzzing has found.
mod fuzz_replay;
/// The service graph, against what was counted independently.
mod graph;
/// Odd, broken and hostile requests: the answer, and what the program counted.
mod hostile;
/// More than there is room for, or than a tenant may send.
mod overload;
/// The queries that people ask of a real Prometheus, and exemplars.
mod prometheus;
/// README's commands, run as they are written.
mod readme;
/// Every answer of the receivers, and what was counted.
mod receive;
/// Relabelling, compared with a real Prometheus.
mod relabel;
/// Overrides and reload; tenants that come and go.
mod reload;
/// One exchange with an endpoint, whatever it answers.
mod remote_write_client;
/// Files with spans through the pipeline, and to a running service.
mod replay;
/// SIGTERM under load.
mod shutdown;
/// Ids in span names, and what becomes of them.
mod span_names;
/// Tenants side by side.
mod tenancy;
