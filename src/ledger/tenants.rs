//! All tenants of the process: made when their first data comes.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::mpsc::UnboundedSender;

use super::memory::Memory;
use super::settings::Settings;
use super::tenant::Tenant;
use crate::batch::Bounds;
use crate::tenant::TenantId;

/// All tenants of the process.
#[derive(Debug)]
pub struct Tenants {
    tenants: DashMap<TenantId, Arc<Tenant>>,
    settings: Settings,
    bounds: Bounds,
    seed: [u64; 4],
    memory: Arc<Memory>,
    /// Told of each new tenant, once.
    created: UnboundedSender<Arc<Tenant>>,
}

impl Tenants {
    pub fn new(
        settings: Settings,
        bounds: Bounds,
        seed: [u64; 4],
        created: UnboundedSender<Arc<Tenant>>,
    ) -> Self {
        let memory = Arc::new(Memory::unbounded());
        Self { tenants: DashMap::new(), settings, bounds, seed, memory, created }
    }

    /// What they hold is charged to it.
    pub fn with_memory(self, memory: Arc<Memory>) -> Self {
        Self { memory, ..self }
    }

    pub fn get(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.get(id).map(|tenant| Arc::clone(&tenant))
    }

    pub fn get_or_create(&self, id: &TenantId) -> Arc<Tenant> {
        if let Some(tenant) = self.get(id) {
            return tenant;
        }
        let entry = self.tenants.entry(id.clone()).or_insert_with(|| {
            let (settings, memory) = (self.settings.clone(), Arc::clone(&self.memory));
            let tenant = Tenant::with_memory(id.clone(), settings, &self.bounds, self.seed, memory);
            let tenant = Arc::new(tenant);
            // Nobody listens while the process drains: then nothing is to be told.
            drop(self.created.send(Arc::clone(&tenant)));
            tenant
        });
        Arc::clone(&entry)
    }

    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// In the order of their ids.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        let mut all: Vec<_> = self.tenants.iter().map(|t| Arc::clone(t.value())).collect();
        all.sort_by(|a, b| a.id().cmp(b.id()));
        all
    }
}
