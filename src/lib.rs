//! Spanmill reads OpenTelemetry spans and writes the metrics that people watch.
//!
//! # The way of a span
//!
//! ```text
//! OTLP bytes -> receiver: read whole, bounded, inflated once
//!            -> otlp + stage: walked in place, folded into a `Batch` of rows,
//!               an edge side for each span that may be one side of a call         (parallel, pure)
//!            -> ledger: decide -> effects -> fold                              (one lock a tenant)
//!               edges: sides meet, and complete edges become rows
//!            -> collect: at each tick the values are copied, with births and deaths
//!            -> remote_write: label blocks, encode, send the newest snapshot to each endpoint
//! ```
//!
//! # Invariants
//!
//! * State changes only by folding effects, under its tenant's lock.
//! * The pure modules (`otlp`, `batch`, `stage`, `series`, `edges`, `admission`) see no clock, socket,
//!   lock or log: time is an argument, tallies travel as plain data.
//! * No request is half counted: a malformed one is refused before anything has changed.
//! * Identity is the bytes of a label set; a hash only finds the place.
//! * Every edge side meets one end, and is counted there.
//! * Each endpoint is sent the newest snapshot; there is no queue of samples.
//! * The same batches and ticks in the same order give the same effects and the same bytes of state.
//!
//! # Bounds
//!
//! | what | bound |
//! |---|---|
//! | a body | `max_wire_bytes`, `max_inflated_bytes`, `body_timeout` |
//! | all bodies in flight | `receiver::Memory::bodies` (`receiver::bodies`) |
//! | a request | 50,000 spans, as many resources; 12,288 edge sides; 12,000 different label sets, an origin of edge sides counting as four; 3 MiB of origins (`stage::Stager`): refused beyond |
//! | what staging takes | `receiver::Memory::staging`, all requests together (`receiver::stagings`) |
//! | what connections hold | `receiver::Memory::connections`: so many are let in, with such windows |
//! | edge sides that wait, keys that are remembered | `max_items` a tenant (`edges::Store`) |
//! | sides under one key; consumers that wait for one producer by a link | 64; 32 |
//! | sides that wait and become virtual edges with one batch | 4,096 whose time is over, as many where there is no room (`edges::Budget`) |
//! | links of a span that are followed; of a request | 128; 16,384 |
//! | an attribute's value that is read | 8 levels of lists, 10,000 elements |
//! | attributes of a resource that are looked at | 10,000 |
//! | attributes of a resource in `traces_target_info`; members of a trace state | 1,024; 32 |
//! | what a template of a span name costs | a few looks over `max_label_value_length` bytes, 64 matches of a pattern (`stage`) |
//! | exemplars that wait for a tick | four times what a tick may show (`series::Pending`) |
//! | a remote-write request | `max_samples_per_send` or 3 MiB; `max_shards` at once |
//! | series that have ended and wait to be sent | 500,000 an endpoint and tenant |
//! | tenants; counts of those that were unloaded | `limits.max_tenants` together (`ledger::Tenants`) |
//! | the overrides file | 4 MiB, 5,000 tenants |
//! | a tick that waits to be sent | one an endpoint and tenant, the newest |

#![forbid(unsafe_code)]

pub mod budget;
pub mod clock;
pub mod telemetry;
pub mod tenant;

// In the order of the flow; a blank line between each keeps it.

pub mod otlp;

pub mod batch;

pub mod stage;

pub mod series;

pub mod edges;

pub mod admission;

pub mod ledger;

pub mod receiver;

pub mod collect;

pub mod remote_write;

pub mod admin;

pub mod config;

pub mod dashboards;

pub mod demo;

pub mod app;
pub mod cli;
