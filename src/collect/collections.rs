//! The catalogs of all tenants, for those who read them while ticks go on.

use std::sync::{Arc, Mutex, MutexGuard};

use dashmap::DashMap;

use super::catalog::{Catalog, View};
use super::settings::Settings;
use crate::tenant::TenantId;

/// One catalog a tenant; the tenant's ticks write it, others look at it.
#[derive(Debug, Default)]
pub struct Collections {
    catalogs: DashMap<TenantId, Arc<Mutex<Catalog>>>,
}

impl Collections {
    pub fn open(&self, tenant: &TenantId, settings: &Settings) -> Arc<Mutex<Catalog>> {
        let catalog = Arc::new(Mutex::new(Catalog::new(settings, tenant)));
        self.catalogs.insert(tenant.clone(), Arc::clone(&catalog));
        catalog
    }

    /// Forgets a catalog, unless another one has taken its place.
    pub fn close(&self, tenant: &TenantId, catalog: &Arc<Mutex<Catalog>>) {
        self.catalogs.remove_if(tenant, |_, open| Arc::ptr_eq(open, catalog));
    }

    /// The newest tick of a tenant.
    pub fn view(&self, tenant: &TenantId) -> Option<View> {
        let catalog = self.catalogs.get(tenant).map(|catalog| Arc::clone(&catalog))?;
        lock(&catalog).view()
    }
}

/// Locks a catalog: nothing panics under its lock.
pub fn lock(catalog: &Mutex<Catalog>) -> MutexGuard<'_, Catalog> {
    catalog.lock().expect("nothing panics under a catalog's lock")
}
