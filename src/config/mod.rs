//! Configuration: as users write it, and as the program needs it.
//!
//! ```text
//! schema: every key, its kind, default and doc       (the one source of truth)
//! yaml -> Node: text as written, with line and column
//! layers: defaults < file < environment < --set, each checked by itself, laid over another by `config`
//! resolve: Node -> the settings types of the modules, with what only holds between keys
//! print: the effective configuration, documented, secrets masked
//! ```

mod check;
mod layers;
mod node;
mod print;
mod problem;
mod resolve;
mod resolve_limits;
mod resolve_memory;
mod resolve_processors;
mod resolve_remote_write;
mod schema;
mod schema_processors;
mod schema_remote_write;
mod values;
mod yaml;

use crate::budget::Split;
use crate::{admin, collect, ledger, receiver, remote_write, stage};

pub use layers::Inputs;
pub use problem::{Problem, Problems};

/// What the program needs to know, each module's part in its own type.
#[derive(Debug, Clone)]
pub struct Config {
    pub receiver: receiver::Settings,
    pub stage: stage::Settings,
    pub ledger: ledger::Settings,
    pub collect: collect::Settings,
    pub remote_write: remote_write::Settings,
    pub admin: admin::Settings,
    /// 0 = no limit.
    pub max_tenants: usize,
    /// What each part of the program may hold.
    pub memory: Split,
    /// What a label set costs besides the state's own.
    pub costs: ledger::Costs,
}

/// A configuration that is in order.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The effective configuration as YAML with comments; secrets are masked.
    pub effective: String,
}

/// Reads all layers; either everything is in order or every problem is reported.
pub fn load(inputs: &Inputs) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let tree = layers::merge(inputs, &mut problems);
    let config = resolve::resolve(&tree, &mut problems);
    let effective = print::print(&tree);
    problems.into_result(Loaded { config, effective })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
