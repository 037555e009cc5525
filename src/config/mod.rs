//! Configuration: as users write it, and as the program needs it.
//!
//! ```text
//! schema: every key, its kind, default and doc       (the one source of truth)
//! yaml -> Node: text as written, with line and column
//! layers: defaults < file < environment < --set, each checked by itself, laid over another by `config`
//! resolve: Node -> the settings types of the modules, with what only holds between keys
//! print: the effective configuration, documented, secrets masked
//! ```

mod changes;
mod check;
mod layers;
mod node;
mod overrides;
mod print;
mod problem;
mod reload;
mod resolve;
mod resolve_limits;
mod resolve_memory;
mod resolve_processors;
mod resolve_remote_write;
mod schema;
mod schema_processors;
mod schema_remote_write;
mod tenants;
mod values;
mod yaml;

use node::Node;

use crate::budget::Split;
use crate::tenant::ByTenant;
use crate::{admin, collect, ledger, receiver, remote_write, stage};

pub use changes::Changes;
pub use layers::Inputs;
pub use problem::{Problem, Problems};
pub use reload::{Current, InForce, Look, PerTenant};
pub use tenants::TenantSettings;
pub(crate) use values::duration;

/// What the program needs to know, each module's part in its own type.
#[derive(Debug, Clone)]
pub struct Config {
    pub receiver: receiver::Settings,
    pub stage: stage::Settings,
    pub ledger: ledger::Settings,
    pub collect: collect::Settings,
    pub overrides: overrides::Settings,
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
    /// The configuration's own for everyone, and what the overrides file makes of it.
    pub tenants: ByTenant<TenantSettings>,
    /// The effective configuration as YAML with comments; secrets are masked.
    pub effective: String,
    /// Where it was read from, what was read, and what the overrides file held.
    inputs: Inputs,
    tree: Node,
    /// The origins that the tree's places name.
    layers: Problems,
    overrides: overrides::Content,
}

/// Reads all layers; either everything is in order or every problem is reported.
pub fn load(inputs: &Inputs) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let tree = layers::merge(inputs, &mut problems);
    finish(inputs.clone(), tree, problems, overrides::Settings::read)
}

/// From the tree of all layers and what the overrides file holds.
fn finish(
    inputs: Inputs,
    tree: Node,
    mut problems: Problems,
    read: impl FnOnce(&overrides::Settings) -> overrides::Content,
) -> Result<Loaded, Problems> {
    let layers = problems.clone();
    let config = resolve::resolve(&tree, &mut problems);
    let overrides = read(&config.overrides);
    let laid = overrides::parse(&config.overrides, &overrides, &mut problems);
    let tenants = tenants::resolve(&tree, &laid, &mut problems);
    let effective = print::print(&tree) + &laid.print(&config.overrides);
    let loaded = Loaded { config, tenants, effective, inputs, tree, layers, overrides };
    problems.into_result(loaded)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "overrides_tests.rs"]
mod overrides_tests;

#[cfg(test)]
#[path = "reload_tests.rs"]
mod reload_tests;
