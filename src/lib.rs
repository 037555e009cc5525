//! Spanmill reads OpenTelemetry spans and writes the metrics that people watch.
//!
//! # The way of a span
//!
//! ```text
//! OTLP bytes -> receiver: read whole, bounded, inflated once
//!            -> otlp + stage: walked in place, folded into a `Batch` of rows   (parallel, pure)
//!            -> ledger: decide -> effects -> fold                              (one lock a tenant)
//!            -> collect: at each tick the values are copied, with births and deaths
//!            -> remote_write: label blocks, encode, send the newest snapshot to each endpoint
//! ```
//!
//! # Invariants
//!
//! * State changes only by folding effects, under its tenant's lock.
//! * The pure modules (`otlp`, `batch`, `stage`, `series`) see no clock, socket, lock or log: time is
//!   an argument, tallies travel as plain data.
//! * No request is half counted: a malformed one is refused before anything has changed.
//! * Identity is the bytes of a label set; a hash only finds the place.
//! * Each endpoint is sent the newest snapshot; there is no queue of samples.
//! * The same batches and ticks in the same order give the same effects and the same bytes of state.

#![forbid(unsafe_code)]

pub mod clock;
pub mod telemetry;
pub mod tenant;

pub mod admin;
pub mod batch;
pub mod collect;
pub mod ledger;
pub mod otlp;
pub mod receiver;
pub mod remote_write;
pub mod series;
pub mod stage;

pub mod config;

pub mod app;
pub mod cli;
