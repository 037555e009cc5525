//! Grafana's dashboards, rules and provisioning: the dashboards made from data, the rest as files.
//!
//! ```text
//! names: what metrics and labels are called -> expr: PromQL with `@KEY` for names
//!   -> red, graph, slo, compare, pipeline: panels (model) -> json: what Grafana imports
//! ```

mod compare;
mod expr;
mod files;
mod graph;
mod json;
mod links;
mod model;
mod names;
mod pipeline;
mod red;
mod slo;

pub use files::{File, all_files};
pub use model::{Annotation, Dashboard, Panel, Query, Row, Variable};
pub use names::{Names, TEMPO};

/// Every dashboard, with the names of one naming.
pub fn all(names: &Names) -> Vec<Dashboard> {
    [
        red::overview(),
        red::service(),
        graph::graph(),
        slo::slo(),
        compare::compare(),
        pipeline::pipeline(),
        pipeline::cardinality(),
    ]
    .map(|dashboard| dashboard.named(names))
    .into()
}
