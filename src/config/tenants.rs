//! What may differ from tenant to tenant: the configuration, with what the overrides file lays over it.

use std::sync::Arc;

use super::check::overlay;
use super::node::Node;
use super::overrides::{EVERY, Overrides};
use super::problem::Problems;
use super::resolve;
use crate::receiver::IngestLimits;
use crate::tenant::ByTenant;
use crate::{collect, ledger, stage};

/// A tenant's part of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantSettings {
    pub stage: stage::Settings,
    pub ledger: ledger::Settings,
    pub collect: collect::Settings,
    pub ingest: IngestLimits,
    /// Name and value; they win over an endpoint's own.
    pub remote_write_headers: Vec<(String, String)>,
}

/// Defaults < configuration < `"*"` < the tenant's own. What is wrong with a layer is reported there:
/// those above it would say the same again.
pub(super) fn resolve(
    tree: &Node,
    overrides: &Overrides,
    problems: &mut Problems,
) -> ByTenant<TenantSettings> {
    let mut base = tree.clone();
    // its own faults are known by now
    let mut of_base = Problems::default();
    let unchanged = resolve::tenant(&base, &mut of_base);
    if of_base.len() > 0 {
        return ByTenant::same(unchanged);
    }
    let n_before = problems.len();
    let everyone = match &overrides.every {
        None => unchanged,
        Some(every) => {
            overlay(&mut base.body, every.body.clone());
            let prefix = format!("tenants.{EVERY}.");
            problems.below(&prefix, |problems| resolve::tenant(&base, problems))
        }
    };
    let mut all = ByTenant::same(everyone);
    if problems.len() > n_before {
        return all;
    }
    for (id, own) in &overrides.named {
        let mut tree = base.clone();
        overlay(&mut tree.body, own.body.clone());
        let prefix = format!("tenants.{id}.");
        let settings = problems.below(&prefix, |problems| resolve::tenant(&tree, problems));
        all.named.insert(id.clone(), Arc::new(settings));
    }
    all
}
