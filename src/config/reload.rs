//! The configuration in force, and how another one takes its place: whole, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::changes::{Changes, pin};
use super::overrides::{Content, EVERY};
use super::problem::{Place, Problems};
use super::tenants::TenantSettings;
use super::{Loaded, finish, load};
use crate::batch::{Processor, Table};
use crate::ledger;
use crate::receiver::{Rulebook, TenantRules};
use crate::stage::Plan;
use crate::tenant::{ByTenant, TenantId};

/// Tenants that are named in what a reload answers.
const NAMED_MAX: usize = 20;

/// What is in force for one tenant.
#[derive(Debug)]
pub struct PerTenant {
    /// Another one whenever anything in it is another.
    pub generation: u64,
    pub settings: TenantSettings,
    pub rules: Arc<TenantRules>,
}

/// What is in force for all tenants.
#[derive(Debug)]
pub struct InForce {
    /// Rises with each reload.
    pub epoch: u64,
    pub tenants: ByTenant<PerTenant>,
}

/// The configuration in force, with all that is needed to read it again.
#[derive(Debug, Clone)]
pub struct Current {
    loaded: Arc<Loaded>,
    in_force: Arc<InForce>,
    n_generations: u64,
    /// What the overrides file held when it was last acted upon.
    seen: Content,
    /// What it held at the last look, if that was something else.
    unsettled: Option<Content>,
    /// The last reload that was asked for has failed, and has to be done whole.
    failed: bool,
}

/// What a look at the overrides file has come to.
#[derive(Debug)]
pub enum Look {
    Unchanged,
    /// It is being written, perhaps: worth another look soon.
    Unsettled,
    Changed(Result<Changes, Problems>),
}

impl Current {
    /// From the configuration that the process starts with.
    pub fn new(loaded: Loaded) -> Result<Self, Problems> {
        let mut n_generations = 0;
        let tenants = with_plans(&loaded.tenants, None, &mut n_generations)?;
        let in_force = Arc::new(InForce { epoch: 1, tenants });
        let seen = loaded.overrides.clone();
        let loaded = Arc::new(loaded);
        Ok(Self { loaded, in_force, n_generations, seen, unsettled: None, failed: false })
    }

    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    pub fn in_force(&self) -> &Arc<InForce> {
        &self.in_force
    }

    /// Reads everything again.
    pub fn reload(&mut self) -> Result<Changes, Problems> {
        let reloaded = load(&self.loaded.inputs).and_then(|new| self.replace(new));
        self.failed = reloaded.is_err();
        reloaded
    }

    /// Looks at the overrides file. A change is acted upon when two looks have found the same, so that
    /// a file is not taken while it is being written.
    pub fn look(&mut self) -> Look {
        let found = self.loaded.config.overrides.read();
        if found == self.seen {
            self.unsettled = None;
            return Look::Unchanged;
        }
        if self.unsettled.as_ref() != Some(&found) {
            self.unsettled = Some(found);
            return Look::Unsettled;
        }
        self.unsettled = None;
        self.seen = found;
        if self.failed {
            return Look::Changed(self.reload());
        }
        let Loaded { inputs, tree, layers, .. } = Loaded::clone(&self.loaded);
        let content = self.seen.clone();
        Look::Changed(finish(inputs, tree, layers, |_| content).and_then(|new| self.replace(new)))
    }

    fn replace(&mut self, new: Loaded) -> Result<Changes, Problems> {
        let mut changes = Changes::default();
        let Loaded { inputs, mut tree, layers, overrides, .. } = new;
        pin(&self.loaded.tree, &mut tree, &mut changes);
        let new = finish(inputs, tree, layers, |_| overrides)?;
        let old = &self.in_force.tenants;
        let mut n_generations = self.n_generations;
        let tenants = with_plans(&new.tenants, Some(old), &mut n_generations)?;
        add_tenants(old, &tenants, &mut changes);
        self.n_generations = n_generations;
        self.in_force = Arc::new(InForce { epoch: self.in_force.epoch + 1, tenants });
        self.seen = new.overrides.clone();
        self.unsettled = None;
        self.loaded = Arc::new(new);
        Ok(changes)
    }
}

impl InForce {
    /// The receivers' part.
    pub fn rulebook(&self) -> Rulebook {
        Rulebook { epoch: self.epoch, rules: self.tenants.map(|of| Arc::clone(&of.rules)) }
    }
}

impl PerTenant {
    fn new(settings: &TenantSettings, generation: u64) -> Result<Self, Problems> {
        let plan = Plan::new(&settings.stage, generation).map_err(|faults| {
            let mut problems = Problems::default();
            for fault in faults {
                problems.add(Place::default(), &format!("processors.{}", fault.key), fault.message);
            }
            problems
        })?;
        let bounds = settings.stage.bounds();
        Ok(Self {
            generation,
            rules: Arc::new(TenantRules {
                plan,
                ledger: ledger::Rules {
                    generation,
                    settings: settings.ledger.clone(),
                    bounds,
                    made: made(settings),
                },
                ingest: settings.ingest,
            }),
            settings: settings.clone(),
        })
    }

    /// Processors that run.
    pub fn processors(&self) -> impl Iterator<Item = Processor> {
        let on = self.settings.stage.processors;
        let all = [
            (Processor::SpanMetrics, on.span_metrics()),
            (Processor::ServiceGraphs, on.service_graphs),
            (Processor::HostInfo, on.host_info),
        ];
        all.into_iter().filter_map(|(processor, on)| on.then_some(processor))
    }
}

/// Tables that something is made for.
fn made(settings: &TenantSettings) -> [bool; Table::ALL.len()] {
    let on = settings.stage.processors;
    let edges = settings.ledger.edge_series;
    Table::ALL.map(|table| match table {
        Table::SpanMetrics => on.span_metrics(),
        Table::TargetInfo => on.span_metrics() && settings.stage.span_metrics.enable_target_info,
        Table::HostInfo => on.host_info,
        Table::EdgeRequests | Table::EdgeFailed => edges.requests,
        Table::EdgeServer => edges.server_seconds,
        Table::EdgeClient => edges.client_seconds,
        Table::EdgeMessaging => edges.messaging_seconds,
        Table::EdgeInfo => edges.connection_info,
    })
}

/// What has not changed for a tenant stays the very same, generation and all.
fn with_plans(
    new: &ByTenant<TenantSettings>,
    old: Option<&ByTenant<PerTenant>>,
    n_generations: &mut u64,
) -> Result<ByTenant<PerTenant>, Problems> {
    let mut make = |settings: &TenantSettings, candidates: [Option<&Arc<PerTenant>>; 2]| {
        let mut candidates = candidates.into_iter().flatten();
        if let Some(same) = candidates.find(|candidate| candidate.settings == *settings) {
            return Ok(Arc::clone(same));
        }
        *n_generations += 1;
        PerTenant::new(settings, *n_generations).map(Arc::new)
    };
    let everyone = make(&new.everyone, [old.map(|old| &old.everyone), None])?;
    let mut named = BTreeMap::new();
    for (id, settings) in &new.named {
        let of_id = make(settings, [old.map(|old| old.of(id)), Some(&everyone)])?;
        named.insert(id.clone(), of_id);
    }
    Ok(ByTenant { everyone, named })
}

/// Tenants that have or had something of their own, and for whom something is new.
fn add_tenants(old: &ByTenant<PerTenant>, new: &ByTenant<PerTenant>, changes: &mut Changes) {
    let differs = old.everyone.generation != new.everyone.generation;
    if differs && changes.applied.is_empty() {
        changes.applied.push(format!("tenants.{EVERY}"));
    }
    let ids: BTreeSet<_> = old.named.keys().chain(new.named.keys()).collect();
    let is_new = |id: &&TenantId| old.of(id).generation != new.of(id).generation;
    let mut ids: Vec<_> =
        ids.into_iter().filter(is_new).map(|id| format!("tenants.{id}")).collect();
    let n_more = ids.len().saturating_sub(NAMED_MAX);
    ids.truncate(NAMED_MAX);
    changes.applied.extend(ids);
    if n_more > 0 {
        changes.applied.push(format!("{n_more} more tenants"));
    }
}
